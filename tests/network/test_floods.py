"""Whatever a server pours out, memory stays bounded, and so does the time."""

from __future__ import annotations

import resource
import sys
from itertools import chain, repeat
from typing import Any

import pytest

from imageproxy._guard import _MAX_HEAD_BYTES
from imageproxy.errors import ImageProxyError, PDSFetchError, PDSTimeoutError

MEGABYTE = 1024**2
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _pours(*begin: bytes, then: bytes) -> Any:
    def handler(peer: Any) -> None:
        while peer.read_head():
            peer.send(b"".join(begin))
            peer.flood(then)

    return handler


FLOODS = {
    "long_headers": _pours(b"HTTP/1.1 200 OK\r\n", then=b"X: " + b"x" * 60_000 + b"\r\n"),
    "short_headers": _pours(b"HTTP/1.1 200 OK\r\n", then=b"X: y\r\n" * 1000),
    "header_without_end": _pours(b"HTTP/1.1 200 OK\r\nX: ", then=b"x" * 60_000),
    "status_without_end": _pours(b"HTTP/1.1 ", then=b"x" * 60_000),
    "100_continue": _pours(then=b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "100_continue_with_headers": _pours(then=b"HTTP/1.1 100 Continue\r\n" + b"X: y\r\n" * 90 + b"\r\n"),
    "body": _pours(b"HTTP/1.1 200 OK\r\n\r\n", then=b"x" * 60_000),
    "error_body": _pours(b"HTTP/1.1 400 Bad Request\r\n\r\n", then=b"[" * 60_000),
    "redirect_body": _pours(b"HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n", then=b"x" * 60_000),
    "one_huge_chunk": _pours(CHUNKED, b"fffffffffff\r\n", then=b"x" * 60_000),
    "tiny_chunks": _pours(CHUNKED, then=b"1\r\nx\r\n" * 1000),
    "chunk_extensions": _pours(CHUNKED, then=b"1;" + b"x" * 60_000 + b"\r\nx\r\n"),
    "chunk_extension_without_end": _pours(CHUNKED, b"1;", then=b"x" * 60_000),
    "trailers": _pours(CHUNKED, b"1\r\nx\r\n0\r\n", then=b"X: " + b"y" * 1000 + b"\r\n"),
    "trailer_without_end": _pours(CHUNKED, b"0\r\nX: ", then=b"x" * 60_000),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_memory_is_bounded(
    flood: str, serve: Any, open_fetcher: Any, did: str, cid: str, elapsed: Any, peak_bytes: Any
) -> None:
    server, fetcher = serve(FLOODS[flood]), open_fetcher(timeout_seconds=0.5, max_bytes=MEGABYTE)
    start = elapsed()
    with pytest.raises(ImageProxyError):
        fetcher.fetch(server.url(), did, cid)
    assert elapsed() - start < 2.5
    assert peak_bytes() < 4 * MEGABYTE


@pytest.mark.parametrize("extra", [0, 1])
def test_limit_of_the_head_is_exact(
    extra: int, serve_bytes: Any, open_fetcher: Any, did: str, cid: str, blob: bytes
) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(blob)}\r\nX: ".encode()
    filler = b"x" * (_MAX_HEAD_BYTES + extra - len(head) - 4)
    server = serve_bytes(head + filler + b"\r\n\r\n" + blob)
    if extra:
        with pytest.raises(PDSFetchError, match="head of the answer"):
            open_fetcher().fetch(server.url(), did, cid)
        assert server.connections == 1
    else:
        assert open_fetcher().fetch(server.url(), did, cid) == blob


def test_flood_of_tls_tickets_is_left_in_time(
    serve: Any, trusted: Any, open_fetcher: Any, did: str, cid: str, elapsed: Any
) -> None:
    """Messages after the handshake are read below the reach of any timeout of a socket."""
    context = trusted("127.0.0.1")
    context.num_tickets = 10_000_000
    server = serve(lambda peer: peer.wait_for_hang_up(), context)
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    start = elapsed()
    with pytest.raises(PDSTimeoutError):
        open_fetcher(timeout_seconds=0.5).fetch(server.url(), did, cid)
    assert elapsed() - start < 2.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before < 8 * MEGABYTE


def test_one_interim_answer_is_passed_over(
    serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str, blob: bytes
) -> None:
    server = serve_bytes(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" + answer(blob))
    fetcher = open_fetcher()
    for _ in range(2):
        assert fetcher.fetch(server.url(), did, cid) == blob
    assert server.connections == 1


def test_redirects_with_endless_bodies_stay_small(
    serve: Any, open_fetcher: Any, did: str, cid: str, peak_bytes: Any
) -> None:
    def handler(peer: Any) -> None:
        peer.read_head()
        peer.drip(chain([b"HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n"], repeat(b"x" * 100_000)))

    with pytest.raises(PDSFetchError, match="redirects"):
        open_fetcher().fetch(serve(handler).url(), did, cid)
    assert peak_bytes() < 2 * MEGABYTE
