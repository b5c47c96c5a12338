"""How a contract is run over a backend that is right or wrong: without pytest, test by test."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def failures(tmp_path: Path) -> Callable[..., dict[str, Exception]]:
    """``failures(contract)``: what its tests raise, by their names; ``failures(contract, name)``: one test alone."""

    def run(contract: object, *names: str) -> dict[str, Exception]:
        failed: dict[str, Exception] = {}
        for name in names or [name for name in dir(contract) if name.startswith("test_")]:
            test = getattr(contract, name)
            folder = tmp_path / name
            folder.mkdir()
            try:
                test(folder) if "tmp_path" in inspect.signature(test).parameters else test()
            except Exception as error:  # noqa: BLE001 - it is told of, like every other
                failed[name] = error
        return failed

    return run
