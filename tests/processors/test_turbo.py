from __future__ import annotations

import io
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imageproxy.errors import ImageProxyError, ProcessingError
from imageproxy.presets import Preset
from imageproxy.processors import PillowProcessor
from imageproxy.processors._cut import without_lower_rows
from imageproxy.processors._geometry import place
from imageproxy.processors._headers import Header, read_header
from imageproxy.processors._turbo import Turbo, turbo
from imageproxy.testing.photos import DrawnPhoto

pytestmark = [
    pytest.mark.usefixtures("pillow_globals"),
    pytest.mark.skipif(int(PIL.__version__.partition(".")[0]) < 13, reason="older ones decode all JPEGs themselves"),
]

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
def lib() -> Turbo:
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


def decoded(header: Header, factor: int, lib: Turbo) -> Image.Image | None:
    return lib.decoded(header, factor, is_whole=True)


def assert_alike(header: Header, factor: int, lib: Turbo) -> Image.Image | None:
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
@pytest.mark.parametrize("size", [(333, 217), (16, 16), (17, 29)])
def test_the_pixels_are_those_that_pillow_decodes(
    size: tuple[int, int], options: dict[str, Any], mode: str, factor: int,
    picture: Image.Image, encode: Callable[..., bytes], lib: Turbo,
) -> None:  # fmt: skip
    data = encode(picture.resize(size).convert(mode), "JPEG", **options)

    assert assert_alike(read_header(data, "jpeg"), factor, lib) is not None


def test_real_files_are_taken_as_pillow_takes_them(
    shared_file: Path | None, picture: Image.Image, encode: Callable[..., bytes], lib: Turbo
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
    picture: Image.Image, encode: Callable[..., bytes], lib: Turbo,
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
    picture: Image.Image, encode: Callable[..., bytes], box_preset: Callable[..., Preset], lib: Turbo
) -> None:
    data = encode(picture, "JPEG")[:-200]

    assert decoded(read_header(data, "jpeg"), 1, lib) is None
    with pytest.raises(ProcessingError, match="truncated"):
        PillowProcessor(resizer="simd").process(data, box_preset(100, 100))


def test_what_follows_the_picture_changes_nothing(
    picture: Image.Image, encode: Callable[..., bytes], lib: Turbo
) -> None:
    data = encode(picture, "JPEG")
    alone, followed = (decoded(read_header(each, "jpeg"), 1, lib) for each in (data, data + data[: len(data) // 2]))

    assert alone is not None
    assert followed is not None
    assert alone.tobytes() == followed.tobytes()


def test_the_colours_of_a_press_are_left_to_pillow(
    picture: Image.Image, encode: Callable[..., bytes], lib: Turbo
) -> None:
    assert decoded(read_header(encode(picture.convert("CMYK"), "JPEG"), "jpeg"), 1, lib) is None


def test_a_size_that_the_file_does_not_have_is_left_to_pillow(
    picture: Image.Image, encode: Callable[..., bytes], lib: Turbo
) -> None:
    header = read_header(encode(picture, "JPEG"), "jpeg")

    assert decoded(replace(header, width=header.width + 1), 1, lib) is None


def test_an_image_over_the_limit_of_the_app_is_left_to_pillow(
    picture: Image.Image, encode: Callable[..., bytes], lib: Turbo, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = read_header(encode(picture, "JPEG"), "jpeg")

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 333 * 217 - 1)
    assert decoded(header, 1, lib) is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decoded(header, 1, lib) is not None


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_was_in_memory_before_is_never_shown(
    mode: str, is_whole: bool, picture: Image.Image, encode: Callable[..., bytes], lib: Turbo
) -> None:
    """libjpeg-turbo tells a fatal error as a warning where there was one before; a progressive file then has no row."""
    data = encode(picture.convert(mode), "JPEG", progressive=True)
    warned, failed = b"\xff\xd0\x11\x22\x33", b"\xff\xda\x00\x08\x01\x09\x00\x00\x3f\x00"
    header = read_header(data[:-2] + warned + failed + data[-2:], "jpeg")

    with pytest.raises(OSError, match="broken data stream"):
        by_pillow(header, 1)
    for factor in FACTORS:
        assert lib.decoded(header, factor, is_whole=is_whole) is None


@settings(max_examples=200, deadline=None)
@given(data=st.data(), options=st.sampled_from(KINDS), mode=st.sampled_from(["RGB", "L"]))
def test_of_a_broken_file_that_is_cut_as_well_nothing_else_is_shown(
    data: st.DataObject, options: dict[str, Any], mode: str,
    picture: Image.Image, encode: Callable[..., bytes], box_preset: Callable[..., Preset], lib: Turbo,
) -> None:  # fmt: skip
    source = bytearray(encode(picture.convert(mode), "JPEG", **options))
    for _ in range(data.draw(st.integers(1, 4))):
        source[data.draw(st.integers(2, len(source) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        header = read_header(bytes(source), "jpeg")
    except ImageProxyError:
        return
    if header.width * header.height < 10_000_000:
        banner = box_preset(160, 40, "cover")
        kept = without_lower_rows(header, place((header.width, header.height), banner))
        shown = set()
        for number in range(3):  # what is left over from others would be another thing each time
            noise = [bytes([number]) * (kept.width * kept.height * 4) for _ in range(3)]
            del noise
            image = lib.decoded(kept, 1, is_whole=False)
            shown.add(image and image.tobytes())
        assert len(shown) == 1


def test_the_end_of_a_thumbnail_is_not_that_of_the_picture(
    picture: Image.Image, encode: Callable[..., bytes], lib: Turbo
) -> None:
    data, thumbnail = encode(picture, "JPEG"), b"JFXX\0\x10" + encode(picture.resize((16, 16)), "JPEG")
    jfxx = b"\xff\xe0" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    cut_off = data[:2] + jfxx + data[2 : len(data) // 2]

    assert decoded(read_header(cut_off, "jpeg"), 1, lib) is None


def test_few_pixels_are_scaled_by_pillow(picture: Image.Image, encode: Callable[..., bytes], lib: Turbo) -> None:
    header = read_header(encode(picture.resize((3, 3)), "JPEG"), "jpeg")

    assert decoded(header, 2, lib) is None
    assert assert_alike(header, 1, lib) is not None


def test_a_pillow_that_would_crash_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imageproxy.processors._turbo.CAN_BE_COLOUR", False)

    assert turbo() is None


def test_a_numpy_that_does_not_fit_is_told_and_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(self: Turbo) -> None:
        raise ValueError("numpy.dtype size changed")

    monkeypatch.setattr(Turbo, "__init__", failing)

    assert turbo() is None
    assert "JPEGs are decoded by Pillow: ValueError('numpy.dtype size changed')" in caplog.text


@pytest.mark.parametrize(("resizer", "expected"), [("simd", "False True"), ("pillow", "False False")])
def test_it_is_loaded_with_the_first_jpeg_where_it_is_used(resizer: str, expected: str) -> None:
    script = (
        "import sys\n"
        "from imageproxy import DEFAULT, PillowProcessor\n"
        "from imageproxy.testing import drawn_photos\n"
        "photos = {photo.name: photo.data for photo in drawn_photos()}\n"
        f"processor = PillowProcessor(resizer={resizer!r})\n"
        "for name in ('icon', 'panorama'):\n"
        "    processor.process(photos[name], DEFAULT.get('avatar_small'))\n"
        "    print('simplejpeg' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.split() == expected.split()


def test_without_the_extra_the_result_is_the_same(
    picture: Image.Image, encode: Callable[..., bytes], box_preset: Callable[..., Preset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    data, preset = encode(picture, "JPEG"), box_preset(100, 60, "cover")
    result = PillowProcessor(resizer="simd").process(data, preset)
    monkeypatch.setitem(sys.modules, "simplejpeg", None)

    assert turbo() is None
    assert PillowProcessor(resizer="simd").process(data, preset) == result


def test_nothing_is_warned_of(picture: Image.Image, encode: Callable[..., bytes], lib: Turbo) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in ("RGB", "L"):
            assert decoded(read_header(encode(picture.convert(mode), "JPEG"), "jpeg"), 1, lib) is not None
