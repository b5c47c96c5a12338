"""What answers a request: the images, or what tells of the server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from imageproxy.web.asgi import ASGIApp, Message, Receive, Scope, Send

from .health import Health

if TYPE_CHECKING:
    from .metrics import Metrics

__all__ = ["Images", "Status"]

_access = logging.getLogger("imageproxy.access")

_TEXT = b"text/plain; charset=utf-8"
_CLIENT_LEFT = 499  # nginx's, for a request whose client did not wait for the answer


class Status:
    """``/healthz``, ``/readyz`` and ``/metrics``, as an ASGI app.

    metrics: ``None`` where there are none; ``no_metrics`` says why.
    """

    def __init__(
        self,
        health: Health,
        metrics: Metrics | None = None,
        *,
        no_metrics: str = "metrics are told on a port of their own; see imageproxy serve --metrics-port",
    ) -> None:
        self._health = health
        self._metrics = metrics
        self._no_metrics = no_metrics
        self.answers: dict[str, Callable[[], Awaitable[tuple[int, bytes, bytes]]]] = {
            "/healthz": self._live,
            "/readyz": self._ready,
            "/metrics": self._tell_metrics,
        }
        """By path."""

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        answer = self.answers.get(scope["path"], self._miss)
        if scope["method"] in ("GET", "HEAD"):
            status, content_type, body = await answer()
        else:
            status, content_type, body = 405, _TEXT, b"this is there to GET\n"
        await _answer(send, status, content_type, body)

    async def _live(self) -> tuple[int, bytes, bytes]:
        return 200, _TEXT, b"alive\n"

    async def _ready(self) -> tuple[int, bytes, bytes]:
        reason = await self._health.reason()
        return (200, _TEXT, b"ready\n") if reason is None else (503, _TEXT, f"{reason}\n".encode())

    async def _tell_metrics(self) -> tuple[int, bytes, bytes]:
        if self._metrics is None:
            return 404, _TEXT, f"{self._no_metrics}\n".encode()
        from .metrics import CONTENT_TYPE  # an extra, which is there if there are metrics

        return 200, CONTENT_TYPE.encode(), await asyncio.to_thread(self._metrics.text)

    async def _miss(self) -> tuple[int, bytes, bytes]:
        return 404, _TEXT, b"there is /healthz, /readyz and /metrics\n"


class Images:
    """The images and, at their paths, what tells of the server. Logs and counts the requests for images.

    metrics: what counts them, or ``None``. logs_access: whether each one is logged.
    """

    def __init__(self, images: ASGIApp, status: Status, *, metrics: Metrics | None, logs_access: bool) -> None:
        self._images = images
        self._status = status
        self._metrics = metrics
        self._logs_access = logs_access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in self._status.answers:
            await self._status(scope, receive, send)
            return
        began = time.perf_counter()
        sent = _Sent(send)
        try:
            await self._images(scope, receive, sent)
        except asyncio.CancelledError:  # the time for finishing answers is over
            if sent.status == _CLIENT_LEFT:
                await _answer(sent, 503, _TEXT, b"closing down; ask again later\n", (b"retry-after", b"1"))
        finally:
            self._tell(scope, sent, time.perf_counter() - began)

    def _tell(self, scope: Scope, sent: _Sent, seconds: float) -> None:
        if self._metrics is not None:
            self._metrics.count(sent.status, seconds)
        if self._logs_access:
            method, path = scope["method"], scope["raw_path"].decode("ascii", "backslashreplace")
            client = scope["client"]
            about = {
                "client": client[0] if client else None,
                "method": method,
                "path": path,  # not its query: it has the signature
                "status": sent.status,
                "bytes": sent.size_bytes,
                "seconds": round(seconds, 6),
            }
            _access.info("%(client)s %(method)s %(path)s %(status)d %(bytes)d %(seconds).4f", about, extra=about)


class _Sent:
    """Sends, and remembers what it sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = _CLIENT_LEFT
        self.size_bytes = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.size_bytes += len(message.get("body", b""))
        await self._send(message)


async def _answer(send: Send, status: int, content_type: bytes, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
