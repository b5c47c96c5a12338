"""Several services on one cache: a purge by one of them holds for the later calls of the others."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imageproxy import Cache, CacheKey, DiskCache, Service
from imageproxy.testing import FakeCache, FakeFetcher, FakeProcessor, RecordingObserver, fake_service

WAIT = 10
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
OTHER_CID = "bafkreimadeupcid"

Purge = Callable[[Service], object]
PURGES: list[Purge] = [lambda images: images.purge(DID, CID), lambda images: images.purge(DID)]


class SlowlyWritten(DiskCache):
    """A disk cache whose writes wait for a gate."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.is_writing = threading.Semaphore(0)
        self.may_write = threading.Event()

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        self.is_writing.release()
        assert self.may_write.wait(WAIT)
        return super().set_fenced(key, data, fence)


@pytest.mark.parametrize("purge", PURGES)
@pytest.mark.parametrize("held", ["fetcher", "processor"])
def test_a_later_call_does_not_join_what_another_service_has_purged(held: str, purge: Purge, tmp_path: Path) -> None:
    gate = threading.Event()
    fetcher = FakeFetcher({CID: b"before"}, gate=gate if held == "fetcher" else None)
    processor = FakeProcessor(gate=gate if held == "processor" else None)
    with (
        fake_service(cache=DiskCache(tmp_path), fetcher=fetcher, processor=processor) as images,
        fake_service(cache=DiskCache(tmp_path)) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        early = pool.submit(images.get_image, "avatar", DID, CID)
        (fetcher if held == "fetcher" else processor).wait_for_calls(1)
        purge(other)
        fetcher.blobs = {CID: b"after"}
        fetcher.gate = processor.gate = None
        assert images.get_image("avatar", DID, CID) == b"avatar:after"
        assert images.get_image("banner", DID, CID) == b"banner:after", "nor does another preset join the old fetch"
        gate.set()
        assert early.result(WAIT).startswith(b"avatar:"), "who waited already still gets it"
        assert images.flush(WAIT)
        assert images.get_image("avatar", DID, CID) == b"avatar:after"
        assert images.stats().coalesced == 0


@pytest.mark.parametrize("purge", PURGES)
def test_a_queued_image_is_not_read_after_another_service_has_purged_it(purge: Purge, tmp_path: Path) -> None:
    cache, fetcher = SlowlyWritten(tmp_path), FakeFetcher({CID: b"before"})
    with fake_service(cache=cache, fetcher=fetcher) as images, fake_service(cache=DiskCache(tmp_path)) as other:
        images.get_image("avatar", DID, CID)
        assert cache.is_writing.acquire(timeout=WAIT)
        assert images.get("avatar", DID, CID).source == "cache", "what is queued can be read"
        purge(other)
        fetcher.blobs = {CID: b"after"}
        assert images.get_cached("avatar", DID, CID) is None
        assert images.get_image("avatar", DID, CID) == b"avatar:after"
        cache.may_write.set()
        assert images.flush(WAIT)
        assert images.get_image("avatar", DID, CID) == b"avatar:after"
        assert other.get_image("avatar", DID, CID) == b"avatar:after", "and it is what the other one finds"


def test_a_purge_of_another_blob_disturbs_no_flight(tmp_path: Path) -> None:
    gate, observer = threading.Event(), RecordingObserver()
    fetcher = FakeFetcher({CID: b"blob"}, gate=gate)
    with (
        fake_service(cache=DiskCache(tmp_path), fetcher=fetcher, observers=[observer]) as images,
        fake_service(cache=DiskCache(tmp_path)) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        early = pool.submit(images.get_image, "avatar", DID, CID)
        fetcher.wait_for_calls(1)
        other.purge(DID, OTHER_CID)
        late = pool.submit(images.get_image, "avatar", DID, CID)
        observer.wait_for("coalesced", 1)
        gate.set()
        assert early.result(WAIT) == late.result(WAIT) == b"avatar:blob"
        assert len(fetcher.calls) == 1
        assert images.stats().coalesced == 1


class FailingFences(FakeCache):
    """A cache whose fences fail from the ``failing``-th on."""

    def __init__(self, failing: int) -> None:
        super().__init__()
        self.failing = failing
        self.given = 0

    def fence(self, did: str, cid: str) -> Hashable:
        self.given += 1
        if self.given > self.failing:
            raise ConnectionError("away")
        return b"fence"

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        if fence != b"fence":
            return False
        self.set(key, data)
        return True


@pytest.mark.parametrize(("failing", "fetches"), [(0, 1), (1, 2)])
def test_fences_that_fail_do_not_make_every_caller_fetch(failing: int, fetches: int) -> None:
    gate, observer = threading.Event(), RecordingObserver()
    fetcher = FakeFetcher({CID: b"blob"}, gate=gate)
    cache: Cache = FailingFences(failing)
    with (
        fake_service(cache=cache, fetcher=fetcher, observers=[observer]) as images,
        ThreadPoolExecutor(20) as pool,
    ):
        calls = [pool.submit(images.get_image, "avatar", DID, CID)]
        fetcher.wait_for_calls(1)
        calls.append(pool.submit(images.get_image, "avatar", DID, CID))
        fetcher.wait_for_calls(fetches)
        calls += [pool.submit(images.get_image, "avatar", DID, CID) for _ in range(18)]
        observer.wait_for("coalesced", 18)
        gate.set()
        assert {call.result(WAIT) for call in calls} == {b"avatar:blob"}
    assert len(fetcher.calls) == fetches
