"""What DiskCache tells a command line and a monitor."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache
from imageproxy.caches._entry import owner_digest


def test_entries_tell_size_times_owner_and_folder(root: Path, key: Any, clock: Any, files: Any) -> None:
    cache = DiskCache(root, clock=clock)
    cache.set(key(), b"image")
    written = clock.seconds
    clock.advance(7200)
    cache.get(key())
    (entry,) = cache.entries()
    assert entry.size_bytes == files.total()
    assert entry.written == pytest.approx(written, abs=0.001)
    assert entry.used == pytest.approx(clock.seconds, abs=0.001)
    assert entry.owner == owner_digest(key().did)
    assert entry.shard == files.entry().parent.name
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.size_bytes = 0  # type: ignore[misc]


def test_entries_are_told_by_owner(root: Path, key: Any) -> None:
    cache = DiskCache(root)
    for number in range(30):
        cache.set(key(number, did=f"did:plc:{number % 3}"), b"image")
    owners = [entry.owner for entry in cache.entries()]
    assert sorted(owners.count(owner) for owner in set(owners)) == [10, 10, 10]


def test_entries_are_told_to_the_end_whatever_is_removed_meanwhile(root: Path, key: Any) -> None:
    cache = DiskCache(root)
    for number in range(30):
        cache.set(key(number), b"image")
    entries = cache.entries()
    next(entries)
    shutil.rmtree(root)
    assert len(list(entries)) < 29
    assert not root.exists()


def test_files_of_others_are_no_entries(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root)
    cache.set(key(), b"image")
    shard = files.entry().parent
    (shard / "README").write_text("not ours")
    (shard / ".0123.tmp").write_text("not yet")
    (root / "v1/3ff").symlink_to(shard)
    assert len(list(cache.entries())) == 1


def test_stats_tell_how_full_it_is(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root, max_bytes=100_000)
    for number in range(200):
        cache.set(key(number), b"x" * 1000)
        assert cache.stats() == {"bytes": files.total(), "max_bytes": 100_000}


def test_stats_of_a_broken_or_missing_ledger_make_nothing(root: Path, key: Any) -> None:
    cache = DiskCache(root)
    cache.set(key(), b"image")
    os.truncate(root / "v1/ledger", 10)
    assert cache.stats()["bytes"] == 0
    (root / "v1/ledger").unlink()
    assert cache.stats()["bytes"] == 0
    assert not (root / "v1/ledger").exists()


@pytest.mark.parametrize("what", ["cleanup", "verify"])
def test_progress_is_told_folder_by_folder(root: Path, key: Any, what: str) -> None:
    cache = DiskCache(root)
    cache.set(key(), b"image")
    told: list[tuple[int, int]] = []
    assert getattr(cache, what)(on_progress=lambda done, total: told.append((done, total))) == 0
    total = told[0][1]
    assert told == [(done, total) for done in range(1, total + 1)]


def test_verify_on_no_cache_tells_nothing(root: Path) -> None:
    told: list[int] = []
    assert DiskCache(root).verify(on_progress=lambda *_: told.append(1)) == 0
    assert told == []
    assert not root.exists()
