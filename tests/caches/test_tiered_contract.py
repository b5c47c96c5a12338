"""TieredCache keeps the contract of a cache, whatever its tiers can do, and whichever of them is broken."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

from imageproxy.caches import DiskCache, MemoryCache, TieredCache
from imageproxy.protocols import Cache, CacheKey
from imageproxy.testing import FakeCache
from imageproxy.testing.contracts import CacheContract

# Of tiny images, a fast writer stores thousands at once, and each takes a kilobyte.
ROOM = 500 * 1024**2


class Broken(FakeCache):
    """Fails at all but a purge, which finds nothing."""

    is_nonblocking = False

    def get(self, key: CacheKey) -> bytes | None:
        raise OSError("broken")

    def set(self, key: CacheKey, data: bytes) -> None:
        raise OSError("broken")

    def fence(self, did: str, cid: str) -> Hashable:
        raise OSError("broken")

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        raise OSError("broken")

    def cleanup(self) -> int:
        raise OSError("broken")


class BrokenGuard(Broken):
    is_nonblocking = True


class Away(Broken):
    def purge(self, did: str, cid: str | None = None) -> int:
        raise OSError("broken")


class TestMemoryOverDisk(CacheContract):
    def make_cache(self, tmp_path: Path) -> Cache:
        return TieredCache(MemoryCache(ROOM), DiskCache(tmp_path / "cache"))


class TestSmallMemoryOverDisk(CacheContract):
    """Evicts all the time."""

    def make_cache(self, tmp_path: Path) -> Cache:
        return TieredCache(MemoryCache(10_000), DiskCache(tmp_path / "cache"))


class TestMemoryOverACacheWithoutPowers(CacheContract):
    def make_cache(self, tmp_path: Path) -> Cache:
        return TieredCache(MemoryCache(ROOM), FakeCache())

    def make_unreachable_cache(self, tmp_path: Path) -> Cache:
        return TieredCache(MemoryCache(ROOM), Away())


class TestACacheWithoutPowersOverDisk(CacheContract):
    def make_cache(self, tmp_path: Path) -> Cache:
        return TieredCache(FakeCache(), DiskCache(tmp_path / "cache"))


class TestDiskOverACacheWithoutPowers(CacheContract):
    def make_cache(self, tmp_path: Path) -> Cache:
        return TieredCache(DiskCache(tmp_path / "cache"), FakeCache())


class TestCachesWithoutPowers(CacheContract):
    def make_cache(self, tmp_path: Path) -> Cache:
        return TieredCache(FakeCache(), FakeCache())


class TestDiskOverDisk(CacheContract):
    def make_cache(self, tmp_path: Path) -> Cache:
        return TieredCache(DiskCache(tmp_path / "fast"), DiskCache(tmp_path / "large"))


class TestThreeTiers(CacheContract):
    def make_cache(self, tmp_path: Path) -> Cache:
        return TieredCache(MemoryCache(ROOM), DiskCache(tmp_path / "cache"), FakeCache())


class TestTieredOverTiered(CacheContract):
    def make_cache(self, tmp_path: Path) -> Cache:
        lower = TieredCache(MemoryCache(ROOM), DiskCache(tmp_path / "cache"))
        return TieredCache(MemoryCache(ROOM), lower)


class TestOneTier(CacheContract):
    def make_cache(self, tmp_path: Path) -> Cache:
        return TieredCache(FakeCache())


class TestWithTheUpperTierBroken(CacheContract):
    def make_cache(self, tmp_path: Path) -> Cache:
        return TieredCache(Broken(), DiskCache(tmp_path / "cache"))


class TestWithTheMiddleTierBroken(CacheContract):
    def make_cache(self, tmp_path: Path) -> Cache:
        return TieredCache(MemoryCache(ROOM), Broken(), DiskCache(tmp_path / "cache"))


class TestWithTheLowestTierBroken(CacheContract):
    def make_cache(self, tmp_path: Path) -> Cache:
        return TieredCache(MemoryCache(ROOM), DiskCache(tmp_path / "cache"), Broken())


class TestWithTheGuardBroken(CacheContract):
    """What is above it is not used; what is below it is."""

    def make_cache(self, tmp_path: Path) -> Cache:
        return TieredCache(MemoryCache(ROOM), BrokenGuard(), DiskCache(tmp_path / "cache"))
