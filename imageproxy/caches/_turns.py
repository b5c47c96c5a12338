"""Whose turn it is: the shard of the disk cache that has the entry used longest ago."""

from __future__ import annotations

import heapq
import threading
from typing import NamedTuple

from imageproxy._fork import reset_after_fork

from ._ledger import EMPTY, Ledger

__all__ = ["Turn", "Turns"]

_MAX_TURNS = 256


class Turn(NamedTuple):
    """A shard that is to be scanned.

    first: when its oldest entry was used, by the ledger.
    runner_up: the same of the shard that comes next; or EMPTY.
    """

    shard: int
    first: int
    runner_up: int


class Turns:
    """The shards in the order of their oldest entries. Safe to use from threads.

    It is read from the ledger, and again after some hundred turns, or fewer in a small cache. In between, what other
    processes did to a shard is seen when its turn comes, and one that was empty is not seen.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._left = 0
        self._lock = threading.Lock()
        reset_after_fork(self)

    def next(self, ledger: Ledger) -> Turn | None:
        """Take the next shard out of the order; ``None`` if the cache is empty."""
        with self._lock:
            self._left -= 1
            if self._left < 0 or not self._heap:
                self._read(ledger)
            while self._heap:
                first, shard = self._heap[0]
                _, present = ledger.shard(shard)
                if present == first:
                    heapq.heappop(self._heap)
                    return Turn(shard, first, self._heap[0][0] if self._heap else EMPTY)
                if present == EMPTY:
                    heapq.heappop(self._heap)
                else:
                    heapq.heapreplace(self._heap, (present, shard))
        return None

    def put_back(self, shard: int, first: int) -> None:
        """Put a shard in its place, whose oldest entry was used at ``first``."""
        if first != EMPTY:
            with self._lock:
                heapq.heappush(self._heap, (first, shard))

    def _read(self, ledger: Ledger) -> None:
        _, oldest = ledger.count()
        self._heap = [(first, shard) for shard, first in enumerate(oldest) if first != EMPTY]
        heapq.heapify(self._heap)
        self._left = min(len(self._heap) // 2, _MAX_TURNS)

    def _reset_after_fork(self) -> None:
        self._lock = threading.Lock()
