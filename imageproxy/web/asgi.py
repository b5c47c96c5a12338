"""Images as an ASGI app (asgi.readthedocs.io/en/latest/specs/www.html)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from imageproxy._flight import Flight
from imageproxy.aio import AsyncService
from imageproxy.service import Service

from ._endpoint import Endpoint, Question, WebRequest
from ._options import Options
from ._response import Response

__all__ = ["ASGIApp"]

_log = logging.getLogger(__name__)

_PREFLIGHT = b"access-control-request-method"

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ASGIApp:
    """An ASGI 3 app that answers with images. Run it under a server, or mount it in an app.

    service: what answers, for coroutines or not.
    options: ``None`` for the defaults.
    closes_service: whether the service is closed when the server shuts down (the lifespan protocol).

    It may be mounted anywhere; see ``Options.prefix``. Hits are answered on the event loop where the cache and the
    policy promise not to block, and misses are awaited: neither holds a thread. A client that goes away gives up its
    place. By the time the body is sent nothing is held any more but the bytes. For asyncio.
    """

    def __init__(
        self, service: Service | AsyncService, options: Options | None = None, *, closes_service: bool = False
    ) -> None:
        self._is_guest = isinstance(service, AsyncService)
        self._images = service if isinstance(service, AsyncService) else AsyncService(service)
        self._endpoint = Endpoint(self._images.service, options)
        self._timeout = self._endpoint.options.timeout_seconds
        self._closes_service = closes_service
        negotiated = {b"accept"} if self._endpoint.options.negotiate else set[bytes]()
        self._fields = frozenset({b"if-none-match", _PREFLIGHT} | negotiated)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or go along with one life of the server."""
        if scope["type"] != "http":
            await self._answer_other(scope, receive, send)
            return
        decided = self._decide(scope)
        if isinstance(decided, Response):
            await _send(send, decided)
            return
        try:
            found = await self._find(decided, receive)
        except Exception as error:  # noqa: BLE001 - every request is answered
            found = self._endpoint.failed(error, is_head=scope["method"] == "HEAD")
        if isinstance(found, Response):
            await _send(send, found)
        elif found is not None:
            headers = [(b"content-length", b"%d" % len(found)), *decided.plan.raw_headers]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": found})

    def _decide(self, scope: Scope) -> Response | Question:
        method, path, query = scope["method"], scope["path"], scope.get("query_string", b"").decode("latin-1")
        mount = scope.get("root_path", "")
        fields = [field for field in scope["headers"] if field[0] in self._fields]
        if not fields:
            return self._endpoint.decide(WebRequest(method, path, query, mount))
        if_none_match, accept = _value(fields, b"if-none-match"), _value(fields, b"accept")
        is_preflight = _value(fields, _PREFLIGHT) != ""
        return self._endpoint.decide(WebRequest(method, path, query, mount, if_none_match, accept, is_preflight))

    async def _find(self, asked: Question, receive: Receive) -> bytes | Response | None:
        """The image, or what to answer instead; ``None`` where the client has gone away."""
        request = asked.plan.request
        if asked.is_known:
            await self._images._vet(request)
            return asked.unchanged()
        found = await self._images._begin(request, None, self._timeout)
        data = await self._land(found, receive) if isinstance(found, Flight) else found
        return data if data is None or asked.is_plain else asked.found(data)

    async def _land(self, flight: Flight, receive: Receive) -> bytes | None:
        # A task of its own for the receiving, since the server need not allow it to be given up and taken up again.
        leaving = asyncio.ensure_future(_has_left(receive))
        try:
            return await self._images._land_unless(leaving, flight, self._timeout)
        finally:
            leaving.cancel()

    async def _answer_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await self._live(receive, send)
            case "websocket":
                await send({"type": "websocket.close"})
            case other:
                raise ValueError(f"an ASGIApp answers http, not {other!r}")

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                try:
                    await self._end()
                except Exception as error:  # noqa: BLE001 - told to the server, which is on its way out
                    _log.exception("the service could not be closed")
                    await send({"type": "lifespan.shutdown.failed", "message": type(error).__name__})
                else:
                    await send({"type": "lifespan.shutdown.complete"})
                return

    async def _end(self) -> None:
        if self._closes_service:
            await self._images.close()
        elif not self._is_guest:
            self._images.release()


async def _has_left(receive: Receive) -> None:
    """Returns once the client has gone away. A body, which no image needs, is passed over."""
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    except Exception as error:  # noqa: BLE001 - a server that cannot tell is no reason not to answer
        _log.debug("the server does not tell when clients leave: %r", error)
        await asyncio.get_running_loop().create_future()


def _value(fields: Iterable[tuple[bytes, bytes]], wanted: bytes) -> str:
    """A field's value; of one that comes several times, all of them (RFC 9110 section 5.3)."""
    return ", ".join([value.decode("latin-1") for name, value in fields if name == wanted])


async def _send(send: Send, response: Response) -> None:
    headers: Iterable[tuple[bytes, bytes]] = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
