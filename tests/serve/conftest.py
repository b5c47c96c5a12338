"""The server, as a process of its own and inside the tests' process: real HTTP, and a PDS on this machine."""

from __future__ import annotations

import http.client
import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from imageproxy.testing import DrawnPhoto, LocalPDS, drawn_photos

WAIT_SECONDS = 30


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class At(NamedTuple):
    """Where something listens."""

    port: int

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_SECONDS)


class Process:
    """A running ``imageproxy serve`` that logs JSON."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.log: list[dict[str, Any]] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.put(line)
        self._lines.put("")

    def wait_for(self, message: str) -> dict[str, Any]:
        """The first log line yet to be read whose message begins so."""
        while line := self._lines.get(timeout=WAIT_SECONDS):
            self.log.append(json.loads(line))
            if self.log[-1]["message"].startswith(message):
                return self.log[-1]
        raise AssertionError(f"it ended and never said {message!r}, but: {self.log}")

    def at(self, what: str = "images") -> At:
        return At(self.wait_for(f"{what} at")["port"])

    def signal(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def end(self) -> int:
        """The exit code. All that it has logged is then in ``log``."""
        code = self._process.wait(WAIT_SECONDS)
        self._reader.join(WAIT_SECONDS)
        while line := self._lines.get(timeout=WAIT_SECONDS):
            self.log.append(json.loads(line))
        return code


class StartProcess(Protocol):
    def __call__(self, *arguments: str, **variables: str) -> Process: ...


class Serve(Protocol):
    def __call__(self, scenario: Callable[[At], None], *arguments: str) -> list[logging.LogRecord]: ...


@pytest.fixture(scope="session")
def photo() -> DrawnPhoto:
    return drawn_photos()[0]


@pytest.fixture
def pds() -> Iterator[LocalPDS]:
    with LocalPDS() as pds:
        yield pds


@pytest.fixture
def blob(pds: LocalPDS, photo: DrawnPhoto) -> tuple[str, str]:
    """A DID and a CID that are there."""
    did = pds.create_account()
    return did, pds.add_blob(did, photo.data, content_type=photo.content_type)


@pytest.fixture
def path(blob: tuple[str, str]) -> str:
    did, cid = blob
    return f"/img/avatar_small/plain/{did}/{cid}"


@pytest.fixture
def cache_path(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def variables(pds: LocalPDS, cache_path: Path) -> dict[str, str]:
    """What points the server at the PDS, and at a cache of the test's own."""
    return {
        "IMAGE_PROXY_PLC_URL": pds.plc_url,
        "IMAGE_PROXY_ALLOW_PRIVATE_NETWORKS": "true",
        "IMAGE_PROXY_CACHE_PATH": str(cache_path),
    }


@pytest.fixture
def start(variables: dict[str, str], tmp_path: Path) -> Iterator[StartProcess]:
    """Starts servers in processes of their own, at free ports."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **more: str) -> Process:
        command = [sys.executable, "-W", "error", "-m", "imageproxy", "serve", "--log-format", "json", "--port", "0"]
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=tmp_path,
            env={**os.environ, **variables, **more},
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        started.append(process)
        return Process(process)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
        assert process.stderr is not None
        process.stderr.close()


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[logging.LogRecord] = []
        self.port: queue.Queue[int] = queue.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record)
        if record.getMessage().startswith("images at"):
            self.port.put(vars(record)["port"])


@contextmanager
def meanwhile(scenario: Callable[[At], None]) -> Iterator[list[logging.LogRecord]]:
    """Runs the scenario against the server that the block starts, and then sends SIGTERM. Gives what is logged."""
    failures: list[BaseException] = []
    records = Records()
    loggers = [logging.getLogger(name) for name in ("imageproxy", "uvicorn")]
    levels = [logger.level for logger in loggers]

    def run() -> None:
        try:
            scenario(At(records.port.get(timeout=WAIT_SECONDS)))
        except BaseException as failure:  # noqa: BLE001 - raised on the main thread
            failures.append(failure)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: None)  # should the server have ended already
    thread = threading.Thread(target=run)
    try:
        for logger in loggers:
            logger.addHandler(records)
        loggers[0].setLevel(logging.INFO)
        thread.start()
        yield records.seen
        thread.join(WAIT_SECONDS)
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(records)
            logger.setLevel(level)
        signal.signal(signal.SIGTERM, before)
    for failure in failures:
        raise failure


@pytest.fixture
def run_meanwhile() -> Callable[..., Any]:
    return meanwhile


@pytest.fixture
def serve(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Runs ``imageproxy serve`` on the main thread of this process, for as long as a scenario goes on beside it."""
    from imageproxy.cli import main

    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def serve(scenario: Callable[[At], None], *arguments: str) -> list[logging.LogRecord]:
        with meanwhile(scenario) as records:
            assert main(["serve", "--port", "0", *arguments]) == 0
        return records

    return serve
