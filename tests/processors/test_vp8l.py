"""What lossless WebPs need beside their pixels, told from streams that no encoder writes, and held against libwebp."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from struct import pack

import pytest
from PIL import Image

from imageproxy.errors import ImageTooLargeError, ProcessingError
from imageproxy.presets import DEFAULT
from imageproxy.processors import PillowProcessor
from imageproxy.processors._headers import read_header
from imageproxy.processors._headers.vp8l import Walk
from imageproxy.processors._libwebp import LibWebP
from imageproxy.testing.photos import DrawnPhoto

Encode = Callable[..., bytes]
Decode = Callable[[bytes], Image.Image]

PREVIEW = DEFAULT.get("content_preview")
# The order in which the lengths of a code's lengths are told (RFC 9649, section 3.7.2.1).
ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8)
PREDICTOR, COLOUR, SUBTRACT_GREEN, PALETTE = range(4)


class Stream:
    """Writes bits, the least significant first, and what a lossless WebP is made of."""

    def __init__(self) -> None:
        self._value = self._count = 0
        self._parts: list[bytes] = []

    def bits(self, value: int, count: int) -> Stream:
        self._value |= value << self._count
        self._count += count
        if self._count > 4096:
            whole = self._count // 8
            self._parts.append((self._value & ((1 << 8 * whole) - 1)).to_bytes(whole, "little"))
            self._value >>= 8 * whole
            self._count -= 8 * whole
        return self

    def one(self, symbol: int = 0) -> Stream:
        """A code of one symbol, which takes no bits."""
        return self.bits(0b101, 3).bits(symbol, 8)

    def bytes_as_codes(self, symbols: int) -> Stream:
        """A code in which each byte is told by eight bits, and what comes after them not at all."""
        lengths = {8: 1, 18: 1}  # of the lengths: 8, and a run of zeros
        self.bits(0, 1).bits(len(ORDER) - 4, 4)
        for length in ORDER:
            self.bits(lengths.get(length, 0), 3)
        self.bits(0, 1).bits(0, 256)
        left = symbols - 256
        while left:
            run = left if left <= 138 else min(138, left - 11)
            self.bits(1, 1).bits(run - 11, 7)
            left -= run
        return self

    def byte(self, value: int) -> Stream:
        """A byte by such a code, of which codes begin with the most significant bit."""
        return self.bits(int(f"{value:08b}"[::-1], 2), 8)

    def plain_codes(self, green: int = 0) -> Stream:
        """The five codes of pictures all of one colour."""
        self.one(green)
        for _ in range(4):
            self.one()
        return self

    def numbers(self, count: int, of: Callable[[int], int] = lambda index: index) -> Stream:
        """A small image, without a cache of colours, whose pixels are numbers in red and green."""
        self.bits(0, 1).bytes_as_codes(256 + 24).bytes_as_codes(256)
        for _ in range(3):
            self.one()
        for index in range(count):
            self.byte(of(index) & 0xFF).byte(of(index) >> 8)
        return self

    def value(self) -> bytes:
        return b"".join((*self._parts, self._value.to_bytes((self._count + 7) // 8, "little")))


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + pack("<I", len(body)) + body + bytes(len(body) % 2)


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + pack("<I", len(body)) + body


def lossless(size: tuple[int, int], stream: Stream) -> bytes:
    width, height = size
    return chunk(b"VP8L", b"\x2f" + pack("<I", (width - 1) | (height - 1) << 14) + stream.value())


def of_sets(count: int, blocks_across: int = 256) -> tuple[tuple[int, int], Stream]:
    """The size and the stream of a picture in which each block has a set of codes of its own."""
    stream = Stream().bits(0, 1).bits(0, 1).bits(1, 1).bits(0, 3).numbers(count)
    for _ in range(count):
        stream.plain_codes()
    return (4 * blocks_across, 4 * (count // blocks_across)), stream


def beside(size: tuple[int, int], stream: Stream) -> int:
    return Walk().side_bytes(memoryview(stream.value()), size)


def sides(size: tuple[int, int]) -> bytes:
    return b"".join(pack("<I", side - 1)[:3] for side in size)


def animation(size: tuple[int, int], frames: list[bytes]) -> bytes:
    return riff(chunk(b"VP8X", bytes((2, 0, 0, 0)) + sides(size)), chunk(b"ANIM", bytes(6)), *frames)


@pytest.mark.parametrize("count", [256, 1024, 8192])
def test_the_tables_of_each_set_are_counted(count: int) -> None:
    size, stream = of_sets(count)

    assert beside(size, stream) == count * (2954 * 4 + 600 + 4)


@pytest.mark.parametrize("place", ["picture", "transparency"])
def test_tables_stay_within_the_estimate(place: str, measured: Callable[..., list[int]], encode: Encode) -> None:
    size, stream = of_sets(8192)
    data = riff(lossless(size, stream))
    if place == "transparency":
        lossy = encode(Image.new("RGB", size), "WEBP", method=0)[12:]
        canvas = bytes((0x10, 0, 0, 0)) + sides(size)
        data = riff(chunk(b"VP8X", canvas), chunk(b"ALPH", b"\1" + stream.value()), lossy)

    peak, estimate, _ = measured([(data, PREVIEW)])

    assert 8192 * 5 * 256 * 4 < peak <= estimate


@pytest.mark.parametrize("is_animated", [False, True])
def test_sets_without_number_are_refused_before_they_are_made(is_animated: bool) -> None:
    size, stream = of_sets(65_536)
    data = riff(lossless(size, stream))
    if is_animated:
        data = animation(size, [chunk(b"ANMF", bytes(6) + sides(size) + bytes(4) + data[12:])] * 2)

    for preset in (PREVIEW, DEFAULT.get("content_full").with_format("webp")):
        with pytest.raises(ImageTooLargeError, match=r"would take about 8\d\d,") as caught:
            PillowProcessor().process(data, preset)
        assert caught.value.limit == 400_000_000


def test_a_film_ends_before_the_frame_that_needs_too_much(encode: Encode) -> None:
    size, stream = of_sets(65_536)
    place = bytes(6) + sides(size) + bytes((40, 0, 0, 0))
    harmless = [encode(Image.new("RGB", size, colour), "WEBP", lossless=True)[12:] for colour in ("red", "blue")]
    frames = [chunk(b"ANMF", place + frame) for frame in (*harmless, harmless[0], lossless(size, stream))]

    result = PillowProcessor().process(animation(size, frames), replace(PREVIEW, format="webp", animated=True))

    with Image.open(BytesIO(result)) as image:
        assert getattr(image, "n_frames", 1) == 3


def test_where_the_symbols_run_out_the_most_that_the_file_can_need_is_told() -> None:
    size = 1024, 512
    stream = Stream().bits(1, 1).bits(PREDICTOR, 2).bits(0, 3).numbers(256 * 128, lambda index: index % 14)
    stream.bits(0, 1).bits(0, 1).bits(0, 1)
    view = memoryview(stream.value())
    most = len(view) * 8 // 20 * (5004 * 4 + 600) + 1024 * 512  # sets of 20 bits, and a number for each four pixels

    assert Walk(256 * 128).side_bytes(view, size) == 2954 * 4 + 600 + 4 * 256 * 128
    assert Walk(256 * 128 - 1).side_bytes(view, size) == most
    with pytest.raises(ImageTooLargeError, match=r"would take about"):
        PillowProcessor().estimate(riff(lossless((8000, 6000), of_many_symbols())), PREVIEW)


def of_many_symbols() -> Stream:
    """More than a walk takes."""
    return Stream().bits(1, 1).bits(PREDICTOR, 2).bits(0, 3).numbers(260_000, lambda index: index % 14)


def test_the_cache_of_colours_makes_the_tables_larger() -> None:
    assert beside((8, 8), Stream().bits(0, 1).bits(1, 1).bits(11, 4).bits(0, 1)) == 5004 * 4 + 600
    assert beside((8, 8), Stream().bits(0, 1).bits(0, 1).bits(0, 1)) == 2954 * 4 + 600


def test_transforms_are_passed() -> None:
    stream = Stream()
    stream.bits(1, 1).bits(PALETTE, 2).bits(3, 8).numbers(4)  # of four colours: four pixels are one
    stream.bits(1, 1).bits(SUBTRACT_GREEN, 2)
    stream.bits(1, 1).bits(PREDICTOR, 2).bits(1, 3).numbers(2 * 4)  # of 16 x 32 pixels in blocks of 8
    stream.bits(1, 1).bits(COLOUR, 2).bits(0, 3).bits(0, 1).plain_codes(7)
    stream.bits(0, 1).bits(0, 1)  # no more of them, no cache
    stream.bits(1, 1).bits(0, 3).numbers(4 * 8)

    assert beside((64, 32), stream) == 32 * (2954 * 4 + 600) + (4 + 8 + 32 + 32) * 4


def broken_streams() -> dict[str, Stream]:
    return {
        "twice in the same way": Stream().bits(1, 1).bits(SUBTRACT_GREEN, 2).bits(1, 1).bits(SUBTRACT_GREEN, 2),
        "cache of colours": Stream().bits(0, 1).bits(1, 1).bits(12, 4),
        "not complete": Stream().bits(1, 1).bits(PALETTE, 2).bits(0, 8).bits(0, 1).bits(0, 40),
        "too many symbols": Stream()
        .bits(1, 1)
        .bits(PALETTE, 2)
        .bits(0, 8)
        .bits(0, 1)
        .bits(0, 1)
        .bits(0, 4)
        .bits(1 | 1 << 3, 12)
        .bits(1, 1)
        .bits(7, 3)
        .bits(0xFFFF, 16),
        "cut short": Stream().bits(1, 1).bits(PALETTE, 2).bits(255, 8).numbers(200),
    }


@pytest.mark.parametrize("message", broken_streams())
def test_what_libwebp_does_not_decode_is_broken(message: str) -> None:
    data = riff(lossless((64, 64), broken_streams()[message]))

    with pytest.raises(ProcessingError, match=message):
        PillowProcessor().process(data, PREVIEW)
    with pytest.raises((OSError, ValueError)), Image.open(BytesIO(data)) as opened:  # Pillow's, of libwebp
        opened.load()


@pytest.mark.parametrize("method", [0, 4, 6])
@pytest.mark.parametrize(
    ("mode", "options"),
    [*((mode, {"lossless": True}) for mode in ("L", "RGB", "RGBA", "P")), ("RGBA", {"quality": 60})],
)
def test_what_libwebp_decodes_is_not_refused(
    mode: str, options: dict[str, object], method: int, photos: dict[str, DrawnPhoto], encode: Encode, decode: Decode
) -> None:
    image = decode(photos["portrait"].data).convert("RGB").resize((180, 240)).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.radial_gradient("L").resize(image.size))
    data = encode(image, "WEBP", method=method, **options)
    start = max(data.find(b"VP8L") + 13, data.find(b"ALPH") + 8)  # behind the size
    decoder = LibWebP()
    rng = random.Random(method)
    decoded = 0
    for _ in range(150):
        mutant = bytearray(data)
        mutant[start + rng.randrange(min(300, len(data) - start))] ^= 1 << rng.randrange(8)
        try:
            header = read_header(bytes(mutant), "webp")
        except ProcessingError:
            with pytest.raises((OSError, ValueError)), BytesIO(mutant) as file, Image.open(file) as opened:
                opened.load()
            continue
        with suppress(ProcessingError):
            decoder.decoded(header, header.height)
            decoded += 1

    assert decoded > 0
