"""The seams: what a backend must have. A plain class with the right methods is one; nobody has to inherit.

Every backend is called from several threads at once, and must allow it. What a backend raises and is not one of this
library's errors is wrapped in one: PDSFetchError for a fetcher, ProcessingError for a processor, DIDResolutionError for
a resolver, PolicyError for a policy. A cache may raise what it likes: a failed read is a miss, a failed write is
counted and logged.

A service closes no backend that was passed to it.

The small ``Supports...`` protocols are powers that a backend may have beyond its own; the service looks for them once,
when it is made.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from .events import Event
from .presets import Preset

__all__ = [
    "BlobPolicy",
    "Cache",
    "CacheKey",
    "Fetcher",
    "Observer",
    "Processor",
    "Resolver",
    "SupportsCleanup",
    "SupportsClose",
    "SupportsEstimate",
    "SupportsFences",
    "SupportsInvalidate",
    "SupportsNonBlocking",
    "SupportsStats",
    "SupportsVersion",
]


class CacheKey(NamedTuple):
    """What one cached image is stored under. Immutable and hashable, so that a dictionary is already a correct cache.

    preset: the preset's versioned key (its name, a fingerprint of its parameters, the processor's version), so that an
        edited preset or another engine never meets old bytes.
    did, cid: canonical texts.
    content_type: of the stored bytes.
    """

    preset: str
    did: str
    cid: str
    content_type: str


@runtime_checkable
class Cache(Protocol):
    """Keeps finished images. ``get`` is on the path of every hit; ``set`` runs on a thread of the service."""

    def get(self, key: CacheKey) -> bytes | None:
        """The bytes stored under ``key``, all of them, or ``None``."""
        ...

    def set(self, key: CacheKey, data: bytes) -> None:
        """Store ``data`` under ``key``, replacing what was there. A reader sees the old or the new, never a part."""
        ...

    def purge(self, did: str, cid: str | None = None) -> int:
        """Remove one blob in every variant, or with ``cid=None`` all of the owner's; returns how many entries went.

        A ``get`` that begins after this returns does not see them. A cache of several parts tries them all, and raises
        CachePurgeError for those that failed.
        """
        ...


@runtime_checkable
class Fetcher(Protocol):
    """Gets a blob from a PDS."""

    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
        """The blob's bytes.

        timeout: seconds for the whole fetch; ``None``: the fetcher's own limit.

        Raises PDSFetchError or one of its children, or ImageTooLargeError.
        """
        ...


@runtime_checkable
class Processor(Protocol):
    """Turns a blob into the image that a preset describes. Called with bytes from strangers."""

    def process(self, data: bytes, preset: Preset) -> bytes:
        """The finished image, encoded as ``preset.format``.

        Raises UnsupportedFormatError, ImageTooLargeError or ProcessingError.
        """
        ...


@runtime_checkable
class Resolver(Protocol):
    """Finds the PDS of an account."""

    def resolve(self, did: str, *, timeout: float | None = None) -> str:
        """The base URL of the account's PDS.

        timeout: seconds for the whole answer; ``None``: the resolver's own limit.

        Raises DIDResolutionError or DIDNotFoundError.
        """
        ...


@runtime_checkable
class BlobPolicy(Protocol):
    """Decides whether a blob may be shown. Asked before the cache, on the path of every hit, and before publishing."""

    def is_blocked(self, did: str, cid: str) -> bool:
        """``True`` to refuse, ``False`` to allow; anything else, and any exception, refuses too.

        did, cid: canonical texts. ``canonical_did`` and ``canonical_cid`` make them of other spellings.

        May raise BlobBlockedError itself, with a reason and a status.
        """
        ...


@runtime_checkable
class Observer(Protocol):
    """Is told what happens: for metrics and tracing."""

    def on_event(self, event: Event) -> None:
        """Called on the thread where it happens, which waits for it. What it raises is logged once and ignored.

        It must not call the service's ``flush`` or ``close``, which wait for the calls of observers.
        """
        ...


@runtime_checkable
class SupportsCleanup(Protocol):
    """A cache that can be tidied: what is expired or over the limit goes."""

    def cleanup(self) -> int:
        """Tidy now; returns how many entries went."""
        ...


@runtime_checkable
class SupportsClose(Protocol):
    """A backend that holds something (connections, threads) that it gives back."""

    def close(self) -> object:
        """Give it back. Calling it again does nothing."""
        ...


@runtime_checkable
class SupportsEstimate(Protocol):
    """A processor that can tell what a decode will cost. Without it, decoding has no bound in memory."""

    def estimate(self, data: bytes, preset: Preset) -> int:
        """How many bytes of memory ``process`` will take at its peak, beyond ``data``. Must be cheap: no decoding.

        Raises what ``process`` would for a source that it refuses.
        """
        ...


@runtime_checkable
class SupportsFences(Protocol):
    """A cache that is shared, and keeps the late write of one service or process from undoing the purge of another.

    The service also compares fences: what was fetched under one that is no longer the present one is not given to later
    callers. Without fences, a purge holds on the service that it was called on.
    """

    def fence(self, did: str, cid: str) -> Hashable:
        """A mark of the purges so far of this blob and its owner, by anybody: equal to an earlier one if there were
        none in between. Taken before the blob is fetched, and again before what was fetched is shared.

        Once a purge has returned, it differs from every one taken before that; so it changes twice, when the purge
        begins and when the entries are gone. Made of None, int, str, bytes and tuples of them, it can guard faster
        caches above (see ``TieredCache``).
        """
        ...

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        """Like ``set``, unless the blob or its owner was purged since ``fence``, or it is no fence of this cache's.

        Returns whether it was stored.
        """
        ...


@runtime_checkable
class SupportsInvalidate(Protocol):
    """A resolver that remembers, and can forget."""

    def invalidate(self, did: str) -> None:
        """Forget this DID: the next ``resolve`` asks afresh."""
        ...


@runtime_checkable
class SupportsNonBlocking(Protocol):
    """A cache or a policy that can promise to answer from memory, or from a disk of this machine: no network, no wait.

    It may be asked on an event loop, without a thread in between, and as often as on every hit.
    """

    @property
    def is_nonblocking(self) -> bool:
        """Whether it promises that now. Read once, when what uses it is made."""
        ...


@runtime_checkable
class SupportsStats(Protocol):
    """A backend that counts. A cache's counts are part of ``Service.stats()``."""

    def stats(self) -> Mapping[str, int]:
        """The counts by name, such as ``{"entries": 12, "bytes": 70000}``. Must be cheap: nothing is scanned for it."""
        ...


@runtime_checkable
class SupportsVersion(Protocol):
    """A processor whose results change from version to version.

    The version is part of every cache key: raise it whenever the same input gives other bytes than before.
    """

    @property
    def version(self) -> str:
        """1 to 64 of ``a-z A-Z 0-9 . _ -``."""
        ...
