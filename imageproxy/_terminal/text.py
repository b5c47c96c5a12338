"""Text in columns of a fixed width."""

from __future__ import annotations

__all__ = ["fitted"]


def fitted(text: str, width: int) -> str:
    """Exactly ``width`` characters of the text: filled up with spaces, or cut, with an ellipsis to show it.

    What a terminal would act on instead of showing it, such as an escape in the name of a file, becomes ``?``.
    """
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown.ljust(width) if len(shown) <= width else shown[: width - 1] + "…"
