"""The fetcher under attack: ``PDSFetcher.fetch`` with servers of strangers."""

from __future__ import annotations

import random
import time

from imageproxy.errors import (
    CIDMismatchError,
    ImageProxyError,
    ImageTooLargeError,
    PDSFetchError,
    UnsupportedFormatError,
)
from imageproxy.fetchers import PDSFetcher
from imageproxy.identifiers import compute_cid

from .answers import BLOBS, from_input, mutant_of, seeds
from .loopback import LoopbackServer, Surroundings, confine
from .mutation import pick
from .target import Corpus, FindingError, shape_of

__all__ = ["DID", "FetchTarget", "in_time"]

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
TIMEOUT_SECONDS = 0.15
# A machine that is busy with other things lets a thread wait; three times in a row it does not.
_LATE_SECONDS = 0.5
_TRIES = 3
_MAX_BYTES = 100_000


class FetchTarget:
    """Ends, in time, in bytes that match the CID, or in an error of the fetcher's; leaves nothing open."""

    name = "http"

    def __init__(self) -> None:
        self._port = [0]
        confine(self._port)
        self._cids = [compute_cid(blob) for blob in BLOBS]
        self._begin()
        self.run(seeds()[0])  # what is loaded with the first request stays open
        self.settle()

    def _begin(self) -> None:
        self._surroundings = Surroundings()
        self._server = LoopbackServer()
        self._port[0] = self._server.port
        self._fetcher = PDSFetcher(allow_private_networks=True, max_bytes=_MAX_BYTES)
        self._fetcher._random = lambda: 0.0  # it asks again at once, instead of after a random wait

    def seeds(self) -> list[bytes]:
        return seeds()

    def mutant(self, rng: random.Random, corpus: Corpus) -> bytes:
        return mutant_of(rng, pick(rng, corpus), corpus)

    def run(self, data: bytes, *, in_all_ways: bool = False) -> str:
        answers, blob, fetches = from_input(data)
        for tries_left in reversed(range(_TRIES)):
            self._server.set(answers)
            began = time.monotonic()
            outcomes = [self._fetch(self._cids[blob]) for _ in range(fetches)]
            if in_time(began, fetches * TIMEOUT_SECONDS, is_last_try=not tries_left):
                return ", ".join(outcomes)
        raise AssertionError("unreachable")

    def settle(self) -> None:
        self._fetcher.close()
        self._server.close()
        try:
            self._surroundings.check()
        finally:
            self._begin()

    def _fetch(self, cid: str) -> str:
        url = f"http://127.0.0.1:{self._server.port}"
        try:
            data = self._fetcher.fetch(url, DID, cid, timeout=TIMEOUT_SECONDS)
        except (PDSFetchError, ImageTooLargeError, UnsupportedFormatError) as error:
            _check_evidence(error, cid)
            return _outcome(error)
        if not isinstance(data, bytes) or compute_cid(data) != cid:
            raise FindingError("bytes that do not match", repr(data[:100]))
        return f"{len(data)} bytes"


def _check_evidence(error: ImageProxyError, cid: str) -> None:
    if not str(error).isprintable():
        raise FindingError("a message with control characters", repr(str(error)))
    if len(str(error)) > 2000:
        raise FindingError("a long message", str(error)[:500])
    if error.did != DID or error.cid != cid:
        raise FindingError("an error without its evidence", repr(vars(error)))
    if isinstance(error, CIDMismatchError) and error.actual_cid is None:
        raise FindingError("a mismatch without the CID", repr(vars(error)))


def _outcome(error: ImageProxyError) -> str:
    """Without what the server said, which has no end."""
    told = [getattr(error, name, None) for name in ("reason", "rule", "unit", "format")]
    status = getattr(error, "status", None)
    words = shape_of(error).partition(": ")[0] + " " + " ".join(str(each) for each in told if each)
    below = error.__cause__.__cause__ if error.__cause__ is not None else None
    if below is not None and below.args:  # urllib3 puts the error that it met last
        words += " " + type(below.args[-1]).__name__
    return f"{words} {status // 100 if status else ''}"


def in_time(began: float, seconds: float, *, is_last_try: bool) -> bool:
    """Whether it was. Raises FindingError where it was not on the last try."""
    took = time.monotonic() - began
    if took <= seconds + _LATE_SECONDS:
        return True
    if is_last_try:
        raise FindingError("late", f"{took:.2f} s for {seconds:g}")
    return False
