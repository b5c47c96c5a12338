"""Event loops for the tests of the coroutines, and caches that may and may not be asked on one."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import uvloop

from imageproxy import CacheKey
from imageproxy.testing import FakeCache

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]


class NonblockingCache(FakeCache):
    """One that promises not to block."""

    is_nonblocking = True


class SlowCache(FakeCache):
    """One that blocks while its gate is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.asked = threading.Semaphore(0)

    def get(self, key: CacheKey) -> bytes | None:
        self.asked.release()
        assert self.gate.wait(30)
        return super().get(key)


@pytest.fixture
def nonblocking_cache() -> NonblockingCache:
    return NonblockingCache()


@pytest.fixture
def slow_cache() -> SlowCache:
    return SlowCache()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run[Any]:
    """Run a coroutine on a loop of its own, as ``asyncio.run`` does."""

    def run(main: Coroutine[Any, Any, T]) -> T:
        loop = uvloop.new_event_loop() if request.param == "uvloop" else asyncio.new_event_loop()
        try:
            loop.set_debug(True)
            return loop.run_until_complete(asyncio.wait_for(main, 60))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    return run
