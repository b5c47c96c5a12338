"""ResolverContract: a right resolver passes, and each wrong one is found out by the test that is meant for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from imageproxy.errors import DIDNotFoundError, DIDResolutionError
from imageproxy.protocols import Resolver
from imageproxy.testing.contracts import ResolverContract
from imageproxy.testing.contracts import resolver as resolver_contract

Failures = Callable[..., dict[str, Exception]]


class ToyResolver:
    """A table, and a memory of what was found there."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self.known = dict(known)
        self.remembered: dict[str, Any] = {}
        self.is_closed = False

    def resolve(self, did: str, *, timeout: float | None = None) -> Any:
        if did not in self.remembered:
            self.remembered[did] = self.look_up(did)
        return self.remembered[did]

    def look_up(self, did: str) -> Any:
        try:
            return self.known[did]
        except KeyError:
            raise DIDNotFoundError("no such DID", did=did) from None

    def invalidate(self, did: str) -> None:
        self.remembered.pop(did, None)

    def close(self) -> None:
        self.is_closed = True


class GivesBytes(ToyResolver):
    def look_up(self, did: str) -> Any:
        return super().look_up(did).encode()


class KnowsEverybody(ToyResolver):
    def look_up(self, did: str) -> Any:
        return "https://pds.example.com"


class NamesNobody(ToyResolver):
    def look_up(self, did: str) -> Any:
        if did not in self.known:
            raise DIDNotFoundError("no such DID")
        return super().look_up(did)


class LetsOthersErrorsThrough(ToyResolver):
    def look_up(self, did: str) -> Any:
        return self.known[did]


class ForgetsForGood(ToyResolver):
    def invalidate(self, did: str) -> None:
        self.remembered[did] = ""


class ForgetsOnlyWhatItKnows(ToyResolver):
    def invalidate(self, did: str) -> None:
        del self.remembered[did]


class NeverForgets(ToyResolver):
    def invalidate(self, did: str) -> None:
        pass


class IsOneForAllThreads(ToyResolver):
    def look_up(self, did: str) -> Any:
        self.wanted = did
        threading.Event().wait(0.001)
        return super().look_up(self.wanted)


class HasOneError(ToyResolver):
    error = DIDNotFoundError("no such DID")

    def look_up(self, did: str) -> Any:
        try:
            return super().look_up(did)
        except DIDNotFoundError:
            self.error.did = did
            raise self.error from None


class ClosesOnce(ToyResolver):
    def close(self) -> None:
        if self.is_closed:
            raise ValueError("closed already")
        super().close()


def contract_of(make: Callable[[Mapping[str, str]], ToyResolver]) -> ResolverContract:
    class Contract(ResolverContract):
        def make_resolver(self, known: Mapping[str, str]) -> Resolver:
            self.resolver = make(known)
            return self.resolver

        def move_account(self, did: str, pds_url: str) -> bool:
            self.resolver.known[did] = pds_url
            return True

    return Contract()


def test_a_right_resolver_passes_and_is_closed(failures: Failures) -> None:
    made: list[ToyResolver] = []

    def make(known: Mapping[str, str]) -> ToyResolver:
        made.append(ToyResolver(known))
        return made[-1]

    assert failures(contract_of(make)) == {}
    assert all(resolver.is_closed for resolver in made)


def test_a_resolver_without_extra_powers_passes(failures: Failures) -> None:
    class Plain:
        def __init__(self, known: Mapping[str, str]) -> None:
            self.resolve = ToyResolver(known).resolve

    class Contract(ResolverContract):
        def make_resolver(self, known: Mapping[str, str]) -> Resolver:
            return Plain(known)

    assert failures(Contract()) == {}


def test_an_account_that_stays_where_it_is_passes(failures: Failures) -> None:
    class Contract(ResolverContract):
        def make_resolver(self, known: Mapping[str, str]) -> Resolver:
            return NeverForgets(known)

    assert failures(Contract()) == {}


FOUND_OUT: list[tuple[type[ToyResolver], str]] = [
    (GivesBytes, "test_a_known_did_has_its_pds"),
    (KnowsEverybody, "test_an_unknown_did_is_an_error_of_its_own"),
    (NamesNobody, "test_an_unknown_did_is_an_error_of_its_own"),
    (LetsOthersErrorsThrough, "test_an_unknown_did_is_an_error_of_its_own"),
    (ForgetsForGood, "test_a_did_that_was_forgotten_is_found_again"),
    (ForgetsOnlyWhatItKnows, "test_a_did_that_was_forgotten_is_found_again"),
    (NeverForgets, "test_a_did_that_was_forgotten_is_asked_for_afresh"),
    (IsOneForAllThreads, "test_threads_resolve_at_once"),
    (HasOneError, "test_threads_that_fail_have_an_error_each"),
    (ClosesOnce, "test_closing_twice_is_harmless"),
]


@pytest.mark.parametrize(("broken", "found_by"), FOUND_OUT)
def test_a_wrong_resolver_is_found_out(broken: type[ToyResolver], found_by: str, failures: Failures) -> None:
    assert failures(contract_of(broken), found_by)


def fails_with(error: type[Exception], *, names_the_did: bool = True, waits_seconds: float = 0.0) -> Any:
    """A resolver that raises this, after a wait."""

    class Failing(ToyResolver):
        def resolve(self, did: str, *, timeout: float | None = None) -> Any:
            threading.Event().wait(waits_seconds)
            raise error("no", **({"did": did} if names_the_did else {}))

    return Failing({})


WRONG_FAILURES = [
    (fails_with(DIDResolutionError), True),
    (fails_with(DIDResolutionError, names_the_did=False), False),
    (fails_with(DIDNotFoundError), False),
    (fails_with(OSError, names_the_did=False), False),
]


@pytest.mark.parametrize(("failing", "is_right"), WRONG_FAILURES)
def test_a_failure_that_is_taken_for_another_is_found_out(
    failing: Resolver, is_right: bool, failures: Failures
) -> None:
    class Contract(ResolverContract):
        def make_resolver(self, known: Mapping[str, str]) -> Resolver:
            return ToyResolver(known)

        def make_failing_resolver(self) -> Resolver:
            return failing

    found_by = "test_a_directory_that_fails_is_not_taken_for_one_without_the_did"
    assert set(failures(Contract())) == (set() if is_right else {found_by})


@pytest.mark.parametrize(
    ("stalled", "is_right"), [*WRONG_FAILURES, (fails_with(DIDResolutionError, waits_seconds=0.5), False)]
)
def test_a_deadline_that_is_not_held_is_found_out(
    stalled: Resolver, is_right: bool, failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_contract, "_LATE_SECONDS", 0.1)

    class Contract(ResolverContract):
        def make_resolver(self, known: Mapping[str, str]) -> Resolver:
            return ToyResolver(known)

        def make_stalled_resolver(self) -> Resolver:
            return stalled

    assert set(failures(Contract())) == (set() if is_right else {"test_time_that_is_over_is_an_error_of_its_own"})


def test_every_test_of_the_contract_can_fail() -> None:
    shown = {found_by for _, found_by in FOUND_OUT} | {
        "test_time_that_is_over_is_an_error_of_its_own",
        "test_a_directory_that_fails_is_not_taken_for_one_without_the_did",
    }
    assert {name for name in dir(ResolverContract) if name.startswith("test_")} == shown
