"""The examples are run as a reader would: as programs, and as modules of an app of one's own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest

from imageproxy.testing import DrawnPhoto, LocalPDS, drawn_photos

EXAMPLES = Path(__file__).parents[2] / "examples"


class RunExample(Protocol):
    def __call__(self, name: str, *arguments: str, **variables: str) -> str: ...


def load(name: str) -> ModuleType:
    """An example as a module, made afresh."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def load_example() -> Callable[[str], ModuleType]:
    return load


@pytest.fixture
def run_example(tmp_path: Path) -> RunExample:
    """Runs an example as a program in an empty folder; gives what it prints.

    Warnings are errors there too, but for connections left open: the SDK's resolvers have no way to close theirs.
    """

    def run(name: str, *arguments: str, **variables: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", str(EXAMPLES / f"{name}.py"), *arguments],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


@pytest.fixture
def pds() -> Iterator[LocalPDS]:
    with LocalPDS() as pds:
        yield pds


@pytest.fixture(scope="session")
def photos() -> tuple[DrawnPhoto, ...]:
    return drawn_photos()


@pytest.fixture
def photo(photos: tuple[DrawnPhoto, ...]) -> DrawnPhoto:
    return photos[0]
