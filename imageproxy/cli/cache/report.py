"""A census as text for people, at most 79 characters wide, and as values for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from imageproxy.cli.cache.census import Census, Class, Owner, Span
from imageproxy.cli.output import counted
from imageproxy.cli.units import shown_size, shown_time

__all__ = ["as_text", "as_values"]

_AGES = ("under an hour", "under a day", "under 7 days", "under 30 days", "older")
_BAR_WIDTH = 32
_DIGEST_SHOWN = 12


def as_text(root: str, census: Census, max_bytes: int) -> str:
    """The report on the cache in the folder ``root``, whose limit is ``max_bytes``."""
    return "\n".join(_lines(root, census, max_bytes))


def as_values(root: str, census: Census, max_bytes: int) -> dict[str, object]:
    """The same for programs: sizes in bytes, ages in seconds, times in seconds since the epoch."""
    return {
        "root": root,
        "entries": census.entries,
        "bytes": census.size_bytes,
        "max_bytes": max_bytes,
        "written": _span_values(census.written) if census.entries else None,
        "used": _span_values(census.used) if census.entries else None,
        "ages": [{"under_seconds": _limit(each), **_class_values(each)} for each in census.ages],
        "sizes": [{"under_bytes": _limit(each), **_class_values(each)} for each in census.sizes],
        "owners": census.owners,
        "largest_owners": [
            {"digest": owner.digest, "entries": owner.entries, "bytes": owner.size_bytes} for owner in census.largest
        ],
    }


def _lines(root: str, census: Census, max_bytes: int) -> Iterator[str]:
    yield f"folder   {root}"
    if not census.entries:
        yield "entries  none"
        return
    yield f"entries  {census.entries:,} of {counted(census.owners, 'account', 'accounts')}"
    share = 100 * census.size_bytes / max_bytes
    yield f"bytes    {shown_size(census.size_bytes)}, {share:.1f} % of the limit of {shown_size(max_bytes)}"
    yield f"written  {_span(census.written)}"
    yield f"used     {_span(census.used)}"
    yield from _histogram("written ago", _AGES, census.ages)
    sizes = [f"under {shown_size(int(each.limit))}" for each in census.sizes[:-1]]
    yield from _histogram("size", (*sizes, "larger"), census.sizes)
    yield ""
    yield _row("largest accounts", "entries", "bytes")
    for owner in census.largest:
        yield _owner(owner, census)


def _histogram(heading: str, labels: Sequence[str], classes: Sequence[Class]) -> Iterator[str]:
    yield ""
    yield _row(heading, "entries", "bytes")
    most = max(each.entries for each in classes)
    for label, each in zip(labels, classes, strict=True):
        bar = "#" * math.ceil(_BAR_WIDTH * each.entries / most)
        yield _row(label, f"{each.entries:,}", shown_size(each.size_bytes), bar)


def _owner(owner: Owner, census: Census) -> str:
    share = math.ceil(_BAR_WIDTH * owner.size_bytes / census.size_bytes)
    return _row(owner.digest[:_DIGEST_SHOWN], f"{owner.entries:,}", shown_size(owner.size_bytes), "#" * share)


def _row(label: str, entries: str, size: str, bar: str = "") -> str:
    return f"{label:<16}  {entries:>13}  {size:>9}  {bar}".rstrip()


def _span(span: Span) -> str:
    return f"{shown_time(span.first)} to {shown_time(span.last)}"


def _span_values(span: Span) -> dict[str, float]:
    return {"first": span.first, "last": span.last}


def _limit(each: Class) -> float | None:
    return None if each.limit == math.inf else each.limit


def _class_values(each: Class) -> dict[str, int]:
    return {"entries": each.entries, "bytes": each.size_bytes}
