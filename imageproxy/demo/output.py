"""The folder that a page and its pictures are written to."""

from __future__ import annotations

import re
from pathlib import Path

from imageproxy.errors import ConfigError

__all__ = ["OutputFolder"]

_LIST = ".imageproxy-files"
_HEADING = "# What imageproxy wrote here, and removes when it writes here again:\n"
_NAME = re.compile(r"index\.html|images/[a-z0-9][a-z0-9_-]*\.[a-z0-9]+")


class OutputFolder:
    """A folder, made where there is none, that keeps a list of the files written to it.

    What an earlier command wrote is removed first: the files on its list, and no others. A folder that has something in
    it and no list is somebody else's.

    Raises ConfigError for a folder of somebody else, and OSError where it cannot be written to.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._list = self._root / _LIST
        if self._list.exists():
            self._remove_earlier()
        elif self._root.exists() and any(self._root.iterdir()):
            raise ConfigError(
                f"--output is {str(root)!r}; it must be a new folder, an empty one, or one from before",
                option="--output",
            )
        (self._root / "images").mkdir(parents=True, exist_ok=True)
        self._list.write_text(_HEADING)

    def write(self, name: str, data: bytes) -> Path:
        """Write a file: ``index.html``, or one in ``images/``. Returns its absolute path."""
        # On the list first: a command that is broken off leaves nothing that the next one does not know.
        with self._list.open("a") as names:
            names.write(f"{name}\n")
        path = self._root / name
        path.write_bytes(data)
        return path

    def _remove_earlier(self) -> None:
        for name in self._list.read_text().splitlines():
            if _NAME.fullmatch(name):  # a list that was tampered with reaches nothing else
                (self._root / name).unlink(missing_ok=True)
