from __future__ import annotations

import io
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imageproxy.errors import ImageProxyError, ImageTooLargeError, ProcessingError
from imageproxy.presets import FitMode, Preset
from imageproxy.processors import PillowProcessor, _libwebp
from imageproxy.processors._decoder import Decoder
from imageproxy.processors._foreign import CAN_BE_COLOUR
from imageproxy.processors._headers import Header, read_header
from imageproxy.processors._libwebp import LibWebP, libwebp
from imageproxy.processors._resize import make_resizer
from imageproxy.testing.photos import DrawnPhoto

pytestmark = pytest.mark.usefixtures("pillow_globals")

KINDS: list[dict[str, Any]] = [
    {},
    {"quality": 1},
    {"quality": 100, "method": 6},
    {"lossless": True},
    {"lossless": True, "exact": True, "method": 0},
    {"alpha_quality": 10},
    {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"},
]
WIDE = Preset("wide", 64, 16, FitMode.COVER, 80)


@pytest.fixture(scope="module")
def lib() -> LibWebP:
    library = libwebp()
    assert library is not None, "this Pillow has its libwebp built in; install one of its wheels for Linux or macOS"
    return library


@pytest.fixture(scope="module")
def picture(photos: dict[str, DrawnPhoto]) -> Image.Image:
    image = Image.open(io.BytesIO(photos["portrait"].data)).resize((173, 231))
    assert image.mode == "RGBA"
    return image


def by_pillow(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=["WEBP"])
    image.load()
    return image


def header_of(data: bytes) -> Header:
    return read_header(data, "webp")


def whole(data: bytes, lib: LibWebP) -> Image.Image:
    header = header_of(data)
    return lib.decoded(header, header.height)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("size", [(173, 231), (16, 16), (1, 1), (17, 2)])
def test_the_pixels_are_those_that_pillow_decodes(
    size: tuple[int, int], options: dict[str, Any], mode: str,
    picture: Image.Image, encode: Callable[..., bytes], lib: LibWebP,
) -> None:  # fmt: skip
    data = encode(picture.resize(size).convert(mode), "WEBP", **options)

    image = whole(data, lib)

    assert (image.mode, image.size) == (mode, size)
    assert image.tobytes() == by_pillow(data).tobytes()


@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("rows", [1, 8, 17, 100, 230])
def test_the_first_rows_are_those_of_the_whole(
    rows: int, options: dict[str, Any], picture: Image.Image, encode: Callable[..., bytes], lib: LibWebP
) -> None:
    data = encode(picture, "WEBP", **options)

    image = lib.decoded(header_of(data), rows)

    assert image.size == (picture.width, rows)
    exact = (0, 0, picture.width, rows - 1)
    assert image.crop(exact).tobytes() == by_pillow(data).crop(exact).tobytes()


def test_real_files_are_taken_as_pillow_takes_them(
    shared_file: Path | None, picture: Image.Image, encode: Callable[..., bytes], lib: LibWebP
) -> None:
    data = encode(picture, "WEBP") if shared_file is None else shared_file.read_bytes()
    if data[8:12] != b"WEBP":
        return
    try:
        header = header_of(data)
    except ImageProxyError:
        return
    if header.width * header.height < 50_000_000 and lib.takes(header):
        assert_alike(header, lib)


def assert_alike(header: Header, lib: LibWebP) -> None:
    """Both refuse it, or make the same of it."""
    try:
        image = lib.decoded(header, header.height)
    except ProcessingError:
        with pytest.raises(Exception):  # noqa: B017, PT011 - Pillow's are of many kinds
            by_pillow(header.source)
    else:
        expected = by_pillow(header.source)
        assert image.size == expected.size
        assert image.convert("RGBA").tobytes() == expected.convert("RGBA").tobytes()


@settings(max_examples=300, deadline=None)
@given(data=st.data(), options=st.sampled_from(KINDS), mode=st.sampled_from(["RGB", "RGBA"]))
def test_a_broken_file_is_taken_as_pillow_takes_it(
    data: st.DataObject, options: dict[str, Any], mode: str,
    picture: Image.Image, encode: Callable[..., bytes], lib: LibWebP,
) -> None:  # fmt: skip
    source = bytearray(encode(picture.convert(mode), "WEBP", **options))
    for _ in range(data.draw(st.integers(0, 4))):
        source[data.draw(st.integers(12, len(source) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    broken = bytes(source[: data.draw(st.integers(len(source) // 2, len(source)))])
    try:
        header = header_of(broken)
    except ImageProxyError:
        return
    if header.width * header.height < 10_000_000 and lib.takes(header):
        assert_alike(header, lib)


@pytest.mark.parametrize("resizer", ["pillow", "simd"])
@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_without_it_the_results_are_the_same(
    mode: str, options: dict[str, Any], resizer: str,
    picture: Image.Image, encode: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    data = encode(picture.convert(mode), "WEBP", **options)
    fitting = Preset("fitting", 500, 500, FitMode.CONTAIN, 80)
    presets = [WIDE, fitting, fitting.with_format("png")]
    direct = [PillowProcessor(resizer=resizer).process(data, preset) for preset in presets]
    monkeypatch.setattr("imageproxy.processors._libwebp.libwebp", lambda: None)

    assert [PillowProcessor(resizer=resizer).process(data, preset) for preset in presets] == direct


def test_it_takes_less_memory_than_pillow_does(
    picture: Image.Image, encode: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(picture.convert("RGB").resize((1600, 1200)), "WEBP")
    direct = PillowProcessor().estimate(data, WIDE)
    monkeypatch.setattr("imageproxy.processors._libwebp.libwebp", lambda: None)

    assert direct < PillowProcessor().estimate(data, WIDE) / (3 if CAN_BE_COLOUR else 1.5)  # before 13, a copy more


def test_animations_are_left_to_pillow(encode: Callable[..., bytes], lib: LibWebP) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])

    assert not lib.takes(header_of(data))
    assert Image.open(io.BytesIO(PillowProcessor().process(data, WIDE))).size == (64, 16)


@pytest.mark.parametrize("limit", [900, 500])
def test_pillows_own_limit_holds(limit: int, encode: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("RGB", (40, 40)), "WEBP")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageTooLargeError, match="MAX_IMAGE_PIXELS"):
            PillowProcessor().process(data, WIDE)


def test_a_size_that_is_not_the_files_is_refused(encode: Callable[..., bytes], lib: LibWebP) -> None:
    data = encode(Image.new("RGB", (40, 40)), "WEBP")

    with pytest.raises(ProcessingError, match="libwebp says"):
        lib.decoded(replace(header_of(data), width=41), 40)


def test_the_picture_may_be_changed_in_place(picture: Image.Image, encode: Callable[..., bytes], lib: LibWebP) -> None:
    """Premultiplying it takes no other image, as nobody else has its memory."""
    image = whole(encode(picture, "WEBP", lossless=True), lib)

    assert image.tobytes() != make_resizer("simd").premultiplied(image).tobytes() == image.tobytes()


def test_threads_share_it(picture: Image.Image, encode: Callable[..., bytes], lib: LibWebP) -> None:
    sources = [encode(picture.convert(mode), "WEBP", **options) for mode in ("RGB", "RGBA") for options in KINDS]
    expected = [by_pillow(source).tobytes() for source in sources]
    differing: list[int] = []

    def work() -> None:
        for number, source in enumerate(sources * 5):
            if whole(source, lib).tobytes() != expected[number % len(sources)]:
                differing.append(number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not differing


@pytest.mark.parametrize("error", [AttributeError, OSError, ImportError, ValueError])
def test_where_it_is_not_to_be_had_pillow_decodes(
    error: type[Exception], encode: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: str) -> None:
        raise error

    monkeypatch.setattr(_libwebp, "CDLL", fail)
    data = encode(Image.new("RGB", (40, 40)), "WEBP")
    decoder = Decoder(make_resizer("pillow"), 10_000)

    assert libwebp() is None
    assert not decoder.is_direct(header_of(data))
    assert decoder.decode(header_of(data), WIDE).image.size == (40, 40)


def test_a_python_without_ctypes_has_pillow(encode: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageproxy.processors._libwebp", None)
    header = header_of(encode(Image.new("RGB", (40, 40)), "WEBP"))
    decoder = Decoder(make_resizer("pillow"), 10_000)

    assert not decoder.is_direct(header)
    assert decoder.decode(header, WIDE).image.size == (40, 40)


def test_a_version_that_is_not_known_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_libwebp, "_ABI_VERSION", 0x0909)

    assert libwebp() is None


def test_before_pillow_13_there_is_a_copy_more(
    picture: Image.Image, encode: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, lib: LibWebP
) -> None:
    monkeypatch.setattr(_libwebp, "CAN_BE_COLOUR", False)
    data = encode(picture.convert("RGB"), "WEBP")

    assert whole(data, lib).tobytes() == by_pillow(data).tobytes()
