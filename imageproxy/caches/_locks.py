"""Locks of the system on folders and files, which hold between processes and end with them.

Where there is no ``flock`` (Windows, some network file systems) they hold within a process only: what relies on them
has to check again afterwards.
"""

from __future__ import annotations

import errno
import os
import threading
import time

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Lock", "Patience", "open_files"]

_PATIENCE_SECONDS = 10.0  # locks are held for milliseconds
_SHORTEST_PAUSE = 0.0001
_LONGEST_PAUSE = 0.02
_TAKEN = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})


class Patience:
    """How long one operation waits for locks that others hold; for one thread.

    Once a wait was in vain, the next may take half as long: whatever is stuck, and however many locks are asked for,
    they all end within twice ``seconds``.
    """

    __slots__ = ("seconds",)

    def __init__(self, seconds: float = _PATIENCE_SECONDS) -> None:
        self.seconds = seconds


class _OpenFiles:
    """The descriptors that are open now and may be locked.

    A child of a fork has copies of them, and a copy keeps a lock alive whose owner was killed: the child closes them.
    """

    def __init__(self) -> None:
        self._fds: set[int] = set()

    def add(self, fd: int) -> int:
        self._fds.add(fd)
        return fd

    def close(self, fd: int) -> None:
        self._fds.discard(fd)  # first: a child must not close a number that means something else by now
        os.close(fd)

    def _reset_after_fork(self) -> None:
        global _instead_of_flock  # noqa: PLW0603 - it may be held by a thread that the child does not have
        _instead_of_flock = threading.RLock()
        fds, self._fds = self._fds, set()
        for fd in fds:
            os.close(fd)


open_files = _OpenFiles()
_instead_of_flock = threading.RLock()


class Lock:
    """Keeps other threads and processes from locking the same file or folder through descriptors of their own.

    For one ``with``. Not a generator, since a write takes four of them.

    path: its name, for the error.

    Entering raises TimeoutError (ETIMEDOUT) if another has it for longer than ``patience`` allows.
    """

    __slots__ = ("_fd", "_instead", "_path", "_patience")

    def __init__(self, fd: int | None, path: str, patience: Patience) -> None:
        self._fd = fd
        self._path = path
        self._patience = patience
        self._instead: threading.RLock | None = None

    def __enter__(self) -> None:
        if self._fd is None or not _flock(self._fd, self._path, self._patience):
            self._instead = _instead_of_flock
            self._instead.acquire()

    def __exit__(self, *_: object) -> None:
        if self._instead is not None:
            self._instead.release()
        elif self._fd is not None:
            # Closing would not do: a process forked meanwhile has a copy of the descriptor.
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # pyright: ignore[reportOptionalMemberAccess] - it was locked with it


def _flock(fd: int, path: str, patience: Patience) -> bool:
    """Lock it, and tell whether that can be done here."""
    if fcntl is None:
        return False
    pause = _SHORTEST_PAUSE
    until: float | None = None
    while True:
        try:
            # Not the call that waits, which no time limit ends: whoever has the lock may be stopped for good.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _TAKEN:  # a file system without locks
                return False
        else:
            return True
        now = time.monotonic()
        if until is None:
            until = now + patience.seconds
        elif now >= until:
            break
        time.sleep(min(pause, max(0.0, until - now)))
        pause = min(2 * pause, _LONGEST_PAUSE)
    waited, patience.seconds = patience.seconds, patience.seconds / 2
    raise TimeoutError(
        errno.ETIMEDOUT,
        f"another process kept its lock on {path} for over {waited:g} s; look, with fuser or lsof, for one that is "
        "stopped or stuck: a frozen container, a debugger, a hanging disk",
    )
