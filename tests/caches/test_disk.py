"""DiskCache: options, TTL, the time of the last use, and what is on the disk."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from imageproxy.caches import DiskCache
from imageproxy.errors import ConfigError
from imageproxy.protocols import Cache, SupportsCleanup, SupportsFences, SupportsNonBlocking, SupportsStats

DAY = 86400.0
HOUR = 3600.0


def test_it_has_the_powers_that_a_service_looks_for(root: Path) -> None:
    cache = DiskCache(root)
    assert isinstance(cache, Cache)
    assert isinstance(cache, SupportsCleanup)
    assert isinstance(cache, SupportsFences)
    assert isinstance(cache, SupportsStats)
    assert isinstance(cache, SupportsNonBlocking)
    assert cache.is_nonblocking is True


def test_nothing_is_touched_before_the_first_write(root: Path, key: Any) -> None:
    cache = DiskCache(root)
    assert cache.get(key()) is None
    assert cache.purge("did:plc:a") == 0
    assert cache.delete(key()) is False
    assert cache.cleanup() == cache.verify() == cache.size_bytes() == 0
    assert list(cache.entries()) == []
    assert cache.stats()["bytes"] == 0
    assert not root.exists()


def test_the_default_folder_is_the_users_cache_folder() -> None:
    assert DiskCache().root == platformdirs.user_cache_path("imageproxy", appauthor=False)


def test_a_relative_folder_stays_where_it_was(tmp_path: Path, key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache = DiskCache("here")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    cache.set(key(), b"image")
    assert (tmp_path / "here").is_dir()
    assert cache.get(key()) == b"image"
    assert repr(cache) == f"DiskCache({str(tmp_path / 'here')!r})"


@pytest.mark.parametrize(
    ("options", "option"),
    [
        *(({"max_bytes": value}, "max_bytes") for value in (0, "10", 1.5, True, float("nan"))),
        *(({"ttl_seconds": value}, "ttl_seconds") for value in (0, float("inf"), float("nan"), "3", True)),
        *(({"root": value}, "root") for value in ("", 7)),
    ],
)
def test_an_option_that_cannot_be_meant_is_named(options: Any, option: str) -> None:
    with pytest.raises(ConfigError, match=option) as raised:
        DiskCache(**options)
    assert raised.value.option == option


def test_names_on_disk_are_hex_digests(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root)
    for did in ("did:plc:../../x", "did:plc:a\0b", "did:web:UPPER.example", "did:plc:" + "x" * 2000, "did:plc:\udc80"):
        cache.set(key(did=did), b"image")
        assert cache.get(key(did=did)) == b"image"
    entries = files.entries()
    assert len(entries) == 5
    for path in entries:
        assert set(path.name) | set(path.parent.name) <= set("0123456789abcdef")
        assert len(path.name) == 96
    assert {path.name for path in root.iterdir()} == {"v1"}


def test_case_twins_have_names_of_their_own_whatever_the_file_system_makes_of_case(
    root: Path, key: Any, files: Any
) -> None:
    cache = DiskCache(root)
    for did in ("did:plc:Twin", "did:plc:twin", "did:plc:TWIN"):
        cache.set(key(did=did), did.encode())
    assert len({path.name.lower() for path in files.entries()}) == 3
    assert cache.get(key(did="did:plc:twin")) == b"did:plc:twin"
    assert cache.purge("did:plc:Twin") == 1


def test_every_variant_of_a_blob_is_in_one_folder(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root)
    for preset in ("avatar", "banner", "content", "square"):
        cache.set(key(preset=preset), b"image")
    assert len({path.parent for path in files.entries()}) == 1
    assert len(files.entries()) == 4


def test_another_cache_on_the_same_folder_finds_the_images(root: Path, key: Any) -> None:
    DiskCache(root).set(key(), b"image")
    assert DiskCache(root).get(key()) == b"image"


def test_delete_removes_one_entry(root: Path, key: Any) -> None:
    cache = DiskCache(root)
    cache.set(key(1), b"image")
    cache.set(key(2), b"image")
    assert cache.delete(key(1)) is True
    assert cache.delete(key(1)) is False
    assert cache.get(key(1)) is None
    assert cache.get(key(2)) == b"image"


def test_an_entry_expires_a_ttl_after_it_was_written_however_often_it_is_read(root: Path, key: Any, clock: Any) -> None:
    cache = DiskCache(root, ttl_seconds=30 * DAY, clock=clock)
    cache.set(key(), b"image")
    for _ in range(29):
        clock.advance(DAY)
        for _ in range(10):
            assert cache.get(key()) == b"image"
    clock.advance(DAY + 1)
    assert cache.get(key()) is None


def test_writing_an_entry_again_renews_it(root: Path, key: Any, clock: Any) -> None:
    cache = DiskCache(root, ttl_seconds=DAY, clock=clock)
    cache.set(key(), b"old")
    clock.advance(DAY - 1)
    cache.set(key(), b"new")
    clock.advance(DAY - 1)
    assert cache.get(key()) == b"new"


def test_a_hot_entry_expires_on_time(root: Path, key: Any, clock: Any) -> None:
    cache = DiskCache(root, ttl_seconds=DAY, clock=clock)
    cache.set(key(), b"image")
    clock.advance(DAY - 0.25)
    for _ in range(20):
        assert cache.get(key()) == b"image"
    clock.advance(0.5)
    assert cache.get(key()) is None


def test_without_a_ttl_nothing_expires(root: Path, key: Any, clock: Any) -> None:
    cache = DiskCache(root, ttl_seconds=None, clock=clock)
    cache.set(key(), b"image")
    clock.advance(10_000 * DAY)
    assert cache.get(key()) == b"image"
    assert cache.cleanup() == 0


def test_a_read_sets_the_time_of_the_last_use_at_most_hourly_and_never_the_time_written(
    root: Path, key: Any, clock: Any, files: Any
) -> None:
    cache = DiskCache(root, clock=clock)
    cache.set(key(), b"image")
    written = files.entry().stat().st_mtime_ns
    assert written == pytest.approx(clock.seconds * 1e9, abs=1000)

    clock.advance(2 * HOUR)
    cache.get(key())
    used = files.entry().stat().st_atime
    assert used == pytest.approx(clock.seconds, abs=0.001)

    clock.advance(0.5 * HOUR)
    cache.get(key())
    assert files.entry().stat().st_atime == used
    assert files.entry().stat().st_mtime_ns == written


def test_a_hot_entry_is_still_marked_as_used(root: Path, key: Any, clock: Any, files: Any) -> None:
    cache = DiskCache(root, clock=clock)
    cache.set(key(), b"image")
    for _ in range(20):
        cache.get(key())
    clock.advance(2 * HOUR)
    cache.get(key())
    assert files.entry().stat().st_atime == pytest.approx(clock.seconds, abs=0.001)


def test_a_hot_entry_is_seen_to_be_replaced_at_once(root: Path, key: Any, clock: Any) -> None:
    reader, writer = DiskCache(root, clock=clock), DiskCache(root, clock=clock)
    for data in (b"one image", b"other one", b"a longer image", b"short"):
        writer.set(key(), data)
        for _ in range(10):
            assert reader.get(key()) == data


def test_a_hot_entry_is_seen_to_be_purged_at_once(root: Path, key: Any) -> None:
    reader, purger = DiskCache(root), DiskCache(root)
    reader.set(key(), b"image")
    for _ in range(10):
        assert reader.get(key()) == b"image"
    assert purger.purge(key().did) == 1
    assert reader.get(key()) is None


def test_many_keys_are_remembered_within_bounds(root: Path, key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imageproxy.caches.disk._MAX_REMEMBERED", 10)
    cache = DiskCache(root)
    for number in range(25):
        cache.set(key(number), b"image")
        assert cache.get(key(number)) == b"image"
        assert len(cache._seen) <= 10


def test_a_clock_set_back_or_forward_expires_nothing_and_keeps_nothing(
    root: Path, key: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DiskCache(root, ttl_seconds=DAY)
    cache.set(key(1), b"image")
    real = time.time
    for jump in (400 * DAY, -400 * DAY):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        assert cache.get(key(1)) == b"image"
        assert cache.cleanup() == 0
        cache.set(key(2), b"image")
        monkeypatch.undo()
        assert cache.get(key(2)) == b"image"


def test_a_clock_that_is_behind_ages_nothing(root: Path, key: Any, clock: Any) -> None:
    cache = DiskCache(root, ttl_seconds=30 * DAY, clock=clock)
    cache.set(key(), b"image")
    clock.advance(-20 * DAY)
    assert cache.get(key()) == b"image"
    assert cache.cleanup() == 0
    clock.advance(20 * DAY)
    assert cache.get(key()) == b"image"


@pytest.mark.parametrize("look", ["get", "cleanup"])
def test_an_entry_from_the_far_future_is_not_immortal(root: Path, key: Any, clock: Any, files: Any, look: str) -> None:
    cache = DiskCache(root, ttl_seconds=DAY, clock=clock)
    cache.set(key(), b"image")
    future = clock.seconds + 5000 * DAY
    os.utime(files.entry(), (future, future))
    assert cache.get(key()) == b"image" if look == "get" else cache.cleanup() == 0
    clock.advance(DAY + 1)
    assert cache.get(key()) is None
    assert cache.cleanup() == 1
    assert files.entries() == []


def test_an_expired_entry_stays_until_cleanup_in_case_the_clock_is_wrong(root: Path, key: Any, clock: Any) -> None:
    cache = DiskCache(root, ttl_seconds=DAY, clock=clock)
    cache.set(key(), b"image")
    clock.advance(400 * DAY)
    assert cache.get(key()) is None
    clock.advance(-400 * DAY)
    assert cache.get(key()) == b"image"


def test_size_is_what_the_files_of_the_entries_take(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root)
    for number in range(20):
        cache.set(key(number), b"x" * 1000 * number)
    assert cache.size_bytes() == files.total()
    cache.set(key(3), b"a smaller one")
    cache.delete(key(4))
    cache.purge(key().did, key(5).cid)
    assert cache.size_bytes() == files.total()
    cache.purge(key().did)
    assert cache.size_bytes() == files.total() == 0


@pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o777])
def test_what_it_makes_is_its_users_alone_whatever_the_umask(tmp_path: Path, key: Any, umask: int) -> None:
    old = os.umask(umask)
    try:
        DiskCache(tmp_path / "new" / "cache").set(key(), b"image")
    finally:
        os.umask(old)
    made = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o600}
    assert len(made) == 6  # two folders, the version's, the ledger, a shard and the entry


def test_a_folder_that_is_there_keeps_its_rights(root: Path, key: Any) -> None:
    root.mkdir()
    root.chmod(0o755)
    DiskCache(root).set(key(), b"image")
    assert stat.S_IMODE(root.stat().st_mode) == 0o755


def test_no_descriptor_is_left_open(root: Path, key: Any) -> None:
    cache = DiskCache(root)

    def use() -> None:
        for number in range(5):
            cache.set(key(number), b"image")
            fence = cache.fence(key(number).did, key(number).cid)
            cache.set_fenced(key(number), b"image", fence)
            assert cache.get(key(number)) == b"image"
        cache.cleanup()
        cache.verify()
        cache.size_bytes()
        cache.stats()
        next(cache.entries())  # and left there
        cache.purge(key().did)

    use()
    before = len(list(Path("/dev/fd").iterdir()))
    use()
    assert len(list(Path("/dev/fd").iterdir())) == before
