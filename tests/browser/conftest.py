"""A site with images: a Flask app for the pages, ``imageproxy serve`` for the images, a PDS, and a browser."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask import Flask, render_template_string
from werkzeug.serving import make_server

from imageproxy import compute_cid
from imageproxy.testing import LocalPDS, drawn_photos
from imageproxy.web.flask import ImageProxy

from .devtools import Page, open_page
from .install import Browser, install

_HERE = Path(__file__).parent
KEY = "a secret"
PAGE = (_HERE / "page.html").read_text()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time the tests alone: the first one's setup may install the browser."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(60, func_only=True))


class Site(NamedTuple):
    """Where the pages are, and what is in them.

    log: where the image server logs, a line of JSON for each request.
    """

    url: str
    images_url: str
    log: Path

    def requests(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["logger"] == "imageproxy.access"]


@pytest.fixture(scope="session")
def browser() -> Browser:
    return install()


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A page of a browser that was never anywhere."""
    with open_page(browser, tmp_path) as page:
        page.set_screen(760, 1000)
        yield page


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with LocalPDS() as pds, serving(pds, folder) as images_url:
        app = make_app(pds, images_url)
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Site(f"http://127.0.0.1:{server.server_port}", images_url, folder / "serve.log")
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def make_app(pds: LocalPDS, images_url: str) -> Flask:
    """Pages about accounts that have photos."""
    app = Flask("site")
    app.config.update(IMAGE_PROXY_BASE_URL=images_url, IMAGE_PROXY_URL_SIGNING_KEY=KEY)
    ImageProxy(app)
    photos = drawn_photos()
    did = pds.create_account(handle="alice.example.com")
    refs = [
        {"$type": "blob", "ref": {"$link": pds.add_blob(did, photo.data)}, "mimeType": photo.content_type, "size": 1}
        for photo in photos
    ]
    gone = {"$type": "blob", "ref": {"$link": compute_cid(b"gone")}, "mimeType": "image/jpeg", "size": 1}
    no_image = {"$type": "blob", "ref": {"$link": pds.add_blob(did, b"<svg/>")}, "mimeType": "image/png", "size": 1}

    def feed() -> str:
        return render_template_string(PAGE, did=did, photos=refs, gone=gone, no_image=no_image)

    app.add_url_rule("/", view_func=feed)
    return app


class serving:  # noqa: N801 - it reads as a verb
    """``imageproxy serve`` over the PDS, as a process; gives its URL."""

    def __init__(self, pds: LocalPDS, folder: Path) -> None:
        self._log = folder / "serve.log"
        environ = {
            **os.environ,
            "IMAGE_PROXY_PLC_URL": pds.plc_url,
            "IMAGE_PROXY_ALLOW_PRIVATE_NETWORKS": "true",
            "IMAGE_PROXY_CACHE_PATH": str(folder / "cache"),
            "IMAGE_PROXY_URL_SIGNING_KEY": KEY,
        }
        command = [sys.executable, "-m", "imageproxy", "serve", "--port", "0", "--negotiate", "--log-format", "json"]
        self._process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
        self._port: int | None = None
        self._is_up = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr, self._log.open("w") as log:
            for line in self._process.stderr:
                log.write(line)
                log.flush()
                if "images at" in line:
                    self._port = json.loads(line)["port"]
                    self._is_up.set()
        self._is_up.set()

    def __enter__(self) -> str:
        assert self._is_up.wait(30)
        assert self._port is not None, self._log.read_text()
        return f"http://127.0.0.1:{self._port}"

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(40) == 0
        self._reader.join()
