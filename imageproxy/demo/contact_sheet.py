"""The page of the demo: every photo in every preset, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from string import Template

from imageproxy.demo.measure import Failure, Original, PhotoReport, Rendition

__all__ = ["contact_sheet"]


def contact_sheet(reports: Sequence[PhotoReport]) -> str:
    """A page of HTML that needs nothing but the files beside it, which the reports name."""
    page = resources.files("imageproxy.demo").joinpath("contact_sheet.html").read_text(encoding="utf-8")
    return Template(page).substitute(lead=_lead(reports), photos="\n".join(map(_section, reports)))


def _lead(reports: Sequence[PhotoReport]) -> str:
    renditions = [rendition for report in reports for rendition in report.renditions]
    shown = sum(report.original is not None for report in reports)
    lead = f"{_count(len(renditions), 'image')} made from {_count(shown, 'photo')}"
    if shown < len(reports):
        lead += f"; {_count(len(reports) - shown, 'file')} could not be shown"
    lead += "."
    if renditions:
        cold = statistics.median(rendition.cold_seconds for rendition in renditions)
        lead += f" Median time cold, from the lookup of the account to the encoded image: {_milliseconds(cold)}."
    hits = [rendition.hit_seconds for rendition in renditions if rendition.hit_seconds is not None]
    if hits:
        lead += f" From the cache: {_microseconds(statistics.median(hits))}."
    return lead


def _section(report: PhotoReport) -> str:
    return f"<section>\n<h2>{escape(report.name)}</h2>\n" + "\n".join(_contents(report)) + "\n</section>"


def _contents(report: PhotoReport) -> Iterator[str]:
    if report.original is None:
        yield f'<p class="failed">{escape(report.failures[0].message)}</p>'
        return
    yield '<div class="sheet">'
    yield _original_figure(report.name, report.original)
    for rendition in report.renditions:
        yield _figure(report.name, rendition)
    for failure in report.failures:
        yield _failure_figure(failure)
    yield "</div>"


def _original_figure(name: str, original: Original) -> str:
    image = _image(original.file, f"{name}, as uploaded", original.width, original.height)
    size = _size(original.width, original.height, original.size_bytes)
    return f'<figure class="original">{image}<figcaption><b>original</b><span>{size}</span></figcaption></figure>'


def _figure(name: str, rendition: Rendition) -> str:
    image = _image(rendition.file, f"{name}, {rendition.preset}", rendition.width, rendition.height)
    size = _size(rendition.width, rendition.height, rendition.size_bytes)
    times = f"cold {_milliseconds(rendition.cold_seconds)}"
    if rendition.hit_seconds is not None:
        times += f" · hit {_microseconds(rendition.hit_seconds)}"
    return (
        f"<figure>{image}<figcaption><b>{escape(rendition.preset)}</b>"
        f"<span>{size}</span><span>{times}</span></figcaption></figure>"
    )


def _failure_figure(failure: Failure) -> str:
    return (
        f'<figure><div class="nothing">not made</div><figcaption><b>{escape(failure.preset)}</b>'
        f'<span class="failed">{escape(failure.message)}</span></figcaption></figure>'
    )


def _image(file: str, text: str, width: int, height: int) -> str:
    source = escape(file)
    return (
        f'<a href="{source}"><img src="{source}" alt="{escape(text)}" width="{width}" height="{height}"'
        ' loading="lazy"></a>'
    )


def _size(width: int, height: int, size_bytes: int) -> str:
    return f"{width} × {height} · {_kilobytes(size_bytes)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _kilobytes(size_bytes: int) -> str:
    return f"{size_bytes / 1000:,.{1 if size_bytes < 100_000 else 0}f} kB"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.{1 if seconds < 0.01 else 0}f} ms"


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.{1 if seconds < 1e-5 else 0}f} µs"
