"""Taking animations apart: the frames of each format, bounded, before any decoder sees them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress

from imageproxy.processors._headers import Header

from . import gif, png, webp
from .film import Disposal, Film, Frame

__all__ = ["Disposal", "Film", "Frame", "read_film"]

_READERS: dict[str, Callable[[bytes, Film], None]] = {
    "GIF": gif.read,
    "PNG": png.read,
    "WEBP": webp.read,
}


def read_film(data: bytes, header: Header, max_frames: int) -> Film | None:
    """The animation in ``data``: its first ``max_frames`` frames, or those before the place where it is broken.

    ``None`` where that makes no two: a still picture. AVIF's animations are none here; their still picture is shown.
    """
    if header.format not in _READERS or max_frames < 2:
        return None
    film = Film(header, max_frames)
    with suppress(IndexError, struct.error):  # cut short
        _READERS[header.format](data, film)
    return film if len(film.frames) > 1 else None
