from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from imageproxy import Cache, CacheKey, DiskCache, compute_cid
from imageproxy.testing import CacheContract

KEY = CacheKey("avatar-0f1e2d3c4b5a", "did:plc:ewvi7nxzyoun6zhxrhs64oiz", compute_cid(b"blob"), "image/jpeg")


@pytest.fixture
def example(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("custom_cache")


class TestEncryptedDiskCache(CacheContract):
    @pytest.fixture(autouse=True)
    def _example(self, example: ModuleType) -> None:
        self.example = example

    def make_cache(self, tmp_path: Path) -> Cache:
        cache: Cache = self.example.EncryptedDiskCache(tmp_path / "cache", secret=bytes(32))
        return cache


class TestSqliteCache(CacheContract):
    @pytest.fixture(autouse=True)
    def _example(self, example: ModuleType) -> None:
        self.example = example

    def make_cache(self, tmp_path: Path) -> Cache:
        cache: Cache = self.example.SqliteCache(tmp_path / "images.sqlite")
        return cache

    def make_unreachable_cache(self, tmp_path: Path) -> Cache:
        path = tmp_path / "removed" / "images.sqlite"
        path.parent.mkdir()
        cache: Cache = self.example.SqliteCache(path)
        for file in path.parent.iterdir():
            file.unlink()
        path.parent.rmdir()
        return cache


def encrypted(example: ModuleType, folder: Path, secret: bytes) -> Any:
    return example.EncryptedDiskCache(folder, secret=secret)


def files_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def test_nothing_of_an_image_is_readable_on_the_disk(example: ModuleType, tmp_path: Path) -> None:
    cache = encrypted(example, tmp_path, b"k" * 32)
    cache.set(KEY, b"a readable image")
    cache.set_fenced(KEY._replace(preset="banner"), b"a readable image", cache.fence(KEY.did, KEY.cid))
    assert cache.get(KEY) == cache.get(KEY._replace(preset="banner")) == b"a readable image"
    assert files_of(tmp_path)
    assert not any(b"readable" in content for content in files_of(tmp_path))


def test_another_secret_opens_nothing(example: ModuleType, tmp_path: Path) -> None:
    encrypted(example, tmp_path, b"k" * 32).set(KEY, b"image")
    assert encrypted(example, tmp_path, b"x" * 32).get(KEY) is None


def test_a_plain_entry_is_a_miss(example: ModuleType, tmp_path: Path) -> None:
    for plain in (b"image", b"an image that is longer than a nonce and a tag"):
        DiskCache(tmp_path).set(KEY, plain)
        assert encrypted(example, tmp_path, b"k" * 32).get(KEY) is None


def test_sqlite_forgets_what_is_too_old(example: ModuleType, tmp_path: Path) -> None:
    cache = example.SqliteCache(tmp_path / "images.sqlite", ttl_seconds=60)
    cache.set(KEY, b"image")
    with closing(sqlite3.connect(tmp_path / "images.sqlite")) as database, database:
        database.execute("UPDATE images SET written = written - 61")
    assert cache.get(KEY) is None
    assert (cache.cleanup(), cache.cleanup()) == (1, 0)


def test_the_example_runs(run_example: Callable[[str], str]) -> None:
    assert [line.split()[:3] for line in run_example("custom_cache").splitlines()] == [
        ["EncryptedDiskCache", "fetch", "cache"],
        ["SqliteCache", "fetch", "cache"],
    ]
