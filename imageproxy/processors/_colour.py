"""Colours: a mode that can be resized, sRGB from any profile, and transparency laid on a background."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image, ImageChops, ImageCms, ImageColor

from ._foreign import without_alpha
from ._sixteen_bits import from_16_bits

__all__ = ["BAND_PIXELS", "ToSRGB", "flatten", "resizable", "straight", "without_needless_alpha"]

BAND_PIXELS = 131_072
"""What is laid on a background at a time, which takes some images of this size."""

_AS_STORED = frozenset({"L", "RGB", "CMYK"})
_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB ", "CMYK": b"CMYK"}
# Two profiles of sRGB differ by a rounding here and there; the nearest other one in use (Display P3) by tens.
_SRGB_TOLERANCE = 2
# Photos have profiles of 0.5 to 4 kB, which repeat; a press's of megabytes does not.
_REMEMBERED_BYTES = 65_536
_REMEMBERED_PROFILES = 16


def resizable(image: Image.Image) -> Image.Image:
    """The image in one of the modes that can be averaged: L, RGB, CMYK, or, to be premultiplied, RGBA."""
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode in _AS_STORED:
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I;16"):
        return from_16_bits(image)
    return image.convert("RGB")


def straight(image: Image.Image) -> Image.Image:
    """RGBa back to RGBA, whose colours are as they look; any other mode as it is."""
    return image.convert("RGBA") if image.mode == "RGBa" else image


def without_needless_alpha(image: Image.Image) -> Image.Image:
    """The image without an alpha channel that says nothing, being opaque everywhere."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return image


def flatten(image: Image.Image, background: str) -> Image.Image:
    """What is transparent, laid on ``background`` (``"#rrggbb"``); an image without transparency as it is.

    Premultiplied (RGBa), it takes half of the time that making it straight and laying it there do.
    """
    if image.mode not in {"RGBA", "RGBa"}:
        return image
    if image.mode == "RGBA":
        flat = Image.new("RGB", image.size, background)
        flat.paste(image, mask=image)
        return flat
    flat = Image.new("RGB", image.size, None)
    levels = ImageColor.getrgb(background)[:3]
    shares = {level: [(level * (255 - opacity) + 127) // 255 for opacity in range(256)] for level in levels}
    width, height = image.size
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        alpha = band.getchannel("a")
        # A resize may make a colour larger than its alpha, and then the sum would be over 255.
        colours = ImageChops.darker(without_alpha(band), Image.merge("RGB", (alpha, alpha, alpha)))
        behind = {level: alpha.point(share) for level, share in shares.items()}
        colours = ImageChops.add_modulo(colours, Image.merge("RGB", [behind[level] for level in levels]))
        flat.paste(colours, (0, top))
    return flat


class ToSRGB:
    """Turns pictures into sRGB, which is what every screen takes a picture without a profile for. Thread-safe.

    It remembers the last few profiles: reading one takes 2 ms, as long as encoding a small picture.
    """

    def __init__(self) -> None:
        self._remembered = lru_cache(_REMEMBERED_PROFILES)(_make_transform)

    def convert(self, image: Image.Image, profile: bytes | None) -> Image.Image:
        """``image`` (L, RGB, RGBA or CMYK) in sRGB: L, RGB or RGBA.

        profile: the ICC profile that came with it. ``None``, a broken one, and one for other colours than the image's
            (the profile of a press on a photo in RGB) count as sRGB.
        """
        transform = None
        if profile is not None:
            make = self._remembered if len(profile) <= _REMEMBERED_BYTES else _make_transform
            transform = make(profile, image.mode)
        if transform is not None:
            grey = image.mode == "L"
            image = transform.apply(image.convert(transform.input_mode))
            return image.convert("L") if grey else image
        return image.convert("RGB") if image.mode == "CMYK" else image


def _make_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From ``profile`` to sRGB for images of ``mode``; ``None`` where the colours are to stay as they are."""
    space = profile[16:20]  # ICC.1:2022, section 7.2.6
    if space == b"RGB " and mode == "L":
        mode = "RGB"
    if space != _SPACES[mode]:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        transform = ImageCms.ImageCmsTransform(source, target, mode, "RGBA" if mode == "RGBA" else "RGB")
        return None if mode != "CMYK" and _changes_nothing(transform) else transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    levels = range(0, 256, 51)
    colours = bytes(level for red in levels for green in levels for blue in levels for level in (red, green, blue))
    before = Image.frombytes("RGB", (len(colours) // 3, 1), colours).convert(transform.input_mode)
    after = transform.apply(before)
    difference = ImageChops.difference(before.convert("RGB"), after.convert("RGB"))
    return max(difference.tobytes()) <= _SRGB_TOLERANCE
