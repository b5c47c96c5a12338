"""The examples for web frameworks, as programs under a server of their own: real HTTP, and a PDS on this machine."""

from __future__ import annotations

import html
import io
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from PIL import Image

from imageproxy import compute_cid
from imageproxy.testing import DrawnPhoto, LocalPDS

EXAMPLES = Path(__file__).parents[2] / "examples"
UVICORN = ["-m", "uvicorn", "--log-level", "warning", "--port", "{port}"]
COMMANDS = {
    "flask": ["-m", "flask", "--app", "flask_app", "run", "--port", "{port}"],
    "django": ["django_app.py", "runserver", "--noreload", "--skip-checks", "127.0.0.1:{port}"],
    "django-wsgi": ["-m", "waitress", "--listen", "127.0.0.1:{port}", "django_app:application"],
    "fastapi": [*UVICORN, "fastapi_app:app"],
    "starlette": [*UVICORN, "starlette_app:app"],
}


class Site:
    """A running example."""

    def __init__(self, port: int, cache: Path) -> None:
        self.cache = cache
        self._url = f"http://127.0.0.1:{port}"
        self._session = requests.Session()
        self._session.trust_env = False

    def get(self, path: str, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._session.get(self._url + path, headers=named, timeout=30)

    def close(self) -> None:
        self._session.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(name: str, pds: LocalPDS, folder: Path) -> Iterator[Site]:
    port, log = free_port(), folder / "log"
    environ = {
        **os.environ,
        "IMAGE_PROXY_PLC_URL": pds.plc_url,
        "IMAGE_PROXY_ALLOW_PRIVATE_NETWORKS": "true",
        "IMAGE_PROXY_CACHE_PATH": str(folder / "cache"),
        "PYTHONPATH": str(EXAMPLES),
    }
    command = [sys.executable, *(part.format(port=port) for part in COMMANDS[name])]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=EXAMPLES, env=environ, stdout=output, stderr=output)
        site = Site(port, folder / "cache")
        try:
            wait_until_up(port, process, log)
            yield site
        finally:
            site.close()
            process.send_signal(signal.SIGINT)  # as the development servers are stopped
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
    assert "Traceback" not in log.read_text(), log.read_text()


def wait_until_up(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    ends_at = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < ends_at, log.read_text()
            select.select((), (), (), 0.05)


@pytest.fixture
def blob(pds: LocalPDS, photo: DrawnPhoto) -> tuple[str, str]:
    did = pds.create_account()
    return did, pds.add_blob(did, photo.data, content_type=photo.content_type)


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        return image.width, image.height


def check_images(site: Site, blob: tuple[str, str]) -> None:
    """What all of them do alike: the images below /img."""
    did, cid = blob
    found = site.get(f"/img/avatar_small/plain/{did}/{cid}@webp")
    assert (found.status_code, found.headers["Content-Type"]) == (200, "image/webp")
    assert size_of(found.content) == (360, 360)
    again = site.get(f"/img/avatar_small/plain/{did}/{cid}@webp", If_None_Match=found.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    assert site.get(f"/img/avatar/plain/{did}/{compute_cid(b'another')}").status_code == 404
    assert site.get(f"/img/nope/plain/{did}/{cid}").status_code == 400
    assert site.get("/img/nothing").headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("name", ["flask", "django", "django-wsgi"])
def test_a_page_shows_an_avatar(name: str, pds: LocalPDS, blob: tuple[str, str], tmp_path: Path) -> None:
    did, cid = blob
    with running(name, pds, tmp_path) as site:
        check_images(site, blob)
        page = site.get(f"/profile/{did}/{cid}").text
        (tag,) = re.findall("<img [^>]*>", page)
        attributes = {name: html.unescape(value) for name, value in re.findall(r'([a-z]+)="([^"]*)"', tag)}
        assert (attributes["width"], attributes["height"], attributes["alt"]) == ("1000", "1000", "")
        for candidate in attributes["srcset"].split(", "):
            url, width = candidate.split(" ")
            shown = site.get(url)
            assert (shown.status_code, size_of(shown.content)[0]) == (200, int(width.removesuffix("w")))
            assert shown.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert site.get(attributes["src"]).status_code == 200
        broken = site.get(f"/profile/{did}/junk")
        assert (broken.status_code, "<img" in broken.text) == (200, False)
    assert len(list((tmp_path / "cache" / "v1").rglob("?*/?*"))) == 3, "what was answered was written on the way out"


def test_an_api_tells_of_an_avatar_and_its_placeholder(pds: LocalPDS, blob: tuple[str, str], tmp_path: Path) -> None:
    did, cid = blob
    with running("fastapi", pds, tmp_path) as site:
        check_images(site, blob)
        told = site.get(f"/avatars/{did}/{cid}").json()
        kind, _, data = told["placeholder"].partition(";base64,")
        assert (kind, size_of(b64decode(data))) == ("data:image/webp", (16, 16))
        assert size_of(site.get(told["src"]).content) == (1000, 1000)
        without = site.get(f"/avatars/{did}/{compute_cid(b'another')}")
        assert (without.status_code, without.json()["placeholder"]) == (200, None)
        assert "/avatars/{did}/{cid}" in json.dumps(site.get("/openapi.json").json())


def test_a_route_of_ones_own_answers_with_an_image(pds: LocalPDS, blob: tuple[str, str], tmp_path: Path) -> None:
    did, cid = blob
    with running("starlette", pds, tmp_path) as site:
        check_images(site, blob)
        card = site.get(f"/cards/{did}.jpg?cid={cid}")
        assert (card.status_code, card.headers["Content-Type"]) == (200, "image/jpeg")
        assert size_of(card.content) == (720, 360)
        assert site.get(f"/cards/{did}.jpg?cid={cid}", If_None_Match=card.headers["ETag"]).status_code == 304
        assert site.get(f"/cards/{did}.jpg").status_code == 400
        assert site.get(f"/cards/{did}.jpg?cid={compute_cid(b'another')}").status_code == 404
