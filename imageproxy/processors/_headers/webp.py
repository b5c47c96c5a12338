"""The header of a WebP (developers.google.com/speed/webp/docs/riff_container)."""

from __future__ import annotations

from struct import unpack_from

from .header import Header, broken

__all__ = ["read"]


def read(data: bytes) -> Header:
    """Read the size: of the canvas, of which libwebp allows no part to stick out. Its metadata is left to it."""
    return Header("WEBP", *_size(data), parts=(data,))


def _size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        (width, height) = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise broken("it has no WebP frame header")
