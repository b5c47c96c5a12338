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
    """The image whose rows are ``pixels``, which it keeps, as bytes: one for each pixel, or four.

    The fourth of RGB is of no meaning.
    """
    stored = "RGBX" if mode == "RGB" else mode
    image = Image.frombuffer(stored, size, pixels, "raw", stored, 0, 1)
    # The same memory under its right name: as RGBX it has a fourth channel, of which nobody knows what is in it.
    return image if stored == mode else Image.fromarrow(image, mode, image.size)


def blank(size: tuple[int, int], mode: Mode, numpy: Any) -> Image.Image:
    """An image of which nothing is written yet, in memory that numpy asks the system for in large pages."""
    if mode == "RGB" and not CAN_BE_COLOUR:
        return Image.new(mode, size, None)
    pixels = numpy.empty(size[0] * size[1] * (1 if mode == "L" else 4), numpy.uint8)
    image = image_over(pixels, size, mode)
    image.readonly = 0  # nobody else has it
    return image
