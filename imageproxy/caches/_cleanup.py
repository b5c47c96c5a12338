"""The thread that tidies a cache from time to time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from imageproxy._fork import reset_after_fork
from imageproxy.errors import ConfigError

__all__ = ["CleanupHandle"]

_logger = logging.getLogger(__name__)


class CleanupHandle:
    """A thread that calls ``clean`` every ``interval_seconds``, the first time after one interval, until ``stop``.

    clean: is given a function that tells whether to leave off early, and returns how many entries went. What it raises
        is logged, and it is called again.

    Made running, never restarted. A daemon: it does not keep the process alive. In the child of a fork there is no such
    thread, and ``stop`` has nothing to do.

    Raises ConfigError for an interval that is not above 0.
    """

    def __init__(self, clean: Callable[[Callable[[], bool]], int], interval_seconds: float) -> None:
        if not 0 < interval_seconds <= threading.TIMEOUT_MAX:
            raise ConfigError(
                f"interval_seconds is {interval_seconds!r}; it must be a number above 0",
                option="interval_seconds",
                value=interval_seconds,
            )
        self._clean = clean
        self._interval_seconds = interval_seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = threading.Thread(
            target=self._run, args=(self._stopping,), name="imageproxy-cleanup", daemon=True
        )
        reset_after_fork(self)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for it; a cleanup under way is left off. Calling it again does nothing."""
        self._stopping.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.wait(self._interval_seconds):
            try:
                removed = self._clean(stopping.is_set)
            except Exception:  # the next round may do better, and there is nobody to raise it to
                _logger.warning("tidying the image cache failed; it is tried again", exc_info=True)
            else:
                _logger.debug("tidied the image cache: %d entries removed", removed)

    def _reset_after_fork(self) -> None:
        self._stopping = threading.Event()
        self._thread = None
