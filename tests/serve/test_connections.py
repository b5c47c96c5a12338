"""Nobody keeps the server busy by being slow."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from imageproxy import Config
from imageproxy._server.connection import Limits
from imageproxy._server.run import ServeOptions, serve
from imageproxy.testing import DrawnPhoto, LocalPDS
from imageproxy.web import Options

from .conftest import Answer, At


@pytest.fixture
def serve_with(
    pds: LocalPDS, cache_path: Path, run_meanwhile: Callable[..., Any]
) -> Callable[[Limits, Callable[[At], None]], None]:
    def run(limits: Limits, scenario: Callable[[At], None]) -> None:
        config: Config = pds.service_config(cache_path=cache_path)
        with run_meanwhile(scenario):
            serve(config, Options(), ServeOptions(port=0, limits=limits))

    return run


ServeWith = Callable[[Limits, Callable[[At], None]], None]


def is_ended(connection: socket.socket) -> bool:
    """Whether the other side ends the connection, and says nothing before that."""
    try:
        return connection.recv(1000) == b""
    except ConnectionError:
        return True


def read_answer(connection: socket.socket) -> None:
    """Read that it lives."""
    answer = b""
    while not answer.endswith(b"alive\n"):
        data = connection.recv(1000)
        assert data, answer
        answer += data


def trickle(connection: socket.socket, byte: bytes, seconds: float = 10.0) -> bool:
    """Send a byte now and then; whether the connection was ended on us."""
    ends_at = time.monotonic() + seconds
    connection.settimeout(0.02)
    while time.monotonic() < ends_at:
        try:
            connection.sendall(byte)
            if connection.recv(1000) == b"":
                return True
        except TimeoutError:
            pass
        except ConnectionError:
            return True
    return False


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: a"])
def test_a_request_that_does_not_come_is_not_waited_for(serve_with: ServeWith, begun: bytes) -> None:
    def scenario(at: At) -> None:
        with at.connect() as connection:
            connection.sendall(begun)
            assert is_ended(connection)

    serve_with(Limits(request_seconds=0.2), scenario)


def test_a_request_that_comes_byte_by_byte_is_not_waited_for(serve_with: ServeWith) -> None:
    def scenario(at: At) -> None:
        with at.connect() as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
            assert trickle(connection, b"a")

    serve_with(Limits(request_seconds=0.3), scenario)


def test_a_second_request_on_a_connection_has_the_same_time(serve_with: ServeWith) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def scenario(at: At) -> None:
        with at.connect() as connection:
            for _ in range(2):
                connection.sendall(request)
                read_answer(connection)
            connection.sendall(request[:-2] + b"X-Slow: ")
            assert trickle(connection, b"a")

    serve_with(Limits(request_seconds=0.3), scenario)


def test_a_body_is_not_waited_for(serve_with: ServeWith, path: str) -> None:
    def scenario(at: At) -> None:
        for field in ("Content-Length: 1000000", "Transfer-Encoding: chunked"):
            with at.connect() as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n\r\n".encode())
                with connection.makefile("rb") as answer:
                    assert b" 200 OK" in answer.readline()
                    assert answer.read(), "up to the end of the connection"

    serve_with(Limits(), scenario)


def test_a_client_that_takes_nothing_is_given_up(serve_with: ServeWith, blob: tuple[str, str]) -> None:
    path = f"/img/content_full/plain/{blob[0]}/{blob[1]}@png"
    requests = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 8

    def scenario(at: At) -> None:
        whole = 8 * len(at.ask(path).body)
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(20)
            connection.connect(("127.0.0.1", at.port))
            connection.sendall(requests)
            assert ask_in_time(at, "/healthz").status == 200, "there is room for another one"
            received = 0
            with suppress(ConnectionError):
                while data := connection.recv(1 << 16):
                    received += len(data)
            assert received < whole

    serve_with(Limits(connections=1, send_seconds=0.3), scenario)


def ask_in_time(at: At, path: str) -> Answer:
    """Ask until there is room."""
    ends_at = time.monotonic() + 20
    while True:
        try:
            return at.ask(path)
        except ConnectionError:
            assert time.monotonic() < ends_at
            pause(0.02)


def pause(seconds: float) -> None:
    """As a slow client does."""
    select.select((), (), (), seconds)


def test_a_client_that_takes_it_slowly_gets_all_of_it(serve_with: ServeWith, blob: tuple[str, str]) -> None:
    path = f"/img/content_full/plain/{blob[0]}/{blob[1]}@png"
    requests = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 8

    def scenario(at: At) -> None:
        whole = at.ask(path).body
        with at.connect() as connection:
            connection.sendall(requests)
            received = 0
            while received < 8 * len(whole):  # with pauses, in all longer than it may take nothing at all
                data = connection.recv(1 << 16)
                assert data, "it was given up"
                received += len(data)
                pause(0.01)

    serve_with(Limits(send_seconds=1.0), scenario)


def test_there_are_so_many_connections_and_no_more(serve_with: ServeWith, path: str) -> None:
    def scenario(at: At) -> None:
        with ExitStack() as stack:
            connections = [stack.enter_context(at.connect()) for _ in range(3)]
            for connection in connections:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                read_answer(connection)
            with at.connect() as one_more:
                assert is_ended(one_more)
            connections[0].close()
            assert ask_in_time(at, path).status == 200

    serve_with(Limits(connections=3), scenario)


def test_what_is_no_http_is_refused(serve_with: ServeWith, photo: DrawnPhoto) -> None:
    def scenario(at: At) -> None:
        with at.connect() as connection:
            connection.sendall(photo.data[:1000])
            assert connection.recv(1000).startswith(b"HTTP/1.1 400")

    serve_with(Limits(), scenario)
