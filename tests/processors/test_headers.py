from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from PIL import Image

from imageproxy.errors import ProcessingError, UnsupportedFormatError
from imageproxy.processors._headers import read_header

Encode = Callable[..., bytes]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"xmp": b"<x/>"}], ids=["plain", "lossless", "extended"])
def test_the_size_is_that_of_the_image(kind: str, options: dict[str, object], encode: Encode) -> None:
    for size in ((1, 1), (300, 200), (7, 500)):
        header = read_header(encode(Image.new("RGB", size), kind, **options), kind.lower())

        assert (header.format, header.width, header.height) == (kind, *size)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_and_profile_are_taken_out_of_the_source(kind: str, encode: Encode) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    profile = bytes(range(256)) * 600  # in JPEG, three parts

    header = read_header(encode(Image.new("RGB", (8, 8)), kind, exif=exif, icc_profile=profile), kind.lower())

    assert header.icc_profile == profile
    assert header.exif is not None
    assert b"a camera" in header.exif
    assert b"a camera" not in header.source
    assert profile[:200] not in header.source


def test_a_jpeg_profile_with_a_part_missing_counts_as_none(encode: Encode) -> None:
    data = encode(Image.new("RGB", (8, 8)), "JPEG", icc_profile=bytes(150_000))
    second = data.index(b"ICC_PROFILE\0\2") - 4

    cut = data[:second] + data[second + 2 + struct.unpack_from(">H", data, second + 2)[0] :]

    assert read_header(cut, "jpeg").icc_profile is None


def test_fill_bytes_between_segments_are_passed_over(encode: Encode) -> None:
    data = encode(Image.new("RGB", (30, 20)), "JPEG")

    header = read_header(data[:2] + b"junk" + b"\xff" * 50 + data[2:], "jpeg")

    assert (header.width, header.height) == (30, 20)
    assert header.source == data


def test_the_still_image_of_an_avif_sequence_is_read(encode: Encode) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    assert data[8:12] == b"avis"

    assert read_header(data, "avif").source[8:12] == b"avif"
    with pytest.raises(UnsupportedFormatError, match="film without a still image"):
        read_header(data.replace(b"meta", b"free"), "avif")


@pytest.mark.parametrize("missing", [b"iinf", b"iloc", b"iprp", b"ispe"])
def test_an_avif_without_its_tables_is_broken(missing: bytes, encode: Encode) -> None:
    data = encode(Image.new("RGB", (40, 30)), "AVIF")

    with pytest.raises(ProcessingError, match="image is broken"):
        read_header(data.replace(missing, b"free"), "avif")


@pytest.mark.parametrize(("version", "in_idat"), [(0, False), (1, False), (1, True), (2, False), (2, True)])
def test_avif_tables_of_each_version_lead_to_the_stream(version: int, in_idat: bool) -> None:
    sequence_header = 0b000_0_1_00101_1011_1001_111110011111_1111100111  # 4000 x 1000, reduced
    stream = bytes((0b0000_1010, 5)) + sequence_header.to_bytes(5, "big")

    def box(kind: bytes, *content: bytes) -> bytes:
        body = b"".join(content)
        return struct.pack(">I", 8 + len(body)) + kind + body

    wide = ">I" if version == 2 else ">H"
    item = struct.pack(wide, 1)

    def file(offset: int) -> bytes:
        kind = b"av01"
        infe = box(b"infe", bytes((3 if version == 2 else 2, 0, 0, 0)), item, bytes(2), kind)
        iinf = box(b"iinf", bytes((version > 0, 0, 0, 0)), struct.pack(">I" if version else ">H", 1), infe)
        iloc = box(
            b"iloc",
            bytes((version, 0, 0, 0, 0x44, 0x00)),
            item,
            item,
            struct.pack(">H", 1 if in_idat else 0) if version else b"",
            bytes(2),
            struct.pack(">HII", 1, offset, 0 if offset else len(stream)),
        )
        ispe = box(b"ispe", bytes(4), struct.pack(">II", 16, 16))
        idat = box(b"idat", stream) if in_idat else b""
        meta = box(b"meta", bytes(4), iinf, iloc, box(b"iprp", box(b"ipco", ispe)), idat)
        return box(b"ftyp", b"avif", bytes(4)) + meta + (b"" if in_idat else stream)

    data = file(0)
    if not in_idat:
        data = file(len(data) - len(stream))

    header = read_header(data, "avif")

    assert (header.width, header.height) == (4000, 1000)


def test_avif_items_that_are_the_same_bytes_over_and_over_are_refused(encode: Encode) -> None:
    data = encode(Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 50).convert("RGB"), "AVIF")
    iloc = data.index(b"iloc") - 4
    (size,) = struct.unpack_from(">I", data, iloc)
    entries = b"".join(struct.pack(">HHHII", 1, 0, 1, 0, 0) for _ in range(size // 14 + 50))
    flood = (
        struct.pack(">I", 16 + len(entries))
        + b"iloc"
        + bytes((0, 0, 0, 0, 0x44, 0))
        + struct.pack(">H", len(entries) // 14)
        + entries
    )
    meta = data.index(b"meta") - 4
    (meta_size,) = struct.unpack_from(">I", data, meta)
    flooded = (
        data[:meta]
        + struct.pack(">I", meta_size - size + len(flood))
        + data[meta + 4 : iloc]
        + flood
        + data[iloc + size :]
    )

    with pytest.raises(ProcessingError, match="bytes in its pieces"):
        read_header(flooded, "avif")


def test_a_table_of_items_that_is_cut_short_is_broken(encode: Encode) -> None:
    data = encode(Image.new("RGB", (40, 30)), "AVIF")
    at = data.index(b"iloc") + 10
    with pytest.raises(ProcessingError, match="cut short"):
        read_header(data[:at] + b"\xff\xff" + data[at + 2 :], "avif")


def test_the_detail_of_a_jpeg_is_told_by_its_size_and_its_quantizer(encode: Encode) -> None:
    def detail(image: Image.Image, **options: object) -> float:
        return read_header(encode(image, "JPEG", **options), "jpeg").detail

    smooth, noise = Image.linear_gradient("L"), Image.effect_noise((256, 256), 60)

    assert detail(smooth) < 2 < 6 < detail(noise)
    # One photo at two qualities is about the same to look at, though one file is twice the other.
    assert detail(noise, quality=60) == pytest.approx(detail(noise, quality=90), rel=0.5)
    assert detail(noise, qtables=[[1] * 64]) == pytest.approx(detail(noise, quality=100), rel=0.1)


def test_steps_in_two_bytes_are_read(encode: Encode) -> None:
    data = encode(Image.linear_gradient("L"), "JPEG", qtables=[[40] * 64])
    table = b"\xff\xdb\0\x43\0" + bytes([40]) * 64
    assert table in data
    wide = data.replace(table, b"\xff\xdb\0\x83\x10" + struct.pack(">64H", *[40] * 64))

    assert read_header(wide, "jpeg").detail == pytest.approx(read_header(data, "jpeg").detail, rel=0.2)


def test_of_other_formats_the_detail_is_not_known(encode: Encode) -> None:
    assert read_header(encode(Image.linear_gradient("L"), "PNG"), "png").detail == float("inf")


def test_transparency_after_the_pixels_does_not_count(encode: Encode) -> None:
    data = encode(Image.new("RGB", (4, 4)), "PNG", transparency=(0, 0, 0))
    at = data.index(b"tRNS") - 4
    chunk = data[at : at + 12 + 6]
    moved = (data[:at] + data[at + len(chunk) :]).replace(data[-12:], chunk + data[-12:])

    assert b"tRNS" in read_header(data, "png").source
    assert b"tRNS" not in read_header(moved, "png").source


def webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def webp(*chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + sum(map(len, chunks))) + b"WEBP" + b"".join(chunks)


def extended(size: tuple[int, int], flags: int) -> bytes:
    sides = (struct.pack("<I", side - 1)[:3] for side in size)
    return webp_chunk(b"VP8X", bytes((flags, 0, 0, 0)) + b"".join(sides))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [False, True])
def test_of_a_webp_the_pixels_are_kept(mode: str, lossless: bool, encode: Encode) -> None:
    image = Image.linear_gradient("L").resize((31, 17)).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize((31, 17)))
    plain = encode(image, "WEBP", lossless=lossless)
    told = encode(image, "WEBP", lossless=lossless, exif=b"Exif\0\0MM\0*", icc_profile=b"profile", xmp=b"<secret/>")

    header = read_header(told, "webp")

    assert (header.width, header.height, header.is_animated) == (31, 17, False)
    assert (header.exif, header.icc_profile) == (b"MM\0*", b"profile")
    assert header.source == read_header(plain, "webp").source
    assert not any(word in header.source for word in (b"EXIF", b"ICCP", b"XMP ", b"secret"))
    assert header.source.count(b"VP8X") == (mode == "RGBA" and not lossless)


def test_metadata_of_a_webp_that_its_flags_do_not_tell_of_does_not_count(encode: Encode) -> None:
    told = bytearray(encode(Image.new("RGB", (8, 8)), "WEBP", exif=b"Exif\0\0MM\0*", icc_profile=b"profile"))
    told[20] = 0

    header = read_header(bytes(told), "webp")

    assert (header.exif, header.icc_profile) == (None, None)


@pytest.mark.parametrize("after", [b"junk", b"EXIF\xff\xff\xff\x7fII*", webp_chunk(b"VP8 ", bytes(20))])
def test_what_follows_the_pixels_of_a_webp_does_not_matter(after: bytes, encode: Encode) -> None:
    plain = encode(Image.new("RGB", (8, 8)), "WEBP")

    assert read_header(webp(extended((8, 8), 0x08), plain[12:], after), "webp").source == plain


@pytest.mark.parametrize("cut", [1, 10])
def test_a_webp_whose_pixels_are_cut_short_is_broken(cut: int, encode: Encode) -> None:
    with pytest.raises(ProcessingError, match="no pixels, or not all"):
        read_header(encode(Image.new("RGB", (8, 8)), "WEBP")[:-cut], "webp")


def test_a_webp_of_very_many_chunks_is_walked_for_a_while_only(encode: Encode) -> None:
    plain = encode(Image.new("RGB", (8, 8)), "WEBP")
    many = webp_chunk(b"JUNK", b"") * 200_000

    with pytest.raises(ProcessingError, match="no pixels"):
        read_header(webp(extended((8, 8), 0), many, plain[12:]), "webp")


def test_metadata_beyond_the_end_that_a_webp_declares_does_not_count(encode: Encode) -> None:
    told = encode(Image.new("RGB", (8, 8)), "WEBP", exif=b"Exif\0\0MM\0*")
    shorter = struct.pack("<I", told.index(b"EXIF") - 8)

    assert read_header(told, "webp").exif
    assert read_header(told[:4] + shorter + told[8:], "webp").exif is None


@pytest.mark.parametrize(("kind", "most"), [("exif", 65_536), ("icc_profile", 4 * 1024**2)])
def test_metadata_of_a_webp_that_is_far_too_long_does_not_count(kind: str, most: int, encode: Encode) -> None:
    for size in (most, most + 1):
        header = read_header(encode(Image.new("RGB", (8, 8)), "WEBP", **{kind: bytes(size)}), "webp")

        assert (getattr(header, kind) is not None) == (size == most)


def test_transparency_without_the_extended_header_does_not_count(encode: Encode) -> None:
    plain = encode(Image.new("RGB", (8, 8)), "WEBP")

    assert read_header(webp(webp_chunk(b"ALPH", bytes(65)), plain[12:]), "webp").source == plain
