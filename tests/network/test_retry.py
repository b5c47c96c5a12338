"""What is asked for again, how often, and after which wait."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from imageproxy._guard import NetworkClosed, NetworkError, NetworkTimeout
from imageproxy._retry import next_wait, read_retry_after
from imageproxy.errors import (
    CIDMismatchError,
    ImageTooLargeError,
    PDSFetchError,
    PDSNotFoundError,
    PDSTimeoutError,
    UnsafeURLError,
    UnsupportedFormatError,
)
from imageproxy.fetchers import PDSFetcher


def _because(cause: BaseException, kind: type[NetworkError] = NetworkError) -> NetworkError:
    error = kind("broken")
    error.__cause__ = cause
    return error


def _aborted(cause: Exception) -> NetworkError:
    """As urllib3 wraps what fails before there is an answer."""
    return _because(urllib3.exceptions.ProtocolError("Connection aborted.", cause))


PASSING = [
    *(PDSFetchError("", status=status) for status in (429, 502, 503, 504)),
    _aborted(ConnectionRefusedError()),
    _aborted(ConnectionResetError()),
    _aborted(BrokenPipeError()),
    _aborted(http.client.RemoteDisconnected("hung up")),
    _aborted(socket.gaierror(socket.EAI_AGAIN, "try again")),
    _aborted(OSError(errno.EHOSTUNREACH, "no route")),
    _aborted(OSError(errno.ENETUNREACH, "no network")),
    _aborted(TimeoutError(errno.ETIMEDOUT, "by the system")),
    _because(urllib3.exceptions.SSLError(ssl.SSLEOFError(8, "unexpected eof"))),
    _because(urllib3.exceptions.SSLError(ssl.SSLZeroReturnError(6, "closed"))),
    _because(urllib3.exceptions.ProtocolError("broken", http.client.IncompleteRead(b"x", 5))),
    _because(urllib3.exceptions.ProtocolError("broken", urllib3.exceptions.IncompleteRead(1, 5))),
]
LASTING = [
    *(PDSFetchError("", status=status) for status in (None, 200, 206, 302, 400, 401, 403, 404, 410, 500, 501, 505)),
    PDSNotFoundError("", status=503),
    UnsafeURLError(""),
    CIDMismatchError(""),
    NetworkError("no cause"),
    NetworkTimeout("too long"),
    NetworkClosed("closed"),
    _because(urllib3.exceptions.ReadTimeoutError(None, "", ""), NetworkTimeout),  # type: ignore[arg-type]
    _aborted(socket.gaierror(socket.EAI_NONAME, "no such name")),
    _aborted(http.client.BadStatusLine("x")),
    _aborted(http.client.HTTPException("too many headers")),
    _aborted(OSError("no address")),
    _aborted(OSError(errno.EMFILE, "too many files")),
    _because(urllib3.exceptions.SSLError(ssl.SSLCertVerificationError(1, "certificate"))),
    _because(urllib3.exceptions.SSLError(ssl.SSLError(1, "wrong version"))),
    _because(urllib3.exceptions.LocationParseError("x")),
    _because(ValueError("bad header")),
    _because(RuntimeError("no thread")),
]


def _name(error: Exception) -> str:
    return f"{type(error).__name__}-{getattr(error, 'status', None) or error.__cause__!r}"


class TestDecision:
    @pytest.mark.parametrize("error", PASSING, ids=_name)
    def test_what_may_pass_is_asked_for_again_twice(self, error: Exception) -> None:
        waits = [next_wait(error, attempt, 30.0, lambda: 1.0) for attempt in range(4)]
        assert waits == [0.5, 1.0, None, None]

    @pytest.mark.parametrize("error", LASTING, ids=_name)
    def test_what_stays_is_not_asked_for_again(self, error: Exception) -> None:
        assert next_wait(error, 0, 30.0, lambda: 0.5) is None

    @pytest.mark.parametrize(("left", "expected"), [(0.51, 0.5), (0.5, None), (0.0, None), (-1.0, None)])
    def test_wait_beyond_the_deadline_is_not_begun(self, left: float, expected: float | None) -> None:
        assert next_wait(PDSFetchError("", status=503), 0, left, lambda: 1.0) == expected

    def test_whole_wait_is_random(self) -> None:
        assert next_wait(PDSFetchError("", status=503), 1, 30.0, lambda: 0.0) == 0.0
        assert next_wait(PDSFetchError("", status=503), 1, 30.0, lambda: 0.25) == 0.25

    @pytest.mark.parametrize(
        ("retry_after", "expected"), [(0.0, 0.5), (0.1, 0.5), (7.0, 7.0), (29.0, 29.0), (30.0, None), (1e9, None)]
    )
    def test_server_that_says_when_is_not_asked_before(self, retry_after: float, expected: float | None) -> None:
        error = PDSFetchError("", status=429, retry_after=retry_after)
        assert next_wait(error, 0, 30.0, lambda: 1.0) == expected


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("0", 0.0),
            ("7", 7.0),
            (" 120 ", 120.0),
            ("999999999", 999999999.0),
            (formatdate(1_000_030, usegmt=True), 30.0),
            ("Mon, 12 Jan 1970 13:47:10 GMT", 30.0),
            ("Mon, 12 Jan 1970 13:47:10 -0000", 30.0),
            ("Monday, 12-Jan-70 13:47:10 GMT", 30.0),
            ("Mon Jan 12 13:47:10 1970", 30.0),
            (formatdate(999_000, usegmt=True), 0.0),
            *((value, None) for value in (None, "", "-1", "1.5", "soon", "\u0667", "9" * 5000, "Mon, 99 Jan 1970 x")),
            ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        ],
    )
    def test_number_or_date_is_read(self, value: str | None, expected: float | None) -> None:
        assert read_retry_after(value, 1_000_000.0) == expected

    @given(st.text())
    def test_any_text_is_read_without_a_failure(self, value: str) -> None:
        read_retry_after(value, 1_000_000.0)


@pytest.fixture
def fetcher() -> Iterator[PDSFetcher]:
    """Notes its waits instead of waiting."""
    with PDSFetcher(allow_private_networks=True, timeout_seconds=20) as fetcher:
        waits: list[float] = []
        fetcher._random = lambda: 0.5
        fetcher._pause = lambda _, seconds: waits.append(seconds)
        fetcher.waits = waits  # type: ignore[attr-defined]
        yield fetcher


class TestFetcher:
    def _script(self, *replies: bytes | None) -> Any:
        """A server that says one after the other, and hangs up after ``None`` and after what is cut short."""
        left = list(replies)

        def handler(peer: Any) -> None:
            while left and peer.read_head():
                reply = left.pop(0)
                if reply is None:
                    return
                peer.send(reply)
                if reply.endswith(b"cut"):
                    return

        return handler

    @pytest.mark.parametrize("status", ["429 Too Many", "502 Bad Gateway", "503 Unavailable", "504 Timeout"])
    def test_server_that_recovers_gives_the_blob(
        self, status: str, serve: Any, answer: Any, fetcher: Any, did: str, cid: str, blob: bytes
    ) -> None:
        server = serve(self._script(answer(b"sorry", status), answer(b"sorry", status), answer(blob)))
        assert fetcher.fetch(server.url(), did, cid) == blob
        assert fetcher.waits == [0.25, 0.5]
        assert server.connections == 1

    @pytest.mark.parametrize(
        "broken",
        [
            None,
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\ncut",
        ],
    )
    def test_connection_that_breaks_is_opened_again(
        self, broken: bytes | None, serve: Any, answer: Any, fetcher: Any, did: str, cid: str, blob: bytes
    ) -> None:
        server = serve(self._script(broken, broken, answer(blob)))
        assert fetcher.fetch(server.url(), did, cid) == blob
        assert len(fetcher.waits) == 2
        assert server.connections == 3

    def test_kept_alive_connection_that_died_is_opened_again(
        self, serve: Any, answer: Any, fetcher: Any, did: str, cid: str, blob: bytes
    ) -> None:
        server = serve(self._script(answer(blob), None, answer(blob)))
        for _ in range(2):
            assert fetcher.fetch(server.url(), did, cid) == blob
        assert len(fetcher.waits) == 1
        assert server.connections == 2

    def test_handshake_that_is_reset_is_begun_again(
        self, serve: Any, answer: Any, trusted: Any, fetcher: Any, did: str, cid: str, blob: bytes
    ) -> None:
        context = trusted("127.0.0.1")
        refused: list[bool] = []

        def handler(peer: Any) -> None:
            if len(refused) < 2:
                refused.append(True)
                peer.sock.recv(10)  # closing with bytes unread resets
                return
            with context.wrap_socket(peer.sock, server_side=True) as sock:
                sock.recv(65536)
                sock.sendall(answer(blob))

        server = serve(handler)
        assert fetcher.fetch(f"https://127.0.0.1:{server.port}", did, cid) == blob
        assert len(fetcher.waits) == 2

    @pytest.mark.parametrize(("number", "asked"), [(socket.EAI_AGAIN, 3), (socket.EAI_NONAME, 1)])
    def test_only_a_temporary_failure_of_names_is_asked_for_again(
        self, number: int, asked: int, fetcher: Any, did: str, cid: str
    ) -> None:
        names: list[str] = []

        def getaddrinfo(host: str, *_: Any) -> list[Any]:
            names.append(host)
            raise socket.gaierror(number, "not now")

        fetcher._client._dialer._getaddrinfo = getaddrinfo
        with pytest.raises(PDSFetchError, match="not now"):
            fetcher.fetch("http://pds.test", did, cid)
        assert names == ["pds.test"] * asked

    def test_refused_connection_is_tried_three_times(self, fetcher: Any, did: str, cid: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        with pytest.raises(PDSFetchError, match="refused"):
            fetcher.fetch(f"http://127.0.0.1:{port}", did, cid)
        assert fetcher.waits == [0.25, 0.5]

    def test_last_failure_is_told(self, serve_bytes: Any, answer: Any, fetcher: Any, did: str, cid: str) -> None:
        server = serve_bytes(answer(b"", "503 Unavailable"))
        with pytest.raises(PDSFetchError) as caught:
            fetcher.fetch(server.url(), did, cid)
        assert (caught.value.status, caught.value.retry_after) == (503, None)
        assert len(server.heads) == 3

    @pytest.mark.parametrize("value", ["5", lambda: formatdate(time.time() + 6, usegmt=True)])
    def test_wait_that_the_server_asks_for_is_kept(
        self, value: Any, serve: Any, answer: Any, fetcher: Any, did: str, cid: str, blob: bytes
    ) -> None:
        said = value if isinstance(value, str) else value()
        server = serve(self._script(answer(b"", "429 Too Many", (f"Retry-After: {said}",)), answer(blob)))
        assert fetcher.fetch(server.url(), did, cid) == blob
        (waited,) = fetcher.waits
        assert 4.5 < waited <= 6

    def test_wait_beyond_the_deadline_is_told_instead(
        self, serve_bytes: Any, answer: Any, fetcher: Any, did: str, cid: str
    ) -> None:
        server = serve_bytes(answer(b"", "429 Too Many", ("Retry-After: 3600",)))
        with pytest.raises(PDSFetchError) as caught:
            fetcher.fetch(server.url(), did, cid)
        assert (caught.value.status, caught.value.retry_after) == (429, 3600.0)
        assert fetcher.waits == []
        assert len(server.heads) == 1

    def test_time_of_all_attempts_is_one(self, serve: Any, answer: Any, did: str, cid: str) -> None:
        """The second attempt gets what the first has left."""

        def handler(peer: Any) -> None:
            peer.read_head()
            peer.send(answer(b"", "503 Unavailable"))
            peer.read_head()
            peer.wait_for_hang_up()

        server = serve(handler)
        with PDSFetcher(allow_private_networks=True, timeout_seconds=0.4) as fetcher:
            fetcher._random = lambda: 0.2
            with pytest.raises(PDSTimeoutError):
                fetcher.fetch(server.url(), did, cid)
        assert len(server.heads) == 2

    @pytest.mark.parametrize(
        ("reply", "kind"),
        [
            (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", PDSFetchError),
            (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n", PDSNotFoundError),
            (b"HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n", PDSFetchError),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother", CIDMismatchError),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", ImageTooLargeError),
            (b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n\r\n", UnsupportedFormatError),
            (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n", UnsafeURLError),
            (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", PDSFetchError),
            (b"nonsense\r\n\r\n", PDSFetchError),
        ],
    )
    def test_answer_that_would_stay_the_same_is_asked_for_once(
        self, reply: bytes, kind: type[Exception], serve_bytes: Any, fetcher: Any, did: str, cid: str
    ) -> None:
        server = serve_bytes(reply)
        with pytest.raises(kind):
            fetcher.fetch(server.url(), did, cid)
        assert fetcher.waits == []
        assert len(server.heads) == 1

    def test_certificate_that_is_refused_is_asked_for_once(
        self, serve_bytes: Any, answer: Any, trusted: Any, fetcher: Any, did: str, cid: str
    ) -> None:
        server = serve_bytes(answer(b""), trusted("other.test"))
        with pytest.raises(PDSFetchError, match="certificate"):
            fetcher.fetch(server.url(), did, cid)
        assert fetcher.waits == []
        assert server.connections == 1
