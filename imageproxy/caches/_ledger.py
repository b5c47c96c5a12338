"""The ledger of the disk cache: one small file, shared by all processes, that makes a scan of the cache unnecessary.

It holds the size of the whole cache; for each shard its size and when the entry used longest ago was used, both as of
the last time that somebody looked; and marks of the purges, see ``read_fence``. It has a fixed size. What it says of a
shard is changed under the shard's lock, and all that has to agree under a lock of its own.

An entry is counted before it comes, and until after it went. So a process that is killed in between leaves the ledger
with too much, never too little: that costs room, not the limit, until the shard's turn comes or a cleanup.
"""

from __future__ import annotations

import errno
import os
import secrets
import struct
import time
from functools import lru_cache
from typing import NamedTuple

from imageproxy._typing import Self

from ._entry import SHARDS, blob_digest, owner_digest, shard_name
from ._folder import READ_FLAGS, UPDATE_FLAGS, Folder, make_folders, read_at, write_at
from ._locks import Lock, Patience, open_files

__all__ = ["EMPTY", "UNKNOWN", "Ledger", "Summary", "read_fence", "read_summary"]

UNKNOWN = -1
"""The size of a shard that nobody has measured since the ledger was made."""
EMPTY = 2**63 - 1
"""When the oldest entry of a shard without entries was used."""

_FILE = "ledger"
_MAGIC = b"imgledg1"
_SUMMARY = struct.Struct("<3q")
_SUMMARY_AT = len(_MAGIC)
_PAIR = struct.Struct("<2q")
_NUMBERS = struct.Struct(f"<{2 * SHARDS}q")
_NUMBERS_AT = _SUMMARY_AT + _SUMMARY.size
# A mark is random, not counted: two purges at once, one that is late, and a ledger that was lost and made anew must not
# leave a mark that was there before.
_MARK_SIZE = 8
# More marks, fewer strangers that share one; whose write is then dropped without need, and comes again later.
_MARKS = 8192
_MARKS_AT = _NUMBERS_AT + _NUMBERS.size
_SIZE = _MARKS_AT + _MARKS * _MARK_SIZE


class Summary(NamedTuple):
    """What the ledger says of the whole cache.

    size: of all shards that were measured, in bytes.
    reach: how long the last evicted entry had not been used, in ns: the cache reaches back so far. EMPTY before that.
    unmeasured: not 0 while there may be shards that nobody has measured.
    """

    size: int
    reach: int
    unmeasured: int


_NOTHING = Summary(0, EMPTY, 0)


def read_fence(base: str, did: str, cid: str) -> bytes | None:
    """A value that differs from the one before, once the blob or its owner was purged in between, by anybody.

    ``None`` where there is no ledger, or none that could be read. Opens, reads and closes, which costs as little as
    finding out whether a mapping of the file is still the file, and cannot be wrong.

    Raises OSError where the ledger cannot be opened.
    """
    try:
        fd = os.open(f"{base}/{_FILE}", READ_FLAGS)
    except FileNotFoundError:
        return None
    try:
        owner_at, blob_at = _marks_of(did, cid)
        fence = read_at(fd, _MARK_SIZE, owner_at) + read_at(fd, _MARK_SIZE, blob_at)
    except OSError:  # a pipe or a folder that somebody put there
        return None
    finally:
        os.close(fd)
    return fence if len(fence) == 2 * _MARK_SIZE else None


def read_summary(base: str) -> Summary:
    """What the ledger says of the whole cache. Makes nothing: where there is no ledger, there is nothing.

    Raises OSError where the ledger cannot be read.
    """
    try:
        fd = os.open(f"{base}/{_FILE}", READ_FLAGS)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return _NOTHING
        raise
    try:
        read = read_at(fd, _NUMBERS_AT, 0)
    finally:
        os.close(fd)
    is_whole = len(read) == _NUMBERS_AT and read.startswith(_MAGIC)
    return Summary(*_SUMMARY.unpack_from(read, _SUMMARY_AT)) if is_whole else _NOTHING


class Ledger:
    """The ledger, open until its ``with`` is left. Made by ``Ledger.open``; for one thread.

    folder: the folder that it is in, the base of the cache.

    Every method may raise OSError; a file that somebody cut short since it was opened is one, too.
    """

    __slots__ = ("_fd", "folder")

    def __init__(self, folder: Folder, fd: int) -> None:
        self.folder = folder
        self._fd = fd

    @classmethod
    def open(cls, base: str, patience: Patience | None = None) -> Ledger:
        """Open the ledger in the folder ``base``; both are made where they are missing, or where the file is broken.

        patience: how long each lock is waited for, of the ledger, its folder, and those in it.

        Raises NotADirectoryError where something else, such as a link, is in the place of the folder.
        """
        try:
            folder = Folder.open(base, patience)
        except FileNotFoundError:
            make_folders(base)
            folder = Folder.open(base, patience)
        try:
            fd = _open(folder)
            if fd is None:
                with folder.locked():
                    fd = _open(folder)
                    if fd is None:
                        _make(folder)
                        fd = _open(folder)
        except BaseException:
            folder.close()
            raise
        if fd is None:
            folder.close()
            raise OSError(f"the ledger of the image cache in {base} is replaced by others while it is made")
        return cls(folder, fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        open_files.close(self._fd)
        self.folder.close()

    def summary(self) -> Summary:
        """What it says of the whole cache."""
        return Summary(*_SUMMARY.unpack(self._read(_SUMMARY.size, _SUMMARY_AT)))

    def shard(self, shard: int) -> tuple[int, int]:
        """The size of a shard in bytes or UNKNOWN, and when its oldest entry was used, in ns since the epoch, or EMPTY.

        An entry may have been used since.
        """
        size, oldest = _PAIR.unpack(self._read(_PAIR.size, _pair_at(shard)))
        return size, oldest

    def count(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What ``shard`` says, of every shard. Sets the size of the whole right, should it have been wrong."""
        with self._locked():
            numbers = _NUMBERS.unpack(self._read(_NUMBERS.size, _NUMBERS_AT))
            sizes, oldest = numbers[::2], numbers[1::2]
            before = self.summary()
            unmeasured = sizes.count(UNKNOWN)
            after = before._replace(size=sum(sizes) - UNKNOWN * unmeasured, unmeasured=unmeasured)
            if after != before:
                self._write(_SUMMARY.pack(*after), _SUMMARY_AT)
        return sizes, oldest

    def put(self, shard: int, size: int, oldest: int) -> None:
        """Record what a scan of a shard found. Under the shard's lock."""
        with self._locked():
            before, _ = self.shard(shard)
            self._change(shard, size, oldest, size - max(0, before))

    def add(self, shard: int, change: int, used: int = EMPTY) -> None:
        """Record that entries came to a shard, last used at ``used``, or went. Under the shard's lock.

        A shard that was not measured yet stays so.
        """
        with self._locked():
            size, oldest = self.shard(shard)
            if size == UNKNOWN:
                self._change(shard, size, min(used, oldest), 0)
            else:
                change = max(-size, change)
                self._change(shard, size + change, min(used, oldest), change)

    def reached(self, reach: int) -> None:
        """Record how long an entry that is evicted had not been used, in ns. To within an eighth."""
        if abs(reach - self.summary().reach) > reach // 8:
            with self._locked():
                self._write(_SUMMARY.pack(*self.summary()._replace(reach=reach)), _SUMMARY_AT)

    def fence(self, did: str, cid: str) -> bytes:
        """What ``read_fence`` gives."""
        return b"".join(self._read(_MARK_SIZE, at) for at in _marks_of(did, cid))

    def raise_fence(self, did: str, cid: str | None) -> None:
        """Make every fence of this blob, or with ``None`` of this owner, one of the past."""
        at = _mark_at(owner_digest(did)) if cid is None else _mark_at(blob_digest(did, cid))
        self._write(secrets.token_bytes(_MARK_SIZE), at)

    def _change(self, shard: int, size: int, oldest: int, change: int) -> None:
        self._write(_PAIR.pack(size, oldest), _pair_at(shard))
        if change:
            summary = self.summary()
            self._write(_SUMMARY.pack(*summary._replace(size=max(0, summary.size + change))), _SUMMARY_AT)

    def _locked(self) -> Lock:
        return Lock(self._fd, self.folder.path_of(_FILE), self.folder.patience)

    def _read(self, size: int, at: int) -> bytes:
        read = read_at(self._fd, size, at)
        if len(read) != size:
            raise OSError(errno.EIO, "the ledger of the image cache was cut short", self.folder.path_of(_FILE))
        return bytes(read)

    def _write(self, data: bytes, at: int) -> None:
        write_at(self._fd, data, at)


def _open(folder: Folder) -> int | None:
    try:
        fd = open_files.add(folder.open_file(_FILE, UPDATE_FLAGS))
    except OSError as error:
        # A link is replaced as a broken ledger is; nobody follows it.
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise
    try:
        if os.fstat(fd).st_size == _SIZE and read_at(fd, len(_MAGIC), 0) == _MAGIC:
            return fd
    except BaseException:
        open_files.close(fd)
        raise
    open_files.close(fd)
    return None


def _pair_at(shard: int) -> int:
    return _NUMBERS_AT + shard * _PAIR.size


@lru_cache(maxsize=8192)
def _marks_of(did: str, cid: str) -> tuple[int, int]:
    return _mark_at(owner_digest(did)), _mark_at(blob_digest(did, cid))


def _mark_at(digest: str) -> int:
    return _MARKS_AT + int(digest[:8], 16) % _MARKS * _MARK_SIZE


def _make(folder: Folder) -> None:
    present = set(folder.names())
    numbers: list[int] = []
    for shard in range(SHARDS):
        numbers += (UNKNOWN, 0) if shard_name(shard) in present else (0, EMPTY)
    temp = folder.write_temp(
        _MAGIC,
        _SUMMARY.pack(0, EMPTY, 1),
        _NUMBERS.pack(*numbers),
        # Another ledger, other fences: what began under the old one cannot know what was purged since.
        secrets.token_bytes(_MARKS * _MARK_SIZE),
        written=time.time_ns(),
    )
    try:
        folder.move(temp, folder, _FILE)
    except BaseException:
        folder.unlink(temp)
        raise
