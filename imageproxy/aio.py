"""The service for coroutines: the same calls, awaited.

There is no second pipeline. A request is checked, looked up and joined to its flight by the code that threads use, on
the event loop where neither cache nor policy can block and otherwise on a few threads; then the coroutine awaits the
flight that threads would wait for. A thousand coroutines that wait for images hold no thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from ._flight import Flight
from ._fork import reset_after_fork
from ._typing import Self
from .errors import ConfigError, NilDependencyError, ServiceClosedError
from .events import Stats
from .presets import Preset
from .results import Image, PurgeReport, WarmReport
from .service import Request, Service, check_call, image_of

__all__ = ["AsyncService"]

T = TypeVar("T")

_CHORE_WORKERS = 4


class AsyncService:
    """A ``Service`` whose calls are awaited. For any number of event loops of asyncio, beside threads that use it.

    service: what answers. It may be used directly at the same time.
    lookup_workers: how many threads look into a cache or ask a policy that may block. Where both promise not to
        (``SupportsNonBlocking``) they are asked on the event loop, and no thread is started for it.

    Every call raises what the one of ``Service`` does. One that is cancelled gives up its place: the work goes on for
    others who wait for it, and else ends at its next step. Observers are called on the event loop too.
    """

    def __init__(self, service: Service, *, lookup_workers: int = 16) -> None:
        """Raises NilDependencyError without a service, and ConfigError for an option that cannot be meant."""
        if service is None:
            raise NilDependencyError("an AsyncService needs a service", dependency="service")
        if not isinstance(lookup_workers, int) or lookup_workers < 1:
            raise ConfigError(
                f"lookup_workers is {lookup_workers!r}; it must be a whole number above 0",
                option="lookup_workers",
                value=lookup_workers,
            )
        self.service = service
        self._lookup_workers = lookup_workers
        self._make_pools()
        reset_after_fork(self)

    def _reset_after_fork(self) -> None:
        self._make_pools()

    def _make_pools(self) -> None:
        # Neither has a thread before its first call.
        self._lookups = ThreadPoolExecutor(self._lookup_workers, thread_name_prefix="imageproxy-lookup")
        self._chores = ThreadPoolExecutor(_CHORE_WORKERS, thread_name_prefix="imageproxy-chore")

    # Images

    async def get_image(
        self, preset: str | Preset, did: str, cid: str, pds_url: str | None = None, *, timeout: float | None = None
    ) -> bytes:
        """The image's bytes, from the cache or made now; see ``Service.get_image``.

        timeout: in seconds, as there. Where the cache or the policy may block, looking there counts too.
        """
        found = await self._begin(self.service._read(preset, did, cid), pds_url, timeout)
        return await self._land(found, timeout) if isinstance(found, Flight) else found

    async def get(
        self, preset: str | Preset, did: str, cid: str, pds_url: str | None = None, *, timeout: float | None = None
    ) -> Image:
        """Like ``get_image``, with what an HTTP answer needs; see ``Service.get``."""
        request = self.service._read(preset, did, cid)
        found = await self._begin(request, pds_url, timeout)
        if isinstance(found, Flight):
            return image_of(request.key, await self._land(found, timeout), "fetch")
        return image_of(request.key, found, "cache")

    async def get_cached(self, preset: str | Preset, did: str, cid: str) -> Image | None:
        """The image if it is cached, or ``None``; see ``Service.get_cached``."""
        if self.service._is_nonblocking:
            return self.service.get_cached(preset, did, cid)
        return await _result(_submit(self._lookups, self.service.get_cached, preset, did, cid))

    # The steps of the above, for adapters.

    async def _vet(self, request: Request) -> None:
        """Raise what there is against showing this image, and look no further."""
        if self.service._is_nonblocking:
            self.service._vet(request)
        else:
            await _result(_submit(self._lookups, self.service._vet, request))

    async def _begin(self, request: Request, pds_url: str | None, timeout: float | None) -> bytes | Flight:
        """The image, or the flight that was joined for it: pass that one to ``_land``, come what may."""
        if self.service._is_nonblocking:
            return self.service._begin(request, pds_url, timeout)
        check_call(timeout, pds_url)
        begun = _submit(self._lookups, self.service._begin, request, pds_url, timeout)
        looking = asyncio.wrap_future(begun)
        try:
            await asyncio.wait((looking,), timeout=self.service._flights.patience(timeout))
            return looking.result() if looking.done() else self._refuse(request, timeout)
        except BaseException:
            _drop(looking)
            begun.add_done_callback(self._leave_begun)  # the thread may be about to join, or have joined
            raise

    def _refuse(self, request: Request, timeout: float | None) -> NoReturn:
        raise self.service._flights.too_late(request.key, timeout, preset=request.preset.name)

    def _leave_begun(self, begun: concurrent.futures.Future[bytes | Flight]) -> None:
        if not begun.cancelled() and begun.exception() is None:
            found = begun.result()
            if isinstance(found, Flight):
                self.service._flights.leave(found)

    async def _land(self, flight: Flight, timeout: float | None) -> bytes:
        """Await a flight, and leave it."""
        landed = await self._land_unless(None, flight, timeout)
        assert landed is not None  # noqa: S101 - for the type checkers
        return landed

    async def _land_unless(
        self, pointless: asyncio.Future[Any] | None, flight: Flight, timeout: float | None
    ) -> bytes | None:
        """Await a flight, and leave it; ``None`` where ``pointless`` is done first."""
        flights = self.service._flights
        landing = asyncio.wrap_future(flight.future)
        awaited = (landing,) if pointless is None else (landing, pointless)
        try:
            for seconds in flights.turns(flight, timeout):
                await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if pointless is not None and pointless.done() and not flight.future.done():
                    return None
            return flights.result(flight, timeout)
        finally:
            _drop(landing)
            flights.leave(flight)

    # Many images

    async def warm(
        self,
        items: Iterable[tuple[str, str]],
        *,
        presets: Iterable[str | Preset] | None = None,
        on_progress: Callable[[WarmReport], None] | None = None,
    ) -> WarmReport:
        """Make images ahead of the first request for them; see ``Service.warm``.

        items: read on another thread, as the work goes on.
        on_progress: called on the event loop. What it raises ends the work, and is raised.

        Cancelled, it stops after the image at hand.
        """
        loop = asyncio.get_running_loop()
        failures: list[BaseException] = []

        def tell(report: WarmReport) -> None:
            try:
                if on_progress is not None:
                    on_progress(report)
            except BaseException as error:  # noqa: BLE001 - raised below, where it is awaited
                failures.append(error)

        def relay(report: WarmReport) -> None:
            if failures:
                raise failures[0]
            if on_progress is not None:
                loop.call_soon_threadsafe(tell, report)

        try:
            report = await _on_own_thread(partial(self.service.warm, items, presets=presets, on_progress=relay))
        except BaseException as error:
            failures.append(error)
            raise
        if failures:
            raise failures[0]
        return report

    async def purge(self, did: str, cid: str | None = None) -> PurgeReport:
        """Erase one blob in every variant, or everything of an owner; see ``Service.purge``. Cancelled, it goes on."""
        return await _result(_submit(self._chores, self.service.purge, did, cid))

    async def forget_identity(self, did: str) -> None:
        """Resolve this DID afresh the next time; see ``Service.forget_identity``."""
        await _result(_submit(self._chores, self.service.forget_identity, did))

    # What is around the images

    def url_for(
        self,
        preset: str | Preset,
        did: str,
        cid: str,
        *,
        format: str | None = None,  # noqa: A002 - the field's own name
    ) -> str:
        """The URL of an image; see ``ImageURLs.url_for``. Nothing to await: it is made of its arguments alone."""
        return self.service.url_for(preset, did, cid, format=format)

    async def stats(self) -> Stats:
        """The counters now; see ``Service.stats``."""
        return await _result(_submit(self._chores, self.service.stats))

    async def flush(self, timeout: float | None = None) -> bool:
        """Wait until every image that was answered so far is written; see ``Service.flush``."""
        return await _on_own_thread(partial(self.service.flush, timeout))

    async def close(self, timeout: float | None = None) -> bool:
        """Close the service, and end the threads of this object; see ``Service.close``. Cancelled, it goes on."""
        try:
            return await _on_own_thread(partial(self.service.close, timeout))
        finally:
            self.release()

    def release(self) -> None:
        """End the threads of this object once they are idle; later calls start new ones. The service stays open."""
        pools = self._lookups, self._chores
        self._make_pools()
        for pool in pools:
            pool.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _submit(pool: ThreadPoolExecutor, function: Callable[..., T], *arguments: Any) -> concurrent.futures.Future[T]:
    """Call it on a thread of the pool, with the context variables that the caller sees."""
    try:
        return pool.submit(contextvars.copy_context().run, function, *arguments)
    except RuntimeError as error:
        raise ServiceClosedError(f"no thread is to be had: {error}") from error


async def _on_own_thread(function: Callable[[], T]) -> T:
    """For what may take minutes: it must not keep the pools from what is short."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="imageproxy-aio")
    try:
        return await _result(_submit(pool, function))
    finally:
        pool.shutdown(wait=False)


async def _result(future: concurrent.futures.Future[T]) -> T:
    return await asyncio.wrap_future(future)


def _drop(future: asyncio.Future[Any]) -> None:
    """Await it no more. What it has come to meanwhile is looked at, or asyncio would complain that nobody did."""
    if not future.cancel() and not future.cancelled():
        future.exception()
