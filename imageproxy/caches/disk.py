"""The default cache: one file for each image, in a folder that several processes may share.

::

    {root}/v1/ledger          how full each shard is, and marks of purges (see _ledger.py)
    {root}/v1/{shard}/        1,024 of them, made when needed, "000" to "3ff"
    {root}/v1/{shard}/{name}  one entry: the image, and a trailer of 20 bytes (see _entry.py)

An entry comes into being whole, by a rename, and is never changed: whoever reads it sees the old image or the new one,
and goes on reading it while it is removed. Nothing is forced to the disk: a power loss may take the newest entries, and
the trailer tells those that it left half written. All that changes a shard is done under a lock of the system on the
shard's folder, which holds between processes and ends with them.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Hashable
from pathlib import Path

import platformdirs

from imageproxy._fork import reset_after_fork
from imageproxy.errors import ConfigError
from imageproxy.protocols import CacheKey

from ._cleanup import CleanupHandle
from ._entry import (
    FORMAT,
    SHARDS,
    TRAILER_SIZE,
    EntryName,
    is_entry_name,
    is_trailer,
    is_undamaged,
    locate,
    owner_digest,
    shard_name,
    shards_of_owner,
    trailer,
)
from ._eviction import HOUR_NS, Eviction, sweep_temps
from ._folder import READ_FLAGS, Folder, open_file, open_folders
from ._ledger import UNKNOWN, Ledger

__all__ = ["DiskCache"]

_SECOND_NS = 10**9
# An entry that was checked in full so often is hot: for a second at a time, hits rely on what the last check found.
_CHECKS_UNTIL_HOT = 4
_HOT_SECONDS = 1.0
_MAX_REMEMBERED = 8192
_UNFENCED = object()


class DiskCache:
    """Keeps images in a folder. Safe to use from threads, from forked children, and from several processes at once.

    root: the folder; made with the first write, not before. ``None``: ``imageproxy`` in the user's cache folder, as
        platformdirs tells it. Processes that share it may have different limits: each keeps its own, so the smallest
        wins. It may be a link; shards, entries and the ledger may not, and are not followed.
    max_bytes: the most that the entries take, in bytes of their files; what is used least recently goes. An entry that
        is larger is not stored. Several processes that write at once may be over it by an entry each.
    ttl_seconds: how long after it was written an entry is served, however often it is read; ``None``: for ever.
    checksums: check every read against the entry's checksum, which finds flipped bits and costs time in proportion to
        the size. Without it, ``verify`` finds them.
    clock: the time in seconds since the epoch, for tests. ``None``: the system's time when the cache was made, carried
        on by a clock that never jumps; so setting the system's clock expires nothing and keeps nothing.

    ``get``, ``set`` and the others raise OSError for faults of the disk.

    Raises ConfigError for an option that cannot be meant.
    """

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        max_bytes: int = 10 * 1024**3,
        ttl_seconds: float | None = 30 * 86400,
        checksums: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None:
        if root is None:
            root = platformdirs.user_cache_path("imageproxy", appauthor=False)
        _check("root", root, bool(os.fspath(root)), "the path of a folder, or None")
        _check("max_bytes", max_bytes, max_bytes >= 1, "a whole number above 0")
        _check("ttl_seconds", ttl_seconds, ttl_seconds is None or ttl_seconds > 0, "a number above 0, or None")
        # Absolute, so that a change of the working directory does not move the cache.
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links, and reads the disk
        self._base = f"{self.root}/{FORMAT}"
        self._max_bytes = max_bytes
        self._checksums = checksums
        self._clock = time.monotonic if clock is None else clock
        self._clock_offset = time.time() - time.monotonic() if clock is None else 0.0
        ttl_ns = None if ttl_seconds is None else int(ttl_seconds * _SECOND_NS)
        self._eviction = Eviction(self._base, max_bytes=max_bytes, ttl_ns=ttl_ns, now=self._now)
        # Of entries read lately: path, size of the data, trailer, until when they are hot, how often they were checked.
        self._seen: dict[CacheKey, tuple[str, int, bytes, float, int]] = {}
        reset_after_fork(open_folders)

    def __repr__(self) -> str:
        return f"DiskCache({str(self.root)!r})"

    def get(self, key: CacheKey) -> bytes | None:
        """The image stored under ``key``, or ``None``. A truncated or foreign file is a miss, and removed.

        Sets the time of the last use (atime), at most once an hour; the time written (mtime), which the TTL counts
        from, stays.
        """
        seen = self._seen.get(key)
        if seen is not None and self._clock() < seen[3]:
            # Hot: no fstat, which is the dearest step after open. The trailer stands where it stood, and after it the
            # file ends; all else that a full check sees may be a second old.
            try:
                fd = os.open(seen[0], READ_FLAGS)
                try:
                    data = os.read(fd, seen[1])
                    if os.read(fd, TRAILER_SIZE + 1) == seen[2]:
                        return data
                finally:
                    os.close(fd)
            except OSError:  # not contextlib.suppress, which would cost time on a hit
                pass
        return self._get_checked(key)

    def set(self, key: CacheKey, data: bytes) -> None:
        """Store ``data``, evicting what must go for it. Stores nothing if it is larger than the limit."""
        self._store(key, data, _UNFENCED)

    def fence(self, did: str, cid: str) -> Hashable:
        """A mark of the purges of this blob and its owner so far, by any process; see ``set_fenced``.

        Never raises OSError: where the folder cannot be written to, neither can the image.
        """
        name = locate(CacheKey("", did, cid, ""))
        try:
            with Ledger.open(self._base) as ledger:
                return ledger.fence(name.owner, name.blob)
        except OSError:
            return b""  # differs from all that a ledger says

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        """Like ``set``, unless the blob or its owner was purged since ``fence``; whether it was stored.

        Once in a long while a purge of another blob has the same effect: the marks are kept in 8,192 slots.
        """
        return self._store(key, data, fence)

    def purge(self, did: str, cid: str | None = None) -> int:
        """Remove one blob in every variant, or all of an owner; returns how many entries went.

        One blob takes a visit to one folder, an owner to 64.
        """
        if not self._exists():
            return 0
        if cid is None:
            prefix = mark = owner_digest(did)
            shards = shards_of_owner(prefix)
        else:
            name = locate(CacheKey("", did, cid, ""))
            prefix, mark = name.owner + name.blob, name.blob
            shards = range(name.shard, name.shard + 1)
        with Ledger.open(self._base) as ledger:
            # The mark, then the lock: a fenced write that has the lock now is removed below, a later one sees the mark.
            ledger.raise_fence(mark)
            removed = sum(self._remove(ledger, shard, prefix) for shard in shards)
        self._seen.clear()
        return removed

    def delete(self, key: CacheKey) -> bool:
        """Remove one entry; whether it was there."""
        if not self._exists():
            return False
        return self._discard(locate(key))

    def cleanup(self) -> int:
        """Remove what is expired, what is over the limit, and what killed writers left; returns how many entries went.

        Goes from folder to folder and holds up writers in one at a time: about 5 s for a million entries.
        """
        return self._cleanup(lambda: False)

    def start_cleanup(self, interval_seconds: float) -> CleanupHandle:
        """Call ``cleanup`` on a thread of its own, every so many seconds, until the handle's ``stop()``."""
        return CleanupHandle(self._cleanup, interval_seconds)

    def size_bytes(self) -> int:
        """What the entries take, in bytes of their files. From the ledger: right to within what is under way."""
        if not self._exists():
            return 0
        with Ledger.open(self._base) as ledger:
            sizes, _ = ledger.read()
            for shard in range(SHARDS):
                if sizes[shard] == UNKNOWN:
                    self._eviction.sweep(ledger, shard)
            return sum(ledger.read()[0])

    def verify(self) -> int:
        """Read every entry and remove those that are truncated or have flipped bits; returns how many went."""
        names = (name for shard in range(SHARDS) for name in self._entries(shard))
        return sum(self._discard(name) for name in names if not self._is_sound(name))

    def _get_checked(self, key: CacheKey) -> bytes | None:
        name = locate(key)
        folder = f"{self._base}/{name.folder}"
        path = f"{folder}/{name.file}"
        try:
            fd = open_file(folder, name.file)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(fd)
            entry = _read(fd, status)
            now = self._now()
            if entry is None or (self._checksums and not is_undamaged(entry[1], name.file, entry[0])):
                with contextlib.suppress(OSError):  # a miss all the same
                    self._discard(name)
                return None
            written = self._eviction.sane_written(status.st_mtime_ns, now)
            if self._eviction.is_expired(written, now):
                return None  # not removed: should the clock be wrong, it is still there once that is set right
            if abs(now - status.st_atime_ns) > HOUR_NS:
                with contextlib.suppress(OSError):  # a folder that can only be read
                    os.utime(fd if os.utime in os.supports_fd else path, ns=(now, written))
        finally:
            os.close(fd)
        self._remember(key, path, entry, self._eviction.seconds_left(written, now))
        return entry[0]

    def _remember(self, key: CacheKey, path: str, entry: tuple[bytes, bytes], seconds_left: float) -> None:
        seen = self._seen.get(key)
        checks = 1 if seen is None else seen[4] + 1
        if len(self._seen) >= _MAX_REMEMBERED:
            self._seen.clear()  # the hot ones are back at once, and nothing has to be kept in order for each hit
        is_hot = checks > _CHECKS_UNTIL_HOT and not self._checksums
        until = self._clock() + min(_HOT_SECONDS, seconds_left) if is_hot else 0.0
        self._seen[key] = (path, len(entry[0]), entry[1], until, checks)

    def _store(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        name = locate(key)
        end = trailer(name.file, data)
        if len(data) + len(end) > self._max_bytes:
            self.delete(key)  # a reader must not take the old one for the one that was set
            return False
        try:
            return self._write(name, data, end, fence)
        except FileNotFoundError:  # the folder was removed meanwhile; once more, from the start
            return self._write(name, data, end, fence)

    def _write(self, name: EntryName, data: bytes, end: bytes, fence: Hashable) -> bool:
        with Ledger.open(self._base) as ledger:
            size = len(data) + len(end)
            self._eviction.make_room(ledger, size)
            with Folder.open(f"{self._base}/{name.folder}", create=True) as folder:
                now = self._now()
                temp = folder.write_temp(data, end, written=now)
                try:
                    with folder.locked():
                        if _is_stale(fence, ledger, name):
                            folder.unlink(temp)
                            return False
                        replaced = folder.size_of(name.file)
                        folder.replace(temp, name.file)
                        ledger.add(name.shard, size - (replaced or 0), used=now)
                except BaseException:
                    folder.unlink(temp)
                    raise
            # Where the lock held, nothing can have come between; where there are no locks, this is what there is.
            if _is_stale(fence, ledger, name):
                self._remove(ledger, name.shard, name.file)
                return False
            return True

    def _remove(self, ledger: Ledger, shard: int, prefix: str) -> int:
        """Remove the entries of a shard whose names begin with ``prefix``; how many there were."""
        removed = freed = 0
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            Folder.open(f"{self._base}/{shard_name(shard)}") as folder,
            folder.locked(),
        ):
            files = [prefix] if is_entry_name(prefix) else [file for file in folder.names() if file.startswith(prefix)]
            for file in files:
                size = folder.size_of(file)
                if size is not None and folder.unlink(file):
                    removed += 1
                    freed += size
            if removed:
                ledger.add(shard, -freed)
        return removed

    def _discard(self, name: EntryName) -> bool:
        with Ledger.open(self._base) as ledger:
            return self._remove(ledger, name.shard, name.file) > 0

    def _entries(self, shard: int) -> list[EntryName]:
        folder = shard_name(shard)
        try:
            with Folder.open(f"{self._base}/{folder}") as opened:
                return [EntryName(shard, folder, file) for file in opened.names() if is_entry_name(file)]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _is_sound(self, name: EntryName) -> bool:
        try:
            fd = open_file(f"{self._base}/{name.folder}", name.file)
        except FileNotFoundError:
            return True  # gone, or a link, which is never served
        try:
            entry = _read(fd, os.fstat(fd))
        finally:
            os.close(fd)
        return entry is not None and is_undamaged(entry[1], name.file, entry[0])

    def _cleanup(self, is_stopping: Callable[[], bool]) -> int:
        if not self._exists():
            return 0
        removed = 0
        failure: OSError | None = None
        with Ledger.open(self._base) as ledger:
            for shard in range(SHARDS):
                if is_stopping():
                    return removed
                try:
                    removed += self._eviction.sweep(ledger, shard)
                except OSError as error:  # one bad folder must not keep the others from being tidied
                    failure = failure or error
            removed += self._eviction.make_room(ledger, 0)
        with Folder.open(self._base) as folder:
            sweep_temps(folder, self._now())
        if failure is not None:
            raise failure
        return removed

    def _exists(self) -> bool:
        return os.path.isdir(self._base)  # noqa: PTH112 - a str

    def _now(self) -> int:
        return int((self._clock() + self._clock_offset) * _SECOND_NS)


def _is_stale(fence: Hashable, ledger: Ledger, name: EntryName) -> bool:
    return fence is not _UNFENCED and fence != ledger.fence(name.owner, name.blob)


def _read(fd: int, status: os.stat_result) -> tuple[bytes, bytes] | None:
    """The data and the trailer of an open entry, or ``None`` if it is not whole."""
    size = status.st_size - TRAILER_SIZE
    if size < 0 or not stat.S_ISREG(status.st_mode):
        return None
    # Two reads, so that the data need not be copied to leave the trailer out.
    data = os.read(fd, size)
    end = os.read(fd, TRAILER_SIZE)
    return (data, end) if len(data) == size and is_trailer(end, size) else None


def _check(option: str, value: object, is_right: bool, wanted: str) -> None:
    if not is_right:
        raise ConfigError(f"{option} is {value!r}; it must be {wanted}", option=option, value=value)
