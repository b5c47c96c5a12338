"""The write queue: finished images on their way to the cache, which no caller waits for.

A queued image is readable, so that nobody notices that it is not stored yet. The queue is bounded in bytes and in age;
what does not fit is dropped, since a cache can do without any one image, and so is what comes while a cache that failed
several times in a row is left alone. A purge fences it: what waits is dropped, what is being written is waited for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from ._breaker import Breaker
from ._fences import Fences
from .protocols import CacheKey

__all__ = ["Write", "WriteBehind", "WriteOutcome", "cache_write_error_count"]

_log = logging.getLogger(__name__)

WriteOutcome = Literal["cache_written", "cache_write_failed", "cache_write_dropped"]

_WORKERS = 2  # a second one, so that one slow write does not hold up the rest
_PATIENCE = 3
"""After how many failures in a row it is the cache that fails, and not the one image."""


class _ProcessErrors:
    """How many writes failed in this process, over all services."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def add(self) -> None:
        with self._lock:
            self.count += 1


_errors = _ProcessErrors()


def cache_write_error_count() -> int:
    """How many cache writes have failed in this process, over all services. Safe to call from threads.

    A failed write never reaches a caller, so watch this number: it rises when the disk is full or the cache is away.
    """
    return _errors.count


class Write:
    """One image on its way to the cache. ``fence`` is the one that it was fetched under."""

    __slots__ = ("data", "fence", "is_done", "is_dropped", "is_settled", "key", "preset", "queued_at")

    def __init__(self, key: CacheKey, data: bytes, preset: str, fence: Hashable) -> None:
        self.key = key
        self.data = data
        self.preset = preset
        self.fence = fence
        self.queued_at = 0.0
        self.is_dropped = False
        self.is_settled = False
        """Whether the cache is through with it, for better or worse."""
        self.is_done = False
        """Whether that was reported, too."""


class WriteBehind:
    """The queue and the threads that empty it, which are started with the first write.

    report: told of each write what became of it, on the thread where that happened; how many seconds the cache took for
        it, ``None`` where it was not asked; and the cache's error.
    """

    def __init__(
        self,
        fences: Fences,
        *,
        max_bytes: int,
        max_age_seconds: float,
        report: Callable[[Write, WriteOutcome, float | None, BaseException | None], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fences = fences
        self._max_bytes = max_bytes
        self._max_age_seconds = max_age_seconds
        self._report = report
        self._clock = clock
        self._breaker = Breaker(clock, patience=_PATIENCE)
        self._is_closed = False
        self._reset()

    def _reset(self) -> None:
        """Empty, with locks and threads of this process: what the parent of a fork had queued, the parent writes."""
        self.pending: dict[CacheKey, Write] = {}
        """What readers see: the waiting and those being written. Where it is empty there is no need to ask ``get``."""
        self._waiting: deque[Write] = deque()
        self._busy: set[Write] = set()  # being written, or dropped and about to be reported
        self._bytes = 0
        self._changed = threading.Condition()
        self._breaker.reset_after_fork()
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="imageproxy-write")

    reset_after_fork = _reset

    def get(self, key: CacheKey) -> bytes | None:
        """The image, if it is queued or being written, and nobody has purged it since. Takes no lock."""
        write = self.pending.get(key)
        return write.data if write is not None and self._fences.holds(key.did, key.cid, write.fence) else None

    @property
    def queued(self) -> tuple[int, int]:
        """How many images are queued or being written, and their bytes."""
        with self._changed:
            return len(self.pending), self._bytes

    def put(self, write: Write) -> None:
        """Queue a write, or drop it where it does not fit. Returns at once; ``report`` is called on another thread."""
        with self._changed:
            write.queued_at = self._clock()
            while self._waiting and self._is_too_old(self._waiting[0]):
                self._drop(self._waiting.popleft())
            self._bytes += len(write.data)
            self.pending[write.key] = write
            if self._is_closed or self._bytes > self._max_bytes or not self._submit(self._write_next):
                self._drop(write)
            else:
                self._waiting.append(write)

    def _submit(self, task: Callable[..., None], *args: object) -> bool:
        try:
            self._pool.submit(task, *args)
        except RuntimeError:  # closed, or the interpreter is on its way out
            return False
        return True

    def _is_too_old(self, write: Write) -> bool:
        return self._clock() - write.queued_at > self._max_age_seconds

    # With the lock held:

    def _drop(self, write: Write) -> None:
        write.is_dropped = True
        self._hide(write)
        self._busy.add(write)
        if not self._submit(self._tell_dropped, write):
            self._end(write)

    def _hide(self, write: Write) -> None:
        write.is_settled = True
        self._changed.notify_all()
        self._bytes -= len(write.data)
        if self.pending.get(write.key) is write:
            del self.pending[write.key]

    def _end(self, write: Write) -> None:
        write.is_done = True
        self._busy.discard(write)
        self._changed.notify_all()

    # On the threads of the pool:

    def _tell_dropped(self, write: Write) -> None:
        _log.info("not cached: the queue is full or slow, the cache fails, or a purge came first", extra=_extra(write))
        try:
            self._report(write, "cache_write_dropped", None, None)
        finally:
            with self._changed:
                self._end(write)

    def _write_next(self) -> None:
        with self._changed:
            if not self._waiting:  # dropped since: each write has a task, not each task a write
                return
            write = self._waiting.popleft()
            ticket = None if self._is_too_old(write) else self._breaker.enter()
            if ticket is None:
                self._drop(write)
                return
            self._busy.add(write)
        is_stored, error, began = True, None, time.monotonic()
        try:
            is_stored = self._fences.store(write.key, write.data, write.fence)
        except BaseException as raised:  # noqa: BLE001 - whatever it is, somebody may wait for this write
            error = raised
        seconds = time.monotonic() - began
        self._note(write, ticket, error)
        with self._changed:
            if not is_stored:  # a purge by another process came first
                self._drop(write)
                return
            self._hide(write)
        try:
            self._report(write, "cache_written" if error is None else "cache_write_failed", seconds, error)
        finally:
            with self._changed:
                self._end(write)

    def _note(self, write: Write, ticket: int, error: BaseException | None) -> None:
        if error is None:
            if self._breaker.succeeded(ticket):
                _log.info("images can be cached again")
            return
        _errors.add()
        level = logging.WARNING if self._breaker.failed(ticket) else logging.DEBUG
        _log.log(level, "an image could not be cached; told once, until one can: %r", error, extra=_extra(write))

    def fence(self, did: str, cid: str | None, *, timeout: float) -> tuple[int, bool]:
        """Drop what waits of a blob (or, with ``None``, of an owner) and wait for what is being written of it.

        Returns how many were dropped, and whether the others were written within ``timeout`` seconds.
        """

        def is_meant(write: Write) -> bool:
            return write.key.did == did and (cid is None or write.key.cid == cid)

        with self._changed:
            dropped = [write for write in self._waiting if is_meant(write)]
            being_written = [write for write in self._busy if is_meant(write) and not write.is_dropped]
            self._waiting = deque(write for write in self._waiting if not is_meant(write))
            for write in dropped:
                self._drop(write)
            # The store is waited for, not the report: an observer may purge.
            is_over = self._changed.wait_for(lambda: all(write.is_settled for write in being_written), timeout)
        return len(dropped), is_over

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that is queued now is written or dropped; ``False``: not within ``timeout`` seconds."""
        with self._changed:
            queued = [*self._waiting, *self._busy]
            return self._changed.wait_for(lambda: all(write.is_done for write in queued), timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Flush, then drop what is left and let the threads go. Nothing is queued any more, from the first moment."""
        with self._changed:
            self._is_closed = True
        is_over = self.flush(timeout)
        with self._changed:
            while self._waiting:
                self._drop(self._waiting.popleft())
        self._pool.shutdown(wait=is_over)
        return is_over


def _extra(write: Write) -> dict[str, str]:
    return {"preset": write.preset, "did": write.key.did, "cid": write.key.cid}
