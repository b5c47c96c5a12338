"""Where photos come from: drawn on the spot, or files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from imageproxy.errors import ConfigError, ImageTooLargeError
from imageproxy.testing.photos import drawn_photos

__all__ = ["Photo", "drawn", "photo_files", "photos_in"]


class Photo(NamedTuple):
    """A photo and how to read it, which is done when its turn comes. ``read`` raises OSError or ImageTooLargeError."""

    name: str
    read: Callable[[], bytes]


def photos_in(folder: Path, *, max_bytes: int) -> list[Photo]:
    """The files of a folder, by name, without those that are hidden; folders in it are left out.

    max_bytes: a larger file is not read.

    Raises ConfigError where there is none, and OSError.
    """
    if not folder.is_dir():
        raise ConfigError(f"--photos is {str(folder)!r}; it must be a folder with photos in it", option="--photos")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not files:
        raise ConfigError(f"--photos is {str(folder)!r}; there are no files in it", option="--photos")
    return photo_files(files, max_bytes=max_bytes)


def photo_files(paths: Iterable[Path], *, max_bytes: int) -> list[Photo]:
    """These files. A larger one than ``max_bytes`` is not read."""
    return [Photo(path.name, partial(_read, path, max_bytes)) for path in paths]


def _read(path: Path, max_bytes: int) -> bytes:
    size = path.stat().st_size
    if size > max_bytes:
        raise ImageTooLargeError(f"{size:,} bytes; the limit is {max_bytes:,}", limit=max_bytes, actual=size)
    return path.read_bytes()


def drawn() -> list[Photo]:
    """The photos that the project draws for its own tests, which give away what a preset does to them."""
    return [Photo(photo.name, partial(bytes, photo.data)) for photo in drawn_photos()]
