"""Sizes, crops, turns and averages, against a resize in floating point."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from imageproxy.presets import DEFAULT, FitMode, ImageFormat, Preset
from imageproxy.processors import PillowProcessor
from imageproxy.protocols import Processor
from imageproxy.testing.photos import DrawnPhoto

# 8 bits between the two directions of a resize cost this much, at most, of a picture with hard edges and fine lines.
LEAST_DECIBELS = 50.0
MOST_LEVELS = 12
# What is lost before an encoder, as seen behind it.
LOST_DECIBELS = 0.3
# And where a JPEG is decoded at half its size or less, and encoded as a JPEG again.
DRAFT_DECIBELS = 1.5

Files = Callable[..., bytes]


def preset(width: int, height: int = 0, fit: str = "contain", **options: Any) -> Preset:
    quality = options.pop("quality", 90)
    return Preset("exact", width, height, FitMode(fit), quality, **{"format": "png", **options})


CASES = {
    "a half": ((600, 400), preset(300)),
    "a third": ((600, 400), preset(200)),
    "odd sides": ((601, 397), preset(233)),
    "an eighth": ((1600, 1200), preset(200)),
    "a thirteenth": ((1600, 1200), preset(123)),
    "a little": ((600, 400), preset(540)),
    "into a box": ((400, 600), preset(300, 200)),
    "a crop": ((600, 400), preset(200, 200, "cover", position=(0.25, 0.5))),
    "a flat crop": ((600, 400), preset(300, 50, "cover", position=(0.5, 1.0))),
}
# libvips crops at whole pixels and enlarges by another filter; the example leaves that as it is.
FINER_CASES = {
    "a crop between pixels": ((601, 397), preset(133, 171, "cover", position=(0.3, 0.8))),
    "enlarged": ((300, 200), preset(750, enlarge=True)),
    "enlarged and cropped": ((300, 200), preset(500, 700, "cover", position=(0.3, 0.8))),
}


@pytest.fixture(scope="session")
def stored() -> Files:
    """``stored(pixels, "PNG", **options)``: the pixels as a file."""

    def made(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels.squeeze().astype(np.uint8)).save(buffer, kind, **options)
        return buffer.getvalue()

    return made


def check(found: Any, wanted: Any, decibels: Callable[..., float]) -> None:
    assert decibels(found, wanted) >= LEAST_DECIBELS
    if found.shape[2] != 4:
        assert np.abs(found - wanted).max() <= MOST_LEVELS


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("case", CASES)
def test_a_picture_is_resized_as_by_hand(
    engine: Processor, case: str, mode: str, scene: Any, stored: Files, reference: Any, decoded: Any, decibels: Any
) -> None:
    size, wanted = CASES[case]
    pixels = scene(*size, mode)
    pixels = pixels[..., :1] if mode == "L" else pixels

    found = decoded(engine.process(stored(pixels), wanted), mode)

    check(found, reference.make(pixels, wanted), decibels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("case", FINER_CASES)
def test_crops_fall_between_pixels_where_they_must(
    processor: PillowProcessor,
    case: str,
    mode: str,
    scene: Any,
    stored: Files,
    reference: Any,
    decoded: Any,
    decibels: Any,
) -> None:
    size, wanted = FINER_CASES[case]
    pixels = scene(*size, mode)

    found = decoded(processor.process(stored(pixels), wanted), mode)

    check(found, reference.make(pixels, wanted), decibels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_every_orientation_is_turned_and_cropped_as_by_hand(
    engine: Processor,
    orientation: int,
    kind: str,
    scene: Any,
    stored: Files,
    reference: Any,
    decoded: Any,
    decibels: Any,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = stored(scene(300, 200), kind, exif=exif, quality=95, lossless=True)
    size = (60, 20) if orientation < 5 else (20, 60)
    wanted = preset(*size, "cover", position=(0.5, 1.0) if orientation < 5 else (1.0, 0.5))
    pixels = decoded(source, "RGB")  # as they are stored: nothing that decodes turns them

    found = decoded(engine.process(source, wanted), "RGB")

    assert decibels(found, reference.make(pixels, wanted, orientation=orientation)) >= 42


@pytest.mark.parametrize("quality", [80, 90, 100])
@pytest.mark.parametrize("made", ["jpeg", "webp", "avif"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_nothing_is_lost_but_by_the_encoder(
    processor: PillowProcessor,
    quality: int,
    made: ImageFormat,
    mode: str,
    scene: Any,
    reference: Any,
    stored: Files,
    decoded: Any,
    decibels: Any,
) -> None:
    """The exact picture, encoded alike, is not nearer to itself; over 45 dB the 8 bits of a resize begin to count."""
    wanted = preset(300, format=made, quality=quality, background="#336699")
    pixels = scene(600, 400, mode)
    exact = reference.make(pixels, wanted)
    shown = "RGB" if made == "jpeg" else mode

    result = processor.process(stored(pixels), wanted)

    chroma = "4:4:4" if quality > 90 else "4:2:0"
    as_good = stored(exact.round(), made.upper(), quality=quality, subsampling=chroma, method=3, speed=8)
    best = decibels(decoded(as_good, shown), exact)
    assert decibels(decoded(result, shown), exact) >= min(45, best - LOST_DECIBELS)
    assert len(result) <= 1.2 * len(as_good)


@pytest.mark.parametrize("width", [1600, 1000, 800, 360, 200, 100])
def test_a_jpeg_that_is_decoded_smaller_is_no_worse_to_see(
    engine: Processor,
    width: int,
    photos: dict[str, DrawnPhoto],
    reference: Any,
    decoded: Any,
    decibels: Any,
) -> None:
    source = photos["landscape"].data
    wanted = preset(width, quality=80)

    found = decoded(engine.process(source, wanted), "RGB")

    assert decibels(found, reference.make(decoded(source, "RGB"), wanted)) >= 45


@pytest.fixture(scope="module")
def as_libvips_sees_it() -> Callable[[bytes], Any]:
    """A file's pixels upright and in sRGB, decoded by another library."""

    def seen(data: bytes) -> Any:
        image = pyvips.Image.new_from_buffer(data, "").autorot()
        if image.get_typeof("icc-profile-data"):
            image = image.icc_transform("srgb", embedded=True, intent="perceptual")
        pixels = image.colourspace("srgb").numpy().astype(np.float64)
        return pixels if pixels.shape[2] == 4 else pixels[..., :3]

    return seen


@pytest.mark.parametrize("name", ["avatar_small", "content_preview"])
def test_photos_are_what_another_library_and_floating_point_make_of_them(
    name: str,
    shared_file: Path | None,
    photos: dict[str, DrawnPhoto],
    as_libvips_sees_it: Any,
    reference: Any,
    stored: Files,
    decoded: Any,
    decibels: Any,
) -> None:
    """Decoders, colours, orientation, crop, size and encoder at once."""
    if shared_file is not None and shared_file.parent.name != "photos":
        return  # the nasty ones are tried elsewhere
    if shared_file is not None and shared_file.suffix not in {".jpg", ".png", ".webp", ".avif"}:
        return
    data = shared_file.read_bytes() if shared_file else photos["sideways"].data
    wanted = DEFAULT.get(name)
    exact = reference.make(as_libvips_sees_it(data), wanted)
    best = decibels(decoded(stored(exact.round(), "JPEG", quality=wanted.quality), "RGB"), exact)

    for resizer in ("pillow", "simd"):
        found = decoded(PillowProcessor(resizer=resizer).process(data, wanted), "RGB")
        assert decibels(found, exact) >= best - DRAFT_DECIBELS
