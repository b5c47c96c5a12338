"""Fences for a cache that has none of its own."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Hashable

from imageproxy.protocols import Cache, CacheKey

from ._generations import Generations

__all__ = ["Fenced"]

_LOCKS = 64


class Fenced:
    """What a cache lacks to have fences (``SupportsFences``). They hold for what goes through this object.

    A purge waits for the fenced writes of the same owner that are under way, and they for it. Safe to call from
    threads. Raises what the cache raises.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._generations = Generations()
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Locks of this process."""
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def fence(self, did: str, cid: str) -> Hashable:
        """A mark of the purges so far. Never raises."""
        return self._generations.fence(did, cid)

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        """Store it, unless the blob or its owner was purged since ``fence``; whether it was stored."""
        with self._lock_of(key.did):
            if fence != self._generations.fence(key.did, key.cid):
                return False
            self._cache.set(key, data)
            return True

    def purge(self, did: str, cid: str | None = None) -> int:
        """Purge the cache, and void the fences of before, also where the cache fails."""
        with self._lock_of(did):
            try:
                return self._cache.purge(did, cid)
            finally:
                self._generations.purged(did, cid)

    def _lock_of(self, did: str) -> threading.Lock:
        return self._locks[zlib.crc32(did.encode("utf-8", "surrogatepass")) % _LOCKS]
