"""TieredCache where tiers fail."""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache, MemoryCache, TieredCache
from imageproxy.errors import CachePurgeError
from imageproxy.protocols import CacheKey
from imageproxy.testing import FakeCache

MB = 1024**2


class Shared(FakeCache):
    """Has fences, over what may be a network, and fails when it is told to."""

    is_nonblocking = False

    def __init__(self) -> None:
        super().__init__()
        self.mark: Hashable = 0
        self.fences = 0
        self.fail_fences: Exception | None = None
        self.fail_cleanup: Exception | None = None

    def fail(self, error: Exception | None = None) -> None:
        self.fail_reads = self.fail_writes = self.fail_fences = self.fail_cleanup = error

    def fence(self, did: str, cid: str) -> Hashable:
        self.fences += 1
        if self.fail_fences is not None:
            raise self.fail_fences
        return self.mark

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        if fence != self.mark:
            return False
        self.set(key, data)
        return True

    def cleanup(self) -> int:
        if self.fail_cleanup is not None:
            raise self.fail_cleanup
        return 1


class Guard(Shared):
    is_nonblocking = True


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def set_fenced(cache: TieredCache, key: CacheKey, data: bytes = b"image") -> bool:
    return cache.set_fenced(key, data, cache.fence(key.did, key.cid))


# Being left alone


def test_a_tier_that_cannot_be_read_is_passed_over_and_probed_more_and_more_rarely(key: Any, clock: Any) -> None:
    broken, lower = FakeCache(), FakeCache()
    broken.fail_reads = OSError("away")
    lower.entries[key()] = b"image"
    cache = TieredCache(broken, lower, clock=clock)
    probed: list[int] = []
    for second in range(200):
        for _ in range(3):
            assert cache.get(key()) == b"image"
        if len(broken.reads) > len(probed):
            probed.append(second)
        assert len(broken.reads) == len(probed)
        clock.advance(1)
    assert probed == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert cache.stats()["tier0.errors"] == len(probed)
    assert cache.stats()["tier0.skipped"] == 600 - len(probed)


def test_a_tier_that_works_again_is_used_again_at_once(key: Any, clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "imageproxy")
    upper, lower = FakeCache(), FakeCache()
    upper.entries[key()] = b"image"
    cache = TieredCache(upper, lower, clock=clock)
    for error in ("away", "away again"):
        upper.fail_reads = OSError(error)
        cache.get(key())
        upper.fail_reads = None
        assert cache.get(key()) is None
        clock.advance(1)  # after a time of success, the pause is short again
        assert [cache.get(key()) for _ in range(2)] == [b"image"] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "tier0.FakeCache cannot be read, and is passed over until it can: OSError('away')",
        "tier0.FakeCache works again",
        "tier0.FakeCache cannot be read, and is passed over until it can: OSError('away again')",
        "tier0.FakeCache works again",
    ]


def test_a_time_of_failures_is_told_once_with_what_was_asked_for(
    key: Any, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broken = FakeCache()
    broken.fail_reads = OSError("away")
    cache = TieredCache(broken, FakeCache(), clock=clock)
    for _ in range(100):
        cache.get(key())
        clock.advance(1)
    assert warned(caplog) == ["tier0.FakeCache cannot be read, and is passed over until it can: OSError('away')"]
    (record,) = caplog.records
    assert (vars(record)["did"], vars(record)["cid"]) == (key().did, key().cid)


def test_a_folder_that_cannot_be_written_to_is_read_all_the_same(
    key: Any, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FakeCache()
    disk.entries[key()] = b"image"
    disk.fail_writes = OSError("read-only")
    cache = TieredCache(MemoryCache(1), disk, clock=clock)
    with pytest.raises(OSError, match="read-only"):
        cache.set(key(1), b"other")
    for _ in range(5):
        cache.set(key(1), b"other")  # left alone
        assert cache.get(key()) == b"image"
    assert len(disk.writes) == 1
    assert len(warned(caplog)) == 1


def test_what_is_no_image_is_a_fault_and_fills_nothing(key: Any, caplog: pytest.LogCaptureFixture) -> None:
    upper, lower = FakeCache(), FakeCache()
    lower.entries[key()] = "text"  # type: ignore[assignment]
    cache = TieredCache(upper, lower)
    assert cache.get(key()) is None
    assert upper.entries == {}
    assert "TypeError(\"the cache gave 'text' for an image\")" in warned(caplog)[0]


def test_a_failed_cleanup_does_not_keep_the_others_from_theirs(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    upper, lower = Shared(), Shared()
    cache = TieredCache(upper, lower, clock=clock)
    upper.fail_cleanup = OSError("away")
    assert [cache.cleanup() for _ in range(3)] == [1, 1, 1]
    assert len(warned(caplog)) == 1
    upper.fail()
    clock.advance(1)
    assert cache.cleanup() == 2


def test_a_fill_that_fails_does_not_keep_the_image_from_the_caller(key: Any) -> None:
    upper, lower = FakeCache(), FakeCache()
    upper.fail_writes = OSError("full")
    lower.entries[key()] = b"image"
    cache = TieredCache(upper, lower)
    assert [cache.get(key()) for _ in range(3)] == [b"image"] * 3
    assert [cache.stats()[f"tier0.{name}"] for name in ("fills", "errors")] == [0, 1]


# Writes


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_write_that_one_tier_takes_is_none_that_failed(key: Any, broken: int) -> None:
    tiers = [FakeCache() for _ in range(3)]
    tiers[broken].fail_writes = OSError("full")
    cache = TieredCache(*tiers)
    cache.set(key(0), b"image")
    assert set_fenced(cache, key(1)) is True
    assert [len(tier.entries) for tier in tiers] == [0 if number == broken else 2 for number in range(3)]


def test_a_write_that_all_tiers_fail_raises_what_the_first_of_them_raised(key: Any, clock: Any) -> None:
    tiers = [FakeCache() for _ in range(2)]
    cache = TieredCache(*tiers, clock=clock)
    for number, tier in enumerate(tiers):
        tier.fail_writes = OSError(f"full {number}")
    with pytest.raises(OSError, match="full 1"):
        set_fenced(cache, key())
    assert set_fenced(cache, key()) is False  # nobody was asked, so it is dropped, and not failed
    clock.advance(1)
    with pytest.raises(OSError, match="full 1"):
        cache.set(key(), b"image")


@pytest.mark.parametrize("fence", [(), (1,), (1, 2, 3), "ab", (object(), object()), (None, None), (1.0, 0.0)])
def test_a_fence_of_something_else_stores_nothing(key: Any, fence: Hashable) -> None:
    for lower in (FakeCache(), Guard()):
        upper = FakeCache()
        assert TieredCache(upper, lower).set_fenced(key(), b"image", fence) is False
        assert upper.entries == {}


# Fences


def test_a_tier_without_its_fence_is_left_out_of_the_write(key: Any, clock: Any) -> None:
    upper, shared = FakeCache(), Shared()
    cache = TieredCache(upper, shared, clock=clock)
    shared.fail_fences = OSError("away")
    fence = cache.fence(key().did, key().cid)
    assert fence == cache.fence(key().did, key().cid)  # for as long as it fails, nothing is known to have changed
    assert shared.fences == 1
    shared.fail()
    assert cache.set_fenced(key(), b"image", fence) is True
    assert shared.entries == {}
    assert list(upper.entries) == [key()]


def test_the_fences_of_two_times_of_failure_differ(key: Any, clock: Any) -> None:
    shared = Shared()
    cache = TieredCache(FakeCache(), shared, clock=clock)
    fences = []
    for _ in range(2):
        shared.fail(OSError("away"))
        fences.append(cache.fence(key().did, key().cid))
        shared.fail()
        clock.advance(1)
        fences.append(cache.fence(key().did, key().cid))
    assert fences[1] == fences[3]
    assert len(set(fences)) == 3


def test_above_a_guard_without_its_fence_nothing_is_read_or_written(
    key: Any, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    upper, guard = FakeCache(), Guard()
    cache = TieredCache(upper, guard, clock=clock)
    cache.set(key(), b"image")
    guard.fail_fences = OSError("no fence")
    reads, writes = len(upper.reads), len(upper.writes)
    for _ in range(3):
        assert cache.get(key()) == b"image"  # from the guard itself
        cache.set(key(1), b"other")
    assert not set_fenced(cache, key(2))
    assert (len(upper.reads), len(upper.writes)) == (reads, writes)
    assert warned(caplog) == [
        "tier1.Guard cannot tell what was purged, and is passed over until it can: OSError('no fence')"
    ]
    guard.fail()
    assert cache.get(key()) == b"image"
    assert len(upper.reads) == reads + 1  # its fence is asked for every time, so there is nothing to wait for
    clock.advance(1)
    assert cache.get(key()) == b"image"
    guard.fail_fences = OSError("no fence")
    cache.get(key())
    assert len(warned(caplog)) == 2


def test_a_guard_that_cannot_be_read_still_guards(key: Any, clock: Any) -> None:
    """Else an unreadable folder would take the memory in front of it out of use, too."""
    upper, guard = FakeCache(), Guard()
    cache = TieredCache(upper, guard, clock=clock)
    guard.fail_reads = guard.fail_writes = OSError("unreadable")
    assert cache.get(key()) is None
    assert set_fenced(cache, key()) is True
    assert cache.get(key()) == b"image"
    guard.mark = 1  # purged elsewhere
    assert cache.get(key()) is None
    assert len(guard.reads) == 1


def test_a_guard_whose_fence_nobody_else_understands_is_none(key: Any, caplog: pytest.LogCaptureFixture) -> None:
    upper, guard = FakeCache(), Guard()
    guard.mark = object()
    cache = TieredCache(upper, guard)
    cache.set(key(), b"image")
    assert cache.get(key()) == b"image"
    assert upper.entries == {}
    assert "it must be of None, int, str, bytes, and tuples of them" in warned(caplog)[0]


def test_memory_goes_on_while_the_folder_behind_it_is_broken(key: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = TieredCache(MemoryCache(MB), DiskCache(tmp_path / "file" / "cache"))
    assert set_fenced(cache, key()) is True
    assert [cache.get(key()) for _ in range(3)] == [b"image"] * 3
    assert cache.purge(key().did) == 1
    assert cache.get(key()) is None


# Purges


def test_a_purge_asks_every_tier_and_names_those_that_failed(key: Any, clock: Any) -> None:
    first, memory, third, last = FakeCache(), MemoryCache(MB), FakeCache(), FakeCache()
    cache = TieredCache(first, memory, third, last, clock=clock)
    for number in range(3):
        cache.set(key(number), b"image")
    last.fail_purges = OSError("away")
    first.fail_purges = ValueError("odd")
    with pytest.raises(CachePurgeError, match=r"tier3\.FakeCache, tier0\.FakeCache could not be purged") as caught:
        cache.purge(key().did)
    error = caught.value
    assert (error.removed, error.failed) == (3, ("tier3.FakeCache", "tier0.FakeCache"))
    assert (error.did, error.cid) == (key().did, None)
    assert isinstance(error.__cause__, CachePurgeError)
    assert isinstance(error.__cause__.__cause__, OSError)
    assert third.entries == {}
    assert memory.stats()["entries"] == 0
    assert [cache.stats()[f"tier{number}.errors"] for number in range(4)] == [1, 0, 0, 1]


def test_a_purge_asks_also_a_tier_that_is_passed_over(key: Any, clock: Any) -> None:
    broken = FakeCache()
    broken.entries[key()] = b"image"
    broken.fail_reads = broken.fail_writes = OSError("away")
    cache = TieredCache(broken, FakeCache(), clock=clock)
    cache.get(key())
    assert cache.purge(key().did) == 1
    assert broken.entries == {}


def test_a_failed_purge_of_a_tier_made_of_tiers_names_the_part(key: Any) -> None:
    class Refusing(FakeCache):
        def purge(self, did: str, cid: str | None = None) -> int:
            raise CachePurgeError("not now", removed=7)

    away = FakeCache()
    away.fail_purges = OSError("away")
    cache = TieredCache(MemoryCache(MB), TieredCache(Refusing(), away))
    with pytest.raises(CachePurgeError) as caught:
        cache.purge(key().did, key().cid)
    assert caught.value.failed == ("tier1.tier1.FakeCache", "tier1.tier0.Refusing")
    assert caught.value.removed == 7


def test_locks_are_made_anew_after_a_fork(key: Any) -> None:
    cache = TieredCache(MemoryCache(MB), FakeCache())
    before = [tier._lock for tier in cache._tiers]
    cache._reset_after_fork()
    assert not any(tier._lock in before for tier in cache._tiers)
    assert set_fenced(cache, key())
    assert cache.purge(key().did) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_child_of_a_fork_takes_no_lock_that_the_parent_holds(key: Any) -> None:
    """All locks are held at the fork: of the counts, of the breakers, and of the fences that FakeCache has not."""
    cache = TieredCache(MemoryCache(MB), FakeCache())
    cache.set(key(), b"image")
    tier = cache._tiers[1]
    assert tier._own_fences is not None
    locks = [tier._lock, tier._reading._lock, tier._writing._lock, tier._fencing._lock, *tier._own_fences._locks]
    for lock in locks:
        lock.acquire()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads about is what this is about
        child = os.fork()
    if child == 0:
        status = 1
        try:
            assert cache.get(key()) == b"image"
            assert set_fenced(cache, key(1))
            assert cache.purge(key().did) == 2
            assert cache.stats()["tier1.errors"] == 0
            status = 0
        finally:
            os._exit(status)
    watchdog = threading.Timer(30, os.kill, (child, signal.SIGKILL))
    watchdog.start()
    _, status = os.waitpid(child, 0)
    watchdog.cancel()
    watchdog.join()
    for lock in locks:
        lock.release()
    assert os.waitstatus_to_exitcode(status) == 0
    assert cache.get(key()) == b"image"
