"""docs/write-a-cache.md, taken at its word: its code is the file, and pytest says of it what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "write-a-cache.md").read_text()
CODE = "".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
CONTRACTS = re.findall(r"^class (Test\w+)", CODE, re.MULTILINE)
FAILED = re.compile(r"^FAILED (?:\S+?\.py::)?(\w+::\w+) - (.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest tells of the code of the page."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "test_page.py").write_text(CODE)
    options = ["-q", "-rf", "-p", "no:randomly", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", *options, "test_page.py"],
        cwd=folder,
        env={**os.environ, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout + done.stderr


def test_each_step_has_its_contract() -> None:
    assert CONTRACTS == ["TestNaiveCache", "TestSqliteCache", "TestBoundedCache", "TestFencedCache"]


def test_the_suite_says_what_the_page_says(told: str) -> None:
    promised, found = dict(FAILED.findall(PAGE)), dict(FAILED.findall(told))
    assert set(found) == set(promised), told
    for test, message in promised.items():
        assert found[test].startswith(message), test


def test_everything_else_passes(told: str) -> None:
    counted = re.search(r"^(\d+) failed, (\d+) passed in", told, re.MULTILINE)
    assert counted is not None, told
    assert int(counted[1]) == len(FAILED.findall(PAGE))
    assert int(counted[2]) > 20 * (len(CONTRACTS) - 1)
