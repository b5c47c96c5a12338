"""An animation as its file tells it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from imageproxy.processors._headers import Header

__all__ = ["Disposal", "Film", "Frame", "Part"]

Part = bytes | memoryview

# What every browser does with frames that are to be gone at once.
_SHORTEST_MS, _INSTEAD_MS = 10, 100
# WebP holds 24 bits of milliseconds for each frame.
_LONGEST_MS = 0xFFFFFF


class Disposal(Enum):
    """What becomes of a frame's part of the canvas before the next one is drawn."""

    KEEP = 0
    CLEAR = 1
    RESTORE = 2
    """To what was there before the frame."""


class Frame(NamedTuple):
    """One frame, as a file of its own.

    parts: of that file, in the animation's format, joined when it is drawn.
    size, offset: of its part of the canvas, in pixels.
    duration_ms: how long it is shown.
    disposal: what becomes of it.
    is_blended: whether it is laid over what is there; otherwise it replaces it, transparency and all.
    side_bytes: as a ``Header`` has it.
    """

    parts: Sequence[Part]
    size: tuple[int, int]
    offset: tuple[int, int]
    duration_ms: int
    disposal: Disposal
    is_blended: bool = True
    side_bytes: int = 0

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom on the canvas."""
        (left, top), (width, height) = self.offset, self.size
        return left, top, left + width, top + height


class Film:
    """An animation, filled by the reader of its format.

    format: the decoder's name, as Pillow has it.
    size: of the canvas, in pixels, before any orientation.
    exif, icc_profile, transparent: as in its header.
    plays: how often it is shown in all; 0 is for ever.
    """

    def __init__(self, header: Header, max_frames: int) -> None:
        self.format = header.format
        self.size = header.width, header.height
        self.exif = header.exif
        self.icc_profile = header.icc_profile
        self.transparent = header.transparent
        self.plays = 1
        self.frames: list[Frame] = []
        self._max_frames = max_frames

    @property
    def is_full(self) -> bool:
        """Whether no more frames are wanted."""
        return len(self.frames) >= self._max_frames

    def cut(self, count: int) -> Film | None:
        """The film without the frames after the first ``count``; ``None`` where that leaves a still picture."""
        del self.frames[count:]
        return self if count > 1 else None

    def add(self, frame: Frame) -> bool:
        """Add a frame; returns whether to go on. One that lies outside of the canvas ends the film."""
        left, top, right, bottom = frame.box
        if self.is_full or not (0 <= left < right <= self.size[0] and 0 <= top < bottom <= self.size[1]):
            return False
        shown = _INSTEAD_MS if frame.duration_ms <= _SHORTEST_MS else min(frame.duration_ms, _LONGEST_MS)
        self.frames.append(frame._replace(duration_ms=shown))
        return not self.is_full
