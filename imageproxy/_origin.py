"""Where blobs come from: the resolver and the fetcher together, under one deadline."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from ._failures import Failures, Subject, of_blob, passing
from .errors import (
    DIDResolutionError,
    ImageProxyError,
    ImageTooLargeError,
    PDSFetchError,
    PDSNotFoundError,
    PDSTimeoutError,
    UnsupportedFormatError,
)
from .protocols import Fetcher, Resolver, SupportsInvalidate

__all__ = ["Origin", "Place"]

_log = logging.getLogger(__name__)

# What a PDS answers for an account that it no longer has: it may have moved since its DID was last resolved.
_PERHAPS_MOVED = frozenset({"repo_not_found", "repo_deactivated", "not_found"})


class Place(NamedTuple):
    """Where a blob is to be fetched from.

    is_resolved: whether the resolver said so, rather than the caller. seconds: what is left for the fetch.
    """

    pds_url: str
    is_resolved: bool
    seconds: float


class Origin:
    """Gets a blob from the PDS of its owner. Safe to call from threads if its backends are."""

    def __init__(
        self,
        fetcher: Fetcher,
        resolver: Resolver | None,
        failures: Failures,
        *,
        timeout_seconds: float,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetcher = fetcher
        self._failures = failures
        self._resolver = resolver
        self._invalidates = resolver if isinstance(resolver, SupportsInvalidate) else None
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._clock = clock

    def forget(self, did: str) -> None:
        """Resolve this DID afresh the next time. Raises DIDResolutionError when the resolver fails to."""
        if self._invalidates is not None:
            try:
                self._invalidates.invalidate(did)
            except ImageProxyError:
                raise
            except Exception as error:
                raise DIDResolutionError(f"the resolver could not forget {did}: {error!r}", did=did) from error

    def locate(self, did: str, pds_url: str | None) -> Place:
        """Where the blobs of an account are: at ``pds_url``, or where the resolver says.

        Raises DIDResolutionError, and afresh what made this server fail lately.
        """
        deadline = self._clock() + self._timeout_seconds
        url = pds_url or self._resolve(did, deadline)
        known = self._failures.recall(Subject(pds_url=url))
        if known is not None:
            raise known
        return Place(url, not pds_url, self._left(deadline, did, url))

    def fetch(self, did: str, cid: str, place: Place) -> bytes:
        """The blob, within what is left of the deadline. Raises PDSFetchError, DIDResolutionError, ImageTooLargeError.

        Where the resolver named a server that has no such account (any more), and it can forget, it is asked once more.
        """
        deadline = self._clock() + place.seconds
        try:
            return self._fetch_from(place.pds_url, did, cid, deadline)
        except PDSNotFoundError as error:
            if not place.is_resolved or error.reason not in _PERHAPS_MOVED or self._invalidates is None:
                raise
            moved_to = self._moved_to(did, place.pds_url, deadline)
            if moved_to is None:
                raise
        return self._fetch_from(moved_to, did, cid, deadline)

    def _moved_to(self, did: str, was: str, deadline: float) -> str | None:
        try:
            self.forget(did)
            now = self._resolve(did, deadline)
        except ImageProxyError as error:
            _log.debug("could not ask whether the account moved: %r", error, extra={"did": did})
            return None
        return None if now == was else now

    def _resolve(self, did: str, deadline: float) -> str:
        if self._resolver is None:
            raise DIDResolutionError(
                "no PDS is known for this account: pass pds_url, or make the service with a resolver", did=did
            )
        try:
            url = self._resolver.resolve(did, timeout=self._left(deadline, did, None))
        except ImageProxyError:
            raise
        except Exception as error:
            raise DIDResolutionError(f"the resolver failed: {error!r}", did=did) from error
        if not isinstance(url, str) or not url:
            raise DIDResolutionError(f"the resolver gave {url!r} for a URL", did=did)
        return url

    def _fetch_from(self, pds_url: str, did: str, cid: str, deadline: float) -> bytes:
        left = self._left(deadline, did, pds_url)
        try:
            data = self._fetcher.fetch(pds_url, did, cid, timeout=left)
        except PDSFetchError as error:
            # Too little time is not the server's fault: a slow DID document may have used it up.
            if not isinstance(error, PDSTimeoutError) or left > self._timeout_seconds / 2:
                self._failures.note_server(error, pds_url)
            raise
        except (UnsupportedFormatError, ImageTooLargeError) as error:
            raise of_blob(error)  # noqa: B904 - it is the same error
        except ImageProxyError:
            raise
        except Exception as error:
            raise passing(PDSFetchError(f"the fetcher failed: {error!r}", pds_url=pds_url, did=did, cid=cid)) from error
        if not isinstance(data, bytes):
            raise PDSFetchError(f"the fetcher gave {type(data).__name__} for bytes", pds_url=pds_url, did=did, cid=cid)
        if len(data) > self._max_bytes:
            raise of_blob(
                ImageTooLargeError(
                    f"the blob has {len(data):,} bytes; the limit is {self._max_bytes:,} (max_source_bytes)",
                    limit=self._max_bytes,
                    actual=len(data),
                )
            )
        return data

    def _left(self, deadline: float, did: str, pds_url: str | None) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise PDSTimeoutError(
                f"no blob within {self._timeout_seconds:g} s", timeout=self._timeout_seconds, did=did, pds_url=pds_url
            )
        return left
