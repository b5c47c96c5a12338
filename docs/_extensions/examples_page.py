"""Adds every file of ``examples/`` to the page of the examples: what it is for, and its text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_EXAMPLES = Path(__file__).parents[2] / "examples"
_LANGUAGES = {".py": "python", ".conf": "nginx"}


def _lines() -> Iterator[str]:
    for path in sorted(_EXAMPLES.rglob("*")):
        if path.suffix in _LANGUAGES:
            name = path.relative_to(_EXAMPLES).as_posix()
            yield f"\n## {name}\n\n{_purpose(path)}\n"
            yield f"```{{literalinclude}} ../examples/{name}\n:language: {_LANGUAGES[path.suffix]}\n```"


def _purpose(path: Path) -> str:
    if path.suffix != ".py":
        return ""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.replace("``", "`").split("\n\n")[0]


def _process(_app: Any, page: str, source: list[str]) -> None:
    if page == "examples":
        source[0] += "\n".join(_lines()) + "\n"


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
