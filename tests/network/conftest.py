"""Servers on loopback that say exactly what a test has them say, byte for byte."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import trustme

from imageproxy.fetchers import PDSFetcher
from imageproxy.identifiers import compute_cid

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"


@dataclass
class Peer:
    """One connection, from the server's side."""

    sock: socket.socket
    stopping: threading.Event
    heads: list[bytes]

    def read_head(self) -> bytes:
        """The head of the next request, or ``b""`` when there is none."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            got = self.sock.recv(65536)
            if not got:
                return b""
            head += got
        self.heads.append(head)
        return head

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, pieces: Iterator[bytes]) -> None:
        """Send a piece now and then, until the other side hangs up."""
        for piece in pieces:
            self.sock.sendall(piece)
            if self.stopping.wait(0.02):
                return

    def flood(self, piece: bytes) -> None:
        """Send the piece as fast as it is taken, until the other side hangs up."""
        while not self.stopping.is_set():
            self.sock.sendall(piece)

    def wait_for_hang_up(self) -> None:
        """Say nothing more."""
        while self.sock.recv(65536):
            pass


Handler = Callable[[Peer], None]


@dataclass
class Server:
    """Accepts connections and hands each to the handler, on a thread of its own."""

    handler: Handler
    context: ssl.SSLContext | None = None
    scheme: str = "http"
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self.stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.scheme = "https" if self.context else "http"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def url(self, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self.stopping.is_set():
                sock.close()
                return
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(sock.close)
            if self.context is not None:
                sock = stack.enter_context(self.context.wrap_socket(sock, server_side=True))
                self._open.append(sock)
            self.handler(Peer(sock, self.stopping, self.heads))

    def close(self) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):  # wakes accept()
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """``serve(handler)`` starts a server; ``serve(handler, context)`` one that speaks TLS."""
    with contextlib.ExitStack() as stack:

        def start(handler: Handler, context: ssl.SSLContext | None = None) -> Server:
            server = Server(handler, context)
            stack.callback(server.close)
            return server

        yield start


def answer(body: bytes = b"", status: str = "200 OK", headers: tuple[str, ...] = (), *, length: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@pytest.fixture(name="answer")
def answer_fixture() -> Callable[..., bytes]:
    """``answer(body, status="200 OK", headers=("Name: value",), length=True)``: the bytes of a whole answer."""
    return answer


@pytest.fixture
def serve_bytes(serve: Callable[..., Server]) -> Callable[..., Server]:
    """``serve_bytes(reply)`` answers every request with these bytes and keeps the connection open."""

    def start(reply: bytes, context: ssl.SSLContext | None = None, *, hang_up: bool = False) -> Server:
        def handler(peer: Peer) -> None:
            while peer.read_head():
                peer.send(reply)
                if hang_up:
                    return

        return serve(handler, context)

    return start


@pytest.fixture
def open_fetcher() -> Iterator[Callable[..., PDSFetcher]]:
    """``open_fetcher(**options)``: a fetcher for loopback that asks again without a wait, closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(**options: object) -> PDSFetcher:
            defaults: dict[str, object] = {"allow_private_networks": True, "timeout_seconds": 5.0}
            fetcher = stack.enter_context(PDSFetcher(**{**defaults, **options}))  # type: ignore[arg-type]
            fetcher._random = lambda: 0.0
            return fetcher

        yield make


@pytest.fixture
def open_named_fetcher(open_fetcher: Callable[..., PDSFetcher]) -> Callable[..., PDSFetcher]:
    """Like ``open_fetcher``, for a machine on which every name has the address 127.0.0.1."""

    def getaddrinfo(_: str, port: int, *__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    def make(**options: object) -> PDSFetcher:
        fetcher = open_fetcher(**options)
        fetcher._client._dialer._getaddrinfo = getaddrinfo
        return fetcher

    return make


@pytest.fixture
def did() -> str:
    return DID


@pytest.fixture
def blob() -> bytes:
    return bytes(range(256)) * 300


@pytest.fixture
def cid(blob: bytes) -> str:
    return compute_cid(blob)


@pytest.fixture(autouse=True)
def _usual_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No CA bundle of the machine that runs the tests."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ssl.SSLContext]]:
    """``trusted(host)``: the server side of a certificate for ``host``, which REQUESTS_CA_BUNDLE vouches for."""
    with authority.cert_pem.tempfile() as bundle:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)

        def make(host: str) -> ssl.SSLContext:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(host).configure_cert(context)
            return context

        yield make


def _open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - a path object would open one more


@pytest.fixture
def left_behind() -> Callable[[], tuple[int, list[str]]]:
    """``left_behind()``: how many descriptors more than at the start are open, and which threads of ours run."""
    before, running = _open_descriptors(), set(threading.enumerate())

    def count() -> tuple[int, list[str]]:
        for each in threading.enumerate():
            if each.name == "imageproxy-lookup" and each.is_alive():  # has answered, and may need a moment to end
                each.join(5)
        begun = set(threading.enumerate()) - running
        ours = [each.name for each in begun if each.name.startswith("imageproxy-")]
        return _open_descriptors() - before, ours

    return count


@pytest.fixture
def elapsed() -> Callable[[], float]:
    """Seconds since the fixture was made."""
    started = time.monotonic()
    return lambda: time.monotonic() - started


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """``until(condition)`` returns when it is true, and fails where that takes too long."""

    def wait(condition: Callable[[], object]) -> None:
        gives_up_at = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < gives_up_at
            threading.Event().wait(0.002)

    return wait


@pytest.fixture
def run() -> Iterator[Callable[[Callable[[], object]], Run]]:
    """``run(work)`` does the work on a thread, which the test waits for at its end."""
    runs: list[Run] = []

    def start(work: Callable[[], object]) -> Run:
        runs.append(Run(work))
        return runs[-1]

    yield start
    for each in runs:
        each.thread.join(20)
        assert not each.thread.is_alive()


class Run:
    """Work on a thread of its own: what it returned, or what it failed with."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.returned: object = None
        self.failed: BaseException | None = None
        self._work = work
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.returned = self._work()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.failed = error

    def outcome(self) -> object:
        """What it failed with, or else returned, once it has ended."""
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.failed or self.returned


@pytest.fixture
def peak_bytes() -> Iterator[Callable[[], int]]:
    """``peak_bytes()``: how much more memory than at the start was in use, at most."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    yield lambda: tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
