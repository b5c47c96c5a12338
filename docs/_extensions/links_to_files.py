"""Links from a page to a file of the repository lead to where the site shows it.

A page is read in the repository, too, where such links open the file.
"""

from __future__ import annotations

import re
from typing import Any

_EXAMPLE = re.compile(r"\]\((?:\.\./)+examples/([\w/]+\.\w+)\)")
_PROTOCOLS = re.compile(r"\]\((?:\.\./)+imageproxy/protocols\.py\)")


def _process(_app: Any, _page: str, source: list[str]) -> None:
    # The anchor is that of a heading such as "nginx/purge.py", as Markdown on the web makes it.
    source[0] = _EXAMPLE.sub(lambda link: f"](/examples.md#{re.sub('[^a-z0-9_]', '', link[1])})", source[0])
    source[0] = _PROTOCOLS.sub("](/reference/protocols.md)", source[0])


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
