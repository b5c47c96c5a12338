"""What an estimate promises, held against the memory of real processes: ``benchmarks/memory.py`` measures them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from imageproxy.errors import ImageProxyError, ImageTooLargeError, ProcessingError, UnsupportedFormatError
from imageproxy.presets import BLUESKY, DEFAULT, FitMode, ImageFormat, Preset
from imageproxy.processors import PillowProcessor
from imageproxy.protocols import SupportsEstimate

Encode = Callable[..., bytes]

TINY = Preset("tiny", 40, 40, FitMode.COVER, 80)


@pytest.fixture(scope="module")
def grainy() -> Callable[..., Image.Image]:
    """``grainy(mode, (width, height))``: as hard to compress as anything."""

    def made(mode: str, size: tuple[int, int]) -> Image.Image:
        grain = Image.effect_noise((512, 512), 80)
        tile = Image.merge("RGBA", (grain, grain.rotate(90), grain.rotate(180), grain.rotate(270)))
        image = Image.new("RGBA", size)
        for top in range(0, size[1], 512):
            for left in range(0, size[0], 512):
                image.paste(tile, (left, top))
        return image if mode == "RGBA" else image.convert("RGB").convert(mode)

    return made


def test_the_processor_supports_estimates() -> None:
    assert isinstance(PillowProcessor(), SupportsEstimate)


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("JPEG", "L", {}),
        ("PNG", "1", {"compress_level": 1}),
        ("PNG", "P", {"compress_level": 1, "transparency": 0}),
        ("PNG", "RGB", {"compress_level": 1}),
        ("PNG", "RGBA", {"compress_level": 1}),
        ("PNG", "I;16", {"compress_level": 1}),
        ("GIF", "P", {"transparency": 0, "disposal": 2}),
        ("WEBP", "RGB", {"method": 0}),
        ("WEBP", "RGBA", {"method": 0, "lossless": True, "quality": 0}),
        ("AVIF", "RGB", {"speed": 10, "max_threads": 1}),
        ("AVIF", "RGBA", {"speed": 10, "max_threads": 1}),
    ],
)
def test_a_source_of_any_kind_stays_within_its_estimate(
    kind: str,
    mode: str,
    options: dict[str, Any],
    grainy: Callable[..., Image.Image],
    encode: Encode,
    measured: Callable[..., list[int]],
) -> None:
    data = encode(grainy(mode, (2400, 1800)), kind, **options)

    peak, estimate, _ = measured([(data, DEFAULT.get("avatar_small"))])

    assert peak <= estimate
    assert peak >= 0.4 * estimate  # no waste


@pytest.mark.parametrize(
    "preset",
    [
        DEFAULT.get("content_full"),
        BLUESKY.get("banner"),
        BLUESKY.get("banner").with_format("png"),
        BLUESKY.get("banner").with_format("avif"),
    ],
    ids=lambda preset: preset.format,
)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_result_of_any_kind_stays_within_the_estimate(
    preset: Preset,
    mode: str,
    grainy: Callable[..., Image.Image],
    encode: Encode,
    measured: Callable[..., list[int]],
) -> None:
    data = encode(grainy(mode, (2400, 800)), "PNG", compress_level=1)

    peak, estimate, _ = measured([(data, preset)])

    assert peak <= estimate


@pytest.mark.parametrize("resizer", ["pillow", "simd"])
def test_turning_and_converting_colours_stay_within_the_estimate(
    resizer: str,
    grainy: Callable[..., Image.Image],
    encode: Encode,
    icc_profile: Callable[..., bytes],
    measured: Callable[..., list[int]],
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = icc_profile(primaries=((0.3851, 0.7169, 0.0971), (0.4361, 0.2225, 0.0139), (0.1431, 0.0606, 0.7141)))
    data = encode(grainy("RGB", (2400, 1800)), "JPEG", exif=exif, icc_profile=profile)

    peak, estimate, _ = measured([(data, Preset("full", 2000, 2000, FitMode.CONTAIN, 90))], resizer)

    assert peak <= estimate


@pytest.mark.parametrize("quality", [90, 100])
@pytest.mark.parametrize("is_progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_of_every_kind_stays_within_its_estimate(
    quality: int,
    is_progressive: bool,
    mode: str,
    grainy: Callable[..., Image.Image],
    encode: Encode,
    measured: Callable[..., list[int]],
) -> None:
    data = encode(grainy(mode, (2400, 800)), "PNG", compress_level=1)
    preset = Preset("same", 2400, 0, FitMode.CONTAIN, quality, progressive=is_progressive)

    peak, estimate, _ = measured([(data, preset)])

    assert peak <= estimate


@pytest.mark.parametrize("quality", [80, 100])
@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("GIF", "RGB", {}),
        ("PNG", "RGBA", {"compress_level": 1}),
        ("WEBP", "RGB", {"method": 0}),
        ("WEBP", "RGBA", {"lossless": True, "quality": 0, "method": 0}),
    ],
)
def test_an_animation_stays_within_its_estimate(
    kind: str,
    mode: str,
    options: dict[str, Any],
    quality: int,
    grainy: Callable[..., Image.Image],
    encode: Encode,
    measured: Callable[..., list[int]],
) -> None:
    frames = [grainy(mode, (800, 600)) for _ in range(8)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    preset = replace(BLUESKY.get("feed_fullsize"), quality=quality, animated=True)

    peak, estimate, _ = measured([(data, preset)])

    assert peak <= estimate


def test_a_transparent_colour_of_16_bits_stays_within_its_estimate(
    grainy: Callable[..., Image.Image], encode: Encode, measured: Callable[..., list[int]]
) -> None:
    data = encode(grainy("I;16", (2400, 1800)), "PNG", compress_level=1, transparency=5)

    peak, estimate, _ = measured([(data, TINY)])

    assert peak <= estimate


def test_the_worst_at_once_stay_within_the_sum_of_their_estimates(
    grainy: Callable[..., Image.Image], encode: Encode, measured: Callable[..., list[int]]
) -> None:
    size = (3000, 2000)
    sources = [
        encode(grainy("CMYK", size), "JPEG", progressive=True),
        encode(grainy("RGBA", size), "PNG", compress_level=1),
        encode(grainy("RGB", size), "WEBP", method=0),
        encode(grainy("RGBA", size), "WEBP", method=0, lossless=True, quality=0),
        encode(grainy("RGB", size), "JPEG", progressive=True, subsampling=0),
        encode(grainy("P", size), "GIF", transparency=0, disposal=2),
    ]
    preset = DEFAULT.get("content_full")

    peak, estimate, _ = measured([(data, preset) for data in sources], rounds=4)

    assert peak <= 1.15 * estimate  # malloc keeps what earlier rounds used


@pytest.mark.parametrize("made", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize(
    ("kind", "modes"),
    [
        ("JPEG", ("L", "RGB", "CMYK")),
        ("PNG", ("L", "1", "P", "RGBA")),
        ("GIF", ("P",)),
        ("WEBP", ("RGB", "RGBA")),
        ("AVIF", ("RGB", "RGBA")),
    ],
)
def test_more_in_a_pixel_never_makes_the_estimate_smaller(
    kind: str, modes: tuple[str, ...], made: ImageFormat, encode: Encode, processor: PillowProcessor
) -> None:
    preset = Preset("box", 500, 500, FitMode.COVER, 80, format=made)
    files = [encode(Image.new("L", (1000, 800)).convert(mode), kind) for mode in modes]

    estimates = [processor.estimate(data, preset) for data in files]

    assert estimates == sorted(estimates)
    assert estimates[0] > 1000 * 800 / 4  # drafted, a JPEG has a quarter of its pixels


def test_scans_that_a_decoder_has_to_gather_cost_more(encode: Encode, processor: PillowProcessor) -> None:
    image = Image.new("RGB", (1600, 1600))

    baseline, subsampled, progressive = (
        processor.estimate(encode(image, "JPEG", **options), TINY)
        for options in ({}, {"progressive": True}, {"progressive": True, "subsampling": 0})
    )

    assert subsampled - baseline == pytest.approx(3 * 1600 * 1600, rel=0.05)
    assert progressive - baseline == pytest.approx(6 * 1600 * 1600, rel=0.05)


def test_an_image_that_only_has_to_be_cut_takes_no_memory_for_resizing(
    encode: Encode, processor: PillowProcessor
) -> None:
    data = encode(Image.new("RGB", (8000, 500)), "PNG")

    cut = processor.estimate(data, Preset("cut", 500, 500, FitMode.COVER, 80))
    resized = processor.estimate(data, Preset("resized", 499, 499, FitMode.COVER, 80))

    assert resized - cut > 900_000


def test_estimating_decodes_nothing(photos: dict[str, Any], processor: PillowProcessor) -> None:
    whole = photos["landscape"].data
    cut = whole[:4096]

    with pytest.raises(ProcessingError):
        processor.process(cut, TINY)

    assert 0 < processor.estimate(cut, TINY) < processor.estimate(whole, TINY)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", UnsupportedFormatError),
        (b"<svg></svg>", UnsupportedFormatError),
        (b"\x89PNG\r\n\x1a\n nothing else", ProcessingError),
        (b"\xff\xd8\xff", ProcessingError),
        (b"RIFF\x00\x00\x00\x00WEBPnone", ProcessingError),
    ],
)
def test_a_header_that_is_refused_has_no_estimate(
    data: bytes, error: type[ImageProxyError], processor: PillowProcessor
) -> None:
    with pytest.raises(error) as processed:
        processor.process(data, TINY)
    with pytest.raises(error) as estimated:
        processor.estimate(data, TINY)

    assert str(estimated.value) == str(processed.value)
    assert estimated.value.preset == "tiny"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
@pytest.mark.parametrize(("source", "result"), [((60, 50), 40), ((40, 40), 60)])
def test_too_many_pixels_have_no_estimate(kind: str, source: tuple[int, int], result: int, encode: Encode) -> None:
    processor = PillowProcessor(max_pixels=2000)
    data = encode(Image.new("RGB", source), kind)
    preset = Preset("box", result, result, FitMode.COVER, 80)

    with pytest.raises(ImageTooLargeError) as processed:
        processor.process(data, preset)
    with pytest.raises(ImageTooLargeError) as estimated:
        processor.estimate(data, preset)

    assert estimated.value.actual == processed.value.actual
    assert estimated.value.preset == "box"


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_a_picture_that_may_lie_on_its_side_is_reckoned_with_either_way(
    kind: str, encode: Encode, processor: PillowProcessor
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (1000, 100))
    preset = Preset("wide", 800, 0, FitMode.CONTAIN, 80, format="avif", enlarge=True)

    plain = processor.estimate(encode(image, kind), preset)
    turned = processor.estimate(encode(image, kind, exif=exif), preset)

    assert turned > 10 * plain


def test_a_draft_makes_the_estimate_smaller(grainy: Callable[..., Image.Image], encode: Encode) -> None:
    data = encode(grainy("RGB", (2400, 1800)), "JPEG")
    processor = PillowProcessor()

    estimates = [
        processor.estimate(data, Preset("box", side, side, FitMode.COVER, 80)) for side in (100, 250, 600, 1800)
    ]

    assert estimates == sorted(estimates)
    assert estimates[-1] > 4 * estimates[0]
