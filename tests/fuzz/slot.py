"""The input under way, in memory that outlives the process that it may kill."""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

__all__ = ["MAX_BYTES", "Slot"]

MAX_BYTES = 4 * 1024**2
# The number of the input, when it began (0: none is under way), its length; then itself.
_HEAD = struct.Struct("=QdQ")


class Slot:
    """Written by a worker before each input, read by its supervisor, over a file that both map."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_bytes(bytes(_HEAD.size + MAX_BYTES))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _HEAD.size + MAX_BYTES)

    def put(self, number: int, data: bytes) -> None:
        """This input begins now."""
        self._memory[_HEAD.size : _HEAD.size + len(data)] = data
        self._memory[: _HEAD.size] = _HEAD.pack(number, time.monotonic(), len(data))

    def clear(self, number: int) -> None:
        """It has ended."""
        self._memory[: _HEAD.size] = _HEAD.pack(number, 0.0, 0)

    def seconds_under_way(self) -> float:
        """How long the input has been running; 0 where none is."""
        _, began, _ = _HEAD.unpack_from(self._memory)
        return time.monotonic() - began if began else 0.0

    @property
    def number(self) -> int:
        """Of the input that was put last."""
        return int(_HEAD.unpack_from(self._memory)[0])

    def read(self) -> bytes:
        """The input under way, or ``b""``."""
        length = int(_HEAD.unpack_from(self._memory)[2])
        return self._memory[_HEAD.size : _HEAD.size + length]

    def close(self) -> None:
        self._memory.close()
        self.path.unlink(missing_ok=True)
