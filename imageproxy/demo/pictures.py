"""Picture files for a page: what they are called, and how large they are shown."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from imageproxy.processors._exif import orientation
from imageproxy.processors._headers import read_header
from imageproxy.processors._sniff import sniff

__all__ = ["Picture", "Write", "file_stem", "keep", "keep_original"]

Write = Callable[[str, bytes], object]
"""Is given the name and the bytes of each file."""

_EXIF_ORIENTATION = 0x0112
_TURNED = range(5, 9)  # the orientations that exchange width and height


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was written to a file.

    file: its path from the page. width, height: in pixels, as it is shown, its EXIF orientation applied.
    """

    file: str
    width: int
    height: int
    size_bytes: int

    def as_values(self) -> dict[str, object]:
        """For JSON."""
        return {"file": self.file, "width": self.width, "height": self.height, "bytes": self.size_bytes}


def file_stem(name: str, number: int) -> str:
    """How the names of a photo's files begin. number: makes them unique."""
    slug = re.sub(r"[^a-z0-9]+", "-", Path(name).stem.lower()).strip("-")[:40]  # safe in any file system and URL
    return f"images/{number:02}-{slug or 'photo'}"


def keep(file: str, data: bytes, write: Write) -> Picture:
    """Write a picture that was made."""
    write(file, data)
    return Picture(file, *_shown_size(data), len(data))


def keep_original(stem: str, data: bytes, write: Write) -> Picture:
    """Write a photo as it is, under the suffix of its format. It must be one that could be processed."""
    kind = sniff(data)
    file = f"{stem}.{kind}"
    try:
        size = _shown_size(data)
    except Exception:  # noqa: BLE001 - Pillow stumbles over metadata that the processor does not give it
        header = read_header(data, kind)
        is_turned = orientation(header.exif) in _TURNED
        size = (header.height, header.width) if is_turned else (header.width, header.height)
    write(file, data)
    return Picture(file, *size, len(data))


def _shown_size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        try:
            is_turned = image.getexif().get(_EXIF_ORIENTATION) in _TURNED
        except Exception:  # noqa: BLE001 - Pillow raises what comes to its hand; browsers ignore broken metadata too
            is_turned = False
        return (height, width) if is_turned else (width, height)
