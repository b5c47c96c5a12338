"""The formats that are read: which, and whether this Pillow has them."""

from __future__ import annotations

from importlib import import_module

from imageproxy.errors import UnsupportedFormatError

__all__ = ["READABLE", "is_built_in", "unsupported"]

READABLE = frozenset({"jpeg", "png", "gif", "webp", "avif"})

# What Pillow does not load before it is asked for; and asked for one of these, it would load all of its forty.
_PLUGINS = {"webp": "PIL.WebPImagePlugin", "avif": "PIL.AvifImagePlugin"}


def is_built_in(kind: str) -> bool:
    """Whether this Pillow has the format; one that was built from source may not. Loads what reads and writes it."""
    return kind not in _PLUGINS or bool(import_module(_PLUGINS[kind]).SUPPORTED)


def unsupported(kind: str) -> UnsupportedFormatError:
    read = "; JPEG, PNG, WebP, GIF and AVIF are read"
    if kind == "empty":
        return UnsupportedFormatError("the blob has no bytes" + read, format=kind)
    if kind == "unknown":
        return UnsupportedFormatError("the bytes are no image of a known format" + read)
    if kind in READABLE:
        return UnsupportedFormatError(f"the image is a {kind}, which this Pillow was built without", format=kind)
    return UnsupportedFormatError(f"the bytes look like {kind}" + read, format=kind)
