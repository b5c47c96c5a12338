"""The negative cache: failures that were seen lately, so that asking again costs nothing.

A picture that is gone is asked for as often as one that is there, and a server that is down by everybody at once. Each
kind of failure is remembered for a short time of its own, under what it is true of: an image, a blob, an account, a
server.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from .errors import (
    CIDMismatchError,
    DIDNotFoundError,
    DIDResolutionError,
    ImageProxyError,
    ImageTooLargeError,
    PDSFetchError,
    PDSNotFoundError,
    ProcessingError,
    UnsafeURLError,
    UnsupportedFormatError,
)

__all__ = ["Failures", "Subject", "of_blob", "passing"]

ErrorT = TypeVar("ErrorT", bound=ImageProxyError)

_MAX_ENTRIES = 10_000
_OVERLOADED = frozenset({429, 502, 503, 504})

# How long each kind is remembered, in seconds. What can change at any moment is asked for again soon; the bytes that a
# CID stands for do not change, so what is broken stays broken.
_GONE_BLOB = 30.0
_GONE_ACCOUNT = 60.0
_BROKEN = 600.0
_WRONG_BYTES = 60.0
_DOWN = 10.0
_MAX_RETRY_AFTER = 120.0  # a server may ask for longer; it is asked again all the same
_UNKNOWN_DID = 60.0
_UNRESOLVED_DID = 5.0


class Subject(NamedTuple):
    """What a failure is true of: as much of it as is set.

    pds_url is the server where it was the server's failure, and otherwise the URL that the caller gave, if any.
    """

    did: str | None = None
    cid: str | None = None
    pds_url: str | None = None
    image: str | None = None


class Failures:
    """Failures that were seen lately, the newest of at most 10,000. Safe to call from threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """None remembered, and a lock of this process."""
        self._lock = threading.Lock()
        self._seen: OrderedDict[Subject, tuple[float, ImageProxyError]] = OrderedDict()

    def recall(self, *subjects: Subject) -> ImageProxyError | None:
        """What is remembered of the first of these that anything is: made afresh, and for nobody's request yet."""
        if not self._seen:
            return None
        for subject in subjects:
            error = self._recall(subject)
            if error is not None:
                fresh = error.afresh()
                fresh.preset = fresh.did = fresh.cid = None
                return fresh
        return None

    def _recall(self, subject: Subject) -> ImageProxyError | None:
        with self._lock:
            found = self._seen.get(subject)
            if found is None:
                return None
            until, error = found
            if self._clock() < until:
                return error
            del self._seen[subject]
            return None

    def note(self, error: ImageProxyError, *, did: str, cid: str, pds_url: str | None, image: str | None) -> None:
        """Remember a failure, if it is of a kind that is remembered. A server's own failures are not: ``note_server``.

        pds_url: what the caller gave. image: the key of the image, for a failure of processing.
        """
        subject, seconds = _scope(error, did, cid, pds_url, image)
        self._remember(subject, seconds, error)

    def note_server(self, error: PDSFetchError, pds_url: str) -> None:
        """Remember that a server is down or overloaded, if that is what the error says.

        Called where the server was asked, and nowhere else: an error that is raised again from here must not renew
        itself.
        """
        if _is_of_server(error):
            seconds = max(_DOWN, min(error.retry_after or 0.0, _MAX_RETRY_AFTER))
            self._remember(Subject(pds_url=pds_url), seconds, error)

    def _remember(self, subject: Subject, seconds: float, error: ImageProxyError) -> None:
        if seconds > 0:
            with self._lock:
                self._seen[subject] = self._clock() + seconds, error.afresh()
                self._seen.move_to_end(subject)
                while len(self._seen) > _MAX_ENTRIES:
                    self._seen.popitem(last=False)

    def forget(self, did: str, cid: str | None = None) -> None:
        """Forget what is remembered of an account, or of one blob of it and the account itself."""
        with self._lock:
            for subject in [each for each in self._seen if each.did == did and cid in (None, each.cid or cid)]:
                del self._seen[subject]


def passing(error: ErrorT) -> ErrorT:
    """Mark an error as one that says nothing of the next try, so that it is not remembered."""
    vars(error)["_is_passing"] = True
    return error


def of_blob(error: ErrorT) -> ErrorT:
    """Mark an error as one that is true of the blob, whatever the preset."""
    vars(error)["_is_of_blob"] = True
    return error


def _is_of_server(error: PDSFetchError) -> bool:
    if isinstance(error, (PDSNotFoundError, CIDMismatchError, UnsafeURLError)) or "_is_passing" in vars(error):
        return False
    return error.pds_url is not None and (error.status is None or error.status in _OVERLOADED)


def _is_passing(error: ImageProxyError) -> bool:
    """Whether it tells of this process rather than of what was asked for: no memory, no file to be had."""
    cause = error.__cause__
    is_ours = isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno is not None)
    return "_is_passing" in vars(error) or (is_ours and isinstance(error, ProcessingError))


def _scope(error: ImageProxyError, did: str, cid: str, pds_url: str | None, image: str | None) -> tuple[Subject, float]:
    """What a failure is true of, and for how many seconds it is believed; 0 for what is not remembered."""
    blob, account = Subject(did, cid, pds_url), Subject(did, None, pds_url)
    if _is_passing(error):
        return blob, 0.0
    match error:
        case PDSNotFoundError(reason="blob_not_found" | "not_found"):
            return blob, _GONE_BLOB
        case PDSNotFoundError() | UnsafeURLError():
            return account, _GONE_ACCOUNT
        case CIDMismatchError():
            return blob, _WRONG_BYTES
        case PDSFetchError():
            return blob, 0.0 if _is_of_server(error) else _DOWN
        case DIDNotFoundError():
            return account, _UNKNOWN_DID
        case DIDResolutionError():
            return account, _UNRESOLVED_DID
        case UnsupportedFormatError() | ImageTooLargeError() | ProcessingError():
            return (blob if "_is_of_blob" in vars(error) else blob._replace(image=image)), _BROKEN
        case _:
            return blob, 0.0
