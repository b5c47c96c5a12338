"""The four that make pictures, each in a process of its own that is kept for all rounds.

A request is a line of JSON: ``op`` ("run" or "peak"), ``path`` of the photo, which is read before the clock starts,
``preset`` with its fields, ``save`` (a path for the result, or null). The reply to "run": ``wall`` and ``cpu`` in
seconds, the latter over all threads, and ``bytes``; to "peak": the most resident memory over what was resident before,
in bytes; or ``error``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, get_args

from typing_extensions import Self

from imageproxy import Preset

from .install import Peers

__all__ = ["CONTESTANTS", "Contestant", "Name", "Run", "WorkerError"]

_HERE = Path(__file__).resolve().parent

Name = Literal["pillow", "simd", "sharp", "pyvips"]
CONTESTANTS: tuple[Name, ...] = get_args(Name)


class WorkerError(Exception):
    """What a contestant says that it could not do."""


class Run(NamedTuple):
    """Seconds, and the size of the result."""

    wall: float
    cpu: float
    bytes: int


class Contestant:
    """One of them at work on one core. To be closed."""

    def __init__(self, name: Name, peers: Peers, *, core: int, optimize: bool) -> None:
        """optimize: whether sharp and libvips optimize a JPEG's Huffman tables; sharp does unless told otherwise."""
        self.name = name
        self._optimize = optimize
        # What a process may run on, all its threads inherit; libvips would otherwise make as many as there are cores.
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            self._process = subprocess.Popen(
                self._command(peers),
                env={**os.environ, "VIPS_CONCURRENCY": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        finally:
            os.sched_setaffinity(0, allowed)

    def _command(self, peers: Peers) -> list[str | Path]:
        if self.name == "sharp":
            return [peers.node, _HERE / "sharp_worker.mjs", peers.folder]
        return [peers.python if self.name == "pyvips" else sys.executable, _HERE / "worker.py", self.name]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, photo: Path, preset: Preset, save: Path | None = None) -> Run:
        """Make the picture once. Raises WorkerError."""
        reply = self._ask("run", photo, preset, save)
        return Run(reply["wall"], reply["cpu"], int(reply["bytes"]))

    def peak(self, photo: Path, preset: Preset) -> int:
        """Make the picture once, and tell the bytes of memory that it took; in a fresh process, warmed up."""
        return int(self._ask("peak", photo, preset, None)["peak"])

    def _ask(self, op: str, photo: Path, preset: Preset, save: Path | None) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {
            "op": op,
            "path": str(photo),
            "preset": self._fields(preset),
            "save": None if save is None else str(save),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"{self.name} ended with exit code {self._process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise WorkerError(f"{self.name}: {reply['error']}")
        return reply

    def _fields(self, preset: Preset) -> dict[str, Any]:
        names = ("name", "width", "height", "quality", "format", "background", "enlarge", "enlarges")
        fields = {name: getattr(preset, name) for name in names}
        return {**fields, "fit": preset.fit.value, "optimize": self._optimize}

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
