"""Files made to hurt: each ends in an image or in an error of ours, soon, and with little memory."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from imageproxy.errors import ImageTooLargeError, ProcessingError, UnsupportedFormatError
from imageproxy.presets import DEFAULT, Preset
from imageproxy.processors import PillowProcessor

Encode = Callable[..., bytes]
Decode = Callable[[bytes], Image.Image]
Chunk = Callable[[bytes, bytes], bytes]

pytestmark = [pytest.mark.usefixtures("pillow_globals"), pytest.mark.timeout(20)]

PRESET = DEFAULT.get("avatar_small")
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def jpeg(encode: Encode) -> bytes:
    return encode(Image.linear_gradient("L").convert("RGB"), "JPEG")


@pytest.fixture(scope="module")
def progressive(encode: Encode) -> bytes:
    return encode(Image.linear_gradient("L").convert("RGB"), "JPEG", progressive=True)


def refuse(
    data: bytes, message: str, error: type[Exception] = ProcessingError, *, max_pixels: int = 50_000_000
) -> None:
    with pytest.raises(error, match=message):
        PillowProcessor(max_pixels=max_pixels).process(data, PRESET)


# Size


def test_webp_bomb() -> None:
    bits = 13_369 | 13_369 << 14
    lossless = b"VP8L" + struct.pack("<IBI", 19, 0x2F, bits) + bytes(14)
    refuse(
        b"RIFF" + struct.pack("<I", len(lossless) + 4) + b"WEBP" + lossless, "178,756,900 pixels", ImageTooLargeError
    )


def test_webp_canvas_bomb(encode: Encode) -> None:
    small = encode(Image.new("RGBA", (8, 8), (1, 2, 3, 4)), "WEBP", xmp=b"<x/>")
    assert small[12:16] == b"VP8X"
    side = (16_382).to_bytes(3, "little")
    refuse(small[:24] + side + side + small[30:], "another size than its canvas")
    animated = bytes((small[20] | 0x02,))
    refuse(small[:20] + animated + small[21:24] + side + side + small[30:], "268,402,689 pixels", ImageTooLargeError)


def test_webp_whose_frame_is_larger_than_its_canvas(encode: Encode) -> None:
    large = encode(Image.new("RGBA", (900, 900), (1, 2, 3, 4)), "WEBP", lossless=True, xmp=b"<x/>")
    assert large[12:16] == b"VP8X"
    side = (7).to_bytes(3, "little")
    refuse(large[:24] + side + side + large[30:], "image is broken", max_pixels=200_000)


def test_gif_bomb() -> None:
    screen = b"GIF89a" + struct.pack("<HHBBB", 13_370, 13_370, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 13_370, 13_370, 0) + b"\x02\x02L\x01\0;"
    refuse(screen + frame, "178,756,900 pixels", ImageTooLargeError)


def test_gif_whose_frame_is_larger_than_its_screen() -> None:
    screen = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 60_000, 60_000, 5, 5, 0) + b"\x02\x02L\x01\0;"
    refuse(screen + frame, "3,600,600,025 pixels", ImageTooLargeError)


def test_png_bomb(png_chunk: Chunk) -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 13_370, 13_370, 8, 6, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    refuse(SIGNATURE + header + body + png_chunk(b"IEND", b""), "178,756,900 pixels", ImageTooLargeError)


def test_jpeg_bomb(jpeg: bytes) -> None:
    at = jpeg.index(b"\xff\xc0") + 5
    refuse(jpeg[:at] + struct.pack(">HH", 60_000, 60_000) + jpeg[at + 4 :], "3,600,000,000 pixels", ImageTooLargeError)


@pytest.mark.parametrize("size", [(20_000, 20_000), (16, 16)], ids=["declared", "hidden"])
def test_avif_bomb(size: tuple[int, int], encode: Encode) -> None:
    """The boxes declare one size, the AV1 stream another, and the decoder allocates by the latter."""
    honest = encode(Image.new("RGB", (1200, 900)), "AVIF", speed=10)
    declared = honest.replace(struct.pack(">II", 1200, 900), struct.pack(">II", *size), 1)
    assert declared != honest
    refuse(declared, "pixels; the limit is 1,000,000", ImageTooLargeError, max_pixels=1_000_000)


# Time


def scans(progressive: bytes, count: int) -> bytes:
    """The same picture with its last scan said over and over."""
    last = progressive.rindex(b"\xff\xda")
    tables = progressive.rindex(b"\xff\xc4", 0, last)
    return progressive[:-2] + (progressive[tables:-2]) * count + b"\xff\xd9"


def test_a_jpeg_of_thousands_of_scans(progressive: bytes) -> None:
    refuse(scans(progressive, 2000), "too many scans")


def test_a_large_jpeg_of_many_scans(progressive: bytes) -> None:
    data = scans(progressive, 20)
    at = data.index(b"\xff\xc2") + 5
    refuse(data[:at] + struct.pack(">HH", 7000, 7000) + data[at + 4 :], "too many scans")


def test_a_jpeg_of_some_more_scans_is_read(progressive: bytes) -> None:
    assert PillowProcessor().process(scans(progressive, 20), PRESET)


@pytest.mark.parametrize("unused", [0x02, 0xBF])
def test_a_jpeg_that_hides_its_scans_behind_a_missing_restart(unused: int) -> None:
    """libjpeg passes over a marker that is not in use while it looks for a restart, and not over what follows it."""
    grey = io.BytesIO()
    Image.new("L", (1000, 1000), 128).save(grey, "JPEG", progressive=True)
    data = grey.getvalue()
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xda", first + 2)
    tables = data[data.rindex(b"\xff\xc4", 0, second) : second]
    inner = b"\xff\xda\0\x08\1\1\0\1\5\0\0\0\0\0" * 400
    every = b"\xff\xdd\0\4\0\1"  # a restart after each MCU
    hidden = b"\0\0" + bytes((0xFF, unused)) + struct.pack(">H", len(inner) + 2) + inner
    refuse(
        data[:2] + every + data[2:first] + tables + data[first : first + 10] + hidden + b"\xff\xd9", "too many scans"
    )


def test_a_sequential_jpeg_of_many_scans(jpeg: bytes) -> None:
    start = jpeg.index(b"\xff\xda")
    one_component = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 63, 0) + bytes(10)
    refuse(jpeg[:start] + one_component * 100 + b"\xff\xd9", "too many scans")


@pytest.mark.parametrize(
    ("flood", "message"),
    [
        (b"\xff\xe5\0\2" * 500_000, "more than 4096 segments"),
        (b"\xff" * 5_000_000, "bytes between its segments"),
        (b"\xff\x01" + b"\0" * 5_000_000, "bytes between its segments"),
        (b"\xff\0" * 1_000_000, "more than"),
        (b"\xff\x01" * 1_000_000, "more than"),
    ],
    ids=["segments", "fill", "zeros", "stuffing", "markers"],
)
def test_jpeg_floods(flood: bytes, message: str, jpeg: bytes, progressive: bytes) -> None:
    refuse(jpeg[:2] + flood + jpeg[2:], message)
    if flood.count(b"\x01") > 1:  # among the scans, too
        refuse(progressive[:-2] + flood + b"\xff\xd9", message)


def test_png_flood(png_chunk: Chunk) -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(bytes(9 * 8))) + png_chunk(b"IEND", b"")
    note = png_chunk(b"tEXt", b"a\0b")

    refuse(SIGNATURE + header + note * 500_000 + body, "more than 50000 chunks")
    assert PillowProcessor().process(SIGNATURE + header + note * 10_000 + body, PRESET)


@pytest.mark.parametrize("blocks", [b"\xfe" + b"\1a" * 2_000_000 + b"\0", b"\xfe\0!" * 300_000 + b"\xfe\0"])
def test_gif_floods(blocks: bytes, encode: Encode) -> None:
    gif = encode(Image.new("P", (8, 8)), "GIF")
    at = gif.index(b",")
    refuse(gif[:at] + b"!" + blocks + gif[at:], "more than 4096 blocks")


@pytest.mark.parametrize("control", [b"\0", b"\2ab\0", b"\4\1\0\0\0\4more\0"], ids=["empty", "short", "in two blocks"])
def test_gif_whose_control_is_odd(
    control: bytes, encode: Encode, decode: Decode, box_preset: Callable[..., Preset]
) -> None:
    """Behind an empty one Pillow takes the frame itself for another block, and then whatever comes for the frame."""
    gif = encode(Image.new("P", (8, 8)), "GIF")
    at = gif.index(b",")
    later = b"," + struct.pack("<HHHHB", 40_000, 40_000, 8, 8, 0)
    odd = gif[:at] + b"!\xf9" + control + gif[at:-1] + later + gif[-1:]

    for preset in (box_preset(4, 4), box_preset(4, 4, format="webp", animated=True)):
        assert decode(PillowProcessor().process(odd, preset)).size == (4, 4)


@pytest.mark.parametrize("animated", [False, True])
def test_gif_whose_control_is_long_is_still_transparent(
    animated: bool, encode: Encode, decode: Decode, box_preset: Callable[..., Preset]
) -> None:
    gif = encode(Image.new("P", (8, 8)), "GIF", transparency=0)
    at = gif.index(b"!\xf9\4")
    long = gif[:at] + b"!\xf9\5" + gif[at + 3 : at + 7] + b"\7" + gif[at + 7 :]

    result = decode(PillowProcessor().process(long, box_preset(4, 4, format="webp", animated=animated)))
    assert result.convert("RGBA").getpixel((0, 0))[3] == 0  # type: ignore[index]


def test_gif_of_a_hundred_thousand_frames(encode: Encode) -> None:
    gif = encode(Image.new("P", (8, 8)), "GIF")
    frame = gif[gif.index(b",") : -1]
    assert PillowProcessor().process(gif[:-1] + frame * 100_000 + b";", PRESET)


# Memory in metadata


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt"])
def test_inflating_metadata_is_left_out(kind: bytes, png_chunk: Chunk) -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    bomb = png_chunk(kind, b"name\0\0" + zlib.compress(bytes(100_000_000)))
    body = png_chunk(b"IDAT", zlib.compress(bytes(9 * 8))) + png_chunk(b"IEND", b"")

    assert PillowProcessor().process(SIGNATURE + header + bomb + body, PRESET)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(40),
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\x63\0\0",
        b"Exif\0\0nonsense nonsense",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_broken_exif_is_no_reason_to_fail_or_to_warn(exif: bytes, kind: str, encode: Encode) -> None:
    honest = Image.Exif()
    honest[0x010F] = "x" * 100
    block = honest.tobytes()
    data = encode(Image.linear_gradient("L").convert("RGB"), kind, exif=block)
    bare = block.removeprefix(b"Exif\0\0") if data.count(block) == 0 else block
    assert data.count(bare) == 1
    wrong = exif if bare is block else exif.removeprefix(b"Exif\0\0")
    broken = data.replace(bare, wrong.ljust(len(bare), b"\0"))
    if kind == "PNG":  # with the checksum of what it holds
        at = broken.index(b"eXIf")
        length = struct.unpack(">I", broken[at - 4 : at])[0]
        checksum = struct.pack(">I", zlib.crc32(broken[at : at + 4 + length]))
        broken = broken[: at + 4 + length] + checksum + broken[at + 8 + length :]

    assert PillowProcessor().process(broken, PRESET)


# Structure


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xe0\0\1",
        b"\xff\xd8\xff\xe0\0\2abc",
        b"\xff\xd8\xff\xda\0\2",
        b"\xff\xd8\xff\xda\0\x0c" + bytes(10),
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIDAT",
        b"GIF89a",
        b"GIF89a\1\0\1\0\0\0\0;",
        b"GIF89a\1\0\1\0\0\0\0!\xfe\xff",
        b"GIF89a\0\0\0\0\0\0\0,\0\0\0\0\0\0\0\0\0\0",
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0",
        b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f",
        b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0",
        b"\0\0\0\x10ftypavif\0\0\0\0",
        b"\0\0\0\x10ftypavif\0\0\0\0\0\0\0\x0cmeta\0\0\0\0",
        b"\0\0\0\x10ftypavif\0\0\0\0\0\0\0\xffmeta\0\0\0\0",
        b"\0\0\0\x10ftypavif\0\0\0\0\0\0\0\1meta\0\0\0\0\0\0\0\0",
    ],
)
def test_headers_without_an_image(data: bytes) -> None:
    with pytest.raises((ProcessingError, UnsupportedFormatError)):
        PillowProcessor().process(data, PRESET)


def test_a_jpeg_of_twelve_bits_is_said_to_be_one(jpeg: bytes) -> None:
    at = jpeg.index(b"\xff\xc0") + 4
    refuse(jpeg[:at] + b"\x0c" + jpeg[at + 1 :], "12 bits per sample", UnsupportedFormatError)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_half_a_file_is_broken(kind: str, encode: Encode) -> None:
    data = encode(Image.effect_mandelbrot((256, 256), (-2, -1, 1, 1), 50).convert("RGB"), kind)
    refuse(data[: len(data) // 2], "image is broken")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_mutants_end_in_an_image_or_in_an_error_of_ours(
    kind: str, encode: Encode, icc_profile: Callable[..., bytes]
) -> None:
    primaries = ((0.5, 0.2, 0.0), (0.3, 0.7, 0.1), (0.15, 0.07, 0.7))
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
    options = {} if kind == "GIF" else {"exif": exif, "icc_profile": icc_profile(primaries=primaries)}
    data = encode(image, kind, **options)
    rng = random.Random(kind)
    processor = PillowProcessor(max_pixels=1_000_000)
    preset = Preset("small", 20, 20, DEFAULT.get("avatar").fit, 80)
    errors = 0
    for _ in range(150):
        mutant = bytearray(data)
        for _ in range(rng.randint(1, 6)):
            mutant[rng.randrange(len(mutant))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        if rng.random() < 0.2:
            del mutant[rng.randrange(len(mutant)) :]
        try:
            processor.process(bytes(mutant), preset)
        except (ProcessingError, UnsupportedFormatError, ImageTooLargeError):
            errors += 1
    assert errors
