"""DiskCache within its limit: what goes, and what stays."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache
from imageproxy.caches._entry import locate
from imageproxy.caches._folder import Folder

HOUR = 3600.0
KB = 1024
# What an entry takes beyond its data.
TRAILER = 20


def fill(cache: DiskCache, key: Any, numbers: Iterable[int], clock: Any = None, size: int = KB, **parts: Any) -> None:
    for number in numbers:
        cache.set(key(number, **parts), b"x" * (size - TRAILER))
        if clock is not None:
            clock.advance(1)


def there(cache: DiskCache, key: Any, numbers: Iterable[int], **parts: Any) -> list[int]:
    return [number for number in numbers if cache.get(key(number, **parts)) is not None]


def test_nothing_goes_while_everything_fits(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root, max_bytes=100 * KB)
    fill(cache, key, range(100))
    assert files.total() == 100 * KB
    assert len(files.entries()) == 100


def test_it_is_never_over_the_limit(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root, max_bytes=50 * KB)
    for number in range(150):
        fill(cache, key, [number])
        assert files.total() <= 50 * KB


@pytest.mark.parametrize("owners", [1, 300])
def test_the_whole_limit_is_usable_whoever_owns_the_images(root: Path, key: Any, files: Any, owners: int) -> None:
    cache = DiskCache(root, max_bytes=200 * KB)
    for number in range(600):
        fill(cache, key, [number], did=f"did:plc:{number % owners}")
    assert 198 * KB <= files.total() <= 200 * KB
    assert cache.size_bytes() == files.total()


def test_what_was_written_first_goes_first(root: Path, key: Any, clock: Any) -> None:
    cache = DiskCache(root, max_bytes=100 * KB, clock=clock)
    fill(cache, key, range(150), clock)
    assert there(cache, key, range(150)) == list(range(50, 150))


def test_what_was_used_lately_stays(root: Path, key: Any, clock: Any) -> None:
    cache = DiskCache(root, max_bytes=100 * KB, clock=clock)
    fill(cache, key, range(100), clock)
    clock.advance(2 * HOUR)
    favourites = range(0, 100, 3)
    assert there(cache, key, favourites) == list(favourites)
    clock.advance(2 * HOUR)
    fill(cache, key, range(100, 100 + 66), clock)
    assert there(cache, key, favourites) == list(favourites)
    assert there(cache, key, range(100, 166)) == list(range(100, 166))


def test_in_full_shards_the_oldest_go_a_few_at_a_time(root: Path, key: Any, clock: Any, files: Any) -> None:
    """One owner with one digit of its digest: all that it has is in 64 shards, here with some 30 entries in each."""
    cache = DiskCache(root, max_bytes=2000 * 100, clock=clock)
    fill(cache, key, range(2000), clock, size=100)
    clock.advance(2 * HOUR)
    favourites = range(0, 2000, 2)
    assert len(there(cache, key, favourites)) == 1000
    clock.advance(2 * HOUR)
    fill(cache, key, range(2000, 2300), clock, size=100)
    assert len(files.entries()) >= 1980
    assert len(there(cache, key, range(2000, 2300))) == 300
    assert len(there(cache, key, favourites)) >= 990
    assert len(there(cache, key, range(1001, 2000, 2))) >= 450  # of the unused, it was the older half that went


def test_an_entry_as_large_as_many_takes_their_place(root: Path, key: Any, clock: Any, files: Any) -> None:
    cache = DiskCache(root, max_bytes=100 * KB, clock=clock)
    fill(cache, key, range(100), clock)
    fill(cache, key, [1000], size=60 * KB)
    assert there(cache, key, [1000]) == [1000]
    assert there(cache, key, range(100)) == list(range(60, 100))
    assert files.total() <= 100 * KB


def test_an_entry_over_the_limit_is_not_stored_and_nothing_goes_for_it(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root, max_bytes=10 * KB)
    fill(cache, key, range(10))
    fill(cache, key, [1000], size=10 * KB + 1)
    assert there(cache, key, [1000]) == []
    assert there(cache, key, range(10)) == list(range(10))
    fill(cache, key, [1000], size=10 * KB)
    assert there(cache, key, [1000]) == [1000]


def test_an_entry_over_the_limit_does_not_leave_an_older_one_in_its_place(root: Path, key: Any) -> None:
    cache = DiskCache(root, max_bytes=10 * KB)
    cache.set(key(), b"old")
    fence = cache.fence(key().did, key().cid)
    assert cache.set_fenced(key(), b"x" * 20 * KB, fence) is False
    assert cache.get(key()) is None


def test_each_cache_on_a_folder_keeps_its_own_limit(root: Path, key: Any, files: Any) -> None:
    large, small = DiskCache(root, max_bytes=100 * KB), DiskCache(root, max_bytes=20 * KB)
    fill(large, key, range(100))
    assert files.total() == 100 * KB
    fill(small, key, [100])
    assert files.total() <= 20 * KB


def test_cleanup_removes_what_is_expired_and_says_how_much(root: Path, key: Any, clock: Any, files: Any) -> None:
    cache = DiskCache(root, ttl_seconds=HOUR, clock=clock)
    fill(cache, key, range(30))
    clock.advance(HOUR / 2)
    fill(cache, key, range(30, 50))
    clock.advance(HOUR / 2 + 1)
    assert cache.cleanup() == 30
    assert len(files.entries()) == 20
    assert cache.size_bytes() == files.total()
    assert cache.cleanup() == 0


def test_cleanup_brings_the_cache_under_its_limit(root: Path, key: Any, files: Any) -> None:
    fill(DiskCache(root, max_bytes=100 * KB), key, range(100))
    assert DiskCache(root, max_bytes=30 * KB).cleanup() == 70
    assert files.total() == 30 * KB


def test_cleanup_sets_right_what_changed_behind_its_back(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root, max_bytes=100 * KB)
    fill(cache, key, range(100))
    for path in files.entries()[:90]:
        path.unlink()
    assert cache.cleanup() == 0
    assert cache.size_bytes() == files.total() == 10 * KB
    fill(cache, key, range(100, 190))
    assert files.total() == 100 * KB


def test_eviction_comes_to_terms_with_entries_that_others_removed(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root, max_bytes=100 * KB)
    fill(cache, key, range(100))
    for path in files.entries():
        path.unlink()
    fill(cache, key, range(100, 200))
    assert there(cache, key, [199]) == [199]
    assert files.total() <= 100 * KB


def test_old_temporary_files_are_swept_and_no_entries(root: Path, key: Any, clock: Any, files: Any) -> None:
    cache = DiskCache(root, max_bytes=100 * KB, clock=clock)
    fill(cache, key, range(3))
    orphan, fresh = root / "v1/.4567.tmp", root / "v1/.89ab.tmp"
    for path in (orphan, fresh):
        path.write_bytes(b"x" * 5000)
    os.utime(orphan, (0, clock.seconds - 2 * HOUR))
    assert cache.size_bytes() == 3 * KB
    assert cache.cleanup() == 0
    assert files.temps() == [fresh]
    assert cache.size_bytes() == 3 * KB
    clock.advance(-2 * HOUR)
    cache.cleanup()
    assert files.temps() == []


def test_entries_used_in_the_future_are_not_kept_for_ever(root: Path, key: Any, clock: Any, files: Any) -> None:
    cache = DiskCache(root, max_bytes=10 * KB, clock=clock, ttl_seconds=None)
    fill(cache, key, range(10), clock)
    for path in files.entries():
        os.utime(path, (clock.seconds + 10**8, clock.seconds))
    cache.cleanup()
    clock.advance(1)
    fill(cache, key, range(10, 30), clock)
    assert there(cache, key, range(30)) == list(range(20, 30))


def test_one_bad_folder_does_not_keep_cleanup_from_the_others(
    root: Path, key: Any, clock: Any, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DiskCache(root, ttl_seconds=HOUR, clock=clock)
    fill(cache, key, range(10))
    clock.advance(2 * HOUR)
    bad = files.entries()[0].parent
    left = len(list(bad.iterdir()))
    sweep = cache._eviction.sweep

    def fail_in_one(ledger: Any, shard: int) -> int:
        if f"{shard:03x}" == bad.name:
            raise OSError("the disk is bad here")
        return sweep(ledger, shard)

    monkeypatch.setattr(cache._eviction, "sweep", fail_in_one)
    with pytest.raises(OSError, match="bad here"):
        cache.cleanup()
    assert len(files.entries()) == left


def test_one_folder_that_cannot_be_used_does_not_stop_eviction(
    root: Path, key: Any, clock: Any, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DiskCache(root, max_bytes=100 * KB, clock=clock)
    fill(cache, key, range(100), clock)
    bad = files.entry_folder(key(0)).name
    child = Folder.child

    def failing(self: Folder, name: str, **options: Any) -> Folder:
        if name == bad:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return child(self, name, **options)

    monkeypatch.setattr(Folder, "child", failing)
    others = [number for number in range(100, 300) if files.entry_folder(key(number)).name != bad]
    fill(cache, key, others, clock)
    assert 90 * KB <= files.total() <= 100 * KB
    assert (root / "v1" / bad).exists()


def test_where_no_folder_can_be_used_eviction_fails_and_the_limit_holds(
    root: Path, key: Any, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DiskCache(root, max_bytes=10 * KB)
    fill(cache, key, range(10))

    def failing(self: Folder, name: str, **options: Any) -> Folder:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Folder, "child", failing)
    for number in range(10, 13):
        with pytest.raises(PermissionError):
            fill(cache, key, [number])
    monkeypatch.undo()
    assert files.total() == 10 * KB
    fill(cache, key, [20])
    assert there(cache, key, [20]) == [20]


def test_in_a_cache_that_turns_over_quickly_uses_are_noted_oftener(root: Path, key: Any, clock: Any) -> None:
    """It reaches back for 100 s: what was used a minute ago stays, which hourly stamps could not tell."""
    cache = DiskCache(root, max_bytes=100 * KB, clock=clock)
    fill(cache, key, range(200), clock)
    for number in range(200, 500):
        clock.advance(1)
        assert there(cache, key, [150]) == [150]
        fill(cache, key, [number])


def test_what_is_condemned_and_then_used_stays(root: Path, key: Any, clock: Any) -> None:
    """All in one folder: one scan condemns a quarter of it, and one of those is used before its turn comes."""
    variants = [f"avatar-{number:012x}" for number in range(80)]
    cache = DiskCache(root, max_bytes=80 * KB, clock=clock)
    for preset in variants:
        fill(cache, key, [0], preset=preset)
    clock.advance(2 * HOUR)
    fill(cache, key, [1], clock)
    ((_, condemned),) = cache._eviction._condemned
    (kept,) = (preset for preset in variants if locate(key(0, preset=preset)).file == condemned[0].name)
    assert there(cache, key, [0], preset=kept) == [0]
    fill(cache, key, range(2, 30), clock)
    assert there(cache, key, [0], preset=kept) == [0]


def test_what_is_condemned_may_be_gone_with_its_folder_when_its_turn_comes(
    root: Path, key: Any, clock: Any, files: Any
) -> None:
    cache = DiskCache(root, max_bytes=80 * KB, clock=clock)
    for number in range(80):
        fill(cache, key, [0], preset=f"avatar-{number:012x}")
    clock.advance(2 * HOUR)
    fill(cache, key, [1], clock)
    shutil.rmtree(files.entry_folder(key(0)))
    fill(cache, key, range(2, 160), clock)
    assert there(cache, key, range(100, 160)) == list(range(100, 160))
    assert cache.size_bytes() == files.total() <= 80 * KB


def test_threads_that_evict_at_once_agree(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root, max_bytes=50 * KB)

    def write(part: int) -> None:
        fill(cache, key, range(part * 1000, part * 1000 + 150))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert 45 * KB <= files.total() <= 56 * KB
    assert cache.size_bytes() == files.total()
