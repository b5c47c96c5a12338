"""What a Resolver must do."""
# ruff: noqa: S101, D102 - assertions are what these classes are for, and the tests' names say what is asked

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from functools import partial

from imageproxy.errors import DIDNotFoundError, DIDResolutionError
from imageproxy.protocols import Resolver, SupportsInvalidate

from ._support import DID, OTHER_DID, at_once, check_own_errors, closed_twice, opened, raised

__all__ = ["ResolverContract"]

_PDS = "https://pds.example.com"
_NEW_PDS = "https://new.example.com"
_TIMEOUT_SECONDS = 0.2
_LATE_SECONDS = 10.0  # the machines of tests are slow at times


class ResolverContract:
    """What a Resolver must do, and one that can forget beyond that.

    Override ``make_resolver``; the other methods where there is something to do for them.
    """

    def make_resolver(self, known: Mapping[str, str]) -> Resolver:
        """A resolver that finds these PDS URLs, by DID, and no others."""
        raise NotImplementedError

    def make_stalled_resolver(self) -> Resolver | None:
        """A resolver for a directory that takes the request and never answers; ``None``: not tested."""
        return None

    def make_failing_resolver(self) -> Resolver | None:
        """A resolver for a directory that cannot be reached, or answers with a failure; ``None``: not tested."""
        return None

    def move_account(self, did: str, pds_url: str) -> bool:  # noqa: ARG002 - for those who override it
        """Make the source of the resolver that was made last name another PDS; ``False``: not tested."""
        return False

    @contextlib.contextmanager
    def _resolver(self, known: Mapping[str, str] | None = None) -> Iterator[Resolver]:
        with opened(self.make_resolver({DID: _PDS} if known is None else known)) as resolver:
            yield resolver

    def test_a_known_did_has_its_pds(self) -> None:
        with self._resolver() as resolver:
            for found in (resolver.resolve(DID), resolver.resolve(DID, timeout=30)):
                assert type(found) is str, f"resolve() gave {type(found).__name__}"
                assert found == _PDS

    def test_an_unknown_did_is_an_error_of_its_own(self) -> None:
        with self._resolver() as resolver:
            assert raised(DIDNotFoundError, partial(resolver.resolve, OTHER_DID)).did == OTHER_DID
            assert resolver.resolve(DID) == _PDS, "one failure spoiled the next"

    def test_time_that_is_over_is_an_error_of_its_own(self) -> None:
        resolver = self.make_stalled_resolver()
        if resolver is None:
            return  # nothing to wait for
        with opened(resolver):
            begin = time.monotonic()
            error = raised(DIDResolutionError, partial(resolver.resolve, DID, timeout=_TIMEOUT_SECONDS))
            assert time.monotonic() - begin < _TIMEOUT_SECONDS + _LATE_SECONDS, "the timeout must hold"
            _check_unknown_cause(error)

    def test_a_directory_that_fails_is_not_taken_for_one_without_the_did(self) -> None:
        resolver = self.make_failing_resolver()
        if resolver is None:
            return  # nothing that can fail
        with opened(resolver):
            _check_unknown_cause(raised(DIDResolutionError, partial(resolver.resolve, DID)))

    def test_a_did_that_was_forgotten_is_found_again(self) -> None:
        with self._resolver() as resolver:
            if not isinstance(resolver, SupportsInvalidate):
                return  # a power that not every resolver has
            resolver.invalidate(DID)
            assert resolver.resolve(DID) == _PDS
            resolver.invalidate(DID)
            resolver.invalidate(OTHER_DID)
            assert resolver.resolve(DID) == _PDS

    def test_a_did_that_was_forgotten_is_asked_for_afresh(self) -> None:
        with self._resolver() as resolver:
            if not isinstance(resolver, SupportsInvalidate):
                return  # a power that not every resolver has
            assert resolver.resolve(DID) == _PDS
            if not self.move_account(DID, _NEW_PDS):
                return  # the account stays where it is
            resolver.invalidate(DID)
            assert resolver.resolve(DID) == _NEW_PDS, "the account moved, and the old answer was given again"

    def test_threads_resolve_at_once(self) -> None:
        letters = "abcdefghijkl"
        known = {f"did:plc:{letter * 24}": f"https://{letter}.example.com" for letter in letters}
        with self._resolver(known) as resolver:
            assert at_once(partial(resolver.resolve, did) for did in known) == list(known.values())
            did = next(iter(known))
            assert at_once([partial(resolver.resolve, did)] * 6) == [known[did]] * 6

    def test_threads_that_fail_have_an_error_each(self) -> None:
        with self._resolver({}) as resolver:

            def fail(did: str) -> DIDNotFoundError:
                return raised(DIDNotFoundError, partial(resolver.resolve, did))

            dids = [DID, OTHER_DID] * 3
            errors = at_once(partial(fail, did) for did in dids)
            assert [error.did for error in errors] == dids, "each error must name its own DID"
            check_own_errors(errors)

    def test_closing_twice_is_harmless(self) -> None:
        resolver = self.make_resolver({DID: _PDS})
        assert resolver.resolve(DID) == _PDS
        closed_twice(resolver)


def _check_unknown_cause(error: DIDResolutionError) -> None:
    assert not isinstance(error, DIDNotFoundError), "that there is no such DID is for its directory to say"
    assert error.did == DID, "the error must name the DID"
