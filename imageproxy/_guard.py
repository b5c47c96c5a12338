"""Connections that are judged in the moment they are opened.

A check of the URL before the request is not enough: a name may have another address a moment later (DNS rebinding). So
the connections of urllib3 are opened here, by a ``Dialer``: it looks the name up, judges all its addresses, connects to
one of those literally, and judges the address at the other end. The Host header, SNI and the check of the certificate
keep the name.
"""

from __future__ import annotations

import http.client
import io
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from urllib3 import HTTPResponse, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from ._addresses import refusal_of_address
from ._deadline import Deadline
from ._slots import Slots
from .errors import UnsafeURLError

__all__ = [
    "Dialer",
    "GetAddrInfo",
    "NetworkBusy",
    "NetworkClosed",
    "NetworkError",
    "NetworkTimeout",
    "open_through",
    "over",
]

# A lookup cannot be interrupted, so one that hangs outlives its request; these are the most that may.
_MAX_LOOKUPS = 64
# http.client would take 100 headers of 64 KB each, and any number of 1xx answers before them.
_MAX_HEAD_BYTES = 64 * 1024

_AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
GetAddrInfo = Callable[..., Sequence[_AddressInfo]]
"""``socket.getaddrinfo``, or what a test puts in its place."""


class NetworkError(Exception):
    """The request failed before there was a whole answer. Its text says why; never leaves the library."""


class NetworkTimeout(NetworkError):  # noqa: N818 - the two words of the field
    """Its time was over."""


class NetworkBusy(NetworkTimeout):
    """Its time was over while it waited for others to the same host."""


class NetworkClosed(NetworkError):  # noqa: N818 - as the word before
    """The client was closed while it was under way, or before."""


def over(deadline: Deadline, said: str) -> NetworkError:
    """Why a request ends whose time is over: ``said``, or that the client was closed."""
    return NetworkClosed("the connections were closed") if deadline.was_closed else NetworkTimeout(said)


class Dialer:
    """Opens the connections: looks a name up, judges its addresses, connects to one of them, within the deadline.

    urllib3 says neither which request a connection is opened for nor that one is used again, so the deadline of the
    request under way is kept per thread.
    """

    def __init__(self, allow_private_networks: bool, getaddrinfo: GetAddrInfo) -> None:
        self._allow_private_networks = allow_private_networks
        self._getaddrinfo = getaddrinfo
        self._lookups = Slots(_MAX_LOOKUPS)
        self._now = threading.local()

    def anew(self) -> Dialer:
        """The same with fresh locks."""
        return Dialer(self._allow_private_networks, self._getaddrinfo)

    @contextmanager
    def within(self, deadline: Deadline) -> Iterator[None]:
        """Opens connections of this thread under ``deadline``."""
        self._now.deadline = deadline
        try:
            yield
        finally:
            del self._now.deadline

    def hold(self, sock: socket.socket) -> None:
        """Have ``sock`` shut down when the time of this thread's request is over."""
        self._now.deadline.hold(sock)

    def dial(self, host: str, port: int, options: Any) -> socket.socket:
        """A socket connected to a judged address of ``host``. Raises UnsafeURLError, NetworkError or OSError."""
        deadline: Deadline = self._now.deadline
        answers = self._look_up(host, port, deadline)
        for _, _, _, _, address in answers:
            self._judge(host, address[0])
        failure: OSError | None = None
        for tried, answer in enumerate(answers):
            # One address that swallows packets must not take the time of the others.
            share = deadline.remaining() / (len(answers) - tried)
            if share <= 0:
                break
            try:
                return self._connect(host, answer, share, options)
            except OSError as error:
                failure = error
        if deadline.is_over:
            raise over(deadline, f"{host} took too long to connect")
        raise failure or OSError(f"{host} has no address")

    def _connect(self, host: str, answer: _AddressInfo, timeout: float, options: Any) -> socket.socket:
        family, kind, protocol, _, address = answer
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            sock.settimeout(timeout)
            self.hold(sock)
            sock.connect(address)
            self._judge(host, sock.getpeername()[0])
            sock.settimeout(max(self._now.deadline.remaining(), 0.001))  # 0 would mean: do not wait at all
        except BaseException:
            sock.close()
            raise
        return sock

    def _judge(self, host: str, address: str) -> None:
        rule = refusal_of_address(address, allow_private_networks=self._allow_private_networks)
        if rule is not None:
            raise UnsafeURLError(f"not connected: the name {host} has the address {address} ({rule})", rule=rule)

    def _look_up(self, host: str, port: int, deadline: Deadline) -> Sequence[_AddressInfo]:
        """All addresses of a name. The system's lookup has no time limit, so a thread waits for it in our place."""
        answered = threading.Event()
        answers: list[Sequence[_AddressInfo] | Exception] = []
        lookups = self._lookups

        def look_up() -> None:
            try:
                answers.append(self._getaddrinfo(host, port, 0, socket.SOCK_STREAM))
            except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
                answers.append(error)
            finally:
                lookups.give_back(None)
                answered.set()

        if not lookups.take(None, deadline):
            raise over(deadline, f"{host} was not looked up: too many lookups hang")
        try:
            threading.Thread(target=look_up, name="imageproxy-lookup", daemon=True).start()
        except RuntimeError:
            lookups.give_back(None)
            raise
        deadline.wait(answered)
        if not answers:
            raise over(deadline, f"looking up {host} took too long")
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]


def open_through(dialer: Dialer, pools: PoolManager) -> None:
    """Have all connections of ``pools`` opened by ``dialer``."""
    pools.pool_classes_by_scheme = {
        "https": partial(_GuardedHTTPSPool, dialer=dialer),  # type: ignore[dict-item]  # it is called, no more
        "http": partial(_GuardedHTTPPool, dialer=dialer),  # type: ignore[dict-item]
    }


class _Head:
    """The lines before a body, up to a limit of bytes for them all."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._left = _MAX_HEAD_BYTES

    def readline(self, limit: int) -> bytes:
        line = self._file.readline(limit)
        self._left -= len(line)
        if self._left < 0:
            raise http.client.HTTPException(f"the head of the answer has more than {_MAX_HEAD_BYTES} bytes")
        return line

    def close(self) -> None:
        self._file.close()


class _Answer(http.client.HTTPResponse):
    """An answer with a head of limited size."""

    def begin(self, **options: Any) -> None:
        file = self.fp
        self.fp = _Head(file)  # type: ignore[assignment]
        try:
            super().begin(**options)
        finally:
            if self.fp is not None:  # it is None after a status line that is none
                self.fp = file


class _GuardedHTTPConnection(HTTPConnection):
    """A connection that the dialer opens."""

    def __init__(self, *args: Any, dialer: Dialer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dialer = dialer
        self._answer: _Answer | None = None
        self.response_class = self._make_answer  # type: ignore[assignment]  # it is called, no more

    def _make_answer(self, *args: Any, **kwargs: Any) -> _Answer:
        self._answer = _Answer(*args, **kwargs)
        return self._answer

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as its base, in urllib3 itself
        try:
            return super().getresponse()
        except BaseException:
            # urllib3 refuses some heads after http.client has read them (two lengths), and then leaves the file open.
            if self._answer is not None:
                self._answer.close()
            raise
        finally:
            self._answer = None

    def _new_conn(self) -> socket.socket:
        sock = self._dialer.dial(self.host, self.port, self.socket_options)
        sys.audit("http.client.connect", self, self.host, self.port)
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # kept alive: it was opened under the deadline of another request
            self._dialer.hold(self.sock)
        super().request(*args, **kwargs)


class _GuardedHTTPSConnection(_GuardedHTTPConnection, HTTPSConnection):
    pass


class _GuardedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _GuardedHTTPConnection  # pyright: ignore[reportAssignmentType]  # as its base, in urllib3 itself


class _GuardedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedHTTPSConnection  # pyright: ignore[reportAssignmentType]
