"""Admission by memory: one budget for the sources and the decoding of all that is under way in a service.

A source may be as large as the limit of sources until it is there and its size is known; a decode takes what the
processor estimates. What does not fit waits, and what is smaller may pass it: an avatar is not held up by a panorama.

Sources get a quarter of the budget, so that the decode which a source waits for has room to begin: the other three
quarters, once the decodes before it have ended. When a decode has waited for half of its time, no further source is let
in, so that the small ones cannot pass it for ever. Of one server only a few sources are fetched at once, and never more
than half of what there is room for: a server that drips must not hold up all others.

Nothing blocks here. A reservation that fits starts at once, another one as soon as room is made, on the thread that
makes it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from .errors import ImageTooLargeError

__all__ = ["Admission", "Reservation"]

_SOURCES_SHARE = 4  # one part in four
_MAX_PER_SERVER = 6


class Reservation:
    """Room for one source or one decode: waited for, then held, then given back. Made by ``Admission``."""

    __slots__ = ("cost", "is_granted", "owner", "server", "since", "start")

    def __init__(self, owner: object, cost: int, start: Callable[[], None], since: float, server: str | None) -> None:
        self.owner = owner
        self.cost = cost
        self.start = start
        self.since = since
        self.server = server
        """Where a source is fetched from; ``None`` for a decode."""
        self.is_granted = False

    @property
    def is_source(self) -> bool:
        return self.server is not None


class Admission:
    """The budget. Safe to call from threads; its lock is held for as long as the ``start`` of what is let in takes.

    budget_bytes: for sources and decodes together.
    source_bytes: the largest source.
    max_wait_seconds: how long a reservation may wait before ``overdue`` gives it up.
    """

    def __init__(
        self,
        budget_bytes: int,
        *,
        source_bytes: int,
        max_wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget = budget_bytes
        self._source_bytes = source_bytes
        self._sources_limit = max(budget_bytes // _SOURCES_SHARE, source_bytes)
        self.max_sources = self._sources_limit // source_bytes
        """How many sources of the largest size can be fetched at once; at least one."""
        self._per_server = min(_MAX_PER_SERVER, max(1, self.max_sources // 2))
        self.decode_limit = max(budget_bytes - self._sources_limit, 0)
        """The most that one decode may take, in bytes."""
        self.max_wait_seconds = max_wait_seconds
        self._clock = clock
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Nothing reserved, and a lock of this process."""
        self._lock = threading.Lock()
        self._waiting: dict[Reservation, None] = {}  # in the order they came
        self._sources = self._decodes = 0
        self._fetching: Counter[str] = Counter()  # how many sources of each server

    @property
    def reserved_bytes(self) -> int:
        """What is held now."""
        return self._sources + self._decodes

    def reserve_source(self, owner: object, server: str, start: Callable[[], None]) -> Reservation:
        """Room for a source of any allowed size from ``server``; ``start`` is called once there is."""
        return self._reserve(Reservation(owner, self._source_bytes, start, self._clock(), server))

    def reserve_decode(self, owner: object, cost: int, start: Callable[[], None]) -> Reservation:
        """Room for a decode of ``cost`` bytes; ``start`` is called once there is.

        Raises ImageTooLargeError for one that there never is room for.
        """
        if cost > self.decode_limit:
            raise ImageTooLargeError(
                f"decoding this image takes about {cost:,} bytes of memory; there are {self.decode_limit:,} for one: "
                "about half of memory_budget_bytes",
                unit="bytes",
                limit=self.decode_limit,
                actual=cost,
            )
        return self._reserve(Reservation(owner, cost, start, self._clock(), None))

    def fetched(self, reservation: Reservation, size: int) -> None:
        """A source is there: give back what it does not take, and its place at its server."""
        with self._lock:
            if reservation.is_granted:
                self._leave_server(reservation)
                cost = min(size, reservation.cost)
                self._count(reservation, cost - reservation.cost)
                reservation.cost = cost
                self._let_in()

    def end(self, reservation: Reservation | None) -> None:
        """Give it back, or wait no longer for it. Ending it again, or ``None``, does nothing."""
        if reservation is None:
            return
        with self._lock:
            if reservation.is_granted:
                reservation.is_granted = False
                self._leave_server(reservation)
                self._count(reservation, -reservation.cost)
                reservation.cost = 0
            elif reservation in self._waiting:
                del self._waiting[reservation]
            else:
                return
            self._let_in()

    def overdue(self) -> list[Reservation]:
        """Take out, and return, those that have waited too long."""
        with self._lock:
            since = self._clock() - self.max_wait_seconds
            overdue = [reservation for reservation in self._waiting if reservation.since <= since]
            for reservation in overdue:
                del self._waiting[reservation]
            if overdue:
                self._let_in()
            return overdue

    def _reserve(self, reservation: Reservation) -> Reservation:
        with self._lock:
            self._waiting[reservation] = None
            self._let_in()
            return reservation

    def _let_in(self) -> None:
        """Start all that fits, the oldest first."""
        for reservation in [each for each in self._waiting if not each.is_source]:
            if self._has_room(reservation):
                self._grant(reservation)
        impatient = self._clock() - self.max_wait_seconds / 2
        if any(each.since <= impatient for each in self._waiting if not each.is_source):
            return
        for reservation in [each for each in self._waiting if each.is_source]:
            has_place = self._fetching[reservation.server or ""] < self._per_server
            is_within_share = self._sources + reservation.cost <= self._sources_limit
            if has_place and is_within_share and self._has_room(reservation):
                self._grant(reservation)

    def _has_room(self, reservation: Reservation) -> bool:
        # Where nothing is held, anything gets in, or it never would.
        return self.reserved_bytes == 0 or self.reserved_bytes + reservation.cost <= self._budget

    def _grant(self, reservation: Reservation) -> None:
        del self._waiting[reservation]
        reservation.is_granted = True
        self._count(reservation, reservation.cost)
        if reservation.server:
            self._fetching[reservation.server] += 1
        reservation.start()

    def _leave_server(self, reservation: Reservation) -> None:
        if reservation.server:
            self._fetching[reservation.server] -= 1
            if self._fetching[reservation.server] == 0:
                del self._fetching[reservation.server]
            reservation.server = ""  # still a source

    def _count(self, reservation: Reservation, change: int) -> None:
        if reservation.is_source:
            self._sources += change
        else:
            self._decodes += change
