"""Counting what happens in a service, and telling its observers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import get_args

from .events import Event, EventName
from .protocols import Observer

__all__ = ["Teller"]

_log = logging.getLogger(__name__)


class Teller:
    """Counts events and their bytes; builds an event only if somebody observes. Safe to call from threads."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)
        self.is_observed = bool(self._observers)
        """Whether anybody is told; spares a hit the look at the clock."""
        self._faulty: set[int] = set()
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """A lock of this process, and counts from zero."""
        self._lock = threading.Lock()
        self.counts: dict[EventName, int] = dict.fromkeys(get_args(EventName), 0)
        self.bytes: dict[EventName, int] = dict.fromkeys(get_args(EventName), 0)

    def since(self, began: float | None) -> float | None:
        """The seconds since then; ``None`` where that is not known."""
        return None if began is None else time.monotonic() - began

    def tell_hit(self, did: str, cid: str, preset: str, size_bytes: int, began: float | None) -> None:
        """``tell``, for what is told most, and what is waited for."""
        if self._observers:
            self.tell("hit", did, cid, preset, seconds=self.since(began), size_bytes=size_bytes)
            return
        with self._lock:
            self.counts["hit"] += 1
            self.bytes["hit"] += size_bytes

    def tell(
        self,
        name: EventName,
        did: str,
        cid: str | None = None,
        preset: str | None = None,
        *,
        seconds: float | None = None,
        size_bytes: int | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Count it, and tell every observer."""
        with self._lock:
            self.counts[name] += 1
            if size_bytes:
                self.bytes[name] += size_bytes
        if self._observers:
            event = Event(
                name=name, did=did, cid=cid, preset=preset, seconds=seconds, size_bytes=size_bytes, error=error
            )
            for observer in self._observers:
                try:
                    observer.on_event(event)
                except Exception:  # noqa: BLE001 - an observer must not hurt what it observes
                    if id(observer) not in self._faulty:
                        self._faulty.add(id(observer))
                        _log.exception("an observer failed; its further failures are not logged")
