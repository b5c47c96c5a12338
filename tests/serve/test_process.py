"""``imageproxy serve`` as a process: how it starts, what it logs, and how it ends."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imageproxy import DEFAULT, DiskCache, ImageURLs, compute_cid
from imageproxy.testing import LocalPDS

from .conftest import Answer, At, StartProcess


def until(is_so: Callable[[], bool], what: str) -> None:
    """Look again and again: a process tells nobody when it gets there."""
    ends_at = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < ends_at, what
        select.select((), (), (), 0.01)


def asking(at: At, path: str) -> tuple[threading.Thread, list[Answer]]:
    """A request on a thread of its own, and where its answer will be."""
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(at.ask(path)))
    thread.start()
    return thread, answers


def entries(cache_path: Path) -> int:
    return len(list(DiskCache(cache_path).entries())) if cache_path.is_dir() else 0


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Held locked, as by another process that writes there."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_exits_with_0_when_told_to(start: StartProcess, path: str, cache_path: Path, number: int) -> None:
    process = start()
    at = process.at()
    first, second = at.ask(path), at.ask(path)
    assert (first.status, first.headers["content-type"]) == (200, "image/jpeg")
    assert (second.status, second.body) == (200, first.body)
    assert at.ask(path, If_None_Match=first.headers["etag"]).status == 304
    process.signal(number)
    assert process.end() == 0
    assert [line["message"] for line in process.log[-2:]] == ["closing: finishing answers and queued writes", "closed"]
    assert entries(cache_path) == 1


def test_a_signal_in_the_middle_of_a_miss_waits_for_its_answer(
    start: StartProcess, pds: LocalPDS, path: str, cache_path: Path
) -> None:
    process = start()
    at = process.at()
    pds.hold()
    thread, answers = asking(at, path)
    pds.wait_for_requests(2)  # of the DID, and of the blob
    process.signal()
    process.wait_for("closing")

    def is_refused() -> bool:
        try:
            at.connect().close()
        except OSError:
            return True
        return False

    until(is_refused, "new connections are not accepted")
    assert process.is_running
    pds.release()
    thread.join()
    assert [answer.status for answer in answers] == [200]
    assert process.end() == 0
    assert entries(cache_path) == 1, "the image that was answered is written, too"


def test_a_signal_in_the_middle_of_a_queued_write_waits_for_it(
    start: StartProcess, path: str, cache_path: Path
) -> None:
    process = start()
    at = process.at()
    assert at.ask(path).status == 200
    until(lambda: entries(cache_path) == 1, "the first image is written")
    (shard,) = (folder for folder in (cache_path / "v1").iterdir() if folder.is_dir())
    with held(shard):
        assert at.ask(path.replace("avatar_small", "banner")).status == 200, "answers wait for no write"
        process.signal()
        process.wait_for("closing")
        select.select((), (), (), 0.3)  # it has all the time to end without the write
        assert process.is_running
        assert len([file for file in shard.iterdir() if not file.name.startswith(".")]) == 1
    assert process.end() == 0
    assert entries(cache_path) == 2


def test_an_answer_that_takes_longer_than_it_may_is_given_up(start: StartProcess, pds: LocalPDS, path: str) -> None:
    process = start("--shutdown-timeout", "1")
    at = process.at()
    pds.hold()
    thread, answers = asking(at, path)
    pds.wait_for_requests(2)
    process.signal()
    thread.join()
    assert (answers[0].status, answers[0].text) == (503, "closing down; ask again later\n")
    assert answers[0].headers["retry-after"] == "1"
    pds.release()
    assert process.end() == 0


def test_a_second_signal_ends_it_at_once(start: StartProcess, pds: LocalPDS, path: str) -> None:
    process = start()
    pds.hold()
    with process.at().connect() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        pds.wait_for_requests(2)
        process.signal()
        process.wait_for("closing")
        process.signal()
        assert process.end() == 128 + signal.SIGTERM


def test_each_request_is_a_line_of_json(start: StartProcess, blob: tuple[str, str], path: str) -> None:
    did = blob[0]
    process = start()
    at = process.at()
    size = len(at.ask(f"{path}?v=1&s=secret").body)
    missing = f"/img/avatar/plain/{did}/{compute_cid(b'another')}"
    at.ask(missing)
    at.ask("/healthz")
    process.signal()
    assert process.end() == 0
    requests = [line for line in process.log if line["logger"] == "imageproxy.access"]
    assert [(line["status"], line["path"]) for line in requests] == [
        (200, path),
        (404, missing),
    ]
    assert (requests[0]["method"], requests[0]["client"], requests[0]["bytes"]) == ("GET", "127.0.0.1", size)
    assert requests[0]["seconds"] > 0
    assert requests[0]["time"].endswith("+00:00")


def test_the_log_can_be_text_and_stays_a_line_each(start: StartProcess, variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "imageproxy", "serve", "--port", "0", "--host", "no such\nhost"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("imageproxy: cannot listen at 'no such\\nhost':0: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--port", "--metrics-port"])
def test_a_port_in_use_is_told_in_one_line(start: StartProcess, variables: dict[str, str], option: str) -> None:
    taken = start().at().port
    done = subprocess.run(
        [sys.executable, "-m", "imageproxy", "serve", "--port", "0", option, str(taken)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"imageproxy: cannot listen at '127.0.0.1':{taken}: Address already in use; is another server running there? "
        f"choose another {option}\n"
    )


def test_a_server_without_a_key_says_at_the_start_that_it_is_open_to_all(start: StartProcess) -> None:
    process = start()
    process.at()
    assert [line["message"][:11] for line in process.log if line["level"] == "warning"] == [
        "open to all",
        "IMAGE_PROXY",
    ]


def test_with_a_key_only_signed_urls_are_answered(start: StartProcess, blob: tuple[str, str]) -> None:
    key = "a secret"
    process = start(IMAGE_PROXY_URL_SIGNING_KEY=key, IMAGE_PROXY_ALLOW_PRIVATE_NETWORKS="1")
    at = process.at()
    assert not [line for line in process.log if line["message"].startswith("open to all")]
    url = ImageURLs(signing_key=key).url_for("avatar_small", *blob)
    answer = at.ask(url)
    assert (answer.status, answer.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
    assert at.ask(url[:-1]).status == 400
    assert at.ask(url.partition("?")[0] + "?v=" + DEFAULT.get("avatar_small").key).status == 400


def test_a_bad_variable_is_told_in_one_line(variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "imageproxy", "serve", "--port", "0"],
        env={**os.environ, **variables, "IMAGE_PROXY_CACHE_MAX_GB": "much"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "imageproxy: IMAGE_PROXY_CACHE_MAX_GB is 'much'; it must be a number above 0\n"
