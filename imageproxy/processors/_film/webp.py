"""The frames of an animated WebP (developers.google.com/speed/webp/docs/riff_container)."""

from __future__ import annotations

from struct import unpack_from

from imageproxy.processors._headers.vp8l import Walk
from imageproxy.processors._headers.webp import FRAME, FRAME_BYTES, chunks, picture, pixels_of, side_bytes

from .film import Disposal, Film, Frame

__all__ = ["read"]

_DOES_NOT_BLEND, _CLEARS = 2, 1
# For all frames together: drawings without losses, 400 of 512 x 512 pixels.
_SYMBOLS = 1_000_000


def read(data: bytes, film: Film) -> None:
    """Add the frames of ``data`` to ``film``."""
    view = memoryview(data)
    walk = Walk(_SYMBOLS)
    for kind, body in chunks(view[12:]):
        if kind == b"ANIM":
            (film.plays,) = unpack_from("<H", body, 4)
        elif kind == FRAME and not film.is_full:
            film.add(_frame(body, walk))


def _frame(body: memoryview, walk: Walk) -> Frame:
    left, top, width, height, duration = (
        int.from_bytes(body[at : at + 3], "little") for at in range(0, FRAME_BYTES - 1, 3)
    )
    flags = body[15]
    size = width + 1, height + 1
    pixels = pixels_of(chunks(body[FRAME_BYTES:]))
    return Frame(
        picture(pixels, size),
        size,
        (2 * left, 2 * top),
        duration,
        Disposal.CLEAR if flags & _CLEARS else Disposal.KEEP,
        is_blended=not flags & _DOES_NOT_BLEND,
        side_bytes=side_bytes(pixels, walk),
    )
