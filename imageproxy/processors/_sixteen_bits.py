"""PNGs of 16 bits a channel, which Pillow decodes to 8, but for grey."""

from __future__ import annotations

import io
from functools import reduce

from PIL import Image, ImageChops

__all__ = ["from_16_bits", "with_transparent_colour"]


def from_16_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits (I;16) as grey of 8 (L), rounded."""
    # Pillow's own conversion to L clips at 255 instead of scaling.
    return image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")


def with_transparent_colour(source: bytes, colour: tuple[int, ...]) -> Image.Image:
    """The PNG ``source``, grey or RGB of 16 bits, in RGBA: transparent where all bits are those of ``colour``."""
    opaque: Image.Image
    if len(colour) == 1:
        grey = _decoded(source)
        differs = [255] * 65_536
        differs[colour[0]] = 0
        picture, opaque = from_16_bits(grey), grey.convert("I").point(differs, "L")
    else:
        picture, low = _decoded(source), _decoded(source, "RGB;16L")  # which is the low half of what PNG stores
        halves = [half for value in colour for half in divmod(value, 256)]
        bands = [band for both in zip(picture.split(), low.split(), strict=True) for band in both]
        different = (
            band.point([0 if level == half else 255 for level in range(256)])
            for band, half in zip(bands, halves, strict=True)
        )
        opaque = reduce(ImageChops.lighter, different)
    picture = picture.convert("RGBA")
    picture.putalpha(opaque)
    return picture


def _decoded(source: bytes, raw_mode: str | None = None) -> Image.Image:
    with io.BytesIO(source) as file, Image.open(file, formats=["PNG"]) as opened:
        if raw_mode is not None:
            opened.tile = [tile._replace(args=raw_mode) for tile in opened.tile]
        opened.load()
        loaded: Image.Image = opened
        return loaded
