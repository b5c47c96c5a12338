"""The life of the server, from its sockets to the last queued write."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from imageproxy.aio import AsyncService
from imageproxy.config import Config
from imageproxy.errors import ConfigError
from imageproxy.factory import create_service
from imageproxy.web import ASGIApp, Options

from .connection import Limits, limited
from .front import Images, Status
from .health import Health

if TYPE_CHECKING:
    from .metrics import Metrics

__all__ = ["ServeOptions", "serve"]

_log = logging.getLogger("imageproxy.serve")

_NO_METRICS = 'metrics need an extra that is not installed: pip install "atproto-imageproxy[prometheus]"'
_BACKLOG = 2048
_LEAST_CLOSE_SECONDS = 5.0
"""What queued writes get at least, when the answers have taken all of the time."""
_SPARE_FILES = 256
"""What is open beside connections: the cache's files, fetches, the log."""


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How the server runs.

    host, port: where the images are. port 0: any free one.
    metrics_port: where /metrics, /healthz and /readyz are, on the same host; ``None``: no metrics, the others beside
        the images.
    shutdown_seconds: how long answers that are under way may take once the server is told to stop.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    metrics_port: int | None = None
    shutdown_seconds: int = 20
    logs_access: bool = True
    limits: Limits = field(default_factory=Limits)


def serve(config: Config, web: Options, options: ServeOptions) -> None:
    """Serve images until SIGTERM or SIGINT, and return when all is finished. For the main thread.

    A second signal ends the process at once.

    Raises ConfigError, and OSError for an address that cannot be had.
    """
    with ExitStack() as held:
        images_at = held.enter_context(_bound(options.host, options.port, "--port"))
        metrics_at = None
        if options.metrics_port is not None:
            metrics_at = held.enter_context(_bound(options.host, options.metrics_port, "--metrics-port"))
        _warn(config, web)
        _allow_files(options.limits.connections + _SPARE_FILES)
        with _loop() as loop:
            loop.run_until_complete(_serve(config, web, options, images_at, metrics_at))


async def _serve(
    config: Config, web: Options, options: ServeOptions, images_at: socket.socket, metrics_at: socket.socket | None
) -> None:
    metrics = None if metrics_at is None else _metrics()
    service = create_service(config, observers=() if metrics is None else (metrics.observer,))
    if metrics is not None:
        metrics.observer.watch(service)
    root = getattr(service._cache, "root", None)
    health = Health(root if isinstance(root, Path) else None)
    images = AsyncService(service)
    front = Images(ASGIApp(images, web), Status(health), metrics=metrics, logs_access=options.logs_access)
    servers = [_Server(_settings(front, options), images_at, "images")]
    if metrics_at is not None:
        status = Status(health, metrics, no_metrics=_NO_METRICS)
        servers.append(_Server(_settings(status, options), metrics_at, "metrics"))
    stopping = asyncio.Event()
    with _signals(stopping.set):
        # The images last: once the log tells where they are, all is there.
        running = [asyncio.ensure_future(server.run_until_told()) for server in reversed(servers)][::-1]
        asked = asyncio.ensure_future(stopping.wait())
        await asyncio.wait([asked, *running], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        _log.info("closing: finishing answers and queued writes")
        ends_at = time.monotonic() + options.shutdown_seconds
        health.is_closing = True
        servers[0].should_exit = True
        await running[0]
        is_finished = await images.close(max(_LEAST_CLOSE_SECONDS, ends_at - time.monotonic()))
        if not is_finished:
            _log.warning("some images were not finished or not written to the cache in time")
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*running)
    _log.info("closed")


class _Server(uvicorn.Server):
    """One of uvicorn's, on a socket that is there already."""

    def __init__(self, settings: uvicorn.Config, at: socket.socket, what: str) -> None:
        super().__init__(settings)
        self._at = at
        self._what = what

    async def run_until_told(self) -> None:
        """Serve until ``should_exit`` is set."""
        host, port = self._at.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        _log.info("%s at http://%s:%d", self._what, shown, port, extra={"host": host, "port": port})
        await self.serve(sockets=[self._at])
        # What was given up has its last word.
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=1.0)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them: there may be two servers, and a service that is to be closed after them."""
        yield


def _settings(app: Any, options: ServeOptions) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=limited(options.limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=options.shutdown_seconds,
    )


@contextmanager
def _bound(host: str, port: int, option: str) -> Iterator[socket.socket]:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        found = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        hint = f"; is another server running there? choose another {option}" if error.errno == errno.EADDRINUSE else ""
        what = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise ConfigError(f"cannot listen at {host!r}:{port}: {what}{hint}", option=option, value=port) from error
    with found:
        yield found


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    try:
        import uvloop  # not on Windows
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    try:
        yield loop
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Stop at the first signal, and at once at the second. Works on Windows, as add_signal_handler does not."""
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        loop.call_soon_threadsafe(stop)

    break_ = getattr(signal, "SIGBREAK", None)  # Ctrl-Break, and what Windows has for SIGTERM
    numbers = [signal.SIGINT, signal.SIGTERM, *(() if break_ is None else (break_,))]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _metrics() -> Metrics | None:
    try:
        from .metrics import Metrics
    except ImportError:
        _log.warning(_NO_METRICS)
        return None
    return Metrics()


def _warn(config: Config, web: Options) -> None:
    if not (config.url_signing_key or web.signing_keys):
        _log.warning(
            "open to all: whoever reaches this server can have it fetch any image of any account; to answer only for "
            "URLs that your app wrote, set IMAGE_PROXY_URL_SIGNING_KEY here and there"
        )
    if config.allow_private_networks:
        _log.warning(
            "IMAGE_PROXY_ALLOW_PRIVATE_NETWORKS is on: strangers' accounts can name servers in this machine's own "
            "networks; never in production"
        )


def _allow_files(wanted: int) -> None:
    """Let the process have as many open files as it has connections, where the system lets it."""
    try:
        import resource  # not on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        _log.warning("the system allows %d open files, %d are wanted: lower --max-connections", most, wanted)
