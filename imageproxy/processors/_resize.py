"""The two resizers: Pillow's own, and the SIMD one of the extra ``fast``. Both are Lanczos with three lobes.

On photos their results differ by less than a JPEG of quality 95 does from its original (55 dB and over between them).
"""

from __future__ import annotations

import importlib
import logging
from typing import Any, Literal, Protocol

import PIL
from PIL import Image

from imageproxy.errors import ConfigError

from ._geometry import Box

__all__ = ["Resizer", "make_resizer", "resize"]

logger = logging.getLogger(__name__)

ResizerName = Literal["pillow", "simd"]
_CHOICES = ("auto", "pillow", "simd")

# The SIMD resizer reads Pillow's images in place, by the layout of a C structure that is Pillow's own affair and that
# changed with Pillow 12. With a layout that it does not know it would read anywhere in memory.
_NEWEST_KNOWN_PILLOW = 13

# Between its two passes a resizer holds an image as wide as the result and as high as the source. In strips of this
# size that is nothing, and the result is the same: both look beyond the edges of the part they are given.
_STRIP_BYTES = 8 * 1024**2
_BYTES_PER_PIXEL = 4


class Resizer(Protocol):
    """Resizes an image of mode L, RGB, RGBa or CMYK. Called from several threads at once."""

    @property
    def name(self) -> ResizerName:
        """What it is called in the options."""
        ...

    def resize(self, image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
        """The part of ``image`` in ``box``, made ``size``."""
        ...


class PillowResizer:
    """Pillow alone."""

    name: ResizerName = "pillow"

    def resize(self, image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
        # The gap: where four times or more is shrunk, the first half by averaging. Twice as fast, at most 0.08 dB.
        return image.resize(size, Image.Resampling.LANCZOS, box, reducing_gap=2.0)


class SIMDResizer:
    """cykooz.resizer, which is Rust's fast_image_resize: 3 to 9 times as fast. It works without holding the GIL.

    Raises ImportError without the extra ``fast``.
    """

    name: ResizerName = "simd"

    def __init__(self) -> None:
        self._lib: Any = importlib.import_module("cykooz_resizer")
        self._algorithm = self._lib.ResizeAlg.convolution(self._lib.FilterType.lanczos3)

    def resize(self, image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
        left, top, right, bottom = box
        result = Image.new(image.mode, size)
        options = self._lib.ResizeOptions(
            self._algorithm, crop_box=self._lib.CropBox(left, top, right - left, bottom - top)
        )
        # A resizer of its own for each call: a shared one is a lock, and keeps the largest buffers it ever needed.
        self._lib.Resizer().resize_pil(image, result, options)
        return result


def make_resizer(choice: str) -> Resizer:
    """The resizer for the option ``resizer``: ``"auto"``, ``"pillow"`` or ``"simd"``.

    Raises ConfigError for any other, and for ``"simd"`` without the extra.
    """
    if choice not in _CHOICES:
        raise ConfigError(
            f"resizer is {choice!r}; it must be 'auto', 'pillow' or 'simd'", option="resizer", value=choice
        )
    if choice == "pillow":
        return PillowResizer()
    if choice == "auto" and int(PIL.__version__.partition(".")[0]) > _NEWEST_KNOWN_PILLOW:
        logger.info("Pillow %s is newer than the SIMD resizer is known to work with: not used", PIL.__version__)
        return PillowResizer()
    try:
        return SIMDResizer()
    except ImportError as error:
        if choice == "auto":
            return PillowResizer()
        raise ConfigError(
            "resizer is 'simd', which needs an extra that is not installed: "
            "pip install \"atproto-imageproxy[fast]\"; 'auto' takes it where it is there",
            option="resizer",
            value=choice,
        ) from error


def resize(resizer: Resizer, image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    """The part of ``image`` in ``box``, made ``size``, in strips where the resizer would need much memory.

    A new image, also where the size is right already.
    """
    left, top, right, bottom = box
    width, height = size
    if (right - left, bottom - top) == size and (left, top) == (int(left), int(top)):
        return image.crop((int(left), int(top), int(right), int(bottom)))
    rows_per_row = (bottom - top) / height
    strip = max(1, int(_STRIP_BYTES / (width * _BYTES_PER_PIXEL * max(1.0, rows_per_row))))
    if strip >= height:
        return resizer.resize(image, size, box)
    result = Image.new(image.mode, size)
    for row in range(0, height, strip):
        end = min(row + strip, height)
        part = (left, top + row * rows_per_row, right, min(bottom, top + end * rows_per_row))
        result.paste(resizer.resize(image, (width, end - row), part), (0, row))
    return result
