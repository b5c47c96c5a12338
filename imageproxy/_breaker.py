"""A circuit breaker: what fails again and again is left alone for a while, and then tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ._fork import reset_after_fork

__all__ = ["Breaker"]


class Breaker:
    """Tells whether to try. Safe to call from threads; in the child of a fork it keeps what it knew.

    patience: how many failures in a row it takes to open.
    first_seconds: how long it stays open then. Each failed attempt after that doubles the time, up to
        ``longest_seconds``.
    """

    def __init__(
        self,
        *,
        patience: int = 1,
        first_seconds: float = 1.0,
        longest_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience = patience
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._clock = clock
        self._failures = 0
        self._is_open = False
        self._next_attempt_at = 0.0
        self._pause_seconds = first_seconds
        self._lock = threading.Lock()
        reset_after_fork(self)

    def _reset_after_fork(self) -> None:
        self._lock = threading.Lock()

    def allows(self) -> bool:
        """Whether to try now. While it is open, one caller is let through each time that the pause is over."""
        if not self._is_open:
            return True
        with self._lock:
            now = self._clock()
            if now < self._next_attempt_at:
                return False
            self._next_attempt_at = now + self._pause_seconds  # the next caller's turn, should this one never tell
            return True

    def succeeded(self) -> bool:
        """Close it. Whether this ended a row of failures."""
        if self._failures == 0:
            return False
        with self._lock:
            had_failed, self._failures = self._failures > 0, 0
            self._is_open, self._pause_seconds = False, self._first_seconds
            return had_failed

    def failed(self) -> bool:
        """Count a failure, and open it where there were enough. Whether it was the first in a row."""
        with self._lock:
            self._failures += 1
            if self._failures >= self._patience:
                if self._is_open:
                    self._pause_seconds = min(2 * self._pause_seconds, self._longest_seconds)
                self._is_open = True
                self._next_attempt_at = self._clock() + self._pause_seconds
            return self._failures == 1
