"""One flight and one visit, and what they are made of; see ``_flights``."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from concurrent.futures import Future
from typing import Protocol

from ._admission import Reservation
from ._origin import Place
from .errors import ImageProxyError
from .presets import Preset
from .protocols import CacheKey

__all__ = ["Flight", "Visit", "Work"]


class Visit:
    """One fetch of a blob and the flights that wait for it."""

    __slots__ = ("cid", "data", "did", "ended", "fence", "flights", "has_begun", "pds_url", "place", "room")

    def __init__(self, did: str, cid: str, pds_url: str | None) -> None:
        self.did = did
        self.cid = cid
        self.pds_url = pds_url
        self.fence: Hashable = None
        """The cache's mark from before the fetch, where it has any; set by the work."""
        self.place: Place | None = None
        """Where the blob is; set by the work."""
        self.data: bytes | None = None
        self.flights: list[Flight] = []
        self.has_begun = False
        self.room: Reservation | None = None
        self.ended = threading.Event()

    @property
    def name(self) -> Hashable:
        return self.did, self.cid, self.pds_url


class Flight:
    """One image being made, and how many callers wait for it."""

    __slots__ = ("future", "is_fenced", "is_over", "key", "preset", "room", "started_at", "visit", "waiters")

    def __init__(self, key: CacheKey, preset: Preset, visit: Visit) -> None:
        self.key = key
        self.preset = preset
        self.visit = visit
        self.future: Future[bytes] = Future()
        self.future.set_running_or_notify_cancel()  # one waiter must not be able to cancel it for the others
        self.waiters = 0
        self.is_fenced = False
        self.is_over = False
        self.room: Reservation | None = None
        self.started_at = time.monotonic()

    @property
    def name(self) -> Hashable:
        return self.key, self.visit.pds_url


class Work(Protocol):
    """What flights are made of. Each method may be called from several threads at once."""

    def joined(self, flight: Flight) -> None:
        """Told of each caller who joins a flight that another one began. Must not raise."""
        ...

    def locate(self, visit: Visit) -> str:
        """Find out from which server the blob is to be fetched. Raises ImageProxyError."""
        ...

    def is_overtaken(self, visit: Visit) -> bool:
        """Whether somebody else purged the blob since ``locate``: later callers need another visit. Must not raise."""
        ...

    def fetch(self, visit: Visit) -> bytes:
        """Get the blob. Raises ImageProxyError."""
        ...

    def cost(self, flight: Flight, data: bytes) -> int:
        """How many bytes of memory the decode will take. Raises ImageProxyError for what will not be decoded."""
        ...

    def render(self, flight: Flight, data: bytes) -> bytes:
        """Make the image, and ask whether it may be shown. Raises ImageProxyError."""
        ...

    def publish(self, flight: Flight, image: bytes) -> None:
        """Hand the image to the cache. Called with the lock of the flights held: must be quick, and must not raise."""
        ...

    def remember(self, flight: Flight, error: ImageProxyError) -> None:
        """Keep a failure for those who ask next. Called as ``publish`` is, and not after a purge."""
        ...

    def landed(self, flight: Flight, image: bytes) -> None:
        """Told once of each flight that did not fail, before its waiters are."""
        ...

    def failed(self, flight: Flight, error: ImageProxyError) -> None:
        """Told once of each flight that failed, before its waiters are."""
        ...
