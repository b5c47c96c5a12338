"""The pipeline: from a preset, a DID and a CID to an image, over whatever backends it is given."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import TracebackType
from typing import Literal, NamedTuple, NoReturn

from ._admission import Admission
from ._failures import Failures, Subject
from ._fences import Fences
from ._flight import Flight
from ._flights import Flights
from ._fork import reset_after_fork
from ._gate import Gate
from ._memory import memory_limit_bytes
from ._miss import Miss
from ._origin import Origin
from ._seldom import Seldom
from ._telling import Teller
from ._typing import Self
from ._warm import Warming
from ._write_behind import Write, WriteBehind, WriteOutcome
from .config import Config
from .errors import (
    CachePurgeError,
    ConfigError,
    ImageProxyError,
    InvalidRequestError,
    NilDependencyError,
    ServiceClosedError,
)
from .events import Stats
from .identifiers import canonical_cid, canonical_did
from .presets import Preset, PresetRegistry, checked_registry
from .protocols import (
    BlobPolicy,
    Cache,
    CacheKey,
    Fetcher,
    Observer,
    Processor,
    Resolver,
    SupportsNonBlocking,
    SupportsStats,
    SupportsVersion,
)
from .results import Image, PurgeReport, WarmReport
from .urls import ImageURLs

__all__ = ["Service"]

_log = logging.getLogger(__name__)

_PURGE_WAIT_SECONDS = 30.0
"""How long a purge waits for writes that are under way, before it reports that the cache may still hold them."""

_MEMORY_SHARE = 4
"""What the budget is of the memory there is, when the config does not say: one part in four."""

_REMEMBERED_REQUESTS = 4096
"""How many different requests are remembered, so that the next of the same need not be checked again."""

_LOOKUP_WORKERS = 4

_VERSION = re.compile(r"[a-zA-Z0-9._-]{1,64}")

Source = Literal["cache", "fetch"]


class Request(NamedTuple):
    """What is asked for, checked and in its canonical form."""

    preset: Preset
    key: CacheKey


class Service:
    """Answers ``(preset, DID, CID)`` with an image. Safe to call from threads; works in the children of a fork.

    cache, processor, fetcher: the backends, see ``imageproxy.protocols``. None of them is closed with the service.
    config: options; the defaults of ``Config`` where it is ``None``.
    presets: the registry that names are looked up in; DEFAULT where it is ``None``.
    resolver: finds the PDS of an account; without one, every request needs its ``pds_url``.
    policy: asked before anything is shown; without one, all is.
    observers: told of each event, see ``imageproxy.events``.

    No thread is started before the first miss. Close it when done (it is a context manager), so that what waits to be
    written to the cache is written.

    Raises NilDependencyError naming the backend that is missing.
    """

    def __init__(
        self,
        cache: Cache,
        processor: Processor,
        fetcher: Fetcher,
        config: Config | None = None,
        *,
        presets: PresetRegistry | None = None,
        resolver: Resolver | None = None,
        policy: BlobPolicy | None = None,
        observers: Iterable[Observer] = (),
    ) -> None:
        for name, backend in (("cache", cache), ("processor", processor), ("fetcher", fetcher)):
            if backend is None:
                raise NilDependencyError(
                    f"a Service needs a {name}; create_service() picks the default one", dependency=name
                )
        config = Config() if config is None else config
        self._cache = cache
        self._counting_cache = cache if isinstance(cache, SupportsStats) else None
        self._presets = checked_registry(presets)
        self._engine = _engine(processor)
        self._request = lru_cache(maxsize=_REMEMBERED_REQUESTS)(self._check_request)
        self._urls = ImageURLs(
            base_url=config.base_url,
            cdn_url=config.cdn_url,
            presets=self._presets,
            signing_key=config.url_signing_key,
            enabled=config.enabled,
        )
        self._teller = Teller(observers)
        self._seldom = Seldom()
        self._gate = Gate(policy)
        self._is_nonblocking = _promises_not_to_block(cache) and (policy is None or _promises_not_to_block(policy))
        self._failures = Failures()
        self._origin = Origin(
            fetcher,
            resolver,
            self._failures,
            timeout_seconds=config.fetch_timeout_seconds,
            max_bytes=config.max_source_bytes,
        )
        fences = Fences(cache, self._teller)
        self._writes = WriteBehind(
            fences,
            max_bytes=config.write_queue_max_bytes,
            max_age_seconds=config.write_queue_max_age_seconds,
            report=self._tell_write,
        )
        admission = Admission(
            _admissible_bytes(config),
            source_bytes=config.max_source_bytes,
            max_wait_seconds=config.admission_timeout_seconds,
        )
        self._flights = Flights(
            Miss(
                processor,
                self._origin,
                fences=fences,
                gate=self._gate,
                writes=self._writes,
                failures=self._failures,
                teller=self._teller,
            ),
            admission,
            # No more threads than can have a source, and some that look up DIDs: the allocator keeps memory for each.
            fetch_workers=min(config.fetch_workers, admission.max_sources + _LOOKUP_WORKERS),
            decode_workers=config.decode_workers or _processor_count(),
            max_flights=config.max_flights,
            timeout_seconds=config.flight_timeout_seconds,
        )
        self._is_closed = False
        reset_after_fork(self)

    def _reset_after_fork(self) -> None:
        self._teller.reset_after_fork()
        self._failures.reset_after_fork()
        self._writes.reset_after_fork()
        self._flights.reset_after_fork()

    # Images

    def get_image(
        self, preset: str | Preset, did: str, cid: str, pds_url: str | None = None, *, timeout: float | None = None
    ) -> bytes:
        """The image's bytes, from the cache or made now.

        preset: the name of one of the service's presets, or a preset.
        pds_url: the base URL of the account's PDS, where the app knows it; ``None`` or ``""``: the resolver finds it.
        timeout: how many seconds to wait at most; ``None``: as long as the service's own deadlines allow. It bounds
            this call alone: the work goes on for others who wait, and a hit is answered whatever it is.

        Raises InvalidRequestError or a child of it for what is wrong with the request, BlobBlockedError or PolicyError
        for what may not be shown, and for a miss: BusyError, DeadlineExceededError, DIDResolutionError, PDSFetchError,
        UnsupportedFormatError, ImageTooLargeError, ProcessingError, or children of these. ServiceClosedError after
        ``close()``.
        """
        try:  # as _read does, whose call would be a fiftieth of a hit from memory
            request = self._request(preset, did, cid)
        except TypeError:
            request = self._check_request(preset, did, cid)
        found = self._begin(request, pds_url, timeout)
        return found if isinstance(found, bytes) else self._land(found, timeout)

    def get(
        self, preset: str | Preset, did: str, cid: str, pds_url: str | None = None, *, timeout: float | None = None
    ) -> Image:
        """Like ``get_image``, with what an HTTP answer needs: content type, entity tag, and where it came from."""
        request = self._read(preset, did, cid)
        found = self._begin(request, pds_url, timeout)
        if isinstance(found, Flight):
            return image_of(request.key, self._land(found, timeout), "fetch")
        return image_of(request.key, found, "cache")

    def get_cached(self, preset: str | Preset, did: str, cid: str) -> Image | None:
        """The image if it is cached, or ``None``: nothing is fetched, nothing waited for. Raises as ``get_image``."""
        request = self._read(preset, did, cid)
        began = time.monotonic() if self._teller.is_observed else None
        self._vet(request)
        data = self._look_up(request.key, request.preset.name, began)
        return None if data is None else image_of(request.key, data, "cache")

    def _read(self, preset: str | Preset, did: str, cid: str) -> Request:
        """Step 1: is the request right?"""
        try:
            return self._request(preset, did, cid)
        except TypeError:  # something that is not hashable, and so cannot be remembered
            return self._check_request(preset, did, cid)

    def _vet(self, request: Request) -> None:
        """Step 2: may the blob be shown?"""
        if self._is_closed:
            raise ServiceClosedError("the service is closed")
        if not self._gate.is_open:
            self._check_policy(request.key, request.preset.name)

    def _begin(self, request: Request, pds_url: str | None, timeout: float | None) -> bytes | Flight:
        """Steps 2 to 4: the image, or the flight that was joined for it, which the caller waits for and then leaves.

        Blocks no longer than the policy and the cache do.
        """
        wanted, key = request
        began = time.monotonic() if self._teller.is_observed else None
        if self._is_closed or not self._gate.is_open:
            self._vet(request)
        if timeout is not None or pds_url is not None:
            check_call(timeout, pds_url)
        since = self._flights.published
        data = self._look_up(key, wanted.name, began)
        if data is not None:
            return data
        self._teller.tell("miss", key.did, key.cid, wanted.name, seconds=self._teller.since(began))
        self._check_failures(key, wanted.name, pds_url or None)
        while (flights := self._flights.join([(key, wanted)], pds_url or None, since=since)) is None:
            since = self._flights.published
            data = self._look_up(key, wanted.name, began)
            if data is not None:
                return data
        return flights[0]

    def _land(self, flight: Flight, timeout: float | None) -> bytes:
        try:
            return self._flights.wait(flight, timeout)
        finally:
            self._flights.leave(flight)

    def _check_request(self, preset: str | Preset, did: str, cid: str) -> Request:
        wanted = self._presets.find(preset)
        key = CacheKey(wanted.key + self._engine, canonical_did(did), canonical_cid(cid), wanted.content_type)
        return Request(wanted, key)

    def _check_policy(self, key: CacheKey, preset: str) -> None:
        try:
            self._gate.check(key.did, key.cid, preset)
        except ImageProxyError as error:
            self._teller.tell("blocked", key.did, key.cid, preset, error=error)
            raise

    def _check_failures(self, key: CacheKey, preset: str, pds_url: str | None) -> None:
        """Raise what is remembered of this image, its blob or its owner."""
        blob = Subject(key.did, key.cid, pds_url)
        error = self._failures.recall(blob, blob._replace(cid=None), blob._replace(image=key.preset))
        if error is not None:
            error.preset, error.did, error.cid = preset, key.did, key.cid
            self._teller.tell("failure_remembered", key.did, key.cid, preset, error=error)
            raise error

    def _look_up(self, key: CacheKey, preset: str, began: float | None = None) -> bytes | None:
        """Step 3. The queue comes first: what has left it is in the cache. ``began``: when the request did."""
        data = self._writes.get(key) if self._writes.pending else None
        if data is None:
            try:
                data = self._cache.get(key)
                if data is None:
                    return None
                if not data or not isinstance(data, bytes):
                    _refuse(data)
            except Exception as error:  # noqa: BLE001 - a cache may raise what it likes
                where = {"preset": preset, "did": key.did, "cid": key.cid}
                what = "the cache could not be read, going on as for a miss: %r"
                _log.log(self._seldom.level, what, error, extra=where)
                self._teller.tell("cache_read_failed", key.did, key.cid, preset, error=error)
                return None
        self._teller.tell_hit(key.did, key.cid, preset, len(data), began)
        return data

    # Many images

    def warm(
        self,
        items: Iterable[tuple[str, str]],
        *,
        presets: Iterable[str | Preset] | None = None,
        on_progress: Callable[[WarmReport], None] | None = None,
    ) -> WarmReport:
        """Make images ahead of the first request for them. Each blob is fetched once, whatever the presets.

        items: pairs ``(did, cid)``; may be a generator, which is read as the work goes on.
        presets: which presets of each; ``None``: all of the service's.
        on_progress: called on this thread with the report so far, after each image.

        Errors of single images are collected in the report. Raises InvalidPresetError for a preset that is wrong, and
        what ``items`` or ``on_progress`` raise.
        """
        warming = Warming(
            self._flights,
            admit=self._admit,
            is_cached=lambda key, preset: self._look_up(key, preset.name) is not None,
            check=lambda key, preset: self._check_failures(key, preset.name, None),
            on_progress=on_progress,
        )
        named = (presets,) if isinstance(presets, str) else self._presets if presets is None else presets
        return warming.run(items, [self._presets.find(preset) for preset in named])

    def _admit(self, preset: Preset, did: str, cid: str) -> CacheKey:
        request = self._read(preset, did, cid)
        self._vet(request)
        return request.key

    def purge(self, did: str, cid: str | None = None) -> PurgeReport:
        """Erase one blob in every variant, or with ``cid=None`` everything of an owner.

        After this returns, no later call on this service receives bytes that were fetched before it, whatever was
        queued or in flight. Callers who wait already still get theirs. Purging erases and does not forbid: the next
        request fetches the blob again, unless a policy blocks it.

        Raises InvalidDIDError, InvalidCIDError or ServiceClosedError. A cache that fails is named in the report.
        """
        if self._is_closed:
            raise ServiceClosedError("the service is closed")
        did, cid = canonical_did(did), None if cid is None else canonical_cid(cid)
        self._flights.fence(did, cid)
        self._failures.forget(did, cid)
        removed, is_quiet = self._writes.fence(did, cid, timeout=_PURGE_WAIT_SECONDS)
        failed: tuple[str, ...] = ()
        try:
            removed += self._cache.purge(did, cid)
        except CachePurgeError as error:
            _log.warning("the cache could not be purged: %s", error, extra={"did": did, "cid": cid})
            removed, failed = removed + error.removed, error.failed or (type(self._cache).__name__,)
        except Exception as error:  # noqa: BLE001 - a cache may raise what it likes
            _log.warning("the cache could not be purged: %r", error, extra={"did": did, "cid": cid})
            is_quiet = False
        if not is_quiet and not failed:
            failed = (type(self._cache).__name__,)
        self._teller.tell("purged", did, cid)
        return PurgeReport(removed, failed)

    def forget_identity(self, did: str) -> None:
        """Resolve this DID afresh the next time: the account moved, or the event stream says ``#identity``.

        Raises InvalidDIDError, or DIDResolutionError when the resolver fails to forget.
        """
        did = canonical_did(did)
        self._failures.forget(did)
        self._origin.forget(did)

    # What is around the images

    def url_for(
        self,
        preset: str | Preset,
        did: str,
        cid: str,
        *,
        format: str | None = None,  # noqa: A002 - the field's own name
    ) -> str:
        """The URL of an image, by the service's presets and config; see ``ImageURLs.url_for``."""
        return self._urls.url_for(preset, did, cid, format=format)

    def stats(self) -> Stats:
        """The counters now. They begin at zero in the child of a fork."""
        counts, sizes = self._teller.counts, self._teller.bytes
        queued_writes, queued_bytes = self._writes.queued
        return Stats(
            hits=counts["hit"],
            hit_bytes=sizes["hit"],
            misses=counts["miss"],
            coalesced=counts["coalesced"],
            fetches=counts["fetched"],
            fetched_bytes=sizes["fetched"],
            processed=counts["processed"],
            processed_bytes=sizes["processed"],
            failures=counts["failed"],
            failures_remembered=counts["failure_remembered"],
            blocked=counts["blocked"],
            cache_read_errors=counts["cache_read_failed"],
            cache_writes=counts["cache_written"],
            cache_written_bytes=sizes["cache_written"],
            cache_write_errors=counts["cache_write_failed"],
            cache_writes_dropped=counts["cache_write_dropped"],
            flights=len(self._flights),
            queued_writes=queued_writes,
            queued_write_bytes=queued_bytes,
            cache=self._cache_stats(),
        )

    def _cache_stats(self) -> Mapping[str, int]:
        if self._counting_cache is None:
            return {}
        try:
            return dict(self._counting_cache.stats())
        except Exception as error:  # noqa: BLE001 - a cache may raise what it likes
            _log.warning("the cache does not tell its counts: %r", error)
            return {}

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until every image that was answered so far is written to the cache, or dropped.

        ``False`` when ``timeout`` seconds were not enough. Not for a signal handler: it may have interrupted what it
        then waits for; set an Event there.
        """
        return self._writes.flush(_seconds(timeout))

    def close(self, timeout: float | None = None) -> bool:
        """Refuse new calls, fail what has not begun, finish what has, and write what is queued.

        ``False`` when ``timeout`` seconds were not enough for that; what was left is dropped. Calling it again waits
        again and does no harm. Backends are not closed: they belong to whoever made them. Not for a signal handler, as
        ``flush``.
        """
        timeout = _seconds(timeout)
        self._is_closed = True
        deadline = None if timeout is None else time.monotonic() + timeout
        is_landed = self._flights.close(timeout)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        return self._writes.close(left) and is_landed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tell_write(
        self, write: Write, outcome: WriteOutcome, seconds: float | None, error: BaseException | None
    ) -> None:
        _, did, cid, _ = write.key
        self._teller.tell(outcome, did, cid, write.preset, seconds=seconds, size_bytes=len(write.data), error=error)


def _engine(processor: Processor) -> str:
    """What the processor's version adds to every key."""
    if not isinstance(processor, SupportsVersion):
        return ""
    version = processor.version
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ConfigError(
            f"the processor's version is {version!r}; it must be 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'",
            option="version",
            value=version,
        )
    return f"+{version}"


def _promises_not_to_block(backend: object) -> bool:
    return isinstance(backend, SupportsNonBlocking) and backend.is_nonblocking is True


def _refuse(data: object) -> NoReturn:
    raise TypeError(f"the cache gave {data!r:.40} for an image")


def _admissible_bytes(config: Config) -> int:
    """What of the budget is given out: three tenths stay for what the allocator keeps of freed memory."""
    budget = config.memory_budget_bytes or max(memory_limit_bytes() // _MEMORY_SHARE, 4 * config.max_source_bytes)
    return budget * 7 // 10


def image_of(key: CacheKey, data: bytes, source: Source) -> Image:
    """What ``Service.get`` and its like return."""
    return Image(data, key.content_type, etag_of(key), source)


def etag_of(key: CacheKey) -> str:
    """The entity tag of an image, which is known before the image is."""
    return f'"{key.preset}-{key.cid}"'


def check_call(timeout: float | None, pds_url: str | None) -> None:
    """Raises InvalidRequestError."""
    _seconds(timeout)
    if pds_url is not None and not isinstance(pds_url, str):
        raise InvalidRequestError(f"pds_url is a {type(pds_url).__name__}; it must be a str, or None")


def _seconds(timeout: float | None) -> float | None:
    """A timeout, checked: no longer than the system can wait, and ``None`` for ever."""
    if timeout is None:
        return None
    if not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise InvalidRequestError(f"timeout is {timeout!r}; it must be a number of seconds, 0 or more, or None")
    return min(timeout, threading.TIMEOUT_MAX)


def _processor_count() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        return os.cpu_count() or 1
