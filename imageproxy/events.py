"""What a service tells of itself: events as they happen, and counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Event", "EventName", "Stats"]

EventName = Literal[
    "hit",
    "miss",
    "coalesced",
    "resolved",
    "fetched",
    "processed",
    "landed",
    "failed",
    "failure_remembered",
    "blocked",
    "cache_read_failed",
    "cache_written",
    "cache_write_failed",
    "cache_write_dropped",
    "purged",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. Which fields are set depends on ``name``; the others are ``None``.

    ============================================  ============================================================
    ``hit``                                       answered from the cache or its write queue; ``seconds`` (the policy's
                                                  included), ``size_bytes``
    ``miss``                                      not there; a flight is joined or begun; ``seconds`` until here
    ``coalesced``                                 a flight was joined, after its ``miss``
    ``resolved``                                  the account's PDS was found, or remembered; ``seconds``; no preset
    ``fetched``                                   a blob came from its PDS; ``seconds``, ``size_bytes``; no preset
    ``processed``                                 an image was made; ``seconds``, ``size_bytes``
    ``landed``                                    a flight ended well; ``seconds`` of all of it, waiting for its turn
                                                  and for room included; ``size_bytes``
    ``failed``                                    a flight ended in ``error``, told once, however many waited;
                                                  ``seconds`` of all of it
    ``failure_remembered``                        refused by a failure seen lately, without a flight; ``error``
    ``blocked``                                   the policy refused; ``error``
    ``cache_read_failed``                         ``error``; goes on as a miss
    ``cache_written``                             ``seconds``, ``size_bytes``
    ``cache_write_failed``                        ``error``, ``seconds``
    ``cache_write_dropped``                       the queue was full or slow, the cache fails, or a purge came first
    ``purged``                                    no preset; no ``cid`` where a whole owner was purged
    ============================================  ============================================================

    ``preset`` is the preset's name.
    """

    name: EventName
    did: str
    cid: str | None = None
    preset: str | None = None
    seconds: float | None = None
    size_bytes: int | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The counters of one service since it was made (in this process), and how full it is now."""

    hits: int
    hit_bytes: int
    misses: int
    coalesced: int
    """Misses that joined the work for another one of the same image."""
    fetches: int
    """Blobs that came from a PDS."""
    fetched_bytes: int
    processed: int
    """Images made."""
    processed_bytes: int
    failures: int
    """Flights that ended in an error."""
    failures_remembered: int
    """Requests that were refused by a failure seen lately."""
    blocked: int
    """Requests that the policy refused or could not answer."""
    cache_read_errors: int
    cache_writes: int
    """Images written to the cache."""
    cache_written_bytes: int
    cache_write_errors: int
    cache_writes_dropped: int
    """Images not written because the queue was full or slow, because the cache fails at present, or because a purge
    came first.
    """
    flights: int
    """Different images under way now."""
    queued_writes: int
    """Images waiting to be written now."""
    queued_write_bytes: int
    cache: Mapping[str, int]
    """What the cache itself counts (``SupportsStats``); empty if it does not, or fails to tell."""
