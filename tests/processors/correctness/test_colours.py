"""Colours, against the definitions of the colour spaces and against another library's conversion."""

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
from imageproxy.protocols import Processor

SAME = Preset("same", 72, 0, FitMode.CONTAIN, 95, format="png")
# The same primaries, as x and y, and as a profile holds them: X, Y and Z under D50.
SPACES = {
    "Adobe RGB": (
        ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
        ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    ),
    "Display P3": (
        ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
        ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
    ),
    "BT.2020": (
        ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046)),
        ((0.67348, 0.27904, -0.00194), (0.16566, 0.67533, 0.02998), (0.12505, 0.04561, 0.79686)),
    ),
    "sRGB": (
        ((0.64, 0.33), (0.3, 0.6), (0.15, 0.06)),
        ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)),
    ),
}


@pytest.fixture(scope="module")
def patches() -> Any:
    """216 colours in fields of 4x4, from black to white; no resize mixes them, no encoder is fooled by edges."""
    levels = np.arange(0, 256, 51, dtype=np.float64)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(12, 18, 3)
    return colours.repeat(4, 0).repeat(4, 1)


def file_of(pixels: Any, kind: str, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8), mode if mode == "CMYK" else None).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("gamma", [1.8, 2.19921875, 2.4])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_profiles_are_converted_as_their_definitions_say(
    engine: Processor,
    space: str,
    gamma: float,
    kind: str,
    patches: Any,
    icc_profile: Callable[..., bytes],
    reference: Any,
    decoded: Any,
) -> None:
    primaries, in_profile = SPACES[space]
    profile = icc_profile(gamma=gamma, primaries=in_profile)
    convert = reference.to_srgb(np.array(primaries), lambda value: value**gamma)

    found = decoded(engine.process(file_of(patches, kind, lossless=True, icc_profile=profile), SAME), "RGB")

    wanted = convert(patches)
    inside = (wanted > 0.5).all(axis=2) & (wanted < 254.5).all(axis=2)  # out of gamut, each may clip as it likes
    assert np.abs(found - wanted)[inside].max() <= 2
    assert np.abs(found - wanted)[~inside].max() <= 6


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.6])
def test_grey_profiles_are_converted_as_their_definition_says(
    engine: Processor, gamma: float, icc_profile: Callable[..., bytes], reference: Any, decoded: Any
) -> None:
    pixels = np.arange(0, 256, dtype=np.float64).repeat(2).reshape(1, 512).repeat(8, 0)
    convert = reference.to_srgb(np.array(SPACES["sRGB"][0]), lambda value: value**gamma)
    preset = Preset("same", 512, 0, FitMode.CONTAIN, 95, format="png")

    found = decoded(engine.process(file_of(pixels, "PNG", icc_profile=icc_profile(gamma=gamma)), preset), "L")

    wanted = convert(pixels[..., None].repeat(3, 2))[..., :1]
    # Of light stored as it is, one level of the darkest is twelve of sRGB, and Little CMS smooths them.
    assert np.abs(found - wanted)[:, 16 if gamma == 1 else 0 :].max() <= 2


@pytest.fixture(scope="module")
def press_profile() -> bytes:
    """A profile of a press, with its tables: the one that libvips has built in."""
    return bytes(pyvips.Operation.call("profile_load", "cmyk"))


@pytest.mark.parametrize("has_profile", [False, True])
def test_the_colours_of_a_press_are_those_that_another_library_shows(
    processor: PillowProcessor, has_profile: bool, patches: Any, press_profile: bytes, decoded: Any
) -> None:
    """As Photoshop stores them: each ink inverted, and said to be so. Without a profile, as browsers show them."""
    inks = np.concatenate((patches, np.linspace(0, 200, 72).reshape(1, 72, 1).repeat(48, 0)), axis=2).round()
    options: dict[str, Any] = {"icc_profile": press_profile} if has_profile else {}
    data = file_of(inks, "JPEG", "CMYK", quality=100, subsampling=0, **options)
    assert b"Adobe" in data[:200]

    found = decoded(processor.process(data, SAME), "RGB")

    if has_profile:
        image = pyvips.Image.new_from_buffer(data, "")
        wanted = image.icc_transform("srgb", embedded=True, intent="perceptual").numpy().astype(np.float64)
    else:
        wanted = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    assert np.abs(found - wanted).mean() <= 1
    assert np.abs(found - wanted).max() <= 6


def test_16_bits_are_rounded_to_8(engine: Processor, decoded: Any) -> None:
    """Of grey to the nearest; of colour no engine is further off than one."""
    grey = np.linspace(0, 65_535, 4096).round().astype(np.uint16).reshape(8, 512)
    buffer = io.BytesIO()
    Image.frombytes("I;16", (512, 8), grey.astype("<u2").tobytes()).save(buffer, "PNG")
    preset = Preset("same", 512, 0, FitMode.CONTAIN, 95, format="png")

    found = decoded(engine.process(buffer.getvalue(), preset), "L")[..., 0]

    assert np.abs(found - grey / 257).max() <= 1.0


@pytest.mark.parametrize("made", ["jpeg", "png", "webp", "avif"])
def test_what_comes_out_has_no_profile_and_is_srgb_by_that(
    engine: Processor, made: Any, patches: Any, icc_profile: Callable[..., bytes]
) -> None:
    data = file_of(patches, "PNG", icc_profile=icc_profile(primaries=SPACES["Display P3"][1]))

    with Image.open(io.BytesIO(engine.process(data, SAME.with_format(made)))) as image:
        assert "icc_profile" not in image.info
        assert not image.getexif()
