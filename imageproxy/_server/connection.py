"""A client's connection, with limits: nobody holds one by being slow."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["Connection", "Limits", "limited"]

_BODY_FIELDS = frozenset({b"content-length", b"transfer-encoding"})


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many connections there may be, and how slow they may be."""

    connections: int = 1000
    """One more is closed at once."""
    request_seconds: float = 10.0
    """From the connection, or the first byte of a further request, to the last of its header."""
    send_seconds: float = 60.0
    """How long a client may take nothing of what waits to be sent. What the system has taken to send counts as taken,
    and it takes it in large pieces: not much shorter, or slow clients look as if they took nothing."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which has no such limits of its own."""

    limits: ClassVar[Limits] = Limits()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._request_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.abort()
        else:
            self._time_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self._request_timer, self._send_timer):
            if timer is not None:
                timer.cancel()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._request_timer is None:
            self._time_request()

    def on_headers_complete(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None
        super().on_headers_complete()
        # No request for an image has a body. One that has is answered, and not waited for.
        if any(name in _BODY_FIELDS for name, _ in self.headers):
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # A further answer is begun only when the client has taken most of the one before: the time starts again.
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
        if waiting := self.transport.get_write_buffer_size():
            self._time_sending(waiting)

    def _time_request(self) -> None:
        self._request_timer = self.loop.call_later(self.limits.request_seconds, self.transport.abort)

    def _time_sending(self, waiting: int) -> None:
        self._send_timer = self.loop.call_later(self.limits.send_seconds, self._check_sending, waiting)

    def _check_sending(self, waited: int) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting == 0:
            self._send_timer = None
        elif waiting < waited:
            self._time_sending(waiting)
        else:
            self.transport.abort()


def limited(limits: Limits) -> type[Connection]:
    """Connections with these limits."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
