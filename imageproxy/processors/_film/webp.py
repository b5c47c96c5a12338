"""The frames of an animated WebP (developers.google.com/speed/webp/docs/riff_container)."""

from __future__ import annotations

from struct import unpack_from

from imageproxy.processors._headers.webp import chunks, picture, pixels_of

from .film import Disposal, Film, Frame

__all__ = ["read"]

_DOES_NOT_BLEND, _CLEARS = 2, 1
_FRAME_BYTES = 16


def read(data: bytes, film: Film) -> None:
    """Add the frames of ``data`` to ``film``."""
    view = memoryview(data)
    for kind, body in chunks(view[12:]):
        if kind == b"ANIM":
            (film.plays,) = unpack_from("<H", body, 4)
        elif kind == b"ANMF" and not film.is_full:
            film.add(_frame(body))


def _frame(body: memoryview) -> Frame:
    left, top, width, height, duration = (
        int.from_bytes(body[at : at + 3], "little") for at in range(0, _FRAME_BYTES - 1, 3)
    )
    flags = body[15]
    size = width + 1, height + 1
    return Frame(
        picture(pixels_of(chunks(body[_FRAME_BYTES:])), size),
        size,
        (2 * left, 2 * top),
        duration,
        Disposal.CLEAR if flags & _CLEARS else Disposal.KEEP,
        is_blended=not flags & _DOES_NOT_BLEND,
    )
