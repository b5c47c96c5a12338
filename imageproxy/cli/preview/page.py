"""The page of the preview: each photo with its presets in rows, their formats side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from imageproxy.cli.output import counted
from imageproxy.cli.preview.renditions import Preview, Rendition, Row
from imageproxy.demo.sheet import failed, failure_tile, milliseconds, page, picture_tile, section

__all__ = ["preview_page"]

_COLUMNS = 4  # of tiles, beside the original: with few formats, presets share a row


def preview_page(previews: Sequence[Preview], resizer: str) -> str:
    """A page of HTML that needs nothing but the files beside it. resizer: the name of the one that ran."""
    return page("preview", _lead(previews, resizer), [section(each.name, _contents(each)) for each in previews])


def _lead(previews: Sequence[Preview], resizer: str) -> str:
    shown = sum(preview.original is not None for preview in previews)
    lead = f"{counted(shown, 'photo', 'photos')} resized with {resizer}"
    if shown < len(previews):
        lead += f"; {counted(len(previews) - shown, 'file', 'files')} could not be shown"
    return (
        f"{lead}. Below each image: its pixels and bytes, and the time for decoding, resizing and encoding it, once. "
        "Quality is each encoder's own scale: the same number means something else in another format."
    )


def _contents(preview: Preview) -> Iterator[str]:
    if preview.original is None:
        yield failed(preview.message)
        return
    yield '<div class="compared">'
    yield picture_tile(preview.original, f"{preview.name}, as it is", "original", is_original=True)
    formats = len(preview.rows[0].renditions)
    kind = "rows single" if formats == 1 else "rows"
    yield f'<div class="{kind}" style="--across: {max(1, _COLUMNS // formats)}; --columns: {formats}">'
    for row in preview.rows:
        yield from _row(preview.name, row)
    yield "</div></div>"


def _row(name: str, row: Row) -> Iterator[str]:
    yield '<div class="row">'
    yield f"<h3>{escape(row.label)} <span>{escape(row.description)}</span></h3>"
    for rendition in row.renditions:
        yield _tile(f"{name}, {row.label}, {rendition.format}", rendition)
    yield "</div>"


def _tile(alt: str, rendition: Rendition) -> str:
    if rendition.picture is None:
        return failure_tile(rendition.format, rendition.message)
    return picture_tile(rendition.picture, alt, rendition.format, milliseconds(rendition.seconds))
