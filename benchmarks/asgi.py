"""What a hit costs over HTTP: requests per second of the ASGI app, next to those of a bare one.

    python benchmarks/asgi.py [rounds]

Needs Linux, wrk (a Debian package of that name), uvicorn, httptools, uvloop and granian. The bare app opens, reads and
closes a file of the same size and sends it with the same header fields. Both run under the same server with one worker,
on a processor of their own; wrk has another one. They are measured in turns, and told as the median of the rounds'
ratios: single figures do not hold on shared machines. The processor time that a request takes in the server is told
too, which others on the machine disturb less.
"""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from imageproxy import CacheKey, DiskCache, Preset, Service
from imageproxy.web import ASGIApp

SIZE = 70_000
CONNECTIONS = 16
SECONDS = 1
ROUNDS = 30

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"

_ROOT = "IMAGEPROXY_BENCHMARK_ROOT"

SERVERS = {
    "uvicorn": [
        "-m",
        "uvicorn",
        "--no-access-log",
        "--log-level",
        "error",
        "--factory",
        "asgi:{app}",
        "--port",
        "{port}",
    ],
    "granian": [
        *("-m", "granian", "--interface", "asgi", "--no-ws", "--no-access-log", "--log-level", "error", "--factory"),
        *("--loop", "uvloop", "asgi:{app}", "--port", "{port}"),
    ],
}

App = Callable[[Any, Any, Any], Awaitable[None]]


class Server(NamedTuple):
    url: str
    group: int

    def cpu_seconds(self) -> float:
        """What its processes have taken so far."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.group:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def measure(self, processor: int) -> tuple[float, float]:
        """Requests per second, and seconds of processor time for each."""
        began = self.cpu_seconds()
        load = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", self.url]
        told = subprocess.run(
            ["taskset", "-c", str(processor), *load], capture_output=True, text=True, check=True
        ).stdout
        assert "Non-2xx" not in told, told
        (rate,) = re.findall(r"Requests/sec:\s*([0-9.]+)", told)
        (count,) = re.findall(r"([0-9]+) requests in", told)
        return float(rate), (self.cpu_seconds() - began) / int(count)


class Unused:
    """A fetcher and processor for a service that is only asked for what is cached."""

    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
        raise AssertionError("a hit fetches nothing")

    def process(self, data: bytes, preset: Preset) -> bytes:
        raise AssertionError("a hit processes nothing")


def service() -> Service:
    return Service(DiskCache(f"{os.environ[_ROOT]}/cache"), Unused(), Unused())


def images() -> App:
    """What is measured."""
    return ASGIApp(service())


def bare() -> App:
    """What it is measured by."""
    path = f"{os.environ[_ROOT]}/file"
    with service() as at_hand:
        url = at_hand.url_for("avatar", DID, CID)
        app = ASGIApp(at_hand)
        plan = app._endpoint._planner.plan("", *url.split("?"))
        assert plan is not None
        headers = [(b"content-length", b"%d" % SIZE), *plan.raw_headers]

    async def bare(scope: Any, receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            return
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    return bare


def fill(root: str) -> str:
    """One cached image, and a file of the same size. Returns the path of its URL."""
    data = os.urandom(SIZE)
    Path(root, "file").write_bytes(data)
    with service() as images:
        preset, did, cid, content_type = images._read("avatar", DID, CID).key
        images._cache.set(CacheKey(preset, did, cid, content_type), data)
        return images.url_for("avatar", DID, CID)


@contextmanager
def running(command: list[str], app: str, path: str, processor: int) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    arguments = [sys.executable, *(part.format(app=app, port=port) for part in command)]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(["taskset", "-c", str(processor), *arguments], env=environ, start_new_session=True)
    try:
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.02)
        yield Server(f"http://127.0.0.1:{port}{path}", process.pid)
    finally:
        process.terminate()
        process.wait()


def check_same(servers: Iterable[Server]) -> None:
    """Both must send the same, or the comparison says nothing."""
    sent: list[tuple[int, set[tuple[str, str]], bytes]] = []
    for server in servers:
        with urllib.request.urlopen(server.url) as answer:
            fields = {field for field in answer.getheaders() if field[0].lower() != "date"}
            sent.append((answer.status, fields, answer.read()))
    assert sent[0] == sent[1]


def main(rounds: int) -> None:
    processors = sorted(os.sched_getaffinity(0))
    own, others = processors[0], processors[-1]
    with tempfile.TemporaryDirectory() as root:
        os.environ[_ROOT] = root
        path = fill(root)
        for name, command in SERVERS.items():
            rates: dict[str, list[float]] = {"bare": [], "images": []}
            costs: dict[str, list[float]] = {"bare": [], "images": []}
            with ExitStack() as stack:
                servers = {app: stack.enter_context(running(command, app, path, own)) for app in rates}
                check_same(servers.values())
                for server in servers.values():
                    server.measure(others)  # warm
                for number in range(rounds):
                    for app in sorted(servers, reverse=number % 2 == 0):
                        rate, cost = servers[app].measure(others)
                        rates[app].append(rate)
                        costs[app].append(cost)
            pairs = zip(rates["images"], rates["bare"], strict=True)
            print(
                f"{name:10} {statistics.median(images / bare for images, bare in pairs):.3f} of the bare one's"
                f" {statistics.median(rates['bare']):.0f} requests/s;"
                f" {statistics.median(costs['images']) * 1e6:.1f} µs of processor time for each, the bare one's"
                f" {statistics.median(costs['bare']) * 1e6:.1f} µs"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
