"""The ledger of the disk cache: one small file, shared by all processes, that makes a scan of the cache unnecessary.

For each shard it holds how many bytes are in it and when the entry used longest ago was used, both as of the last time
that somebody looked; and marks of the purges, see ``fence``. It has a fixed size. What it says of a shard is changed
under the shard's lock; a process that is killed in between leaves it wrong by one entry until the shard is scanned
again, which eviction and cleanup do anyway.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import struct
import time
from collections.abc import Iterator

from ._entry import SHARDS, shard_name
from ._folder import UPDATE_FLAGS, Folder, write_all

__all__ = ["EMPTY", "UNKNOWN", "Ledger"]

UNKNOWN = -1
"""The size of a shard that nobody has measured since the ledger was made."""
EMPTY = 2**63 - 1
"""When the oldest entry of a shard without entries was used."""

_FILE = "ledger"
_MAGIC = b"imgledg1"
_ID_SIZE = 8
_NUMBER = struct.Struct("<q")
_NUMBERS = struct.Struct(f"<{2 * SHARDS}q")
_NUMBERS_AT = len(_MAGIC) + _ID_SIZE
_MARK_SIZE = 8
# More marks, fewer strangers that share one; whose write is then dropped without need, and comes again later.
_MARKS = 8192
_MARKS_AT = _NUMBERS_AT + _NUMBERS.size
_SIZE = _MARKS_AT + _MARKS * _MARK_SIZE


class Ledger:
    """The ledger, open. Made by ``Ledger.open``; for one thread. Every method may raise OSError."""

    __slots__ = ("_fd", "_id")

    def __init__(self, fd: int, ledger_id: bytes) -> None:
        self._fd = fd
        self._id = ledger_id

    @classmethod
    @contextlib.contextmanager
    def open(cls, base: str) -> Iterator[Ledger]:
        """Open the ledger in the folder ``base``; both are made where they are missing, or where the file is broken."""
        ledger = cls._open(base)
        if ledger is None:
            os.makedirs(base, exist_ok=True)  # noqa: PTH103 - a str
            with Folder.open(base) as folder, folder.locked():
                ledger = cls._open(base)
                if ledger is None:
                    _make(folder)
                    ledger = cls._open(base)
        if ledger is None:
            raise OSError(f"the ledger of the image cache in {base} is replaced by others while it is made")
        try:
            yield ledger
        finally:
            os.close(ledger._fd)

    @classmethod
    def _open(cls, base: str) -> Ledger | None:
        try:
            fd = os.open(f"{base}/{_FILE}", UPDATE_FLAGS)
        except OSError as error:
            # A link is replaced as a broken ledger is; nobody follows it.
            if error.errno in (errno.ENOENT, errno.ELOOP):
                return None
            raise
        try:
            if os.fstat(fd).st_size == _SIZE:
                header = os.read(fd, _NUMBERS_AT)
                if header.startswith(_MAGIC):
                    return cls(fd, header[len(_MAGIC) :])
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def read(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of each shard, the size in bytes or UNKNOWN, and when its oldest entry was used, in ns, or EMPTY."""
        numbers = _NUMBERS.unpack(self._read(_NUMBERS_AT, _NUMBERS.size))
        return numbers[:SHARDS], numbers[SHARDS:]

    def oldest(self, shard: int) -> int:
        """When the oldest entry of a shard was used, in ns since the epoch, or earlier than that; or EMPTY."""
        return self._number(SHARDS + shard)

    def put(self, shard: int, size: int, oldest: int) -> None:
        """Record what a scan of a shard found. Under the shard's lock."""
        self._set_number(SHARDS + shard, oldest)
        self._set_number(shard, size)

    def add(self, shard: int, change: int, used: int = EMPTY) -> None:
        """Record that entries came to a shard, last used at ``used``, or went. Under the shard's lock.

        A shard that was not measured yet stays so.
        """
        size = self._number(shard)
        if size != UNKNOWN:
            self._set_number(shard, max(0, size + change))
        if used < self._number(SHARDS + shard):
            self._set_number(SHARDS + shard, used)

    def fence(self, owner: str, blob: str) -> bytes:
        """A value that differs from the one before, once the owner or the blob was purged in between."""
        return self._id + self._mark(owner) + self._mark(blob)

    def raise_fence(self, digest: str) -> None:
        """Make every fence of this owner, or of this blob, one of the past. Before the entries are removed."""
        # Random, not counted: two purges at once, and one that is late, must not leave a mark that was there before.
        self._write(_mark_at(digest), secrets.token_bytes(_MARK_SIZE))

    def _mark(self, digest: str) -> bytes:
        return self._read(_mark_at(digest), _MARK_SIZE)

    def _number(self, index: int) -> int:
        return int(_NUMBER.unpack(self._read(_NUMBERS_AT + index * _NUMBER.size, _NUMBER.size))[0])

    def _set_number(self, index: int, value: int) -> None:
        self._write(_NUMBERS_AT + index * _NUMBER.size, _NUMBER.pack(value))

    def _read(self, at: int, size: int) -> bytes:
        os.lseek(self._fd, at, os.SEEK_SET)
        return os.read(self._fd, size)

    def _write(self, at: int, data: bytes) -> None:
        os.lseek(self._fd, at, os.SEEK_SET)
        write_all(self._fd, data)


def _mark_at(digest: str) -> int:
    return _MARKS_AT + int(digest[:8], 16) % _MARKS * _MARK_SIZE


def _make(folder: Folder) -> None:
    present = set(folder.names())
    shards = [shard_name(shard) in present for shard in range(SHARDS)]
    sizes = [UNKNOWN if is_present else 0 for is_present in shards]
    oldest = [0 if is_present else EMPTY for is_present in shards]
    temp = folder.write_temp(
        _MAGIC,
        # Another ledger, other fences: a write that began under the old one cannot know what was purged since.
        secrets.token_bytes(_ID_SIZE),
        _NUMBERS.pack(*sizes, *oldest),
        # Written out, not left as a hole: a purge must find room for its mark on a full disk.
        bytes(_MARKS * _MARK_SIZE),
        written=time.time_ns(),
    )
    try:
        folder.replace(temp, _FILE)
    except BaseException:
        folder.unlink(temp)
        raise
