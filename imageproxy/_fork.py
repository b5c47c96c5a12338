"""Making locks, threads and connections anew in the children of a fork.

A child has one thread and a copy of the parent's memory: a lock that another thread held stays locked for ever, a pool
has no threads, and a connection would be shared with the parent.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

__all__ = ["ResetsAfterFork", "reset_after_fork"]


class ResetsAfterFork(Protocol):
    """Something that holds locks, threads or connections."""

    def _reset_after_fork(self) -> None:
        """Make them anew. Called in the child before anything else runs; must not take a lock made before the fork."""
        ...


_live: weakref.WeakSet[ResetsAfterFork] = weakref.WeakSet()
_registering = threading.Lock()
_is_registered = False


def reset_after_fork(thing: ResetsAfterFork) -> None:
    """Have ``thing._reset_after_fork()`` called in every child, for as long as ``thing`` lives.

    The hook of the interpreter is set with the first call, not on import. Does nothing where there is no fork.
    """
    global _is_registered  # noqa: PLW0603 - one hook for the process, which cannot be taken back
    with _registering:
        _live.add(thing)
        if not _is_registered and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_reset_all)
            _is_registered = True


def _reset_all() -> None:
    global _registering  # noqa: PLW0603 - it may be held by a thread that the child does not have
    _registering = threading.Lock()
    for thing in list(_live):
        thing._reset_after_fork()
