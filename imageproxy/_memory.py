"""The memory of this process: how much it may use, and giving back what it has freed."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["memory_limit_bytes", "release_freed_memory"]

_UNKNOWN = 4 * 1024**3  # assumed where the system does not tell
_ROOT = Path("/")


def memory_limit_bytes(root: Path = _ROOT) -> int:
    """The least of the machine's memory and the limits of the control groups that this process is in (Linux).

    root: where ``proc`` and ``sys`` are; for tests.
    """
    limits = [_physical_bytes(), *_group_limits(root)]
    return min(limit for limit in limits if limit > 0)


def _physical_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return _UNKNOWN


def _group_limits(root: Path) -> list[int]:
    """Docs: kernel.org, admin-guide/cgroup-v2 (memory.max) and cgroup-v1/memory (memory.limit_in_bytes)."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    limits: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = mount / path.lstrip("/")
        # In a container the path may be that of the host, which is not there: then the mount itself is the group.
        for folder in (group, *group.parents):
            if not folder.is_relative_to(mount):
                break
            try:
                limits.append(int((folder / name).read_text()))
            except (OSError, ValueError):  # no such file, or "max"
                continue
    return limits


def release_freed_memory() -> None:
    """Have the allocator give freed memory back to the system, where it is glibc's; elsewhere, do nothing.

    glibc keeps what was freed for the thread that freed it, so that after a while a process with several decoding
    threads holds a multiple of what it uses. Takes 0.1 to 4 ms; changes no setting.
    """
    _trim()(0)


@lru_cache(maxsize=1)
def _trim() -> Callable[[int], Any]:
    try:
        ctypes = import_module("ctypes")  # takes some milliseconds, and may be missing
        return ctypes.CDLL(None).malloc_trim  # type: ignore[no-any-return]  # malloc_trim(3)
    except (ImportError, OSError, AttributeError, TypeError):
        return lambda _pad: None
