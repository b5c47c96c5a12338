"""The table that the demo prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from imageproxy._terminal import fitted
from imageproxy.demo.measure import PhotoReport, Rendition

__all__ = ["table"]

_WIDTH = 100
_HEADINGS = ("preset", "size", "bytes", "cold ms", "hit µs")
_WIDTHS = (15, 9, 9, 8, 8)
_GAP = "  "
_NAME_WIDTH = _WIDTH - sum(_WIDTHS) - len(_GAP) * len(_WIDTHS)


def table(reports: Sequence[PhotoReport]) -> str:
    """A line for each photo and preset, at most 100 characters wide. A photo that fails in every preset has one."""
    name_width = max([len("photo"), *(len(report.name) for report in reports)])
    return "\n".join(line.rstrip() for line in _lines(reports, min(name_width, _NAME_WIDTH)))


def _lines(reports: Iterable[PhotoReport], name_width: int) -> Iterator[str]:
    yield _line("photo", _HEADINGS, name_width)
    yield "-" * (name_width + sum(_WIDTHS) + len(_GAP) * len(_WIDTHS))
    for report in reports:
        name = report.name  # said once
        for rendition in report.renditions:
            yield _line(name, _cells(rendition), name_width)
            name = ""
        if not report.renditions:
            yield _message(f"{fitted(name, name_width)}{_GAP}{report.failures[0].message}")
            continue
        for failure in report.failures:
            yield _message(_GAP.join((fitted(name, name_width), fitted(failure.preset, _WIDTHS[0]), failure.message)))
            name = ""


def _message(line: str) -> str:
    return fitted(line, _WIDTH)


def _cells(rendition: Rendition) -> tuple[str, ...]:
    hit = "-" if rendition.hit_seconds is None else f"{rendition.hit_seconds * 1e6:.1f}"
    return (
        rendition.preset,
        f"{rendition.picture.width}x{rendition.picture.height}",
        f"{rendition.picture.size_bytes:,}",
        f"{rendition.cold_seconds * 1e3:.1f}",
        hit,
    )


def _line(name: str, cells: Sequence[str], name_width: int) -> str:
    preset, *numbers = cells
    columns = [fitted(name, name_width), fitted(preset, _WIDTHS[0])]
    columns += [number.rjust(width) for number, width in zip(numbers, _WIDTHS[1:], strict=True)]
    return _GAP.join(columns)
