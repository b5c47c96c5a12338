"""The fakes do what every backend must; but FakeProcessor, whose results are no images."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from imageproxy.testing import FakeCache, FakeFetcher, FakeResolver
from imageproxy.testing.contracts import CacheContract, FetcherContract, ResolverContract


class TestFakeCache(CacheContract):
    def make_cache(self, tmp_path: Path) -> FakeCache:
        return FakeCache()

    def make_unreachable_cache(self, tmp_path: Path) -> FakeCache:
        cache = FakeCache()
        cache.fail_purges = ConnectionRefusedError("nobody listens")
        return cache


class TestFakeFetcher(FetcherContract):
    proves_bytes = False  # a test decides what it answers

    def make_fetcher(self, blobs: Mapping[tuple[str, str], bytes]) -> FakeFetcher:
        return FakeFetcher(blobs)

    def make_stalled_fetcher(self) -> FakeFetcher:
        return FakeFetcher(gate=threading.Event())


class TestFakeResolver(ResolverContract):
    def make_resolver(self, known: Mapping[str, str]) -> FakeResolver:
        self.resolver = FakeResolver(known)
        return self.resolver

    def make_stalled_resolver(self) -> FakeResolver:
        return FakeResolver(gate=threading.Event())

    def move_account(self, did: str, pds_url: str) -> bool:
        self.resolver.urls[did] = pds_url
        return True
