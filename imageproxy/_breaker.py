"""Leaving alone for a while what fails."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

__all__ = ["Breaker"]

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


class Breaker:
    """Lets calls through until enough of them fail; then none for a second, then one to probe.

    A probe that succeeds lets all through again; one that fails doubles the pause, up to a minute. Safe to call from
    threads; where nothing fails, it takes no lock.

    clock: the time in seconds, from anywhere.
    patience: how many failures in a row it takes.
    """

    def __init__(self, clock: Callable[[], float], *, patience: int = 1) -> None:
        self._clock = clock
        self._patience = patience
        self._failures = 0
        self.is_failing = False
        """Whether it was given up for the time being: calls are refused, and the next one let through is a probe."""
        self._retry_at = 0.0
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        # Which ticket counts: the one of the good times, or of the probe. What comes later than that is no news.
        self._turn = 0
        self.spell = b""
        """Of the present time of failures, or of the last one: a token of its own."""
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """A lock of this process."""
        self._lock = threading.Lock()

    def enter(self) -> int | None:
        """A ticket for one call, whose outcome is then reported with it; ``None``: leave it alone."""
        if not self.is_failing:
            return self._turn
        with self._lock:
            if self.is_failing:
                now = self._clock()
                if now < self._retry_at:
                    return None
                self._retry_at = now + _LONGEST_PAUSE_SECONDS  # should the probe never come back
                self._turn += 1
            return self._turn

    def succeeded(self, ticket: int) -> bool:
        """Report that the call did not fail; whether a row of failures is over with it.

        With a patience of 1, there is no need to where nothing fails.
        """
        with self._lock:
            if self._failures == 0 or ticket != self._turn:
                return False
            self._failures = 0
            if self.is_failing:
                self._turn += 1
                self.is_failing = False
            return True

    def failed(self, ticket: int) -> bool:
        """Report that the call failed; whether a row of failures begins with it."""
        with self._lock:
            if ticket != self._turn:
                return False
            self._failures += 1
            if self.is_failing:
                self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)
            elif self._failures == self._patience:
                self.is_failing = True
                self._pause_seconds = _FIRST_PAUSE_SECONDS
                self.spell = secrets.token_bytes(8)
            if self.is_failing:
                self._turn += 1
                self._retry_at = self._clock() + self._pause_seconds
            return self._failures == 1
