"""A progress bar of one line, for terminals."""

from __future__ import annotations

import shutil
from types import TracebackType
from typing import TextIO

from imageproxy._typing import Self

from .text import fitted

__all__ = ["ProgressBar"]

_BAR_WIDTH = 24


class ProgressBar:
    """A line on ``stream`` if that is a terminal; elsewhere it writes nothing.

    total: how many steps ``advance`` counts up to; not needed for ``show`` and ``tell``.

    A context manager, which wipes the line when it is left.
    """

    def __init__(self, stream: TextIO, total: int = 0) -> None:
        self._stream = stream
        self._total = total
        self._is_shown = stream.isatty()
        self._begun = 0
        self._shown = ""

    def advance(self, label: str) -> None:
        """Show that the next step begins."""
        self._begun += 1
        self._draw(self._begun - 1, self._total, f"{self._begun}/{self._total}  {label}")

    def show(self, done: int, total: int, label: str = "") -> None:
        """Show that so many of all steps are done."""
        self._draw(done, total, f"{100 * done // total} %  {label}".rstrip())

    def tell(self, text: str) -> None:
        """Show a text without a bar, where it is not known how much there is to do."""
        self._write(text)

    def _draw(self, done: int, total: int, text: str) -> None:
        filled = _BAR_WIDTH * done // total
        self._write(f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {text}")

    def _write(self, line: str) -> None:
        if self._is_shown and line != self._shown:
            columns = shutil.get_terminal_size().columns - 1  # in the last one, some terminals wrap
            self._stream.write(f"\r{fitted(line, columns)}\r")
            self._stream.flush()
            self._shown = line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._write("")
