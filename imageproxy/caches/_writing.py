"""Writing the entries of the disk cache."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable

from imageproxy.protocols import CacheKey

from ._entry import EntryName
from ._eviction import Eviction
from ._ledger import Ledger, read_fence
from ._storing import UNFENCED

__all__ = ["Writer", "tell_owner"]

_log = logging.getLogger(__name__)

_TIDY_NS = 600 * 10**9  # how often a write looks for what killed writers left


class Writer:
    """Writes entries into one cache, and keeps it within its limit. Safe to use from threads and processes."""

    def __init__(self, base: str, eviction: Eviction) -> None:
        self._base = base
        self._eviction = eviction
        self._tidied: int | None = None

    def write(self, ledger: Ledger, key: CacheKey, name: EntryName, data: bytes, end: bytes, fence: Hashable) -> bool:
        """Write an entry, unless it was purged since ``fence``; whether it was written.

        Raises OSError; FileNotFoundError where the folder was removed meanwhile.
        """
        size = len(data) + len(end)
        self._tidy(ledger)
        self._eviction.make_room(ledger, size)
        now = self._eviction.now()
        # In the base, not in the shard, whose part of the disk may be full: ext4 then looks long for a place.
        temp = ledger.folder.write_temp(data, end, written=now)
        try:
            with ledger.folder.child(name.folder, create=True) as folder, folder.locked():
                if fence is not UNFENCED and fence != ledger.fence(key.did, key.cid):
                    ledger.folder.unlink(temp)
                    return False
                replaced = folder.find(name.file)
                change = size - (replaced.size if replaced else 0)
                # Counted first: a process that is killed in between must not leave what nobody knows of.
                ledger.add(name.shard, change, used=now)
                try:
                    ledger.folder.move(temp, folder, name.file)
                except BaseException:
                    ledger.add(name.shard, -change)
                    raise
        except BaseException:
            ledger.folder.unlink(temp)
            raise
        return True

    def is_stale(self, key: CacheKey, fence: Hashable) -> bool:
        """Whether what was written under ``fence`` must go again, since it was purged meanwhile.

        Where the lock held, that can only be if the ledger was lost meanwhile, and the purge went by another one. Where
        there are no locks, this is what there is.
        """
        if fence is UNFENCED:
            return False
        try:
            return fence != read_fence(self._base, key.did, key.cid)
        except OSError:  # nobody can tell
            return True

    def _tidy(self, ledger: Ledger) -> None:
        """Now and then, remove what killed writers left, which counts nowhere."""
        now = self._eviction.now()
        if self._tidied is None or abs(now - self._tidied) > _TIDY_NS:
            self._tidied = now
            ledger.folder.sweep_temps(self._eviction.clocks())


def tell_owner(path: str, owner: int) -> bool:
    """Log a warning for a folder that belongs to another user than root and this process's; whether one was due.

    It is not refused: where users are mapped (containers, network file systems), one's own folder may seem another's.
    """
    if not hasattr(os, "geteuid") or owner in (0, os.geteuid()):
        return False
    _log.warning(
        "the image cache in %s belongs to user %d and not to user %d, whose process this is; unless the volume maps "
        "users, that user can plant images and learn what is looked at: use a folder of one's own",
        path,
        owner,
        os.geteuid(),
    )
    return True
