"""A service made before a fork works in the children."""

import gc
import os
import signal
import threading
import warnings
import weakref
from collections.abc import Callable

import pytest

from imageproxy import CacheKey
from imageproxy.testing import FakeCache, FakeFetcher, FakeProcessor, fake_service

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = "bafkreimadeup0"


def in_child(check: Callable[[], None]) -> None:
    """Run ``check`` in a child, and fail when it raises or does not end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads about is what this is about
        child = os.fork()
    if child == 0:
        status = 1
        try:
            check()
            status = 0
        finally:
            os._exit(status)
    watchdog = threading.Timer(30, os.kill, (child, signal.SIGKILL))
    watchdog.start()
    _, status = os.waitpid(child, 0)
    watchdog.cancel()
    watchdog.join()
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_service_works_in_a_child_though_its_threads_and_locks_are_the_parents() -> None:
    gate = threading.Event()
    fetcher, processor = FakeFetcher(), FakeProcessor()
    with fake_service(fetcher=fetcher, processor=processor) as images:
        images.get_image("avatar", DID, CID)  # starts the threads
        processor.gate = gate
        busy = threading.Thread(target=images.get_image, args=("banner", DID, CID))
        busy.start()
        processor.wait_for_calls(2)

        def check() -> None:
            processor.gate = None
            assert images.stats().flights == 0
            assert images.get_image("banner", DID, CID).startswith(b"banner:")
            assert images.get_image("content_full", DID, CID).startswith(b"content_full:")
            assert images.flush(10)
            assert images.stats().misses == 2
            assert images.close(10)

        with images._flights._lock, images._writes._changed, images._teller._lock:
            in_child(check)
        gate.set()
        busy.join()
        assert images.get("banner", DID, CID).source == "cache"


def test_writes_that_the_parent_queued_are_the_parents() -> None:
    class Gated(FakeCache):
        may_write = threading.Event()

        def set(self, key: CacheKey, data: bytes) -> None:
            assert self.may_write.wait(20)
            super().set(key, data)

    cache = Gated()
    with fake_service(cache=cache) as images:
        images.get_image("avatar", DID, CID)

        def check() -> None:
            assert images.stats().queued_writes == 0
            assert images.flush(0)

        in_child(check)
        assert images.stats().queued_writes == 1
        cache.may_write.set()


def test_a_service_that_is_gone_is_not_kept_for_the_children() -> None:
    images = fake_service()
    images.get_image("avatar", DID, CID)
    images.close()
    trace = weakref.ref(images)
    del images
    gc.collect()
    assert trace() is None
