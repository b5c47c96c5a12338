from __future__ import annotations

import io
import os
import struct
import sys
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imageproxy.errors import ImageProxyError, ImageTooLargeError
from imageproxy.presets import Preset
from imageproxy.processors import PillowProcessor
from imageproxy.processors._foreign import CAN_BE_COLOUR, blank
from imageproxy.processors._headers import Header, read_header
from imageproxy.processors._inflated import inflater
from imageproxy.processors._unfiltered import Unfilter, unfilter
from imageproxy.testing.photos import DrawnPhoto

Chunk = Callable[[bytes, bytes], bytes]
Build = Callable[..., bytes]

pytestmark = pytest.mark.usefixtures("pillow_globals")

COLOURS = {0: 1, 2: 3, 4: 2, 6: 4}  # bytes of a pixel
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def lib() -> Unfilter:
    library = unfilter(inflater())
    assert library is not None  # the extra is among what the tests install
    return library


def header_of(data: bytes) -> Header:
    return read_header(data, "png")


def by_pillow(header: Header) -> Image.Image:
    image = Image.open(io.BytesIO(header.source), formats=["PNG"])
    image.load()
    return image


def assert_alike(header: Header, lib: Unfilter) -> Image.Image | None:
    """What the one takes the other takes, too, and makes the same of it."""
    image = lib.decoded(header)
    if image is not None:
        expected = by_pillow(header)
        expected = expected.convert("RGBA") if expected.mode == "LA" else expected
        assert (image.mode, image.size) == (expected.mode, expected.size)
        assert image.tobytes() == expected.tobytes()
    return image


@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (37, 23), (300, 517), (1900, 700), (16_383, 70)])
def test_the_pixels_are_those_that_pillow_decodes(
    size: tuple[int, int], colours: int, png: Build, lib: Unfilter
) -> None:
    """Of rows with any filter; the larger ones take several parts."""
    image = assert_alike(header_of(png(*size, 8, colours)), lib)

    assert (image is None) == (size[0] * COLOURS[colours] >= 65_535)


@pytest.mark.parametrize(
    ("bits", "colours", "interlaced"), [(16, 2, False), (8, 3, False), (16, 4, False), (4, 0, False), (8, 2, True)]
)
def test_other_kinds_are_left_to_pillow(
    bits: int, colours: int, interlaced: bool, png: Build, lib: Unfilter
) -> None:  # fmt: skip
    assert lib.decoded(header_of(png(30, 20, bits, colours, interlaced=interlaced))) is None


def test_a_transparent_colour_is_left_to_pillow(encode: Callable[..., bytes], lib: Unfilter) -> None:
    data = encode(Image.new("RGB", (30, 20), "#102030"), "PNG", transparency=(16, 32, 48))

    assert lib.decoded(header_of(data)) is None


def test_real_files_are_taken_as_pillow_takes_them(shared_file: Path | None, png: Build, lib: Unfilter) -> None:
    data = png(640, 480, 8, 6) if shared_file is None else shared_file.read_bytes()
    if not data.startswith(SIGNATURE):
        return
    try:
        header = header_of(data)
    except ImageProxyError:
        return
    if header.width * header.height < 50_000_000:
        assert_alike(header, lib)


@pytest.mark.parametrize("name", ["portrait", "icon"])
def test_drawn_photos_are_taken(name: str, photos: dict[str, DrawnPhoto], lib: Unfilter) -> None:
    assert assert_alike(header_of(photos[name].data), lib) is not None


@settings(max_examples=300, deadline=None)
@given(data=st.data(), colours=st.sampled_from(sorted(COLOURS)))
def test_a_broken_file_that_is_taken_is_what_pillow_makes_of_it(
    data: st.DataObject, colours: int, png: Build, lib: Unfilter
) -> None:
    source = bytearray(png(40, 30, 8, colours, seed=data.draw(st.integers(0, 9))))
    for _ in range(data.draw(st.integers(0, 3))):
        source[data.draw(st.integers(33, len(source) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    broken = bytes(source[: data.draw(st.integers(len(source) // 2, len(source)))])
    try:
        header = header_of(broken)
    except ImageProxyError:
        return
    assert_alike(header, lib)


@pytest.mark.parametrize("colours", COLOURS)
def test_rows_that_are_missing_are_for_pillow_to_complain(
    colours: int, png_chunk: Chunk, png: Build, lib: Unfilter
) -> None:
    whole = png(300, 517, 8, colours)
    width, height, *rest = struct.unpack(">IIBBBBB", whole[16:29])
    taller = SIGNATURE + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height + 1, *rest)) + whole[33:]

    assert lib.decoded(header_of(taller)) is None


def test_a_filter_that_there_is_not_is_for_pillow_to_complain(png_chunk: Chunk, lib: Unfilter) -> None:
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(b"\x05abcd" * 4))

    assert lib.decoded(header_of(SIGNATURE + head + pixels + png_chunk(b"IEND", b""))) is None


@pytest.mark.parametrize("limit", [900, 500])
def test_pillows_own_limit_holds(
    limit: int, png: Build, box_preset: Callable[..., Preset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)

    with pytest.warns(Image.DecompressionBombWarning) if limit == 900 else pytest.raises(ImageTooLargeError):
        PillowProcessor(resizer="simd").process(png(40, 30, 8, 2), box_preset(10, 10))


@pytest.mark.parametrize("colours", COLOURS)
def test_without_it_the_results_are_the_same(
    colours: int, png: Build, box_preset: Callable[..., Preset], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = png(300, 517, 8, colours)
    presets = [box_preset(100, 100), box_preset(100, 20, "cover"), box_preset(200, 300, format="png")]
    fast = [PillowProcessor(resizer="simd").process(data, preset) for preset in presets]
    monkeypatch.setitem(sys.modules, "kornia_rs", None)

    assert unfilter(inflater()) is None
    assert [PillowProcessor(resizer="simd").process(data, preset) for preset in presets] == fast


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("opacity", [255, 254])
def test_transparency_that_there_is_not_costs_nothing(
    mode: str,
    opacity: int,
    lib: Unfilter,
    encode: Callable[..., bytes],
    box_preset: Callable[..., Preset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Image.effect_noise((300, 517), 60).convert("L" if mode == "LA" else "RGB")
    opaque = scene.convert(mode)
    opaque.putpixel((299, 516), (*opaque.getpixel((299, 516))[:-1], opacity))  # type: ignore[index]
    data = encode(opaque, "PNG")
    presets = [box_preset(100, 100), box_preset(300, 517), box_preset(200, 300, format="png")]

    image = lib.decoded(header_of(data))

    assert image is not None
    assert image.mode == ("RGB" if opacity == 255 and CAN_BE_COLOUR else "RGBA")
    assert image.convert("RGB").tobytes() == scene.convert("RGB").tobytes()
    fast = [PillowProcessor(resizer="simd").process(data, preset) for preset in presets]
    monkeypatch.setitem(sys.modules, "kornia_rs", None)
    assert [PillowProcessor(resizer="simd").process(data, preset) for preset in presets] == fast


def test_an_older_one_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import kornia_rs

    monkeypatch.delattr(kornia_rs.io, "decode_image_png_u8")

    assert unfilter(inflater()) is None


def test_a_numpy_that_does_not_fit_is_told_and_left_alone(
    png: Build, box_preset: Callable[..., Preset], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(self: Unfilter, zlib: object) -> None:
        raise ValueError("numpy.dtype size changed")

    monkeypatch.setattr(Unfilter, "__init__", failing)

    assert PillowProcessor(resizer="simd").process(png(40, 30, 8, 2), box_preset(10, 10))
    assert "PNGs are decoded by Pillow" in caplog.text


def test_before_pillow_13_colours_are_in_pillows_memory(
    png: Build, lib: Unfilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imageproxy.processors._foreign.CAN_BE_COLOUR", False)

    assert assert_alike(header_of(png(300, 517, 8, 2)), lib) is not None


def test_a_blank_image_may_be_drawn_on() -> None:
    import numpy as np

    for mode, colour in (("L", 7), ("RGB", (1, 2, 3)), ("RGBA", (1, 2, 3, 4))):
        image = blank((30, 20), mode, np)  # type: ignore[arg-type]
        image.paste(colour, (0, 0, 30, 20))

        assert image.getpixel((29, 19)) == colour


def test_it_works_for_one_thread_and_the_others_have_pillow(png: Build, lib: Unfilter) -> None:
    headers = [header_of(png(300, 517, 8, colours, seed=seed)) for colours in COLOURS for seed in range(4)]
    expected = [image.tobytes() for image in map(lib.decoded, headers) if image]
    found: list[bool] = []

    def work() -> None:
        for header, pixels in zip(headers, expected, strict=True):
            image = lib.decoded(header)
            if image is not None:
                found.append(image.tobytes() == pixels)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found)
    assert found


def test_while_it_works_for_another_pillow_decodes(
    png: Build, lib: Unfilter, box_preset: Callable[..., Preset], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, preset = png(300, 517, 8, 2), box_preset(100, 100)
    processor = PillowProcessor(resizer="simd")
    undisturbed = processor.process(data, preset)
    inner: list[bytes] = []
    real = Unfilter._put_together

    def disturbed(self: Unfilter, *args: Any) -> Image.Image | None:
        inner.append(processor.process(data, preset))
        return real(self, *args)

    monkeypatch.setattr(Unfilter, "_put_together", disturbed)

    assert processor.process(data, preset) == undisturbed
    assert inner == [undisturbed]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_child_forked_while_it_works_has_a_turn_of_its_own(png: Build, lib: Unfilter) -> None:
    header = header_of(png(40, 30, 8, 2))
    with lib._turn:
        assert lib.decoded(header) is None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads about is what this is about
            child = os.fork()
        if not child:
            status = 1
            try:
                status = 0 if lib.decoded(header) is not None else 1
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
