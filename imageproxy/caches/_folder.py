"""A folder, held open and locked: what is done in it stays in it, even if a link takes its place meanwhile.

Where the system has no descriptors of folders (Windows), paths stand in for them. Where it has no ``flock`` (there, and
on some network file systems) nothing is locked, and what relies on the lock has to check again afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Folder", "FoundFile", "open_file", "open_folders"]

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

_TEMP_SUFFIX = ".tmp"


class FoundFile(NamedTuple):
    """A regular file that a scan found. ``used`` and ``written`` are its atime and mtime, in ns since the epoch."""

    used: int
    written: int
    size: int
    name: str

    @property
    def is_temp(self) -> bool:
        """Whether it was made by ``write_temp``; an old one was left behind by a process that was killed."""
        return self.name.startswith(".") and self.name.endswith(_TEMP_SUFFIX)


class _OpenFolders:
    """The descriptors of all folders that are open now.

    A child of a fork has copies of them, and a copy keeps a lock alive whose owner was killed: the child closes them.
    """

    def __init__(self) -> None:
        self._fds: set[int] = set()

    def open(self, path: str) -> int | None:
        if not _HAS_FOLDER_FDS:
            _check_folder(path)
            return None
        fd = _open_folder(path)
        self._fds.add(fd)
        return fd

    def close(self, fd: int | None) -> None:
        if fd is not None:
            self._fds.discard(fd)  # first: a child must not close a number that means something else by now
            os.close(fd)

    def _reset_after_fork(self) -> None:
        fds, self._fds = self._fds, set()
        for fd in fds:
            os.close(fd)


open_folders = _OpenFolders()


class Folder:
    """One folder, open. Made by ``Folder.open``; for one thread.

    Every method raises OSError, and FileNotFoundError where the folder was removed meanwhile.
    """

    __slots__ = ("_fd", "_path")

    def __init__(self, path: str, fd: int | None) -> None:
        self._path = path
        self._fd = fd

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: str, *, create: bool = False) -> Iterator[Folder]:
        """Open the folder, made first if it is missing and ``create`` says so; its parent must be there.

        Raises FileNotFoundError, or NotADirectoryError where something else, such as a link, is in its place.
        """
        try:
            fd = open_folders.open(path)
        except FileNotFoundError:
            if not create:
                raise
            with contextlib.suppress(FileExistsError):  # another process was faster
                os.mkdir(path)  # noqa: PTH102 - a str
            fd = open_folders.open(path)
        try:
            yield cls(path, fd)
        finally:
            open_folders.close(fd)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other threads and processes from locking this folder. Waits for as long as one of them has it."""
        if fcntl is None or self._fd is None:
            yield
            return
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Closing would not do: a process forked meanwhile has a copy of the descriptor.
            with contextlib.suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def scan(self) -> Iterator[FoundFile]:
        """The regular files in it. What vanishes meanwhile is left out."""
        with os.scandir(self._path if self._fd is None else self._fd) as found:
            for file in found:
                try:
                    status = file.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield FoundFile(status.st_atime_ns, status.st_mtime_ns, status.st_size, file.name)

    def names(self) -> list[str]:
        """The names of all that is in it."""
        return os.listdir(self._path if self._fd is None else self._fd)  # noqa: PTH208 - an open folder

    def size_of(self, name: str) -> int | None:
        """The size of a file in bytes, ``None`` if there is no such file."""
        try:
            return os.stat(self._at(name), dir_fd=self._fd, follow_symlinks=False).st_size
        except FileNotFoundError:
            return None

    def stamp(self, name: str, *, used: int, written: int) -> None:
        """Set atime and mtime, in ns since the epoch."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._at(name), ns=(used, written), dir_fd=self._fd, follow_symlinks=_UTIME_FOLLOWS)

    def write_temp(self, *chunks: bytes, written: int) -> str:
        """Write a new file under a name of its own, which is returned. Leaves nothing when it fails.

        written: atime and mtime, in ns since the epoch.
        """
        name = f".{secrets.token_hex(8)}{_TEMP_SUFFIX}"
        fd = os.open(self._at(name), _CREATE_FLAGS, 0o666, dir_fd=self._fd)
        try:
            try:
                for chunk in chunks:
                    write_all(fd, chunk)
                os.utime(fd if os.utime in os.supports_fd else self._at(name), ns=(written, written))
            finally:
                os.close(fd)
        except BaseException:
            self.unlink(name)
            raise
        return name

    def replace(self, old: str, new: str) -> None:
        """Give a file another name, taking the place of what had it."""
        os.replace(self._at(old), self._at(new), src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def unlink(self, name: str) -> bool:
        """Remove a file; whether it was there."""
        try:
            os.unlink(self._at(name), dir_fd=self._fd)
        except FileNotFoundError:
            return False
        return True

    def _at(self, name: str) -> str:
        return name if self._fd is not None else os.path.join(self._path, name)


def open_file(folder: str, name: str) -> int:
    """Open a file to be read; neither the folder nor the file may be a link.

    Raises FileNotFoundError for a file that is not there, and for one that is not to be followed to.
    """
    try:
        if not _HAS_FOLDER_FDS:
            _check_folder(folder)
            return os.open(os.path.join(folder, name), READ_FLAGS)
        fd = _open_folder(folder)
        try:
            return os.open(name, READ_FLAGS, dir_fd=fd)
        finally:
            os.close(fd)
    except NotADirectoryError as error:
        raise FileNotFoundError(*error.args) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(*error.args) from error
        raise


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data``, however little the system takes at once."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def _open_folder(path: str) -> int:
    try:
        return os.open(path, _FOLDER_FLAGS)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link, as some systems tell it; the others say ENOTDIR
            raise NotADirectoryError(*error.args) from error
        raise


def _check_folder(path: str) -> None:
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
