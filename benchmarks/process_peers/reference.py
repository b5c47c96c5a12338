"""What a picture should look like: the whole photo decoded, in sRGB, resized by Lanczos in double precision.

Where what is cropped or rounded is no whole number of pixels, engines differ by up to half a pixel in what they take of
the photo. That is no error, so a result is judged by the reference that it is nearest to of the few that are right.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from imageproxy import FitMode, Preset
from imageproxy.processors._geometry import Box, place

__all__ = ["Judge"]

Pixels = NDArray[np.float64]

_LOBES = 3
_STEPS = 256  # of the numbers in the cache, per level: finer than any PSNR here can tell
_VERSION = "1"


class Judge:
    """Knows one photo. Its references are kept in ``cache``, a folder, as each takes a second or two to make."""

    def __init__(self, photo: bytes, cache: Path) -> None:
        self._photo = photo
        self._cache = cache
        self._pixels: Pixels | None = None
        with Image.open(io.BytesIO(photo)) as opened:
            turned = opened.getexif().get(0x0112, 1) in {5, 6, 7, 8}
            self._size = opened.size[::-1] if turned else opened.size

    def psnr(self, result: bytes, preset: Preset) -> float:
        """Decibels, over red, green and blue, of the finished and decoded picture."""
        with Image.open(io.BytesIO(result)) as opened:
            found = np.asarray(_on_background(opened, preset.background), dtype=np.float64)
        size, exact = place(self._size, preset)
        if found.shape[:2] != size[::-1]:  # rounded in the other direction
            size = (found.shape[1], found.shape[0])
        errors = [
            float(np.mean((found - self._reference(size, box, preset)) ** 2)) for box in _boxes(size, exact, preset)
        ]
        return float(10 * np.log10(255**2 / max(min(errors), 1e-9)))

    def _reference(self, size: tuple[int, int], box: Box, preset: Preset) -> Pixels:
        key = hashlib.sha256(self._photo)
        key.update(repr((_VERSION, size, box, preset.background)).encode())
        path = self._cache / f"{key.hexdigest()[:40]}.npy"
        if not path.exists():
            if self._pixels is None:
                self._pixels = _premultiplied(self._photo)
            left, top, right, bottom = box
            rows = _resized(self._pixels, size[1], top, bottom)
            made = _resized(rows.swapaxes(0, 1), size[0], left, right).swapaxes(0, 1)
            background = np.array([int(preset.background[at : at + 2], 16) for at in (1, 3, 5)])
            flat = np.clip(made[..., :3] + (255 - np.clip(made[..., 3:], 0, 255)) / 255 * background, 0, 255)
            self._cache.mkdir(parents=True, exist_ok=True)
            np.save(path, np.rint(flat * _STEPS).astype(np.uint16))
        steps: NDArray[np.uint16] = np.load(path)
        return steps.astype(np.float64) / _STEPS


def _boxes(size: tuple[int, int], exact: Box, preset: Preset) -> Iterator[Box]:
    """What may be taken of the photo: exactly that, one scale for both sides, or half a pixel to either side.

    The half where something is cropped, and where the photo is enlarged: there libvips goes from corner to corner.
    """
    left, top, right, bottom = exact
    across, down = (right - left) / size[0], (bottom - top) / size[1]
    enlarged = across < 1 or down < 1
    steps_x = (0.0, -0.5, 0.5) if left > 0 or enlarged else (0.0,)
    steps_y = (0.0, -0.5, 0.5) if top > 0 or enlarged else (0.0,)
    for y, x in product(steps_y, steps_x):
        yield (left + x * across, top + y * down, right + x * across, bottom + y * down)
    if preset.fit is FitMode.CONTAIN and across != down:
        scale = max(across, down)
        more_x, more_y = size[0] * (scale - across) / 2, size[1] * (scale - down) / 2
        yield (left - more_x, top - more_y, right + more_x, bottom + more_y)


def _premultiplied(photo: bytes) -> Pixels:
    """Upright, in sRGB: three colours times alpha, and alpha from 0 to 255."""
    with Image.open(io.BytesIO(photo)) as opened:
        profile = opened.info.get("icc_profile")
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):
            grey = np.asarray(image, dtype=np.float64) / 257
            return np.stack([grey, grey, grey, np.full_like(grey, 255.0)], axis=-1)
        alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
        colours = _in_srgb(image if image.mode in {"CMYK", "L", "RGB"} else image.convert("RGB"), profile)
    rgb = np.asarray(colours, dtype=np.float64)
    opacity = np.full(rgb.shape[:2], 255.0) if alpha is None else np.asarray(alpha, dtype=np.float64)
    return np.concatenate([rgb * opacity[..., None] / 255, opacity[..., None]], axis=-1)


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile is not None and profile[16:20] == {"CMYK": b"CMYK", "L": b"GRAY", "RGB": b"RGB "}[image.mode]:
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB")
        assert converted is not None  # it is for images converted in place
        return converted
    return image.convert("RGB")


def _on_background(image: Image.Image, background: str) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    flat = Image.new("RGBA", image.size, background)
    flat.alpha_composite(image.convert("RGBA"))
    return flat.convert("RGB")


def _resized(pixels: Pixels, rows: int, start: float, end: float) -> Pixels:
    """``rows`` rows out of those from ``start`` to ``end``."""
    scale = (end - start) / rows
    stretch = max(scale, 1.0)
    flat = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1)
    made = np.empty((rows, flat.shape[1]))
    for row in range(rows):
        centre = start + (row + 0.5) * scale
        low = max(0, int(np.floor(centre - _LOBES * stretch)))
        high = min(flat.shape[0], int(np.ceil(centre + _LOBES * stretch)) + 1)
        at = (np.arange(low, high) + 0.5 - centre) / stretch
        weights = np.where(np.abs(at) < _LOBES, np.sinc(at) * np.sinc(at / _LOBES), 0.0)
        made[row] = (weights / weights.sum()) @ flat[low:high]
    return made.reshape(rows, *pixels.shape[1:])
