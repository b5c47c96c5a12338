"""After a purge, nothing of before comes back, however its steps fall between those of a get or a write.

Two calls run on threads of their own, a step at a time, where a step is what is between two calls of tiers. Every
schedule is run in which one is interrupted once by the other: so many steps of the first, so many of the second, then
the rest of the first, and the rest of the second.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache, MemoryCache, TieredCache, _tier
from imageproxy.caches import disk as disk_module
from imageproxy.caches._fenced import Fenced
from imageproxy.caches._ledger import Ledger
from imageproxy.protocols import Cache, CacheKey
from imageproxy.testing import FakeCache

MB = 1024**2
OLD = b"fetched before the purge"


class Stepper:
    """Runs a call on a thread of its own, which stops at every ``point`` until it is told to go on."""

    _of_thread = threading.local()

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._may_go = threading.Semaphore(0)
        self._has_stopped = threading.Semaphore(0)
        self.is_over = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        Stepper._of_thread.stepper = self
        self._may_go.acquire()
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 - the test tells it
            self.error = error
        self.is_over = True
        self._has_stopped.release()

    @staticmethod
    def point() -> None:
        stepper = getattr(Stepper._of_thread, "stepper", None)
        if stepper is not None:
            stepper._has_stopped.release()
            stepper._may_go.acquire()

    def go(self, steps: int) -> bool:
        """Go so many steps; whether there were so many."""
        for _ in range(steps):
            if self.is_over:
                return False
            self._may_go.release()
            assert self._has_stopped.acquire(timeout=30), "a step waits for the other call"
        return True

    def finish(self) -> None:
        while self.go(1):
            pass
        self._thread.join()
        if self.error is not None:
            raise self.error


def schedules(start: Callable[[], tuple[Callable[[], object], Callable[[], object], Callable[[], None]]]) -> int:
    """Run all schedules of two calls, each time from a fresh start, and then the check; how many there were."""
    run = 0
    for is_swapped in (False, True):
        for first_steps in itertools.count():
            has_first = True
            for second_steps in itertools.count(1):
                one, other, check = start()
                first, second = Stepper(one), Stepper(other)
                if is_swapped:
                    first, second = second, first
                has_first = first.go(first_steps)
                has_second = second.go(second_steps)
                first.finish()
                second.finish()
                check()
                run += 1
                if not has_second or not has_first:
                    break
            if not has_first:
                break
    return run


def test_the_schedules_are_all_there() -> None:
    seen: set[str] = set()

    def start() -> tuple[Callable[[], object], Callable[[], object], Callable[[], None]]:
        done: list[str] = []

        def call(name: str) -> None:
            for _ in range(2):
                Stepper.point()
                done.append(name)

        return (lambda: call("a")), (lambda: call("b")), (lambda: seen.add("".join(done)))

    schedules(start)
    assert seen == {"aabb", "abab", "abba", "bbaa", "baba", "baab"}


# Tiers that stop at every call


class Plain(FakeCache):
    """No powers. Its writes and purges stop before the lock that they are under, see ``stopping_locks``."""

    def get(self, key: CacheKey) -> bytes | None:
        Stepper.point()
        return super().get(key)


class StoppingFences(Fenced):
    def fence(self, did: str, cid: str) -> Hashable:
        Stepper.point()
        return super().fence(did, cid)

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        Stepper.point()
        return super().set_fenced(key, data, fence)

    def purge(self, did: str, cid: str | None = None) -> int:
        Stepper.point()
        return super().purge(did, cid)


class Memory(MemoryCache):
    def __init__(self) -> None:
        super().__init__(MB)

    def get(self, key: CacheKey) -> bytes | None:
        Stepper.point()
        return super().get(key)

    def set(self, key: CacheKey, data: bytes) -> None:
        Stepper.point()
        super().set(key, data)

    def fence(self, did: str, cid: str) -> Hashable:
        Stepper.point()
        return super().fence(did, cid)

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        Stepper.point()
        return super().set_fenced(key, data, fence)

    def purge(self, did: str, cid: str | None = None) -> int:
        Stepper.point()
        return super().purge(did, cid)


class Remote(Memory):
    """Fences, and a network in between: no guard."""

    is_nonblocking = False


class Disk(DiskCache):
    """Stops also between the two marks of a purge."""

    def get(self, key: CacheKey) -> bytes | None:
        Stepper.point()
        return super().get(key)

    def fence(self, did: str, cid: str) -> Hashable:
        Stepper.point()
        return super().fence(did, cid)

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        Stepper.point()
        return super().set_fenced(key, data, fence)


class StoppingLedger(Ledger):
    __slots__ = ()

    def raise_fence(self, did: str, cid: str | None) -> None:
        Stepper.point()
        super().raise_fence(did, cid)
        Stepper.point()


@pytest.fixture(autouse=True)
def _stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tier, "Fenced", StoppingFences)
    monkeypatch.setattr(disk_module, "Ledger", StoppingLedger)


@pytest.fixture
def tier(tmp_path: Path) -> Callable[[str], Any]:
    """A new tier by name. A disk has one folder for all tests: what it keeps from the last one is purged with it."""
    made = {"plain": Plain, "memory": Memory, "remote": Remote}

    def make(name: str) -> Any:
        return Disk(tmp_path / name) if name.startswith("disk") else made[name]()

    return make


COMBINATIONS = [
    *("memory disk", "memory plain", "memory remote", "memory memory", "plain disk", "plain plain", "plain remote"),
    *("disk plain", "disk remote", "disk1 disk2", "remote plain", "remote remote", "plain memory"),
    *("memory disk plain", "memory disk remote", "plain remote disk", "memory plain disk", "memory disk1 disk2"),
]


@pytest.mark.parametrize(
    ("names", "whole_owner"),
    [*((names, False) for names in COMBINATIONS), ("memory disk plain", True), ("plain remote disk", True)],
)
def test_a_get_does_not_undo_a_purge(names: str, whole_owner: bool, key: Any, tier: Any) -> None:
    def start() -> Any:
        tiers = [tier(name) for name in names.split()]
        cache = TieredCache(*tiers)
        tiers[-1].set(key(), OLD)

        def check() -> None:
            assert [cache.get(key()) for _ in range(2)] == [None, None]

        return (lambda: cache.get(key())), (lambda: cache.purge(key().did, None if whole_owner else key().cid)), check

    assert schedules(start) > 30


@pytest.mark.parametrize("names", COMBINATIONS)
def test_a_late_write_does_not_undo_a_purge(names: str, key: Any, tier: Any) -> None:
    def start() -> Any:
        tiers = [tier(name) for name in names.split()]
        cache = TieredCache(*tiers)
        fence = cache.fence(key().did, key().cid)

        def check() -> None:
            assert [cache.get(key()) for _ in range(2)] == [None, None]

        write = lambda: cache.set_fenced(key(), OLD, fence)  # noqa: E731
        return write, (lambda: cache.purge(key().did, key().cid)), check

    assert schedules(start) > 30


@pytest.mark.parametrize("names", COMBINATIONS)
def test_a_write_without_a_fence_comes_before_a_purge_or_after_it_and_counts_once(
    names: str, key: Any, tier: Any
) -> None:
    def start() -> Any:
        tiers = [tier(name) for name in names.split()]
        cache = TieredCache(*tiers)
        cache.purge(key().did)

        def check() -> None:
            is_below = tiers[-1].get(key()) is not None
            assert (cache.get(key()) is not None) == is_below
            assert cache.purge(key().did) == is_below

        return (lambda: cache.set(key(), b"image")), (lambda: cache.purge(key().did, key().cid)), check

    assert schedules(start) > 30


# Other processes, which share what is below and have a tier of their own above it


SHARED = ["disk", "remote disk", "disk remote", "disk1 disk2", "memory"]


@pytest.mark.parametrize("upper", ["memory", "plain"])
@pytest.mark.parametrize(
    ("shared", "by_guard_alone"),
    [*((shared, False) for shared in [*SHARED, "disk plain"]), ("disk", True), ("memory", True)],
)
def test_a_get_does_not_undo_the_purge_of_another_process(
    shared: str, upper: str, by_guard_alone: bool, key: Any, tier: Any
) -> None:
    """Which has a TieredCache of its own, or nothing but the tier that is shared."""

    def start() -> Any:
        tiers = [tier(name) for name in shared.split()]
        here, there = TieredCache(tier(upper), *tiers), TieredCache(tier(upper), *tiers)
        here.purge(key().did)
        tiers[-1].set(key(), OLD)
        there.get(key())

        def check() -> None:
            assert [cache.get(key()) for cache in (here, there, here)] == [None] * 3

        purging: Cache = tiers[0] if by_guard_alone else there
        return (lambda: here.get(key())), (lambda: purging.purge(key().did, key().cid)), check

    assert schedules(start) > 20


@pytest.mark.parametrize("shared", SHARED)
def test_a_late_write_does_not_undo_the_purge_of_another_process(shared: str, key: Any, tier: Any) -> None:
    def start() -> Any:
        tiers = [tier(name) for name in shared.split()]
        here, there = TieredCache(tier("memory"), *tiers), TieredCache(tier("memory"), *tiers)
        fence = here.fence(key().did, key().cid)

        def check() -> None:
            assert [cache.get(key()) for cache in (here, there, here)] == [None] * 3

        write = lambda: here.set_fenced(key(), OLD, fence)  # noqa: E731
        return write, (lambda: there.purge(key().did, key().cid)), check

    assert schedules(start) > 20


def test_a_write_that_comes_after_the_purge_of_another_process_reaches_no_tier(key: Any, tier: Any) -> None:
    """Nor one below the folder, which has nothing to refuse it by."""
    disk, below = tier("disk"), FakeCache()
    here, there = TieredCache(MemoryCache(MB), disk, below), TieredCache(MemoryCache(MB), disk, below)
    fence = here.fence(key().did, key().cid)
    there.purge(key().did)
    assert here.set_fenced(key(), OLD, fence) is False
    assert below.writes == []


def test_what_a_lower_tier_refuses_reaches_none_above_it(key: Any, tier: Any) -> None:
    """Such as after a purge on another machine, which shares the lowest tier alone."""
    disk, remote = tier("disk"), Remote()
    here = TieredCache(FakeCache(), disk, remote)
    fence = here.fence(key().did, key().cid)
    remote.purge(key().did)
    assert here.set_fenced(key(), OLD, fence) is False
    assert here.get(key()) is None


def test_what_was_kept_in_memory_is_out_of_reach_once_another_process_purged_it(key: Any, tier: Any) -> None:
    memory, disk = MemoryCache(MB), tier("disk")
    here = TieredCache(memory, disk)
    here.set(key(0), OLD)
    here.set(key(1), b"another image")
    assert here.get(key(0)) == OLD
    disk.purge(key(0).did, key(0).cid)
    assert here.get(key(0)) is None
    assert here.get(key(1)) == b"another image"
    assert here.stats()["tier1.misses"] == 1  # the other one came from memory


@pytest.mark.parametrize("whole_owner", [False, True], ids=["blob", "owner"])
def test_a_purge_by_a_real_process_is_seen_above_the_folder(
    root: Path, key: Any, python: Any, whole_owner: bool
) -> None:
    other = python(
        """
from imageproxy.caches import MemoryCache, TieredCache
memory = MemoryCache(1_000_000)
cache = TieredCache(memory, DiskCache(root))
fence = cache.fence(key().did, key().cid)
tell([cache.get(key()) for _ in range(2)])
tell(memory.stats()["entries"])
sys.stdin.readline()
tell(cache.set_fenced(key(), b"late", fence))
tell([cache.get(key()) for _ in range(2)])
cache.set_fenced(key(), b"new", cache.fence(key().did, key().cid))
tell(cache.get(key()))
sys.stdin.readline()
cache.purge(key().did, key().cid)
tell("purged")
"""
    )
    here = TieredCache(MemoryCache(MB), DiskCache(root))
    here.set(key(), OLD)

    def told() -> str:
        line: str = other.stdout.readline()
        return line.strip()

    def say() -> None:
        other.stdin.write("go on\n")
        other.stdin.flush()

    assert told() == repr([OLD, OLD])
    assert told() == "1"
    here.purge(key().did, None if whole_owner else key().cid)
    say()
    assert told() == "False"
    assert told() == "[None, None]"
    assert told() == "b'new'"
    assert [here.get(key()) for _ in range(2)] == [b"new", b"new"]
    say()
    assert told() == "purged"
    assert here.get(key()) is None


def test_a_purge_waits_for_the_write_to_a_tier_without_fences_that_is_under_way(key: Any) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    class Slow(FakeCache):
        def set(self, key: CacheKey, data: bytes) -> None:
            has_begun.set()
            assert may_end.wait(30)
            super().set(key, data)

    slow = Slow()
    cache = TieredCache(slow)
    write = threading.Thread(target=set_fenced, args=(cache, key()))
    write.start()
    assert has_begun.wait(30)
    purge = threading.Thread(target=cache.purge, args=(key().did,))
    purge.start()
    assert slow.purges == []
    may_end.set()
    write.join()
    purge.join()
    assert cache.get(key()) is None


def set_fenced(cache: TieredCache, key: CacheKey) -> bool:
    return cache.set_fenced(key, OLD, cache.fence(key.did, key.cid))


def test_a_failed_purge_of_the_folder_brings_nothing_back_to_the_memory_above(key: Any, tier: Any) -> None:
    class Stuck(Disk):
        def purge(self, did: str, cid: str | None = None) -> int:
            raise OSError("stuck")

    memory = MemoryCache(MB)
    cache = TieredCache(memory, Stuck(tier("disk").root))
    fence = cache.fence(key().did, key().cid)
    with contextlib.suppress(Exception):
        cache.purge(key().did)
    cache.set_fenced(key(), OLD, fence)
    assert memory.stats()["entries"] == 0


def test_a_fill_that_a_purge_overtook_leaves_nothing_out_of_reach(root: Path, key: Any) -> None:
    """The key above the guard is made, the purge comes, and another image is set before the guard is read."""

    photo = key()

    class Overtaken(MemoryCache):
        has_been = False

        def get(self, key: CacheKey) -> bytes | None:
            data = super().get(key)
            if not self.has_been:
                self.has_been = True
                cache.purge(photo.did)
                disk.set(photo, b"new")
            return data

    memory, disk = Overtaken(MB), DiskCache(root)
    cache = TieredCache(memory, disk)
    disk.set(photo, OLD)

    assert cache.get(photo) == b"new"
    assert memory.stats()["entries"] == 0
    assert cache.get(photo) == b"new"
    assert memory.stats()["entries"] == 1
    assert cache.purge(photo.did) == 1
