"""DiskCache goes on, and keeps its books, where a part fails or a process dies or stops in the middle of a change."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imageproxy import CachePurgeError
from imageproxy.caches import DiskCache, _locks
from imageproxy.caches._folder import Folder
from imageproxy.caches._ledger import Ledger

KB = 1000
DAY = 86400


def put_a_folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def test_a_purge_of_an_owner_removes_what_it_can(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root)
    for number in range(100):
        cache.set(key(number), b"image")
    bad = files.entries()[0]
    put_a_folder_in_its_place(bad)
    fence = cache.fence(key().did, key().cid)
    with pytest.raises(CachePurgeError) as caught:
        cache.purge(key().did)
    assert (caught.value.removed, caught.value.failed) == (99, ("DiskCache",))
    assert files.entries() == [bad]
    assert cache.fence(key().did, key().cid) != fence
    with pytest.raises(OSError, match=r"directory|permitted"):  # nothing went, so there is no part to tell of
        cache.purge(key().did)


def test_a_purge_that_fails_raises_the_second_mark(root: Path, key: Any, files: Any, monkeypatch: Any) -> None:
    cache = DiskCache(root)
    cache.set(key(), b"image")
    raised: list[str] = []
    raise_fence = Ledger.raise_fence

    def counting(self: Ledger, did: str, cid: str | None) -> None:
        raised.append(did)
        raise_fence(self, did, cid)

    def interrupt(self: Folder, name: str) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(Ledger, "raise_fence", counting)
    monkeypatch.setattr(Folder, "unlink", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.purge(key().did, key().cid)
    assert len(raised) == 2
    assert cache._seen == {}


def test_verify_and_entries_go_on_after_a_folder_that_cannot_be_read(
    root: Path, key: Any, files: Any, monkeypatch: Any
) -> None:
    cache = DiskCache(root)
    for number in range(20):
        cache.set(key(number), b"image")
    bad, last = files.entries()[0], files.entries()[-1]
    os.truncate(last, 3)
    child = Folder.child

    def failing(self: Folder, name: str, **options: Any) -> Folder:
        if name == bad.parent.name:
            raise PermissionError(errno.EACCES, "not yours")
        return child(self, name, **options)

    monkeypatch.setattr(Folder, "child", failing)
    with pytest.raises(PermissionError):
        cache.verify()
    assert not last.exists()
    found: list[str] = []
    with pytest.raises(PermissionError):
        found.extend(info.shard for info in cache.entries())
    assert len(found) == len([path for path in files.entries() if path.parent != bad.parent])


def test_a_write_that_is_killed_after_its_entry_came_is_counted(root: Path, key: Any, files: Any, python: Any) -> None:
    DiskCache(root).set(key(0), b"x")
    process = python(
        """
import os, signal
from imageproxy.caches._folder import Folder
move = Folder.move
def killed(self, *args):
    move(self, *args)
    os.kill(os.getpid(), signal.SIGKILL)
Folder.move = killed
DiskCache(root).set(key(1), b"y" * 5000)
"""
    )
    assert process.wait() == -signal.SIGKILL
    cache = DiskCache(root)
    assert cache.get(key(1)) == b"y" * 5000
    assert cache.size_bytes() == files.total()


@pytest.mark.parametrize("failing", [(Ledger, "add"), (Folder, "move")], ids=["counting", "moving"])
def test_a_write_that_fails_at_the_end_is_not_counted(
    root: Path, key: Any, files: Any, monkeypatch: Any, failing: tuple[type, str]
) -> None:
    cache = DiskCache(root)
    cache.set(key(0), b"x")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "bad disk")

    with monkeypatch.context() as patch:
        patch.setattr(*failing, fail)
        with pytest.raises(OSError, match="bad disk"):
            cache.set(key(1), b"y" * 5000)
    assert cache.get(key(1)) is None
    assert files.temps() == []
    assert cache.size_bytes() == files.total()


def test_what_a_removal_freed_before_it_failed_is_counted(root: Path, key: Any, files: Any, monkeypatch: Any) -> None:
    cache = DiskCache(root)
    for preset in "abc":
        cache.set(key(preset=preset), b"y" * 5000)
    unlink, calls = Folder.unlink, iter(range(100))

    def failing(self: Folder, name: str) -> bool:
        if next(calls) == 1:
            raise OSError(errno.EIO, "bad disk")
        return unlink(self, name)

    monkeypatch.setattr(Folder, "unlink", failing)
    with pytest.raises(CachePurgeError, match="bad disk"):
        cache.purge(key().did, key().cid)
    assert len(files.entries()) == 1
    assert cache.size_bytes() == files.total()


def test_a_sweep_of_a_missing_folder_leaves_what_comes_meanwhile(
    root: Path, key: Any, files: Any, monkeypatch: Any
) -> None:
    cache, other = DiskCache(root), DiskCache(root)
    cache.set(key(0), b"x")
    child = Folder.child
    written: list[str] = []

    def missing(self: Folder, name: str, **options: Any) -> Folder:
        try:
            return child(self, name, **options)
        except FileNotFoundError:
            if name == files.entry_folder(key(1)).name and not written:
                written.append(name)
                other.set(key(1), b"y" * 5000)
            raise

    monkeypatch.setattr(Folder, "child", missing)
    cache.cleanup()
    assert written
    assert cache.size_bytes() == files.total() > 5000


def test_a_write_whose_ledger_was_lost_sees_a_purge_in_the_next_one(root: Path, key: Any, monkeypatch: Any) -> None:
    cache, other = DiskCache(root), DiskCache(root)
    cache.set(key(5), b"other")
    fence = cache.fence(key().did, key().cid)
    write_temp, calls = Folder.write_temp, iter(range(100))

    def interrupted(self: Folder, *chunks: bytes, written: int) -> str:
        name = write_temp(self, *chunks, written=written)
        if next(calls) == 0:
            (root / "v1/ledger").unlink()
            other.purge(key().did, key().cid)
        return name

    monkeypatch.setattr(Folder, "write_temp", interrupted)
    assert cache.set_fenced(key(), b"from before the purge", fence) is False
    assert other.get(key()) is None


def test_a_fence_that_cannot_be_read_after_the_write_takes_it_back(root: Path, key: Any, monkeypatch: Any) -> None:
    cache = DiskCache(root)
    fence = cache.fence(key().did, key().cid)

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr("imageproxy.caches._writing.read_fence", fail)
    assert cache.set_fenced(key(), b"image", fence) is False
    assert cache.get(key()) is None


STOPPED = """
import fcntl, os, signal
fd = os.open(sys.argv[2], os.O_RDONLY)
fcntl.flock(fd, fcntl.LOCK_EX)
tell("held")
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.parametrize("what", ["shard", "ledger"])
def test_nobody_waits_for_ever_for_a_process_that_is_stopped(
    root: Path, key: Any, files: Any, python: Any, monkeypatch: Any, what: str
) -> None:
    monkeypatch.setattr(_locks.Patience.__init__, "__defaults__", (0.2,))
    cache = DiskCache(root)
    cache.set(key(), b"image")
    entry = files.entry()
    place = entry.parent if what == "shard" else root / "v1/ledger"
    process = python(STOPPED, str(place))
    assert process.stdout.readline() == "held\n"
    calls: list[Callable[[DiskCache], object]] = [
        lambda cache: cache.set(key(), b"new"),
        lambda cache: cache.delete(key()),
        lambda cache: cache.purge(key().did, key().cid),
        lambda cache: cache.purge(key().did),
        lambda cache: cache.cleanup(),
    ]
    for call in calls:
        entry.write_bytes(b"damaged")  # the lock of the ledger is asked for when an entry is gone
        began = time.monotonic()
        with pytest.raises((TimeoutError, CachePurgeError), match=rf"lock on {place} .* stopped"):
            call(cache)
        assert time.monotonic() - began < 10
    handle = cache.start_cleanup(0.001)
    began = time.monotonic()
    handle.stop()
    entry.write_bytes(b"damaged")
    assert cache.get(key()) is None  # and the removal is left for another time
    assert time.monotonic() - began < 10


def test_a_lock_that_is_let_go_is_had(root: Path, key: Any, files: Any, python: Any) -> None:
    cache = DiskCache(root)
    cache.set(key(), b"image")
    process = python(STOPPED, str(files.entry().parent))
    assert process.stdout.readline() == "held\n"
    waited: list[float] = []

    def kill(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            process.kill()
            process.wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", kill)
        cache.set(key(), b"new")
    assert cache.get(key()) == b"new"
    assert waited[:3] == sorted(waited[:3])


def test_one_folder_whose_condemned_entries_cannot_go_does_not_stop_writes(
    root: Path, key: Any, files: Any, clock: Any, monkeypatch: Any
) -> None:
    cache = DiskCache(root, max_bytes=80 * KB, clock=clock)
    for number in range(80):
        cache.set(key(0, preset=f"avatar-{number:012x}"), b"x" * (KB - 20))
    clock.advance(7200)
    cache.set(key(1), b"x" * (KB - 20))
    cache.set(key(2), b"x" * (KB - 20))
    assert cache._eviction._condemned
    bad = files.entry_folder(key(0)).name
    unlink = Folder.unlink

    def failing(self: Folder, name: str) -> bool:
        if self._path.endswith(bad):
            raise PermissionError(errno.EACCES, "not yours")
        return unlink(self, name)

    monkeypatch.setattr(Folder, "unlink", failing)
    for number in range(10, 60):
        clock.advance(1)
        cache.set(key(number), b"x" * (KB - 20))
    assert not cache._eviction._condemned
    assert files.total() <= 80 * KB


@pytest.mark.parametrize("behind", [True, False], ids=["behind", "ahead"])
def test_a_cleanup_by_a_process_that_began_with_a_wrong_clock_changes_nothing(
    root: Path, key: Any, files: Any, monkeypatch: Any, behind: bool
) -> None:
    good = DiskCache(root)
    for number in range(20):
        good.set(key(number), b"x")
    now = time.time()
    for number, path in enumerate(files.entries()):
        os.utime(path, (now - number * 3600, now - DAY))
    before = sorted((info.used, info.written) for info in good.entries())
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 1000.0 if behind else now + 400 * DAY)
        wrong = DiskCache(root)
    assert wrong.cleanup() == 0
    for number in range(20):
        wrong.get(key(number))
    assert sorted(info.written for info in good.entries()) == sorted(written for _, written in before)
    assert good.cleanup() == 0
    assert all(good.get(key(number)) == b"x" for number in range(20))


def test_after_the_loss_of_the_ledger_the_limit_is_kept_within_a_few_writes(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root, max_bytes=50 * KB)
    for number in range(50):
        cache.set(key(number), b"x" * (KB - 20))
    (root / "v1/ledger").unlink()
    for number in range(100, 110):
        cache.set(key(number), b"x" * (KB - 20))
        assert files.total() <= 50 * KB


def test_a_folder_that_cannot_be_measured_stops_no_writes(root: Path, key: Any, files: Any, monkeypatch: Any) -> None:
    cache = DiskCache(root)
    for number in range(10):
        cache.set(key(number), b"x")
    bad = files.entries()[0].parent.name
    (root / "v1/ledger").unlink()
    child = Folder.child

    def failing(self: Folder, name: str, **options: Any) -> Folder:
        if name == bad:
            raise PermissionError(errno.EACCES, "not yours")
        return child(self, name, **options)

    monkeypatch.setattr(Folder, "child", failing)
    number = next(number for number in range(10, 100) if files.entry_folder(key(number)).name != bad)
    cache.set(key(number), b"image")
    assert cache.get(key(number)) == b"image"
    with pytest.raises(PermissionError):
        cache.size_bytes()


def test_verify_is_no_use_of_an_entry(root: Path, key: Any, files: Any) -> None:
    cache = DiskCache(root)
    cache.set(key(), b"image")
    now = time.time()
    os.utime(files.entry(), (now - 3 * DAY, now - 2 * DAY))
    cache.verify()
    assert files.entry().stat().st_atime < now - 2.9 * DAY


def test_a_huge_file_in_the_place_of_an_entry_is_not_read(root: Path, key: Any, files: Any, python: Any) -> None:
    DiskCache(root).set(key(), b"image")
    os.truncate(files.entry(), 3 * 1024**3)
    process = python(
        """
import resource
cache = DiskCache(root)
resource.setrlimit(resource.RLIMIT_AS, (2 * 1024**3, 2 * 1024**3))
tell(cache.get(key()))
"""
    )
    assert process.communicate()[0] == "None\n"
    assert files.entries() == []


def test_the_first_write_removes_what_killed_writers_left(root: Path, key: Any, files: Any, clock: Any) -> None:
    DiskCache(root, clock=clock).set(key(), b"image")
    temp = root / "v1/.0123456789abcdef.tmp"
    temp.write_bytes(b"x")
    cache = DiskCache(root, clock=clock)
    cache.set(key(1), b"image")
    assert temp.exists()  # somebody may be writing it
    clock.advance(601)
    cache.set(key(2), b"image")
    assert not temp.exists()


def test_the_folder_of_another_user_is_told_of_once(
    root: Path, key: Any, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cache = DiskCache(root)
    cache.set(key(), b"image")
    monkeypatch.setattr("imageproxy.caches.disk.check_folder", lambda _: os.geteuid() + 1)
    for _ in range(3):
        cache._looked = 0
        assert cache.get(key()) == b"image"
    (record,) = caplog.records
    assert "belongs to user" in record.getMessage()


def test_a_ledger_that_is_cut_short_while_it_is_open_is_an_error_of_the_disk(root: Path, key: Any) -> None:
    DiskCache(root).set(key(), b"image")
    with Ledger.open(f"{root}/v1") as ledger:
        os.truncate(root / "v1/ledger", 100)
        with pytest.raises(OSError, match="cut short"):
            ledger.shard(4000)


def test_verify_reads_what_belongs_to_another_user(root: Path, key: Any, files: Any, monkeypatch: Any) -> None:
    """Whose file it is not, may not read it without a trace."""
    cache = DiskCache(root)
    cache.set(key(), b"image")
    system_open = os.open

    def forbid(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if flags & getattr(os, "O_NOATIME", 0):
            raise PermissionError(errno.EPERM, "not yours")
        return system_open(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", forbid)
    assert cache.verify() == 0
    os.truncate(files.entry(), 3)
    assert cache.verify() == 1
