"""The installer's promises that can be kept to without a minute of compiling."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.pds

_HERE = Path(__file__).resolve().parent


def _read(name: str) -> Any:
    return json.loads((_HERE / name).read_text())


def test_manifest_pins_exact_versions() -> None:
    for name, version in _read("package.json")["dependencies"].items():
        assert version[0].isdigit(), f"{name}: {version}"


def test_lock_file_names_hashes_and_no_registry() -> None:
    packages = {path: entry for path, entry in _read("package-lock.json")["packages"].items() if path}

    assert len(packages) > 100
    assert [path for path, entry in packages.items() if "resolved" in entry] == []
    assert [path for path, entry in packages.items() if not entry["integrity"].startswith("sha512-")] == []


def test_missing_compiler_is_one_line_that_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, _HERE / "install.py"],
        env={**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "PATH": "", "CXX": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "make" in line
    assert "install" in line
