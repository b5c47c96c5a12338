"""A progress bar of one line, for terminals."""

from __future__ import annotations

import shutil
from types import TracebackType
from typing import TextIO

from typing_extensions import Self

from imageproxy.demo.text import fitted

__all__ = ["ProgressBar"]

_BAR_WIDTH = 24


class ProgressBar:
    """Counts steps up to ``total`` on ``stream`` if that is a terminal; elsewhere it writes nothing.

    A context manager, which wipes the line when it is left.
    """

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._is_shown = stream.isatty()
        self._begun = 0

    def advance(self, label: str) -> None:
        """Show that the next step begins."""
        filled = _BAR_WIDTH * self._begun // self._total
        self._begun += 1
        bar = "#" * filled + "." * (_BAR_WIDTH - filled)
        self._write(f"[{bar}] {self._begun}/{self._total}  {label}")

    def _write(self, line: str) -> None:
        if self._is_shown:
            columns = shutil.get_terminal_size().columns - 1  # in the last one, some terminals wrap
            self._stream.write(f"\r{fitted(line, columns)}\r")
            self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._write("")
