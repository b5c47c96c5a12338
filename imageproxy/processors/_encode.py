"""The encoders, and how hard they work: their options by format, quality and effort."""

from __future__ import annotations

import io
import os
from typing import Any, Literal, get_args

from PIL import Image

from imageproxy.errors import ConfigError
from imageproxy.presets import Preset

__all__ = [
    "Effort",
    "animation_options",
    "checked_effort",
    "encoded",
    "encoder_options",
    "has_full_chroma",
    "webp_method",
]

Effort = Literal["low", "medium", "high"]
_CHOICES: tuple[Effort, ...] = get_args(Effort)

# On 17 photos and drawings as content_preview, against medium: high is 0.95 (JPEG), 0.96 (WebP), 0.95 (PNG) and 0.94
# (AVIF) of the size in 2.4, 2.1, 3.9 and 2.9 times the time; low is 1, 1.09, 1.09 and 1.16 in 1, 0.7, 0.6 and 0.3.
# Why medium is where it is, measured on photos and drawings of 1000 and 360 pixels:
#   JPEG   optimized tables take 2.5 times as long and save 1 to 4 %; of files under a bit a pixel 4 to 60 %: these
#          get them. Progressive saves 4 % and takes five times as long.
#   WebP   methods 4 and 5 save at most 3 % over 3. Method 2 takes half the time for 1 to 3 % more bytes, but 40 % more
#          at quality 100, and up to 7 % more with transparency. In animations, 2 saves nothing over 0, and 3 takes
#          twice as long for at most 10 %.
#   PNG    level 6, the default, saves at most 2 % over 4 and takes up to twice as long.
#   AVIF   speed 6, the default, saves 1 % over 8 and takes twice as long; 9 takes a quarter, but makes drawings half as
#          large again. One thread, for as many images are under way as there are processors.
_PNG_LEVELS: dict[Effort, int] = {"low": 1, "medium": 4, "high": 9}
_AVIF_SPEEDS: dict[Effort, int] = {"low": 9, "medium": 8, "high": 6}
_WEBP_FAST_QUALITY = 95
_JPEG_SMOOTH_BITS, _JPEG_TABLES_BYTES = 1.0, 620
# Of 222 pictures made of photos, four strips of as many rows as JPEG's blocks have tell 4 wrongly, three 11, and the
# middle eighth 28.
_SAMPLE_STRIPS, _SAMPLE_ROWS = 4, 16

# Up to this quality, a file of JPEG or AVIF is better spent on finer light than on colours of every pixel: at one size,
# 4:2:0 is as near to the photo as 4:4:4 at JPEG's 90, and 0.4 dB behind at 95, where the limit is the halved colours.
_HALVED_CHROMA_QUALITY = 90


def checked_effort(effort: object) -> Effort:
    """The option ``effort``. Raises ConfigError for what is none."""
    for choice in _CHOICES:
        if choice == effort:
            return choice
    raise ConfigError(f"effort is {effort!r}; it must be 'low', 'medium' or 'high'", option="effort", value=effort)


def encoded(image: Image.Image, preset: Preset, effort: Effort) -> bytes:
    """The file of a picture of mode L, RGB or RGBA."""
    options = encoder_options(image.mode, preset, effort)
    if preset.format != "jpeg" or effort != "medium" or preset.progressive:
        return _saved(image, preset, options)
    optimized = {**options, "optimize": True}
    # Told from a sample; where that is unlike the rest, all of it is encoded twice.
    sample = _sample(image)
    if sample is not image and _is_smooth(sample, len(_saved(sample, preset, options)) - _JPEG_TABLES_BYTES):
        return _saved(image, preset, optimized)
    del sample
    data = _saved(image, preset, options)
    return _saved(image, preset, optimized) if _is_smooth(image, len(data)) else data


def _sample(image: Image.Image) -> Image.Image:
    """Strips from all over the picture, one below the other. Itself, if it is hardly higher."""
    height = _SAMPLE_STRIPS * _SAMPLE_ROWS
    if image.height <= height:
        return image
    sample = Image.new(image.mode, (image.width, height), None)
    for strip in range(_SAMPLE_STRIPS):
        top = (2 * strip + 1) * image.height // (2 * _SAMPLE_STRIPS) - _SAMPLE_ROWS // 2
        sample.paste(image.crop((0, top, image.width, top + _SAMPLE_ROWS)), (0, strip * _SAMPLE_ROWS))
    return sample


def _is_smooth(image: Image.Image, file_bytes: int) -> bool:
    return 8 * file_bytes < _JPEG_SMOOTH_BITS * image.width * image.height


def _saved(image: Image.Image, preset: Preset, options: dict[str, Any]) -> bytes:
    if preset.format == "jpeg" and (file := _memory_file()) is not None:
        # Pillow's JPEG encoder lets other threads run only where it writes to a descriptor: on two cores, twice as many
        # images a second.
        with file:
            image.save(file, preset.format, **options)
            return os.pread(file.fileno(), file.seek(0, os.SEEK_END), 0)
    buffer = io.BytesIO()
    image.save(buffer, preset.format, **options)
    return buffer.getvalue()


def _memory_file() -> io.FileIO | None:
    """A file in memory that has a descriptor. ``None`` where the system has none (it is Linux's), or none left."""
    try:
        return io.FileIO(os.memfd_create("imageproxy"), "w+")
    except (AttributeError, OSError):
        return None


def encoder_options(mode: str, preset: Preset, effort: Effort) -> dict[str, Any]:
    """The options of Pillow's encoder for a picture of this mode (L, RGB or RGBA) and preset."""
    subsampling = "4:4:4" if mode != "L" and has_full_chroma(preset) else "4:2:0"
    if preset.format == "jpeg":
        return {
            "quality": preset.quality,
            "subsampling": subsampling,
            "optimize": effort == "high",
            "progressive": preset.progressive,
        }
    if preset.format == "png":
        return {"compress_level": _PNG_LEVELS[effort]}
    if preset.format == "webp":
        return {"quality": preset.quality, "method": webp_method(preset, effort, has_alpha=mode == "RGBA")}
    return {
        "quality": preset.quality,
        "subsampling": subsampling,
        "speed": _AVIF_SPEEDS[effort],
        "max_threads": 1,
    }


def has_full_chroma(preset: Preset) -> bool:
    """Whether JPEG and AVIF get the colour of every pixel (4:4:4), and not one for two times two (4:2:0)."""
    return preset.quality > _HALVED_CHROMA_QUALITY


def animation_options(preset: Preset, effort: Effort) -> dict[str, Any]:
    """The options of Pillow's encoder for an animated WebP."""
    return {"quality": preset.quality, "method": 3 if effort == "high" else 0}


def webp_method(preset: Preset, effort: Effort, *, has_alpha: bool) -> int:
    """The method of libwebp, 0 to 6, for a still picture."""
    if effort == "low":
        return 1
    if effort == "high":
        return 4
    return 2 if preset.quality <= _WEBP_FAST_QUALITY and not has_alpha else 3
