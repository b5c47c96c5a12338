"""A page in a headless Chromium, driven over the DevTools protocol (chromedevtools.github.io/devtools-protocol)."""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from websockets.sync.client import ClientConnection, connect

from .install import Browser

__all__ = ["Page", "open_page"]

_WAIT_SECONDS = 30.0
_FLAGS = (
    "--headless",
    "--no-sandbox",  # it does not start as root otherwise, and shows what this test makes alone
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--no-proxy-server",
    "--remote-debugging-port=0",
)


class Page:
    """One page. For one thread."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._session = ""
        self.events: list[dict[str, Any]] = []
        """What the browser told so far, in order."""
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._connection.send(json.dumps(message))
        while True:
            told = self._receive(_WAIT_SECONDS)
            if told.get("id") == number:
                assert "error" not in told, f"{method}: {told['error']}"
                result: dict[str, Any] = told["result"]
                return result

    def go(self, url: str) -> None:
        """Go there, and wait until all of it has loaded."""
        self.events.clear()
        self.do("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def wait_for(self, name: str) -> dict[str, Any]:
        """Wait for an event, if it was not told since ``go``."""
        ends_at = time.monotonic() + _WAIT_SECONDS
        seen = 0
        while True:
            for event in self.events[seen:]:
                if event["method"] == name:
                    parameters: dict[str, Any] = event["params"]
                    return parameters
            seen = len(self.events)
            self._receive(ends_at - time.monotonic())

    def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        answer = self.do("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def set_screen(self, width: int, height: int, *, scale: float = 1.0) -> None:
        """How large the window is, and how many pixels a pixel of CSS has."""
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False)

    def responses(self) -> dict[str, dict[str, Any]]:
        """The last response for each URL since ``go``."""
        return {
            event["params"]["response"]["url"]: event["params"]["response"]
            for event in self.events
            if event["method"] == "Network.responseReceived"
        }

    def picture(self) -> bytes:
        """What it looks like, as PNG."""
        return base64.b64decode(self.do("Page.captureScreenshot", format="png")["data"])

    def _receive(self, seconds: float) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._connection.recv(timeout=max(0.0, seconds)))
        if "method" in told:
            self.events.append(told)
        return told


@contextmanager
def open_page(browser: Browser, folder: Path) -> Iterator[Page]:
    """A page in a browser of its own, which keeps its profile in the folder."""
    environ = {**os.environ, **browser.environ, "HOME": str(folder)}
    command = [str(browser.program), *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    process = subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    lines: SimpleQueue[str] = SimpleQueue()
    # It goes on writing, so somebody has to go on reading.
    reader = threading.Thread(target=_read, args=(process.stderr, lines))
    reader.start()
    try:
        with connect(_address(lines), max_size=None, proxy=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(10)


def _read(output: IO[str], lines: SimpleQueue[str]) -> None:
    """Pass each line on, and at the end an empty one."""
    with output:
        for line in output:
            lines.put(line)
    lines.put("")


def _address(lines: SimpleQueue[str]) -> str:
    """What the browser says that it listens on; queue.Empty where it says nothing more for long."""
    said = ""
    while line := lines.get(timeout=_WAIT_SECONDS):
        if line.startswith("DevTools listening on "):
            return line.removeprefix("DevTools listening on ").strip()
        said += line
    raise AssertionError(f"the browser ended: {said}")
