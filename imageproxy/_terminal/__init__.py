"""What the commands show on a terminal: text in columns, and a progress bar."""

from __future__ import annotations

from .progress import ProgressBar
from .text import fitted, printable

__all__ = ["ProgressBar", "fitted", "printable"]
