"""What a hit costs, next to a bare open, fstat, read and close of the same file.

    python benchmarks/hit.py [folder]

The folder should be on the file system that matters; without one, a temporary folder is used. All of them are measured
in turns within one run, and told as ratios of medians: single figures do not hold on shared machines.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from imageproxy import DEFAULT, BlobPolicy, Cache, CacheKey, DiskCache, Event, Observer, Preset, Service
from imageproxy.caches import MemoryCache, TieredCache
from imageproxy.caches._entry import locate

SIZE = 70_000
ROUNDS = 200
CALLS = 200

PRESET_KEY = DEFAULT.get("avatar").key

Reader = Callable[[], object]


class Unused:
    """A fetcher and processor for services that are only asked for what is cached."""

    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
        raise AssertionError("a hit fetches nothing")

    def process(self, data: bytes, preset: Preset) -> bytes:
        raise AssertionError("a hit processes nothing")


class DictCache(dict[CacheKey, bytes]):
    """The cheapest cache there is, to see what the service itself costs."""

    def set(self, key: CacheKey, data: bytes) -> None:
        self[key] = data

    def purge(self, did: str, cid: str | None = None) -> int:
        return 0


class AllowAll:
    """The cheapest policy."""

    def is_blocked(self, did: str, cid: str) -> bool:
        return False


class Ignore:
    """The cheapest observer: what it adds is the making of the event."""

    def on_event(self, event: Event) -> None:
        pass


def service(cache: Cache, *, policy: BlobPolicy | None = None, observers: Iterable[Observer] = ()) -> Reader:
    images = Service(cache, Unused(), Unused(), policy=policy, observers=observers)
    return lambda: images.get_image("avatar", DID, CID)


DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


def key() -> CacheKey:
    """The key that the services below make for the avatar: its texts are there already, the tuple is new."""
    return CacheKey(PRESET_KEY, DID, CID, "image/jpeg")


def bare_read(path: str) -> Reader:
    def read() -> bytes:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)

    return read


def readers(root: Path) -> dict[str, Reader]:
    """The ways to read the same entry, the bare one first."""
    hot = DiskCache(root)
    hot.set(key(), os.urandom(SIZE))
    (path,) = (str(path) for path in root.glob("v1/*/*"))
    rare = DiskCache(root)

    def first_hit() -> bytes | None:
        rare._seen.clear()
        locate.cache_clear()
        return rare.get(key())

    def checked_hit() -> bytes | None:
        rare._seen.clear()
        return rare.get(key())

    checking = DiskCache(root, checksums=True)
    table = cast("Cache", DictCache({key(): os.urandom(SIZE)}))
    memory = MemoryCache(10**8)
    memory.set(key(), os.urandom(SIZE))
    tiers = TieredCache(MemoryCache(10**8), hot)
    policy, observers = AllowAll(), [Ignore()]
    return {
        "open, fstat, read, close": bare_read(path),
        "DiskCache.get": lambda: hot.get(key()),
        "DiskCache.get, a key's first": first_hit,
        "DiskCache.get, checksums": lambda: checking.get(key()),
        "DiskCache.get, not hot": checked_hit,
        "DiskCache.fence": lambda: hot.fence(DID, CID),
        "Service.get_image": service(hot),
        "Service.get_image, policy": service(hot, policy=policy),
        "Service.get_image, observer": service(hot, observers=observers),
        "Service.get_image, both": service(hot, policy=policy, observers=observers),
        "Service.get_image, tiers": service(tiers),
        "Service.get_image, memory": service(memory),
        "Service.get_image, dict": service(table),
    }


def measure(what: dict[str, Reader]) -> dict[str, list[float]]:
    """Seconds for one call of each, one figure for each round."""
    seconds: dict[str, list[float]] = {name: [] for name in what}
    for _ in range(ROUNDS):
        for name, read in what.items():
            began = time.perf_counter()
            for _ in itertools.repeat(None, CALLS):
                read()
            seconds[name].append((time.perf_counter() - began) / CALLS)
    return seconds


def main(folder: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as root:
        seconds = {name: statistics.median(all_) for name, all_ in measure(readers(Path(root))).items()}
    bare = next(iter(seconds.values()))
    for name, median in seconds.items():
        print(f"{name:30} {median * 1e6:8.2f} µs {median / bare:8.2f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
