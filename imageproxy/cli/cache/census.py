"""What is in a cache: counted in one pass over its entries."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, groupby

from imageproxy.caches._entry import EntryInfo

__all__ = ["Census", "Class", "Owner", "Span", "take_census"]

_HOUR, _DAY = 3600, 86400
_AGES = (_HOUR, _DAY, 7 * _DAY, 30 * _DAY, math.inf)
_KIB = 1024
_SIZES = (4 * _KIB, 16 * _KIB, 64 * _KIB, 256 * _KIB, _KIB**2, math.inf)
_MOST_LISTED = 5


@dataclass(slots=True)
class Class:
    """The entries under ``limit``, and not under the one before it; ``math.inf`` for all others."""

    limit: float
    entries: int = 0
    size_bytes: int = 0


@dataclass(slots=True)
class Span:
    """From the first of some times to the last, in seconds since the epoch."""

    first: float = math.inf
    last: float = -math.inf

    def reach(self, time: float) -> None:
        """Make it reach so far."""
        self.first = min(self.first, time)
        self.last = max(self.last, time)


@dataclass(slots=True, order=True)
class Owner:
    """What one account has. ``digest`` stands for its DID in the names of files."""

    size_bytes: int
    entries: int
    digest: str


@dataclass(slots=True)
class Census:
    """What is in a cache.

    written, used: without meaning where there are no entries.
    ages: by the seconds since an entry was written. sizes: by its bytes.
    owners: how many accounts. largest: the few of them that have the most bytes, in order.
    """

    entries: int = 0
    size_bytes: int = 0
    written: Span = field(default_factory=Span)
    used: Span = field(default_factory=Span)
    ages: list[Class] = field(default_factory=lambda: [Class(limit) for limit in _AGES])
    sizes: list[Class] = field(default_factory=lambda: [Class(limit) for limit in _SIZES])
    owners: int = 0
    largest: list[Owner] = field(default_factory=list)


def take_census(entries: Iterable[EntryInfo], now: float) -> Census:
    """Count the entries.

    entries: those of owners whose digests begin with the same digit in a row, as ``DiskCache.entries`` has them. So not
        all owners are kept in memory at once.
    now: seconds since the epoch.
    """
    census = Census()
    for _, group in groupby(entries, key=lambda entry: entry.owner[0]):
        owners: dict[str, Owner] = {}
        for entry in group:
            _count(census, entry, now)
            owner = owners.setdefault(entry.owner, Owner(0, 0, entry.owner))
            owner.entries += 1
            owner.size_bytes += entry.size_bytes
        census.owners += len(owners)
        census.largest = heapq.nlargest(_MOST_LISTED, chain(census.largest, owners.values()))
    return census


def _count(census: Census, entry: EntryInfo, now: float) -> None:
    census.entries += 1
    census.size_bytes += entry.size_bytes
    census.written.reach(entry.written)
    census.used.reach(entry.used)
    for classes, value in ((census.ages, now - entry.written), (census.sizes, entry.size_bytes)):
        found = next(each for each in classes if value < each.limit)
        found.entries += 1
        found.size_bytes += entry.size_bytes
