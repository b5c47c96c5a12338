"""What came of warming, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from imageproxy._typing import Self
from imageproxy.cli.output import counted
from imageproxy.errors import PDSFetchError, PDSNotFoundError, UnsupportedFormatError
from imageproxy.results import WarmFailure, WarmReport

__all__ = ["Summary"]


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of images, a blob in two presets being two.

    blobs: how many were asked for.
    skipped: how many blobs are of each format that is not read, ``"video"`` for one.
    reasons: what failed, by the kind of error: how many images, and the first of them.
    """

    blobs: int
    made: int
    cached: int
    skipped: Counter[str]
    reasons: dict[str, tuple[int, WarmFailure]]

    @classmethod
    def of(cls, report: WarmReport, *, blobs: int) -> Self:
        """The summary of a report."""
        skipped: dict[tuple[str, str], str] = {}
        reasons: dict[str, tuple[int, WarmFailure]] = {}
        for failure in report.failures:
            if isinstance(failure.error, UnsupportedFormatError):
                skipped[failure.did, failure.cid] = failure.error.format or "unknown"
                continue
            reason = _reason(failure.error)
            count, first = reasons.get(reason, (0, failure))
            reasons[reason] = count + 1, first
        return cls(blobs, report.made, report.cached, Counter(skipped.values()), reasons)

    @property
    def failed(self) -> int:
        """How many images could not be made though they should."""
        return sum(count for count, _ in self.reasons.values())

    def as_text(self) -> str:
        """A few lines."""
        return "\n".join(self._lines())

    def as_values(self) -> dict[str, object]:
        """For JSON."""
        return {
            "blobs": self.blobs,
            "made": self.made,
            "cached": self.cached,
            "failed": self.failed,
            "skipped_blobs": dict(self.skipped),
            "reasons": [
                {
                    "reason": reason,
                    "images": count,
                    "example": {"did": each.did, "cid": each.cid, "preset": each.preset, "message": str(each.error)},
                }
                for reason, (count, each) in self._by_count()
            ],
        }

    def _lines(self) -> Iterator[str]:
        yield (
            f"{counted(self.blobs, 'blob', 'blobs')}: {counted(self.made, 'image', 'images')} made, "
            f"{self.cached:,} cached already, {self.failed:,} failed."
        )
        if self.skipped:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.skipped.most_common())
            yield f"Skipped {counted(self.skipped.total(), 'blob', 'blobs')} of formats that are not read: {kinds}."
        for reason, (count, each) in self._by_count():
            yield f"  {count:>7,}  {reason}"
            yield f"           such as {each.did} {each.cid}: {each.error}"

    def _by_count(self) -> list[tuple[str, tuple[int, WarmFailure]]]:
        return sorted(self.reasons.items(), key=lambda item: -item[1][0])


def _reason(error: BaseException) -> str:
    """The kind of an error: failures of one kind are told together."""
    name = type(error).__name__
    if isinstance(error, PDSNotFoundError):
        return f"{name} ({error.reason})"
    if isinstance(error, PDSFetchError) and error.status is not None:
        return f"{name} ({error.status})"
    return name
