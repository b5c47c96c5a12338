"""GET requests to servers that strangers choose: guarded, deadlined, and with one kind of error.

urllib3 is used without the session of requests, which would rewrite the URL after it was judged, read the whole body of
a redirect, keep cookies, and take proxies and passwords from the environment. What users know from requests stays: its
CA bundle, and the variables that name another.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from types import TracebackType

import requests.utils
import urllib3
from urllib3.util.ssl_ import create_urllib3_context

from ._addresses import Target, check_url
from ._deadline import Deadline, Watchdog
from ._fork import reset_after_fork
from ._guard import Dialer, GetAddrInfo, NetworkBusy, NetworkClosed, NetworkError, NetworkTimeout, open_through, over
from ._slots import Slots
from ._typing import Self
from .errors import ConfigError, UnsafeURLError

__all__ = ["GuardedClient", "Reply", "one_line"]

_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
# How many requests one host is sent at once, as browsers do; also how many of its connections are kept alive.
_MAX_PER_HOST = 6
# Of how many hosts connections are kept alive: those asked last.
_MAX_HOSTS = 32
# What is read at once. http.client collects it piece by piece, which for chunks of one byte takes 90 times the memory.
_CHUNK_BYTES = 32 * 1024


class GuardedClient:
    """Makes guarded GET requests. Safe to call from threads; connections are kept alive and shared.

    A host is sent 6 requests at once; one more waits until the reply to another is closed.

    allow_private_networks: opens private addresses, http and any port, for development.
    user_agent: ``None`` for the library's name and version.
    getaddrinfo: asked for addresses in place of ``socket.getaddrinfo``; for tests.

    Nothing is started or read before the first request. After a fork the child begins anew. Raises ConfigError.
    """

    def __init__(
        self,
        *,
        allow_private_networks: bool = False,
        user_agent: str | None = None,
        getaddrinfo: GetAddrInfo | None = None,
    ) -> None:
        if user_agent is not None and not (user_agent and user_agent.isascii() and user_agent.isprintable()):
            raise ConfigError(
                f"user_agent is {user_agent!r}; it must be a line of ASCII text, or None",
                option="user_agent",
                value=user_agent,
            )
        self.allow_private_networks = allow_private_networks
        self._user_agent = user_agent
        self._dialer = Dialer(allow_private_networks, getaddrinfo or socket.getaddrinfo)
        self._watchdog = Watchdog()
        self._hosts = Slots(_MAX_PER_HOST)
        self._making = threading.Lock()
        self._pools: urllib3.PoolManager | None = None
        self._is_closed = False
        self._parents_pools: list[urllib3.PoolManager | None] = []
        reset_after_fork(self)

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[Deadline]:
        """A time limit for the requests made in the block. Raises NetworkError where no thread can be started."""
        with ExitStack() as stack:
            try:
                deadline = stack.enter_context(self._watchdog.deadline(seconds))
            except RuntimeError as error:
                raise NetworkError(f"no thread can be started: {error}") from error
            yield deadline

    def get(self, url: str, headers: Mapping[str, str], deadline: Deadline) -> Reply:
        """Ask, and return with the head of the answer. Redirects are not followed.

        The reply is closed by the caller. Raises UnsafeURLError or NetworkError, of which NetworkTimeout and
        NetworkClosed are children.
        """
        target = check_url(url, allow_private_networks=self.allow_private_networks)
        if deadline.is_over:
            raise over(deadline, f"no time was left to ask {target.host}")
        with ExitStack() as stack:
            stack.enter_context(self._slot(target, deadline))
            try:
                response = self._send(target, headers, deadline)
            except UnsafeURLError as error:
                error.url = url
                raise
            reply = Reply(response, url, target.host, deadline, slot=stack.pop_all())
        if deadline.is_over:  # the head may have been cut off, which http.client takes for its end
            reply.close()
            raise over(deadline, f"{target.host} took too long")
        return reply

    def close(self) -> None:
        """Close the connections, and end the requests under way with a NetworkClosed. Again, it does nothing."""
        with self._making:
            self._is_closed = True
            pools, self._pools = self._pools, None
        self._watchdog.close()
        if pools is not None:
            # clear() leaves the closing to finalizers, which the traceback of a failed request can hold up.
            for key in pools.pools.keys():  # noqa: SIM118 - it is no dict, and is not iterated over
                pool = pools.pools.get(key)
                if pool is not None:
                    pool.close()
            pools.clear()

    @contextmanager
    def _slot(self, target: Target, deadline: Deadline) -> Iterator[None]:
        hosts, host = self._hosts, (target.scheme, target.host, target.port)
        if not hosts.take(host, deadline):
            if deadline.was_closed:
                raise over(deadline, "")
            raise NetworkBusy(f"{target.host} is busy: {hosts.each} requests to it are under way")
        try:
            yield
        finally:
            hosts.give_back(host)

    def _send(self, target: Target, headers: Mapping[str, str], deadline: Deadline) -> urllib3.BaseHTTPResponse:
        with _translated(target.host, deadline), self._dialer.within(deadline):
            pools = self._started()
            pool = pools.connection_from_host(target.host, target.port, target.scheme)
            return pool.urlopen(
                "GET",
                target.path,
                headers={**pools.headers, **headers, "Accept-Encoding": "identity"},
                timeout=urllib3.Timeout(connect=deadline.remaining(), read=deadline.remaining()),
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
                enforce_content_length=True,
            )

    def _started(self) -> urllib3.PoolManager:
        with self._making:
            if self._is_closed:
                raise NetworkClosed("the connections were closed")
            if self._pools is None:
                self._pools = self._make_pools()
            return self._pools

    def _make_pools(self) -> urllib3.PoolManager:
        pools = urllib3.PoolManager(
            num_pools=_MAX_HOSTS,
            maxsize=_MAX_PER_HOST,
            headers={"User-Agent": self._user_agent or _default_user_agent()},
            ssl_context=_make_ssl_context(),  # one for all connections: loading a CA bundle takes 10 ms and more
        )
        open_through(self._dialer, pools)
        return pools

    def _reset_after_fork(self) -> None:
        # Kept, not closed: closing takes the pools' locks, which a thread of the parent may have held.
        self._parents_pools.append(self._pools)
        self._pools = None
        self._making = threading.Lock()
        self._watchdog = Watchdog()
        self._hosts = Slots(_MAX_PER_HOST)
        self._dialer = self._dialer.anew()


class Reply:
    """The head of an answer, and its body still to be read. A context manager; used by one thread.

    slot: closed with it.
    """

    def __init__(
        self, response: urllib3.BaseHTTPResponse, url: str, host: str, deadline: Deadline, *, slot: ExitStack
    ) -> None:
        self._response = response
        self._slot = slot
        self._host = host
        self._deadline = deadline
        self.url = url
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers  # case does not count
        # Absent, or not to be trusted, where the body is chunked.
        self.content_length: int | None = getattr(response, "length_remaining", None)

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes, never decoded. Raises NetworkError, also where it ends too early."""
        while True:
            with _translated(self._host, self._deadline):
                chunk = self._response.read(_CHUNK_BYTES)
            if self._deadline.is_over:  # so an end may be one that the watchdog made
                raise over(self._deadline, f"{self._host} took too long")
            if not chunk:
                return
            yield chunk

    def read_up_to(self, max_bytes: int) -> bytes:
        """The first ``max_bytes`` of the body, or all of a shorter one. Raises as ``chunks`` does."""
        body = bytearray()
        for chunk in self.chunks():
            body += chunk
            if len(body) >= max_bytes:
                break
        return bytes(body[:max_bytes])

    def close(self) -> None:
        """Give the connection back if the body was read to its end, and close it otherwise."""
        with self._slot:
            self._response.close()
            self._response.release_conn()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _translated(host: str, deadline: Deadline) -> Iterator[None]:
    """Turns what the layers below raise into a NetworkError, and says so where the time is over."""
    try:
        yield
    except (NetworkError, UnsafeURLError):
        raise
    # RuntimeError: no thread can be started. ValueError: a status line, header or length that no one can read.
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError, RuntimeError) as error:
        if deadline.is_over:
            raise over(deadline, f"{host} took too long") from error
        if isinstance(error, (urllib3.exceptions.TimeoutError, socket.timeout)):
            raise NetworkTimeout(f"{host} took too long") from error
        raise NetworkError(one_line(f"{host}: {type(error).__name__}: {error}")) from error


def one_line(text: str) -> str:
    """A stranger's text for a message: printable, and cut where it is long."""
    cut = text if len(text) <= 300 else text[:297] + "..."
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in cut)


def _make_ssl_context() -> ssl.SSLContext:
    """Checks certificates and names against the CA bundle of requests, or the one that the environment names."""
    variable = next((name for name in _CA_VARIABLES if os.environ.get(name)), None)
    bundle = os.environ[variable] if variable else requests.utils.DEFAULT_CA_BUNDLE_PATH
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    try:
        if Path(bundle).is_dir():
            context.load_verify_locations(capath=bundle)
        else:
            context.load_verify_locations(cafile=bundle)
    except OSError as error:  # ssl.SSLError is one
        raise NetworkError(f"no CA certificates can be read from {variable or 'the bundle'}: {bundle}") from error
    return context


def _default_user_agent() -> str:
    try:
        return f"atproto-imageproxy/{metadata.version('atproto-imageproxy')}"
    except metadata.PackageNotFoundError:  # run from a checkout that was not installed
        return "atproto-imageproxy"
