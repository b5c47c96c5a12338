"""The page of the demo: every photo in every preset, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from imageproxy.demo.measure import PhotoReport, Rendition
from imageproxy.demo.sheet import failed, failure_tile, microseconds, milliseconds, page, picture_tile, section

__all__ = ["contact_sheet"]


def contact_sheet(reports: Sequence[PhotoReport]) -> str:
    """A page of HTML that needs nothing but the files beside it, which the reports name."""
    return page("contact sheet", _lead(reports), [section(report.name, _contents(report)) for report in reports])


def _lead(reports: Sequence[PhotoReport]) -> str:
    renditions = [rendition for report in reports for rendition in report.renditions]
    shown = sum(report.original is not None for report in reports)
    lead = f"{_count(len(renditions), 'image')} made from {_count(shown, 'photo')}"
    if shown < len(reports):
        lead += f"; {_count(len(reports) - shown, 'file')} could not be shown"
    lead += "."
    if renditions:
        cold = statistics.median(rendition.cold_seconds for rendition in renditions)
        lead += f" Median time cold, from the lookup of the account to the encoded image: {milliseconds(cold)}."
    hits = [rendition.hit_seconds for rendition in renditions if rendition.hit_seconds is not None]
    if hits:
        lead += f" From the cache: {microseconds(statistics.median(hits))}."
    return lead


def _contents(report: PhotoReport) -> Iterator[str]:
    if report.original is None:
        yield failed(report.failures[0].message)
        return
    yield '<div class="sheet">'
    yield picture_tile(report.original, f"{report.name}, as uploaded", "original", is_original=True)
    for rendition in report.renditions:
        yield picture_tile(rendition.picture, f"{report.name}, {rendition.preset}", rendition.preset, _times(rendition))
    for failure in report.failures:
        yield failure_tile(failure.preset, failure.message)
    yield "</div>"


def _times(rendition: Rendition) -> str:
    times = f"cold {milliseconds(rendition.cold_seconds)}"
    if rendition.hit_seconds is not None:
        times += f" · hit {microseconds(rendition.hit_seconds)}"
    return times


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
