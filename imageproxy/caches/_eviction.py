"""What leaves the disk cache, and when: entries past their TTL, and the least recently used over the limit.

There is one limit for all shards together, so that all of it can be used however unevenly they fill. The ledger tells
which shard has the entry that was used longest ago; that one is scanned, and its oldest entries are condemned: they go
as room is needed, unless they were used meanwhile. This is the order of last use over the whole cache but for three
things, which together cost less than a hundredth of the hits (``benchmarks/eviction.py``):

- when an entry was used is known to a sixteenth of the time that the cache reaches back, and at best to the hour;
- a scan condemns what falls into the oldest eighth of that time, up to a quarter of the shard, so that the cost of the
  scan, which grows with the shard, is shared by as many writes;
- after a few scans that found nothing so old (all of it was used since), the oldest of the next shard goes.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

from ._entry import is_entry_name, shard_name
from ._folder import Folder, FoundFile
from ._ledger import EMPTY, UNKNOWN, Ledger
from ._turns import Turn, Turns

__all__ = ["HOUR_NS", "Eviction", "stamp_age"]

HOUR_NS = 3600 * 10**9
_STAMPS = 16  # of an entry, while the cache turns over once
_SHARE_OF_TIME = 8
_SHARE_OF_SHARD = 4
_FRUITLESS_SCANS = 4
# How many go at once, if they are no more than a thousandth of the limit: opening their folder is shared by them, and
# few enough are removed that nobody waits long.
_AT_ONCE = 8
_SHARE_OF_LIMIT = 1024
# How many shards a write measures after the ledger was lost: some 64 writes later it is whole again, and until then
# the limit may be passed by what they bring.
_MEASURED_AT_ONCE = 64


def stamp_age(reach: int) -> int:
    """How old the stamp of an entry's last use may be before a use renews it, in ns.

    reach: how far the cache reaches back, in ns.
    """
    return min(HOUR_NS, reach // _STAMPS)


class Eviction:
    """Removes entries from the shards of one cache. Safe to use from threads and processes.

    now: the time in ns since the epoch.
    wall: the same by a clock that is set, where ``now`` goes on from how it was when the process began. Either may be
        wrong; a sweep, which others have to live with, removes and stamps only what is due by both.
    """

    def __init__(
        self, *, max_bytes: int, ttl_ns: int | None, now: Callable[[], int], wall: Callable[[], int] | None = None
    ) -> None:
        self._max_bytes = max_bytes
        self._ttl_ns = ttl_ns
        self.now = now
        self._wall = now if wall is None else wall
        self._turns = Turns()
        # Shards, and entries of theirs as a scan found them. A deque may be used by threads at once.
        self._condemned: deque[tuple[int, list[FoundFile]]] = deque()

    def clocks(self) -> tuple[int, int]:
        """The time by both clocks, the one that is behind first; in ns since the epoch."""
        now, wall = self.now(), self._wall()
        return (now, wall) if now < wall else (wall, now)

    def seconds_left(self, written: int, now: int) -> float:
        """How long until an entry written at ``written`` expires."""
        return math.inf if self._ttl_ns is None else (written + self._ttl_ns - now) / 10**9

    def sane_written(self, written: int, now: int) -> int:
        """When an entry was written, or ``now`` if that cannot be: its clock was wrong, and it would live too long.

        now: by the clock that is ahead.

        Up to one TTL ahead is let be: such an entry goes in time, and if it is the present clock that is behind,
        nothing has been aged by it.
        """
        return now if self._ttl_ns is not None and written - now > self._ttl_ns else written

    def make_room(self, ledger: Ledger, size: int) -> int:
        """Evict until ``size`` more bytes fit or nothing is left; returns how many entries went."""
        removed = fruitless = 0
        is_measured = False
        failed: dict[int, OSError] = {}
        while True:
            summary = ledger.summary()
            if summary.unmeasured and not is_measured:
                # The ledger was lost, and is made good by and by. A bad folder must not stop all writes.
                is_measured = True
                removed += self._measure_some(ledger)[0]
                summary = ledger.summary()
            excess = summary.size + size - self._max_bytes
            if excess <= 0:
                return removed
            if self._condemned:
                removed += self._evict_condemned(ledger, excess)
                continue
            turn = self._turns.next(ledger)
            if turn is None:
                return removed
            if turn.shard in failed:  # nothing went from the others since
                raise failed[turn.shard]
            horizon = EMPTY if fruitless >= _FRUITLESS_SCANS else self._horizon(turn)
            try:
                went = self._scan(ledger, turn, horizon, excess)
            except OSError as error:  # one bad folder must not stop all writes; the next one will do
                failed[turn.shard] = error
                continue
            if went:
                failed.clear()
            fruitless = 0 if went else fruitless + 1
            removed += went

    def measure(self, ledger: Ledger) -> None:
        """Have every shard measured. Raises what the first shard raised that cannot be."""
        while ledger.summary().unmeasured:
            _, failure = self._measure_some(ledger)
            if failure is not None:
                raise failure

    def sweep(self, ledger: Ledger, shard: int) -> int:
        """Scan a shard: remove what is expired, and set the ledger right; returns how many entries went."""
        removed = 0
        before = ledger.shard(shard)
        try:
            with ledger.folder.child(shard_name(shard)) as folder, folder.locked():
                removed, entries = self._tidy(folder)
                ledger.put(shard, _size_of(entries), entries[0].used if entries else EMPTY)
        except (FileNotFoundError, NotADirectoryError):  # never made, removed by hand, or a link, which is not followed
            # Without a folder there is no lock: what others bring to one that was never made must stay counted.
            if before != (0, EMPTY):
                ledger.put(shard, 0, EMPTY)
        return removed

    def _measure_some(self, ledger: Ledger) -> tuple[int, OSError | None]:
        """Sweep some shards that nobody has measured; how many entries went, and what the first that failed raised."""
        sizes, _ = ledger.count()
        unmeasured = (shard for shard, size in enumerate(sizes) if size == UNKNOWN)
        removed = 0
        failure: OSError | None = None
        for shard in islice(unmeasured, _MEASURED_AT_ONCE):
            try:
                removed += self.sweep(ledger, shard)
            except OSError as error:
                failure = failure or error
        return removed, failure

    def _horizon(self, turn: Turn) -> int:
        """What was used after it stays."""
        return turn.runner_up + max(0, self.now() - turn.runner_up) // _SHARE_OF_TIME

    def _scan(self, ledger: Ledger, turn: Turn, horizon: int, excess: int) -> int:
        """Like ``sweep``, and condemn the oldest entries; as many as have to go, go. Returns how many went.

        The others stay in the ledger's sizes, but not in its ages: that leads other processes to other shards. Should
        this one die, the next scan finds them.
        """
        shard = turn.shard
        removed = 0
        try:
            with ledger.folder.child(shard_name(shard)) as folder, folder.locked():
                recorded, oldest = ledger.shard(shard)
                if oldest == turn.first:  # else another process was here while this one waited
                    removed, entries = self._tidy(folder)
                    size = _size_of(entries)
                    count = max(1, len(entries) // _SHARE_OF_SHARD)
                    condemned = [file for file in entries[:count] if file.used <= horizon]
                    count = self._count_going(condemned, excess - (recorded - size))
                    oldest = entries[0].used if entries else EMPTY
                    gone: list[FoundFile] = []
                    try:
                        gone += (file for file in condemned[:count] if folder.unlink(file.name))
                        if condemned[count:]:
                            self._condemned.append((shard, condemned[count:]))
                        oldest = entries[len(condemned)].used if len(condemned) < len(entries) else EMPTY
                    finally:
                        ledger.put(shard, size - _size_of(gone), oldest)
                    removed += self._note(ledger, gone)
        except (FileNotFoundError, NotADirectoryError):
            ledger.put(shard, 0, EMPTY)
            oldest = EMPTY
        self._turns.put_back(shard, oldest)
        return removed

    def _evict_condemned(self, ledger: Ledger, excess: int) -> int:
        """Remove as many of the condemned entries of one shard as have to go; returns how many went.

        If that fails, the others of the shard are let off: one bad folder must not stop all writes.
        """
        try:
            shard, condemned = self._condemned.popleft()
        except IndexError:  # another thread took them
            return 0
        count = self._count_going(condemned, excess)
        left = (shard, condemned[count:])
        if condemned[count:]:
            self._condemned.appendleft(left)
        gone: list[FoundFile] = []
        try:
            with ledger.folder.child(shard_name(shard)) as folder, folder.locked():
                try:
                    # Those that were used or replaced since they were condemned differ, and stay.
                    gone += (f for f in condemned[:count] if folder.find(f.name) == f and folder.unlink(f.name))
                finally:
                    if gone:
                        ledger.add(shard, -_size_of(gone))
        except (FileNotFoundError, NotADirectoryError):
            ledger.put(shard, 0, EMPTY)
        except OSError:  # a scan of the folder will tell, when its turn comes
            with contextlib.suppress(ValueError):  # another thread took them
                self._condemned.remove(left)
        return self._note(ledger, gone)

    def _count_going(self, files: list[FoundFile], excess: int) -> int:
        """How many of the files have to go for ``excess`` bytes, and a few more."""
        spare = excess + self._max_bytes // _SHARE_OF_LIMIT
        count = size = 0
        for file in files:
            size += file.size
            if size - file.size >= excess and (count >= _AT_ONCE or size > spare):
                break
            count += 1
        return count

    def _note(self, ledger: Ledger, gone: list[FoundFile]) -> int:
        """Record how far the cache reaches back, by what is evicted from it; returns how many that were."""
        if gone:
            ledger.reached(max(0, self.now() - gone[-1].used))
        return len(gone)

    def _tidy(self, folder: Folder) -> tuple[int, list[FoundFile]]:
        """Scan a folder; how many entries expired and are gone, and those that stay, the one used longest ago first."""
        earliest, latest = self.clocks()
        removed = 0
        entries: list[FoundFile] = []
        for file in list(folder.scan(is_entry_name)):
            if self.seconds_left(file.written, earliest) < 0:
                removed += folder.unlink(file.name)
            else:
                entries.append(self._sane(folder, file, latest))
        entries.sort()
        return removed, entries

    def _sane(self, folder: Folder, file: FoundFile, now: int) -> FoundFile:
        """The entry, stamps from the future brought back: they would keep it for ever."""
        written = self.sane_written(file.written, now)
        if file.used <= now and written == file.written:
            return file
        sane = file._replace(used=min(file.used, now), written=written)
        folder.stamp(file.name, used=sane.used, written=sane.written)
        return sane


def _size_of(files: Iterable[FoundFile]) -> int:
    return sum(file.size for file in files)
