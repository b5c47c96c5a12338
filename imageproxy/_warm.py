"""Making many images ahead of the first request for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from ._flight import Flight
from ._flights import Flights
from .errors import BusyError, ImageProxyError, ServiceClosedError
from .presets import Preset
from .protocols import CacheKey
from .results import WarmFailure, WarmReport

__all__ = ["Warming"]

_MAX_UNDER_WAY = 32  # enough to keep every worker busy, few enough to leave room for requests


class Warming:
    """One call of ``Service.warm``, on the thread of its caller.

    admit: checks a request and asks the policy. is_cached: looks into the cache. check: raises a remembered failure.
    """

    def __init__(
        self,
        flights: Flights,
        *,
        admit: Callable[[Preset, str, str], CacheKey],
        is_cached: Callable[[CacheKey, Preset], bool],
        check: Callable[[CacheKey, Preset], None],
        on_progress: Callable[[WarmReport], None] | None,
    ) -> None:
        self._flights = flights
        self._admit = admit
        self._is_cached = is_cached
        self._check = check
        self._on_progress = on_progress
        self._under_way: deque[Flight] = deque()
        self._made = self._cached = 0
        self._failures: tuple[WarmFailure, ...] = ()

    def run(self, items: Iterable[tuple[str, str]], presets: Sequence[Preset]) -> WarmReport:
        """Make all presets of all items, a bounded number at once."""
        try:
            for did, cid in items:
                while len(self._under_way) >= _MAX_UNDER_WAY:
                    self._land_first()
                self._begin(did, cid, presets)
            while self._under_way:
                self._land_first()
        finally:
            for flight in self._under_way:
                self._flights.leave(flight)
        return self._report()

    def _begin(self, did: str, cid: str, presets: Sequence[Preset]) -> None:
        """Start one blob's images together, so that they share its fetch."""
        wanted: list[tuple[CacheKey, Preset]] = []
        for preset in presets:
            try:
                wanted.append((self._admit(preset, did, cid), preset))
            except ServiceClosedError:
                raise
            except ImageProxyError as error:
                self._note_failure(preset, did, cid, error)
        at_once = len(wanted)
        while wanted:
            since = self._flights.published
            known = [(key, preset) for key, preset in wanted[:at_once] if self._note_if_known(key, preset)]
            if known:
                wanted = [each for each in wanted if each not in known]
                continue
            try:
                flights = self._flights.join(wanted[:at_once], None, since=since)
            except BusyError as error:
                if self._under_way:
                    self._land_first()
                elif at_once > 1:
                    at_once //= 2  # there may never be room for all presets at once
                else:
                    key, preset = wanted.pop(0)
                    self._note_failure(preset, key.did, key.cid, error)
                continue
            if flights is not None:
                self._under_way.extend(flights)
                del wanted[:at_once]

    def _land_first(self) -> None:
        flight = self._under_way[0]
        try:
            self._flights.wait(flight)
        except ImageProxyError as error:
            self._note_failure(flight.preset, flight.key.did, flight.key.cid, error)
        else:
            self._note(made=1)
        finally:
            self._flights.leave(self._under_way.popleft())

    def _note_if_known(self, key: CacheKey, preset: Preset) -> bool:
        if self._is_cached(key, preset):
            self._note(cached=1)
            return True
        try:
            self._check(key, preset)
        except ImageProxyError as error:
            self._note_failure(preset, key.did, key.cid, error)
            return True
        return False

    def _note_failure(self, preset: Preset, did: str, cid: str, error: ImageProxyError) -> None:
        self._note(failure=WarmFailure(preset.name, did, cid, error))

    def _note(self, *, made: int = 0, cached: int = 0, failure: WarmFailure | None = None) -> None:
        self._made += made
        self._cached += cached
        if failure is not None:
            self._failures = (*self._failures, failure)  # which each report then shares
        if self._on_progress is not None:
            self._on_progress(self._report())

    def _report(self) -> WarmReport:
        return WarmReport(self._made, self._cached, self._failures)
