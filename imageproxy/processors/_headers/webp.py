"""The header of a WebP (developers.google.com/speed/webp/docs/riff_container)."""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from

from .header import Header, broken, most_blocks

__all__ = ["chunks", "read"]

_EXTENDED = b"VP8X"
_HAS_PROFILE, _HAS_EXIF, _IS_ANIMATED = 0x20, 0x08, 0x02
_TOLD = {b"ICCP": _HAS_PROFILE, b"EXIF": _HAS_EXIF}


def read(data: bytes) -> Header:
    """Read the EXIF block, the ICC profile, and the size: the canvas's, of which libwebp lets no part stick out."""
    width, height = _size(data)
    flags = data[20] if data[12:16] == _EXTENDED else 0
    told: dict[bytes, bytes] = {}  # the first of each kind
    if flags & (_HAS_PROFILE | _HAS_EXIF):
        for kind, body in chunks(memoryview(data)[12:]):
            if flags & _TOLD.get(kind, 0):
                told.setdefault(kind, bytes(body))
    return Header(
        "WEBP",
        width,
        height,
        (data,),
        exif=told.get(b"EXIF"),
        icc_profile=told.get(b"ICCP"),
        is_animated=bool(flags & _IS_ANIMATED),
    )


def chunks(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The kind and the body of each chunk, up to one that is cut short."""
    at = 0
    for _ in range(most_blocks(len(view))):
        if at + 8 > len(view):
            return
        kind, length = unpack_from("<4sI", view, at)
        end = at + 8 + length
        if end > len(view):
            return
        yield kind, view[at + 8 : end]
        at = end + length % 2


def _size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == _EXTENDED:
        (width, height) = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise broken("it has no WebP frame header")
