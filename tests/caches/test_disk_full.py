"""DiskCache, and a service over it, on a disk that fails: the system itself refuses, nothing is patched."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache

# A tmpfs of 1 MB over the cache's folder, which nobody but this process sees. Where mounting is not permitted, not even
# in a user namespace, the limit on the size of files takes its place: a write that ends half done, as on a full disk.
SMALL_DISK = """
import ctypes, errno, os, resource
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUSER = 0x20000, 0x10000000
os.makedirs(root, exist_ok=True)
uid = os.getuid()
try:
    if libc.unshare(NEWNS if uid == 0 else NEWNS | NEWUSER) != 0:
        raise OSError("not permitted")
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    PRIVATE = 0x44000
    libc.mount(b"none", b"/", None, PRIVATE, None)
    is_mounted = libc.mount(b"tmpfs", root.encode(), b"tmpfs", 0, b"size=1m,mode=700") == 0
except (AttributeError, OSError):  # not permitted, or another system
    is_mounted = False
full = errno.ENOSPC
if not is_mounted:
    resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, 250_000))
    full = errno.EFBIG
def left():
    return sorted(path.name for path in Path(root).rglob(".*"))
"""


def test_a_write_to_a_full_disk_fails_and_leaves_the_old_entry_and_no_file(root: Path, python: Any) -> None:
    process = python(
        SMALL_DISK
        + """
cache = DiskCache(root)
cache.set(key(), b"old")
number = failures = 0
while failures < 5:
    number += 1
    try:
        cache.set(key(number), b"x" * (100_000 + 30_000 * number))
    except OSError as error:
        assert error.errno == full, error
        failures += 1
try:
    cache.set(key(), b"y" * 1_500_000)
except OSError as error:
    assert error.errno == full, error
    tell("full")
assert cache.get(key()) == b"old"
assert left() == [], left()
stored = [number for number in range(1, number + 1) if cache.get(key(number)) is not None]
entries = [path for path in Path(root).glob("v1/*/*")]
assert cache.size_bytes() == sum(path.stat().st_size for path in entries)
assert cache.verify() == 0
# A purge finds room for its mark, and makes room.
fence = cache.fence(key().did, key().cid)
assert cache.purge(key().did) == len(stored) + 1
assert cache.fence(key().did, key().cid) != fence
cache.set(key(), b"new")
tell(cache.get(key()).decode())
"""
    )
    assert process.communicate()[0].split() == ["full", "new"]


def test_a_cache_within_a_full_disk_evicts_before_it_writes(root: Path, python: Any) -> None:
    """The limit is less than the disk has: nothing ever fails."""
    process = python(
        SMALL_DISK
        + """
cache = DiskCache(root, max_bytes=300_000)
for number in range(60):
    cache.set(key(number), b"x" * 30_000)
assert left() == []
tell(cache.get(key(59)) == b"x" * 30_000)
"""
    )
    assert process.communicate()[0].split() == ["True"]


def test_a_cache_that_cannot_be_begun_on_a_full_disk_recovers(root: Path, python: Any) -> None:
    process = python(
        SMALL_DISK
        + """
if is_mounted:
    filler = Path(root) / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 250_000))
cache = DiskCache(root)
fences = {cache.fence(key().did, key().cid), cache.fence(key().did, key().cid)}
try:
    cache.set(key(), b"image")
except OSError as error:
    assert error.errno == full, error
    tell("full")
assert left() == []
assert len(fences) == 1
if is_mounted:
    filler.unlink()
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, 250_000))
assert cache.set_fenced(key(), b"image", fences.pop()) is False
cache.set(key(), b"image")
tell(cache.get(key()).decode())
"""
    )
    assert process.communicate()[0].split() == ["full", "image"]


# A filter on system calls, which the process sets on itself: those that read or write so many bytes fail.
FAILING_CALLS = """
import ctypes, errno, os, platform, struct
def fail_calls(call, count, code):
    names = {"x86_64": {"read": 0, "write": 1}}.get(platform.machine(), {"read": 63, "write": 64})
    def line(code, jump_true, jump_false, value):
        return struct.pack("<HBBI", code, jump_true, jump_false, value)
    LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
    program = ctypes.create_string_buffer(
        line(LOAD, 0, 0, 0)  # which call
        + line(EQUAL, 0, 3, names[call])
        + line(LOAD, 0, 0, 32)  # the lower half of its third argument, the count
        + line(EQUAL, 0, 1, count)
        + line(RETURN, 0, 0, 0x00050000 | code)
        + line(RETURN, 0, 0, 0x7FFF0000)
    )
    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]
    libc = ctypes.CDLL(None, use_errno=True)
    NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
    assert libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    wanted = Filter(6, ctypes.cast(program, ctypes.c_void_p))
    assert libc.prctl(SECCOMP, FILTER, ctypes.byref(wanted), 0, 0) == 0, os.strerror(ctypes.get_errno())
SIZE = 77_777
"""
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process filter its own system calls")


@on_linux
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=["ENOSPC", "EDQUOT", "EIO"])
def test_a_write_that_the_system_refuses_leaves_the_old_entry_and_no_file(
    root: Path, key: Any, files: Any, python: Any, code: int
) -> None:
    process = python(
        FAILING_CALLS
        + """
cache = DiskCache(root)
cache.set(key(), b"old")
fail_calls("write", SIZE, int(sys.argv[2]))
try:
    cache.set(key(), b"x" * SIZE)
except OSError as error:
    tell(error.errno)
tell(cache.get(key()).decode())
cache.set(key(1), b"another")
tell(cache.get(key(1)).decode())
""",
        str(code),
    )
    assert process.communicate()[0].split() == [str(code), "old", "another"]
    assert files.temps() == []
    assert DiskCache(root).size_bytes() == files.total()


@on_linux
def test_verify_removes_an_entry_that_the_disk_cannot_read(root: Path, files: Any, python: Any) -> None:
    process = python(
        FAILING_CALLS
        + """
cache = DiskCache(root)
for number in range(5):
    cache.set(key(number), b"image")
cache.set(key(), b"x" * SIZE)
fail_calls("read", SIZE, errno.EIO)
try:
    cache.get(key())
except OSError as error:
    tell(error.errno)
tell(cache.verify())
"""
    )
    assert process.communicate()[0].split() == [str(errno.EIO), "1"]
    assert len(files.entries()) == 4


SERVED = """
import logging
from imageproxy import Service, cache_write_error_count
from imageproxy.testing import FakeFetcher, FakeResolver
class Words(logging.Handler):
    def __init__(self):
        super().__init__()
        self.words = []
    def emit(self, record):
        self.words.append(record.getMessage())
words = Words()
logging.getLogger("imageproxy").addHandler(words)
DID, CID = key().did, "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
class Inflate:
    def __init__(self, size):
        self.size = size
    def process(self, data, preset):
        return b"x" * self.size
def serve(cache, size):
    fetcher = FakeFetcher()
    with Service(cache, Inflate(size), fetcher, resolver=FakeResolver()) as images:
        for _ in range(2):
            assert images.get_image("avatar", DID, CID) == b"x" * size
            assert images.flush(30)
    return len(fetcher.calls)
"""


@on_linux
def test_an_entry_that_cannot_be_read_is_fetched_again(root: Path, python: Any) -> None:
    process = python(
        FAILING_CALLS
        + SERVED
        + """
cache = DiskCache(root)
assert serve(cache, SIZE) == 1
fail_calls("read", SIZE, errno.EIO)
tell(serve(cache, SIZE))
"""
    )
    assert process.communicate()[0].split() == ["2"]
    assert process.returncode == 0


def test_a_service_on_a_full_disk_serves_and_counts(root: Path, python: Any) -> None:
    process = python(
        SMALL_DISK
        + SERVED
        + """
tell(serve(DiskCache(root), 1_500_000))
assert cache_write_error_count() > 0
assert len(words.words) == 1, words.words
assert left() == []
"""
    )
    assert process.communicate()[0].split() == ["2"]
    assert process.returncode == 0
