"""One way to write: what a subclass overrides is on it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache, MemoryCache, TieredCache

MAKERS: list[Callable[[type, Path], Any]] = [
    lambda kind, root: kind(root),
    lambda kind, root: kind(10**6),
    lambda kind, root: kind(MemoryCache(10**6), DiskCache(root)),
]
KINDS: list[Any] = [DiskCache, MemoryCache, TieredCache]


@pytest.mark.parametrize(("kind", "make"), list(zip(KINDS, MAKERS, strict=True)), ids=["disk", "memory", "tiered"])
def test_both_ways_to_write_go_through_store(
    kind: Any, make: Callable[[type, Path], Any], root: Path, key: Any
) -> None:
    class Reversed(kind):  # type: ignore[misc]
        def store(self, key: Any, data: bytes, fence: Hashable) -> bool:
            return bool(super().store(key, data[::-1], fence))

    cache = make(Reversed, root)
    cache.set(key(0), b"abc")
    assert cache.set_fenced(key(1), b"def", cache.fence(key().did, key(1).cid)) is True
    assert (cache.get(key(0)), cache.get(key(1))) == (b"cba", b"fed")


@pytest.mark.parametrize("kind", KINDS)
def test_a_subclass_that_a_service_would_pass_by_is_refused(kind: Any) -> None:
    def override(self: Any, *_: Any) -> None:
        """Never called."""

    with pytest.raises(TypeError, match=r"Sealed overrides set and not set_fenced.* store"):
        type("Sealed", (kind,), {"set": override})
    type("Both", (kind,), {"set": override, "set_fenced": override})
