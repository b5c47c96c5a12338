"""What the calls of a service return: frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Image", "PurgeReport", "WarmFailure", "WarmReport"]


@dataclass(frozen=True, slots=True)
class Image:
    """An image that was asked for.

    etag: an HTTP entity tag, quotes included; the same for the same preset, engine and blob.
    source: ``"cache"`` where it was there already (in the cache, or waiting to be written to it), ``"fetch"`` where it
        was made for this request or for one that this request joined.
    """

    data: bytes
    content_type: str
    etag: str
    source: Literal["cache", "fetch"]


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """What a purge did.

    entries: how many images were removed, those that waited to be written included.
    failed: the names of the caches that could not be purged; empty where all is well. What is named here may still hold
        the blob: purge again.
    """

    entries: int
    failed: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether no cache failed."""
        return not self.failed


@dataclass(frozen=True, slots=True)
class WarmFailure:
    """An image that could not be warmed, and why."""

    preset: str
    did: str
    cid: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class WarmReport:
    """What ``warm`` has done so far, counted in images (a blob in two presets is two).

    made: fetched and processed now. cached: were there already. failures: the others, with their errors.
    """

    made: int = 0
    cached: int = 0
    failures: tuple[WarmFailure, ...] = ()

    @property
    def done(self) -> int:
        """How many images are through, one way or another."""
        return self.made + self.cached + len(self.failures)
