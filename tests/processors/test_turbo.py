from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from imageproxy.errors import ImageProxyError, ProcessingError
from imageproxy.presets import Preset
from imageproxy.processors import PillowProcessor
from imageproxy.processors._headers import Header, read_header
from imageproxy.processors._turbo import decoded, turbo
from imageproxy.testing.photos import DrawnPhoto

pytestmark = pytest.mark.usefixtures("pillow_globals")

FACTORS = [1, 2, 4, 8]
KINDS: list[dict[str, Any]] = [
    {},
    {"subsampling": 0},
    {"subsampling": 1},
    {"progressive": True},
    {"restart_marker_rows": 1},
    {"keep_rgb": True},
    {"quality": 100},
]


@pytest.fixture(scope="module")
def lib() -> Any:
    library = turbo()
    assert library is not None  # the extra is among what the tests install
    return library


@pytest.fixture(scope="module")
def picture(photos: dict[str, DrawnPhoto]) -> Image.Image:
    return Image.open(io.BytesIO(photos["landscape"].data)).resize((333, 217))


def by_pillow(header: Header, factor: int) -> Image.Image:
    image = Image.open(io.BytesIO(header.source), formats=["JPEG"])
    image.draft(None, (image.width // factor, image.height // factor))
    image.load()
    return image


def assert_alike(header: Header, factor: int, lib: Any) -> Image.Image | None:
    """What the one takes the other takes, too, and makes the same of it."""
    image = decoded(header, factor, lib)
    if image is not None:
        expected = by_pillow(header, factor)
        assert (image.mode, image.size) == (expected.mode, expected.size)
        assert image.tobytes() == expected.tobytes()
    return image


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("size", [(333, 217), (16, 16), (17, 9), (8, 8)])
def test_the_pixels_are_those_that_pillow_decodes(
    size: tuple[int, int], options: dict[str, Any], mode: str, factor: int,
    picture: Image.Image, encode: Callable[..., bytes], lib: Any,
) -> None:  # fmt: skip
    data = encode(picture.resize(size).convert(mode), "JPEG", **options)

    assert assert_alike(read_header(data, "jpeg"), factor, lib) is not None


def test_real_files_are_taken_as_pillow_takes_them(
    shared_file: Path | None, picture: Image.Image, encode: Callable[..., bytes], lib: Any
) -> None:
    data = encode(picture, "JPEG") if shared_file is None else shared_file.read_bytes()
    if not data.startswith(b"\xff\xd8"):
        return
    try:
        header = read_header(data, "jpeg")
    except ImageProxyError:
        return
    for factor in FACTORS:
        assert_alike(header, factor, lib)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), options=st.sampled_from(KINDS), factor=st.sampled_from(FACTORS))
def test_a_broken_file_that_is_taken_is_what_pillow_makes_of_it(
    data: st.DataObject, options: dict[str, Any], factor: int,
    picture: Image.Image, encode: Callable[..., bytes], lib: Any,
) -> None:  # fmt: skip
    source = bytearray(encode(picture, "JPEG", **options))
    for _ in range(data.draw(st.integers(1, 4))):
        source[data.draw(st.integers(2, len(source) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    broken = bytes(source[: data.draw(st.integers(len(source) // 2, len(source)))])
    try:
        header = read_header(broken, "jpeg")
    except ImageProxyError:
        return
    if header.width * header.height < 10_000_000:
        assert_alike(header, factor, lib)


def test_a_picture_that_is_cut_off_is_left_to_pillow(
    picture: Image.Image, encode: Callable[..., bytes], box_preset: Callable[..., Preset], lib: Any
) -> None:
    data = encode(picture, "JPEG")[:-200]

    assert decoded(read_header(data, "jpeg"), 1, lib) is None
    with pytest.raises(ProcessingError, match="truncated"):
        PillowProcessor(resizer="simd").process(data, box_preset(100, 100))


def test_what_follows_the_picture_changes_nothing(picture: Image.Image, encode: Callable[..., bytes], lib: Any) -> None:
    data = encode(picture, "JPEG")
    alone, followed = (decoded(read_header(each, "jpeg"), 1, lib) for each in (data, data + data[: len(data) // 2]))

    assert alone is not None
    assert followed is not None
    assert alone.tobytes() == followed.tobytes()


def test_the_colours_of_a_press_are_left_to_pillow(
    picture: Image.Image, encode: Callable[..., bytes], lib: Any
) -> None:
    assert decoded(read_header(encode(picture.convert("CMYK"), "JPEG"), "jpeg"), 1, lib) is None


def test_a_size_that_the_file_does_not_have_is_left_to_pillow(
    picture: Image.Image, encode: Callable[..., bytes], lib: Any
) -> None:
    header = read_header(encode(picture, "JPEG"), "jpeg")

    assert decoded(replace(header, width=header.width + 1), 1, lib) is None


def test_an_image_over_the_limit_of_the_app_is_left_to_pillow(
    picture: Image.Image, encode: Callable[..., bytes], lib: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = read_header(encode(picture, "JPEG"), "jpeg")

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 333 * 217 - 1)
    assert decoded(header, 1, lib) is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decoded(header, 1, lib) is not None


def test_the_processor_uses_it(
    picture: Image.Image, encode: Callable[..., bytes], box_preset: Callable[..., Preset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def untouched(*_: object) -> None:
        raise AssertionError("Pillow decoded the JPEG")

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", untouched)
    data, preset = encode(picture, "JPEG"), box_preset(100, 100)

    assert PillowProcessor(resizer="simd").process(data, preset).startswith(b"\xff\xd8")
    with pytest.raises(ProcessingError, match="Pillow decoded the JPEG"):
        PillowProcessor(resizer="pillow").process(data, preset)


def test_without_the_extra_the_result_is_the_same(
    picture: Image.Image, encode: Callable[..., bytes], box_preset: Callable[..., Preset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    data, preset = encode(picture, "JPEG"), box_preset(100, 60, "cover")
    result = PillowProcessor(resizer="simd").process(data, preset)
    monkeypatch.setitem(sys.modules, "simplejpeg", None)

    assert turbo() is None
    assert PillowProcessor(resizer="simd").process(data, preset) == result


def test_nothing_is_warned_of(picture: Image.Image, encode: Callable[..., bytes], lib: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in ("RGB", "L"):
            assert decoded(read_header(encode(picture.convert(mode), "JPEG"), "jpeg"), 1, lib) is not None
