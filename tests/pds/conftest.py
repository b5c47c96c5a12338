"""The reference servers, started once for a test run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .install import install
from .servers import Account, Network, running

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time the tests alone: the first one's setup may install the servers, which takes minutes."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(60, func_only=True))


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A PDS and a PLC directory, shared by the run: a test makes accounts of its own."""
    with running(install(), tmp_path_factory.mktemp("pds")) as servers:
        yield servers


@pytest.fixture
def account(network: Network) -> Account:
    """A new account on the PDS."""
    return network.create_account()
