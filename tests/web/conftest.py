"""What the tests of the web adapters ask for."""

from collections.abc import Iterator

import pytest

from imageproxy import CacheKey, Service, compute_cid
from imageproxy.testing import FakeCache, FakeFetcher, FakePolicy, fake_service

CID = compute_cid(b"blob")


class NonblockingCache(FakeCache):
    is_nonblocking = True


@pytest.fixture
def did() -> str:
    return "did:plc:ewvi7nxzyoun6zhxrhs64oiz"


@pytest.fixture
def cid() -> str:
    return CID


@pytest.fixture
def path(did: str, cid: str) -> str:
    """An image's path, with no version."""
    return f"/img/avatar/plain/{did}/{cid}"


@pytest.fixture
def policy() -> FakePolicy:
    return FakePolicy()


@pytest.fixture
def fetcher() -> FakeFetcher:
    return FakeFetcher({CID: b"blob"})


@pytest.fixture
def cache() -> FakeCache:
    return NonblockingCache()


@pytest.fixture
def service(fetcher: FakeFetcher, cache: FakeCache) -> Iterator[Service]:
    """Has one blob, and no policy."""
    with fake_service(fetcher=fetcher, cache=cache) as service:
        yield service


@pytest.fixture
def key(did: str, cid: str) -> CacheKey:
    """What the avatar is cached under."""
    with fake_service() as service:
        return service._read("avatar", did, cid).key
