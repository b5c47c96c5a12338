"""The two ways to write to a cache that has fences, which are one: what a subclass overrides is on both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable

from imageproxy.protocols import CacheKey

__all__ = ["UNFENCED", "Storing"]

UNFENCED = object()
"""In the place of a fence: store it whatever was purged."""


class Storing(ABC):
    """Writes by ``store``, whoever asks. A service asks for ``set_fenced``, and never for ``set``.

    A subclass that changes what is written overrides ``store``. One that overrides ``set`` alone would be passed by,
    and is refused with a TypeError where it is defined.
    """

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "set" in vars(cls) and "set_fenced" not in vars(cls):
            raise TypeError(
                f"{cls.__name__} overrides set and not set_fenced, by which a service writes: override store instead, "
                "which both go through"
            )

    def set(self, key: CacheKey, data: bytes) -> None:
        """Store ``data``, evicting what must go for it. Stores nothing if it is larger than the limit."""
        self.store(key, data, UNFENCED)

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        """Like ``set``, unless the blob or its owner was purged since ``fence``; whether it was stored.

        Once in a long while a purge of another blob has the same effect: the marks are kept in 8,192 slots.
        """
        return self.store(key, data, fence)

    @abstractmethod
    def store(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        """What ``set`` and ``set_fenced`` do, and the one method to override for another way to write.

        fence: as ``set_fenced`` was given it, or a mark that stands for none; to be passed on as it is.
        """
