from __future__ import annotations

import inspect
import itertools
import subprocess
import sys
from typing import Any

import pytest

from imageproxy.testing.contracts import CacheContract, FetcherContract, ProcessorContract, ResolverContract

CONTRACTS: list[tuple[Any, str]] = [
    (CacheContract, "make_cache"),
    (FetcherContract, "make_fetcher"),
    (ResolverContract, "make_resolver"),
    (ProcessorContract, "make_processor"),
]


def test_pytest_is_not_loaded_with_the_contracts() -> None:
    code = "import sys, imageproxy.testing.contracts; print('pytest' in sys.modules, '_pytest' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]


@pytest.mark.parametrize(("contract", "make"), CONTRACTS)
def test_a_contract_must_be_told_what_to_make(contract: Any, make: str) -> None:
    method = getattr(contract(), make)
    with pytest.raises(NotImplementedError):
        method(*itertools.repeat(None, len(inspect.signature(method).parameters)))


@pytest.mark.parametrize(("contract", "make"), CONTRACTS)
def test_a_contract_is_collected_only_where_somebody_subclasses_it(contract: Any, make: str) -> None:
    assert not contract.__name__.startswith("Test")
    assert contract.__doc__
    assert getattr(contract, make).__doc__
