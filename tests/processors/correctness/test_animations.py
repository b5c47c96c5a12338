"""Animations, frame by frame, against what another library makes of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from imageproxy.presets import FitMode, Preset
from imageproxy.processors import PillowProcessor
from imageproxy.processors._animation import pictures
from imageproxy.processors._film import read_film
from imageproxy.processors._headers import read_header
from imageproxy.processors._sniff import sniff

Encode = Callable[..., bytes]


@pytest.fixture(scope="module")
def frames(scene: Any) -> list[Image.Image]:
    """Soft pictures in a window that moves; each has a part of its own that nothing else covers."""
    made = []
    for number in range(5):
        pixels = scene(120, 90, "RGBA")
        pixels[..., 3] = 0
        pixels[10 + 5 * number : 60, 10 + 12 * number : 50 + 12 * number, 3] = 255
        made.append(Image.fromarray(pixels.astype(np.uint8), "RGBA"))
    return made


def as_libvips_draws(data: bytes) -> tuple[list[Any], list[int], int]:
    image: Any = pyvips.Image.new_from_buffer(data, "", n=-1)
    pixels: Any = image.numpy().astype(np.float64)
    if pixels.shape[2] == 3:
        pixels = np.concatenate((pixels, np.full((*pixels.shape[:2], 1), 255.0)), axis=2)
    height = image.get("page-height")
    pages = [pixels[top : top + height] for top in range(0, image.height, height)]
    return pages, image.get("delay"), image.get("loop")


@pytest.mark.parametrize("background", [None, "#c0d0e0"], ids=["clear", "opaque"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *(("GIF", {"disposal": disposal}) for disposal in range(4)),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 80}),
        ("WEBP", {"quality": 80, "kmin": 0, "kmax": 0}),
    ],
)
def test_every_frame_is_drawn_as_another_library_draws_it(
    kind: str,
    options: dict[str, Any],
    background: str | None,
    frames: list[Image.Image],
    encode: Encode,
    decibels: Callable[..., float],
) -> None:
    shown = frames
    if background is not None:
        shown = [Image.alpha_composite(Image.new("RGBA", frame.size, background), frame) for frame in frames]
    data = encode(
        shown[0], kind, save_all=True, append_images=shown[1:], duration=[40, 100, 150, 200, 300], loop=3, **options
    )

    film = read_film(data, read_header(data, sniff(data)), 100)

    assert film is not None
    pages, delays, plays = as_libvips_draws(data)
    found = [np.asarray(canvas, np.float64).copy() for canvas in pictures(film)]
    assert len(found) == len(pages) == 5
    assert min(decibels(one, other) for one, other in zip(found, pages, strict=True)) > 50
    assert [frame.duration_ms for frame in film.frames] == delays
    assert film.plays == plays


def test_a_frame_of_an_animation_looks_like_a_still_picture_of_it(
    processor: PillowProcessor, frames: list[Image.Image], encode: Encode, decoded: Any, decibels: Any, reference: Any
) -> None:
    data = encode(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=100, disposal=1)
    preset = Preset("crop", 30, 40, FitMode.COVER, 95, format="webp", animated=True, position=(0.4, 0.5))

    with Image.open(io.BytesIO(processor.process(data, preset))) as image:
        for number, frame in enumerate(frames):
            image.seek(number)
            found = np.asarray(image.convert("RGBA"), np.float64)
            exact = reference.make(np.asarray(frame, np.float64), preset)
            best = decibels(decoded(encode(Image.fromarray(exact.round().astype(np.uint8)), "WEBP", quality=95)), exact)
            assert decibels(found, exact) > best - 1.5
