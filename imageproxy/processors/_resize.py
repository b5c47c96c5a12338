"""The two resizers: Pillow's own, and the SIMD one of the extra ``fast``, with the same two kernels.

On photos their results differ by less than a JPEG of quality 95 does from its original (55 dB and over between them).
"""

from __future__ import annotations

import importlib
import logging
from math import inf
from typing import Any, ClassVar, Literal, Protocol

import PIL
from PIL import Image

from imageproxy.errors import ConfigError
from imageproxy.presets import Preset

from ._geometry import Box, Placement, fidelity

__all__ = [
    "Kernel",
    "Resizer",
    "SIMDResizer",
    "is_as_it_is",
    "is_flattened_first",
    "kernel_for",
    "make_resizer",
    "resize",
    "strip_rows",
]

logger = logging.getLogger(__name__)

ResizerName = Literal["pillow", "simd"]
_CHOICES = ("auto", "pillow", "simd")

# Lanczos with three lobes, or Catmull-Rom, of which a pixel is two thirds of the work. Shrinking photos for JPEGs up to
# quality 90, that costs 0.07 dB and makes the files 2 % smaller; at most 0.3 dB up to this ``Header.detail``, and up to
# 1 dB beyond.
Kernel = Literal["lanczos", "catmull_rom"]
_COARSE_FIDELITY = 90
_MUCH_DETAIL = 6.5
# To Pillow's resizer, which is half of its work, the difference matters more: where it shrinks by this much, it takes
# the coarser one as well of what was decoded smaller, and of pictures whose detail is not known. 0.1 to 0.45 dB.
_PILLOW_SHRINKS = 1.55

# Transparent pixels are laid on the background before the resize where it leaves at least this share of them.
_KEPT_SHARES: dict[ResizerName, float] = {"pillow": 1 / 3, "simd": 2 / 3}

# The SIMD resizer reads Pillow's images in place, by the layout of a C structure that is Pillow's own affair and that
# changed with Pillow 12. With a layout that it does not know it would read anywhere in memory.
_NEWEST_KNOWN_PILLOW = 13

# Between its two passes a resizer holds an image as wide as the result and as high as the source. Beside a large source
# it is held to strips of this size; the result is the same, as both look beyond the edges of the part they are given,
# but it takes a tenth longer, or a quarter.
_LARGE_SOURCE_BYTES = 32 * 1024**2
_STRIP_BYTES, _STRIP_OF_LARGE_BYTES = 16 * 1024**2, 8 * 1024**2
_BYTES_PER_PIXEL = 4


class Resizer(Protocol):
    """Resizes an image of mode L, RGB, RGBa or CMYK. Called from several threads at once."""

    @property
    def name(self) -> ResizerName:
        """What it is called in the options."""
        ...

    def resize(self, image: Image.Image, size: tuple[int, int], box: Box, kernel: Kernel) -> Image.Image:
        """The part of ``image`` in ``box``, made ``size``."""
        ...

    def premultiplied(self, image: Image.Image) -> Image.Image:
        """``image`` (RGBA) as RGBa: so what is behind transparent pixels does not bleed into their neighbours.

        It may be the same object, changed in place.
        """
        ...


class PillowResizer:
    """Pillow alone."""

    name: ResizerName = "pillow"

    _KERNELS: ClassVar[dict[Kernel, Image.Resampling]] = {
        "lanczos": Image.Resampling.LANCZOS,
        "catmull_rom": Image.Resampling.BICUBIC,
    }

    def resize(self, image: Image.Image, size: tuple[int, int], box: Box, kernel: Kernel) -> Image.Image:
        # The gap: where four times or more is shrunk, the first half by averaging. Twice as fast, at most 0.08 dB.
        return image.resize(size, self._KERNELS[kernel], box, reducing_gap=2.0)

    def premultiplied(self, image: Image.Image) -> Image.Image:
        return image.convert("RGBa")


class SIMDResizer:
    """cykooz.resizer, which is Rust's fast_image_resize: 3 to 9 times as fast. It works without holding the GIL.

    Raises ImportError without the extra ``fast``.
    """

    name: ResizerName = "simd"

    def __init__(self) -> None:
        self._lib: Any = importlib.import_module("cykooz_resizer")
        convolution, kernels = self._lib.ResizeAlg.convolution, self._lib.FilterType
        self._algorithms: dict[Kernel, Any] = {
            "lanczos": convolution(kernels.lanczos3),
            "catmull_rom": convolution(kernels.catmull_rom),
        }

    def resize(self, image: Image.Image, size: tuple[int, int], box: Box, kernel: Kernel) -> Image.Image:
        left, top, right, bottom = box
        result = Image.new(image.mode, size, None)  # not filled, as all of it is written
        options = self._lib.ResizeOptions(
            self._algorithms[kernel], crop_box=self._lib.CropBox(left, top, right - left, bottom - top)
        )
        # A resizer of its own for each call: a shared one is a lock, and keeps the largest buffers it ever needed.
        self._lib.Resizer().resize_pil(image, result, options)
        return result

    def premultiplied(self, image: Image.Image) -> Image.Image:
        # The same as Pillow makes of it, in a quarter of the time, and without another image of that size.
        self._lib.AlphaMulDiv().multiply_alpha_pil_inplace(image)
        return image

    def settle(self) -> None:
        """To be called after ISA-L was at work, which leaves the wide halves of the vector registers in use.

        Until somebody clears them, all that computes with vectors takes three times as long. A resize does clear them.
        """
        self.resize(Image.new("L", (2, 2)), (1, 1), (0, 0, 2, 2), "catmull_rom")


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


def kernel_for(
    resizer: ResizerName, preset: Preset, placement: Placement, detail: float = inf, draft: int = 1
) -> Kernel:
    """The kernel that is good enough: the finer one where the encoder does not hide it, and where pixels are added.

    detail: the header's.
    draft: by what the image was shrunk while decoding it. What that costs is enough.
    """
    left, top, right, bottom = placement.box
    shrink = min((right - left) / placement.size[0], (bottom - top) / placement.size[1])
    if shrink < 1 or fidelity(preset) > _COARSE_FIDELITY or _MUCH_DETAIL < detail < inf:
        return "lanczos"
    is_enough = draft == 1 and detail < inf
    return "catmull_rom" if is_enough or (resizer == "pillow" and shrink / draft >= _PILLOW_SHRINKS) else "lanczos"


def is_flattened_first(resizer: ResizerName, placement: Placement, stored: tuple[int, int]) -> bool:
    """Whether what is to be laid on a background is so before the resize, which is less work there."""
    width, height = placement.size
    return width * height >= _KEPT_SHARES[resizer] * stored[0] * stored[1]


def is_as_it_is(size: tuple[int, int], box: Box) -> bool:
    """Whether the pixels of ``box`` are those of the result."""
    left, top, right, bottom = box
    return (right - left, bottom - top) == size and (left, top) == (int(left), int(top))


def strip_rows(source: tuple[int, int], size: tuple[int, int], rows_per_row: float) -> int:
    """How many rows of a result of ``size`` are made at once.

    source: the size of the image that it is made of.
    rows_per_row: how many of its rows make one of the result's.
    """
    is_large = source[0] * source[1] * _BYTES_PER_PIXEL > _LARGE_SOURCE_BYTES
    most = _STRIP_OF_LARGE_BYTES if is_large else _STRIP_BYTES
    return max(1, int(most / (size[0] * _BYTES_PER_PIXEL * max(1.0, rows_per_row))))


def resize(
    resizer: Resizer, image: Image.Image, size: tuple[int, int], box: Box, kernel: Kernel = "lanczos"
) -> Image.Image:
    """The part of ``image`` in ``box``, made ``size``, in strips where the resizer would need much memory.

    A new image, also where the size is right already.
    """
    left, top, right, bottom = box
    width, height = size
    if is_as_it_is(size, box):
        return image.crop((int(left), int(top), int(right), int(bottom)))
    rows_per_row = (bottom - top) / height
    strip = strip_rows(image.size, size, rows_per_row)
    if strip >= height:
        return resizer.resize(image, size, box, kernel)
    result = Image.new(image.mode, size)
    for row in range(0, height, strip):
        end = min(row + strip, height)
        part = (left, top + row * rows_per_row, right, min(bottom, top + end * rows_per_row))
        result.paste(resizer.resize(image, (width, end - row), part, kernel), (0, row))
    return result
