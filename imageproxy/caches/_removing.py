"""Removing the entries of the disk cache by name."""

from __future__ import annotations

import contextlib

from ._entry import is_entry_name, shard_name
from ._failures import Failures
from ._ledger import Ledger

__all__ = ["remove"]


def remove(ledger: Ledger, shard: int, prefix: str) -> tuple[int, OSError | None]:
    """Remove the entries of a shard whose names begin with ``prefix``; none where the shard is missing, or a link.

    Returns how many went, and what the first raised that could not be removed.

    Raises OSError for the folder or the ledger.
    """
    removed = freed = 0
    failures = Failures()
    with (
        contextlib.suppress(FileNotFoundError, NotADirectoryError),
        ledger.folder.child(shard_name(shard)) as folder,
        folder.locked(),
    ):
        files = [prefix] if is_entry_name(prefix) else [name for name in folder.names() if name.startswith(prefix)]
        try:
            for name in files:
                with failures:
                    file = folder.find(name)
                    if file is not None and folder.unlink(name):
                        removed += 1
                        freed += file.size
        finally:
            if removed:
                ledger.add(shard, -freed)
    return removed, failures.first
