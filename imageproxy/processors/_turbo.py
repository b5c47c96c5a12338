"""JPEGs decoded by libjpeg-turbo through simplejpeg: the pixels that Pillow makes of them, in less time.

Pillow clears the memory for the pixels, feeds the decoder 64 kB at a time, and copies each row. Here the rows go
straight into an array that nobody cleared, and that numpy asks the system for in large pages.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from PIL import Image

from ._headers import Header

__all__ = ["decoded", "turbo"]

_EOI = b"\xff\xd9"
# Of the colour spaces that simplejpeg names: the layout it is asked for, the mode in which Pillow takes such bytes as
# they are, and the mode that they are in.
_LAYOUTS = {"Gray": ("GRAY", "L", "L"), "YCbCr": ("RGBX", "RGBX", "RGB"), "RGB": ("RGBX", "RGBX", "RGB")}


def turbo() -> Any:
    """The module that decodes; ``None`` without the extra ``fast``."""
    try:
        return import_module("simplejpeg")
    except ImportError:
        return None


def decoded(header: Header, factor: int, lib: Any) -> Image.Image | None:
    """The picture at a ``factor``-th of its size (1, 2, 4 or 8); ``None`` for what Pillow should decode or refuse.

    header: as ``_headers`` gives it, of a JPEG.
    """
    # Where its end is missing some of its pixels may be, and only Pillow says so: to libjpeg that is a warning of many.
    if header.source.rfind(_EOI) < 0:
        return None
    if Image.MAX_IMAGE_PIXELS is not None and header.width * header.height > Image.MAX_IMAGE_PIXELS:
        return None
    try:
        _, _, space, _ = lib.decode_jpeg_header(header.source, strict=False)
        if space not in _LAYOUTS:
            return None
        layout, stored_mode, mode = _LAYOUTS[space]
        width, height = -(-header.width // factor), -(-header.height // factor)
        pixels = lib.decode_jpeg(header.source, layout, min_width=width, min_height=height, strict=False)
    except (ValueError, KeyError, RuntimeError):
        return None
    if pixels.shape[:2] != (height, width):
        return None
    image = Image.frombuffer(stored_mode, (width, height), pixels, "raw", stored_mode, 0, 1)
    # The same memory under its right name: as RGBX it has a fourth channel, of which nobody knows what is in it.
    return image if stored_mode == mode else Image.fromarrow(image, mode, image.size)
