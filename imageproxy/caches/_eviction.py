"""What leaves the disk cache, and when: entries past their TTL, and the least recently used over the limit.

There is one limit for all shards together, so that all of it can be used however unevenly they fill. The ledger tells
which shard has the entry that was used longest ago; that one is scanned, and its oldest entries go. This is the order
of last use over the whole cache but for three things:

- when an entry was used is known to the hour;
- up to a sixteenth of the scanned shard goes at once, of what falls into the oldest sixteenth of the time that the
  cache reaches back: the cost of a scan grows with the shard, and is shared by as many writes;
- after a few scans that found nothing so old (all of it was used since), the oldest of the next shard goes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from ._entry import is_entry_name, shard_name
from ._folder import Folder, FoundFile
from ._ledger import EMPTY, UNKNOWN, Ledger

__all__ = ["HOUR_NS", "Eviction", "Wanted", "sweep_temps"]

HOUR_NS = 3600 * 10**9
# No write takes an hour; a temporary file so old is what a killed process left.
_TEMP_AGE_NS = HOUR_NS
_SHARE = 16
_FRUITLESS_SCANS = 4


class Wanted(NamedTuple):
    """What is to be evicted from one shard.

    recorded: its size in the ledger, which ``excess`` was reckoned with.
    excess: bytes to get rid of.
    horizon: what was used after it stays, in ns since the epoch.
    first: when the shard's oldest entry was used, in the ledger.
    """

    recorded: int
    excess: int
    horizon: int
    first: int


class Eviction:
    """Removes entries from the shards in the folder ``base``. Has no state, and so is safe to use from threads.

    now: the time in ns since the epoch.
    """

    def __init__(self, base: str, *, max_bytes: int, ttl_ns: int | None, now: Callable[[], int]) -> None:
        self._base = base
        self._max_bytes = max_bytes
        self._ttl_ns = ttl_ns
        self._now = now

    def is_expired(self, written: int, now: int) -> bool:
        """Whether an entry written at ``written`` is past its TTL. Times are in ns since the epoch."""
        return self._ttl_ns is not None and now - written > self._ttl_ns

    def seconds_left(self, written: int, now: int) -> float:
        """How long until an entry written at ``written`` expires."""
        return math.inf if self._ttl_ns is None else (written + self._ttl_ns - now) / 10**9

    def sane_written(self, written: int, now: int) -> int:
        """When an entry was written, or ``now`` if that cannot be: its clock was wrong, and it would live too long.

        Up to one TTL ahead is let be: such an entry goes in time, and if it is the present clock that is behind,
        nothing has been aged by it.
        """
        return now if self._ttl_ns is not None and written - now > self._ttl_ns else written

    def make_room(self, ledger: Ledger, size: int) -> int:
        """Evict until ``size`` more bytes fit or nothing is left; returns how many entries went."""
        removed = scans = 0
        sizes, oldest = ledger.read()
        if UNKNOWN in sizes:
            # The ledger was lost, and is made good a shard at a time.
            removed += self.sweep(ledger, sizes.index(UNKNOWN))
            sizes, oldest = ledger.read()
        while (excess := sum(sizes) + size - self._max_bytes) > 0 and (first := min(oldest)) != EMPTY:
            shard = oldest.index(first)
            horizon = self._horizon(oldest, shard) if scans < _FRUITLESS_SCANS else EMPTY
            went = self.sweep(ledger, shard, Wanted(sizes[shard], excess, horizon, first))
            scans = 0 if went else scans + 1
            removed += went
            sizes, oldest = ledger.read()
        return removed

    def sweep(self, ledger: Ledger, shard: int, wanted: Wanted | None = None) -> int:
        """Scan one shard: remove what is expired, orphaned or wanted, and set the ledger right.

        Returns how many entries went.
        """
        try:
            with Folder.open(f"{self._base}/{shard_name(shard)}") as folder, folder.locked():
                if wanted is not None and ledger.oldest(shard) != wanted.first:
                    return 0  # another process was here while this one waited for the lock
                return self._sweep(folder, ledger, shard, wanted)
        except (FileNotFoundError, NotADirectoryError):  # removed by hand, or replaced by a link, which is not followed
            ledger.put(shard, 0, EMPTY)
            return 0

    def _horizon(self, oldest: tuple[int, ...], shard: int) -> int:
        runner_up = min(min(oldest[:shard], default=EMPTY), min(oldest[shard + 1 :], default=EMPTY))
        return runner_up + max(0, self._now() - runner_up) // _SHARE

    def _sweep(self, folder: Folder, ledger: Ledger, shard: int, wanted: Wanted | None) -> int:
        removed = 0
        entries: list[FoundFile] = []
        now = self._now()
        for file in sweep_temps(folder, now):
            if not is_entry_name(file.name):
                continue
            if self.is_expired(file.written, now):
                removed += folder.unlink(file.name)
            else:
                entries.append(self._sane(folder, file, now))
        entries.sort()
        size = sum(file.size for file in entries)
        evicted = 0
        if wanted is not None:
            evicted, freed = _evict(folder, entries, wanted, wanted.excess - (wanted.recorded - size))
            size -= freed
        ledger.put(shard, size, entries[evicted].used if evicted < len(entries) else EMPTY)
        return removed + evicted

    def _sane(self, folder: Folder, file: FoundFile, now: int) -> FoundFile:
        """The entry, stamps from the future brought back: they would keep it for ever."""
        written = self.sane_written(file.written, now)
        if file.used <= now and written == file.written:
            return file
        sane = file._replace(used=min(file.used, now), written=written)
        folder.stamp(file.name, used=sane.used, written=sane.written)
        return sane


def sweep_temps(folder: Folder, now: int) -> list[FoundFile]:
    """Scan a folder and remove the temporary files that nobody can still be writing; returns all other files."""
    others: list[FoundFile] = []
    for file in list(folder.scan()):
        if not file.is_temp:
            others.append(file)
        elif abs(now - file.written) > _TEMP_AGE_NS:
            folder.unlink(file.name)
    return others


def _evict(folder: Folder, entries: list[FoundFile], wanted: Wanted, excess: int) -> tuple[int, int]:
    """Remove from the front of ``entries``; returns how many entries and bytes went."""
    evicted = freed = 0
    for file in entries:
        if file.used > wanted.horizon or (freed >= excess and evicted >= len(entries) // _SHARE):
            break
        folder.unlink(file.name)
        freed += file.size
        evicted += 1
    return evicted, freed
