"""The apps that the servers of ``test_servers`` run, each in a process of its own.

Beside the images there is ``/control/...``, by which a test looks into the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from imageproxy import compute_cid
from imageproxy.testing import FakeCache, FakeFetcher, FakePolicy, FakeProcessor, fake_service
from imageproxy.web import ASGIApp, Options, WSGIApp

CID = compute_cid(b"blob")
LARGE_CID = compute_cid(b"large")
SLOW_CID = "bafkreislow"
BLOCKED_CID = "bafkreiblocked"


class Cache(FakeCache):
    is_nonblocking = True


class Policy(FakePolicy):
    is_nonblocking = True


class Fetcher(FakeFetcher):
    """Holds one blob back."""

    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
        if cid == SLOW_CID:
            assert opened.wait(60)
        return super().fetch(pds_url, did, cid, timeout=timeout)


opened = threading.Event()
service = fake_service(
    cache=Cache(),
    fetcher=Fetcher({CID: b"blob", SLOW_CID: b"slow", LARGE_CID: b"large" * 500_000}),
    processor=FakeProcessor(),
    policy=Policy([("did:plc:blocked")]),
)
options = Options(negotiate=True)
wsgi_images = WSGIApp(service, options)
asgi_images = ASGIApp(service, options, closes_service=True)


def control(path: str) -> bytes:
    if path.endswith("/control/open"):
        opened.set()
    return str(sum(flight.waiters for flight in service._flights._flights.values())).encode()


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if "/control/" in environ["PATH_INFO"]:
        body = control(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    return wsgi_images(environ, start_response)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http" and "/control/" in scope["path"]:
        body = control(scope["path"])
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    else:
        await asgi_images(scope, receive, send)
