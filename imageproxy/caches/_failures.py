"""Going on after a fault of the disk, and telling of it in the end."""

from __future__ import annotations

from imageproxy._typing import Self

__all__ = ["Failures"]


class Failures:
    """Each ``with`` block may fail with an OSError; the first is kept. For one thread."""

    __slots__ = ("first",)

    def __init__(self) -> None:
        self.first: OSError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, OSError):
            return False
        self.first = self.first or error
        return True

    def raise_first(self) -> None:
        """Raise what the first block raised that failed, if one did."""
        if self.first is not None:
            raise self.first
