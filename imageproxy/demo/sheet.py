"""Pages that show photos and what became of them: the frame and the tiles, in HTML that needs nothing but its files."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib import resources
from string import Template

from imageproxy.demo.pictures import Picture

__all__ = ["failed", "failure_tile", "microseconds", "milliseconds", "page", "picture_tile", "section"]

_ORIGINAL = ' class="original"'


def page(title: str, lead: str, sections: Iterable[str]) -> str:
    """A whole page. title, lead: text. sections: HTML."""
    frame = resources.files("imageproxy.demo").joinpath("sheet.html").read_text(encoding="utf-8")
    return Template(frame).substitute(title=escape(title), lead=escape(lead), sections="\n".join(sections))


def section(name: str, contents: Iterable[str]) -> str:
    """What there is of one photo. contents: HTML."""
    return f"<section>\n<h2>{escape(name)}</h2>\n" + "\n".join(contents) + "\n</section>"


def failed(message: str) -> str:
    """Why there is nothing of a photo."""
    return f'<p class="failed">{escape(message)}</p>'


def picture_tile(picture: Picture, alt: str, heading: str, *lines: str, is_original: bool = False) -> str:
    """A picture with its size below it, then ``lines``."""
    source = escape(picture.file)
    size = f"{picture.width} × {picture.height} · {_kilobytes(picture.size_bytes)}"
    return (
        f"<figure{_ORIGINAL if is_original else ''}>"
        f'<a href="{source}"><img src="{source}" alt="{escape(alt)}" width="{picture.width}" height="{picture.height}"'
        f' loading="lazy"></a><figcaption><b>{escape(heading)}</b>'
        + "".join(f"<span>{escape(line)}</span>" for line in (size, *lines))
        + "</figcaption></figure>"
    )


def failure_tile(heading: str, message: str) -> str:
    """In the place of a picture that there is not."""
    return (
        f'<figure><div class="nothing">not made</div><figcaption><b>{escape(heading)}</b>'
        f'<span class="failed">{escape(message)}</span></figcaption></figure>'
    )


def milliseconds(seconds: float) -> str:
    """``"4.2 ms"``, ``"1,204 ms"``."""
    return f"{seconds * 1e3:,.{1 if seconds < 0.01 else 0}f} ms"


def microseconds(seconds: float) -> str:
    """``"8.1 µs"``, ``"24 µs"``."""
    return f"{seconds * 1e6:,.{1 if seconds < 1e-5 else 0}f} µs"


def _kilobytes(size_bytes: int) -> str:
    return f"{size_bytes / 1000:,.{1 if size_bytes < 100_000 else 0}f} kB"
