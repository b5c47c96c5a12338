"""Fences: what was fetched before a purge, by whichever service or process, is told from what was fetched after it."""

from __future__ import annotations

import logging
from collections.abc import Hashable

from ._seldom import Seldom
from ._telling import Teller
from .protocols import Cache, CacheKey, SupportsFences

__all__ = ["Fences"]

_log = logging.getLogger(__name__)

_NONE_GIVEN = object()
"""In the place of a fence that the cache failed to give. No cache takes it for one of its own."""


class Fences:
    """The fences of a cache, or of one that has none: then ``None`` stands for each, and it holds for ever.

    Safe to call from threads.
    """

    def __init__(self, cache: Cache, teller: Teller) -> None:
        self._cache = cache
        self._fenced = cache if isinstance(cache, SupportsFences) else None
        self._teller = teller
        self._seldom = Seldom()

    def take(self, did: str, cid: str) -> Hashable:
        """The present fence of a blob. Before it is fetched. Never raises."""
        if self._fenced is None:
            return None
        try:
            return self._fenced.fence(did, cid)
        except Exception as error:  # noqa: BLE001 - a cache may raise what it likes
            where = {"did": did, "cid": cid}
            what = "the cache gives no fence, so what is fetched will not be cached: %r"
            _log.log(self._seldom.level, what, error, extra=where)
            self._teller.tell("cache_read_failed", did, cid, error=error)
            return _NONE_GIVEN

    def holds(self, did: str, cid: str, fence: Hashable) -> bool:
        """Whether what was fetched under ``fence`` may still be shared: nobody has purged it since. Never raises.

        Where the cache failed to give a fence then, nobody can tell; where it fails to give one now, the answer is no.
        """
        return fence is None or fence is _NONE_GIVEN or fence == self.take(did, cid)

    def store(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        """Write to the cache what was fetched under ``fence``; whether it was stored. Raises what the cache raises."""
        if self._fenced is None:
            self._cache.set(key, data)
            return True
        return self._fenced.set_fenced(key, data, fence)
