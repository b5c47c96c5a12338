from __future__ import annotations

import io
import random
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imageproxy.errors import ImageProxyError
from imageproxy.presets import Preset
from imageproxy.processors import PillowProcessor
from imageproxy.processors._headers import read_header
from imageproxy.processors._inflated import READ_BYTES, InflatedPNG, inflater

Chunk = Callable[[bytes, bytes], bytes]

pytestmark = pytest.mark.usefixtures("pillow_globals")

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KINDS = [
    (bits, colours)
    for colours, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items()
    for bits in depths
]


@pytest.fixture(scope="module")
def isal() -> Any:
    library = inflater()
    assert library is not None  # the extra is among what the tests install
    return library


def opened(file: Any) -> tuple[str, tuple[int, int], bytes]:
    with file, Image.open(file, formats=["PNG"]) as image:
        image.load()
        return image.mode, image.size, image.tobytes()


@pytest.mark.parametrize(("bits", "colours"), KINDS)
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (37, 23), (300, 517)])
def test_the_pixels_are_those_that_pillow_inflates(
    bits: int, colours: int, interlaced: bool, size: tuple[int, int], png: Callable[..., bytes], isal: Any
) -> None:
    source = png(*size, bits, colours, interlaced=interlaced)
    inflated = InflatedPNG.of(source, isal)

    assert inflated is not None
    assert opened(inflated) == opened(io.BytesIO(source))


def test_what_is_handed_over_is_the_beginning_of_a_png_whose_pixels_any_zlib_reads(
    png: Callable[..., bytes], isal: Any
) -> None:
    source = png(1900, 700, 8, 2)
    inflated = InflatedPNG.of(source, isal)
    assert inflated is not None
    parts = list(iter(lambda: inflated.read(READ_BYTES), b""))

    assert max(map(len, parts)) <= READ_BYTES
    head, stream = parts[0], b"".join(parts[1:])
    assert head[12:16] == b"IHDR"
    assert head[-4:] == b"IDAT"
    assert len(zlib.decompressobj().decompress(stream)) == 700 * 5701


def test_many_small_chunks_are_handed_over_in_few_parts(png_chunk: Chunk, isal: Any) -> None:
    rows = random.Random(1).randbytes(3 * 1000 + 1) * 300
    packed = zlib.compress(rows, 1)
    chunks = b"".join(png_chunk(b"IDAT", packed[at : at + 10]) for at in range(0, len(packed), 10))
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1000, 300, 8, 2, 0, 0, 0))
    inflated = InflatedPNG.of(SIGNATURE + head + chunks, isal)

    assert inflated is not None
    assert len(list(iter(lambda: inflated.read(READ_BYTES), b""))) <= 12


def test_both_resizers_take_real_files_alike(shared_file: Path | None, png: Callable[..., bytes], isal: Any) -> None:
    data = png(640, 480, 8, 6) if shared_file is None else shared_file.read_bytes()
    if not data.startswith(SIGNATURE):
        return
    try:
        source = read_header(data, "png").source
    except ImageProxyError:
        return
    assert outcome(InflatedPNG.of(source, isal) or io.BytesIO(source)) == outcome(io.BytesIO(source))


def outcome(file: Any) -> Any:
    """The pixels, or that there are none."""
    try:
        return opened(file)
    except Exception:  # noqa: BLE001 - whatever a broken file makes Pillow raise
        return "broken"


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(KINDS), interlaced=st.booleans())
def test_a_broken_png_is_broken_with_either_inflater(
    data: st.DataObject, kind: tuple[int, int], interlaced: bool, png: Callable[..., bytes], isal: Any
) -> None:
    source = bytearray(png(40, 30, *kind, interlaced=interlaced, seed=data.draw(st.integers(0, 9))))
    for _ in range(data.draw(st.integers(1, 3))):
        source[data.draw(st.integers(33, len(source) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    broken = bytes(source[: data.draw(st.integers(len(source) // 2, len(source)))])

    assert outcome(InflatedPNG.of(broken, isal) or io.BytesIO(broken)) == outcome(io.BytesIO(broken))


def test_a_stream_that_would_inflate_to_far_more_is_not_inflated_further(png_chunk: Chunk, isal: Any) -> None:
    bomb = zlib.compress(bytes(100_000_000), 9)
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    inflated = InflatedPNG.of(SIGNATURE + head + png_chunk(b"IDAT", bomb), isal)

    assert inflated is not None
    assert sum(map(len, iter(lambda: inflated.read(1_000_000), b""))) < 200


@pytest.mark.parametrize("cut", [0, 8, 20, 33])
def test_without_pixels_it_is_for_pillow_to_complain(cut: int, png: Callable[..., bytes], isal: Any) -> None:
    assert InflatedPNG.of(png(4, 4, 8, 0)[:33][:cut], isal) is None


def test_a_colour_type_that_there_is_not_is_for_pillow_to_complain(png_chunk: Chunk, isal: Any) -> None:
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 5, 0, 0, 0))

    assert InflatedPNG.of(SIGNATURE + head + png_chunk(b"IDAT", zlib.compress(bytes(20))), isal) is None


def test_a_chunk_longer_than_a_png_may_have_is_not_made(png_chunk: Chunk, isal: Any) -> None:
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))

    assert InflatedPNG.of(SIGNATURE + head + png_chunk(b"IDAT", zlib.compress(b"")), isal) is None


def test_without_the_extra_the_result_is_the_same(
    png: Callable[..., bytes], box_preset: Callable[..., Preset], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, preset = png(300, 517, 8, 2), box_preset(100, 100)
    with_isal = PillowProcessor(resizer="simd").process(data, preset)

    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)

    assert inflater() is None
    assert PillowProcessor(resizer="simd").process(data, preset) == with_isal
