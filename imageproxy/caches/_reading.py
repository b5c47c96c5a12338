"""Reading the entries of the disk cache, one by one or folder by folder."""

from __future__ import annotations

import errno
import os
import stat

from ._entry import TRAILER_SIZE, EntryName, is_entry_name, is_trailer, is_undamaged, shard_name
from ._folder import Folder, FoundFile, open_file

__all__ = ["is_sound", "read_entry", "scan_shard"]


def read_entry(fd: int, status: os.stat_result) -> tuple[bytes, bytes] | None:
    """The data and the trailer of an open entry, or ``None`` if it is not whole."""
    size = status.st_size - TRAILER_SIZE
    if size < 0 or not stat.S_ISREG(status.st_mode):
        return None
    # Two reads, so that the data need not be copied to leave the trailer out.
    data = os.read(fd, size)
    end = os.read(fd, TRAILER_SIZE)
    return (data, end) if len(data) == size and is_trailer(end, size) else None


def is_sound(base: str, name: EntryName) -> bool:
    """Whether an entry is whole, and as it was written. So is one that is gone, and a link, which is never served."""
    try:
        fd = open_file(f"{base}/{name.folder}", name.file)
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
            return [file for file in folder.scan() if is_entry_name(file.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
