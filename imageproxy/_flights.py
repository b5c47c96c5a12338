"""Flights: the work of a miss, shared by all who ask for the same.

Two kinds of work hang together: a *flight* makes one image, a *visit* fetches the blob that one or more flights need.
Callers who ask for an image that is under way join its flight; a flight whose blob is under way joins its visit.
Threads wait on a flight's future; coroutines can await the same.

Visits run on one pool, decoding on another with a thread for each processor. What they take of memory is admitted
before: room for the source when its server is known, room for the decode when the source is there (see ``_admission``).
Who waits for room holds no thread.

Nothing here knows what is fetched or how it is decoded: ``Work`` does.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
import traceback
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial

from ._admission import Admission
from ._flight import Flight, Visit, Work
from .errors import BusyError, DeadlineExceededError, ImageProxyError, ProcessingError, ServiceClosedError
from .presets import Preset
from .protocols import CacheKey

__all__ = ["Flights"]


_SLOTS = 1024


class Flights:
    """All that is under way in one service. Safe to call from threads. No thread is started before the first flight.

    admission: has the memory. max_flights: how many images may be under way; one more is a BusyError.
    timeout_seconds: how long a waiter waits who names no shorter time.
    """

    def __init__(
        self,
        work: Work,
        admission: Admission,
        *,
        fetch_workers: int,
        decode_workers: int,
        max_flights: int,
        timeout_seconds: float,
    ) -> None:
        self._work = work
        self._admission = admission
        self._fetch_workers = fetch_workers
        self._decode_workers = decode_workers
        self._max_flights = max_flights
        self._timeout_seconds = timeout_seconds
        self._is_closed = False
        self.published = 0
        """How many images were handed to the cache; see ``join``. Reading it takes no lock."""
        self._last_published = [0] * _SLOTS  # what that was after the last one of each slot of keys
        self._reset()

    def _reset(self) -> None:
        """None under way, with locks and threads of this process."""
        self._lock = threading.Lock()
        self._flights: dict[Hashable, Flight] = {}
        self._visits: dict[Hashable, Visit] = {}
        self._live: set[Visit] = set()  # those too that were struck from the tables
        self._fetchers = ThreadPoolExecutor(self._fetch_workers, thread_name_prefix="imageproxy-fetch")
        self._decoders = ThreadPoolExecutor(self._decode_workers, thread_name_prefix="imageproxy-decode")

    def reset_after_fork(self) -> None:
        """What is under way in the parent is the parent's."""
        self._admission.reset_after_fork()
        self._reset()

    def __len__(self) -> int:
        return len(self._flights)

    # Joining, waiting, leaving: on the callers' threads.

    def join(
        self, wanted: Sequence[tuple[CacheKey, Preset]], pds_url: str | None, *, since: int | None
    ) -> list[Flight] | None:
        """Join the flights for some images of one blob, starting those that are not under way. Leave each one again.

        since: what ``published`` was before the caller looked into the cache. When one of these images (or one of a few
            others) was published since, and a flight would have to be started, it may be in the cache now: ``None``,
            look again. Without this, a caller who looked too early and joins too late would fetch a second time.

        Raises BusyError or ServiceClosedError.
        """
        self._disown_overtaken(wanted, pds_url)
        with self._lock:
            joined = [self._flights.get((key, pds_url)) for key, _ in wanted]
            missing = joined.count(None)
            if missing:
                if self._is_closed:
                    raise ServiceClosedError("the service is closed")
                if since is not None and any(self._last_published[hash(key) % _SLOTS] > since for key, _ in wanted):
                    return None
                if len(self._flights) + missing > self._max_flights:
                    raise BusyError(
                        f"{len(self._flights)} images are under way, of {self._max_flights} at most; ask again later",
                        retry_after=1.0,
                    )
            flights = [
                self._start(key, preset, pds_url) if flight is None else flight
                for flight, (key, preset) in zip(joined, wanted, strict=True)
            ]
            for flight in flights:
                flight.waiters += 1
        for known in joined:
            if known is not None:
                self._work.joined(known)
        return flights

    def _disown_overtaken(self, wanted: Sequence[tuple[CacheKey, Preset]], pds_url: str | None) -> None:
        """Keep this caller from what another service or process has purged since it was fetched."""
        # Most often there is nothing under way. A look at the dictionaries takes no lock.
        visits = {self._visits.get((key.did, key.cid, pds_url)) for key, _ in wanted}
        visits.update(flight.visit for key, _ in wanted if (flight := self._flights.get((key, pds_url))))
        for visit in visits:
            if visit is not None and self._work.is_overtaken(visit):
                with self._lock:
                    self._disown(visit)

    def _start(self, key: CacheKey, preset: Preset, pds_url: str | None) -> Flight:
        visit = self._visits.get((key.did, key.cid, pds_url))
        is_new = visit is None
        if visit is None:
            visit = Visit(key.did, key.cid, pds_url)
            self._visits[visit.name] = visit
            self._live.add(visit)
        flight = Flight(key, preset, visit)
        visit.flights.append(flight)
        self._flights[flight.name] = flight
        if is_new:
            _submit(self._fetchers, self._begin_visit, visit)
        elif visit.data is not None:
            _submit(self._fetchers, self._prepare, flight)
        return flight

    def wait(self, flight: Flight, timeout: float | None = None) -> bytes:
        """Wait for a joined flight; ``timeout`` in seconds bounds this wait alone.

        Raises the flight's error, as an exception of this caller's own, or DeadlineExceededError.
        """
        for seconds in self.turns(flight, timeout):
            concurrent.futures.wait((flight.future,), seconds)
        return self.result(flight, timeout)

    def turns(self, flight: Flight, timeout: float | None = None) -> Iterator[float]:
        """How many seconds to wait for the flight, time after time, until it is over or the time is; then ``result``.

        In turns, since it is those who wait that look after what has waited too long for room.
        """
        ends_at = time.monotonic() + self.patience(timeout)
        while not flight.future.done() and (left := ends_at - time.monotonic()) > 0:
            yield min(left, self._admission.max_wait_seconds / 4)
            self._refuse_overdue()

    def result(self, flight: Flight, timeout: float | None = None) -> bytes:
        """What came of a flight that was waited for; see ``wait``. Does not wait."""
        try:
            error = flight.future.exception(0)
        except FutureTimeoutError:
            self._give_up(flight)
            raise self.too_late(flight.key, timeout, preset=flight.preset.name) from None
        if error is not None:
            raise error.afresh() if isinstance(error, ImageProxyError) else error
        return flight.future.result()

    def too_late(self, key: CacheKey, timeout: float | None, *, preset: str) -> DeadlineExceededError:
        """The error of a caller whose time is over."""
        seconds = self.patience(timeout)
        return DeadlineExceededError(
            f"no image within {seconds:g} s; it may be there when asked for later",
            timeout=seconds,
            preset=preset,
            did=key.did,
            cid=key.cid,
        )

    def patience(self, timeout: float | None) -> float:
        """How many seconds a caller waits who gave this ``timeout``."""
        return self._timeout_seconds if timeout is None else min(timeout, self._timeout_seconds)

    def _give_up(self, flight: Flight) -> None:
        """Let later callers start anew where a flight is overdue: its backend may hang for ever."""
        with self._lock:
            if time.monotonic() - flight.started_at >= self._timeout_seconds:
                flight.is_fenced = True  # it cannot be found any more, and so not be fenced later
                self._strike(flight)
                self._strike_visit(flight.visit)

    def leave(self, flight: Flight) -> None:
        """Wait no more. A flight that nobody waits for is cancelled if its visit has not begun, and otherwise at the
        next step that it has to take.
        """
        with self._lock:
            flight.waiters -= 1
            if flight.waiters == 0 and not flight.is_over and _is_waiting(flight):
                self._drop(flight)

    def _refuse_overdue(self) -> None:
        for reservation in self._admission.overdue():
            error = BusyError(
                f"no room in memory within {self._admission.max_wait_seconds:g} s; ask again later",
                retry_after=self._admission.max_wait_seconds,
            )
            if isinstance(reservation.owner, Visit):
                self._fail_visit(reservation.owner, error)
            elif isinstance(reservation.owner, Flight):
                self._fail_flight(reservation.owner, error)

    # The work: on the pools' threads.

    def _begin_visit(self, visit: Visit) -> None:
        with self._lock:
            if not visit.flights:
                return
            visit.has_begun = True
        try:
            server = self._work.locate(visit)
        except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits
            self._fail_visit(visit, error)
            return
        with self._lock:
            self._drop_left(visit)
            if visit.flights:
                start = partial(_submit, self._fetchers, self._run_visit, visit)
                visit.room = self._admission.reserve_source(visit, server, start)

    def _run_visit(self, visit: Visit) -> None:
        with self._lock:
            if not visit.flights:
                return
        try:
            data = self._work.fetch(visit)
        except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits
            self._fail_visit(visit, error)
            return
        with self._lock:
            self._drop_left(visit)
            flights = list(visit.flights)
            if flights and visit.room is not None:
                visit.data = data
                self._admission.fetched(visit.room, len(data))
        del data  # the visit alone holds it now, and lets it go with its last flight
        for flight in flights:
            self._prepare(flight)

    def _prepare(self, flight: Flight) -> None:
        """Have a flight decoded as soon as there is room for it."""
        data = flight.visit.data
        if data is None:
            return
        try:
            cost = self._work.cost(flight, data)
            del data
            with self._lock:
                if not flight.is_over:
                    start = partial(_submit, self._decoders, self._run_flight, flight)
                    flight.room = self._admission.reserve_decode(flight, cost, start)
        except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits
            self._fail_flight(flight, error)

    def _fail_visit(self, visit: Visit, error: BaseException) -> None:
        with self._lock:
            flights = list(visit.flights)
            for flight in flights:
                self._drop(flight, error)
        for flight in flights:
            self._fail(flight, error)

    def _fail_flight(self, flight: Flight, error: BaseException) -> None:
        with self._lock:
            self._drop(flight, error)
        self._fail(flight, error)

    def _run_flight(self, flight: Flight) -> None:
        visit = flight.visit
        with self._lock:
            data = visit.data
            if flight.waiters == 0 or data is None:
                self._drop(flight)
                return
        try:
            image = self._work.render(flight, data)
        except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits
            self._fail_flight(flight, error)
            return
        finally:
            del data
        with self._lock:
            if not flight.is_fenced:
                self._work.publish(flight, image)
                self.published += 1
                self._last_published[hash(flight.key) % _SLOTS] = self.published
            self._drop(flight)
        try:
            self._work.landed(flight, image)
        finally:
            if not flight.future.done():
                flight.future.set_result(image)

    def _fail(self, flight: Flight, error: BaseException) -> None:
        _forget_frames(error)
        if isinstance(error, ImageProxyError):
            own = error.afresh()  # the flights of a visit share its error
        else:
            own = ProcessingError(f"the image could not be made: {error!r}")
            own.__cause__ = error
        own.preset = own.preset or flight.preset.name
        own.did = own.did or flight.key.did
        own.cid = own.cid or flight.key.cid
        try:
            self._work.failed(flight, own)
        finally:
            if not flight.future.done():
                flight.future.set_exception(own)

    # The tables: with the lock held.

    def _drop(self, flight: Flight, error: BaseException | None = None) -> None:
        """The flight is over, one way or another; the last one ends its visit and frees the bytes."""
        if isinstance(error, ImageProxyError) and not flight.is_fenced:
            self._work.remember(flight, error)
        self._strike(flight)
        flight.is_over = True
        self._admission.end(flight.room)
        visit = flight.visit
        if flight in visit.flights:
            visit.flights.remove(flight)
        if not visit.flights:
            self._strike_visit(visit)
            self._live.discard(visit)
            visit.data = None
            self._admission.end(visit.room)
            visit.ended.set()

    def _drop_left(self, visit: Visit) -> None:
        """Drop the flights that nobody waits for."""
        for flight in [flight for flight in visit.flights if flight.waiters == 0]:
            self._drop(flight)

    def _strike(self, flight: Flight) -> None:
        if self._flights.get(flight.name) is flight:
            del self._flights[flight.name]

    def _strike_visit(self, visit: Visit) -> None:
        if self._visits.get(visit.name) is visit:
            del self._visits[visit.name]

    def _disown(self, visit: Visit) -> None:
        """It goes on for those who wait for it, and nobody joins it or its flights any more; nothing is published."""
        self._strike_visit(visit)
        for flight in visit.flights:
            flight.is_fenced = True
            self._strike(flight)

    # The ends.

    def fence(self, did: str, cid: str | None) -> None:
        """Nothing of this blob (with ``None``: of this owner) that is under way is published or joined any more.

        Those who wait for it already still get it.
        """
        with self._lock:
            # Those too that are in no table any more: their flights may be, or may not have landed yet.
            for visit in self._live:
                if visit.did == did and cid in (None, visit.cid):
                    self._disown(visit)

    def close(self, timeout: float | None = None) -> bool:
        """Fail what has not begun, wait for the rest that somebody waits for.

        ``False`` when ``timeout`` seconds were not enough. A fetch that nobody waits for is left to end by itself.
        """
        with self._lock:
            self._is_closed = True
            running = [visit for visit in self._live if visit.has_begun and any(each.waiters for each in visit.flights)]
            idle = [visit for visit in self._live if visit not in running]
            is_quiet = not any(visit.has_begun for visit in idle)
        self._end_visits(idle)
        deadline = None if timeout is None else time.monotonic() + timeout
        is_over = all(_is_ended(visit, deadline) for visit in running)
        self._end_visits(running)
        self._fetchers.shutdown(wait=is_over and is_quiet)
        self._decoders.shutdown(wait=is_over and is_quiet)
        return is_over

    def _end_visits(self, visits: Sequence[Visit]) -> None:
        for visit in visits:
            self._fail_visit(visit, ServiceClosedError("the service was closed before this image was made"))


def _is_waiting(flight: Flight) -> bool:
    """Whether nothing is being done for it now: the visit has not begun, or it or the decode waits for room."""
    room = flight.room or flight.visit.room
    return not flight.visit.has_begun or (room is not None and not room.is_granted)


def _is_ended(visit: Visit, deadline: float | None) -> bool:
    return visit.ended.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))


def _submit(pool: ThreadPoolExecutor, function: Callable[..., None], argument: Visit | Flight) -> None:
    try:
        pool.submit(function, argument)
    except RuntimeError as error:
        if "shutdown" not in str(error):
            return  # the system gives no further thread now; what is submitted is queued, for those that there are
        # The service is closed, or the interpreter is on its way out.
        for flight in argument.flights if isinstance(argument, Visit) else (argument,):
            if not flight.future.done():
                flight.future.set_exception(ServiceClosedError("the service is closed"))


def _forget_frames(error: BaseException) -> None:
    """Free what the frames of an error's tracebacks hold: the source's bytes and the decoded pixels among it."""
    link: BaseException | None = error
    for _ in range(10):
        if link is None:
            return
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
