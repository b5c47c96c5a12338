"""DiskCache on a bad disk, or with somebody else's hands in its folder."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache, _folder
from imageproxy.caches._folder import Folder


@pytest.fixture(params=[0, 10], ids=["cold", "hot"])
def cache(request: Any, root: Path, key: Any, clock: Any) -> DiskCache:
    """A cache with one entry, which was read as often as the parameter says."""
    cache = DiskCache(root, clock=clock)
    cache.set(key(), b"image " * 5000)
    for _ in range(request.param):
        assert cache.get(key()) == b"image " * 5000
    return cache


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def lose_the_tail(path: Path) -> None:
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2] + bytes(size - size // 2))


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def put_another_file_there(path: Path) -> None:
    path.write_bytes(b"\xff\xd8\xff\xe0 a JPEG that the cache did not write" * 100)


@pytest.mark.parametrize("damage", [cut, empty, zero, lose_the_tail, lengthen, put_another_file_there])
def test_a_damaged_entry_is_a_miss_and_removed(cache: DiskCache, key: Any, files: Any, damage: Any) -> None:
    damage(files.entry())
    assert cache.get(key()) is None
    assert files.entries() == []
    cache.set(key(), b"again")
    assert cache.get(key()) == b"again"


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)


def swap_with_another(path: Path) -> None:
    other = path.with_name("0" * 96)
    shutil.copy(path, other)


def test_verify_finds_flipped_bits_and_entries_under_a_wrong_name(cache: DiskCache, key: Any, files: Any) -> None:
    cache.set(key(1), b"whole")
    flip_a_bit(next(path for path in files.entries() if path.stat().st_size > 1000))
    swap_with_another(next(path for path in files.entries() if path.stat().st_size < 1000))
    assert cache.verify() == 2
    assert cache.get(key()) is None
    assert cache.get(key(1)) == b"whole"
    assert cache.verify() == 0


def test_verify_finds_what_is_not_whole(cache: DiskCache, files: Any) -> None:
    cut(files.entry())
    assert cache.verify() == 1
    assert files.entries() == []


def test_with_checksums_a_flipped_bit_is_a_miss_on_every_read(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root, checksums=True)
    cache.set(key(), b"image " * 5000)
    for _ in range(10):
        assert cache.get(key()) == b"image " * 5000
    flip_a_bit(files.entry())
    assert cache.get(key()) is None
    assert files.entries() == []


def test_a_link_in_the_place_of_an_entry_is_not_followed(
    cache: DiskCache, key: Any, files: Any, tmp_path: Path
) -> None:
    path = files.entry()
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    assert cache.get(key()) is None
    assert cache.verify() == 0
    cache.cleanup()
    cache.set(key(), b"new")
    assert cache.get(key()) == b"new"
    assert not path.is_symlink()
    assert elsewhere.read_bytes() == before


def test_purge_removes_a_link_and_not_what_it_points_to(cache: DiskCache, key: Any, files: Any, tmp_path: Path) -> None:
    path = files.entry()
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert cache.purge(key().did, key().cid) == 1
    assert not path.is_symlink()
    assert (tmp_path / "elsewhere").exists()


def test_a_link_in_the_place_of_a_shard_is_not_followed(root: Path, key: Any, files: Any, tmp_path: Path) -> None:
    cache = DiskCache(root)
    cache.set(key(), b"image")
    assert cache.get(key()) == b"image"
    shard = files.entry().parent
    elsewhere = tmp_path / "elsewhere"
    shard.rename(elsewhere)
    shard.symlink_to(elsewhere)
    names = sorted(elsewhere.iterdir())
    assert cache.get(key()) is None
    assert cache.purge(key().did) == 0
    assert cache.verify() == 0
    assert cache.cleanup() == 0
    with pytest.raises(NotADirectoryError):
        cache.set(key(), b"new")
    assert sorted(elsewhere.iterdir()) == names
    assert cache.size_bytes() == 0


def test_a_link_in_the_place_of_the_base_is_not_followed(
    cache: DiskCache, root: Path, key: Any, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (root / "v1").rename(elsewhere)
    (root / "v1").symlink_to(elsewhere)
    fresh = DiskCache(root)
    before = sorted((path, path.stat().st_mtime_ns) for path in elsewhere.rglob("*"))
    assert fresh.get(key()) is None
    assert list(fresh.entries()) == []
    for call in (
        lambda: fresh.set(key(), b"new"),
        lambda: fresh.purge(key().did),
        lambda: fresh.delete(key()),
        fresh.cleanup,
        fresh.size_bytes,
    ):
        with pytest.raises(NotADirectoryError):
            call()
    assert fresh.verify() == 0
    assert sorted((path, path.stat().st_mtime_ns) for path in elsewhere.rglob("*")) == before


def test_a_link_in_the_place_of_the_base_is_noticed_by_who_has_read_before(
    root: Path, key: Any, clock: Any, tmp_path: Path
) -> None:
    cache = DiskCache(root, clock=clock)
    cache.set(key(), b"image")
    assert cache.get(key()) == b"image"
    (root / "v1").rename(tmp_path / "elsewhere")
    (root / "v1").symlink_to(tmp_path / "elsewhere")
    clock.advance(1)
    assert cache.get(key()) is None


def test_the_root_may_be_a_link(root: Path, key: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    root.symlink_to(tmp_path / "elsewhere")
    cache = DiskCache(root)
    cache.set(key(), b"image")
    assert cache.get(key()) == b"image"
    assert cache.purge(key().did) == 1


def test_another_version_of_the_library_on_the_same_folder_is_left_alone(
    cache: DiskCache, root: Path, key: Any, files: Any
) -> None:
    entry = files.entry()
    other = root / "v2" / entry.parent.name / entry.name
    other.parent.mkdir(parents=True)
    other.write_bytes(b"what another version keeps")
    assert cache.purge(key().did) == 1
    assert cache.cleanup() == cache.verify() == cache.size_bytes() == 0
    assert other.read_bytes() == b"what another version keeps"


@pytest.mark.parametrize("goes", ["is evicted", "is purged", "is replaced", "loses its folder"])
def test_who_reads_an_entry_while_it_goes_reads_it_to_the_end(
    root: Path, key: Any, monkeypatch: pytest.MonkeyPatch, goes: str
) -> None:
    cache, other = DiskCache(root), DiskCache(root, max_bytes=350_000)
    cache.set(key(), b"image" * 50_000)
    fstat = os.fstat

    def interrupted(fd: int) -> os.stat_result:
        monkeypatch.undo()
        if goes == "is evicted":
            other.set(key(1), b"x" * 300_000)
        elif goes == "is purged":
            assert other.purge(key().did) == 1
        elif goes == "is replaced":
            other.set(key(), b"new")
        else:
            shutil.rmtree(root)
        return fstat(fd)

    monkeypatch.setattr(os, "fstat", interrupted)
    assert cache.get(key()) == b"image" * 50_000
    assert cache.get(key()) == (b"new" if goes == "is replaced" else None)


def test_a_link_in_the_place_of_a_shard_does_not_stop_eviction(
    root: Path, key: Any, files: Any, tmp_path: Path
) -> None:
    cache = DiskCache(root, max_bytes=10_000)
    cache.set(key(0), b"x" * 4000)
    shard = files.entry().parent
    shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    for number in range(1, 5):
        cache.set(key(number), b"x" * 4000)
    assert cache.get(key(4)) is not None
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


@pytest.mark.parametrize("other", ["link", "folder", "pipe"])
def test_a_hit_does_without_the_ledger(root: Path, key: Any, tmp_path: Path, other: str) -> None:
    DiskCache(root).set(key(), b"image")
    ledger = root / "v1/ledger"
    ledger.rename(tmp_path / "elsewhere")
    if other == "link":
        ledger.symlink_to(tmp_path / "elsewhere")
    elif other == "folder":
        ledger.mkdir()
    else:
        os.mkfifo(ledger)
    assert DiskCache(root).get(key()) == b"image"


def test_a_link_in_the_place_of_the_ledger_is_replaced(
    cache: DiskCache, root: Path, key: Any, files: Any, tmp_path: Path
) -> None:
    (root / "v1/ledger").rename(tmp_path / "elsewhere")
    (root / "v1/ledger").symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    cache.set(key(1), b"image")
    assert cache.get(key(1)) == b"image"
    assert not (root / "v1/ledger").is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == before


def test_a_pipe_in_the_place_of_an_entry_is_a_miss_and_waits_for_nobody(cache: DiskCache, key: Any, files: Any) -> None:
    path = files.entry()
    path.unlink()
    os.mkfifo(path)
    assert cache.get(key()) is None
    cache.set(key(), b"new")
    assert cache.get(key()) == b"new"


def test_a_folder_in_the_place_of_an_entry_is_a_miss(cache: DiskCache, key: Any, files: Any) -> None:
    path = files.entry()
    path.unlink()
    path.mkdir()
    assert cache.get(key()) is None
    with pytest.raises(OSError, match=r"director|exists"):
        cache.set(key(), b"new")
    assert files.temps() == []


def test_files_of_others_are_left_alone(cache: DiskCache, files: Any) -> None:
    other = files.entry().parent / "README"
    other.write_text("not ours")
    size = cache.size_bytes()
    assert cache.cleanup() == cache.verify() == 0
    assert other.exists()
    assert cache.size_bytes() == size


def test_a_folder_removed_under_the_cache_is_made_again(cache: DiskCache, root: Path, key: Any, files: Any) -> None:
    shutil.rmtree(root)
    assert cache.get(key()) is None
    assert cache.size_bytes() == cache.cleanup() == cache.purge(key().did) == 0
    cache.set(key(), b"new")
    assert cache.get(key()) == b"new"
    shutil.rmtree(files.entry().parent)
    assert cache.get(key()) is None
    cache.set(key(), b"newer")
    assert cache.get(key()) == b"newer"
    cache.cleanup()  # which finds out what was taken away behind the ledger's back
    assert cache.size_bytes() == files.total()


@pytest.mark.parametrize("gone", ["root", "shard"])
def test_a_folder_removed_in_the_middle_of_a_write_is_made_again(
    root: Path, key: Any, files: Any, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    cache = DiskCache(root)
    cache.set(key(), b"old")
    doomed = root if gone == "root" else files.entry().parent

    write_temp = Folder.write_temp
    removals: list[Path] = []

    def interrupted(self: Folder, *chunks: bytes, written: int) -> str:
        name = write_temp(self, *chunks, written=written)
        if not removals:
            removals.append(doomed)
            shutil.rmtree(doomed)
        return name

    monkeypatch.setattr(Folder, "write_temp", interrupted)
    cache.set(key(), b"new")
    assert cache.get(key()) == b"new"
    assert files.temps() == []


@pytest.mark.parametrize("damage", [cut, empty, zero, Path.unlink])
def test_a_lost_ledger_is_made_good(root: Path, key: Any, files: Any, damage: Any) -> None:
    cache = DiskCache(root, max_bytes=100_000)
    for number in range(30):
        cache.set(key(number), b"x" * 1000)
    damage(root / "v1/ledger")
    cache = DiskCache(root, max_bytes=100_000)
    assert cache.size_bytes() == files.total()
    for number in range(200):
        cache.set(key(number), b"y" * 1000)
    assert cache.size_bytes() == files.total() <= 100_000


def test_a_lost_ledger_is_made_good_by_writes_alone(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root, max_bytes=50_000)
    for number in range(40):
        cache.set(key(number), b"x" * 1000)
    (root / "v1/ledger").unlink()
    for number in range(40, 160):
        cache.set(key(number), b"x" * 1000)
    assert files.total() <= 50_000


def test_a_write_that_began_before_the_ledger_was_lost_is_not_trusted(root: Path, key: Any) -> None:
    cache = DiskCache(root)
    fence = cache.fence(key().did, key().cid)
    cache.purge(key().did)
    shutil.rmtree(root)
    cache.set(key(1), b"image")
    assert cache.set_fenced(key(), b"image", fence) is False


def test_a_path_that_is_no_folder_fails_the_write_and_is_a_miss_for_the_reader(tmp_path: Path, key: Any) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = DiskCache(tmp_path / "file" / "cache")
    assert cache.get(key()) is None
    assert cache.purge(key().did) == 0
    with pytest.raises(OSError, match=r"directory|exists"):
        cache.set(key(), b"image")
    fence = cache.fence(key().did, key().cid)
    with pytest.raises(OSError, match=r"directory|exists"):
        cache.set_fenced(key(), b"image", fence)


def test_a_fence_taken_while_the_folder_was_unusable_stores_nothing_later(root: Path, key: Any) -> None:
    root.write_text("in the way")
    cache = DiskCache(root)
    fence = cache.fence(key().did, key().cid)
    root.unlink()
    assert cache.set_fenced(key(), b"image", fence) is False
    assert cache.get(key()) is None


def test_a_write_that_the_system_cuts_short_leaves_the_old_entry_and_no_file(
    root: Path, key: Any, files: Any, python: Any
) -> None:
    """A limit on the size of files does what a full disk does: it takes a part of the data, and then fails."""
    cache = DiskCache(root)
    cache.set(key(), b"old")
    process = python(
        """
import resource
cache = DiskCache(root)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    cache.set(key(), b"x" * 300_000)
except OSError as error:
    tell(error.errno)
cache.set(key(1), b"small")
"""
    )
    out, _ = process.communicate()
    assert out.split() == [str(errno.EFBIG)]
    assert process.returncode == 0
    assert cache.get(key()) == b"old"
    assert cache.get(key(1)) == b"small"
    assert files.temps() == []
    assert cache.size_bytes() == files.total()


@pytest.mark.parametrize("failing", ["write_all", "os.utime", "os.close"])
def test_a_write_that_fails_leaves_the_old_entry_and_no_file(
    root: Path, key: Any, files: Any, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    cache = DiskCache(root)
    cache.set(key(), b"old")
    close = os.close

    def fail(fd: int, *_: object, **__: object) -> None:
        if failing == "os.close":
            monkeypatch.undo()  # the one descriptor that was written to
            close(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    if failing == "os.close":
        monkeypatch.setattr(_folder, "write_all", lambda *_: monkeypatch.setattr(os, "close", fail))
    else:
        monkeypatch.setattr(f"imageproxy.caches._folder.{failing}", fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        cache.set(key(), b"new")
    monkeypatch.undo()
    assert cache.get(key()) == b"old"
    assert files.temps() == []
    assert cache.size_bytes() == files.total()


def test_a_ledger_that_cannot_be_made_fails_the_write_and_leaves_no_file(
    root: Path, key: Any, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", fail)
    cache = DiskCache(root)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        cache.set(key(), b"image")
    assert files.temps() == files.entries() == []
    monkeypatch.undo()
    cache.set(key(), b"image")
    assert cache.get(key()) == b"image"


def test_without_descriptors_it_fails_and_then_recovers(root: Path, key: Any, files: Any, python: Any) -> None:
    DiskCache(root).set(key(), b"image")
    process = python(
        """
import errno, os, resource
cache = DiskCache(root)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for call in (lambda: cache.get(key()), lambda: cache.set(key(), b"new")):
    try:
        call()
    except OSError as error:
        tell(errno.errorcode[error.errno])
for fd in taken:
    os.close(fd)
tell(cache.get(key()).decode())
cache.set(key(), b"new")
tell(cache.get(key()).decode())
"""
    )
    assert process.communicate()[0].split() == ["EMFILE", "EMFILE", "image", "new"]
    assert files.temps() == []


# Rights do not apply to root, so that the other process goes on as nobody, once it has loaded what it needs.
AS_SOMEBODY = """
import os
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
cache = DiskCache(sys.argv[2])
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody can get to, unlike the one of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "cache"
        for path in Path(folder).rglob("*"):
            if path.is_dir():
                path.chmod(0o755)


def test_a_folder_that_can_only_be_read_still_serves_its_images(shared: Path, key: Any, python: Any) -> None:
    DiskCache(shared).set(key(), b"image")
    (entry,) = shared.glob("v1/*/*")
    os.utime(entry, (0, entry.stat().st_mtime))  # long unused: a read would mark it as used
    for path in (entry, shared / "v1/ledger"):
        path.chmod(0o444)
    for path in (entry.parent, shared / "v1", shared):
        path.chmod(0o555)
    process = python(
        AS_SOMEBODY
        + """
for _ in range(10):
    assert cache.get(key()) == b"image"
try:
    cache.set(key(1), b"image")
except OSError as error:
    tell(type(error).__name__)
""",
        str(shared),
    )
    assert process.communicate()[0].split() == ["PermissionError"]


def test_a_forbidden_folder_is_an_error_for_the_reader_too(shared: Path, key: Any, python: Any) -> None:
    DiskCache(shared).set(key(), b"image")
    (shard,) = shared.glob("v1/???")
    shard.chmod(0)
    process = python(
        AS_SOMEBODY
        + """
try:
    cache.get(key())
except OSError as error:
    tell(type(error).__name__)
""",
        str(shared),
    )
    assert process.communicate()[0].split() == ["PermissionError"]
