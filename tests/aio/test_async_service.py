"""The service for coroutines: the same answers and errors, no thread for a wait, and nobody hurt by who leaves."""

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from imageproxy import (
    BlobBlockedError,
    BusyError,
    Config,
    ConfigError,
    DeadlineExceededError,
    InvalidCIDError,
    InvalidDIDError,
    InvalidPresetError,
    InvalidRequestError,
    NilDependencyError,
    PDSNotFoundError,
    Service,
    ServiceClosedError,
    WarmReport,
)
from imageproxy.aio import AsyncService
from imageproxy.testing import (
    FakeCache,
    FakeFetcher,
    FakePolicy,
    FakeProcessor,
    FakeResolver,
    RecordingObserver,
    fake_service,
)

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = "bafkreimadeup0"

Run = Callable[..., Any]


class OpenPolicy(FakePolicy):
    is_nonblocking = True


@pytest.fixture(params=["nonblocking", "blocking"])
def cache(request: pytest.FixtureRequest, nonblocking_cache: FakeCache) -> FakeCache:
    """Both of the ways that a request can begin."""
    return nonblocking_cache if request.param == "nonblocking" else FakeCache()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("imageproxy"):
            thread.join(10)
            assert not thread.is_alive(), thread


def waiters(images: Service) -> list[int]:
    return [flight.waiters for flight in images._flights._flights.values()]


async def until(is_so: Callable[[], bool]) -> None:
    """Let others go on until something is so; there is no event for what these tests look at."""
    for _ in range(2000):
        if is_so():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never was so")


def test_a_miss_is_made_and_a_hit_is_read(run: Run, cache: FakeCache) -> None:
    async def main() -> None:
        async with AsyncService(fake_service(cache=cache, fetcher=FakeFetcher({CID: b"blob"}))) as images:
            assert await images.get_cached("avatar", DID, CID) is None
            made = await images.get("avatar", DID, CID)
            assert (made.data, made.content_type, made.source) == (b"avatar:blob", "image/jpeg", "fetch")
            assert await images.flush()
            found = await images.get("avatar", DID, CID)
            assert (found.data, found.etag, found.source) == (made.data, made.etag, "cache")
            assert await images.get_cached("avatar", DID, CID) == found
            assert await images.get_image("avatar", DID, CID) == b"avatar:blob"
            assert (await images.stats()).hits == 3
            assert images.url_for("avatar", DID, CID) == images.service.url_for("avatar", DID, CID)

    run(main())


def test_it_tells_an_image_as_the_service_does(run: Run, cache: FakeCache) -> None:
    with fake_service(cache=cache) as service:
        expected = service.get("avatar", DID, CID)
        service.flush()

        async def main() -> None:
            images = AsyncService(service)
            found = await images.get("avatar", DID, CID)
            assert (found.data, found.etag, found.content_type) == (
                expected.data,
                expected.etag,
                expected.content_type,
            )
            images.release()

        run(main())


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        (("nope", DID, CID), {}, InvalidPresetError),
        (("avatar", "nope", CID), {}, InvalidDIDError),
        (("avatar", DID, "no"), {}, InvalidCIDError),
        ((["avatar"], DID, CID), {}, InvalidPresetError),
        (("avatar", DID, CID), {"timeout": -1}, InvalidRequestError),
        (("avatar", DID, CID), {"timeout": "1"}, InvalidRequestError),
        (("avatar", DID, CID, 5), {}, InvalidRequestError),
        (("avatar", DID, "bafkreigone"), {}, PDSNotFoundError),
        (("avatar", DID, "bafkreiblocked"), {}, BlobBlockedError),
    ],
)
def test_errors_are_those_of_the_service(
    run: Run, cache: FakeCache, arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception]
) -> None:
    policy = OpenPolicy([(DID, "bafkreiblocked")])

    async def main() -> None:
        async with AsyncService(fake_service(cache=cache, fetcher=FakeFetcher({}), policy=policy)) as images:
            with pytest.raises(error):
                await images.get_image(*arguments, **options)
            with pytest.raises(error):
                await images.get(*arguments, **options)

    run(main())


def test_a_nonblocking_hit_takes_no_thread(run: Run, nonblocking_cache: FakeCache) -> None:
    threads: set[int] = set()

    class Noting(OpenPolicy):
        def is_blocked(self, did: str, cid: str) -> bool:
            threads.add(threading.get_ident())
            return False

    with fake_service(cache=nonblocking_cache) as service:
        service.get_image("avatar", DID, CID)
    with fake_service(cache=nonblocking_cache, policy=Noting()) as service:

        async def main() -> None:
            images = AsyncService(service)
            await images.get_image("avatar", DID, CID)
            await images.get_cached("avatar", DID, CID)

        before = threading.active_count()
        run(main())
        assert threading.active_count() == before
        assert threads == {threading.get_ident()}


@pytest.mark.parametrize("policy", [None, FakePolicy()])
def test_what_may_block_is_kept_off_the_event_loop(run: Run, nonblocking_cache: FakeCache, policy: Any) -> None:
    threads: list[int] = []

    class Noting(FakeCache):
        is_nonblocking = policy is not None  # one of the two is enough

        def get(self, key: Any) -> None:
            threads.append(threading.get_ident())

    async def main() -> None:
        async with AsyncService(fake_service(cache=Noting(), policy=policy), lookup_workers=2) as images:
            await asyncio.gather(*(images.get_image("avatar", DID, CID) for _ in range(20)))
            await images.get_cached("avatar", DID, CID)
            await images._vet(images.service._read("avatar", DID, CID))

    run(main())
    assert threads
    assert threading.get_ident() not in threads
    assert len(set(threads)) <= 2


def test_a_thousand_coroutines_that_wait_hold_no_thread(run: Run, cache: FakeCache) -> None:
    gate, observer = threading.Event(), RecordingObserver()
    fetcher = FakeFetcher({f"bafkreimadeup{n}": b"blob" for n in range(10)}, gate=gate)

    async def main() -> None:
        service = fake_service(
            cache=cache, fetcher=fetcher, observers=[observer], config=Config(fetch_workers=2, decode_workers=1)
        )
        async with AsyncService(service, lookup_workers=2) as images:
            asked = [
                asyncio.ensure_future(images.get_image("avatar", DID, f"bafkreimadeup{n % 10}")) for n in range(1000)
            ]
            await until(lambda: sum(waiters(service)) == 1000)
            # A write queue's at most, besides the pools.
            assert len([t for t in threading.enumerate() if t.name.startswith("imageproxy")]) <= 2 + 2 + 1 + 1
            gate.set()
            assert await asyncio.gather(*asked) == [b"avatar:blob"] * 1000

    run(main())
    assert len(fetcher.calls) == 10


def test_who_is_cancelled_leaves_the_flight_to_the_others(run: Run, cache: FakeCache) -> None:
    gate = threading.Event()
    fetcher = FakeFetcher({CID: b"blob"}, gate=gate)

    async def main() -> None:
        service = fake_service(cache=cache, fetcher=fetcher)
        async with AsyncService(service) as images:
            leaving, staying = (asyncio.ensure_future(images.get_image("avatar", DID, CID)) for _ in range(2))
            await until(lambda: waiters(service) == [2])
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            assert waiters(service) == [1]
            gate.set()
            assert await staying == b"avatar:blob"

    run(main())


def test_a_flight_whose_only_waiter_is_cancelled_ends(run: Run, cache: FakeCache) -> None:
    gate, processor = threading.Event(), FakeProcessor()
    fetcher = FakeFetcher({CID: b"blob"}, gate=gate)

    async def main() -> None:
        service = fake_service(cache=cache, fetcher=fetcher, processor=processor)
        async with AsyncService(service) as images:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(images.get_image("avatar", DID, CID), 0.05)
            gate.set()
            await until(lambda: not waiters(service))

    run(main())
    assert processor.calls == []


def test_a_timeout_bounds_one_wait_alone(run: Run, cache: FakeCache) -> None:
    gate = threading.Event()
    fetcher = FakeFetcher({CID: b"blob"}, gate=gate)

    async def main() -> None:
        service = fake_service(cache=cache, fetcher=fetcher)
        async with AsyncService(service) as images:
            patient = asyncio.ensure_future(images.get_image("avatar", DID, CID))
            await until(lambda: waiters(service) == [1])
            with pytest.raises(DeadlineExceededError) as caught:
                await images.get_image("avatar", DID, CID, timeout=0.05)
            assert (caught.value.preset, caught.value.did, caught.value.cid) == ("avatar", DID, CID)
            assert caught.value.timeout == 0.05
            gate.set()
            assert await patient == b"avatar:blob"

    run(main())


def test_errors_fail_all_who_wait_each_with_its_own(run: Run, cache: FakeCache) -> None:
    gate = threading.Event()

    async def main() -> list[Any]:
        async with AsyncService(fake_service(cache=cache, fetcher=FakeFetcher({}, gate=gate))) as images:
            asked = [asyncio.ensure_future(images.get_image("avatar", DID, CID)) for _ in range(20)]
            await until(lambda: waiters(images.service) == [20])
            gate.set()
            return await asyncio.gather(*asked, return_exceptions=True)

    errors = run(main())
    assert {type(error) for error in errors} == {PDSNotFoundError}
    assert len({id(error) for error in errors}) == 20


def test_who_waits_looks_after_what_has_waited_too_long(run: Run, cache: FakeCache) -> None:
    gate = threading.Event()
    fetcher = FakeFetcher(gate=gate)
    # Room for one source at a time.
    config = Config(admission_timeout_seconds=0.2, memory_budget_bytes=4 * 1024, max_source_bytes=1024)

    async def main() -> None:
        async with AsyncService(fake_service(cache=cache, fetcher=fetcher, config=config)) as images:
            first = asyncio.ensure_future(images.get_image("avatar", DID, CID))
            await asyncio.get_running_loop().run_in_executor(None, fetcher.wait_for_calls)
            with pytest.raises(BusyError):
                await images.get_image("avatar", DID, "bafkreimadeup1")
            gate.set()
            assert await first

    run(main())


def test_a_cache_that_hangs_holds_up_nobody_for_longer_than_asked(run: Run, slow_cache: Any) -> None:
    async def main() -> None:
        async with AsyncService(fake_service(cache=slow_cache)) as images:
            with pytest.raises(DeadlineExceededError) as caught:
                await images.get_image("avatar", DID, CID, timeout=0.05)
            assert (caught.value.preset, caught.value.cid, caught.value.timeout) == ("avatar", CID, 0.05)
            with pytest.raises(InvalidPresetError):
                await images.get_image("nope", DID, CID, timeout=1)
            slow_cache.gate.set()

    run(main())


def test_a_thread_that_joins_for_nobody_leaves_again(run: Run, slow_cache: Any) -> None:
    gate = threading.Event()
    fetcher = FakeFetcher(gate=gate)

    async def main() -> None:
        service = fake_service(cache=slow_cache, fetcher=fetcher)
        async with AsyncService(service, lookup_workers=1) as images:
            asked = [asyncio.ensure_future(images.get_image("avatar", DID, CID)) for _ in range(3)]
            await asyncio.get_running_loop().run_in_executor(None, slow_cache.asked.acquire)
            for each in asked:  # one is looking, two wait for the thread
                each.cancel()
            assert [type(error) for error in await asyncio.gather(*asked, return_exceptions=True)] == [
                asyncio.CancelledError
            ] * 3
            slow_cache.gate.set()
            await until(lambda: service.stats().misses == 1 and not any(waiters(service)))
            gate.set()
            await until(lambda: not waiters(service))
            assert service.stats().misses == 1

    run(main())


def test_coroutines_of_several_loops_and_threads_share_a_flight(cache: FakeCache) -> None:
    gate = threading.Event()
    fetcher = FakeFetcher({CID: b"blob"}, gate=gate)
    with fake_service(cache=cache, fetcher=fetcher) as service, ThreadPoolExecutor(8) as pool:
        images = AsyncService(service)

        async def main() -> list[bytes]:
            return await asyncio.gather(*(images.get_image("avatar", DID, CID) for _ in range(5)))

        loops = [pool.submit(asyncio.run, main()) for _ in range(3)]
        thread = pool.submit(service.get_image, "avatar", DID, CID)
        asyncio.run(until(lambda: waiters(service) == [16]))
        gate.set()
        assert [loop.result(30) for loop in loops] == [[b"avatar:blob"] * 5] * 3
        assert thread.result(30) == b"avatar:blob"
        images.release()
    assert len(fetcher.calls) == 1


def test_a_loop_may_end_while_its_coroutines_wait(cache: FakeCache, caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()
    with fake_service(cache=cache, fetcher=FakeFetcher({CID: b"blob"}, gate=gate)) as service:
        images = AsyncService(service)

        async def main() -> None:
            asked = asyncio.ensure_future(images.get_image("avatar", DID, CID))
            await until(lambda: waiters(service) == [1])
            assert not asked.done()  # cancelled by the end of the loop

        asyncio.run(main())
        assert not any(waiters(service))
        gate.set()
        assert service.get_image("avatar", DID, CID) == b"avatar:blob"
        images.release()
    assert not caplog.records


def test_a_policy_sees_the_context_of_its_caller(run: Run) -> None:
    tenant = contextvars.ContextVar("tenant", default="nobody")
    seen: list[str] = []

    class Noting(FakePolicy):
        def is_blocked(self, did: str, cid: str) -> bool:
            seen.append(tenant.get())
            return True

    async def main() -> None:
        async with AsyncService(fake_service(policy=Noting())) as images:
            tenant.set("alice")
            with pytest.raises(BlobBlockedError):
                await images.get_image("avatar", DID, CID)

    run(main())
    assert seen == ["alice"]


def test_purge_and_forget_identity_are_the_services(run: Run, cache: FakeCache) -> None:
    resolver = FakeResolver()

    async def main() -> None:
        async with AsyncService(fake_service(cache=cache, resolver=resolver)) as images:
            await images.get_image("avatar", DID, CID)
            await images.flush()
            assert (await images.purge(DID, CID)).entries == 1
            assert await images.get_cached("avatar", DID, CID) is None
            with pytest.raises(InvalidDIDError):
                await images.purge("nope")
            await images.forget_identity(DID)

    run(main())
    assert resolver.invalidated == [DID]


def test_warming_tells_its_progress_on_the_event_loop(run: Run, cache: FakeCache) -> None:
    reports: list[tuple[int, int]] = []

    async def main() -> WarmReport:
        async with AsyncService(fake_service(cache=cache)) as images:
            return await images.warm(
                ((DID, f"bafkreimadeup{n}") for n in range(3)),
                presets=["avatar", "banner"],
                on_progress=lambda report: reports.append((report.done, threading.get_ident())),
            )

    assert run(main()).made == 6
    assert reports == [(done, threading.get_ident()) for done in range(1, 7)]


def test_warming_needs_nobody_who_looks(run: Run, cache: FakeCache) -> None:
    async def main() -> WarmReport:
        async with AsyncService(fake_service(cache=cache)) as images:
            return await images.warm([(DID, CID)], presets="avatar")

    assert run(main()).made == 1


def test_what_progress_raises_ends_the_warming(run: Run) -> None:
    def fail(report: WarmReport) -> None:
        raise LookupError("enough")

    async def main() -> None:
        async with AsyncService(fake_service()) as images:
            with pytest.raises(LookupError, match="enough"):
                await images.warm([(DID, CID)], presets=["avatar"], on_progress=fail)
            with pytest.raises(LookupError, match="enough"):
                await images.warm(((DID, f"bafkreimadeup{n}") for n in range(500)), on_progress=fail)

    run(main())


def test_cancelled_warming_stops(run: Run) -> None:
    gate = threading.Event()
    fetcher = FakeFetcher(gate=gate)

    async def main() -> None:
        async with AsyncService(fake_service(fetcher=fetcher)) as images:
            warming = asyncio.ensure_future(images.warm((DID, f"bafkreimadeup{n}") for n in range(5000)))
            await asyncio.get_running_loop().run_in_executor(None, fetcher.wait_for_calls)
            warming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await warming
            gate.set()

    run(main())
    assert len(fetcher.calls) < 100


def test_close_closes_the_service(run: Run, cache: FakeCache) -> None:
    async def main() -> None:
        service = fake_service(cache=cache)
        images = AsyncService(service)
        await images.get_image("avatar", DID, CID)
        assert await images.close(timeout=30)
        assert await images.close()
        with pytest.raises(ServiceClosedError):
            await images.get_image("avatar", DID, CID)
        with pytest.raises(ServiceClosedError):
            await images.purge(DID)
        with pytest.raises(ServiceClosedError):
            service.get_image("avatar", DID, CID)
        images.release()

    run(main())


def test_a_release_leaves_the_service_open(run: Run) -> None:
    async def main() -> None:
        images = AsyncService(fake_service())
        await images.get_image("avatar", DID, CID)
        images.release()
        assert await images.get_image("avatar", DID, CID)
        await images.close()

    run(main())


def test_where_no_thread_is_to_be_had_the_call_is_refused(run: Run) -> None:
    async def main() -> None:
        async with AsyncService(fake_service()) as images:
            images._lookups.shutdown()
            with pytest.raises(ServiceClosedError, match="thread"):
                await images.get_image("avatar", DID, CID)

    run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a fork with threads about is what this is about
def test_it_works_in_the_child_of_a_fork() -> None:
    with fake_service() as service:
        images = AsyncService(service)
        asyncio.run(images.get_image("avatar", DID, CID))  # starts the threads
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if asyncio.run(images.get_image("banner", DID, CID)) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        images.release()


@pytest.mark.parametrize("workers", [0, -1, "4", None])
def test_bad_options_are_named(workers: Any) -> None:
    with fake_service() as service, pytest.raises(ConfigError, match="lookup_workers"):
        AsyncService(service, lookup_workers=workers)


def test_without_a_service_there_is_none() -> None:
    with pytest.raises(NilDependencyError) as caught:
        AsyncService(None)  # type: ignore[arg-type]
    assert caught.value.dependency == "service"
