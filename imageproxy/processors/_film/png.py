"""The frames of an animated PNG (www.w3.org/TR/png-3, section 4.9)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import pack, unpack_from

from imageproxy.processors._headers.header import most_blocks
from imageproxy.processors._headers.png import readable_transparency

from .film import Disposal, Film, Frame, Part

__all__ = ["read"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DISPOSALS = {1: Disposal.CLEAR, 2: Disposal.RESTORE}
_END = pack(">I", 0) + b"IEND" + pack(">I", zlib.crc32(b"IEND"))


def read(data: bytes, film: Film) -> None:
    """Add the frames of ``data`` to ``film``."""
    header = data[16:29]
    shared: list[Part] = []  # what each frame's file gets, too
    control: bytes | None = None
    pixels: list[Part] = []
    is_animated = False
    for kind, body in _chunks(data):
        if kind == b"acTL":
            is_animated = True
            film.plays = min(unpack_from(">I", body, 4)[0], 0xFFFF)
        elif kind == b"PLTE":
            shared.append(_chunk(kind, body))
        elif kind == b"tRNS":
            shared += filter(None, [readable_transparency(bytes(body), header[8], header[9])])
        elif kind in {b"fcTL", b"IEND"}:
            if control is not None and pixels and not film.add(_frame(control, header, shared, pixels)):
                return
            control, pixels = bytes(body), []
        elif kind == b"IDAT" and not is_animated:
            return
        elif kind == b"fdAT":
            pixels.append(_chunk(b"IDAT", body[4:]))
        elif kind == b"IDAT" and control is not None:  # without, it is the default image, and not of the animation
            pixels.append(_chunk(kind, body))


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view = memoryview(data)
    at = len(_SIGNATURE)
    for _ in range(most_blocks(len(data))):
        length, kind = unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            return
        yield kind, view[at + 8 : end]
        at = end + 4
        if kind == b"IEND":
            return


def _frame(control: bytes, header: bytes, shared: list[Part], pixels: list[Part]) -> Frame:
    width, height, left, top, numerator, denominator, disposal, blending = unpack_from(">IIIIHHBB", control, 4)
    own = _chunk(b"IHDR", pack(">II", width, height) + header[8:])
    return Frame(
        (_SIGNATURE, own, *shared, *pixels, _END),
        (width, height),
        (left, top),
        round(1000 * numerator / (denominator or 100)),
        _DISPOSALS.get(disposal, Disposal.KEEP),
        is_blended=blending == 1,
    )


def _chunk(kind: bytes, body: Part) -> bytes:
    return b"".join((pack(">I", len(body)), kind, body, pack(">I", zlib.crc32(body, zlib.crc32(kind)))))
