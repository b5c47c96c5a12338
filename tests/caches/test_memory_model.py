"""MemoryCache against a list of entries in the order of their use, which is obviously right."""

from __future__ import annotations

from collections.abc import Hashable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from imageproxy.caches import MemoryCache
from imageproxy.caches.memory import _ENTRY_BYTES
from imageproxy.protocols import CacheKey

DIDS = ["did:plc:a", "did:plc:bb"]
CIDS = ["bafkreia", "bafkreibb", "bafkreiccc"]
LIMIT = 5 * (_ENTRY_BYTES + 1000)

keys = st.builds(
    CacheKey,
    st.sampled_from(["avatar-1", "banner-22"]),
    st.sampled_from(DIDS),
    st.sampled_from(CIDS),
    st.sampled_from(["image/jpeg", "image/webp"]),
)
images = st.integers(0, 3 * _ENTRY_BYTES).map(lambda size: b"x" * size) | st.just(b"y" * LIMIT)


def charge(key: CacheKey, data: bytes) -> int:
    return _ENTRY_BYTES + sum(map(len, key)) + len(data)


class Model(RuleBasedStateMachine):
    fences = Bundle("fences")

    def __init__(self) -> None:
        super().__init__()
        self.cache = MemoryCache(LIMIT)
        self.entries: list[tuple[CacheKey, bytes]] = []  # the one used last comes last
        self.evicted = 0
        self.purges: list[tuple[str, str | None]] = []

    def store(self, key: CacheKey, data: bytes) -> bool:
        self.entries = [entry for entry in self.entries if entry[0] != key]
        if charge(key, data) > LIMIT:
            return False
        self.entries.append((key, data))
        while self.total() > LIMIT:
            del self.entries[0]
            self.evicted += 1
        return True

    def total(self) -> int:
        return sum(charge(*entry) for entry in self.entries)

    @rule(key=keys)
    def get(self, key: CacheKey) -> None:
        found = [entry for entry in self.entries if entry[0] == key]
        self.entries = [entry for entry in self.entries if entry[0] != key] + found
        assert self.cache.get(key) == (found[0][1] if found else None)

    @rule(key=keys, data=images)
    def set(self, key: CacheKey, data: bytes) -> None:
        self.cache.set(key, data)
        self.store(key, data)

    @rule(target=fences, did=st.sampled_from(DIDS), cid=st.sampled_from(CIDS))
    def fence(self, did: str, cid: str) -> tuple[str, str, int, Hashable]:
        return did, cid, len(self.purges), self.cache.fence(did, cid)

    @rule(key=keys, data=images, taken=fences)
    def set_fenced(self, key: CacheKey, data: bytes, taken: tuple[str, str, int, Hashable]) -> None:
        did, cid, purges, fence = taken
        key = key._replace(did=did, cid=cid)
        is_purged = any(purge in ((did, None), (did, cid)) for purge in self.purges[purges:])
        assert self.cache.set_fenced(key, data, fence) == (not is_purged and self.store(key, data))

    @rule(did=st.sampled_from(DIDS), cid=st.none() | st.sampled_from(CIDS))
    def purge(self, did: str, cid: str | None) -> None:
        left = [entry for entry in self.entries if entry[0].did != did or cid not in (None, entry[0].cid)]
        self.purges.append((did, cid))
        assert self.cache.purge(did, cid) == len(self.entries) - len(left)
        self.entries = left

    @invariant()
    def agrees(self) -> None:
        assert list(self.cache._entries.items()) == self.entries
        indexed = [
            (did, cid, key)
            for did, blobs in self.cache._owners.items()
            for cid, variants in blobs.items()
            for key in variants
        ]
        assert sorted(indexed) == sorted((key.did, key.cid, key) for key, _ in self.entries)
        assert all(variants for blobs in self.cache._owners.values() for variants in blobs.values())
        assert self.cache.stats() == {
            "entries": len(self.entries),
            "bytes": self.total(),
            "max_bytes": LIMIT,
            "evicted": self.evicted,
        }


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
