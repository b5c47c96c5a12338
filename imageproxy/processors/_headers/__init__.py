"""Reading the header of each format, bounded, before any decoder sees the file."""

from __future__ import annotations

import struct
from collections.abc import Callable

from . import avif, gif, jpeg, png, webp
from .header import Header, broken

__all__ = ["Header", "broken", "read_header"]

_READERS: dict[str, Callable[[bytes], Header]] = {
    "jpeg": jpeg.read,
    "png": png.read,
    "webp": webp.read,
    "gif": gif.read,
    "avif": avif.read,
}


def read_header(data: bytes, format: str) -> Header:  # noqa: A002 - the field's own name
    """Read the header of ``data``, which looks like ``format`` (a name of ``READABLE``).

    Raises ProcessingError for a broken header, or for one whose decoding would take far longer than its size says;
    UnsupportedFormatError for a kind of the format that is not decoded.
    """
    try:
        header = _READERS[format](data)
    except (IndexError, struct.error) as error:  # the file ends where the header still goes on
        raise broken("its header is cut short") from error
    if header.width < 1 or header.height < 1:
        raise broken(f"it is {header.width} pixels wide and {header.height} high")
    return header
