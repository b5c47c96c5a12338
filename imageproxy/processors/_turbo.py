"""JPEGs decoded by libjpeg-turbo through simplejpeg: the pixels that Pillow makes of them, in less time.

Pillow clears the memory for the pixels, feeds the decoder 64 kB at a time, and copies each row. Here the rows go
straight into an array that nobody cleared, and that numpy asks the system for in large pages.
"""

from __future__ import annotations

import logging
import os
from importlib import import_module
from typing import Any

from PIL import Image

from ._foreign import CAN_BE_COLOUR, Mode, image_over
from ._headers import Header

__all__ = ["Turbo", "turbo"]

logger = logging.getLogger(__name__)

_EOI = b"\xff\xd9"
# Of the colour spaces that simplejpeg names: the layout it is asked for, Pillow's mode, and the bytes of a pixel.
_LAYOUTS: dict[str, tuple[str, Mode, int]] = {
    "Gray": ("GRAY", "L", 1),
    "YCbCr": ("RGBX", "RGB", 4),
    "RGB": ("RGBX", "RGB", 4),
}
# Below, several scales make the same few pixels, and simplejpeg takes another one than Pillow.
_SMALLEST_SCALED = 16


class Turbo:
    """The decoder. Safe to use from several threads at once; while it works, others run.

    Raises what importing simplejpeg and numpy raises.
    """

    def __init__(self) -> None:
        self._jpeg: Any = import_module("simplejpeg")
        self._numpy: Any = import_module("numpy")

    def decoded(self, header: Header, factor: int, *, is_whole: bool) -> Image.Image | None:
        """The picture at a ``factor``-th of its size (1, 2, 4 or 8); ``None`` for what Pillow should decode or refuse.

        header: as ``_headers`` gives it, of a JPEG.
        is_whole: whether it declares all of its rows. Otherwise the decoder warns that there is more, and what else it
            warns of is not told apart.
        """
        if factor > 1 and min(header.width, header.height) < _SMALLEST_SCALED:
            return None
        if Image.MAX_IMAGE_PIXELS is not None and header.width * header.height > Image.MAX_IMAGE_PIXELS:
            return None
        source = header.source
        # Where its end is missing some of its pixels may be, which to libjpeg is a warning of many.
        if source.rfind(_EOI, len(source) - len(header.parts[-1])) < 0:
            return None
        width, height = -(-header.width // factor), -(-header.height // factor)
        scale = {"min_width": width, "min_height": height, "strict": is_whole}
        try:
            *size, space, _ = self._jpeg.decode_jpeg_header(source, **scale)
            if size != [height, width] or space not in _LAYOUTS:
                return None
            layout, mode, channels = _LAYOUTS[space]
            pixels = self._numpy.empty((height, width, channels), self._numpy.uint8)
            # An error after a warning is not told either. Then the rows from there on are what was in memory before,
            # and not for anybody's eyes. They are written from the top down: the last one tells.
            mark = os.urandom(width * channels)
            pixels[-1] = self._numpy.frombuffer(mark, self._numpy.uint8).reshape(width, channels)
            self._jpeg.decode_jpeg(source, layout, buffer=pixels, **scale)
        except (ValueError, KeyError, RuntimeError):
            return None
        if pixels[-1].tobytes() == mark:
            return None
        return image_over(pixels, (width, height), mode)


def turbo() -> Turbo | None:
    """The decoder; ``None`` without the extra ``fast``, and with a Pillow that does not work with it."""
    if not CAN_BE_COLOUR:
        return None
    try:
        return Turbo()
    except ImportError:
        return None
    except Exception as error:  # noqa: BLE001 - of a numpy that does not fit, any
        logger.warning("simplejpeg is installed and does not load; JPEGs are decoded by Pillow: %r", error)
        return None
