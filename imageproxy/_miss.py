"""The work of a miss: resolve, fetch, process, ask the policy again, publish."""

from __future__ import annotations

import time

from ._failures import Failures, passing
from ._fences import Fences
from ._flight import Flight, Visit
from ._gate import Gate
from ._memory import release_freed_memory
from ._origin import Origin
from ._telling import Teller
from ._write_behind import Write, WriteBehind
from .errors import BlobBlockedError, ImageProxyError, PolicyError, ProcessingError
from .protocols import Processor, SupportsEstimate

__all__ = ["Miss"]

_LARGE_SOURCE_BYTES = 1024**2
_LARGE_BYTES = 16 * 1024**2
"""The cost of a decode from which on it is worth a millisecond or two to give its memory back."""


class Miss:
    """What the flights of a service are made of (``_flights.Work``). Safe to call from threads."""

    def __init__(
        self,
        processor: Processor,
        origin: Origin,
        *,
        fences: Fences,
        gate: Gate,
        writes: WriteBehind,
        failures: Failures,
        teller: Teller,
    ) -> None:
        self._fences = fences
        self._processor = processor
        self._estimates = processor if isinstance(processor, SupportsEstimate) else None
        self._failures = failures
        self._origin = origin
        self._gate = gate
        self._writes = writes
        self._teller = teller

    def joined(self, flight: Flight) -> None:
        """Count it."""
        self._teller.tell("coalesced", flight.key.did, flight.key.cid, flight.preset.name)

    def locate(self, visit: Visit) -> str:
        """Find the PDS, having marked in the cache when the work was begun."""
        visit.fence = self._fences.take(visit.did, visit.cid)
        began = time.monotonic()
        visit.place = self._origin.locate(visit.did, visit.pds_url)
        if visit.pds_url is None:
            self._teller.tell("resolved", visit.did, visit.cid, seconds=time.monotonic() - began)
        return visit.place.pds_url

    def is_overtaken(self, visit: Visit) -> bool:
        """Whether another service or process purged it since."""
        return not self._fences.holds(visit.did, visit.cid, visit.fence)

    def fetch(self, visit: Visit) -> bytes:
        """Get the blob."""
        began = time.monotonic()
        place = visit.place or self._origin.locate(visit.did, visit.pds_url)
        data = self._origin.fetch(visit.did, visit.cid, place)
        self._teller.tell("fetched", visit.did, visit.cid, seconds=time.monotonic() - began, size_bytes=len(data))
        return data

    def cost(self, flight: Flight, data: bytes) -> int:
        """What the processor estimates; nothing for one that cannot."""
        if self._estimates is None:
            return 0
        try:
            cost = self._estimates.estimate(data, flight.preset)
        except ImageProxyError:
            raise
        except Exception as error:
            raise passing(ProcessingError(f"the processor failed to estimate: {error!r}")) from error
        finally:
            if len(data) >= _LARGE_SOURCE_BYTES:  # of which the estimate may have had copies
                release_freed_memory()
        if not isinstance(cost, int) or cost < 0:
            raise passing(ProcessingError(f"the processor estimates {cost!r} for a number of bytes"))
        return cost

    def render(self, flight: Flight, data: bytes) -> bytes:
        """Make the image, and ask the policy: it may have changed its mind since the caller asked."""
        _, did, cid, _ = flight.key
        name = flight.preset.name
        began = time.monotonic()
        try:
            image = self._process(flight, data)
        except ImageProxyError:
            raise
        except Exception as error:
            raise passing(ProcessingError(f"the processor failed: {error!r}", preset=name, did=did, cid=cid)) from error
        if not isinstance(image, bytes) or not image:
            raise ProcessingError(
                f"the processor gave {'nothing' if isinstance(image, bytes) else type(image).__name__} for an image",
                preset=name,
                did=did,
                cid=cid,
            )
        self._teller.tell("processed", did, cid, name, seconds=time.monotonic() - began, size_bytes=len(image))
        self._gate.check(did, cid, name)
        return image

    def _process(self, flight: Flight, data: bytes) -> bytes:
        try:
            return self._processor.process(data, flight.preset)
        finally:
            # Before its room is given to the next: what the allocator keeps is in no budget.
            if flight.room is not None and flight.room.cost >= _LARGE_BYTES:
                release_freed_memory()

    def publish(self, flight: Flight, image: bytes) -> None:
        """Queue the write."""
        self._writes.put(Write(flight.key, image, flight.preset.name, flight.visit.fence))

    def remember(self, flight: Flight, error: ImageProxyError) -> None:
        """For those who ask next."""
        image, did, cid, _ = flight.key
        self._failures.note(error, did=did, cid=cid, pds_url=flight.visit.pds_url, image=image)

    def landed(self, flight: Flight, image: bytes) -> None:
        """Count it."""
        _, did, cid, _ = flight.key
        seconds = time.monotonic() - flight.started_at
        self._teller.tell("landed", did, cid, flight.preset.name, seconds=seconds, size_bytes=len(image))

    def failed(self, flight: Flight, error: ImageProxyError) -> None:
        """Count the failure, once for all who wait."""
        _, did, cid, _ = flight.key
        is_refusal = isinstance(error, (BlobBlockedError, PolicyError))
        self._teller.tell(
            "blocked" if is_refusal else "failed",
            did,
            cid,
            flight.preset.name,
            seconds=time.monotonic() - flight.started_at,
            error=error,
        )
