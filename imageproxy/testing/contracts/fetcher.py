"""What a Fetcher must do."""
# ruff: noqa: S101, D102 - assertions are what these classes are for, and the tests' names say what is asked

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from imageproxy.errors import CIDMismatchError, ImageTooLargeError, PDSFetchError, PDSNotFoundError, PDSTimeoutError
from imageproxy.identifiers import compute_cid
from imageproxy.protocols import Fetcher

from ._support import CID, DID, OTHER_CID, OTHER_DID, at_once, check_own_errors, closed_twice, opened, raised

__all__ = ["FetcherContract"]

# How long the fetcher is given, and how late it may be: the machines of tests are slow at times.
_TIMEOUT_SECONDS = 0.2
_LATE_SECONDS = 10.0


class FetcherContract:
    """What a Fetcher must do.

    Override ``make_fetcher``; ``make_stalled_fetcher`` and ``make_failing_fetcher`` where they can be made, and the
    attributes where they do not fit (a property will do).

    pds_url: what ``fetch`` is given. It is read after the fetcher was made.
    proves_bytes: whether the fetcher compares the bytes with the CID. Nobody does it after a fetcher, so only one for
        tests, or one whose source is your own, may say no.
    max_bytes: the largest blob that it reads, ``None``: not tested. It should be small: a blob of one more is made.
    """

    pds_url: str = "https://pds.example.com"
    proves_bytes: bool = True
    max_bytes: int | None = None

    def make_fetcher(self, blobs: Mapping[tuple[str, str], bytes]) -> Fetcher:
        """A fetcher for a PDS that has these blobs, by DID and CID, and no others.

        Some tests store bytes under the CID of others.
        """
        raise NotImplementedError

    def make_stalled_fetcher(self) -> Fetcher | None:
        """A fetcher for a PDS that takes the request and never answers; ``None``: not tested."""
        return None

    def make_failing_fetcher(self) -> Fetcher | None:
        """A fetcher for a PDS that cannot be reached, or answers with a failure; ``None``: not tested."""
        return None

    @contextlib.contextmanager
    def _fetcher(self, *blobs: bytes) -> Iterator[Fetcher]:
        with opened(self.make_fetcher({(DID, compute_cid(blob)): blob for blob in blobs})) as fetcher:
            yield fetcher

    def test_fetch_gives_the_bytes_of_the_blob(self) -> None:
        blobs = [b"small", b"", bytes(range(256)) * 1000]
        with self._fetcher(*blobs) as fetcher:
            for blob in blobs:
                for fetched in (
                    fetcher.fetch(self.pds_url, DID, compute_cid(blob)),
                    fetcher.fetch(self.pds_url, DID, compute_cid(blob), timeout=30),
                ):
                    assert type(fetched) is bytes, f"fetch() gave {type(fetched).__name__}"
                    assert fetched == blob

    def test_a_blob_that_is_not_there_is_an_error_of_its_own(self) -> None:
        with self._fetcher(b"blob") as fetcher:
            for did, cid in ((DID, compute_cid(b"other")), (OTHER_DID, compute_cid(b"blob"))):
                error = raised(PDSNotFoundError, partial(fetcher.fetch, self.pds_url, did, cid))
                assert (error.did, error.cid) == (did, cid), "the error must name the blob"
            assert fetcher.fetch(self.pds_url, DID, compute_cid(b"blob")) == b"blob", "one failure spoiled the next"

    def test_other_bytes_than_those_of_the_cid_are_refused(self) -> None:
        if not self.proves_bytes:
            return
        for lie in (b"another blob", b"one blob ", b""):
            with opened(self.make_fetcher({(DID, CID): lie})) as fetcher:
                error = raised(CIDMismatchError, partial(fetcher.fetch, self.pds_url, DID, CID))
                assert (error.did, error.cid) == (DID, CID), "the error must name the blob"

    def test_a_blob_that_is_too_large_is_refused(self) -> None:
        if self.max_bytes is None:
            return  # there is no limit, or none that can be tested
        fits, too_large = bytes(self.max_bytes), bytes(self.max_bytes + 1)
        with self._fetcher(fits, too_large) as fetcher:
            assert fetcher.fetch(self.pds_url, DID, compute_cid(fits)) == fits
            error = raised(ImageTooLargeError, partial(fetcher.fetch, self.pds_url, DID, compute_cid(too_large)))
            assert (error.unit, error.limit) == ("bytes", self.max_bytes), "the error must tell the limit"

    def test_time_that_is_over_is_an_error_of_its_own(self) -> None:
        fetcher = self.make_stalled_fetcher()
        if fetcher is None:
            return  # nothing to wait for
        with opened(fetcher):
            begin = time.monotonic()
            fetch = partial(fetcher.fetch, self.pds_url, DID, CID, timeout=_TIMEOUT_SECONDS)
            error = raised(PDSTimeoutError, fetch)
            assert time.monotonic() - begin < _TIMEOUT_SECONDS + _LATE_SECONDS, "the timeout must hold"
            assert (error.did, error.cid) == (DID, CID), "the error must name the blob"

    def test_a_pds_that_fails_is_not_taken_for_one_without_the_blob(self) -> None:
        fetcher = self.make_failing_fetcher()
        if fetcher is None:
            return  # nothing that can fail
        with opened(fetcher):
            error = raised(PDSFetchError, partial(fetcher.fetch, self.pds_url, DID, CID))
            assert not isinstance(error, PDSNotFoundError), "that it has no blob is for the PDS to say"
            assert (error.did, error.cid) == (DID, CID), "the error must name the blob"

    def test_threads_fetch_at_once(self) -> None:
        blobs = [b"blob %d" % number for number in range(12)]
        with self._fetcher(*blobs) as fetcher:

            def fetch(blob: bytes) -> bytes:
                return fetcher.fetch(self.pds_url, DID, compute_cid(blob))

            assert at_once(partial(fetch, blob) for blob in blobs) == blobs
            assert at_once([partial(fetch, blobs[0])] * 6) == blobs[:1] * 6

    def test_threads_that_fail_have_an_error_each(self) -> None:
        with self._fetcher(b"blob") as fetcher:

            def fail(cid: str) -> PDSNotFoundError:
                return raised(PDSNotFoundError, partial(fetcher.fetch, self.pds_url, DID, cid))

            cids = [CID, OTHER_CID] * 3
            errors = at_once(partial(fail, cid) for cid in cids)
            assert [error.cid for error in errors] == cids, "each error must name its own blob"
            check_own_errors(errors)

    def test_closing_twice_is_harmless(self) -> None:
        fetcher = self.make_fetcher({(DID, CID): b"one blob"})
        fetch: Callable[[], bytes] = partial(fetcher.fetch, self.pds_url, DID, CID)
        assert fetch() == b"one blob"
        closed_twice(fetcher)
