"""What leaves the engine: errors of this library, which tell the preset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from imageproxy.errors import ImageProxyError, ImageTooLargeError, ProcessingError
from imageproxy.presets import Preset

__all__ = ["failing_as", "naming"]


@contextmanager
def naming(preset: Preset) -> Iterator[None]:
    """The errors of this library tell the preset."""
    try:
        yield
    except ImageProxyError as error:
        error.preset = error.preset or preset.name
        raise


@contextmanager
def failing_as(what: str) -> Iterator[None]:
    """Nothing of Pillow's leaves the library, and on broken files it raises nearly everything there is."""
    try:
        yield
    except ImageProxyError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(
            f"the image is over Pillow's own limit, PIL.Image.MAX_IMAGE_PIXELS: {error}",
            unit="pixels",
            limit=Image.MAX_IMAGE_PIXELS,
        ) from error
    except UnidentifiedImageError as error:  # whose message names the address of an object
        raise ProcessingError(f"{what}: it is not what its first bytes say") from error
    except Exception as error:
        raise ProcessingError(f"{what}: {type(error).__name__}: {error}") from error
