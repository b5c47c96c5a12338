"""One tier of a tiered cache: it may fail, and is then left alone for a while."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Literal, NoReturn

from imageproxy._breaker import Breaker
from imageproxy.errors import CachePurgeError
from imageproxy.protocols import (
    Cache,
    CacheKey,
    SupportsCleanup,
    SupportsFences,
    SupportsNonBlocking,
    SupportsStats,
)

from ._fence_text import fence_text
from ._fenced import Fenced
from ._storing import UNFENCED

__all__ = ["NoFence", "Tier"]

_log = logging.getLogger(__name__)

_Count = Literal["hits", "misses", "fills", "errors", "skipped"]


class NoFence(bytes):
    """In the place of the fence that a tier failed to give: the same for as long as it fails, and then another."""


class Tier:
    """A cache, its faults and its counts. Every tier has fences: where the cache has none, those of this object.

    Reading and writing are given up apart: a full disk can be read. Safe to call from threads.
    """

    def __init__(self, number: int, cache: Cache, clock: Callable[[], float]) -> None:
        self.number = number
        self._label = f"tier{number}"
        self.name = f"{self._label}.{type(cache).__name__}"
        self._cache = cache
        self._fences: SupportsFences
        self._own_fences: Fenced | None = None
        if isinstance(cache, SupportsFences):
            self._fences = cache
        else:
            self._fences = self._own_fences = Fenced(cache)
        self.is_nonblocking = isinstance(cache, SupportsNonBlocking) and cache.is_nonblocking is True
        self.is_guard = self.is_nonblocking and self._own_fences is None
        """Whether its fence can be asked for on every hit of a tier above."""
        self._reading = Breaker(clock)
        self._writing = Breaker(clock)
        # A fence that costs nothing is asked for whatever else fails, and its success says nothing of the rest.
        self._is_fence_cheap = self.is_nonblocking or self._own_fences is not None
        self._fencing = Breaker(clock) if self._is_fence_cheap else self._reading
        self._counts: dict[_Count, int] = {"hits": 0, "misses": 0, "fills": 0, "errors": 0, "skipped": 0}
        self._lock = threading.Lock()

    def reset_after_fork(self) -> None:
        """Locks of this process."""
        self._lock = threading.Lock()
        for breaker in (self._reading, self._writing, self._fencing):
            breaker.reset_after_fork()
        if self._own_fences is not None:
            self._own_fences.reset_after_fork()

    def get(self, key: CacheKey) -> bytes | None:
        """The image, or ``None``: not there, or the tier fails. Never raises."""
        ticket = self._reading.enter()
        if ticket is None:
            self._count("skipped")
            return None
        try:
            data = self._cache.get(key)
            if data is not None and not isinstance(data, bytes):
                _refuse(data)
        except Exception as error:  # noqa: BLE001 - a cache may raise what it likes
            self._failed(self._reading, ticket, "be read", error, key.did, key.cid)
            return None
        if self._reading.is_failing:
            self._succeeded(self._reading, ticket)
        self._count("misses" if data is None else "hits")
        return data

    def fence(self, did: str, cid: str) -> Hashable:
        """The present fence, or a NoFence where the tier fails. Never raises."""
        ticket = self._fencing.enter()
        if ticket is None and not self._is_fence_cheap:
            return NoFence(self._fencing.spell)
        try:
            fence = self._fences.fence(did, cid)
            if self.is_guard and not isinstance(fence, bytes):
                fence_text(fence)  # or else nothing can be kept above it
        except Exception as error:  # noqa: BLE001 - a cache may raise what it likes
            self._failed(self._fencing, ticket, "tell what was purged", error, did, cid)
            return NoFence(self._fencing.spell)
        if self._fencing.is_failing:
            self._succeeded(self._fencing, ticket)
        return fence

    def store(self, key: CacheKey, data: bytes, fence: Hashable = UNFENCED) -> bool:
        """Store it, unless it was purged since ``fence`` or the tier is left alone; whether it was stored.

        Raises what the cache raises.
        """
        ticket = None if isinstance(fence, NoFence) else self._writing.enter()
        if ticket is None:
            self._count("skipped")
            return False
        try:
            if fence is UNFENCED:
                self._cache.set(key, data)
                is_stored = True
            else:
                is_stored = self._fences.set_fenced(key, data, fence)
        except Exception as error:
            self._failed(self._writing, ticket, "be written to", error, key.did, key.cid)
            raise
        if self._writing.is_failing:
            self._succeeded(self._writing, ticket)
        return is_stored

    def fill(self, key: CacheKey, data: bytes, fence: Hashable) -> None:
        """Store what a tier below has, unless it was purged since ``fence``. Never raises."""
        try:
            is_stored = self.store(key, data, fence)
        except Exception:  # noqa: BLE001 - told and counted; the image is there
            return
        if is_stored:
            self._count("fills")

    def purge(self, did: str, cid: str | None) -> int:
        """Purge it, whether or not it is left alone. Raises CachePurgeError naming it, or what is broken in it."""
        try:
            return (self._own_fences or self._cache).purge(did, cid)
        except CachePurgeError as error:
            self._count("errors")
            failed = tuple(f"{self._label}.{name}" for name in error.failed)
            raise CachePurgeError(str(error), removed=error.removed, failed=failed or (self.name,)) from error
        except Exception as error:
            self._count("errors")
            raise CachePurgeError(f"{self.name} could not be purged: {error!r}", failed=(self.name,)) from error

    def cleanup(self) -> int:
        """Tidy it if it can be. Never raises."""
        ticket = self._writing.enter() if isinstance(self._cache, SupportsCleanup) else None
        if ticket is None or not isinstance(self._cache, SupportsCleanup):
            return 0
        try:
            removed = self._cache.cleanup()
        except Exception as error:  # noqa: BLE001 - a cache may raise what it likes
            self._failed(self._writing, ticket, "be tidied", error)
            return 0
        if self._writing.is_failing:
            self._succeeded(self._writing, ticket)
        return removed

    def stats(self) -> Mapping[str, int]:
        """What the cache counts itself, and then what is counted here, each name with the tier's before it."""
        counts: dict[str, int] = {}
        if isinstance(self._cache, SupportsStats):
            try:
                counts.update(self._cache.stats())
            except Exception:  # noqa: BLE001 - a cache may raise what it likes
                self._count("errors")
        with self._lock:
            counts.update((name, count) for name, count in self._counts.items())
        return {f"{self._label}.{name}": count for name, count in counts.items()}

    def _count(self, name: _Count) -> None:
        with self._lock:
            self._counts[name] += 1

    def _succeeded(self, breaker: Breaker, ticket: int | None) -> None:
        if ticket is not None and breaker.succeeded(ticket):
            _log.info("%s works again", self.name)

    def _failed(
        self,
        breaker: Breaker,
        ticket: int | None,
        what: str,
        error: Exception,
        did: str | None = None,
        cid: str | None = None,
    ) -> None:
        self._count("errors")
        if ticket is not None and breaker.failed(ticket):
            where = {"did": did, "cid": cid}
            _log.warning("%s cannot %s, and is passed over until it can: %r", self.name, what, error, extra=where)


def _refuse(data: object) -> NoReturn:
    raise TypeError(f"the cache gave {data!r:.40} for an image")
