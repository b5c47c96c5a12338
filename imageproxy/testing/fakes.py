"""Stand-ins for every backend of a service, for the unit tests of apps: no network, no disk, no waiting.

Each fake answers at once, keeps a list of what it was asked, and can be told to fail. Those that do the slow work (the
fetcher, the processor, the resolver) also take a ``gate``, an Event that they wait for, so that a test decides what
happens first instead of sleeping::

    gate = threading.Event()
    fetcher = FakeFetcher(gate=gate)
    with fake_service(fetcher=fetcher) as images, ThreadPoolExecutor() as pool:
        calls = [pool.submit(images.get_image, "avatar", did, cid) for _ in range(10)]
        fetcher.wait_for_calls(1)  # one is fetching, nine join it
        gate.set()
    assert len(fetcher.calls) == 1

All are safe to call from threads, and may be shared between services.
"""

from __future__ import annotations

import base64
import copy
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from imageproxy._fork import reset_after_fork
from imageproxy.config import Config
from imageproxy.errors import DIDNotFoundError, DIDResolutionError, PDSNotFoundError, PDSTimeoutError, ProcessingError
from imageproxy.events import Event, EventName
from imageproxy.presets import Preset, PresetRegistry
from imageproxy.protocols import BlobPolicy, Cache, CacheKey, Fetcher, Observer, Processor, Resolver
from imageproxy.service import Service

__all__ = [
    "FAKE_IMAGE",
    "FAKE_PDS_URL",
    "FakeCache",
    "FakeFetcher",
    "FakePolicy",
    "FakeProcessor",
    "FakeResolver",
    "FetchCall",
    "PolicyCall",
    "ProcessCall",
    "PurgeCall",
    "RecordingObserver",
    "ResolveCall",
    "fake_service",
]

FAKE_PDS_URL = "https://pds.test"
"""Where a FakeResolver without a table says that every account is. Nothing is there: ``.test`` is never delegated."""

FAKE_IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAQAAAADCAIAAAA7ljmRAAAAGElEQVR42mNkYGiwYWCAIBaGAAY4QOEAADRaAd6zUPD/AAAAAElFTkSuQmCC"
)
"""What a FakeFetcher without a table answers: a real PNG of 4x3 pixels."""

_GATE_SECONDS = 60.0  # a test that forgot its gate should fail, not hang

CallT = TypeVar("CallT")


class _CallLog(Generic[CallT]):
    """Keeps the calls in the order they came, and wakes those who wait for them."""

    def __init__(self) -> None:
        self._calls: list[CallT] = []
        self._changed = threading.Condition()
        reset_after_fork(self)

    def _reset_after_fork(self) -> None:
        self._changed = threading.Condition()

    def _record(self, call: CallT) -> None:
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()

    def _wait_until(self, is_there: Callable[[], bool], what: str, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(is_there, timeout):
                raise AssertionError(f"{what} did not come within {timeout} s; there were: {self._calls}")


class _SlowBackend(_CallLog[CallT]):
    """A backend whose calls can be held at a gate."""

    def __init__(self, gate: threading.Event | None) -> None:
        super().__init__()
        self.gate = gate

    @property
    def calls(self) -> list[CallT]:
        """The calls so far, in the order they came, those still under way included. The list is the caller's own."""
        return list(self._calls)

    def wait_for_calls(self, count: int = 1, *, timeout: float = 10.0) -> None:
        """Wait until there were ``count`` calls in all. Raises AssertionError after ``timeout`` seconds."""
        self._wait_until(lambda: len(self._calls) >= count, f"call {count}", timeout)

    def _passes_gate(self, timeout: float | None = None) -> bool:
        return self.gate is None or self.gate.wait(_GATE_SECONDS if timeout is None else timeout)


def _fresh(error: Exception) -> Exception:
    """An exception to raise: a copy, so that two threads never share one and its traceback."""
    try:
        return copy.copy(error)
    except TypeError:  # its class cannot be made from its args
        return error


class PurgeCall(NamedTuple):
    """A call of ``Cache.purge``."""

    did: str
    cid: str | None


class FakeCache:
    """A dictionary.

    entries: what is stored, to look at or to fill beforehand.
    reads, writes, purges: the calls so far, in the order they came.
    fail_reads, fail_writes, fail_purges: an exception to raise instead; set and unset them at any time.
    """

    def __init__(self) -> None:
        self.entries: dict[CacheKey, bytes] = {}
        self.reads: list[CacheKey] = []
        self.writes: list[CacheKey] = []
        self.purges: list[PurgeCall] = []
        self.fail_reads: Exception | None = None
        self.fail_writes: Exception | None = None
        self.fail_purges: Exception | None = None

    def get(self, key: CacheKey) -> bytes | None:
        """See ``Cache.get``."""
        self.reads.append(key)
        if self.fail_reads is not None:
            raise _fresh(self.fail_reads)
        return self.entries.get(key)

    def set(self, key: CacheKey, data: bytes) -> None:
        """See ``Cache.set``."""
        self.writes.append(key)
        if self.fail_writes is not None:
            raise _fresh(self.fail_writes)
        self.entries[key] = data

    def purge(self, did: str, cid: str | None = None) -> int:
        """See ``Cache.purge``."""
        self.purges.append(PurgeCall(did, cid))
        if self.fail_purges is not None:
            raise _fresh(self.fail_purges)
        doomed = [key for key in list(self.entries) if key.did == did and cid in (None, key.cid)]
        return sum(self.entries.pop(key, None) is not None for key in doomed)


class FetchCall(NamedTuple):
    """A call of ``Fetcher.fetch``."""

    pds_url: str
    did: str
    cid: str
    timeout: float | None


class FakeFetcher(_SlowBackend[FetchCall]):
    """Answers from a table.

    blobs: the bytes to answer with, or an exception to raise, by ``(did, cid)`` or by the CID alone. What is not there
        is a PDSNotFoundError. ``None``: every blob is FAKE_IMAGE.
    error: raised by every call while it is set.
    gate: every call waits for this Event; a PDSTimeoutError where it is not set within the call's ``timeout`` (60
        seconds without one).

    ``blobs``, ``error`` and ``gate`` are attributes that may be changed at any time.
    """

    def __init__(
        self,
        blobs: Mapping[Any, bytes | Exception] | None = None,
        *,
        error: Exception | None = None,
        gate: threading.Event | None = None,
    ) -> None:
        super().__init__(gate)
        self.blobs: dict[Any, bytes | Exception] | None = None if blobs is None else dict(blobs)
        self.error = error

    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
        """See ``Fetcher.fetch``."""
        self._record(FetchCall(pds_url, did, cid, timeout))
        if not self._passes_gate(timeout):
            raise PDSTimeoutError("the gate stayed shut", timeout=timeout, pds_url=pds_url, did=did, cid=cid)
        if self.error is not None:
            raise _fresh(self.error)
        if self.blobs is None:
            return FAKE_IMAGE
        found = self.blobs.get((did, cid), self.blobs.get(cid))
        if found is None:
            raise PDSNotFoundError(
                "no such blob in this FakeFetcher", reason="blob_not_found", pds_url=pds_url, did=did, cid=cid
            )
        if isinstance(found, Exception):
            raise _fresh(found)
        return found


class ProcessCall(NamedTuple):
    """A call of ``Processor.process``."""

    data: bytes
    preset: Preset


class FakeProcessor(_SlowBackend[ProcessCall]):
    """Answers ``b"avatar:" + data``: the preset's name, and ``@format`` after it where that is not JPEG.

    error: raised by every call while it is set.
    gate: every call waits for this Event; a ProcessingError after 60 seconds.
    version: part of every cache key, see ``SupportsVersion``; read when a service is made.
    """

    def __init__(
        self, *, error: Exception | None = None, gate: threading.Event | None = None, version: str = "fake"
    ) -> None:
        super().__init__(gate)
        self.error = error
        self.version = version

    def process(self, data: bytes, preset: Preset) -> bytes:
        """See ``Processor.process``."""
        self._record(ProcessCall(data, preset))
        if not self._passes_gate():
            raise ProcessingError("the gate stayed shut", preset=preset.name)
        if self.error is not None:
            raise _fresh(self.error)
        suffix = "" if preset.format == "jpeg" else f"@{preset.format}"
        return f"{preset.name}{suffix}:".encode() + data


class ResolveCall(NamedTuple):
    """A call of ``Resolver.resolve``."""

    did: str
    timeout: float | None


class FakeResolver(_SlowBackend[ResolveCall]):
    """Answers from a table.

    urls: the PDS of each DID, or an exception to raise. A DID that is not there is at ``default``, or, where that is
        ``None``, a DIDNotFoundError. Without a table every account is at FAKE_PDS_URL.
    error: raised by every call while it is set.
    gate: every call waits for this Event; a DIDResolutionError where it is not set within the call's ``timeout`` (60
        seconds without one).
    invalidated: the DIDs that were to be forgotten, in the order they came.
    """

    def __init__(
        self,
        urls: Mapping[str, str | Exception] | None = None,
        *,
        default: str | None = None,
        error: Exception | None = None,
        gate: threading.Event | None = None,
    ) -> None:
        super().__init__(gate)
        self.urls: dict[str, str | Exception] = dict(urls or {})
        self.default = FAKE_PDS_URL if urls is None and default is None else default
        self.error = error
        self.invalidated: list[str] = []

    def resolve(self, did: str, *, timeout: float | None = None) -> str:
        """See ``Resolver.resolve``."""
        self._record(ResolveCall(did, timeout))
        if not self._passes_gate(timeout):
            raise DIDResolutionError("the gate stayed shut", did=did)
        if self.error is not None:
            raise _fresh(self.error)
        found = self.urls.get(did, self.default)
        if found is None:
            raise DIDNotFoundError("no such DID in this FakeResolver", did=did)
        if isinstance(found, Exception):
            raise _fresh(found)
        return found

    def invalidate(self, did: str) -> None:
        """See ``SupportsInvalidate.invalidate``."""
        self.invalidated.append(did)


class PolicyCall(NamedTuple):
    """A call of ``BlobPolicy.is_blocked``."""

    did: str
    cid: str


class FakePolicy:
    """Blocks what is in a set.

    blocked: DIDs, for everything of an account, and ``(did, cid)`` pairs; a set that may be changed at any time.
    error: raised by every call while it is set; a BlobBlockedError with a status of its own for one.
    calls: the blobs that were asked about, in the order they came.
    """

    def __init__(self, blocked: Iterable[str | tuple[str, str]] = (), *, error: Exception | None = None) -> None:
        self.blocked: set[str | tuple[str, str]] = set(blocked)
        self.error = error
        self.calls: list[PolicyCall] = []

    def is_blocked(self, did: str, cid: str) -> bool:
        """See ``BlobPolicy.is_blocked``."""
        self.calls.append(PolicyCall(did, cid))
        if self.error is not None:
            raise _fresh(self.error)
        return did in self.blocked or (did, cid) in self.blocked


class RecordingObserver(_CallLog[Event]):
    """Keeps every event."""

    @property
    def events(self) -> list[Event]:
        """The events so far, in the order they came. The list is the caller's own."""
        return list(self._calls)

    @property
    def names(self) -> list[EventName]:
        """The names of the events so far."""
        return [event.name for event in self.events]

    def on_event(self, event: Event) -> None:
        """See ``Observer.on_event``."""
        self._record(event)

    def wait_for(self, name: EventName, count: int = 1, *, timeout: float = 10.0) -> None:
        """Wait until there were ``count`` events of this name. Raises AssertionError after ``timeout`` seconds."""
        self._wait_until(lambda: self.names.count(name) >= count, f"event {name!r} number {count}", timeout)


def fake_service(
    *,
    cache: Cache | None = None,
    processor: Processor | None = None,
    fetcher: Fetcher | None = None,
    resolver: Resolver | None = None,
    policy: BlobPolicy | None = None,
    presets: PresetRegistry | None = None,
    observers: Iterable[Observer] = (),
    config: Config | None = None,
) -> Service:
    """A real Service over fakes: touches neither network nor disk. Close it like any other; then no thread is left.

    Every argument is as in ``Service``, but for the four backends ``None`` means: the fake one. To look at what a fake
    was asked, make it and pass it in.
    """
    return Service(
        FakeCache() if cache is None else cache,
        FakeProcessor() if processor is None else processor,
        FakeFetcher() if fetcher is None else fetcher,
        config,
        presets=presets,
        resolver=FakeResolver() if resolver is None else resolver,
        policy=policy,
        observers=observers,
    )
