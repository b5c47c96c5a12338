"""The write queue: bounded, readable, fenced."""

import errno
import logging
import threading
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor

import pytest

from imageproxy import CacheKey, Config, PurgeReport
from imageproxy._fences import Fences
from imageproxy._telling import Teller
from imageproxy._write_behind import Write, WriteBehind, WriteOutcome
from imageproxy.testing import FakeCache, FakeFetcher, FakeProcessor, RecordingObserver, fake_service

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
OTHER_DID = "did:plc:44ybard66vv44zksje25o7dz"
CID = "bafkreimadeup0"
OTHER_CID = "bafkreimadeup1"
WAIT = 20


class GatedCache(FakeCache):
    """A cache whose writes wait until they may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.may_write = threading.Event()
        self.is_writing = threading.Semaphore(0)

    def set(self, key: CacheKey, data: bytes) -> None:
        self.is_writing.release()
        assert self.may_write.wait(WAIT)
        super().set(key, data)


class FencedCache(FakeCache):
    """A cache that another process purges, too."""

    def __init__(self) -> None:
        super().__init__()
        self.purges_seen = 0

    def fence(self, did: str, cid: str) -> Hashable:
        return self.purges_seen

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        if fence != self.purges_seen:
            return False
        self.set(key, data)
        return True


class Queue:
    """A WriteBehind over a gated cache, with a clock to turn and the outcomes noted."""

    def __init__(self, *, max_bytes: int = 100, max_age_seconds: float = 10) -> None:
        self.cache = GatedCache()
        self.now = 0.0
        self.outcomes: list[tuple[str, WriteOutcome]] = []
        self.writes = WriteBehind(
            Fences(self.cache, Teller(())),
            max_bytes=max_bytes,
            max_age_seconds=max_age_seconds,
            report=lambda write, outcome, seconds, error: self.outcomes.append((write.key.cid, outcome)),
            clock=lambda: self.now,
        )

    def put(self, cid: str, size: int = 10, did: str = DID) -> CacheKey:
        key = CacheKey("avatar", did, cid, "image/jpeg")
        self.writes.put(Write(key, b"x" * size, "avatar", None))
        return key

    def block_both_writers(self) -> None:
        for number in range(2):
            self.put(f"blocking{number}", 1)
            assert self.cache.is_writing.acquire(timeout=WAIT)

    def finish(self) -> dict[str, WriteOutcome]:
        self.cache.may_write.set()
        assert self.writes.close(WAIT)
        return dict(self.outcomes)


def test_what_waits_and_what_is_being_written_is_readable_until_it_is_stored() -> None:
    queue = Queue()
    queue.block_both_writers()
    waiting = queue.put("waiting")
    assert queue.writes.get(waiting) == b"x" * 10
    assert queue.writes.get(CacheKey("avatar", DID, "blocking0", "image/jpeg")) == b"x"
    assert queue.writes.queued == (3, 12)
    outcomes = queue.finish()
    assert queue.writes.get(waiting) is None
    assert queue.writes.queued == (0, 0)
    assert set(outcomes.values()) == {"cache_written"}
    assert len(queue.cache.entries) == 3


def test_what_does_not_fit_is_dropped_and_counted() -> None:
    queue = Queue(max_bytes=100)
    queue.block_both_writers()
    fits, too_much = queue.put("fits", 90), queue.put("toomuch1", 9)
    assert queue.writes.get(fits) is not None
    assert queue.writes.get(too_much) is None
    queue.put("fits-too", 8)
    outcomes = queue.finish()
    assert outcomes["toomuch1"] == "cache_write_dropped"
    assert outcomes["fits"] == outcomes["fits-too"] == "cache_written"
    assert too_much not in queue.cache.entries


def test_what_waits_too_long_is_dropped_when_the_next_comes() -> None:
    queue = Queue(max_age_seconds=10)
    queue.block_both_writers()
    old = queue.put("old-one")
    queue.now = 11
    queue.put("new-one")
    assert queue.writes.get(old) is None
    outcomes = queue.finish()
    assert outcomes["old-one"] == "cache_write_dropped"
    assert outcomes["new-one"] == "cache_written"


def test_what_waits_too_long_is_dropped_when_its_turn_comes() -> None:
    queue = Queue(max_age_seconds=10)
    queue.block_both_writers()
    queue.put("old-one")
    queue.now = 11
    assert queue.finish()["old-one"] == "cache_write_dropped"


def test_a_fence_drops_what_waits_and_waits_for_what_is_being_written() -> None:
    queue = Queue()
    queue.block_both_writers()
    doomed = queue.put("doomed-1")
    spared = queue.put("spared-1", did=OTHER_DID)
    assert queue.writes.fence(DID, "doomed-1", timeout=0) == (1, True)
    assert queue.writes.get(doomed) is None
    assert queue.writes.get(spared) is not None
    assert queue.writes.fence(DID, None, timeout=0) == (0, False), "two of this owner are being written"
    with ThreadPoolExecutor(1) as pool:
        fencing = pool.submit(queue.writes.fence, DID, None, timeout=WAIT)
        queue.cache.may_write.set()
        assert fencing.result(WAIT) == (0, True)
    outcomes = queue.finish()
    assert outcomes["doomed-1"] == "cache_write_dropped"
    assert doomed not in queue.cache.entries
    assert spared in queue.cache.entries


def test_flush_gives_up_in_time_and_close_drops_what_is_left() -> None:
    queue = Queue()
    queue.block_both_writers()
    queue.put("waiting-")
    assert queue.writes.flush(0) is False
    assert queue.writes.close(0) is False
    assert queue.writes.get(queue.put("too-late")) is None
    queue.cache.may_write.set()
    assert queue.writes.flush(WAIT)
    assert ("waiting-", "cache_written") not in queue.outcomes


def test_a_cache_that_fails_is_left_alone_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue()
    queue.cache.may_write.set()

    def put(cid: str) -> WriteOutcome:
        queue.put(cid)
        assert queue.writes.flush(WAIT)
        return dict(queue.outcomes)[cid]

    caplog.set_level(logging.INFO)
    assert put("good") == "cache_written"
    queue.cache.fail_writes = OSError(errno.ENOSPC, "disk full")
    assert [put(f"failing{number}") for number in range(3)] == ["cache_write_failed"] * 3
    assert put("left alone") == "cache_write_dropped"
    assert len(queue.cache.writes) == 4, "the cache was not asked"
    queue.now += 1.1
    assert put("tried again") == "cache_write_failed"
    queue.now += 1.1
    assert put("left alone for longer") == "cache_write_dropped"
    queue.cache.fail_writes = None
    queue.now += 1.1
    assert [put("well again"), put("and well")] == ["cache_written"] * 2
    queue.finish()
    told = [record.getMessage() for record in caplog.records]
    assert ["disk full" in message for message in told].count(True) == 1, "told once, however often it failed"
    assert told[-1] == "images can be cached again"


def test_a_probe_that_a_purge_refuses_is_an_answer_too() -> None:
    cache = FencedCache()
    outcomes: list[WriteOutcome] = []
    clock = [0.0]
    writes = WriteBehind(
        Fences(cache, Teller(())),
        max_bytes=1000,
        max_age_seconds=100,
        report=lambda write, outcome, seconds, error: outcomes.append(outcome),
        clock=lambda: clock[0],
    )

    def put(fence: Hashable) -> WriteOutcome:
        writes.put(Write(CacheKey("avatar", DID, CID, "image/jpeg"), b"image", "avatar", fence))
        assert writes.flush(WAIT)
        return outcomes[-1]

    cache.fail_writes = OSError("away")
    assert [put(0) for _ in range(3)] == ["cache_write_failed"] * 3
    cache.fail_writes = None
    clock[0] += 1.1
    assert put("an older fence") == "cache_write_dropped"
    assert put(0) == "cache_written"
    assert writes.close(WAIT)


def test_whatever_a_cache_raises_nobody_waits_for_ever() -> None:
    class Exiting(FakeCache):
        def set(self, key: CacheKey, data: bytes) -> None:
            raise SystemExit

    with fake_service(cache=Exiting()) as images:
        images.get_image("avatar", DID, CID)
        assert images.flush(WAIT)
        stats = images.stats()
        assert (stats.cache_write_errors, stats.queued_writes, stats.queued_write_bytes) == (1, 0, 0)
        assert images.purge(DID).is_complete


def test_what_comes_while_the_queue_is_closed_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue()
    flush = queue.writes.flush

    def flush_too_early(timeout: float | None = None) -> bool:
        is_over = flush(timeout)
        assert queue.writes.get(queue.put("too-late")) is None
        return is_over

    monkeypatch.setattr(queue.writes, "flush", flush_too_early)
    assert queue.writes.close(WAIT)
    assert "too-late" not in {key.cid for key in queue.cache.entries}
    assert ("too-late", "cache_written") not in queue.outcomes


def test_one_failure_does_not_keep_the_others_out() -> None:
    queue = Queue()
    queue.cache.may_write.set()
    queue.cache.fail_writes = OSError("this one")
    queue.put("bad")
    assert queue.writes.flush(WAIT)
    queue.cache.fail_writes = None
    queue.put("good")
    assert queue.finish() == {"bad": "cache_write_failed", "good": "cache_written"}


def test_the_service_counts_what_its_queue_drops() -> None:
    observer = RecordingObserver()
    with fake_service(config=Config(write_queue_max_bytes=1), observers=[observer]) as images:
        images.get_image("avatar", DID, CID)
        assert images.flush(WAIT)
        assert images.stats().cache_writes_dropped == 1
        assert images.get("avatar", DID, CID).source == "fetch"
    assert "cache_write_dropped" in observer.names


# Purging, through the service


def test_purging_a_blob_erases_every_variant_of_it_alone() -> None:
    cache = FakeCache()
    with fake_service(cache=cache) as images:
        for preset in ("avatar", "banner"):
            for did, cid in ((DID, CID), (DID, OTHER_CID), (OTHER_DID, CID)):
                images.get_image(preset, did, cid)
        assert images.flush(WAIT)
        assert images.purge(DID, CID) == PurgeReport(2)
        assert {(key.did, key.cid) for key in cache.entries} == {(DID, OTHER_CID), (OTHER_DID, CID)}
        assert images.purge(DID).entries == 2
        assert {(key.did, key.cid) for key in cache.entries} == {(OTHER_DID, CID)}
        assert images.purge(DID) == PurgeReport(0)
        assert images.get("avatar", DID, CID).source == "fetch"


def test_a_purge_reaches_a_queued_write() -> None:
    cache = GatedCache()
    fetcher = FakeFetcher()
    with fake_service(cache=cache, fetcher=fetcher) as images:
        for number in range(2):
            images.get_image("avatar", OTHER_DID, f"blocking{number}")
        images.get_image("avatar", DID, CID)
        assert images.purge(DID, CID).entries == 1
        cache.may_write.set()
        assert images.flush(WAIT)
        assert images.get("avatar", DID, CID).source == "fetch"
    assert [call.did for call in fetcher.calls].count(DID) == 2


@pytest.mark.parametrize("cid", [CID, None])
@pytest.mark.parametrize("held", ["fetcher", "processor"])
def test_bytes_in_flight_when_a_purge_comes_are_never_published(held: str, cid: str | None) -> None:
    gate, cache = threading.Event(), FakeCache()
    fetcher = FakeFetcher({CID: b"before"}, gate=gate if held == "fetcher" else None)
    processor = FakeProcessor(gate=gate if held == "processor" else None)
    with fake_service(cache=cache, fetcher=fetcher, processor=processor) as images, ThreadPoolExecutor(2) as pool:
        early = pool.submit(images.get_image, "avatar", DID, CID)
        (fetcher if held == "fetcher" else processor).wait_for_calls(1)
        images.purge(DID, cid)
        fetcher.blobs = {CID: b"after"}
        fetcher.gate = processor.gate = None
        assert images.get_image("avatar", DID, CID) == b"avatar:after", "a later call does not join"
        assert images.flush(WAIT)
        gate.set()
        assert early.result(WAIT).startswith(b"avatar:"), "who waited already still gets it"
        assert images.flush(WAIT)
        assert images.get_image("avatar", DID, CID) == b"avatar:after"
    assert set(cache.entries.values()) == {b"avatar:after"}


def test_a_purge_spares_the_flights_of_others() -> None:
    gate = threading.Event()
    fetcher = FakeFetcher(gate=gate)
    with fake_service(fetcher=fetcher) as images, ThreadPoolExecutor(2) as pool:
        call = pool.submit(images.get_image, "avatar", DID, CID)
        fetcher.wait_for_calls(1)
        images.purge(DID, OTHER_CID)
        images.purge(OTHER_DID)
        gate.set()
        call.result(WAIT)
        assert images.get("avatar", DID, CID).source == "cache"


def test_a_cache_that_cannot_be_purged_is_named() -> None:
    cache = FakeCache()
    cache.fail_purges = OSError("gone")
    with fake_service(cache=cache) as images:
        report = images.purge(DID)
    assert report == PurgeReport(0, ("FakeCache",))
    assert not report.is_complete


def test_a_cache_that_gives_no_fence_costs_the_write_and_not_the_image() -> None:
    class Broken(FencedCache):
        def fence(self, did: str, cid: str) -> Hashable:
            raise ConnectionError("away")

    cache = Broken()
    with fake_service(cache=cache) as images:
        assert images.get_image("avatar", DID, CID).startswith(b"avatar:")
        assert images.flush(WAIT)
        assert images.stats().cache_read_errors == 1
        assert images.stats().cache_writes_dropped == 1
    assert not cache.entries


def test_a_purge_by_another_process_keeps_a_late_write_out() -> None:
    gate, cache, observer = threading.Event(), FencedCache(), RecordingObserver()
    fetcher = FakeFetcher(gate=gate)
    with fake_service(cache=cache, fetcher=fetcher, observers=[observer]) as images, ThreadPoolExecutor(1) as pool:
        call = pool.submit(images.get_image, "avatar", DID, CID)
        fetcher.wait_for_calls(1)
        cache.purges_seen += 1
        gate.set()
        call.result(WAIT)
        assert images.flush(WAIT)
        assert not cache.entries
        assert images.stats().cache_writes_dropped == 1
        images.get_image("avatar", DID, CID)
        assert images.flush(WAIT)
        assert cache.entries
