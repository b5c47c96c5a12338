"""What TieredCache does where nothing fails and nobody purges."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache, MemoryCache, TieredCache
from imageproxy.caches._fence_text import fence_text
from imageproxy.errors import ConfigError
from imageproxy.protocols import (
    CacheKey,
    SupportsCleanup,
    SupportsClose,
    SupportsFences,
    SupportsNonBlocking,
    SupportsStats,
)
from imageproxy.testing import FakeCache

MB = 1024**2


class Guard(FakeCache):
    """Has the fence that it is told."""

    is_nonblocking = True
    mark: Hashable = b"\0"

    def fence(self, did: str, cid: str) -> Hashable:
        return self.mark

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        if fence != self.mark:
            return False
        self.set(key, data)
        return True


def counts(cache: TieredCache, *names: str) -> list[int]:
    stats = cache.stats()
    return [stats[name] for name in names]


def test_it_has_the_powers_that_its_tiers_make_possible(root: Path) -> None:
    cache = TieredCache(MemoryCache(MB), DiskCache(root))
    for power in (SupportsFences, SupportsCleanup, SupportsStats, SupportsNonBlocking):
        assert isinstance(cache, power)
    assert not isinstance(cache, SupportsClose)
    assert repr(cache) == f"TieredCache(MemoryCache({MB}), DiskCache({str(root)!r}))"
    assert not root.exists()


def test_it_promises_not_to_block_if_all_tiers_do(root: Path) -> None:
    class Promising(FakeCache):
        is_nonblocking = True

    class Hesitating(FakeCache):
        is_nonblocking = False

    assert TieredCache(MemoryCache(MB), DiskCache(root), Promising()).is_nonblocking is True
    assert TieredCache(MemoryCache(MB), FakeCache()).is_nonblocking is False
    assert TieredCache(Hesitating(), MemoryCache(MB)).is_nonblocking is False


@pytest.mark.parametrize(
    ("tiers", "text"),
    [
        ((), "at least one tier"),
        ((None,), "tier 0 is None; it must be a cache, with get, set and purge"),
        ((FakeCache(), "disk"), "tier 1 is 'disk'; it must be a cache"),
        ((cache := FakeCache(), FakeCache(), cache), "tier 2 is .*; it must be another cache than those before it"),
    ],
)
def test_tiers_that_cannot_be_meant_are_refused(tiers: tuple[Any, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        TieredCache(*tiers)
    assert caught.value.option == "tiers"


def test_a_hit_asks_no_tier_below(key: Any) -> None:
    upper, lower = FakeCache(), FakeCache()
    cache = TieredCache(upper, lower)
    cache.set(key(), b"image")
    assert cache.get(key()) == b"image"
    assert (len(upper.reads), len(lower.reads)) == (1, 0)


def test_a_hit_below_fills_all_tiers_above(key: Any) -> None:
    hit, below = FakeCache(), FakeCache()
    cache = TieredCache(FakeCache(), MemoryCache(MB), hit, below)
    hit.set(key(), b"image")
    assert cache.get(key()) == b"image"
    assert cache.get(key()) == b"image"
    names = [f"tier{number}.{name}" for number in range(4) for name in ("hits", "misses", "fills")]
    assert counts(cache, *names) == [1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0]
    assert below.writes == []


def test_a_miss_fills_nothing_and_asks_the_lowest_tier_for_no_fence(key: Any) -> None:
    asked: list[str] = []

    class Shared(Guard):
        is_nonblocking = False

        def fence(self, did: str, cid: str) -> Hashable:
            asked.append("fence")
            return b""

    upper = FakeCache()
    assert TieredCache(upper, Shared()).get(key()) is None
    assert upper.writes == []
    assert asked == []


def test_a_set_reaches_every_tier(key: Any, root: Path) -> None:
    upper, lower = FakeCache(), FakeCache()
    memory, disk = MemoryCache(MB), DiskCache(root)
    cache = TieredCache(memory, upper, disk, lower)
    cache.set(key(), b"image")
    assert memory.stats()["entries"] == 1
    assert list(upper.entries.values()) == [b"image"]
    assert disk.get(key()) == b"image"
    assert lower.entries == {key(): b"image"}


def test_what_is_too_large_for_one_tier_is_kept_by_the_others(key: Any, root: Path) -> None:
    memory, disk = MemoryCache(3000), DiskCache(root)
    cache = TieredCache(memory, disk)
    cache.set(key(0), b"x" * 5000)
    assert cache.set_fenced(key(1), b"x" * 5000, cache.fence(key(1).did, key(1).cid)) is True
    assert [len(cache.get(key(number)) or b"") for number in range(2)] == [5000, 5000]
    assert memory.stats()["entries"] == 0
    small = TieredCache(MemoryCache(MB), DiskCache(root, max_bytes=3000))
    assert small.set_fenced(key(2), b"x" * 5000, small.fence(key(2).did, key(2).cid)) is True
    assert small.get(key(2)) == b"x" * 5000
    tiny = TieredCache(MemoryCache(1), DiskCache(root, max_bytes=1))
    assert tiny.set_fenced(key(3), b"image", tiny.fence(key(3).did, key(3).cid)) is False


def test_cleanup_tidies_what_can_be_tidied(key: Any, root: Path, clock: Any) -> None:
    cache = TieredCache(MemoryCache(MB), DiskCache(root, ttl_seconds=60, clock=clock))
    cache.set(key(), b"image")
    clock.advance(61)
    assert cache.cleanup() == 1


def test_each_tier_tells_its_counts_under_its_number(key: Any) -> None:
    cache = TieredCache(MemoryCache(MB), FakeCache())
    cache.get(key())
    assert counts(cache, "tier0.entries", "tier0.max_bytes", "tier0.misses", "tier1.misses") == [0, MB, 1, 1]
    assert sorted(name for name in cache.stats() if name.startswith("tier1")) == [
        *("tier1.errors", "tier1.fills", "tier1.hits", "tier1.misses", "tier1.skipped")
    ]


def test_a_tier_that_does_not_tell_its_counts_does_not_hide_the_others(key: Any) -> None:
    class Silent(FakeCache):
        def stats(self) -> dict[str, int]:
            raise OSError("silent")

    assert counts(TieredCache(Silent(), MemoryCache(MB)), "tier0.errors", "tier1.entries") == [1, 0]


# Guards


def test_above_a_guard_the_key_changes_with_its_fence_and_nothing_else_of_it(key: Any) -> None:
    upper, guard = FakeCache(), Guard()
    cache = TieredCache(upper, guard)
    for guard.mark in (b"\x01", b"\x02"):
        cache.set(key(), b"image")
        assert cache.get(key()) == b"image"
    assert sorted(upper.entries) == [key()._replace(preset=f"{key().preset}~b{mark}") for mark in ("01", "02")]
    assert set(guard.entries) == {key()}
    assert cache.purge(key().did, key().cid) == 2
    assert upper.entries == {}


def test_what_stands_above_two_guards_is_guarded_by_both(key: Any) -> None:
    upper, middle, lower = FakeCache(), Guard(), Guard()
    cache = TieredCache(upper, middle, lower)
    cache.set(key(), b"image")
    middle.mark, lower.mark = 5, (None, "text")
    assert cache.get(key()) == b"image"
    assert set(lower.entries) == {key()}
    assert {entry.preset.count("~") for entry in middle.entries} == {1}
    assert {entry.preset.count("~") for entry in upper.entries} == {2}
    assert len(upper.entries) == len(middle.entries) == 2


@pytest.mark.parametrize("make", [FakeCache, type("Blocking", (Guard,), {"is_nonblocking": False})])
def test_a_tier_that_blocks_or_has_no_fences_is_no_guard(key: Any, make: Callable[[], Any]) -> None:
    upper = FakeCache()
    cache = TieredCache(upper, make())
    cache.set(key(), b"image")
    assert set(upper.entries) == {key()}


def test_keys_of_many_images_are_not_remembered_for_ever(key: Any) -> None:
    cache = TieredCache(FakeCache(), Guard())
    for number in range(5000):
        cache.get(key(number))
    assert len(cache._seen) <= 4096


FENCES: list[Hashable] = [
    *(None, b"", b"\0", b"0", "", "0", "b", 0, 1, -1, 10, 16, (), ((),), ((), ()), (None,), ("",), (b"",), (0,)),
    *((1, 2), (12,), ("1,2",), ("1", "2"), (("1",), "2"), ("1", ("2",)), "é", "\ud800", 2**70, -(2**70)),
    *(b"\1" * 31, b"\1" * 32, b"\1" * 100, b"\1" * 101, ("x" * 100,), 2**400, 2**400 + 1),
]


def test_the_text_of_a_fence_is_short_and_differs_where_fences_differ() -> None:
    texts = [fence_text(fence) for fence in FENCES]
    assert len(set(texts)) == len(FENCES)
    assert all(len(text) <= 64 and text.isascii() and "~" not in text for text in texts)
    assert fence_text((True, b"ab")) == fence_text((1, b"ab"))


@pytest.mark.parametrize("fence", [object(), 1.5, frozenset(), (b"", object())])
def test_a_fence_that_only_its_process_understands_has_no_text(fence: Hashable) -> None:
    with pytest.raises(TypeError, match="it must be of None, int, str, bytes, and tuples of them"):
        fence_text(fence)
