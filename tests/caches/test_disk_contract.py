from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache, _folder, _ledger, _locks, _reading
from imageproxy.testing.contracts import CacheContract


class TestDiskCache(CacheContract):
    def make_cache(self, tmp_path: Path) -> DiskCache:
        return DiskCache(tmp_path / "cache")


class TestDiskCacheWithChecksums(CacheContract):
    def make_cache(self, tmp_path: Path) -> DiskCache:
        return DiskCache(tmp_path / "cache", checksums=True)


class TestDiskCacheWithoutTTL(CacheContract):
    def make_cache(self, tmp_path: Path) -> DiskCache:
        return DiskCache(tmp_path / "cache", ttl_seconds=None)


class TestDiskCacheWhereFoldersCannotBeOpenedOrLocked(CacheContract):
    """The plain way, as on Windows."""

    @pytest.fixture(autouse=True)
    def _plain(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_folder, "_HAS_FOLDER_FDS", False)
        monkeypatch.setattr(_locks, "fcntl", None)
        for module in (_ledger, _reading):
            monkeypatch.setattr(module, "read_at", _folder._read_without_pread)
        monkeypatch.setattr(_ledger, "write_at", _folder._write_without_pwrite)

    def make_cache(self, tmp_path: Path) -> DiskCache:
        return DiskCache(tmp_path / "cache")

    def test_a_link_in_the_place_of_a_shard_is_not_followed(self, tmp_path: Path, key: Any, files: Any) -> None:
        cache = self.make_cache(tmp_path)
        cache.set(key(), b"image")
        shard = files.entry().parent
        shard.rename(tmp_path / "elsewhere")
        shard.symlink_to(tmp_path / "elsewhere")
        assert cache.get(key()) is None
