"""The apps under the servers that people run them with: real processes, real connections."""

import http.client
import io
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from imageproxy import DEFAULT, compute_cid

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
PATH = f"/img/avatar/plain/{DID}/{compute_cid(b'blob')}"
LARGE = f"/img/avatar/plain/{DID}/{compute_cid(b'large')}"
SLOW = f"/img/avatar/plain/{DID}/bafkreislow"
MISSING = f"/img/avatar/plain/{DID}/bafkreimadeup"
VERSIONED = f"{PATH}?v={DEFAULT.get('avatar').key}"

UVICORN = ["-m", "uvicorn", "--log-level", "warning", "--no-access-log", "served:asgi", "--port", "{port}"]
GRANIAN = ["-m", "granian", "--no-ws", "--log-level", "warning", "--port", "{port}", "--interface"]
GUNICORN = ["-m", "gunicorn", "--log-level", "warning", "--threads", "8", "-b", "127.0.0.1:{port}", "served:wsgi"]
WAITRESS = ["-m", "waitress", "--threads", "8", "--listen", "127.0.0.1:{port}"]

SERVERS: dict[str, list[str]] = {
    "uvicorn": UVICORN,
    "uvicorn-h11-asyncio": [*UVICORN, "--http", "h11", "--loop", "asyncio"],
    "granian-asgi": [*GRANIAN, "asgi", "served:asgi"],
    "granian-wsgi": [*GRANIAN, "wsgi", "--blocking-threads", "8", "served:wsgi"],
    "gunicorn": GUNICORN,
    "waitress": [*WAITRESS, "served:wsgi"],
}
# Where each server is told that it is not at the root, and whether a request still has the prefix in its path then.
MOUNTED: dict[str, tuple[list[str], dict[str, str], str]] = {
    "uvicorn": ([*UVICORN, "--root-path", "/media"], {}, ""),
    "granian-asgi": ([*GRANIAN, "asgi", "--url-path-prefix", "/media", "served:asgi"], {}, "/media"),
    "granian-wsgi": ([*GRANIAN, "wsgi", "--url-path-prefix", "/media", "served:wsgi"], {}, "/media"),
    "gunicorn": (GUNICORN, {"SCRIPT_NAME": "/media"}, "/media"),
    "waitress": ([*WAITRESS, "--url-prefix", "/media", "served:wsgi"], {}, "/media"),
}


class Server(NamedTuple):
    name: str
    port: int

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            return exchange(connection, path, method, **headers)
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def waiting(self) -> int:
        return int(self.ask("/control/waiting")[2])


def exchange(
    connection: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def until(is_so: Callable[[], bool], what: str) -> None:
    """Look again and again: a process tells nobody when it gets there."""
    ends_at = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < ends_at, what
        select.select((), (), (), 0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_server(name: str, command: list[str], environ: dict[str, str], log: Path) -> Iterator[Server]:
    server = Server(name, free_port())

    def is_up() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            server.connect().close()
        except OSError:
            return False
        return True

    environ = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),
        "PYTHONWARNINGS": "error::ResourceWarning",
        **environ,
    }
    arguments = [sys.executable, *(part.format(port=server.port) for part in command)]
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, env=environ, stdout=output, stderr=output, start_new_session=True)
        try:
            until(is_up, log.read_text())
            yield server
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    written = log.read_text()
    assert "Traceback" not in written, written


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    name = request.param
    yield from run_server(name, SERVERS[name], {}, tmp_path_factory.mktemp("server") / "log")


def test_an_image_arrives_whole_with_its_header_fields(server: Server) -> None:
    for path, body in ((VERSIONED, b"avatar:blob"), (LARGE, b"avatar:" + b"large" * 500_000)):
        status, headers, data = server.ask(path)
        assert (status, data == body) == (200, True)
        assert headers["content-length"] == str(len(body))
        assert "transfer-encoding" not in headers
        assert headers["content-type"] == "image/jpeg"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["access-control-allow-origin"] == "*"
        assert headers["vary"] == "Accept"
        assert "date" in headers
    assert server.ask(VERSIONED)[1]["cache-control"] == "public, max-age=31536000, immutable"
    assert server.ask(PATH)[1]["cache-control"] == "public, max-age=86400"


def test_conditions_heads_and_negotiation_hold(server: Server) -> None:
    status, headers, _ = server.ask(PATH)
    again, its_headers, body = server.ask(PATH, If_None_Match=f'"x", W/{headers["etag"]}')
    assert (status, again, body) == (200, 304, b"")
    assert its_headers["etag"] == headers["etag"]
    assert its_headers["cache-control"] == headers["cache-control"]
    assert server.ask(PATH, If_None_Match="*")[0] == 304
    status, its_headers, body = server.ask(PATH, "HEAD")
    assert (status, body, its_headers["content-length"]) == (200, b"", "11")
    status, its_headers, body = server.ask(PATH, Accept="image/avif;q=0.5, image/webp")
    assert (its_headers["content-type"], body) == ("image/webp", b"avatar@webp:blob")
    status, its_headers, body = server.ask(PATH, "OPTIONS", Access_Control_Request_Method="GET")
    assert (status, body, its_headers["access-control-allow-headers"]) == (204, b"", "*")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        (MISSING, "GET", 404),
        (f"/img/avatar/plain/did:plc:blocked/{compute_cid(b'blob')}", "GET", 410),
        (f"{PATH}@bmp", "GET", 400),
        ("/img/nope/plain/a/b", "HEAD", 400),
        ("/img/avatar/plain/%00%0d%0aX:%20y/%ff", "GET", 400),
        ("/img/avatar/plain/../../..//etc/passwd", "GET", 404),
        ("/" + "a" * 3000, "GET", 404),
        ("/", "GET", 404),
        (PATH, "DELETE", 405),
    ],
)
def test_errors_are_short_lived_plain_text(server: Server, path: str, method: str, status: int) -> None:
    got, headers, body = server.ask(path, method)
    assert got == status
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["cache-control"] == "max-age=10"
    assert (len(body) == int(headers["content-length"])) == (method != "HEAD")
    assert "allow" in headers or status != 405
    assert "x" not in headers


@pytest.mark.parametrize("port", ["%253A", "%3A", ":"])
def test_the_port_of_a_did_web_survives(server: Server, port: str) -> None:
    status, headers, _ = server.ask(f"/img/avatar/plain/did:web:localhost{port}8080/{compute_cid(b'blob')}")
    assert (status, headers["cache-tag"].partition(",")[0]) == (200, "did:web:localhost%3A8080")


def test_a_connection_is_kept_over_all_kinds_of_answers(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    etag = server.ask(PATH)[1]["etag"]
    exchange(connection, PATH)
    own = connection.sock
    for _ in range(2):
        for path, method, headers, status in (
            (PATH, "GET", {}, 200),
            (PATH, "GET", {"If_None_Match": etag}, 304),
            (PATH, "HEAD", {}, 200),
            (MISSING, "GET", {}, 404),
            (MISSING, "HEAD", {}, 404),
            (PATH, "OPTIONS", {}, 204),
            (VERSIONED, "GET", {}, 200),
        ):
            assert exchange(connection, path, method, **headers)[0] == status
            if server.name == "waitress" and status in {204, 304}:
                connection.connect()  # it closes after every answer without a body
                own = connection.sock
            assert connection.sock is own, f"closed after {method} {status}"
    connection.close()


class Pipe(io.BufferedReader):
    """What a connection sends, for several responses one after the other."""

    def makefile(self, mode: str) -> Any:
        return self

    def close(self) -> None:
        """Not by a response: the next one comes from here too."""


def test_requests_in_a_pipeline_are_answered_in_order(server: Server) -> None:
    requests = [("GET", PATH), ("HEAD", PATH), ("GET", MISSING), ("GET", VERSIONED), ("GET", PATH)]
    with server.connect() as connection:
        lines = [f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n" for method, path in requests]
        connection.sendall("".join(lines).encode())
        raw = connection.makefile("rb", buffering=0)
        pipe = Pipe(raw)
        answers = []
        for method, _ in requests:
            response = http.client.HTTPResponse(pipe, method=method)  # type: ignore[arg-type]  # all it uses is makefile
            response.begin()
            answers.append((response.status, response.read()))
        pipe.detach().close()
    assert [status for status, _ in answers] == [200, 200, 404, 200, 200]
    assert [body for _, body in answers if body.startswith(b"avatar")] == [b"avatar:blob"] * 3


def test_who_waits_can_leave(server: Server) -> None:
    leaving, staying = server.connect(), server.connect()
    for connection in (leaving, staying):
        connection.sendall(f"GET {SLOW} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    until(lambda: server.waiting() == 2, "two wait for one image")
    assert server.ask(VERSIONED)[0] == 200  # a hit goes past them
    leaving.close()
    if "wsgi" not in server.name and server.name not in {"gunicorn", "waitress"}:  # a thread cannot be told
        until(lambda: server.waiting() == 1, "the one who left is not waited for")
    server.ask("/control/open")
    with staying, staying.makefile("rb") as answer:
        assert b"200 OK" in answer.readline()
        assert answer.read().endswith(b"\r\n\r\navatar:slow")
    until(lambda: server.waiting() == 0, "nobody waits")


def test_a_client_that_leaves_in_the_middle_of_a_body_hurts_nobody(server: Server) -> None:
    for _ in range(5):
        with server.connect() as connection:
            connection.sendall(f"GET {LARGE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert server.ask(VERSIONED)[0] == 200


@pytest.mark.parametrize("name", MOUNTED)
def test_a_server_that_is_not_at_the_root_finds_the_images(name: str, tmp_path: Path) -> None:
    command, environ, prefix = MOUNTED[name]
    for server in run_server(name, command, environ, tmp_path / "log"):
        assert server.ask(prefix + PATH)[0] == 200
        assert server.ask(prefix + PATH + "@bmp")[0] == 400
