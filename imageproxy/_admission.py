"""Admission by memory: one budget for the sources and the decoding of all that is under way in a service.

A source may be as large as the limit of sources until it is there and its size is known; a decode takes what the
processor estimates. What does not fit waits, and what is smaller may pass it: an avatar is not held up by a panorama.

Sources get a quarter of the budget, so that the decode which a source waits for has room to begin: the other three
quarters, once the decodes before it have ended. When a decode has waited for half of its time, no further source is let
in, so that the small ones cannot pass it for ever.

Nothing blocks here. A reservation that fits starts at once, another one as soon as room is made, on the thread that
makes it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .errors import ImageTooLargeError

__all__ = ["Admission", "Reservation"]

_SOURCES_SHARE = 4  # one part in four


class Reservation:
    """Room for one source or one decode: waited for, then held, then given back. Made by ``Admission``."""

    __slots__ = ("cost", "is_granted", "is_source", "owner", "since", "start")

    def __init__(self, owner: object, cost: int, start: Callable[[], None], since: float, *, is_source: bool) -> None:
        self.owner = owner
        self.cost = cost
        self.start = start
        self.since = since
        self.is_source = is_source
        self.is_granted = False


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

    @property
    def reserved_bytes(self) -> int:
        """What is held now."""
        return self._sources + self._decodes

    def reserve_source(self, owner: object, start: Callable[[], None]) -> Reservation:
        """Room for a source of any allowed size; ``start`` is called once there is."""
        return self._reserve(Reservation(owner, self._source_bytes, start, self._clock(), is_source=True))

    def reserve_decode(self, owner: object, cost: int, start: Callable[[], None]) -> Reservation:
        """Room for a decode of ``cost`` bytes; ``start`` is called once there is.

        Raises ImageTooLargeError for one that there never is room for.
        """
        if cost > self.decode_limit:
            raise ImageTooLargeError(
                f"decoding this image takes about {cost:,} bytes of memory; there are {self.decode_limit:,} for one "
                f"(three quarters of memory_budget_bytes)",
                unit="bytes",
                limit=self.decode_limit,
                actual=cost,
            )
        return self._reserve(Reservation(owner, cost, start, self._clock(), is_source=False))

    def shrink(self, reservation: Reservation, cost: int) -> None:
        """Give back all but ``cost`` bytes of a reservation that is held."""
        with self._lock:
            if reservation.is_granted and cost < reservation.cost:
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
            if self._has_room(reservation) and self._sources + reservation.cost <= self._sources_limit:
                self._grant(reservation)

    def _has_room(self, reservation: Reservation) -> bool:
        # Where nothing is held, anything gets in, or it never would.
        return self.reserved_bytes == 0 or self.reserved_bytes + reservation.cost <= self._budget

    def _grant(self, reservation: Reservation) -> None:
        del self._waiting[reservation]
        reservation.is_granted = True
        self._count(reservation, reservation.cost)
        reservation.start()

    def _count(self, reservation: Reservation, change: int) -> None:
        if reservation.is_source:
            self._sources += change
        else:
            self._decodes += change
