"""The small parts of the disk cache, where a test of the whole cannot reach them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache
from imageproxy.caches._entry import SHARDS, is_entry_name, is_trailer, locate, shards_of_owner, trailer
from imageproxy.caches._folder import Folder
from imageproxy.caches._ledger import UNKNOWN, Ledger
from imageproxy.caches._locks import _OpenFiles
from imageproxy.protocols import CacheKey


def test_names_are_the_same_in_every_version() -> None:
    """Golden: whoever changes them raises FORMAT."""
    name = locate(CacheKey("avatar-0f1e2d3c4b5a", "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "bafkreimadeup", "image/jpeg"))
    assert name.folder == "07f"
    assert (
        name.file == "099e4ea96cd62c05a232331859d20c977ffb1c3aab248c8dba5cf7b9e94f3564ddd70522f0dbdd549623a23851ebf6c8"
    )


def test_names_are_in_the_shards_of_their_owner() -> None:
    shards = set()
    for number in range(2000):
        name = locate(CacheKey("avatar", f"did:plc:{number % 40}", f"bafkrei{number}", "image/jpeg"))
        assert is_entry_name(name.file)
        assert name.shard in shards_of_owner(name.owner)
        assert int(name.folder, 16) == name.shard < SHARDS
        shards.add(name.shard)
    assert len(shards) > 500


def test_texts_that_run_together_the_same_way_have_names_of_their_own() -> None:
    one, other = CacheKey("ab", "did:a", "bc", "c"), CacheKey("a", "did:ab", "c", "bc")
    assert locate(one).blob != locate(other).blob
    assert locate(one).file[-32:] != locate(other).file[-32:]


@pytest.mark.parametrize("name", ["", ".0123.tmp", "0" * 95, "0" * 97, "A" * 96, "g" * 96, "0" * 95 + "\n"])
def test_other_files_are_no_entries(name: str) -> None:
    assert not is_entry_name(name)


def test_a_trailer_tells_its_length() -> None:
    end = trailer("0" * 96, b"data")
    assert is_trailer(end, 4)
    assert not is_trailer(end, 5)
    assert not is_trailer(end[:-1], 4)
    assert not is_trailer(bytes(len(end)), 0)


def test_a_scan_leaves_out_what_vanishes_meanwhile(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / str(number)).write_bytes(b"x")
    with Folder.open(str(tmp_path)) as folder:
        found = []
        for file in folder.scan(str.isdigit):
            found.append(file.name)
            for path in tmp_path.iterdir():
                path.unlink()
        assert len(found) == 1


def test_a_scan_looks_at_nothing_but_what_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []

    class Found:
        def __init__(self, name: str) -> None:
            self.name = name

        def stat(self, *, follow_symlinks: bool) -> os.stat_result:
            looked_at.append(self.name)
            return tmp_path.stat()

    @contextlib.contextmanager
    def scandir(_: object) -> Iterator[Iterator[Found]]:
        yield map(Found, ["1", "foreign", "2"])

    with Folder.open(str(tmp_path)) as folder, monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        list(folder.scan(str.isdigit))
    assert looked_at == ["1", "2"]


def test_a_child_closes_the_folders_of_its_parent(tmp_path: Path) -> None:
    folders = _OpenFiles()
    fd = folders.add(os.open(tmp_path, os.O_RDONLY))
    folders._reset_after_fork()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)
    folders._reset_after_fork()


def leave_wrong(root: Path, size: int) -> None:
    """As a process that is killed between the change of a shard's size and that of the sum."""
    with Ledger.open(f"{root}/v1") as ledger:
        ledger._write(size.to_bytes(8, "little"), 8)
        assert ledger.summary().size == size


def test_a_sum_that_was_left_too_small_is_set_right_by_cleanup(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root)
    for number in range(20):
        cache.set(key(number), b"x" * 980)
    leave_wrong(root, 0)
    assert DiskCache(root, max_bytes=10_000).cleanup() == 10
    assert cache.stats()["bytes"] == files.total() == 10_000


def test_a_sum_that_was_left_too_large_costs_no_more_than_a_few_entries(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root, max_bytes=100_000)
    for number in range(50):
        cache.set(key(number), b"x" * 980)
    leave_wrong(root, 10**9)
    cache.set(key(50), b"x" * 980)
    assert cache.stats()["bytes"] == files.total() >= 48_000


def test_a_shard_without_a_measure_stays_so_whatever_comes(root: Path) -> None:
    shard = 7
    (root / "v1" / "007").mkdir(parents=True)
    with Ledger.open(f"{root}/v1") as ledger:
        ledger.add(shard, 1000, used=5)
        assert ledger.shard(shard) == (UNKNOWN, 0)
        assert ledger.summary().size == 0
        ledger.put(shard, 3000, 5)
        ledger.add(shard, 1000, used=4)
        assert ledger.shard(shard) == (4000, 4)
        ledger.add(shard, -9000)
        assert ledger.shard(shard) == (0, 4)
        assert ledger.summary().size == 0
