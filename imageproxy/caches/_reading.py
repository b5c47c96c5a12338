"""Reading the entries of the disk cache, one by one or folder by folder."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from ._entry import SHARDS, TRAILER_SIZE, EntryName, is_entry_name, is_trailer, is_undamaged, shard_name
from ._folder import READ_FLAGS, Folder, FoundFile, open_file, read_at

__all__ = ["is_sound", "read_entry", "scan", "scan_shard"]

_QUIET = getattr(os, "O_NOATIME", 0)


def read_entry(fd: int, status: os.stat_result) -> tuple[bytes, bytes] | None:
    """The data and the trailer of an open entry, or ``None`` if it is not whole."""
    size = status.st_size - TRAILER_SIZE
    if size < 0 or not stat.S_ISREG(status.st_mode):
        return None
    # Two reads, so that the data need not be copied to leave the trailer out. The trailer first: what is no entry may
    # have any size.
    end = read_at(fd, TRAILER_SIZE, size)
    if not is_trailer(end, size):
        return None
    data = os.read(fd, size)
    return (data, end) if len(data) == size else None


def is_sound(base: str, name: EntryName) -> bool:
    """Whether an entry is whole, and as it was written. So is one that is gone, and a link, which is never served.

    This is no use of the entry: the time of its last use stays, where the system permits that.
    """
    try:
        fd = _open_quietly(f"{base}/{name.folder}", name.file)
    except FileNotFoundError:
        return True
    try:
        entry = read_entry(fd, os.fstat(fd))
    except OSError as error:
        if error.errno == errno.EIO:
            return False
        raise
    finally:
        os.close(fd)
    return entry is not None and is_undamaged(entry[1], name.file, entry[0])


def scan_shard(base: str, shard: int) -> list[FoundFile]:
    """The entries of a shard; none where it is missing, or no folder."""
    try:
        with Folder.open(base) as opened, opened.child(shard_name(shard)) as folder:
            return list(folder.scan(is_entry_name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def scan(base: str) -> Iterator[tuple[int, FoundFile]]:
    """All entries, each with its shard.

    Raises at the end the first OSError of the shards that could not be scanned.
    """
    failure: OSError | None = None
    for shard in range(SHARDS):
        try:
            found = scan_shard(base, shard)
        except OSError as error:
            failure = failure or error
            continue
        for file in found:
            yield shard, file
    if failure is not None:
        raise failure


def _open_quietly(folder: str, name: str) -> int:
    try:
        return open_file(folder, name, READ_FLAGS | _QUIET)
    except PermissionError:  # it belongs to another user
        if not _QUIET:
            raise
        return open_file(folder, name)
