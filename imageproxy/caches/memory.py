"""A cache in the memory of the process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping

from imageproxy._fork import reset_after_fork
from imageproxy.errors import ConfigError
from imageproxy.protocols import CacheKey

from ._generations import Generations
from ._storing import UNFENCED, Storing

__all__ = ["MemoryCache"]

# Measured: 850 to 950 bytes, with an owner and a blob for each entry, which is the most.
_ENTRY_BYTES = 1000


class MemoryCache(Storing):
    """Keeps images in memory: the fastest tier of a ``TieredCache``, or a whole cache. Safe to use from threads.

    max_bytes: the most that it takes, in bytes. An image counts with its length, the texts of its key, and 1,000 bytes
        for what surrounds it. What is used least recently goes. An image that is larger is not stored.

    A child of a fork begins with a copy of what was there, and goes on by itself. No method raises, beyond what the
    interpreter itself does when memory is short.

    A subclass that changes what is written overrides ``store``, which ``set`` and ``set_fenced`` go through.

    Raises ConfigError for a limit that cannot be meant.
    """

    is_nonblocking = True
    """Read by those who ask on an event loop."""

    def __init__(self, max_bytes: int) -> None:
        if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes < 1:
            raise ConfigError(
                f"max_bytes is {max_bytes!r}; it must be a whole number above 0", option="max_bytes", value=max_bytes
            )
        self._max_bytes = max_bytes
        self._generations = Generations()
        self._evicted = 0
        self._lock = threading.Lock()  # for all that changes what is stored; a hit takes none
        self._clear()
        reset_after_fork(self)

    def _clear(self) -> None:
        self._is_changing = False
        self._bytes = 0
        # The one used least recently comes first.
        self._entries: OrderedDict[CacheKey, bytes] = OrderedDict()
        # By owner, and by blob there: a purge looks at nothing else.
        self._owners: dict[str, dict[str, set[CacheKey]]] = {}

    def _reset_after_fork(self) -> None:
        self._lock = threading.Lock()
        self._mend()  # a thread of the parent may have been in the middle of a change

    def __repr__(self) -> str:
        return f"MemoryCache({self._max_bytes})"

    def get(self, key: CacheKey) -> bytes | None:
        """The image stored under ``key``, or ``None``."""
        data = self._entries.get(key)
        if data is not None:
            try:  # not contextlib.suppress, which would cost time on a hit
                self._entries.move_to_end(key)
            except KeyError:  # it went in between
                return data
        return data

    def fence(self, did: str, cid: str) -> Hashable:
        """A mark of the purges of this blob and its owner so far; see ``set_fenced``."""
        return self._generations.fence(did, cid)

    def store(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        """What ``set`` and ``set_fenced`` do, and the one method to override for another way to write."""
        with self._lock:
            self._mend()
            if fence is not UNFENCED and fence != self._generations.fence(key.did, key.cid):
                return False
            self._is_changing = True
            is_stored = self._put(key, data)
            self._is_changing = False
            return is_stored

    def purge(self, did: str, cid: str | None = None) -> int:
        """Remove one blob in every variant, or all of an owner; returns how many entries went."""
        with self._lock:
            try:
                self._mend()
                blobs = self._owners.get(did, {})
                chosen = list(blobs.values()) if cid is None else [blobs.get(cid, set())]
                keys = [key for variants in chosen for key in variants]
                self._is_changing = True
                for key in keys:
                    self._remove(key)
                self._is_changing = False
            finally:
                self._generations.purged(did, cid)
            return len(keys)

    def stats(self) -> Mapping[str, int]:
        """How many entries there are, what they take of the limit, both in bytes, and how many were evicted so far."""
        with self._lock:
            self._mend()
            return {
                "entries": len(self._entries),
                "bytes": self._bytes,
                "max_bytes": self._max_bytes,
                "evicted": self._evicted,
            }

    # With the lock held:

    def _mend(self) -> None:
        """Drop all, if a change was broken off: by what a signal handler raised, or by a fork."""
        if self._is_changing:
            self._clear()

    def _put(self, key: CacheKey, data: bytes) -> bool:
        size = _size(key, data)
        old = self._entries.get(key)
        if size > self._max_bytes:
            if old is not None:  # a reader must not take the old one for the one that was set
                self._remove(key)
            return False
        if old is None:
            self._owners.setdefault(key.did, {}).setdefault(key.cid, set()).add(key)
        else:
            size -= _size(key, old)
        self._bytes += size
        self._entries[key] = data  # in place: a reader must not find a gap
        self._entries.move_to_end(key)
        while self._bytes > self._max_bytes:
            self._unlist(*self._entries.popitem(last=False))  # in one step: hits change the order without the lock
            self._evicted += 1
        return True

    def _remove(self, key: CacheKey) -> None:
        self._unlist(key, self._entries.pop(key))

    def _unlist(self, key: CacheKey, data: bytes) -> None:
        self._bytes -= _size(key, data)
        blobs = self._owners[key.did]
        variants = blobs[key.cid]
        variants.remove(key)
        if not variants:
            del blobs[key.cid]
            if not blobs:
                del self._owners[key.did]


def _size(key: CacheKey, data: bytes) -> int:
    return len(data) + len(key.preset) + len(key.did) + len(key.cid) + len(key.content_type) + _ENTRY_BYTES
