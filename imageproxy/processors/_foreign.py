"""Pillow's images over memory that another decoder has written."""

from __future__ import annotations

from typing import Any, Literal

import PIL
from PIL import Image

__all__ = ["CAN_BE_COLOUR", "Mode", "blank", "image_over"]

Mode = Literal["L", "RGB", "RGBA"]

CAN_BE_COLOUR = int(PIL.__version__.partition(".")[0]) >= 13
"""Whether it can be one of mode RGB. Before 13, Pillow crashes where such memory is handed over by Arrow."""


def image_over(pixels: Any, size: tuple[int, int], mode: Mode) -> Image.Image:
    """The image whose rows are ``pixels``, as bytes: one for each pixel, or four. The fourth of RGB means nothing.

    It keeps them, and nobody else may have them: it can be drawn on.
    """
    stored = "RGBX" if mode == "RGB" else mode
    image = Image.frombuffer(stored, size, pixels, "raw", stored, 0, 1)
    if stored != mode:
        # The same memory under its right name: as RGBX it has a fourth channel, of which nobody knows what is in it.
        image = Image.fromarrow(image, mode, image.size)
    image.readonly = 0
    return image


def blank(size: tuple[int, int], mode: Mode, numpy: Any) -> Image.Image:
    """An image of which nothing is written yet, in memory that numpy asks the system for in large pages."""
    if mode == "RGB" and not CAN_BE_COLOUR:
        return Image.new(mode, size, None)
    return image_over(numpy.empty(size[0] * size[1] * (1 if mode == "L" else 4), numpy.uint8), size, mode)
