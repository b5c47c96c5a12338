"""A folder, held open and locked: what is done in it stays in it, even if a link takes its place meanwhile.

Where the system has no descriptors of folders (Windows), paths stand in for them. See ``_locks.py`` for the locks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from imageproxy._typing import Self

from ._locks import Lock, Patience, open_files

__all__ = [
    "READ_FLAGS",
    "UPDATE_FLAGS",
    "Folder",
    "FoundFile",
    "check_folder",
    "make_folders",
    "open_file",
    "read_at",
    "write_all",
    "write_at",
]

_HAS_FOLDER_FDS = os.open in os.supports_dir_fd and os.scandir in os.supports_fd
_UTIME_FOLLOWS = os.utime not in os.supports_follow_symlinks

_ALWAYS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
# O_NONBLOCK: opening a pipe that somebody planted must not wait for its other end. Files do not care.
READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _ALWAYS
"""How an entry is opened to be read."""
UPDATE_FLAGS = os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | _ALWAYS
"""How a file is opened to be read and changed in place."""
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _ALWAYS
_FOLDER_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _ALWAYS

# What is cached is its user's alone, whatever the umask: the names tell whose images somebody looks at.
_FILE_MODE = 0o600
_FOLDER_MODE = 0o700

_TEMP_SUFFIX = ".tmp"
# No write takes so long; one that does finds its file gone, and is made again.
_TEMP_AGE_NS = 600 * 10**9


class FoundFile(NamedTuple):
    """A regular file that a scan found. ``used`` and ``written`` are its atime and mtime, in ns since the epoch."""

    used: int
    written: int
    size: int
    name: str


class Folder:
    """One folder, open until its ``with`` is left. Made by ``Folder.open`` or ``child``; for one thread.

    patience: how long its lock, and those of the folders in it, are waited for.

    Every method raises OSError, and FileNotFoundError where the folder was removed meanwhile.
    """

    __slots__ = ("_fd", "_path", "patience")

    def __init__(self, path: str, fd: int | None, patience: Patience) -> None:
        self._path = path
        self._fd = fd
        self.patience = patience

    @classmethod
    def open(cls, path: str, patience: Patience | None = None) -> Folder:
        """Open a folder.

        Raises FileNotFoundError, or NotADirectoryError where something else, such as a link, is in its place.
        """
        return cls(path, _open_folder(path), Patience() if patience is None else patience)

    def child(self, name: str, *, create: bool = False) -> Folder:
        """Open a folder in this one, made first if it is missing and ``create`` says so. Raises as ``open``."""
        path = f"{self._path}/{name}"
        where = path if self._fd is None else name
        try:
            return Folder(path, _open_folder(where, self._fd), self.patience)
        except FileNotFoundError:
            if not create:
                raise
            _make_folder(where, self._fd)
            return Folder(path, _open_folder(where, self._fd), self.patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """What leaving the ``with`` does."""
        if self._fd is not None:
            open_files.close(self._fd)

    def locked(self) -> Lock:
        """Keep other threads and processes from locking this folder. Raises TimeoutError as ``Lock`` does."""
        return Lock(self._fd, self._path, self.patience)

    def scan(self, is_wanted: Callable[[str], bool]) -> Iterator[FoundFile]:
        """The regular files in it whose names are wanted. What vanishes meanwhile is left out."""
        with os.scandir(self._path if self._fd is None else self._fd) as found:
            for file in found:
                if not is_wanted(file.name):
                    continue
                try:
                    status = file.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield FoundFile(status.st_atime_ns, status.st_mtime_ns, status.st_size, file.name)

    def path_of(self, name: str) -> str:
        """The path of what is in it, to be told."""
        return f"{self._path}/{name}"

    def names(self) -> list[str]:
        """The names of all that is in it."""
        return os.listdir(self._path if self._fd is None else self._fd)  # noqa: PTH208 - an open folder

    def find(self, name: str) -> FoundFile | None:
        """What ``scan`` would tell of one file, whatever kind it is of; ``None`` if there is none of this name."""
        try:
            status = os.stat(self._at(name), dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return FoundFile(status.st_atime_ns, status.st_mtime_ns, status.st_size, name)

    def open_file(self, name: str, flags: int) -> int:
        """A descriptor of a file in it, which is nobody else's and no link."""
        return os.open(self._at(name), flags, dir_fd=self._fd)

    def stamp(self, name: str, *, used: int, written: int) -> None:
        """Set atime and mtime, in ns since the epoch."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._at(name), ns=(used, written), dir_fd=self._fd, follow_symlinks=_UTIME_FOLLOWS)

    def write_temp(self, *chunks: bytes, written: int) -> str:
        """Write a new file under a name of its own, which is returned. Leaves nothing when it fails.

        written: atime and mtime, in ns since the epoch.
        """
        name = f".{secrets.token_hex(8)}{_TEMP_SUFFIX}"
        fd = os.open(self._at(name), _CREATE_FLAGS, _FILE_MODE, dir_fd=self._fd)
        try:
            try:
                if hasattr(os, "fchmod"):
                    os.fchmod(fd, _FILE_MODE)  # the umask may have taken the user's own rights
                for chunk in chunks:
                    write_all(fd, chunk)
                os.utime(fd if os.utime in os.supports_fd else self._at(name), ns=(written, written))
            finally:
                os.close(fd)
        except BaseException:
            self.unlink(name)
            raise
        return name

    def move(self, name: str, folder: Folder, new: str) -> None:
        """Move a file to another folder or name, where it takes the place of what had it."""
        os.replace(self._at(name), folder._at(new), src_dir_fd=self._fd, dst_dir_fd=folder._fd)

    def unlink(self, name: str) -> bool:
        """Remove a file; whether it was there."""
        try:
            os.unlink(self._at(name), dir_fd=self._fd)
        except FileNotFoundError:
            return False
        return True

    def sweep_temps(self, now: Sequence[int]) -> None:
        """Remove the temporary files that nobody can still be writing: those that killed processes left.

        now: the time by each clock that there is, in ns since the epoch. A file must be old by all of them.
        """
        for name in self.names():
            if name.startswith(".") and name.endswith(_TEMP_SUFFIX):
                file = self.find(name)
                if file is not None and all(abs(time - file.written) > _TEMP_AGE_NS for time in now):
                    self.unlink(name)

    def _at(self, name: str) -> str:
        return name if self._fd is not None else f"{self._path}/{name}"


def make_folders(path: str) -> None:
    """Make a folder, and its parents, where they are missing; for the user alone. What is there stays as it is."""
    parent = os.path.dirname(path)  # noqa: PTH120 - a str
    if parent != path and not os.path.isdir(path):  # noqa: PTH112 - a str
        make_folders(parent)
        _make_folder(path)


def open_file(folder: str, name: str, flags: int = READ_FLAGS) -> int:
    """Open a file to be read; neither the folder nor the file may be a link.

    Raises FileNotFoundError for a file that is not there, and for one that is not to be followed to.
    """
    try:
        if not _HAS_FOLDER_FDS:
            check_folder(folder)
            return os.open(f"{folder}/{name}", flags)
        fd = os.open(folder, _FOLDER_FLAGS)
        try:
            return os.open(name, flags, dir_fd=fd)
        finally:
            os.close(fd)
    except NotADirectoryError as error:
        raise FileNotFoundError(*error.args) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(*error.args) from error
        raise


def _read_without_pread(fd: int, size: int, at: int) -> bytes:
    os.lseek(fd, at, os.SEEK_SET)
    read = os.read(fd, size)
    os.lseek(fd, 0, os.SEEK_SET)
    return read


def _write_without_pwrite(fd: int, data: bytes, at: int) -> int:
    os.lseek(fd, at, os.SEEK_SET)
    return os.write(fd, data)


# Windows has neither. A few bytes, which take no new room, are written all or not at all. What is read without a place
# afterwards is read from the beginning.
read_at = getattr(os, "pread", _read_without_pread)
write_at = getattr(os, "pwrite", _write_without_pwrite)


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data``, however little the system takes at once."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def _make_folder(path: str, dir_fd: int | None = None) -> None:
    try:
        os.mkdir(path, _FOLDER_MODE, dir_fd=dir_fd)
    except FileExistsError:  # another process was faster, or something else is there
        return
    mode = os.stat(path, dir_fd=dir_fd, follow_symlinks=False).st_mode
    if stat.S_IMODE(mode) & _FOLDER_MODE != _FOLDER_MODE:
        os.chmod(path, _FOLDER_MODE, dir_fd=dir_fd)  # the umask took the user's own rights


def _open_folder(path: str, dir_fd: int | None = None) -> int | None:
    if not _HAS_FOLDER_FDS:
        check_folder(path)
        return None
    try:
        return open_files.add(os.open(path, _FOLDER_FLAGS, dir_fd=dir_fd))
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link, as some systems tell it; the others say ENOTDIR
            raise NotADirectoryError(*error.args) from error
        raise


def check_folder(path: str) -> int:
    """Who owns a folder. Raises NotADirectoryError for what is no folder, such as a link to one."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return status.st_uid
