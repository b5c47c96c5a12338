"""Text in columns of a fixed width."""

from __future__ import annotations

__all__ = ["fitted", "printable"]


def fitted(text: str, width: int) -> str:
    """Exactly ``width`` characters of the text: filled up with spaces, or cut, with an ellipsis to show it.

    Of it, ``printable`` is shown.
    """
    shown = printable(text)
    return shown.ljust(width) if len(shown) <= width else shown[: width - 1] + "…"


def printable(text: str) -> str:
    """The text with ``?`` for what a terminal acts on instead of showing it, such as an escape in a file's name."""
    return "".join(character if character.isprintable() else "?" for character in text)
