from __future__ import annotations

import linecache
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import MemoryCache, memory
from imageproxy.caches.memory import _size
from imageproxy.errors import ConfigError
from imageproxy.protocols import CacheKey, SupportsFences, SupportsNonBlocking, SupportsStats
from imageproxy.testing.contracts import CacheContract

MB = 1024**2
OTHER_DID = "did:plc:z72i7hdynmk6r22z27h6tvur"


class TestMemoryCache(CacheContract):
    def make_cache(self, tmp_path: Path) -> MemoryCache:
        return MemoryCache(500 * MB)  # of tiny images, a fast writer stores thousands, and each takes a kilobyte


def room_for(entries: int, size: int, key: CacheKey) -> int:
    """The limit that so many images of this size fit into."""
    cache = MemoryCache(MB)
    cache.set(key, b"x" * size)
    return entries * cache.stats()["bytes"]


def test_it_has_the_powers_of_a_cache_that_is_asked_on_every_hit() -> None:
    cache = MemoryCache(1)
    assert isinstance(cache, SupportsFences)
    assert isinstance(cache, SupportsStats)
    assert isinstance(cache, SupportsNonBlocking)
    assert cache.is_nonblocking
    assert repr(MemoryCache(5)) == "MemoryCache(5)"


@pytest.mark.parametrize("limit", [0, -1, 1.5, "1", None, True])
def test_a_limit_that_cannot_be_meant_is_refused(limit: Any) -> None:
    with pytest.raises(ConfigError, match=r"max_bytes is .*; it must be a whole number above 0") as caught:
        MemoryCache(limit)
    assert (caught.value.option, caught.value.value) == ("max_bytes", limit)


def test_what_was_used_least_recently_goes_first(key: Any) -> None:
    cache = MemoryCache(room_for(3, 500, key()))
    for number in range(3):
        cache.set(key(number), b"x" * 500)
    cache.get(key(0))
    cache.set(key(1), b"y" * 500)  # replacing is using, too
    cache.set(key(3), b"x" * 500)
    assert [number for number in range(4) if cache.get(key(number))] == [0, 1, 3]
    assert cache.stats()["evicted"] == 1
    cache.set(key(4), b"x" * 1500)
    assert [number for number in range(5) if cache.get(key(number))] == [3, 4]


def test_an_image_larger_than_the_limit_is_not_stored_and_takes_the_old_one_away(key: Any) -> None:
    cache = MemoryCache(5000)
    cache.set(key(0), b"kept")
    cache.set(key(1), b"old")
    cache.set(key(1), b"x" * 5000)
    cache.set(key(2), b"x" * 5000)
    assert [cache.get(key(number)) for number in range(3)] == [b"kept", None, None]
    assert cache.set_fenced(key(1), b"x" * 5000, cache.fence(key(1).did, key(1).cid)) is False
    assert cache.stats()["entries"] == 1
    assert cache.stats()["evicted"] == 0


def test_a_replaced_image_counts_once(key: Any) -> None:
    cache = MemoryCache(MB)
    cache.set(key(), b"x" * 100)
    before = cache.stats()["bytes"]
    cache.set(key(), b"x" * 150)
    assert cache.stats()["bytes"] == before + 50
    cache.purge(key().did)
    assert cache.stats() == {"entries": 0, "bytes": 0, "max_bytes": MB, "evicted": 0}


def test_tiny_images_are_charged_for_what_they_really_take() -> None:
    """A million of a byte each must not take a gigabyte that nobody counted."""
    count = 2000
    cache = MemoryCache(100 * MB)

    def texts(number: int) -> CacheKey:
        preset = f"avatar-0f1e2d3c4b5a-{number:040d}"
        return CacheKey(preset, f"did:plc:{number:024d}", f"bafkrei{number:052d}", "image/jpeg")

    for number in range(count):
        cache.set(texts(number), b"%d" % number)
    real = sys.getsizeof(cache._entries) + sys.getsizeof(cache._owners)
    for stored, data in cache._entries.items():
        blobs = cache._owners[stored.did]
        parts = (stored, data, stored.preset, stored.did, stored.cid, blobs, blobs[stored.cid])
        real += sum(sys.getsizeof(part) for part in parts)
    assert real <= cache.stats()["bytes"] <= 1.6 * real


def test_a_purge_looks_at_the_entries_of_the_owner_alone(key: Any) -> None:
    class Counting(CacheKey):
        """Tells how often keys are looked up or compared."""

        hashed = 0

        def __hash__(self) -> int:
            Counting.hashed += 1
            return super().__hash__()

    cache = MemoryCache(100 * MB)
    for number in range(1000):
        cache.set(Counting(*key(number, did=OTHER_DID)), b"image")
    for number in range(2):
        cache.set(Counting(*key(number)), b"image")
    Counting.hashed = 0
    assert cache.purge(key().did, key(0).cid) == 1
    assert cache.purge(key().did) == 1
    assert cache.purge(OTHER_DID, key(3).cid) == 1
    assert cache.purge(OTHER_DID, "bafkreinothere") == 0
    assert Counting.hashed < 20
    assert cache.stats()["entries"] == 999


def test_a_purge_of_the_cache_voids_fences_for_every_service_that_has_it(key: Any) -> None:
    cache = MemoryCache(MB)
    fences = {number: cache.fence(key(number).did, key(number).cid) for number in range(3)}
    cache.purge(key().did, key(1).cid)
    assert [cache.set_fenced(key(number), b"image", fences[number]) for number in range(3)] == [True, False, True]
    cache.purge(key().did)
    assert [cache.set_fenced(key(number), b"image", fences[number]) for number in range(3)] == [False] * 3
    assert cache.stats()["entries"] == 0


def test_a_fence_of_another_cache_is_none(key: Any) -> None:
    fence = MemoryCache(MB).fence(key().did, key().cid)
    assert MemoryCache(MB).set_fenced(key(), b"image", fence) is False


def test_purges_of_many_blobs_take_no_memory(key: Any) -> None:
    cache = MemoryCache(MB)
    for number in range(20_000):
        cache.purge(key().did, key(number).cid)
    assert len(cache._generations._slots) == 8192
    assert cache.stats()["bytes"] == 0
    assert cache._owners == {}


def test_hits_that_run_beside_evictions_and_purges_are_whole(key: Any) -> None:
    cache = MemoryCache(room_for(20, 1000, key()))
    is_over = threading.Event()
    errors: list[BaseException] = []

    def read() -> None:
        try:
            while not is_over.is_set():
                for number in range(30):
                    assert cache.get(key(number)) in (None, b"%d" % number * 500)
        except BaseException as error:  # noqa: BLE001 - the test tells it
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(100):
        for number in range(30):
            cache.set(key(number), b"%d" % number * 500)
        if turn % 10 == 0:
            cache.purge(key().did)
    is_over.set()
    for reader in readers:
        reader.join()
    assert errors == []
    keys = list(cache._entries)
    assert cache.purge(key().did) == len(keys)
    assert cache.stats()["bytes"] == 0


def test_what_a_fork_left_half_done_is_given_up(key: Any) -> None:
    cache = MemoryCache(MB)
    cache.set(key(), b"image")
    cache._reset_after_fork()
    assert cache.get(key()) == b"image"
    cache._lock.acquire()
    cache._is_changing = True
    cache._reset_after_fork()
    assert cache.get(key()) is None
    cache.set(key(), b"image")
    assert cache.purge(key().did) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.parametrize("is_locked", [False, True], ids=["idle", "in-the-middle-of-a-write"])
def test_a_child_of_a_fork_goes_on_by_itself(key: Any, is_locked: bool) -> None:
    """A lock that another thread holds at the fork is for ever locked in the child, and what it guards half done."""
    cache = MemoryCache(MB)
    cache.set(key(), b"image")
    has_lock, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with cache._lock:
            cache._is_changing = True
            has_lock.set()
            may_end.wait()

    holder = threading.Thread(target=hold)
    if is_locked:
        holder.start()
        has_lock.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads about is what this is about
        child = os.fork()
    if child == 0:
        status = 1
        try:
            assert cache.get(key()) == (None if is_locked else b"image")
            cache.set(key(1), b"of the child")
            assert cache.get(key(1)) == b"of the child"
            assert cache.purge(key().did) == (1 if is_locked else 2)
            assert cache.stats()["bytes"] == 0
            status = 0
        finally:
            os._exit(status)
    watchdog = threading.Timer(30, os.kill, (child, signal.SIGKILL))
    watchdog.start()
    _, status = os.waitpid(child, 0)
    watchdog.cancel()
    watchdog.join()
    may_end.set()
    if is_locked:
        holder.join()
    assert os.waitstatus_to_exitcode(status) == 0
    assert cache.get(key()) == b"image"
    assert cache.get(key(1)) is None


class HandlerError(Exception):
    """What a signal handler raises."""


@pytest.mark.parametrize("what", ["set", "purge"])
def test_a_change_that_a_signal_breaks_off_leaves_a_cache_that_works(key: Any, what: str) -> None:
    """Broken off at each line in turn."""
    line = 0
    while True:
        line += 1
        lines = iter(range(line))
        cache = MemoryCache(5000)
        for number in range(3):
            cache.set(key(number), b"x" * 200)
        fence = cache.fence(key().did, key().cid)

        def trace(frame: Any, event: str, _: Any, lines: Any = lines) -> Any:
            if frame.f_code.co_filename != memory.__file__:
                return None
            # Signals are not handled between taking the lock and the block, nor before it is let go.
            is_lock = "self._lock" in linecache.getline(memory.__file__, frame.f_lineno)
            if event == "line" and not is_lock and next(lines, None) is None:
                raise HandlerError
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            if what == "set":
                cache.set(key(9), b"z" * 2500)
            else:
                cache.purge(key().did)
        except HandlerError:
            pass
        else:
            break
        finally:
            sys.settrace(before)
        stats = cache.stats()
        held = [number for number in range(10) if cache.get(key(number)) is not None]
        assert stats["entries"] == len(held)
        assert stats["bytes"] == sum(_size(key(number), cache.get(key(number)) or b"") for number in held)
        assert cache.purge(key().did) == len(held)
        if what == "purge":
            assert cache.set_fenced(key(), b"late", fence) is False
        cache.set(key(), b"new")
        assert cache.get(key()) == b"new"
    assert line > 10
