"""The WSGI app, under the standard library's validator, mounted in all the ways there are."""

from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from imageproxy import Service
from imageproxy.web import Options, WSGIApp

Answer = tuple[str, dict[str, str], bytes]


def ask(app: Any, path: str, method: str = "GET", query: str = "", **environ: str) -> Answer:
    """One request, judged by the validator."""
    environ = {"REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": query, **environ}
    setup_testing_defaults(environ)
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started.append((status, headers))
        return lambda data: None

    body = validator(app)(environ, start_response)
    try:
        data = b"".join(body)
    finally:
        body.close()  # type: ignore[attr-defined]  # the validator's own iterator
    ((status, headers),) = started
    return status, dict(headers), data


def test_an_image_is_answered(service: Service, path: str) -> None:
    status, headers, body = ask(WSGIApp(service), path)
    assert (status, body, headers["Content-Length"]) == ("200 OK", b"avatar:blob", "11")


def test_all_kinds_of_answers_are_valid(service: Service, path: str) -> None:
    app = WSGIApp(service)
    etag = ask(app, path)[1]["ETag"]
    assert ask(app, path, "HEAD")[2] == b""
    assert ask(app, path, HTTP_IF_NONE_MATCH=etag)[0] == "304 Not Modified"
    assert ask(app, path, "OPTIONS")[0] == "204 No Content"
    assert ask(app, path, "DELETE")[0] == "405 Method Not Allowed"
    assert ask(app, path + "@bmp")[0] == "400 Bad Request"
    assert ask(app, "/nowhere")[0] == "404 Not Found"
    assert ask(app, path.replace("bafkrei", "bafkrea"))[0] == "404 Not Found"


def test_the_query_and_the_accept_field_are_read(service: Service, did: str, cid: str) -> None:
    path, _, query = service.url_for("avatar", did, cid).partition("?")
    app = WSGIApp(service, Options(negotiate=True))
    _, headers, _ = ask(app, path, query=query, HTTP_ACCEPT="image/webp")
    assert headers["Content-Type"] == "image/webp"
    assert "immutable" in headers["Cache-Control"]


def test_an_environment_may_lack_what_it_may_lack(service: Service) -> None:
    started: list[str] = []
    body = WSGIApp(service)({"REQUEST_METHOD": "GET"}, lambda status, headers: started.append(status))
    assert (started, list(body)) == (["404 Not Found"], [b"no image has such a URL\n"])


@pytest.mark.parametrize("info", ["did:web:localhost%3A8080", "did:web:localhost:8080"])
def test_the_port_of_a_did_web_survives_the_servers_decoding(service: Service, cid: str, info: str) -> None:
    status, headers, _ = ask(WSGIApp(service), f"/img/avatar/plain/{info}/{cid}")
    assert status == "200 OK"
    assert headers["Cache-Tag"].startswith("did:web:localhost%3A8080,")


@pytest.mark.parametrize(
    ("mount", "prefix", "below"),
    [
        ("", "/img", "/img"),
        ("/img", "/img", ""),  # mounted where the URLs of the service begin
        ("/img", "", ""),
        ("/media", "/img", "/img"),
        ("/media/img", "/img", "/img"),
        ("/pictures", "", ""),
    ],
)
def test_it_may_be_mounted_anywhere(service: Service, did: str, cid: str, mount: str, prefix: str, below: str) -> None:
    app = WSGIApp(service, Options(prefix=prefix))
    image = f"{below}/avatar/plain/{did}/{cid}"
    assert ask(app, image, SCRIPT_NAME=mount)[0] == "200 OK"
    mounted = Client(DispatcherMiddleware(NotFound(), {mount: app}))
    assert mounted.get(mount + image).status_code == 200
    assert mounted.get(mount + image + "@bmp").status_code == 400
