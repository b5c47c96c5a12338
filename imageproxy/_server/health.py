"""Whether the process lives, and whether it can serve: for load balancers and orchestrators."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from pathlib import Path

__all__ = ["Health"]

_log = logging.getLogger("imageproxy.serve")

_REMEMBERED_SECONDS = 1.0
"""How long the state of the cache is remembered: whoever asks more often has no more work done."""


class Health:
    """Tells whether the server can serve. For one event loop.

    cache_root: the folder of the cache, which need not be there yet; ``None``: there is none to look at.

    A server whose cache cannot be written to answers all the same, but each request goes on to the accounts' servers.
    So it says that it is not ready: that is for others to do as long as they can.
    """

    def __init__(self, cache_root: Path | None) -> None:
        self.is_closing = False
        """Set when the server begins to close."""
        self._cache_root = cache_root
        self._lock = asyncio.Lock()
        self._looked_at = float("-inf")
        self._trouble: OSError | None = None

    async def reason(self) -> str | None:
        """Why it can not serve, fit for strangers; ``None``: it can."""
        if self.is_closing:
            return "closing down"
        if self._cache_root is not None:
            async with self._lock:
                if time.monotonic() - self._looked_at > _REMEMBERED_SECONDS:
                    self._tell(await asyncio.to_thread(_trouble_with, self._cache_root))
                    self._looked_at = time.monotonic()
        return None if self._trouble is None else "the cache cannot be written to"

    def _tell(self, trouble: OSError | None) -> None:
        if trouble is not None and self._trouble is None:
            _log.warning("not ready: the cache folder %s cannot be written to: %s", self._cache_root, trouble)
        elif trouble is None and self._trouble is not None:
            _log.info("the cache folder %s can be written to again", self._cache_root)
        self._trouble = trouble


def _trouble_with(root: Path) -> OSError | None:
    """What there is against writing a file there. A folder that the first write would make is not made."""
    folder = next((folder for folder in (root, *root.parents) if os.path.lexists(folder)), root)
    try:
        if folder == root:
            with tempfile.TemporaryFile(dir=root) as file:
                file.write(b"?")
                file.flush()
        elif not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise PermissionError(f"{folder} cannot be written to")
    except OSError as error:
        return error
    return None
