"""Warnings that would come with every request, told now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

__all__ = ["Seldom"]


class Seldom:
    """Tells the level to log something at: a warning at most once in ``interval_seconds``, in between debug.

    Takes no lock: two threads at once may both warn.
    """

    def __init__(self, interval_seconds: float = 60.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._quiet_until = float("-inf")

    @property
    def level(self) -> int:
        """The level for what is logged now."""
        now = self._clock()
        if now < self._quiet_until:
            return logging.DEBUG
        self._quiet_until = now + self._interval_seconds
        return logging.WARNING
