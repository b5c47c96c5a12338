from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from imageproxy.errors import ConfigError
from imageproxy.presets import DEFAULT, ImageFormat
from imageproxy.processors import PillowProcessor
from imageproxy.processors._encode import has_full_chroma
from imageproxy.testing.photos import DrawnPhoto

Decode = Callable[[bytes], Image.Image]

pytestmark = pytest.mark.usefixtures("pillow_globals")

AVATAR = DEFAULT.get("avatar_small")


@pytest.mark.parametrize("effort", ["lazy", "", None, 3, "HIGH"])
def test_an_effort_that_there_is_not_is_refused(effort: Any) -> None:
    with pytest.raises(ConfigError, match="effort") as caught:
        PillowProcessor(effort=effort)

    assert caught.value.option == "effort"


def test_each_effort_has_a_version_of_its_own() -> None:
    versions = {PillowProcessor(effort=effort).version for effort in ("low", "medium", "high")}

    assert len(versions) == 3
    assert PillowProcessor().version == PillowProcessor(effort="medium").version


@pytest.mark.parametrize("made", ["jpeg", "png", "webp", "avif"])
def test_more_effort_makes_no_larger_files(made: ImageFormat, photos: dict[str, DrawnPhoto]) -> None:
    preset = AVATAR.with_format(made)
    sizes = [
        sum(
            len(PillowProcessor(effort=effort).process(photos[name].data, preset)) for name in ("landscape", "portrait")
        )
        for effort in ("low", "medium", "high")
    ]

    assert sizes[0] >= sizes[1] >= sizes[2]
    assert made == "webp" or sizes[0] <= 1.6 * sizes[2]


@pytest.mark.parametrize("quality", [1, 90, 91, 100])
def test_a_jpeg_of_high_quality_has_the_colour_of_every_pixel(
    quality: int, processor: PillowProcessor, photos: dict[str, DrawnPhoto], decode: Decode
) -> None:
    preset = replace(AVATAR, quality=quality)
    image = decode(processor.process(photos["landscape"].data, preset))

    sampling = [part[1:3] for part in image.layer]  # type: ignore[attr-defined]
    assert sampling == ([(1, 1)] * 3 if quality > 90 else [(2, 2), (1, 1), (1, 1)])
    assert has_full_chroma(preset) == (quality > 90)


@pytest.mark.parametrize("is_progressive", [False, True])
def test_a_jpeg_is_progressive_where_the_preset_says_so(
    is_progressive: bool, processor: PillowProcessor, photos: dict[str, DrawnPhoto], decode: Decode
) -> None:
    preset = replace(AVATAR, progressive=is_progressive)
    image = decode(processor.process(photos["landscape"].data, preset))

    assert ("progressive" in image.info) == is_progressive


@pytest.mark.parametrize("made", ["png", "webp", "avif"])
def test_other_formats_are_not_progressive(made: ImageFormat, photos: dict[str, DrawnPhoto]) -> None:
    preset = AVATAR.with_format(made)
    processor = PillowProcessor()

    assert processor.process(photos["icon"].data, preset) == processor.process(
        photos["icon"].data, replace(preset, progressive=True)
    )


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_smooth_jpeg_gets_tables_of_its_own(
    mode: str, processor: PillowProcessor, encode: Callable[..., bytes]
) -> None:
    preset = DEFAULT.get("content_preview")
    smooth, noise = Image.linear_gradient("L").convert(mode), Image.effect_noise((256, 256), 60).convert(mode)
    options = {"quality": preset.quality, "subsampling": "4:2:0"}

    assert processor.encode(smooth, preset) == encode(smooth, "JPEG", optimize=True, **options)
    assert processor.encode(noise, preset) == encode(noise, "JPEG", **options)


def test_a_jpeg_whose_middle_alone_is_busy_gets_tables_of_its_own(
    processor: PillowProcessor, encode: Callable[..., bytes]
) -> None:
    picture = Image.linear_gradient("L").resize((320, 640)).convert("RGB")
    picture.paste(Image.effect_noise((320, 80), 60).convert("RGB"), (0, 280))
    preset = DEFAULT.get("content_preview")

    assert len(processor.encode(picture, preset)) < len(encode(picture, "JPEG", quality=preset.quality))


def test_low_effort_encodes_once(encode: Callable[..., bytes]) -> None:
    picture = Image.linear_gradient("L").convert("RGB")
    preset = DEFAULT.get("content_preview")

    assert PillowProcessor(effort="low").encode(picture, preset) == encode(picture, "JPEG", quality=preset.quality)


def test_a_picture_of_one_row_is_encoded(processor: PillowProcessor, decode: Decode) -> None:
    assert decode(processor.encode(Image.new("RGB", (9, 1)), AVATAR)).size == (9, 1)
