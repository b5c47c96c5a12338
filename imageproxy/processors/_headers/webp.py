"""The header of a WebP (developers.google.com/speed/webp/docs/riff_container)."""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack, unpack_from

from .header import Header, broken, most_blocks
from .vp8l import Walk

__all__ = ["FRAME", "FRAME_BYTES", "Chunk", "chunks", "picture", "pixels_of", "read", "side_bytes"]

Chunk = tuple[bytes, memoryview]
"""The kind, and what it holds."""

_LOSSY, _LOSSLESS, _ALPHA = b"VP8 ", b"VP8L", b"ALPH"
_ALPHA_IS_LOSSLESS = 1
_EXTENDED = b"VP8X"
FRAME, FRAME_BYTES = b"ANMF", 16
"""What holds a frame of an animation, and how much of it comes before the chunks of that."""
_HAS_PROFILE, _HAS_ALPHA, _HAS_EXIF, _IS_ANIMATED = 0x20, 0x10, 0x08, 0x02
# With the most bytes of each: what an EXIF block can have in a JPEG, and more than a profile of a press.
_TOLD = {b"ICCP": (_HAS_PROFILE, 4 * 1024**2), b"EXIF": (_HAS_EXIF, 65_536)}


def read(data: bytes) -> Header:
    """Read the size, the EXIF block and the ICC profile.

    What is kept of a still picture are its pixels. An animation stays whole, and its size is that of its canvas, of
    which libwebp lets no part stick out.
    """
    view = memoryview(data)
    flags, canvas = 0, None
    if data[12:16] == _EXTENDED:
        flags = data[20]
        canvas = _three_bytes(data, 24) + 1, _three_bytes(data, 27) + 1
    told: dict[bytes, bytes] = {}  # the first of each kind
    for kind, body in chunks(view[12 : 8 + int.from_bytes(data[4:8], "little")]):
        flag, most = _TOLD.get(kind, (0, 0))
        if flags & flag and len(body) <= most:
            told.setdefault(kind, bytes(body))
    exif, profile = told.get(b"EXIF"), told.get(b"ICCP")
    if canvas and flags & _IS_ANIMATED:
        frame = next((body for kind, body in chunks(view[12:]) if kind == FRAME), view[:0])
        beside = side_bytes(pixels_of(chunks(frame[FRAME_BYTES:])), Walk())
        whole = (data,)
        return Header("WEBP", *canvas, whole, exif=exif, icc_profile=profile, is_animated=True, side_bytes=beside)
    pixels = pixels_of(chunks(view[12:]))
    if not pixels:
        raise broken("it has no pixels, or not all of them")
    size = _size(*pixels[-1])
    if canvas not in {None, size}:
        raise broken("its picture has another size than its canvas")
    pixels = pixels if canvas else pixels[-1:]
    beside = side_bytes(pixels, Walk())
    return Header("WEBP", *size, picture(pixels, size), exif=exif, icc_profile=profile, side_bytes=beside)


def chunks(view: memoryview) -> Iterator[Chunk]:
    """Those that there are, up to one that is cut short."""
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


def pixels_of(found: Iterator[Chunk]) -> list[Chunk]:
    """The first chunk of pixels, after that of their transparency if there is one. What follows is not looked at."""
    alpha: list[Chunk] = []
    for kind, body in found:
        if kind in {_LOSSY, _LOSSLESS}:
            return [*(alpha if kind == _LOSSY else ()), (kind, body)]
        if kind == _ALPHA and not alpha:
            alpha.append((kind, body))
    return []


def picture(pixels: list[Chunk], size: tuple[int, int]) -> tuple[bytes | memoryview, ...]:
    """A file of these chunks, in parts: of one, or of one with transparency before it."""
    parts: list[bytes | memoryview] = []
    if any(kind == _ALPHA for kind, _ in pixels):
        width, height = (pack("<I", side - 1)[:3] for side in size)
        parts += (_EXTENDED, pack("<I", 10), bytes((_HAS_ALPHA, 0, 0, 0)), width, height)
    for kind, body in pixels:
        parts += (kind, pack("<I", len(body)), body, bytes(len(body) % 2))
    return b"".join((b"RIFF", pack("<I", 4 + sum(map(len, parts))), b"WEBP")), *parts


def side_bytes(pixels: list[Chunk], walk: Walk) -> int:
    """What libwebp takes beside the pixels for those of ``pixels_of``: for one chunk or the other, as it has both."""
    beside = 0
    for kind, body in pixels:
        if kind == _LOSSLESS:
            beside += walk.side_bytes(body[5:], _size(kind, body))
        elif kind == _ALPHA and len(body) > 0 and body[0] & 3 == _ALPHA_IS_LOSSLESS:
            beside += walk.side_bytes(body[1:], _size(*pixels[-1]))
    return beside


def _three_bytes(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")


def _size(kind: bytes, body: memoryview) -> tuple[int, int]:
    if kind == _LOSSLESS and body[0] == 0x2F:
        (bits,) = unpack_from("<I", body, 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == _LOSSY and bytes(body[3:6]) == b"\x9d\x01\x2a":
        width, height = unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise broken("it has no WebP frame header")
