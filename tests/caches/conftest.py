"""What the tests of the caches share."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imageproxy.caches._entry import locate
from imageproxy.protocols import CacheKey

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"


class Clock:
    """A clock that is set by hand. It starts now: the file system's own stamps are of today."""

    def __init__(self) -> None:
        self.seconds = time.time()

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


class Files:
    """What a cache left in its folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def entries(self) -> list[Path]:
        return sorted(path for path in self.root.glob("v1/*/*") if not path.name.startswith("."))

    def entry(self) -> Path:
        (path,) = self.entries()
        return path

    def entry_folder(self, key: CacheKey) -> Path:
        return self.root / "v1" / locate(key).folder

    def temps(self) -> list[Path]:
        return sorted(path for path in self.root.rglob(".*"))

    def total(self) -> int:
        return sum(path.stat().st_size for path in self.entries())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def files(root: Path) -> Files:
    return Files(root)


@pytest.fixture
def key() -> Callable[..., CacheKey]:
    def make(number: int = 0, *, did: str = DID, preset: str = "avatar-0f1e2d3c4b5a") -> CacheKey:
        return CacheKey(preset, did, f"bafkrei{number:052d}", "image/jpeg")

    return make


PRELUDE = """
import sys
from imageproxy.caches import DiskCache
from imageproxy.caches._entry import locate
from imageproxy.protocols import CacheKey

def key(number=0, did={did!r}):
    return CacheKey("avatar-0f1e2d3c4b5a", did, f"bafkrei{{number:052d}}", "image/jpeg")

def tell(text):
    print(text, flush=True)

root = sys.argv[1]
"""


@pytest.fixture
def python(root: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts another process, with ``key``, ``tell`` and ``root`` at hand; they talk by lines."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: str) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-c", PRELUDE.format(did=DID) + code, str(root), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
