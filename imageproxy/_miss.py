"""The work of a miss: resolve, fetch, process, ask the policy again, publish."""

from __future__ import annotations

import logging
import time

from ._failures import Failures
from ._flights import Flight, Visit
from ._gate import Gate
from ._origin import Origin
from ._telling import Teller
from ._write_behind import Write, WriteBehind
from .errors import BlobBlockedError, ImageProxyError, PolicyError, ProcessingError
from .protocols import Cache, Processor, SupportsEstimate, SupportsFences

__all__ = ["Miss"]

_log = logging.getLogger(__name__)


class Miss:
    """What the flights of a service are made of (``_flights.Work``). Safe to call from threads."""

    def __init__(
        self,
        cache: Cache,
        processor: Processor,
        origin: Origin,
        *,
        gate: Gate,
        writes: WriteBehind,
        failures: Failures,
        teller: Teller,
    ) -> None:
        self._fences = cache if isinstance(cache, SupportsFences) else None
        self._processor = processor
        self._estimates = processor if isinstance(processor, SupportsEstimate) else None
        self._failures = failures
        self._origin = origin
        self._gate = gate
        self._writes = writes
        self._teller = teller

    def fetch(self, visit: Visit) -> bytes:
        """Get the blob, having marked in the cache when that was begun."""
        began = time.monotonic()
        if self._fences is not None:
            visit.fence = self._fences.fence(visit.did, visit.cid)
        data = self._origin.fetch(visit.did, visit.cid, visit.pds_url)
        self._teller.tell("fetched", visit.did, visit.cid, seconds=time.monotonic() - began, size_bytes=len(data))
        return data

    def cost(self, flight: Flight, data: bytes) -> int:
        """What the processor estimates; nothing for one that cannot."""
        if self._estimates is None:
            return 0
        try:
            return self._estimates.estimate(data, flight.preset)
        except ImageProxyError:
            raise
        except Exception as error:
            raise ProcessingError(f"the processor failed to estimate: {error!r}") from error

    def render(self, flight: Flight, data: bytes) -> bytes:
        """Make the image, and ask the policy: it may have changed its mind since the caller asked."""
        _, did, cid, _ = flight.key
        name = flight.preset.name
        began = time.monotonic()
        try:
            image = self._processor.process(data, flight.preset)
        except ImageProxyError:
            raise
        except Exception as error:
            raise ProcessingError(f"the processor failed: {error!r}", preset=name, did=did, cid=cid) from error
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

    def publish(self, flight: Flight, image: bytes) -> None:
        """Queue the write."""
        self._writes.put(Write(flight.key, image, flight.preset.name, flight.visit.fence))

    def failed(self, flight: Flight, error: ImageProxyError) -> None:
        """Count the failure, once for all who wait, and remember it for those who ask next."""
        image, did, cid, _ = flight.key
        if not flight.is_fenced:
            self._failures.note(error, did=did, cid=cid, pds_url=flight.visit.pds_url, image=image)
        is_refusal = isinstance(error, (BlobBlockedError, PolicyError))
        self._teller.tell("blocked" if is_refusal else "failed", did, cid, flight.preset.name, error=error)
