"""The fences of a cache that belongs to one process: numbers that a purge changes."""

from __future__ import annotations

import itertools
import secrets
import zlib

__all__ = ["Generations"]

# Fixed, so that no number of purges takes more memory. Two that share a slot void each other's fences, at the price of
# one write that is dropped without need.
_SLOTS = 8192


class Generations:
    """What a blob's fence is, and how a purge changes it. Safe to call from threads; takes no lock.

    Whoever stores under a fence has a lock of its own around the comparison and the storing, and takes it for a purge.
    """

    def __init__(self) -> None:
        self._id = secrets.randbits(63)  # a fence of another cache is none of this one
        self._slots = [0] * _SLOTS
        self._count = itertools.count(1)

    def fence(self, did: str, cid: str) -> tuple[int, int, int]:
        """The fence of a blob: equal to an earlier one if neither it nor its owner was purged in between."""
        return self._id, self._slots[_slot(did)], self._slots[_slot(did, cid)]

    def purged(self, did: str, cid: str | None = None) -> None:
        """Void the fences of a blob, or with ``None`` of an owner.

        When the entries are gone, and before anybody can store one: a fence that is taken after this vouches for what
        is read after it.
        """
        # Numbers that were never there before, in whatever order two purges write theirs.
        self._slots[_slot(did, cid)] = next(self._count)


def _slot(did: str, cid: str | None = None) -> int:
    # Not hash(), which differs from run to run: what collides should do so in every run.
    checksum = zlib.crc32(did.encode("utf-8", "surrogatepass"))
    if cid is not None:
        checksum = zlib.crc32(b"\0" + cid.encode("utf-8", "surrogatepass"), checksum)
    return checksum % _SLOTS
