"""Pillow's images over memory that another decoder has written."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal

import PIL
from PIL import Image

__all__ = ["CAN_BE_COLOUR", "Mode", "blank", "image_over", "without_alpha"]

Mode = Literal["L", "RGB", "RGBA"]

CAN_BE_COLOUR = int(PIL.__version__.partition(".")[0]) >= 13
"""Whether it can be one of mode RGB. Before 13, Pillow crashes where such memory is handed over by Arrow."""


def image_over(pixels: Any, size: tuple[int, int], mode: Mode) -> Image.Image:
    """The image whose rows are ``pixels``, as bytes: one for each pixel, or four. The fourth of RGB means nothing.

    It keeps them, and nobody else may have them: it can be drawn on.
    """
    stored = "RGBA" if mode == "RGB" else mode
    image = Image.frombuffer(stored, size, pixels, "raw", stored, 0, 1)
    image.readonly = 0
    return without_alpha(image) if mode == "RGB" else image


def without_alpha(image: Image.Image) -> Image.Image:
    """RGBA or RGBa as RGB, the fourth channel left aside: from Pillow 13 on the same memory, so that ``image`` is not
    to be used any more.
    """
    if CAN_BE_COLOUR:
        with suppress(ValueError):  # of an image that Pillow has made in several blocks
            image = Image.fromarrow(image, "RGB", image.size)
            image.readonly = 0
            return image
    return Image.merge("RGB", image.split()[:3])


def blank(size: tuple[int, int], mode: Mode, numpy: Any) -> Image.Image:
    """An image of which nothing is written yet, in memory that numpy asks the system for in large pages."""
    if mode == "RGB" and not CAN_BE_COLOUR:
        return Image.new(mode, size, None)
    return image_over(numpy.empty(size[0] * size[1] * (1 if mode == "L" else 4), numpy.uint8), size, mode)
