"""The default cache: one file for each image, in a folder that several processes may share.

::

    {root}/v1/ledger          how full each shard is, and marks of purges (see _ledger.py)
    {root}/v1/{shard}/        4,096 of them, made when needed, "000" to "fff"
    {root}/v1/{shard}/{name}  one entry: the image, and a trailer of 20 bytes (see _entry.py)
    {root}/v1/.{random}.tmp   an entry that is being written

An entry comes into being whole, by a rename, and is never changed: whoever reads it sees the old image or the new one,
and goes on reading it while it is removed. Nothing is forced to the disk: a power loss may take the newest entries, and
the trailer tells those that it left half written. All that changes a shard is done under a lock of the system on the
shard's folder, which holds between processes and ends with them.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path

import platformdirs

from imageproxy._fork import reset_after_fork
from imageproxy.errors import CachePurgeError, ConfigError
from imageproxy.protocols import CacheKey

from ._cleanup import CleanupHandle
from ._entry import (
    FORMAT,
    SHARDS,
    TRAILER_SIZE,
    EntryInfo,
    EntryName,
    is_undamaged,
    locate,
    owner_digest,
    shard_name,
    shards_of_owner,
    trailer,
)
from ._eviction import HOUR_NS, Eviction, stamp_age
from ._failures import Failures
from ._folder import READ_FLAGS, check_folder, open_file
from ._ledger import Ledger, read_fence, read_summary
from ._locks import Patience, open_files
from ._reading import is_sound, read_entry, scan, scan_shard
from ._removing import remove
from ._storing import Storing
from ._writing import Writer, tell_owner

__all__ = ["DiskCache", "EntryInfo"]

OnProgress = Callable[[int, int], None]
# Path, size of the data, trailer, until when it is hot, how often it was checked in full.
_Seen = tuple[str, int, bytes, float, int]

_SECOND_NS = 10**9
# An entry that was checked in full so often is hot: for a second at a time, hits rely on what the last check found.
_CHECKS_UNTIL_HOT = 4
_HOT_SECONDS = 1.0
_MAX_REMEMBERED = 8192
# Where an event loop may be waiting. Locks are held for milliseconds, so this is a fault of another process.
_NO_PATIENCE = 0.0
_LITTLE_PATIENCE = 0.5
# Faults that the folder has for this process, now; others need not.
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO})


class DiskCache(Storing):
    """Keeps images in a folder. Safe to use from threads, from forked children, and from several processes at once.

    root: the folder; made when something is first stored, or asked for by a service (whose ``fence`` needs it), not
        before; for the user alone, as all that is in it, whatever the umask; a folder that is there keeps its rights.
        If its ``v1`` belongs to another user than root and oneself, that is logged once, as a warning: where users are
        mapped it may be as it should, else that user can plant images. ``None``: ``imageproxy`` in the user's cache
        folder, as platformdirs tells it. Processes that share it may have different limits: each keeps its own, so the
        smallest wins. It may be a link; what is in it may not, and is not followed.
    max_bytes: the most that the entries take, in bytes of their files; what is used least recently goes. An entry that
        is larger is not stored. Several processes that write at once may be over it by an entry each.
    ttl_seconds: how long after it was written an entry is served, however often it is read; ``None``: for ever.
    checksums: check every read against the entry's checksum, which finds flipped bits and costs time in proportion to
        the size. Without it, ``verify`` finds them.
    clock: the time in seconds since the epoch, for tests. ``None``: the system's time when the cache was made, carried
        on by a clock that never jumps; so setting the system's clock expires nothing and keeps nothing.

    ``get``, ``set`` and the others raise OSError for faults of the disk. What changes the cache raises TimeoutError
    (an OSError, ETIMEDOUT), naming the lock, if another process is stopped or stuck in the middle of a change: it waits
    10 s for a lock, and never more than 20 s for all together.

    A subclass that changes what is written overrides ``store``, which ``set`` and ``set_fenced`` go through, and
    ``get``.

    Raises ConfigError for an option that cannot be meant.
    """

    is_nonblocking = True
    """Read by those who ask on an event loop: ``get`` and ``fence`` wait for nothing but the disk (and for a lock at
    most half a second, where there is no ledger yet and another process is making it)."""

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
        _check("root", root, isinstance(root, (str, os.PathLike)) and bool(str(root)), "the path of a folder, or None")
        _check("max_bytes", max_bytes, _is_number(max_bytes, int) and max_bytes >= 1, "a whole number above 0")
        is_ttl = ttl_seconds is None or (_is_number(ttl_seconds, int, float) and 0 < ttl_seconds < math.inf)
        _check("ttl_seconds", ttl_seconds, is_ttl, "a number of seconds above 0, or None for ever")
        # Absolute, so that a change of the working directory does not move the cache.
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links, and reads the disk
        self._base = f"{self.root}/{FORMAT}"
        self._max_bytes = max_bytes
        self._checksums = checksums
        self._clock = time.monotonic if clock is None else clock
        self._clock_offset = time.time() - time.monotonic() if clock is None else 0.0
        ttl_ns = None if ttl_seconds is None else int(ttl_seconds * _SECOND_NS)
        self._eviction = Eviction(
            max_bytes=max_bytes, ttl_ns=ttl_ns, now=self._now, wall=time.time_ns if clock is None else None
        )
        # What stands in for a fence while the folder cannot be used; another one each time that it begins.
        self._spell: bytes | None = None
        self._looked = 0
        self._is_owner_told = False
        self._writer = Writer(self._base, self._eviction)
        self._stamp_age = HOUR_NS
        self._seen: dict[CacheKey, _Seen] = {}  # entries that were read lately
        reset_after_fork(open_files)

    def __repr__(self) -> str:
        return f"DiskCache({str(self.root)!r})"

    def get(self, key: CacheKey) -> bytes | None:
        """The image stored under ``key``, or ``None``. A truncated or foreign file is a miss, and removed.

        Sets the time of the last use (atime), at most once an hour; oftener in a cache that turns over within a few
        hours, which could not tell one use from another otherwise. The time written (mtime), which the TTL counts from,
        stays.
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
        return self._get_checked(key, seen)

    def fence(self, did: str, cid: str) -> Hashable:
        """A mark of the purges of this blob and its owner so far, by any process; see ``set_fenced``.

        Cheap enough for every hit of a faster cache in front of this one. Makes the folder where it is missing. Never
        raises OSError: where the folder cannot be used, by this process or by all, the fence is one that nothing is
        stored under, and the same until the folder can be used again, or is purged here.
        """
        try:
            fence = read_fence(self._base, did, cid)
            if fence is None:
                with Ledger.open(self._base, Patience(_LITTLE_PATIENCE)) as ledger:
                    fence = ledger.fence(did, cid)
        except OSError as error:
            return self._fence_of_spell(error)
        if self._spell is not None:
            self._spell = None
        return fence

    def store(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        """What ``set`` and ``set_fenced`` do, and the one method to override for another way to write."""
        name = locate(key)
        end = trailer(name.file, data)
        if len(data) + len(end) > self._max_bytes:
            self.delete(key)  # a reader must not take the old one for the one that was set
            return False
        try:
            return self._write(key, name, data, end, fence)
        except FileNotFoundError:  # the folder was removed meanwhile; once more, from the start
            return self._write(key, name, data, end, fence)

    def purge(self, did: str, cid: str | None = None) -> int:
        """Remove one blob in every variant, or all of an owner; returns how many entries went.

        One blob takes a visit to one folder, an owner to 256. All are visited, and what can be removed is, also where
        something cannot: then it raises OSError, or if a part went, CachePurgeError with ``removed``; purge again.
        """
        self._spell = None
        if not self._exists():
            return 0
        if cid is None:
            prefix = owner_digest(did)
            shards = shards_of_owner(prefix)
        else:
            name = locate(CacheKey("", did, cid, ""))
            prefix = name.owner + name.blob
            shards = range(name.shard, name.shard + 1)
        removed = 0
        failures = Failures()
        try:
            # The mark, then the lock: a fenced write that has the lock now is removed below, a later one sees the mark.
            with Ledger.open(self._base) as ledger:
                ledger.raise_fence(did, cid)
                for shard in shards:
                    with failures:
                        count, failure = self._remove(ledger, shard, prefix)
                        removed += count
                        if failure is not None:
                            raise failure
        finally:
            self._seen.clear()
            # And another mark, in the ledger that is there now: a faster cache may have been filled meanwhile with what
            # was not removed yet, under a fence that is younger than the first mark.
            with Ledger.open(self._base) as ledger:
                ledger.raise_fence(did, cid)
        if failures.first is not None and removed:
            told = f"not all could be purged: {failures.first}"
            names = (type(self).__name__,)
            raise CachePurgeError(told, removed=removed, failed=names, did=did, cid=cid) from failures.first
        failures.raise_first()
        return removed

    def delete(self, key: CacheKey) -> bool:
        """Remove one entry; whether it was there."""
        return self._exists() and self._discard(locate(key))

    def cleanup(self, *, on_progress: OnProgress | None = None) -> int:
        """Remove what is expired, what is over the limit, and what killed writers left; returns how many entries went.

        Goes from folder to folder and holds up writers in one at a time: about 5 s for a million entries.

        on_progress: called after each folder, with how many are done and how many there are.
        """
        return self._cleanup(lambda: False, on_progress)

    def start_cleanup(self, interval_seconds: float) -> CleanupHandle:
        """Call ``cleanup`` on a thread of its own, every so many seconds, until the handle's ``stop()``."""
        return CleanupHandle(self._cleanup, interval_seconds)

    def size_bytes(self) -> int:
        """What the entries take, in bytes of their files. From the ledger: right to within what is under way."""
        if not self._exists():
            return 0
        with Ledger.open(self._base) as ledger:
            self._eviction.measure(ledger)
            return sum(ledger.count()[0])

    def stats(self) -> dict[str, int]:
        """``bytes`` and ``max_bytes``: what the entries take, and what they may. From the ledger: no scan."""
        return {"bytes": read_summary(self._base).size, "max_bytes": self._max_bytes}

    def entries(self) -> Iterator[EntryInfo]:
        """All entries, folder by folder; for tools. What comes or goes meanwhile may be among them or not.

        Raises OSError at the end, if a folder could not be read.
        """
        for shard, file in scan(self._base):
            yield EntryInfo(
                size_bytes=file.size,
                written=file.written / _SECOND_NS,
                used=file.used / _SECOND_NS,
                owner=EntryName(shard, shard_name(shard), file.name).owner,
                shard=shard_name(shard),
            )

    def verify(self, *, on_progress: OnProgress | None = None) -> int:
        """Read every entry and remove those that are truncated or have flipped bits; returns how many went.

        Raises OSError at the end, if some could not be read or removed.

        on_progress: called after each folder, with how many are done and how many there are.
        """
        if not self._exists():
            return 0
        removed = 0
        failures = Failures()
        for shard in range(SHARDS):
            with failures:
                for file in scan_shard(self._base, shard):
                    name = EntryName(shard, shard_name(shard), file.name)
                    with failures:
                        if not is_sound(self._base, name):
                            removed += self._discard(name)
            if on_progress is not None:
                on_progress(shard + 1, SHARDS)
        failures.raise_first()
        return removed

    def _get_checked(self, key: CacheKey, seen: _Seen | None) -> bytes | None:
        name = locate(key)
        folder = f"{self._base}/{name.folder}"
        now = self._now()
        try:
            if abs(now - self._looked) >= _SECOND_NS:
                self._look_around(now)
            fd = open_file(folder, name.file)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(fd)
            entry = read_entry(fd, status)
            if entry is None or (self._checksums and not is_undamaged(entry[1], name.file, entry[0])):
                with contextlib.suppress(OSError):  # a miss all the same
                    self._discard(name, Patience(_NO_PATIENCE))
                return None
            written = status.st_mtime_ns
            seconds_left = self._eviction.seconds_left(written, now)
            if seconds_left < 0:
                return None  # not removed: should the clock be wrong, it is still there once that is set right
            path = f"{folder}/{name.file}"
            if abs(now - status.st_atime_ns) > self._stamp_age:
                _, latest = self._eviction.clocks()
                stamps = (now, self._eviction.sane_written(written, latest))
                with contextlib.suppress(OSError):  # a folder that can only be read
                    os.utime(fd if os.utime in os.supports_fd else path, ns=stamps)
        finally:
            os.close(fd)
        checks = 1 if seen is None else seen[4] + 1
        is_hot = checks > _CHECKS_UNTIL_HOT and not self._checksums
        until = self._clock() + min(_HOT_SECONDS, seconds_left) if is_hot else 0.0
        if len(self._seen) >= _MAX_REMEMBERED:
            self._seen.clear()  # the hot ones are back at once, and nothing has to be kept in order for each hit
        self._seen[key] = (path, len(entry[0]), entry[1], until, checks)
        return entry[0]

    def _look_around(self, now: int) -> None:
        """Once a second: what a hit relies on, and others may change.

        Raises FileNotFoundError for a base that is missing, or no folder of its own.
        """
        try:
            owner = check_folder(self._base)
        except NotADirectoryError as error:
            raise FileNotFoundError(*error.args) from error
        self._is_owner_told = self._is_owner_told or tell_owner(self._base, owner)
        with contextlib.suppress(OSError):  # a hit does not need the ledger
            self._stamp_age = stamp_age(read_summary(self._base).reach)
        self._looked = now

    def _write(self, key: CacheKey, name: EntryName, data: bytes, end: bytes, fence: Hashable) -> bool:
        with Ledger.open(self._base) as ledger:
            if not self._writer.write(ledger, key, name, data, end, fence):
                return False
            if not self._writer.is_stale(key, fence):
                return True
        self._discard(name)
        return False

    def _remove(self, ledger: Ledger, shard: int, prefix: str) -> tuple[int, OSError | None]:
        return remove(ledger, shard, prefix)

    def _discard(self, name: EntryName, patience: Patience | None = None) -> bool:
        with Ledger.open(self._base, patience) as ledger:
            removed, failure = self._remove(ledger, name.shard, name.file)
        if failure is not None:
            raise failure
        return removed > 0

    def _cleanup(self, is_stopping: Callable[[], bool], on_progress: OnProgress | None = None) -> int:
        if not self._exists():
            return 0
        removed = 0
        failures = Failures()  # one bad folder must not keep the others from being tidied
        with Ledger.open(self._base) as ledger:
            for shard in range(SHARDS):
                if is_stopping():
                    return removed
                with failures:
                    removed += self._eviction.sweep(ledger, shard)
                if on_progress is not None:
                    on_progress(shard + 1, SHARDS)
            ledger.count()  # a killed process may have left the sum wrong
            removed += self._eviction.make_room(ledger, 0)
            ledger.folder.sweep_temps(self._eviction.clocks())
        failures.raise_first()
        return removed

    def _fence_of_spell(self, error: OSError) -> bytes:
        spell = self._spell
        if spell is None or error.errno in _PASSING:
            # Where others may have the use of the folder, nobody here can tell what they purge meanwhile.
            spell = self._spell = secrets.token_bytes(8)  # shorter than a fence of the ledger's
        return spell

    def _exists(self) -> bool:
        try:
            os.lstat(self._base)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True  # and if it is forbidden, that is an error: a purge must not seem to have worked

    def _now(self) -> int:
        return int((self._clock() + self._clock_offset) * _SECOND_NS)


def _is_number(value: object, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _check(option: str, value: object, is_right: bool, wanted: str) -> None:
    if not is_right:
        raise ConfigError(f"{option} is {value!r}; it must be {wanted}", option=option, value=value)
