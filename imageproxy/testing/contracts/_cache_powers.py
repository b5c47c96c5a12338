"""What a cache must do that has powers beyond those of every Cache."""
# ruff: noqa: S101 - assertions are what these classes are for, and the tests' names say what is asked

from __future__ import annotations

import contextlib
import threading
from collections.abc import Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from imageproxy.protocols import (
    Cache,
    CacheKey,
    SupportsCleanup,
    SupportsFences,
    SupportsNonBlocking,
    SupportsStats,
)

from ._support import CID, DID, OTHER_CID, OTHER_DID, at_once, closed_twice, opened

__all__ = ["CachePowers", "key_of"]

_ROUNDS = 60


def key_of(did: str = DID, cid: str = CID, preset: str = "avatar-0f1e2d3c4b5a") -> CacheKey:
    """The key of an image."""
    return CacheKey(preset, did, cid, "image/jpeg")


class CachePowers:
    """The part of CacheContract that is about fences, cleanup, counts, promises and closing."""

    def make_cache(self, tmp_path: Path) -> Cache:
        """A new, empty cache; ``tmp_path`` is a folder for it alone. With room for some 20 MB, and a TTL of minutes."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _cache(self, tmp_path: Path) -> Iterator[Cache]:
        with opened(self.make_cache(tmp_path)) as cache:
            yield cache

    # Fences

    def test_a_fenced_write_is_stored_unless_a_purge_came_first(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            if not isinstance(cache, SupportsFences):
                return  # a power that not every cache has
            fence = cache.fence(DID, CID)
            assert cache.set_fenced(key_of(), b"image", fence) is True
            assert cache.get(key_of()) == b"image"
            for purge in (partial(cache.purge, DID, CID), partial(cache.purge, DID)):
                fence = cache.fence(DID, CID)
                purge()
                assert cache.set_fenced(key_of(), b"image", fence) is False
                assert cache.get(key_of()) is None, "a write that began before a purge undid it"
            fence = cache.fence(DID, CID)
            cache.purge(OTHER_DID)
            cache.purge(DID, OTHER_CID)
            assert cache.set_fenced(key_of(), b"image", fence) is True, "the purge was of another blob"

    def test_a_fence_changes_with_every_purge_and_with_nothing_else(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            if not isinstance(cache, SupportsFences):
                return  # a power that not every cache has
            fences: list[Hashable] = [cache.fence(DID, CID)]
            cache.set(key_of(), b"image")
            cache.get(key_of())
            assert at_once([partial(cache.fence, DID, CID)] * 4) == fences * 4, "there was no purge in between"
            for purge in (partial(cache.purge, DID, CID), partial(cache.purge, DID), partial(cache.purge, DID, CID)):
                purge()
                fences.append(cache.fence(DID, CID))
                assert fences[-1] not in fences[:-1], "a fence of before a purge must never come again"
            assert len(set(fences)) == len(fences), "fences that differ are hashed apart"

    def test_a_fence_of_something_else_stores_nothing(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            if not isinstance(cache, SupportsFences):
                return  # a power that not every cache has
            for fence in (object(), "no fence"):
                assert cache.set_fenced(key_of(), b"image", fence) is False, f"{fence!r} is no fence of this cache's"
            assert cache.get(key_of()) is None

    def test_no_write_of_before_a_purge_is_seen_after_it(self, tmp_path: Path) -> None:
        keys = [key_of(preset=f"avatar-{number:012x}") for number in range(4)]
        with self._cache(tmp_path) as cache, ThreadPoolExecutor(len(keys)) as pool:
            if not isinstance(cache, SupportsFences):
                return  # a power that not every cache has
            for number in range(_ROUNDS):
                fence = cache.fence(DID, CID)
                begin = threading.Barrier(len(keys) + 1)

                def write(key: CacheKey, fence: Hashable = fence, begin: threading.Barrier = begin) -> bool:
                    begin.wait()
                    assert isinstance(cache, SupportsFences)
                    return cache.set_fenced(key, b"image" * 200, fence)

                writers = [pool.submit(write, key) for key in keys]
                begin.wait()
                cache.purge(DID, CID if number % 2 else None)
                seen = [cache.get(key) for key in keys]
                assert all(type(writer.result()) is bool for writer in writers)
                seen += [cache.get(key) for key in keys]
                assert seen == [None] * len(seen), "the purge had returned, and still the image was there"

    # Cleanup, counts, promises, closing

    def test_cleanup_leaves_what_is_fresh(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            if not isinstance(cache, SupportsCleanup):
                return  # a power that not every cache has
            cache.set(key_of(), b"image")
            assert cache.cleanup() == 0
            assert cache.get(key_of()) == b"image"

    def test_stats_are_whole_numbers_by_name(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            if not isinstance(cache, SupportsStats):
                return  # a power that not every cache has
            for _ in range(2):  # of an empty cache, and of one that was used
                counts = cache.stats()
                assert isinstance(counts, Mapping), f"stats() gave {type(counts).__name__}"
                for name, count in counts.items():
                    assert type(name) is str, f"{name!r} is no name"
                    assert type(count) is int, f"{name} is {count!r}, which is no whole number"
                cache.set(key_of(), b"image")
                cache.get(key_of())

    def test_whether_it_blocks_is_yes_or_no(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            if isinstance(cache, SupportsNonBlocking):
                assert type(cache.is_nonblocking) is bool

    def test_closing_twice_is_harmless(self, tmp_path: Path) -> None:
        cache = self.make_cache(tmp_path)
        cache.set(key_of(), b"image")
        closed_twice(cache)
