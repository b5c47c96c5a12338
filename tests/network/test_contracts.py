"""PDSFetcher and DIDResolver do what every Fetcher and every Resolver must, over HTTP, against a PDS on loopback."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from imageproxy.fetchers import PDSFetcher
from imageproxy.resolver import DIDResolver
from imageproxy.testing import LocalPDS
from imageproxy.testing.contracts import FetcherContract, ResolverContract

MAX_BYTES = 300_000


class TestPDSFetcher(FetcherContract):
    max_bytes = MAX_BYTES

    @pytest.fixture(autouse=True)
    def _pds(self) -> Iterator[None]:
        with LocalPDS() as self.pds:
            self.pds_url = self.pds.url
            yield

    def make_fetcher(self, blobs: Mapping[tuple[str, str], bytes]) -> PDSFetcher:
        for did, cid in blobs:
            with contextlib.suppress(ValueError):  # a second blob of the account
                self.pds.create_account(did)
            self.pds.add_blob(did, blobs[did, cid], cid=cid)
        return PDSFetcher(max_bytes=MAX_BYTES, allow_private_networks=True)

    def make_stalled_fetcher(self) -> PDSFetcher:
        self.pds.hold()
        return self.make_fetcher({})

    def make_failing_fetcher(self) -> PDSFetcher:
        self.pds.fail_next(500, 10)
        return self.make_fetcher({})


class TestPDSFetcherWhereNobodyListens(TestPDSFetcher):
    def make_failing_fetcher(self) -> PDSFetcher:
        self.pds.close()
        fetcher = self.make_fetcher({})
        fetcher._random = lambda: 0.0  # asks again without a wait
        return fetcher


class TestPDSFetcherBehindABridge(TestPDSFetcher):
    @pytest.fixture(autouse=True)
    def _bridge(self, _pds: None) -> None:
        self.pds_url = self.pds.bridge_url()


class TestDIDResolver(ResolverContract):
    @pytest.fixture(autouse=True)
    def _servers(self, serve: Callable[..., Any]) -> Iterator[None]:
        self.serve = serve
        with LocalPDS() as self.pds:
            yield

    def make_resolver(self, known: Mapping[str, str]) -> DIDResolver:
        for did, pds_url in known.items():
            self.pds.create_account(did, pds_url=pds_url)
        return DIDResolver(plc_url=self.pds.plc_url, allow_private_networks=True)

    def make_stalled_resolver(self) -> DIDResolver:
        server = self.serve(lambda peer: peer.wait_for_hang_up())
        return DIDResolver(plc_url=server.url(), allow_private_networks=True)

    def make_failing_resolver(self) -> DIDResolver:
        self.pds.fail_next(500, 10, on="directory")
        return self.make_resolver({})

    def move_account(self, did: str, pds_url: str) -> bool:
        self.pds.move_account(did, pds_url)
        return True


class TestDIDResolverWhereNobodyListens(TestDIDResolver):
    def make_failing_resolver(self) -> DIDResolver:
        resolver = self.make_resolver({})
        self.pds.close()
        return resolver
