"""Several caches, one behind the other: a small fast one in front of a large slow one.

**What keeps a purge from being undone.** Bytes move from below to above, when a hit fills the tiers above it. Three
things see to it that after a purge nothing of before moves up, or is found there:

- *A purge goes from the lowest tier up*, and each tier's own purge voids the fences that it gave before. A fill takes
  the fence of the tier that it fills before it reads the tiers below. So if it read there what is purged, it has its
  fence from before the purge comes to the upper tier, which then refuses the fill, or removes what it brought.
- *A guard is a tier whose fence costs nothing* (it has fences and does not block, like DiskCache). Above it an image is
  kept under a key that the guard's present fence is mixed into. A purge by anybody, also by a process that shares the
  guard and nothing else, changes the fence; what was kept above is then under a key that nobody asks for. The fence is
  read before anything else, so a late fill goes under the old key, too, if the change is not seen before it. This needs
  a fence that changes once more when the purged entries are gone: a reader may still find them under one that is
  younger than the first change.
- *A fenced write goes from the lowest tier up*, too, under the keys of its own fence, and ends where it is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence

from imageproxy._fork import reset_after_fork
from imageproxy.errors import CachePurgeError, ConfigError
from imageproxy.protocols import Cache, CacheKey

from ._fence_text import fence_text
from ._storing import UNFENCED, Storing
from ._tier import NoFence, Tier

__all__ = ["TieredCache"]

_Places = Sequence[tuple[Tier, CacheKey]]

_MAX_REMEMBERED = 4096


class TieredCache(Storing):
    """Caches behind each other: a hit below fills the tiers above. Safe to use from threads and in children of a fork.

    tiers: the fastest first. They are not closed with it, since it has no ``close``: they belong to who made them.
    clock: the time in seconds, from anywhere, for tests.

    **Faults.** A tier that raises is passed over for a second, then probed, then passed over for twice as long, up to a
    minute. It is logged once, as a warning, and counted; ``get`` and ``fence`` raise nothing. A purge asks every tier.

    **Purges.** Once ``purge`` has returned, no ``get`` that begins later gives bytes of before: in this process, and in
    the others that share a DiskCache with it (or another tier that has fences and does not block), also from the tiers
    that each has for itself above it. What another process has purged may stay in this one's memory, out of reach,
    until it is evicted. Across machines, a purge holds for the tiers that it was called on. A tier without fences gets
    some that hold in this process: a late write of another process may bring back to it what was purged.

    Where a guard (see above) fails to give its fence, nobody can tell what was purged: the tiers above it are passed
    over, too. DiskCache never fails to.

    A subclass that changes what is written overrides ``store``, which ``set`` and ``set_fenced`` go through.

    Raises ConfigError for tiers that cannot be meant.
    """

    def __init__(self, *tiers: Cache, clock: Callable[[], float] = time.monotonic) -> None:
        _check(tiers)
        self._tiers = [Tier(number, cache, clock) for number, cache in enumerate(tiers)]
        # The first one has nothing above it to guard.
        self._guards = [tier for tier in self._tiers[1:] if tier.is_guard]
        # Of images asked for lately, the fences of the guards, and under which key each tier keeps it: see _places.
        self._seen: dict[CacheKey, tuple[list[Hashable], _Places]] = {}
        self._repr = f"TieredCache({', '.join(map(repr, tiers))})"
        reset_after_fork(self)

    def _reset_after_fork(self) -> None:
        for tier in self._tiers:
            tier.reset_after_fork()

    def __repr__(self) -> str:
        return self._repr

    @property
    def is_nonblocking(self) -> bool:
        """Whether all tiers promise it."""
        return all(tier.is_nonblocking for tier in self._tiers)

    def get(self, key: CacheKey) -> bytes | None:
        """The image from the fastest tier that has it, or ``None``. Never raises."""
        missed: list[tuple[Tier, CacheKey, Hashable]] = []
        marks = self._marks(key.did, key.cid)
        for tier, address in self._places(key, marks):
            data = tier.get(address)
            if data is not None:
                # Under the key of before a purge nobody would ask for it, and the next purge would count it.
                if missed and self._marks(key.did, key.cid) == marks:
                    for above, its_address, fence in missed:
                        above.fill(its_address, data, fence)
                return data
            if tier is not self._tiers[-1]:  # before anything is read below it
                missed.append((tier, address, tier.fence(key.did, key.cid)))
        return None

    def set(self, key: CacheKey, data: bytes) -> None:
        """Store ``data`` in every tier. Raises what the first tier that failed raised, if none stored it.

        The tiers above the lowest are filled, rather: not if a purge comes in between.
        """
        self.store(key, data, UNFENCED)

    def fence(self, did: str, cid: str) -> Hashable:
        """A mark of the purges of this blob and its owner so far, made of those of the tiers. Never raises."""
        return tuple(tier.fence(did, cid) for tier in self._tiers)

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        """Like ``set``, unless the blob or its owner was purged in any tier since ``fence``.

        Returns whether a tier stored it and none saw a purge. A tier that failed to give its part of the fence is left
        out.
        """
        return self.store(key, data, fence)

    def store(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        """What ``set`` and ``set_fenced`` do, and the one method to override for another way to write."""
        if fence is UNFENCED:
            fences = [*(tier.fence(key.did, key.cid) for tier in self._tiers[:-1]), UNFENCED]
            return self._store(key, data, fences, self._marks(key.did, key.cid))
        if not isinstance(fence, tuple) or len(fence) != len(self._tiers):
            return False
        # Asked before anything is written: a tier below them may have nothing to refuse by.
        marks = self._marks(key.did, key.cid)
        if marks != [fence[guard.number] for guard in self._guards]:
            return False
        return self._store(key, data, fence, marks)

    def purge(self, did: str, cid: str | None = None) -> int:
        """Remove one blob in every variant, or all of an owner. Asks every tier, also one that is passed over now.

        Returns how many entries went from the tier that had most. Raises CachePurgeError naming each that failed, as
        ``"tier1.RedisCache"``.
        """
        removed = 0
        failed: list[str] = []
        cause: CachePurgeError | None = None
        for tier in reversed(self._tiers):
            try:
                count = tier.purge(did, cid)
            except CachePurgeError as error:
                count = error.removed
                failed += error.failed
                cause = cause or error
            removed = max(removed, count)
        if cause is not None:
            raise CachePurgeError(
                f"{', '.join(failed)} could not be purged: {cause}",
                removed=removed,
                failed=tuple(failed),
                did=did,
                cid=cid,
            ) from cause
        return removed

    def cleanup(self) -> int:
        """Tidy the tiers that can be; returns how many entries went. Never raises."""
        return sum(tier.cleanup() for tier in self._tiers)

    def stats(self) -> Mapping[str, int]:
        """Of each tier: what it counts itself, and ``hits``, ``misses``, ``fills`` (after a hit below it), ``errors``
        and ``skipped`` (calls that it was spared), as ``{"tier0.hits": 12, "tier0.bytes": 70000, "tier1.hits": 3}``.
        """
        return {name: count for tier in self._tiers for name, count in tier.stats().items()}

    def _marks(self, did: str, cid: str) -> list[Hashable]:
        """The present fences of the guards."""
        return [guard.fence(did, cid) for guard in self._guards]

    def _places(self, key: CacheKey, marks: list[Hashable]) -> _Places:
        """The tiers, and under which key each keeps the image. What is above a guard without a fence is left out."""
        seen = self._seen.get(key)
        if seen is not None and seen[0] == marks:
            return seen[1]
        places: list[tuple[Tier, CacheKey]] = []
        address = key
        mark_of = dict(zip(self._guards, marks, strict=True))
        for tier in reversed(self._tiers):
            places.append((tier, address))
            if tier in mark_of:
                mark = mark_of[tier]
                if isinstance(mark, NoFence):
                    break
                address = address._replace(preset=f"{address.preset}~{fence_text(mark)}")
        places.reverse()
        if len(self._seen) >= _MAX_REMEMBERED:
            self._seen.clear()
        self._seen[key] = (marks, places)
        return places

    def _store(self, key: CacheKey, data: bytes, fences: Sequence[Hashable], marks: list[Hashable]) -> bool:
        is_stored = is_refused = False
        failure: Exception | None = None
        for tier, address in reversed(self._places(key, marks)):
            fence = fences[tier.number]
            try:
                if tier.store(address, data, fence):
                    is_stored = True
                elif fence is not UNFENCED and not isinstance(fence, NoFence) and fence != tier.fence(key.did, key.cid):
                    is_refused = True  # since it was purged, not since it is too large, or the tier passed over
                    break
            except Exception as error:  # noqa: BLE001 - a cache may raise what it likes
                failure = failure or error
        if failure is not None and not is_stored:
            raise failure
        return is_stored and not is_refused


def _check(tiers: Sequence[Cache]) -> None:
    if not tiers:
        raise ConfigError("a TieredCache needs at least one tier", option="tiers", value=tiers)
    for number, cache in enumerate(tiers):
        if not isinstance(cache, Cache):
            wanted = "a cache, with get, set and purge"
        elif any(cache is other for other in tiers[:number]):
            wanted = "another cache than those before it"
        else:
            continue
        raise ConfigError(f"tier {number} is {cache!r}; it must be {wanted}", option="tiers", value=cache)
