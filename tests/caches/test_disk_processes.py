"""DiskCache in a folder that several processes share."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache, _locks
from imageproxy.caches._entry import locate
from imageproxy.caches._folder import Folder

KB = 1024


def lines(process: Any, count: int) -> list[str]:
    return [process.stdout.readline().strip() for _ in range(count)]


@pytest.mark.parametrize("whole_owner", [False, True], ids=["blob", "owner"])
def test_a_write_queued_in_one_process_does_not_undo_a_purge_by_another(
    root: Path, key: Any, python: Any, whole_owner: bool
) -> None:
    """The other process fetched the blob before the purge, and writes it after."""
    writer = python(
        """
cache = DiskCache(root)
fence = cache.fence(key().did, key().cid)
tell("fetched")
sys.stdin.readline()
tell(cache.set_fenced(key(), b"image", fence))
tell(cache.set_fenced(key(), b"image", cache.fence(key().did, key().cid)))
"""
    )
    cache = DiskCache(root)
    assert lines(writer, 1) == ["fetched"]
    cache.purge(key().did, None if whole_owner else key().cid)
    writer.stdin.write("go on\n")
    writer.stdin.flush()
    assert lines(writer, 1) == ["False"]
    assert lines(writer, 1) == ["True"]
    assert cache.get(key()) == b"image"


def test_after_a_purge_no_late_write_lands_however_they_meet(root: Path, key: Any, python: Any) -> None:
    """Another process writes what it fetched before each purge, over and over, without waiting for anybody."""
    root.mkdir()
    version = root / "version"
    version.write_bytes(b"0")
    writer = python(
        """
cache = DiskCache(root)
while True:
    fence = cache.fence(key().did, key().cid)
    with open(sys.argv[2], "rb") as fetched:
        data = fetched.read()
    cache.set_fenced(key(), data, fence)
""",
        str(version),
    )
    cache = DiskCache(root)
    for number in range(1, 100):
        while cache.get(key()) is None:  # so that each purge meets a writer that is at it
            assert writer.poll() is None
        # What the writer fetches from now on is newer than the purge; what it fetched before must not be seen again.
        new = root / "new"
        new.write_bytes(b"%d" % number)
        new.replace(version)
        cache.purge(key().did, key().cid)
        for _ in range(10):
            data = cache.get(key())
            assert data is None or int(data) >= number, f"{data!r} was fetched before purge {number}"


@pytest.mark.parametrize("has_locks", [True, False])
def test_a_purge_in_the_middle_of_a_fenced_write_wins(
    root: Path, key: Any, monkeypatch: pytest.MonkeyPatch, files: Any, python: Any, has_locks: bool
) -> None:
    """The purge comes after the write looked at the fence: a lock makes it wait, or else the write looks again."""
    cache = DiskCache(root)
    cache.set(key(1), b"image")
    purger = python(
        """
sys.stdin.readline()
tell("begun")
tell(DiskCache(root).purge(key().did, key().cid))
"""
    )
    if not has_locks:
        monkeypatch.setattr(_locks, "fcntl", None)

    move = Folder.move

    def interrupted(self: Folder, name: str, folder: Folder, new: str) -> None:
        purger.stdin.write("go on\n")
        purger.stdin.flush()
        lines(purger, 1 if has_locks else 2)
        move(self, name, folder, new)

    fence = cache.fence(key().did, key().cid)
    monkeypatch.setattr(Folder, "move", interrupted)
    cache.set_fenced(key(), b"image", fence)
    purger.wait()
    assert cache.get(key()) is None
    assert files.temps() == []
    assert cache.size_bytes() == files.total()


def test_a_shard_is_locked_while_entries_come_and_go(
    root: Path, key: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[str] = []

    move, unlink = Folder.move, Folder.unlink

    def probe(path: str, what: str) -> None:
        fd = os.open(path, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(fd)
        locked.append(what)

    def probing_move(self: Folder, name: str, folder: Folder, new: str) -> None:
        probe(folder._path, "come")
        move(self, name, folder, new)

    def probing_unlink(self: Folder, name: str) -> bool:
        probe(self._path, "go")
        return unlink(self, name)

    DiskCache(root).set(key(), b"image")
    DiskCache(root).delete(key())
    monkeypatch.setattr(Folder, "move", probing_move)
    monkeypatch.setattr(Folder, "unlink", probing_unlink)
    cache = DiskCache(root, max_bytes=5 * KB, ttl_seconds=60, clock=clock)
    for number in range(5):
        cache.set(key(number), b"x" * (KB - 20))
    assert locked == ["come"] * 5
    cache.set(key(5), b"x" * (KB - 20))
    assert locked[5:] == ["go", "come"]  # eviction
    cache.delete(key(5))
    cache.purge(key().did, key(4).cid)
    cache.purge(key().did)
    assert locked[7:] == ["go"] * 5
    cache.set(key(), b"image")
    clock.advance(61)
    cache.cleanup()
    assert locked[12:] == ["come", "go"]


def test_a_file_system_without_locks_will_do(root: Path, key: Any, monkeypatch: pytest.MonkeyPatch, files: Any) -> None:
    class NoLocks:
        LOCK_EX = LOCK_NB = LOCK_UN = 0

        @staticmethod
        def flock(fd: int, operation: int) -> None:
            raise OSError(95, "Operation not supported")

    monkeypatch.setattr(_locks, "fcntl", NoLocks)
    cache = DiskCache(root)
    assert cache.set_fenced(key(), b"image", cache.fence(key().did, key().cid)) is True
    assert cache.get(key()) == b"image"
    assert cache.size_bytes() == files.total()


def test_processes_that_write_at_once_stay_within_the_limit(root: Path, key: Any, python: Any, files: Any) -> None:
    """Three processes write 100 kB each into a cache of 60 kB; the sum is right at the end, and nobody fails."""
    limit = 60 * KB
    code = """
cache = DiskCache(root, max_bytes=60 * 1024)
sys.stdin.readline()
for number in range(100):
    # Some keys are their own, some are fought over.
    cache.set(key(number if number % 3 else number + 1000 * int(sys.argv[2])), b"x" * 1004)
tell("done")
"""
    processes = [python(code, str(number)) for number in range(3)]
    for process in processes:
        process.stdin.write("start\n")
        process.stdin.flush()
    most = 0
    reader = DiskCache(root, max_bytes=limit)
    is_over = threading.Event()

    def watch() -> None:
        for process in processes:
            process.wait()
        is_over.set()

    threading.Thread(target=watch).start()
    while not is_over.is_set():
        sizes = []
        for path in files.entries():
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:
                continue
        most = max(most, sum(sizes))
    assert [lines(process, 1) for process in processes] == [["done"]] * 3
    # A listing that takes its time sees some that came after others went.
    assert most <= limit + 20 * KB
    assert 55 * KB <= files.total() <= limit + 3 * KB
    assert reader.size_bytes() == files.total()
    assert files.temps() == []


@pytest.mark.parametrize("call", ["set", "purge", "evict"])
def test_who_is_killed_at_any_step_leaves_entries_whole(root: Path, key: Any, python: Any, call: str) -> None:
    """One child for each call of a C function that is made: it kills itself right before that call."""
    process = python(
        """
import os, signal
cache = DiskCache(root, max_bytes=100_000)
for number in range(1, 9):
    cache.set(key(number), b"x" * 10_000)
old, new = b"old" * 3000, b"new" * 5000
calls = {
    "set": lambda: cache.set(key(), new),
    "purge": lambda: cache.purge(key().did, key().cid),
    "evict": lambda: DiskCache(root, max_bytes=40_000).set(key(9), b"x" * 10_000),
}
steps = 0
while True:
    cache.set(key(), old)
    if sys.argv[2] == "evict":
        for number in range(1, 9):
            cache.set(key(number), b"x" * 10_000)
    pid = os.fork()
    if pid == 0:
        count = 0
        def step(frame, event, function):
            global count
            count += event == "c_call"
            if count > steps:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(step)
        calls[sys.argv[2]]()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    after = DiskCache(root)
    assert after.get(key()) in {"set": (old, new), "purge": (old, None), "evict": (old, None)}[sys.argv[2]], steps
    assert all(after.get(key(number)) in (None, b"x" * 10_000) for number in range(1, 10))
    assert after.purge(key().did, key().cid) <= 1
    assert after.get(key()) is None
    if status == 0:
        break
    steps += 1
after.cleanup()
assert after.verify() == 0
tell(steps)
tell(after.size_bytes() == sum(entry.size_bytes for entry in after.entries()))
""",
        call,
    )
    out, _ = process.communicate()
    assert process.returncode == 0
    steps, is_right = out.split()
    assert int(steps) > 30
    assert is_right == "True"


def test_a_writer_killed_at_any_moment_leaves_nothing_that_counts(
    root: Path, key: Any, python: Any, files: Any
) -> None:
    versions = [b"%d" % number * 3_000_000 for number in range(3)]
    cache = DiskCache(root)
    code = """
cache = DiskCache(root)
versions = [b"%d" % number * 3_000_000 for number in range(3)]
number = 0
while True:
    cache.set(key(), versions[number % 3])
    number += 1
    cache.set(key(number), b"small")
    tell(number)
"""
    for number in range(4):
        process = python(code)
        lines(process, number + 1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert cache.get(key()) in versions
        cache.set(key(), versions[0])
        assert cache.get(key()) == versions[0]
    for path in files.temps():
        os.utime(path, (0, 0))
    cache.cleanup()
    assert files.temps() == []
    assert cache.size_bytes() == files.total()
    assert cache.verify() == 0


def test_a_child_of_a_fork_uses_the_cache_even_if_a_lock_was_held(root: Path, key: Any, python: Any) -> None:
    process = python(
        f"""
import os, threading, warnings
from imageproxy.caches._folder import Folder, open_files
warnings.simplefilter("ignore", DeprecationWarning)  # forking beside a thread is what this is about
cache = DiskCache(root)
cache.set(key(), b"image")
is_locked, is_forked = threading.Event(), threading.Event()
def hold() -> None:
    with Folder.open(root + "/v1/{locate(key()).folder}") as folder, folder.locked():
        is_locked.set()
        is_forked.wait()
holder = threading.Thread(target=hold)
holder.start()
is_locked.wait()
pid = os.fork()
if pid == 0:
    assert not open_files._fds
    assert cache.get(key()) == b"image"
    cache.set(key(), b"of the child")  # waits until the parent's thread lets go
    os._exit(0)
is_forked.set()
holder.join()
tell(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
tell(cache.get(key()).decode())
"""
    )
    assert process.communicate()[0].splitlines() == ["0", "of the child"]
