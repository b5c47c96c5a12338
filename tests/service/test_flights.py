"""Callers that ask for the same at the same time, and callers that leave."""

import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from imageproxy import (
    DEFAULT,
    BusyError,
    CacheKey,
    Config,
    DeadlineExceededError,
    ImageProxyError,
    PDSFetchError,
    PDSNotFoundError,
    Preset,
    Service,
    ServiceClosedError,
)
from imageproxy.testing import FakeCache, FakeFetcher, FakeProcessor, RecordingObserver, fake_service

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = "bafkreimadeup0"
OTHER_CID = "bafkreimadeup1"
WAIT = 20


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(256) as pool:
        yield pool


def ask_many(
    pool: ThreadPoolExecutor, images: Service, observer: RecordingObserver, count: int, presets: list[str]
) -> list["Future[bytes]"]:
    """Have ``count`` threads ask, and wait until all of them have missed the cache."""
    calls = [pool.submit(images.get_image, presets[n % len(presets)], DID, CID) for n in range(count)]
    observer.wait_for("miss", count)
    return calls


def wait_until_joined(images: Service, preset: str, count: int) -> None:
    """Wait until so many callers are on the flight of an image; there is no event for this, so look."""
    key = CacheKey(DEFAULT.get(preset).key + "+fake", DID, CID, "image/jpeg")
    reached = threading.Event()
    for _ in range(WAIT * 100):
        flight = images._flights._flights.get((key, None))
        if flight is not None and flight.waiters == count:
            return
        reached.wait(0.01)
    raise AssertionError(f"not {count} callers on the flight")


def test_200_callers_of_one_cold_image_cost_one_fetch_and_one_processing(pool: ThreadPoolExecutor) -> None:
    gate, observer, processor = threading.Event(), RecordingObserver(), FakeProcessor()
    fetcher = FakeFetcher({CID: b"blob"}, gate=gate)
    with fake_service(fetcher=fetcher, processor=processor, observers=[observer]) as images:
        calls = ask_many(pool, images, observer, 200, ["avatar"])
        gate.set()
        assert {call.result(WAIT) for call in calls} == {b"avatar:blob"}
    assert len(fetcher.calls) == 1
    assert len(processor.calls) == 1


def test_presets_of_one_blob_share_its_fetch(pool: ThreadPoolExecutor) -> None:
    gate, observer, processor = threading.Event(), RecordingObserver(), FakeProcessor()
    fetcher = FakeFetcher({CID: b"blob"}, gate=gate)
    names = [preset.name for preset in DEFAULT]
    with fake_service(fetcher=fetcher, processor=processor, observers=[observer]) as images:
        calls = ask_many(pool, images, observer, 50, names)
        for name in names:
            wait_until_joined(images, name, len(range(names.index(name), 50, 6)))
        gate.set()
        assert {call.result(WAIT) for call in calls} == {f"{name}:blob".encode() for name in names}
    assert len(fetcher.calls) == 1
    assert sorted(call.preset.name for call in processor.calls) == sorted(names)


def test_a_preset_joins_a_blob_that_is_already_being_processed(pool: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    fetcher, processor = FakeFetcher({CID: b"blob"}), FakeProcessor(gate=gate)
    with fake_service(fetcher=fetcher, processor=processor, config=Config(decode_workers=4)) as images:
        first = pool.submit(images.get_image, "avatar", DID, CID)
        processor.wait_for_calls(1)
        second = pool.submit(images.get_image, "banner", DID, CID)
        processor.wait_for_calls(2)
        gate.set()
        assert first.result(WAIT) == b"avatar:blob"
        assert second.result(WAIT) == b"banner:blob"
    assert len(fetcher.calls) == 1


def test_callers_with_another_pds_do_not_share_a_flight(pool: ThreadPoolExecutor) -> None:
    """A wrong URL of one caller must not fail the others."""
    gate = threading.Event()

    class OneGoodServer(FakeFetcher):
        def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
            data = super().fetch(pds_url, did, cid, timeout=timeout)
            if pds_url != "https://good.example":
                raise PDSFetchError("connection refused", pds_url=pds_url)
            return data

    fetcher = OneGoodServer({CID: b"blob"}, gate=gate)
    with fake_service(fetcher=fetcher) as images:
        bad = pool.submit(images.get_image, "avatar", DID, CID, "https://bad.example")
        good = pool.submit(images.get_image, "avatar", DID, CID, "https://good.example")
        fetcher.wait_for_calls(2)
        gate.set()
        assert good.result(WAIT) == b"avatar:blob"
        assert isinstance(bad.exception(WAIT), PDSFetchError)


def test_a_flight_that_fails_fails_its_waiters_at_once_each_with_its_own_exception(pool: ThreadPoolExecutor) -> None:
    gate, observer = threading.Event(), RecordingObserver()
    fetcher = FakeFetcher(error=PDSNotFoundError("gone", reason="blob_not_found"), gate=gate)
    with fake_service(fetcher=fetcher, observers=[observer]) as images:
        calls = ask_many(pool, images, observer, 20, ["avatar"])
        wait_until_joined(images, "avatar", 20)
        gate.set()
        errors = [call.exception(WAIT) for call in calls]
    assert all(isinstance(error, PDSNotFoundError) and error.reason == "blob_not_found" for error in errors)
    assert len({id(error) for error in errors}) == 20
    assert len(fetcher.calls) == 1, "not replayed one by one"


def test_the_error_of_a_waiter_keeps_no_source_bytes_alive() -> None:
    class Holding(FakeProcessor):
        def process(self, data: bytes, preset: Preset) -> bytes:
            held = data * 2
            raise ValueError(f"broken after {len(held)} bytes")

    with fake_service(processor=Holding()) as images, pytest.raises(ImageProxyError) as caught:
        images.get_image("avatar", DID, CID)
    links: list[BaseException | None] = [caught.value.__cause__]
    while links[-1] is not None:
        links.append(links[-1].__cause__ or links[-1].__context__)
    for error in filter(None, links):
        for frame, _ in traceback.walk_tb(error.__traceback__):
            assert not any(isinstance(value, bytes) for value in frame.f_locals.values())


def test_an_error_class_that_cannot_be_copied_still_reaches_the_caller() -> None:
    class StubbornError(PDSFetchError):
        def __init__(self, one: str, two: str) -> None:
            super().__init__(f"{one} {two}")

    class Failing(FakeFetcher):
        def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
            raise StubbornError("one", "two")

    with fake_service(fetcher=Failing()) as images, pytest.raises(StubbornError, match="one two") as caught:
        images.get_image("avatar", DID, CID)
    assert caught.value.did == DID


def test_a_callers_timeout_hurts_nobody_else(pool: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    fetcher = FakeFetcher({CID: b"blob"}, gate=gate)
    with fake_service(fetcher=fetcher) as images:
        patient = pool.submit(images.get_image, "avatar", DID, CID)
        fetcher.wait_for_calls(1)
        with pytest.raises(DeadlineExceededError) as caught:
            images.get_image("avatar", DID, CID, timeout=0.01)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.timeout == 0.01
        gate.set()
        assert patient.result(WAIT) == b"avatar:blob"
    assert len(fetcher.calls) == 1


def test_the_work_of_a_caller_that_left_is_not_lost_where_it_was_nearly_done(pool: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    processor, observer = FakeProcessor(gate=gate), RecordingObserver()
    with fake_service(processor=processor, observers=[observer]) as images:
        call = pool.submit(images.get_image, "avatar", DID, CID, timeout=0.05)
        processor.wait_for_calls(1)
        assert isinstance(call.exception(WAIT), DeadlineExceededError)
        gate.set()
        observer.wait_for("cache_written")
        assert images.get_cached("avatar", DID, CID) is not None


def test_a_flight_that_nobody_waits_for_is_not_processed(pool: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    fetcher, processor, observer = FakeFetcher({CID: b"blob"}, gate=gate), FakeProcessor(), RecordingObserver()
    with fake_service(fetcher=fetcher, processor=processor, observers=[observer]) as images:
        call = pool.submit(images.get_image, "avatar", DID, CID, timeout=0.05)
        fetcher.wait_for_calls(1)
        assert isinstance(call.exception(WAIT), DeadlineExceededError)
        gate.set()
        observer.wait_for("fetched")
    assert not processor.calls


def test_a_flight_that_nobody_waits_for_is_not_begun(pool: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    fetcher = FakeFetcher({CID: b"blob", OTHER_CID: b"other"}, gate=gate)
    with fake_service(fetcher=fetcher, config=Config(fetch_workers=1)) as images:
        first = pool.submit(images.get_image, "avatar", DID, CID)
        fetcher.wait_for_calls(1)
        with pytest.raises(DeadlineExceededError):
            images.get_image("avatar", DID, OTHER_CID, timeout=0)
        assert images.stats().flights == 1
        gate.set()
        assert first.result(WAIT) == b"avatar:blob"
    assert [call.cid for call in fetcher.calls] == [CID]


def test_who_comes_back_in_time_joins_the_flight_that_was_left(pool: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    fetcher = FakeFetcher({CID: b"blob"}, gate=gate)
    with fake_service(fetcher=fetcher) as images:
        call = pool.submit(images.get_image, "avatar", DID, CID, timeout=0.05)
        fetcher.wait_for_calls(1)
        assert isinstance(call.exception(WAIT), DeadlineExceededError)
        again = pool.submit(images.get_image, "avatar", DID, CID)
        wait_until_joined(images, "avatar", 1)
        gate.set()
        assert again.result(WAIT) == b"avatar:blob"
    assert len(fetcher.calls) == 1


def test_an_interrupted_caller_leaves_its_flight() -> None:
    class Interrupting(Future):  # type: ignore[type-arg]
        def done(self) -> bool:
            raise KeyboardInterrupt

    gate = threading.Event()
    fetcher = FakeFetcher({CID: b"blob"}, gate=gate)
    with fake_service(fetcher=fetcher) as images, ThreadPoolExecutor(1) as pool:
        first = pool.submit(images.get_image, "avatar", DID, CID)
        wait_until_joined(images, "avatar", 1)
        (flight,) = images._flights._flights.values()
        real, flight.future = flight.future, Interrupting()
        with pytest.raises(KeyboardInterrupt):
            images.get_image("avatar", DID, CID)
        assert flight.waiters == 1
        flight.future = real
        gate.set()
        assert first.result(WAIT) == b"avatar:blob"


def test_the_services_own_deadline_holds_for_callers_without_one() -> None:
    gate = threading.Event()
    processor = FakeProcessor(gate=gate)
    config = Config(flight_timeout_seconds=0.05, decode_workers=2)
    with fake_service(processor=processor, config=config) as images:
        with pytest.raises(DeadlineExceededError) as caught:
            images.get_image("avatar", DID, CID)
        assert caught.value.timeout == 0.05
        with pytest.raises(DeadlineExceededError):
            images.get_image("avatar", DID, CID, timeout=60)
        assert len(processor.calls) == 2, "an overdue flight is not joined"
        gate.set()


def test_more_flights_than_allowed_are_refused_but_joining_and_hits_are_not(pool: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    fetcher, cache = FakeFetcher({CID: b"blob"}, gate=gate), FakeCache()
    key = CacheKey(DEFAULT.get("banner").key + "+fake", DID, OTHER_CID, "image/jpeg")
    cache.entries[key] = b"cached"
    with fake_service(cache=cache, fetcher=fetcher, config=Config(max_flights=1)) as images:
        first = pool.submit(images.get_image, "avatar", DID, CID)
        fetcher.wait_for_calls(1)
        with pytest.raises(BusyError) as caught:
            images.get_image("avatar", DID, OTHER_CID)
        assert caught.value.retry_after > 0
        joined = pool.submit(images.get_image, "avatar", DID, CID)
        wait_until_joined(images, "avatar", 2)
        assert images.get_image("banner", DID, OTHER_CID) == b"cached"
        gate.set()
        assert first.result(WAIT) == joined.result(WAIT) == b"avatar:blob"


def test_a_caller_that_looked_too_early_does_not_fetch_again() -> None:
    """Between a caller's look into the cache and its joining, another one's flight may land."""

    class Racing(FakeCache):
        meanwhile: Callable[[], object] | None = None

        def get(self, key: CacheKey) -> bytes | None:
            found = super().get(key)
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile is not None:
                meanwhile()
            return found

    cache, fetcher = Racing(), FakeFetcher({CID: b"blob"})
    with fake_service(cache=cache, fetcher=fetcher) as images:
        cache.meanwhile = lambda: images.get_image("avatar", DID, CID) and images.flush()
        assert images.get_image("avatar", DID, CID) == b"avatar:blob"
    assert len(fetcher.calls) == 1


def test_closing_fails_what_has_not_begun_and_finishes_what_has(pool: ThreadPoolExecutor) -> None:
    gate, cache = threading.Event(), FakeCache()
    fetcher = FakeFetcher({CID: b"blob", OTHER_CID: b"other"}, gate=gate)
    images = fake_service(cache=cache, fetcher=fetcher, config=Config(fetch_workers=1))
    begun = pool.submit(images.get_image, "avatar", DID, CID)
    fetcher.wait_for_calls(1)
    waiting = pool.submit(images.get_image, "avatar", DID, OTHER_CID)
    while images.stats().flights < 2:
        threading.Event().wait(0.001)
    assert images.close(0.01) is False, "the one that has begun holds it up"
    assert isinstance(waiting.exception(WAIT), ServiceClosedError)
    gate.set()
    assert begun.exception(WAIT) is None or isinstance(begun.exception(WAIT), ServiceClosedError)


def test_closing_is_not_held_up_by_a_fetch_that_nobody_can_find_any_more(pool: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    fetcher = FakeFetcher({CID: b"blob"}, gate=gate)
    images = fake_service(fetcher=fetcher)
    purged = pool.submit(images.get_image, "avatar", DID, CID)
    fetcher.wait_for_calls(1)
    images.purge(DID)
    with pytest.raises(DeadlineExceededError):
        images.get_image("banner", DID, CID, timeout=0.01)
    assert images.close(0.05) is False, "one waits for what was purged"
    assert isinstance(purged.exception(WAIT), ServiceClosedError)
    assert images._flights._admission.reserved_bytes == 0
    gate.set()


def test_a_look_into_a_slow_cache_is_not_repeated_for_what_others_publish() -> None:
    class Busy(FakeCache):
        def get(self, key: CacheKey) -> bytes | None:
            found = super().get(key)
            if key.cid == CID and len(self.reads) < 500:
                images.get_image("avatar", DID, f"bafkreimadeup{len(self.reads):04}")
            return found

    cache = Busy()
    with fake_service(cache=cache) as images:
        images.get_image("avatar", DID, CID)
    assert [key.cid for key in cache.reads].count(CID) < 5


def test_one_waiter_cannot_cancel_a_flight_for_the_others(pool: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    fetcher = FakeFetcher({CID: b"blob"}, gate=gate)
    with fake_service(fetcher=fetcher) as images:
        call = pool.submit(images.get_image, "avatar", DID, CID)
        wait_until_joined(images, "avatar", 1)
        (flight,) = images._flights._flights.values()
        assert not flight.future.cancel()
        gate.set()
        assert call.result(WAIT) == b"avatar:blob"


def test_a_thread_that_cannot_be_started_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    start, refusals = threading.Thread.start, iter([True])

    def start_or_refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("imageproxy-decode") and next(refusals, False):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_refuse)
    with fake_service() as images:
        with pytest.raises(DeadlineExceededError):
            images.get_image("avatar", DID, CID, timeout=0.05)
        assert images.get_image("avatar", DID, OTHER_CID)
        assert images.get_image("avatar", DID, CID)
        assert images._flights._admission.reserved_bytes == 0


def test_closing_in_time_finishes_what_has_begun(pool: ThreadPoolExecutor) -> None:
    gate, cache = threading.Event(), FakeCache()
    processor = FakeProcessor(gate=gate)
    images = fake_service(cache=cache, processor=processor)
    call = pool.submit(images.get_image, "avatar", DID, CID)
    processor.wait_for_calls(1)
    closing = pool.submit(images.close)
    gate.set()
    assert closing.result(WAIT) is True
    assert call.result(WAIT).startswith(b"avatar:")
    assert len(cache.entries) == 1


def test_a_closed_service_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with fake_service() as images:
        for preset in DEFAULT:
            images.get_image(preset, DID, CID)
        assert set(threading.enumerate()) - before
    assert not set(threading.enumerate()) - before
