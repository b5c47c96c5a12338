"""The thread of ``start_cleanup``."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache
from imageproxy.caches._cleanup import CleanupHandle
from imageproxy.errors import ConfigError


def test_it_cleans_until_it_is_stopped() -> None:
    before = set(threading.enumerate())
    calls: list[bool] = []
    has_run_thrice = threading.Event()

    def clean(is_stopping: Callable[[], bool]) -> int:
        calls.append(is_stopping())
        if len(calls) == 3:
            has_run_thrice.set()
        return 0

    handle = CleanupHandle(clean, 0.001)
    assert has_run_thrice.wait(30)
    handle.stop()
    count = len(calls)
    assert calls == [False] * count
    assert not set(threading.enumerate()) - before
    handle.stop()
    assert len(calls) == count


def test_a_cache_starts_one(root: Path, key: Any, clock: Any, files: Any) -> None:
    is_clean = threading.Event()

    class Telling(DiskCache):
        def _cleanup(self, *arguments: Any, **options: Any) -> int:
            removed = super()._cleanup(*arguments, **options)
            is_clean.set()
            return removed

    cache = Telling(root, ttl_seconds=60, clock=clock)
    cache.set(key(), b"image")
    clock.advance(61)
    handle = cache.start_cleanup(0.001)
    assert is_clean.wait(30)
    handle.stop()
    assert files.entries() == []


def test_an_error_is_logged_and_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    has_gone_on = threading.Event()
    calls: list[int] = []

    def clean(is_stopping: Callable[[], bool]) -> int:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("the disk is bad")
        has_gone_on.set()
        return 0

    with caplog.at_level(logging.WARNING, logger="imageproxy"):
        handle = CleanupHandle(clean, 0.001)
        assert has_gone_on.wait(30)
        handle.stop()
    (record,) = caplog.records
    assert record.name == "imageproxy.caches._cleanup"
    assert "the disk is bad" in caplog.text


def test_stopping_breaks_off_a_cleanup_that_is_under_way(root: Path, key: Any, clock: Any) -> None:
    cache = DiskCache(root, ttl_seconds=60, clock=clock)
    cache.set(key(), b"image")
    assert cache._cleanup(lambda: True) == 0


def test_the_thread_itself_may_stop_it() -> None:
    has_stopped = threading.Event()
    handles: list[CleanupHandle] = []
    is_made = threading.Event()

    def clean(is_stopping: Callable[[], bool]) -> int:
        assert is_made.wait(30)
        handles[0].stop()
        has_stopped.set()
        return 0

    handles.append(CleanupHandle(clean, 0.001))
    is_made.set()
    assert has_stopped.wait(30)
    handles[0].stop()


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf")])
def test_an_interval_that_cannot_be_meant_is_named(root: Path, interval: float) -> None:
    with pytest.raises(ConfigError, match="interval_seconds"):
        DiskCache(root).start_cleanup(interval)


def test_the_child_of_a_fork_has_no_such_thread_and_can_stop(python: Any) -> None:
    process = python(
        """
import os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking beside a thread is what this is about
handle = DiskCache(root).start_cleanup(3600)
pid = os.fork()
if pid == 0:
    handle.stop()
    handle.stop()
    os._exit(40 + threading.active_count())
tell(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
handle.stop()
tell(threading.active_count())
"""
    )
    assert process.communicate()[0].split() == ["41", "1"]
    assert os.getpid() != process.pid
