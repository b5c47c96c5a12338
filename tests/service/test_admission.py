"""One budget of memory for all that is under way."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageproxy import BusyError, Config, DeadlineExceededError, ImageTooLargeError, Preset, ProcessingError
from imageproxy._admission import Admission, Reservation
from imageproxy._memory import memory_limit_bytes
from imageproxy.testing import FakeCache, FakeFetcher, FakeProcessor, fake_service

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = "bafkreimadeup0"
WAIT = 20


class Budget:
    """An Admission of 100 bytes, sources of 10, with a clock to turn and what was started noted."""

    def __init__(self) -> None:
        self.now = 0.0
        self.started: list[str] = []
        self.admission = Admission(100, source_bytes=10, max_wait_seconds=10, clock=lambda: self.now)

    def source(self, name: str, server: str | None = None) -> Reservation:
        return self.admission.reserve_source(name, server or name, lambda: self.started.append(name))

    def decode(self, name: str, cost: int) -> Reservation:
        return self.admission.reserve_decode(name, cost, lambda: self.started.append(name))


def test_what_fits_starts_at_once() -> None:
    budget = Budget()
    budget.source("source")
    budget.decode("decode", 75)
    assert budget.started == ["source", "decode"]
    assert budget.admission.reserved_bytes == 85


def test_what_does_not_fit_waits_and_the_small_pass_it() -> None:
    budget = Budget()
    first = budget.decode("first", 60)
    budget.decode("panorama", 50)
    budget.decode("avatar", 5)
    assert budget.started == ["first", "avatar"]
    budget.admission.end(first)
    assert budget.started == ["first", "avatar", "panorama"]


def test_sources_get_a_quarter() -> None:
    budget = Budget()
    first, second, third = (budget.source(name) for name in ("first", "second", "third"))
    assert budget.started == ["first", "second"]
    budget.admission.fetched(first, 6)
    assert budget.started == ["first", "second"], "6 and 10 and 10 are more than 25"
    budget.admission.fetched(second, 1)
    assert budget.started == ["first", "second", "third"]
    for reservation in (first, second, third):
        budget.admission.end(reservation)
    assert budget.admission.reserved_bytes == 0


def test_one_server_gets_at_most_half_of_the_places() -> None:
    budget = Budget()
    first = budget.source("first", "slow")
    budget.source("second", "slow")
    budget.source("other", "quick")
    assert budget.started == ["first", "other"], "of two places one"
    budget.admission.fetched(first, 10)
    assert budget.started == ["first", "other"], "its place is free, but there is no room"
    budget.admission.end(first)
    assert budget.started == ["first", "other", "second"]


def test_one_server_is_asked_for_six_at_once() -> None:
    admission = Admission(100_000, source_bytes=10, max_wait_seconds=1)
    started: list[int] = []
    held = [admission.reserve_source(n, "server", partial(started.append, n)) for n in range(8)]
    assert started == [0, 1, 2, 3, 4, 5]
    admission.end(held[7])
    admission.fetched(held[0], 5)
    assert started == [0, 1, 2, 3, 4, 5, 6]
    for each in held:
        admission.end(each)
    assert not admission._fetching
    assert admission.reserved_bytes == 0


def test_one_source_always_gets_in() -> None:
    admission = Admission(10, source_bytes=50, max_wait_seconds=1)
    started: list[str] = []
    admission.reserve_source("one", "a", lambda: started.append("one"))
    admission.reserve_source("two", "b", lambda: started.append("two"))
    assert started == ["one"]


def test_what_there_never_is_room_for_is_refused_at_once() -> None:
    budget = Budget()
    with pytest.raises(ImageTooLargeError, match="memory_budget_bytes") as caught:
        budget.decode("too much", 76)
    assert (caught.value.unit, caught.value.limit, caught.value.actual) == ("bytes", 75, 76)


def test_ending_twice_counts_once() -> None:
    budget = Budget()
    held, other = budget.decode("held", 60), budget.decode("other", 20)
    for _ in range(2):
        budget.admission.end(held)
    budget.admission.end(None)
    assert budget.admission.reserved_bytes == 20
    budget.admission.end(other)
    assert budget.admission.reserved_bytes == 0


def test_who_waits_no_longer_is_passed_over() -> None:
    budget = Budget()
    held = budget.decode("held", 60)
    left = budget.decode("left", 50)
    budget.admission.end(left)
    budget.admission.end(held)
    assert budget.started == ["held"]
    assert budget.admission.reserved_bytes == 0


def test_what_waits_too_long_is_overdue_once() -> None:
    budget = Budget()
    budget.decode("held", 60)
    late = budget.decode("late", 50)
    budget.now = 9.9
    assert budget.admission.overdue() == []
    budget.now = 10
    assert budget.admission.overdue() == [late]
    assert budget.admission.overdue() == []


def test_small_ones_cannot_pass_a_large_one_for_ever() -> None:
    budget = Budget()
    held = budget.decode("held", 60)
    budget.decode("panorama", 50)
    budget.now = 5
    budget.source("newcomer")
    assert budget.started == ["held"], "no further source is let in"
    budget.admission.end(held)
    assert budget.started == ["held", "panorama", "newcomer"]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 75), st.integers(0, 30)), max_size=60))
def test_no_mix_exceeds_the_budget_and_everything_gets_its_turn(steps: list[tuple[bool, int, int]]) -> None:
    budget = Budget()
    under_way: list[Reservation] = []
    for is_source, cost, which in steps:
        under_way.append(budget.source("x") if is_source else budget.decode("x", cost))
        if which < len(under_way):
            budget.admission.end(under_way.pop(which))
        assert 0 <= budget.admission.reserved_bytes <= 100
    while under_way:
        held = next((each for each in under_way if each.is_granted), None)
        assert held is not None, "all wait for each other"
        under_way.remove(held)
        budget.admission.end(held)
    assert budget.admission.reserved_bytes == 0


# Through the service


class Costly(FakeProcessor):
    """A processor that estimates what its input says: ``b"cost 50"``."""

    def estimate(self, data: bytes, preset: Preset) -> int:
        return int(data.split()[1])


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


CONFIG = Config(memory_budget_bytes=572, max_source_bytes=20, decode_workers=8, admission_timeout_seconds=60)


def test_a_small_image_is_not_held_up_by_large_ones(pool: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    blobs = {f"bafkreipanorama{n}": b"cost 250" for n in range(3)} | {"bafkreiavatar": b"cost 20"}
    processor = Costly(gate=gate)
    with fake_service(fetcher=FakeFetcher(blobs), processor=processor, config=CONFIG) as images:
        large = [pool.submit(images.get_image, "avatar", DID, f"bafkreipanorama{n}") for n in range(3)]
        processor.wait_for_calls(1)
        small = pool.submit(images.get_image, "avatar", DID, "bafkreiavatar")
        processor.wait_for_calls(2)
        assert [call.data for call in processor.calls] == [b"cost 250", b"cost 20"]
        gate.set()
        assert small.result(WAIT) == b"avatar:cost 20"
        assert {call.result(WAIT) for call in large} == {b"avatar:cost 250"}
        assert images._flights._admission.reserved_bytes == 0


def test_no_mix_of_requests_exceeds_the_budget(pool: ThreadPoolExecutor) -> None:
    class Watching(Costly):
        lock = threading.Lock()
        now = peak = 0

        def process(self, data: bytes, preset: Preset) -> bytes:
            cost = self.estimate(data, preset)
            with self.lock:
                self.now += cost
                self.peak = max(self.peak, self.now)
            try:
                return super().process(data, preset)
            finally:
                with self.lock:
                    self.now -= cost

    blobs = {f"bafkreiblob{n:02}": f"cost {n * 7 % 300}".encode() for n in range(60)}
    processor = Watching()
    with fake_service(fetcher=FakeFetcher(blobs), processor=processor, config=CONFIG) as images:
        calls: list[Future[bytes]] = [pool.submit(images.get_image, "avatar", DID, cid) for cid in blobs]
        assert len({call.result(WAIT) for call in calls}) == 60
        assert images._flights._admission.reserved_bytes == 0
    assert 0 < processor.peak <= 400


def test_an_image_that_alone_costs_more_is_refused_and_not_decoded() -> None:
    processor = Costly()
    fetcher = FakeFetcher({CID: b"cost 301"})
    with fake_service(fetcher=fetcher, processor=processor, config=CONFIG) as images:
        with pytest.raises(ImageTooLargeError) as caught:
            images.get_image("avatar", DID, CID)
        assert images._flights._admission.reserved_bytes == 0
    assert caught.value.limit == 300
    assert not processor.calls


def test_what_does_not_fit_in_time_is_busy_and_says_when_to_come_back(pool: ThreadPoolExecutor) -> None:
    gate, cache = threading.Event(), FakeCache()
    processor = Costly(gate=gate)
    config = Config(memory_budget_bytes=572, max_source_bytes=20, admission_timeout_seconds=0.1)
    fetcher = FakeFetcher({CID: b"cost 250", "bafkreimadeup1": b"cost 250"})
    with fake_service(cache=cache, fetcher=fetcher, processor=processor, config=config) as images:
        first = pool.submit(images.get_image, "avatar", DID, CID)
        processor.wait_for_calls(1)
        with pytest.raises(BusyError) as caught:
            images.get_image("avatar", DID, "bafkreimadeup1")
        assert caught.value.retry_after == 0.1
        gate.set()
        assert first.result(WAIT) == b"avatar:cost 250"
        assert images.get_image("avatar", DID, CID) == b"avatar:cost 250", "a hit is never refused"
        assert images.get_image("avatar", DID, "bafkreimadeup1") == b"avatar:cost 250", "busy is not remembered"


def test_sources_that_wait_for_room_become_busy_too(pool: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    config = Config(memory_budget_bytes=572, max_source_bytes=100, admission_timeout_seconds=0.1)
    fetcher = FakeFetcher({CID: b"cost 1", "bafkreimadeup1": b"cost 1"}, gate=gate)
    with fake_service(fetcher=fetcher, processor=Costly(), config=config) as images:
        first = pool.submit(images.get_image, "avatar", DID, CID)
        fetcher.wait_for_calls(1)
        with pytest.raises(BusyError):
            images.get_image("avatar", DID, "bafkreimadeup1")
        gate.set()
        assert first.result(WAIT) == b"avatar:cost 1"


def test_who_left_while_waiting_for_room_keeps_nobody_out(pool: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    processor = Costly(gate=gate)
    fetcher = FakeFetcher({CID: b"cost 250", "bafkreimadeup1": b"cost 250"})
    with fake_service(fetcher=fetcher, processor=processor, config=CONFIG) as images:
        first = pool.submit(images.get_image, "avatar", DID, CID)
        processor.wait_for_calls(1)
        with pytest.raises(DeadlineExceededError):
            images.get_image("avatar", DID, "bafkreimadeup1", timeout=0.1)
        assert images.stats().flights == 1
        assert not images._flights._admission._waiting
        gate.set()
        first.result(WAIT)


@pytest.mark.parametrize("estimate", [-1, float("nan"), None, "5"])
def test_an_estimate_that_is_none_is_refused(estimate: int) -> None:
    class Odd(FakeProcessor):
        def estimate(self, data: bytes, preset: Preset) -> int:
            return estimate

    with fake_service(processor=Odd()) as images:
        with pytest.raises(ProcessingError, match="estimates"):
            images.get_image("avatar", DID, CID)
        assert images._flights._admission.reserved_bytes == 0


def test_a_processor_that_fails_to_estimate_fails_the_image_alone() -> None:
    with fake_service(fetcher=FakeFetcher({CID: b"cost much"}), processor=Costly()) as images:
        with pytest.raises(ProcessingError, match="estimate"):
            images.get_image("avatar", DID, CID)
        assert images._flights._admission.reserved_bytes == 0


def test_memory_that_a_large_decode_has_freed_is_given_back() -> None:
    """The allocator keeps it otherwise, outside of every budget."""
    script = """
import resource
from pathlib import Path
from imageproxy._memory import release_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

chunks = [b"x" * (100_000 + n) for n in range(1000)]  # below the size from which the allocator asks the system for each
keep = chunks[::50]
full = resident()
del chunks
release_freed_memory()
print(full - resident())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) > 80_000_000


# How much memory there is


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_the_limit_of_a_control_group_counts(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/app/web\n")
    write(tmp_path, "sys/fs/cgroup/app/web/memory.max", "max\n")
    write(tmp_path, "sys/fs/cgroup/app/memory.max", "1000000\n")
    assert memory_limit_bytes(tmp_path) == 1_000_000


def test_the_limit_of_an_old_control_group_counts(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/app\n")
    write(tmp_path, "sys/fs/cgroup/memory/app/memory.limit_in_bytes", "2000000\n")
    assert memory_limit_bytes(tmp_path) == 2_000_000


def test_a_container_sees_its_own_limit_at_the_root(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/docker/abc\n")
    write(tmp_path, "sys/fs/cgroup/memory.max", "3000000\n")
    assert memory_limit_bytes(tmp_path) == 3_000_000


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert memory_limit_bytes(tmp_path) > 100_000_000
    assert memory_limit_bytes() <= memory_limit_bytes(tmp_path)


def test_a_server_that_drips_does_not_hold_up_the_others(pool: ThreadPoolExecutor) -> None:
    """However many of its blobs are asked for: they hold neither all threads nor all room for sources."""
    gate = threading.Event()

    class Dripping(FakeFetcher):
        def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
            if pds_url == "https://slow.example":
                assert gate.wait(WAIT)
            return b"blob"

    config = Config(memory_budget_bytes=572, max_source_bytes=20, fetch_workers=3)
    with fake_service(fetcher=Dripping(), config=config) as images:
        cids = [f"bafkreislow{n:02}" for n in range(20)]
        slow = [pool.submit(images.get_image, "avatar", DID, cid, "https://slow.example") for cid in cids]
        while images.stats().flights < 20:
            gate.wait(0.001)
        for n in range(5):
            assert images.get_image("avatar", DID, f"bafkreigood{n:02}", "https://quick.example", timeout=WAIT)
        gate.set()
        for call in slow:
            call.result(WAIT)
        assert images._flights._admission.reserved_bytes == 0
