"""After a purge no later call gets bytes fetched before it: a state machine drives two services, step by step.

Every step of a call that another thread could come between (a fetch, a decode, a write, the fill of a tier) waits until
the machine lets it go on, in an order that hypothesis chooses; purges run beside them. The source changes its bytes
before each purge, so that what a call returns tells when it was fetched.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from imageproxy import BlobBlockedError, Cache, CacheKey, DiskCache, Preset, Service
from imageproxy.caches import MemoryCache, TieredCache
from imageproxy.testing import FakeCache, FakeResolver

WAIT = 20
SETTLE_SECONDS = 0.004

DIDS = ("did:plc:ewvi7nxzyoun6zhxrhs64oiz", "did:plc:z72i7hdynmk6r22z27h6tvur")
CIDS = ("bafkreimadeup0", "bafkreimadeup1")
PRESETS = ("avatar", "banner")

Blob = tuple[str, str]


@dataclass(eq=False)
class Step:
    """A thread that waits for the machine."""

    name: str
    blob: Blob
    released: threading.Event = field(default_factory=threading.Event)


class Steps:
    """All threads that wait for the machine."""

    def __init__(self) -> None:
        self.waiting: list[Step] = []
        self.changed = threading.Condition()
        self.is_open = False
        self.written: set[bytes] = set()

    def stop(self, name: str, did: str, cid: str) -> None:
        step = Step(name, (did, cid))
        with self.changed:
            if self.is_open:
                return
            self.waiting.append(step)
            self.changed.notify_all()
        assert step.released.wait(WAIT), f"nobody let {name} go on"

    def release(self, number: int) -> bool:
        with self.changed:
            if not self.waiting:
                return False
            self.waiting.pop(number % len(self.waiting)).released.set()
            return True

    def open(self) -> None:
        with self.changed:
            self.is_open = True
            for step in self.waiting:
                step.released.set()
            self.waiting.clear()

    def settle(self, is_settled: Callable[[], bool]) -> None:
        """Give the threads the time to get to their next step. If that is too short, the order is another one."""
        with self.changed:
            before = len(self.waiting)
            self.changed.wait_for(lambda: is_settled() or len(self.waiting) > before, SETTLE_SECONDS)


class Source:
    """A PDS whose blobs change (which real ones cannot), and a processor that shows which version it was given."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.versions: dict[Blob, int] = {(did, cid): 0 for did in DIDS for cid in CIDS}
        self.blocked: set[Blob] = set()
        self.must_not_be_stored: set[bytes] = set()
        self.made = 0

    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
        data = f"{did}/{cid}#{self.versions[did, cid]}".encode()
        self.steps.stop("fetch", did, cid)
        return data

    def process(self, data: bytes, preset: Preset) -> bytes:
        text = data.decode()
        did, cid = text.partition("#")[0].split("/")
        self.made += 1
        image = f"{text}#{preset.name}#{self.made}".encode()
        self.steps.stop("process", did, cid)
        if (did, cid) in self.blocked:
            self.must_not_be_stored.add(image)
        return image

    def is_blocked(self, did: str, cid: str) -> bool:
        return (did, cid) in self.blocked


def slowed(cache: Cache, steps: Steps, *, reads: bool = False) -> Any:
    """The cache, whose writes (and, where ``reads``, reads that found something) wait for the machine."""

    base: Any = type(cache)

    class Slowed(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.__dict__.update(cache.__dict__)

        def get(self, key: CacheKey) -> bytes | None:
            found: bytes | None = super().get(key)
            if reads and found is not None:
                steps.stop("read", key.did, key.cid)
            return found

        def purge(self, did: str, cid: str | None = None) -> int:
            steps.stop("before a purge", did, cid or "")
            removed: int = super().purge(did, cid)
            steps.stop("after a purge", did, cid or "")
            return removed

    if isinstance(cache, (DiskCache, MemoryCache)):
        return fenced(Slowed, steps)()

    class SlowlySet(Slowed):
        def set(self, key: CacheKey, data: bytes) -> None:
            steps.written.add(data)
            steps.stop("write", key.did, key.cid)
            super().set(key, data)

    return SlowlySet()


def fenced(base: Any, steps: Steps) -> Any:
    """The class, all of whose writes wait, and the steps inside of a purge of DiskCache."""

    class SlowedAndFenced(base):  # type: ignore[misc]
        def store(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
            steps.written.add(data)
            steps.stop("write", key.did, key.cid)
            return bool(super().store(key, data, fence))

    class SlowedInsideAPurge(SlowedAndFenced):
        def _remove(self, ledger: Any, shard: int, prefix: str) -> tuple[int, OSError | None]:
            if not Path(self._base, f"{shard:03x}").is_dir():
                return 0, None
            steps.stop("before a removal", "", "")
            removed: tuple[int, OSError | None] = super()._remove(ledger, shard, prefix)
            steps.stop("after a removal", "", "")
            return removed

    return SlowedInsideAPurge if issubclass(base, DiskCache) else SlowedAndFenced


Caches = Callable[[Path, Steps], list[Cache]]
"""Makes one cache for each service; what one of them purges, the others must not give any more."""


def one_without_powers(root: Path, steps: Steps) -> list[Cache]:
    return [slowed(FakeCache(), steps)]


def one_disk_cache(root: Path, steps: Steps) -> list[Cache]:
    cache = slowed(DiskCache(root), steps)
    return [cache, cache]


def two_disk_caches_on_a_folder(root: Path, steps: Steps) -> list[Cache]:
    return [slowed(DiskCache(root), steps), slowed(DiskCache(root), steps)]


def one_memory_cache(root: Path, steps: Steps) -> list[Cache]:
    cache = slowed(MemoryCache(10**6), steps)
    return [cache, cache]


def memory_over_one_without_powers(root: Path, steps: Steps) -> list[Cache]:
    cache = TieredCache(slowed(MemoryCache(10**6), steps), slowed(FakeCache(), steps, reads=True))
    return [cache, cache]


def one_without_powers_over_another(root: Path, steps: Steps) -> list[Cache]:
    cache = TieredCache(slowed(FakeCache(), steps), slowed(FakeCache(), steps, reads=True))
    return [cache, cache]


def memories_over_a_shared_folder(root: Path, steps: Steps) -> list[Cache]:
    return [
        TieredCache(slowed(MemoryCache(10**6), steps), slowed(DiskCache(root), steps, reads=True)) for _ in range(2)
    ]


def memories_over_disks_over_one_without_powers(root: Path, steps: Steps) -> list[Cache]:
    lowest = slowed(FakeCache(), steps, reads=True)
    disk = slowed(DiskCache(root), steps, reads=True)
    cache = TieredCache(slowed(MemoryCache(10**6), steps), disk, lowest)
    return [cache, cache]


CACHES: list[Caches] = [
    one_without_powers,
    one_disk_cache,
    two_disk_caches_on_a_folder,
    one_memory_cache,
    memory_over_one_without_powers,
    one_without_powers_over_another,
    memories_over_a_shared_folder,
    memories_over_disks_over_one_without_powers,
]


class Ordering(RuleBasedStateMachine):
    """The machine. ``make`` is set by the tests."""

    make: Caches

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.steps = Steps()
        self.source = Source(self.steps)
        caches = type(self).make(Path(self.folder.name), self.steps)
        self.services = [
            Service(cache, self.source, self.source, resolver=FakeResolver(), policy=self.source) for cache in caches
        ]
        self.pool = ThreadPoolExecutor(40)
        self.least = dict(self.source.versions)
        """What a call that begins now must see at least, of each blob."""
        self.calls: list[tuple[Future[bytes], Blob, int, bool]] = []
        self.purges: list[Future[Any]] = []

    @rule(
        service=st.integers(0, 1), did=st.sampled_from(DIDS), cid=st.sampled_from(CIDS), preset=st.sampled_from(PRESETS)
    )
    def get(self, service: int, did: str, cid: str, preset: str) -> None:
        images = self.services[service % len(self.services)]
        least, was_blocked = self.least[did, cid], (did, cid) in self.source.blocked
        call = self.pool.submit(images.get_image, preset, did, cid)
        self.calls.append((call, (did, cid), least, was_blocked))
        self.steps.settle(call.done)

    @rule(service=st.integers(0, 1), did=st.sampled_from(DIDS), cid=st.sampled_from([*CIDS, None]))
    def purge(self, service: int, did: str, cid: str | None) -> None:
        images = self.services[service % len(self.services)]
        meant = [(did, each) for each in CIDS if cid in (None, each)]
        for blob in meant:
            self.source.versions[blob] += 1
        versions = {blob: self.source.versions[blob] for blob in meant}

        def run() -> None:
            report = images.purge(did, cid)
            assert report.is_complete
            for blob, version in versions.items():
                self.least[blob] = max(self.least[blob], version)

        purge = self.pool.submit(run)
        self.purges.append(purge)
        self.steps.settle(purge.done)

    @rule(number=st.integers(0, 50))
    def go_on(self, number: int) -> None:
        if self.steps.release(number):
            self.steps.settle(lambda: False)

    @rule()
    def block(self) -> None:
        """For good, and one blob alone: what of it is under way must not be published."""
        self.source.blocked.add((DIDS[1], CIDS[1]))

    def teardown(self) -> None:
        try:
            self.steps.open()
            for purge in self.purges:
                purge.result(WAIT)
            for call, blob, least, was_blocked in self.calls:
                self.check(call, blob, least, was_blocked)
            assert all(images.flush(WAIT) for images in self.services)
            for images in self.services:
                for blob, version in self.source.versions.items():
                    for preset in PRESETS:
                        last = self.pool.submit(images.get_image, preset, *blob)
                        self.check(last, blob, version, was_blocked=blob in self.source.blocked)
            assert not self.steps.written & self.source.must_not_be_stored, "what was blocked meanwhile was stored"
        finally:
            for images in self.services:
                images.close()
            self.pool.shutdown()
            self.folder.cleanup()

    def check(self, call: Future[bytes], blob: Blob, least: int, was_blocked: bool) -> None:
        error = call.exception(WAIT)
        if isinstance(error, BlobBlockedError):
            return
        assert error is None
        assert not was_blocked, "a blocked blob was given to a caller"
        name, version, _, _ = call.result().decode().split("#")
        assert name == "/".join(blob)
        assert int(version) >= least, "a call got bytes that were fetched before a purge which had returned"
        assert call.result() not in self.source.must_not_be_stored, "what was blocked meanwhile was given to a caller"


@pytest.mark.parametrize("make", CACHES)
def test_no_call_gets_what_was_fetched_before_a_purge(make: Caches) -> None:
    machine = type("Machine", (Ordering,), {"make": staticmethod(make)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=50,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
