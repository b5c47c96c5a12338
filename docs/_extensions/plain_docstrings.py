"""Turns the docstrings of this project into reStructuredText: they are nearly that already.

Two things are added. Lines such as ``timeout: how many seconds to wait`` become a definition list, and the names of
public classes and functions become links. What autodoc makes up by itself is left out: the constructors of protocols,
and the numbers of a named tuple's fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import imageproxy
from imageproxy import aio, protocols, testing, web

_OPTION = re.compile(r"([a-z_0-9]+(?:, [a-z_0-9]+)*): +(\S.*)")
_WORD = re.compile(r"``(?:[^`]+)``|(?<![\w.`])[A-Z]\w+")


def _public_names() -> Iterator[tuple[str, str]]:
    # The shortest path to each comes last, and wins.
    for module in (protocols, testing, web, aio, imageproxy):
        for name in module.__all__:
            if isinstance(getattr(module, name), type) or callable(getattr(module, name)):
                yield name, f"{module.__name__}.{name}"


_TARGETS = dict(_public_names())


def rewrite(lines: list[str], own_name: str = "") -> list[str]:
    """The lines of a docstring as reStructuredText. What it documents itself, ``own_name``, is not linked."""
    if any(line.startswith("====") for line in lines):  # links would shift the columns of a table
        return lines
    written: list[str] = []
    is_list = is_literal = False
    for line in lines:
        starts_paragraph = not written or not written[-1].strip() or is_list
        is_literal = is_literal and (not line or line.startswith(" "))
        option = None if is_literal or not starts_paragraph else _OPTION.fullmatch(line)
        if option:
            names = ", ".join(f"``{name}``" for name in option[1].split(", "))
            written += [names, "    " + _linked(option[2], own_name)]
            is_list = True
            continue
        if is_list and line and not line.startswith(" "):
            written.append("")
            is_list = False
        elif not line:
            is_list = False
        written.append(line if is_literal else _linked(line, own_name))
        is_literal = is_literal or line.endswith("::")
    return written


def _linked(text: str, own_name: str) -> str:
    def link(found: re.Match[str]) -> str:
        name = found[0].strip("`")
        target = _TARGETS.get(name.removesuffix("()"))
        return found[0] if target is None or name == own_name else f":py:obj:`~{target}`"

    return _WORD.sub(link, text)


def _process(_app: Any, _what: str, name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = rewrite(lines, name.rpartition(".")[2])


def _sign(
    _app: Any, _what: str, _name: str, obj: Any, _options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    return ("", None) if getattr(obj, "_is_protocol", False) else (signature, returns)


def _skip(_app: Any, _what: str, _name: str, obj: Any, _skip: bool, _options: Any) -> bool | None:
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _process)
    app.connect("autodoc-process-signature", _sign)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
