"""The header of a PNG (www.w3.org/TR/png-3)."""

from __future__ import annotations

import zlib
from struct import error, pack, unpack_from

from .header import Header, broken, check_count
from .profile import profile_of_chromaticities, profile_of_code_points

__all__ = ["read", "readable_transparency"]

_SIGNATURE_BYTES = 8
_NEEDED = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_TOLD = frozenset({b"tRNS", b"eXIf", b"cICP", b"iCCP", b"sRGB", b"cHRM", b"gAMA"})
_GREY, _RGB = 0, 2  # colour types
# A 10 MB file in IDATs of 4 kB has 2,600.
_MAX_CHUNKS = 50_000
# A profile of a press with its tables has 3 MB.
_MAX_PROFILE_BYTES = 4 * 1024**2


def read(data: bytes) -> Header:
    """Read the size, the EXIF block and what tells the colours.

    What is kept of an animated PNG is its default image, which every reader without animations shows.
    """
    if data[12:16] != b"IHDR":
        raise broken("its first chunk is not IHDR")
    width, height, bits, colours = unpack_from(">IIBB", data, 16)
    view = memoryview(data)
    kept: list[bytes | memoryview] = [view[:_SIGNATURE_BYTES]]
    told: dict[bytes, bytes] = {}  # the first of each kind
    chunks = 0
    has_pixels = False
    run_start = at = _SIGNATURE_BYTES  # a run: needed chunks one after the other, copied in one piece
    while at + 8 <= len(data):
        chunks += 1
        check_count(chunks, _MAX_CHUNKS, "chunks")
        kind = data[at + 4 : at + 8]
        body, end = at + 8, at + 12 + int.from_bytes(data[at : at + 4], "big")
        has_pixels = has_pixels or kind == b"IDAT"
        if kind == b"IHDR" and at != _SIGNATURE_BYTES:  # a decoder would take the last one, and we the first
            raise broken("it has two headers")
        if kind not in _NEEDED:
            kept.append(view[run_start:at])
            run_start = end
            if kind in _TOLD and kind not in told and (kind != b"tRNS" or not has_pixels):  # section 5.6: before them
                told[kind] = data[body : end - 4]
                if kind == b"tRNS" and (key := readable_transparency(told[kind], bits, colours)) is not None:
                    kept.append(key)
        at = end
        if kind == b"IEND":
            break
    kept.append(view[run_start:at])
    return Header(
        "PNG",
        width,
        height,
        (b"".join(kept),),
        exif=told.get(b"eXIf"),
        icc_profile=_profile(told),
        transparent=_transparent_colour(told.get(b"tRNS"), bits, colours),
    )


def readable_transparency(body: bytes, bits: int, colours: int) -> bytes | None:
    """The chunk tRNS as Pillow reads it rightly; ``None`` where it does not.

    Of grey with 2 or 4 bits it compares the values in the file with those it has scaled to 8 bits; and what has 16 bits
    is compared here (``Header.transparent``), since it decodes colours to 8.
    """
    if bits == 16:
        return None
    if colours == _GREY and bits in {2, 4} and len(body) >= 2:
        body = pack(">H", (unpack_from(">H", body)[0] & ((1 << bits) - 1)) * (255 // ((1 << bits) - 1)))
    return pack(">I", len(body)) + (part := b"tRNS" + body) + pack(">I", zlib.crc32(part))


def _transparent_colour(body: bytes | None, bits: int, colours: int) -> tuple[int, ...] | None:
    channels = {_GREY: 1, _RGB: 3}.get(colours)
    if bits != 16 or channels is None or body is None or len(body) < 2 * channels:
        return None
    return unpack_from(f">{channels}H", body)


def _profile(told: dict[bytes, bytes]) -> bytes | None:
    """The profile of the colours, by the chunk that goes before the others (PNG, section 4.3)."""
    if len(code_points := told.get(b"cICP", b"")) == 4:
        return profile_of_code_points(code_points[0], code_points[1])
    if b"iCCP" in told and (profile := _inflate_profile(told[b"iCCP"])) is not None:
        return profile
    if b"sRGB" in told:
        return None
    chromaticities = gamma = None
    try:
        if b"cHRM" in told:
            a, b, c, d, e, f, g, h = (value / 100_000 for value in unpack_from(">8I", told[b"cHRM"]))
            chromaticities = (a, b, c, d, e, f, g, h)
        if b"gAMA" in told and (stored := unpack_from(">I", told[b"gAMA"])[0]):
            gamma = 100_000 / stored
    except error:  # shorter than it must be: told nothing
        return None
    return profile_of_chromaticities(chromaticities, gamma)


def _inflate_profile(chunk: bytes) -> bytes | None:
    _name, _, rest = chunk.partition(b"\0")
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(rest[1:], _MAX_PROFILE_BYTES)  # after the method, of which there is one
    except zlib.error:
        return None
    return profile if inflate.eof else None
