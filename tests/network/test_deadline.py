"""A request ends with its time, whatever the server does, and leaves nothing behind. Only these tests look at time."""

from __future__ import annotations

import socket
import threading
from itertools import chain, repeat
from typing import Any

import pytest

from imageproxy._client import GuardedClient
from imageproxy._deadline import Deadline, Watchdog
from imageproxy.errors import PDSTimeoutError
from imageproxy.fetchers import PDSFetcher

ASKED = 0.3
# Half a second is what is promised; the rest is for a loaded machine.
LATEST = ASKED + 0.5 + 1.0


def _silent(peer: Any) -> None:
    peer.read_head()
    peer.wait_for_hang_up()


def _never_reads(peer: Any) -> None:
    peer.stopping.wait()


def _drips_status(peer: Any) -> None:
    peer.read_head()
    peer.drip(chain((bytes([each]) for each in b"HTTP/1.1 200 OK"), repeat(b" ")))


def _drips_headers(peer: Any) -> None:
    peer.read_head()
    peer.drip(chain([b"HTTP/1.1 200 OK\r\nX: "], repeat(b"x")))


def _drips_100_continue(peer: Any) -> None:
    peer.read_head()
    peer.drip(repeat(b"HTTP/1.1 100 Continue\r\n\r\n"))


def _drips_body(peer: Any) -> None:
    peer.read_head()
    peer.drip(chain([b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"], repeat(b"x")))


def _drips_body_without_length(peer: Any) -> None:
    peer.read_head()
    peer.drip(chain([b"HTTP/1.1 200 OK\r\n\r\n"], repeat(b"x")))


def _drips_chunk_size(peer: Any) -> None:
    peer.read_head()
    peer.drip(chain([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"], repeat(b"0")))


def _drips_chunks(peer: Any) -> None:
    peer.read_head()
    peer.drip(chain([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"], repeat(b"1\r\nx\r\n")))


def _drips_trailers(peer: Any) -> None:
    peer.read_head()
    peer.drip(chain([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"], repeat(b"X: y\r\n")))


def _drips_error_body(peer: Any) -> None:
    peer.read_head()
    peer.drip(chain([b"HTTP/1.1 400 Bad Request\r\nContent-Length: 1000\r\n\r\n"], repeat(b" ")))


def _redirects_to_itself_slowly(peer: Any) -> None:
    while peer.read_head():
        peer.stopping.wait(0.15)
        peer.send(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")


SLOW = [
    _silent,
    _never_reads,
    _drips_status,
    _drips_headers,
    _drips_100_continue,
    _drips_body,
    _drips_body_without_length,
    _drips_chunk_size,
    _drips_chunks,
    _drips_trailers,
    _drips_error_body,
    _redirects_to_itself_slowly,
]


@pytest.mark.parametrize("handler", SLOW, ids=lambda handler: handler.__name__.strip("_"))
def test_slow_server_is_left_in_time(
    handler: Any, serve: Any, did: str, cid: str, elapsed: Any, left_behind: Any
) -> None:
    server = serve(handler)
    with PDSFetcher(timeout_seconds=ASKED, allow_private_networks=True) as fetcher:
        start = elapsed()
        with pytest.raises(PDSTimeoutError) as caught:
            fetcher.fetch(server.url(), did, cid)
        took = elapsed() - start
    assert ASKED * 0.9 < took < LATEST
    assert caught.value.timeout == ASKED
    assert (caught.value.did, caught.value.cid, caught.value.pds_url) == (did, cid, server.url())
    server.close()
    del caught
    _, threads = left_behind()
    assert threads == []


@pytest.mark.parametrize("handler", [_silent, _drips_headers, _drips_body, _drips_body_without_length])
def test_slow_server_behind_tls_is_left_in_time(
    handler: Any, serve: Any, trusted: Any, did: str, cid: str, elapsed: Any
) -> None:
    server = serve(handler, trusted("127.0.0.1"))
    with PDSFetcher(timeout_seconds=ASKED, allow_private_networks=True) as fetcher:
        start = elapsed()
        with pytest.raises(PDSTimeoutError):
            fetcher.fetch(server.url(), did, cid)
        assert elapsed() - start < LATEST


def _says_nothing(peer: Any) -> None:
    peer.wait_for_hang_up()


def _drips_a_tls_record(peer: Any) -> None:
    # The head of a record of 16 KB, of which the rest comes byte by byte.
    peer.drip(chain([b"\x16\x03\x03\x40\x00"], repeat(b"\x02")))


@pytest.mark.parametrize("handler", [_says_nothing, _drips_a_tls_record])
def test_slow_handshake_is_left_in_time(handler: Any, serve: Any, did: str, cid: str, elapsed: Any) -> None:
    server = serve(handler)
    with PDSFetcher(timeout_seconds=ASKED, allow_private_networks=True) as fetcher:
        start = elapsed()
        with pytest.raises(PDSTimeoutError):
            fetcher.fetch(f"https://127.0.0.1:{server.port}", did, cid)
        assert elapsed() - start < LATEST


def test_connection_that_is_not_accepted_is_left_in_time(did: str, cid: str, elapsed: Any) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = []
        for _ in range(8):  # fills the queue of the listener, which then answers no more
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            waiting.append(sock)
        with PDSFetcher(timeout_seconds=ASKED, allow_private_networks=True) as fetcher:
            start = elapsed()
            with pytest.raises(PDSTimeoutError):
                fetcher.fetch(f"http://127.0.0.1:{listener.getsockname()[1]}", did, cid)
            assert elapsed() - start < LATEST
        for sock in waiting:
            sock.close()


def test_lookup_that_hangs_is_left_in_time(did: str, cid: str, elapsed: Any) -> None:
    hanging = threading.Event()

    def getaddrinfo(*_: Any) -> list[Any]:
        hanging.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    with PDSFetcher(timeout_seconds=ASKED) as fetcher:
        fetcher._client = GuardedClient(getaddrinfo=getaddrinfo)
        start = elapsed()
        with pytest.raises(PDSTimeoutError, match="looking up"):
            fetcher.fetch("https://pds.example.com", did, cid)
        assert elapsed() - start < LATEST
        hanging.set()


def test_lookups_that_hang_are_bounded(monkeypatch: Any, did: str, cid: str) -> None:
    monkeypatch.setattr("imageproxy._guard._MAX_LOOKUPS", 1)
    hanging = threading.Event()

    def getaddrinfo(*_: Any) -> list[Any]:
        hanging.wait()
        return []

    with PDSFetcher(timeout_seconds=0.1) as fetcher:
        fetcher._client = GuardedClient(getaddrinfo=getaddrinfo)
        with pytest.raises(PDSTimeoutError, match="looking up"):
            fetcher.fetch("https://pds.example.com", did, cid)
        with pytest.raises(PDSTimeoutError, match="too many lookups hang"):
            fetcher.fetch("https://pds.example.com", did, cid)
        hanging.set()


def test_address_that_does_not_answer_leaves_time_for_the_next(
    serve_bytes: Any, answer: Any, did: str, cid: str, blob: bytes
) -> None:
    server = serve_bytes(answer(blob))
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        waiting = [socket.socket() for _ in range(8)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(deaf.getsockname())

        def getaddrinfo(*_: Any) -> list[Any]:
            ports = (deaf.getsockname()[1], server.port)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

        with PDSFetcher(timeout_seconds=2, allow_private_networks=True) as fetcher:
            fetcher._client = GuardedClient(allow_private_networks=True, getaddrinfo=getaddrinfo)
            assert fetcher.fetch("http://pds.test", did, cid) == blob
            fetcher._client.close()
        for sock in waiting:
            sock.close()


@pytest.mark.parametrize("timeout", [0, -1, 0.3])
def test_caller_may_shorten_the_time(
    timeout: float, serve: Any, open_fetcher: Any, did: str, cid: str, elapsed: Any
) -> None:
    server = serve(_silent)
    fetcher = open_fetcher(timeout_seconds=60)
    start = elapsed()
    with pytest.raises(PDSTimeoutError) as caught:
        fetcher.fetch(server.url(), did, cid, timeout=timeout)
    assert elapsed() - start < LATEST
    assert caught.value.timeout == timeout


@pytest.mark.parametrize("timeout", [60, float("inf"), float("nan")])
def test_caller_cannot_extend_the_time(timeout: float, serve: Any, open_fetcher: Any, did: str, cid: str) -> None:
    server = serve(_silent)
    with pytest.raises(PDSTimeoutError) as caught:
        open_fetcher(timeout_seconds=ASKED).fetch(server.url(), did, cid, timeout=timeout)
    assert caught.value.timeout == ASKED


def test_kept_alive_connection_is_watched_under_the_new_deadline(
    serve: Any, answer: Any, open_fetcher: Any, did: str, cid: str, blob: bytes, elapsed: Any
) -> None:
    def handler(peer: Any) -> None:
        peer.read_head()
        peer.send(answer(blob))
        peer.read_head()
        peer.drip(repeat(b"H"))

    server = serve(handler)
    fetcher = open_fetcher()
    assert fetcher.fetch(server.url(), did, cid) == blob
    start = elapsed()
    with pytest.raises(PDSTimeoutError):
        fetcher.fetch(server.url(), did, cid, timeout=ASKED)
    assert elapsed() - start < LATEST
    assert server.connections == 1


def test_end_that_the_watchdog_made_is_no_end_of_a_body(serve: Any, did: str, cid: str, monkeypatch: Any) -> None:
    """Without a length the end of the connection is the end of the body; not when we made it."""
    server = serve(_drips_body_without_length)
    monkeypatch.setattr("imageproxy.identifiers.Cid.verify", lambda *_: True)
    with (
        PDSFetcher(timeout_seconds=ASKED, allow_private_networks=True) as fetcher,
        pytest.raises(PDSTimeoutError),
    ):
        fetcher.fetch(server.url(), did, cid)


def test_many_requests_share_one_thread_and_leave_none(serve: Any, did: str, cid: str, left_behind: Any) -> None:
    server = serve(_silent)
    fetcher = PDSFetcher(timeout_seconds=ASKED, allow_private_networks=True)
    seen: list[list[str]] = []
    failed: list[BaseException] = []

    def fetch() -> None:
        try:
            fetcher.fetch(server.url(), did, cid)
        except PDSTimeoutError as error:
            failed.append(error)
            seen.append(left_behind()[1])

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == 6
    # At most: where the machine stood still for some seconds, it has had nothing to do for so long that it is gone.
    assert max(names.count("imageproxy-deadlines") for names in seen) == 1, seen
    failed.clear()
    fetcher.close()
    server.close()
    extra, names = left_behind()
    assert names == []
    assert extra <= 0


def test_fetcher_leaves_no_socket_when_closed(
    serve_bytes: Any, answer: Any, did: str, cid: str, blob: bytes, left_behind: Any
) -> None:
    server = serve_bytes(answer(blob))
    with PDSFetcher(allow_private_networks=True) as fetcher:
        for _ in range(3):
            assert fetcher.fetch(server.url(), did, cid) == blob
    server.close()
    assert left_behind() == (0, [])


class TestWatchdog:
    def test_thread_ends_when_there_is_nothing_to_watch(self) -> None:
        watchdog = Watchdog(linger_seconds=0.01)
        with watchdog.deadline(60):
            thread = watchdog._thread
            assert thread is not None
            assert thread.daemon
        # Its next look is when that deadline would have been; a shorter one has it look again.
        with watchdog.deadline(0.01):
            pass
        thread.join(10)
        assert not thread.is_alive()

    def test_new_thread_takes_over(self) -> None:
        watchdog = Watchdog(linger_seconds=0.01)
        with watchdog.deadline(0.01):
            first = watchdog._thread
        assert first is not None
        first.join(10)
        left, right = socket.socketpair()
        with left, right, watchdog.deadline(0.05) as deadline:
            deadline.hold(left)
            assert right.recv(1) == b""
        watchdog.close()

    def test_closing_ends_what_is_watched_and_the_thread(self) -> None:
        watchdog = Watchdog()
        left, right = socket.socketpair()
        with left, right, watchdog.deadline(60) as deadline:
            deadline.hold(left)
            thread = watchdog._thread
            watchdog.close()
            assert right.recv(1) == b""
            assert deadline.is_over
            assert deadline.was_closed
            assert thread is not None
            assert not thread.is_alive()
        watchdog.close()

    def test_deadline_made_after_closing_is_over_and_starts_no_thread(self) -> None:
        watchdog = Watchdog()
        watchdog.close()
        with watchdog.deadline(60) as deadline:
            assert deadline.was_closed
            assert watchdog._thread is None

    def test_shorter_deadline_is_not_held_up_by_a_longer_one(self, elapsed: Any) -> None:
        watchdog = Watchdog()
        left, right = socket.socketpair()
        with left, right, watchdog.deadline(60), watchdog.deadline(0.1) as deadline:
            deadline.hold(left)
            start = elapsed()
            assert right.recv(1) == b""
            assert elapsed() - start < 2
        watchdog.close()

    def test_socket_that_comes_too_late_is_shut_down_at_once(self) -> None:
        left, right = socket.socketpair()
        deadline = Deadline(0)
        with left, right:
            deadline.hold(left)
            assert right.recv(1) == b""
        deadline.release()

    def test_only_the_last_socket_is_held(self, left_behind: Any) -> None:
        deadline = Deadline(60)
        first, second = socket.socketpair()
        with first, second:
            deadline.hold(first)
            deadline.hold(second)
            deadline.shut_down()
            assert first.recv(1) == b""
        deadline.release()
        deadline.release()
        assert left_behind()[0] == 0

    def test_wait_ends_with_the_event_the_seconds_or_the_time(self) -> None:
        deadline = Deadline(60)
        happened = threading.Event()
        happened.set()
        deadline.wait(happened)
        deadline.wait(threading.Event(), 0.01)
        deadline.pause(0.01)
        Deadline(0.01).wait(threading.Event())
        Deadline(0).pause(60)
        assert not deadline.is_over

    def test_closing_wakes_what_waits(self, run: Any, until: Any) -> None:
        deadline = Deadline(60)
        waiting = run(lambda: deadline.pause(60))
        until(lambda: deadline._awaited is not None)
        deadline.close()
        waiting.outcome()
        deadline.pause(60)

    def test_released_socket_stays_open(self) -> None:
        deadline = Deadline(60)
        left, right = socket.socketpair()
        with left, right:
            deadline.hold(left)
            deadline.release()
            deadline.shut_down()
            right.send(b"x")
            assert left.recv(1) == b"x"

    def test_socket_that_is_closed_already_does_no_harm(self) -> None:
        deadline = Deadline(60)
        left, right = socket.socketpair()
        deadline.hold(left)
        left.shutdown(socket.SHUT_RDWR)
        left.close()
        right.close()
        deadline.shut_down()
        deadline.release()

    def test_deadline_of_years_does_not_overflow(self) -> None:
        watchdog = Watchdog()
        with watchdog.deadline(1e12) as deadline:
            assert 0 < deadline.remaining() <= 86_400
        watchdog.close()


def test_thread_that_cannot_be_started_is_an_error_of_ours(
    open_fetcher: Any, monkeypatch: Any, did: str, cid: str
) -> None:
    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    with pytest.raises(Exception, match="no thread can be started") as caught:
        open_fetcher().fetch("http://127.0.0.1:9", did, cid)
    assert type(caught.value).__name__ == "PDSFetchError"
