"""FetcherContract: a right fetcher passes, and each wrong one is found out by the test that is meant for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from imageproxy.errors import CIDMismatchError, ImageTooLargeError, PDSFetchError, PDSNotFoundError, PDSTimeoutError
from imageproxy.identifiers import Cid
from imageproxy.protocols import Fetcher
from imageproxy.testing.contracts import FetcherContract
from imageproxy.testing.contracts import fetcher as fetcher_contract

Failures = Callable[..., dict[str, Exception]]
Blobs = Mapping[tuple[str, str], bytes]


class ToyFetcher:
    """A table, in the place of a PDS."""

    max_bytes = 300_000

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = dict(blobs)
        self.is_closed = False

    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> Any:
        return self.proved(self.read(did, cid), did, cid)

    def read(self, did: str, cid: str) -> Any:
        blob = self.blobs.get((did, cid))
        if blob is None:
            raise PDSNotFoundError("no such blob", did=did, cid=cid)
        if len(blob) > self.max_bytes:
            raise ImageTooLargeError("too large", limit=self.max_bytes, did=did, cid=cid)
        return blob

    def proved(self, data: bytes, did: str, cid: str) -> bytes:
        if not Cid.parse(cid).verify(data):
            raise CIDMismatchError("other bytes", did=did, cid=cid)
        return data

    def close(self) -> None:
        self.is_closed = True


class GivesABuffer(ToyFetcher):
    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> Any:
        return bytearray(super().fetch(pds_url, did, cid))


class TakesNoBytesForNone(ToyFetcher):
    def read(self, did: str, cid: str) -> Any:
        data = super().read(did, cid)
        if not data:
            raise PDSNotFoundError("nothing there", did=did, cid=cid)
        return data


class NamesNoBlob(ToyFetcher):
    def read(self, did: str, cid: str) -> Any:
        try:
            return super().read(did, cid)
        except PDSNotFoundError:
            raise PDSNotFoundError("no such blob") from None


class LetsOthersErrorsThrough(ToyFetcher):
    def read(self, did: str, cid: str) -> Any:
        return self.blobs[did, cid]


class LooksAtTheCIDAlone(ToyFetcher):
    def read(self, did: str, cid: str) -> Any:
        return super().read(next((owner for owner, known in self.blobs if known == cid), did), cid)


class ProvesNothing(ToyFetcher):
    def proved(self, data: bytes, did: str, cid: str) -> bytes:
        return data


class ProvesWithAForeignError(ToyFetcher):
    def proved(self, data: bytes, did: str, cid: str) -> bytes:
        assert Cid.parse(cid).verify(data)
        return data


class ReadsAnySize(ToyFetcher):
    max_bytes = 10**9


class ReadsOneByteTooFew(ToyFetcher):
    max_bytes = ToyFetcher.max_bytes - 1


class IsOneForAllThreads(ToyFetcher):
    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> Any:
        self.wanted = did, cid
        threading.Event().wait(0.001)
        return super().fetch(pds_url, *self.wanted)


class HasOneError(ToyFetcher):
    error = PDSNotFoundError("no such blob")

    def read(self, did: str, cid: str) -> Any:
        try:
            return super().read(did, cid)
        except PDSNotFoundError:
            self.error.did, self.error.cid = did, cid
            raise self.error from None


class ClosesOnce(ToyFetcher):
    def close(self) -> None:
        if self.is_closed:
            raise ValueError("closed already")
        super().close()


def contract_of(make: Callable[[Blobs], Fetcher]) -> FetcherContract:
    class Contract(FetcherContract):
        max_bytes = ToyFetcher.max_bytes

        def make_fetcher(self, blobs: Blobs) -> Fetcher:
            return make(blobs)

    return Contract()


def test_a_right_fetcher_passes_and_is_closed(failures: Failures) -> None:
    made: list[ToyFetcher] = []

    def make(blobs: Blobs) -> ToyFetcher:
        made.append(ToyFetcher(blobs))
        return made[-1]

    assert failures(contract_of(make)) == {}
    assert all(fetcher.is_closed for fetcher in made)


FOUND_OUT: list[tuple[type[ToyFetcher], str]] = [
    (GivesABuffer, "test_fetch_gives_the_bytes_of_the_blob"),
    (TakesNoBytesForNone, "test_fetch_gives_the_bytes_of_the_blob"),
    (NamesNoBlob, "test_a_blob_that_is_not_there_is_an_error_of_its_own"),
    (LetsOthersErrorsThrough, "test_a_blob_that_is_not_there_is_an_error_of_its_own"),
    (LooksAtTheCIDAlone, "test_a_blob_that_is_not_there_is_an_error_of_its_own"),
    (ProvesNothing, "test_other_bytes_than_those_of_the_cid_are_refused"),
    (ProvesWithAForeignError, "test_other_bytes_than_those_of_the_cid_are_refused"),
    (ReadsAnySize, "test_a_blob_that_is_too_large_is_refused"),
    (ReadsOneByteTooFew, "test_a_blob_that_is_too_large_is_refused"),
    (IsOneForAllThreads, "test_threads_fetch_at_once"),
    (HasOneError, "test_threads_that_fail_have_an_error_each"),
    (ClosesOnce, "test_closing_twice_is_harmless"),
]


@pytest.mark.parametrize(("broken", "found_by"), FOUND_OUT)
def test_a_wrong_fetcher_is_found_out(broken: type[ToyFetcher], found_by: str, failures: Failures) -> None:
    assert failures(contract_of(broken), found_by)


def test_a_fetcher_that_proves_nothing_may_say_so(failures: Failures) -> None:
    contract = contract_of(ProvesNothing)
    contract.proves_bytes = False
    assert failures(contract) == {}


def fails_with(error: type[Exception], *, names_the_blob: bool = True, waits_seconds: float = 0.0) -> Any:
    """A fetcher that raises this, after a wait."""

    class Failing(ToyFetcher):
        def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> Any:
            threading.Event().wait(waits_seconds)
            raise error("no", **({"did": did, "cid": cid} if names_the_blob else {}))

    return Failing({})


@pytest.mark.parametrize(
    ("stalled", "is_right"),
    [
        (fails_with(PDSTimeoutError), True),
        (fails_with(PDSTimeoutError, waits_seconds=0.5), False),
        (fails_with(PDSTimeoutError, names_the_blob=False), False),
        (fails_with(PDSFetchError), False),
        (fails_with(TimeoutError, names_the_blob=False), False),
        (ReadsAnySize({}), False),
    ],
)
def test_a_deadline_that_is_not_held_is_found_out(
    stalled: Fetcher, is_right: bool, failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher_contract, "_LATE_SECONDS", 0.1)

    class Contract(FetcherContract):
        def make_fetcher(self, blobs: Blobs) -> Fetcher:
            return ToyFetcher(blobs)

        def make_stalled_fetcher(self) -> Fetcher:
            return stalled

    assert set(failures(Contract())) == (set() if is_right else {"test_time_that_is_over_is_an_error_of_its_own"})


@pytest.mark.parametrize(
    ("failing", "is_right"),
    [
        (fails_with(PDSFetchError), True),
        (fails_with(PDSFetchError, names_the_blob=False), False),
        (fails_with(PDSNotFoundError), False),
        (fails_with(ConnectionError, names_the_blob=False), False),
    ],
)
def test_a_failure_that_is_taken_for_another_is_found_out(failing: Fetcher, is_right: bool, failures: Failures) -> None:
    class Contract(FetcherContract):
        def make_fetcher(self, blobs: Blobs) -> Fetcher:
            return ToyFetcher(blobs)

        def make_failing_fetcher(self) -> Fetcher:
            return failing

    found_by = "test_a_pds_that_fails_is_not_taken_for_one_without_the_blob"
    assert set(failures(Contract())) == (set() if is_right else {found_by})


def test_every_test_of_the_contract_can_fail() -> None:
    shown = {found_by for _, found_by in FOUND_OUT} | {
        "test_time_that_is_over_is_an_error_of_its_own",
        "test_a_pds_that_fails_is_not_taken_for_one_without_the_blob",
    }
    assert {name for name in dir(FetcherContract) if name.startswith("test_")} == shown
