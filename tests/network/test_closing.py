"""Closing ends what is under way at once, wherever it waits. Nobody waits 30 seconds for a server that is stuck."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from itertools import chain, repeat
from typing import Any

import pytest

from imageproxy._deadline import Deadline
from imageproxy.errors import DIDResolutionError, PDSFetchError
from imageproxy.fetchers import PDSFetcher
from imageproxy.resolver import DIDResolver

# At once; the rest is for a loaded machine.
AT_ONCE = 2.0


@pytest.fixture
def fetcher() -> PDSFetcher:
    return PDSFetcher(allow_private_networks=True, timeout_seconds=30)


@pytest.fixture
def ends_at_once(fetcher: PDSFetcher, did: str, cid: str, run: Any, elapsed: Any, until: Any) -> Any:
    """``ends_at_once(url, under_way)``: fetches, waits until it is under way, closes, and looks at the end."""

    def check(url: str, under_way: Callable[[], object]) -> None:
        fetch = run(lambda: fetcher.fetch(url, did, cid))
        under_way()
        start = elapsed()
        fetcher.close()
        error = fetch.outcome()
        assert elapsed() - start < AT_ONCE
        assert type(error) is PDSFetchError, error
        assert "closed" in str(error)
        assert (error.did, error.cid, error.pds_url) == (did, cid, url)
        assert "imageproxy-deadlines" not in [each.name for each in threading.enumerate()]
        until(lambda: len(fetcher._client._hosts) == 0)

    return check


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"HTTP/1.1 200 OK\r\nX: "],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1"],
        [b"HTTP/1.1 200 OK\r\n\r\nx"],
        [b"HTTP/1.1 503 Unavailable\r\nContent-Length: 100\r\n\r\n{"],
        chain([b"HTTP/1.1 200 OK\r\n\r\n"], repeat(b"x")),
    ],
    ids=["silent", "in_head", "in_body", "in_chunks", "in_endless_body", "in_error", "dripping"],
)
@pytest.mark.parametrize("secure", [False, True])
def test_request_ends(pieces: Any, secure: bool, serve: Any, trusted: Any, ends_at_once: Any) -> None:
    sent = threading.Event()

    def handler(peer: Any) -> None:
        peer.read_head()
        for piece in pieces:
            peer.send(piece)
            sent.set()
            if peer.stopping.wait(0.01):
                return
        sent.set()
        peer.wait_for_hang_up()

    server = serve(handler, trusted("127.0.0.1") if secure else None)
    ends_at_once(server.url(), lambda: sent.wait(20))


def test_handshake_ends(serve: Any, ends_at_once: Any) -> None:
    begun = threading.Event()

    def handler(peer: Any) -> None:
        peer.sock.recv(1)
        begun.set()
        peer.wait_for_hang_up()

    ends_at_once(f"https://127.0.0.1:{serve(handler).port}", lambda: begun.wait(20))


def test_connecting_ends(fetcher: PDSFetcher, ends_at_once: Any, until: Any) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        waiting = [socket.socket() for _ in range(8)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(deaf.getsockname())
        watched = fetcher._client._watchdog
        ends_at_once(
            f"http://127.0.0.1:{deaf.getsockname()[1]}",
            lambda: until(lambda: any(each._held is not None for each in list(watched._watched))),
        )
        for sock in waiting:
            sock.close()


def test_waiting_for_a_lookup_ends(fetcher: PDSFetcher, ends_at_once: Any) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def getaddrinfo(*_: Any) -> list[Any]:
        asked.set()
        go_on.wait(20)
        return []

    fetcher._client._dialer._getaddrinfo = getaddrinfo
    ends_at_once("http://pds.test", lambda: asked.wait(20))
    go_on.set()


def test_waiting_for_the_turn_to_look_up_ends(
    fetcher: PDSFetcher, ends_at_once: Any, until: Any, monkeypatch: Any
) -> None:
    lookups = fetcher._client._dialer._lookups
    monkeypatch.setattr(lookups, "each", 0)
    ends_at_once("http://pds.test", lambda: until(lambda: any(line.waiting for line in lookups._lines.values())))


def test_waiting_to_ask_again_ends(
    fetcher: PDSFetcher, serve_bytes: Any, answer: Any, ends_at_once: Any, until: Any
) -> None:
    paused: list[Deadline] = []

    def pause(deadline: Deadline, seconds: float) -> None:
        paused.append(deadline)
        Deadline.pause(deadline, seconds)

    fetcher._pause = pause
    server = serve_bytes(answer(b"", "503 Unavailable", ("Retry-After: 25",)))
    ends_at_once(server.url(), lambda: until(lambda: paused and paused[0]._awaited is not None))
    assert len(server.heads) == 1


def test_waiting_for_a_busy_host_ends(
    fetcher: PDSFetcher, serve: Any, run: Any, ends_at_once: Any, until: Any, did: str, cid: str
) -> None:
    server = serve(lambda peer: (peer.read_head(), peer.wait_for_hang_up()))
    fetches = [run(lambda: fetcher.fetch(server.url(), did, cid)) for _ in range(6)]
    until(lambda: len(server.heads) == 6)
    hosts = fetcher._client._hosts
    ends_at_once(server.url(), lambda: until(lambda: any(line.waiting for line in list(hosts._lines.values()))))
    assert all("closed" in str(each.outcome()) for each in fetches)


def test_lookup_of_a_did_ends(serve: Any, run: Any, until: Any, did: str, elapsed: Any, caplog: Any) -> None:
    """Also where an old answer could have served: the directory is not down, the resolver is closed."""
    server = serve(lambda peer: (peer.read_head(), peer.wait_for_hang_up()))
    now = [0.0]
    resolver = DIDResolver(
        plc_url=server.url(), allow_private_networks=True, timeout_seconds=30, ttl_seconds=1, clock=lambda: now[0]
    )
    resolver._asking[did] = {None}
    resolver._remember(did, "http://pds.test", None)
    now[0] = 2.0
    resolve = run(lambda: resolver.resolve(did))
    until(lambda: server.heads)
    start = elapsed()
    resolver.close()
    error = resolve.outcome()
    assert elapsed() - start < AT_ONCE
    assert type(error) is DIDResolutionError
    assert "closed" in str(error)
    assert caplog.records == []
