"""What a PNG tells of its colours and of its transparency, beside a profile."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from imageproxy.presets import FitMode, Preset
from imageproxy.processors import PillowProcessor
from imageproxy.processors._headers.profile import profile_of_chromaticities, profile_of_code_points

Encode = Callable[..., bytes]
Decode = Callable[[bytes], Image.Image]
Chunk = Callable[[bytes, bytes], bytes]
Pixels = list[tuple[int, ...]]

pytestmark = pytest.mark.usefixtures("pillow_globals")

SAME = Preset("same", 64, 0, FitMode.CONTAIN, 90, format="png")
GREY, RGB = 0, 2
COLOUR = (180, 100, 60)

# Worked out from the definitions of both colour spaces, without any library.
FROM_P3, FROM_BT2020 = (192.5, 94.7, 48.9), (215.0, 83.3, 47.9)
SRGB_XY = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
P3_XY = (31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)


@pytest.fixture
def png(png_chunk: Chunk) -> Callable[..., bytes]:
    """``png(bits, colours, pixels, chunk, ...)``: one row; each pixel is packed by hand."""

    def made(bits: int, colours: int, row: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
        channels = 3 if colours == RGB else 1
        width = len(row) * 8 // (bits * channels)
        head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, colours, 0, 0, 0))
        others = b"".join(png_chunk(*chunk) for chunk in chunks)
        body = png_chunk(b"IDAT", zlib.compress(b"\0" + row)) + png_chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + head + others + body

    return made


@pytest.fixture
def pixels(processor: PillowProcessor, decode: Decode) -> Callable[[bytes], Pixels]:
    def shown(data: bytes) -> Pixels:
        image = decode(processor.process(data, SAME)).convert("RGBA")
        return [image.getpixel((x, 0)) for x in range(image.width)]  # type: ignore[misc]

    return shown


def near(found: tuple[int, ...], wanted: tuple[float, ...], by: float = 1.0) -> bool:
    return all(abs(a - b) <= by for a, b in zip(found, wanted, strict=False))


# Transparency


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_one_grey_is_transparent_at_every_depth(
    bits: int, png: Callable[..., bytes], pixels: Callable[..., Pixels]
) -> None:
    most = (1 << bits) - 1
    levels = range(min(64, most + 1))
    row = int("".join(f"{level:0{bits}b}" for level in levels).ljust(8, "0"), 2).to_bytes(
        max(1, len(levels) * bits // 8), "big"
    )
    transparent = min(most, 11)

    found = pixels(png(bits, GREY, row, (b"tRNS", struct.pack(">H", transparent))))[: len(levels)]

    assert [pixel[3] for pixel in found] == [0 if level == transparent else 255 for level in levels]
    assert [pixel[0] for pixel in found if pixel[3]] == [
        level * 255 // most for level in levels if level != transparent
    ]


def test_one_grey_of_16_bits_is_transparent_and_its_neighbour_is_not(
    png: Callable[..., bytes], pixels: Callable[..., Pixels]
) -> None:
    row = struct.pack(">4H", 1000, 1001, 1002, 65_535)

    found = pixels(png(16, GREY, row, (b"tRNS", struct.pack(">H", 1001))))

    assert [pixel[3] for pixel in found] == [255, 0, 255, 255]
    assert [pixel[0] for pixel in found if pixel[3]] == [4, 4, 255]


def test_one_colour_of_16_bits_is_transparent_and_its_neighbour_is_not(
    png: Callable[..., bytes], pixels: Callable[..., Pixels]
) -> None:
    row = struct.pack(">9H", 1000, 2000, 3000, 1000, 2000, 3001, 65_535, 0, 128 * 257)

    found = pixels(png(16, RGB, row, (b"tRNS", struct.pack(">3H", 1000, 2000, 3000))))

    assert [pixel[3] for pixel in found] == [0, 255, 255]
    assert found[2] == (255, 0, 128, 255)


def test_grey_of_16_bits_is_rounded(png: Callable[..., bytes], pixels: Callable[..., Pixels]) -> None:
    values = [0, 128, 129, 257 * 100 + 128, 257 * 100 + 129, 65_280, 65_535]

    found = pixels(png(16, GREY, struct.pack(">7H", *values)))

    assert [pixel[0] for pixel in found] == [round(value / 257) for value in values]


@pytest.mark.parametrize(("bits", "colours"), [(2, GREY), (8, GREY), (16, GREY), (8, RGB), (16, RGB)])
def test_a_transparent_colour_that_is_cut_short_is_none_or_an_error_of_ours(
    bits: int, colours: int, png: Callable[..., bytes]
) -> None:
    from imageproxy.errors import ProcessingError

    data = png(bits, colours, bytes(24), (b"tRNS", b"\0"))

    try:
        assert PillowProcessor().process(data, SAME)
    except ProcessingError:
        assert bits in {2, 8}


# Colours


@pytest.mark.parametrize(
    ("chunks", "wanted"),
    [
        ([], COLOUR),
        ([(b"gAMA", struct.pack(">I", 45_455))], COLOUR),
        ([(b"gAMA", struct.pack(">I", 45_455)), (b"cHRM", struct.pack(">8I", *SRGB_XY))], COLOUR),
        ([(b"gAMA", struct.pack(">I", 45_455)), (b"cHRM", struct.pack(">8I", *P3_XY))], FROM_P3),
        ([(b"cHRM", struct.pack(">8I", *P3_XY))], FROM_P3),
        ([(b"cICP", bytes((12, 13, 0, 1)))], FROM_P3),
        ([(b"cICP", bytes((9, 1, 0, 1)))], FROM_BT2020),
        ([(b"cICP", bytes((1, 13, 0, 1)))], COLOUR),
        ([(b"cICP", bytes((2, 2, 0, 1)))], COLOUR),
        ([(b"cICP", bytes((200, 200, 0, 1)))], COLOUR),
        # The one that goes before the others.
        ([(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000))], COLOUR),
        ([(b"sRGB", b"\0"), (b"cICP", bytes((12, 13, 0, 1)))], FROM_P3),
        ([(b"iCCP", b"broken\0\0nonsense"), (b"cHRM", struct.pack(">8I", *P3_XY))], FROM_P3),
        ([(b"iCCP", b"broken\0\0nonsense"), (b"sRGB", b"\0"), (b"cHRM", struct.pack(">8I", *P3_XY))], COLOUR),
        # What means nothing.
        ([(b"gAMA", struct.pack(">I", 0))], COLOUR),
        ([(b"gAMA", struct.pack(">I", 1))], COLOUR),
        ([(b"gAMA", b"\0\0")], COLOUR),
        ([(b"cHRM", bytes(32))], COLOUR),
        ([(b"cHRM", struct.pack(">8I", *([30_000] * 8)))], COLOUR),
        ([(b"cHRM", bytes(20))], COLOUR),
        ([(b"cICP", b"\x0c")], COLOUR),
    ],
)  # fmt: skip
def test_told_colours_become_srgb(
    chunks: list[tuple[bytes, bytes]],
    wanted: tuple[float, ...],
    png: Callable[..., bytes],
    pixels: Callable[..., Pixels],
) -> None:
    (found,) = pixels(png(8, RGB, bytes(COLOUR), *chunks))

    assert near(found, wanted)


def test_a_profile_goes_before_the_gamma(
    png: Callable[..., bytes], pixels: Callable[..., Pixels], icc_profile: Callable[..., bytes]
) -> None:
    primaries = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
    linear = b"linear\0\0" + zlib.compress(icc_profile(gamma=1.0, primaries=primaries))

    (found,) = pixels(png(8, RGB, bytes((55, 55, 55)), (b"iCCP", linear), (b"gAMA", struct.pack(">I", 45_455))))

    assert near(found, (128, 128, 128))


@pytest.mark.parametrize(("gamma", "wanted"), [(100_000, (128, 188, 229)), (55_556, (71, 147, 210))])
def test_a_gamma_is_applied_to_grey_which_stays_grey(
    gamma: int, wanted: tuple[int, ...], png: Callable[..., bytes], processor: PillowProcessor, decode: Decode
) -> None:
    """Light is the value to the power of 1/gamma: 1, and 1.8 as on old Macs."""
    image = decode(processor.process(png(8, GREY, bytes((55, 128, 200)), (b"gAMA", struct.pack(">I", gamma))), SAME))

    assert image.mode == "L"
    assert near(tuple(image.tobytes()), wanted)


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_a_high_dynamic_range_is_brought_into_that_of_a_screen(
    transfer: int, png: Callable[..., bytes], pixels: Callable[..., Pixels]
) -> None:
    """Black stays black, the peak is white, between them it is monotonous, and paper is neither grey nor white."""
    found = [
        pixel[0] for pixel in pixels(png(8, GREY, bytes(range(0, 256, 5))[:52], (b"cICP", bytes((9, transfer, 0, 1)))))
    ]

    assert (found[0], found[-1]) == (0, 255)
    assert found == sorted(found)
    paper = found[148 // 5] if transfer == 16 else found[191 // 5]
    assert 180 <= paper <= 200


def test_profiles_of_code_points_are_made_once() -> None:
    assert profile_of_code_points(12, 13) is profile_of_code_points(12, 13)
    assert profile_of_code_points(1, 13) is None
    assert profile_of_chromaticities(None, None) is None
    assert profile_of_chromaticities(None, 2.2) is None
    assert profile_of_chromaticities((0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06), 2.23) is None


# AVIF tells its colours by code points, too.


@pytest.mark.parametrize(
    ("points", "wanted"), [((12, 13), FROM_P3), ((9, 14), FROM_BT2020), ((1, 13), COLOUR), ((2, 2), COLOUR)]
)
@pytest.mark.parametrize("has_alpha", [False, True])
def test_code_points_of_an_avif_become_srgb(
    points: tuple[int, int],
    wanted: tuple[float, ...],
    has_alpha: bool,
    encode: Encode,
    processor: PillowProcessor,
    decode: Decode,
) -> None:
    image = Image.new("RGBA", (64, 64), (*COLOUR, 200)) if has_alpha else Image.new("RGB", (64, 64), COLOUR)
    data = encode(image, "AVIF", quality=100, subsampling="4:4:4")
    at = data.index(b"colrnclx") + 8

    told = data[:at] + struct.pack(">HH", *points) + data[at + 4 :]

    assert near(decode(processor.process(told, SAME)).getpixel((30, 30)), wanted, 2.5)  # type: ignore[arg-type]


def test_an_avif_without_tables_of_colours_is_srgb(encode: Encode, processor: PillowProcessor, decode: Decode) -> None:
    data = encode(Image.new("RGB", (64, 64), COLOUR), "AVIF", quality=100)
    wide = data.replace(b"colrnclx\0\1\0\x0d", b"colrnclx\0\x0c\0\x0d")
    assert wide != data

    for missing in (b"colr", b"nclx"):
        plain = processor.process(wide.replace(missing, b"free"), SAME)
        assert near(decode(plain).getpixel((30, 30)), COLOUR, 2.5)  # type: ignore[arg-type]
