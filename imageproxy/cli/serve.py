"""``imageproxy serve``."""

from __future__ import annotations

import argparse
from dataclasses import replace

from imageproxy.cli.command import Commands, add_command
from imageproxy.errors import ConfigError
from imageproxy.web._settings import read_settings

__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "serve",
        summary="serve images over HTTP",
        description="Answers GET and HEAD /img/{preset}/plain/{did}/{cid}, /healthz and /readyz. All other options "
        "come from the IMAGE_PROXY_* variables; with IMAGE_PROXY_URL_SIGNING_KEY, only signed URLs are answered. "
        "SIGTERM and Ctrl-C stop it: answers and cache writes that are under way are finished first. Needs "
        'pip install "atproto-imageproxy[server]".',
        examples=(
            "imageproxy serve",
            "imageproxy serve --host 0.0.0.0 --port 80 --metrics-port 9090 --log-format json",
        ),
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (%(default)s)")
    parser.add_argument("--port", type=_read_port, default=8080, help="the port, 0 for a free one (%(default)s)")
    parser.add_argument(
        "--metrics-port",
        type=_read_port,
        metavar="PORT",
        help="tell /metrics, /healthz and /readyz on a port of their own, which strangers should not reach; without "
        "it, there are no metrics",
    )
    parser.add_argument(
        "--negotiate",
        action="store_true",
        help="send AVIF or WebP to clients that ask for it (Accept); not behind a CDN that ignores Vary",
    )
    parser.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="how to log, to stderr (%(default)s)"
    )
    parser.add_argument("--no-access-log", action="store_true", help="do not log each request")
    parser.add_argument(
        "--max-connections", type=_read_count, default=1000, metavar="N", help="one more is closed (%(default)s)"
    )
    parser.add_argument(
        "--shutdown-timeout",
        type=_read_count,
        default=20,
        metavar="SECONDS",
        help="how long answers that are under way may take when it stops; writes get 5 seconds more (%(default)s)",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    try:
        from imageproxy._server.connection import Limits
        from imageproxy._server.logs import set_up_logs
        from imageproxy._server.run import ServeOptions, serve
    except ImportError as error:
        raise ConfigError(
            f'the server needs an extra that is not installed: pip install "atproto-imageproxy[server]" ({error})'
        ) from error
    set_up_logs(arguments.log_format)
    options = ServeOptions(
        host=arguments.host,
        port=arguments.port,
        metrics_port=arguments.metrics_port,
        shutdown_seconds=arguments.shutdown_timeout,
        logs_access=not arguments.no_access_log,
        limits=Limits(connections=arguments.max_connections),
    )
    config, web = read_settings({})
    serve(config, replace(web, negotiate=True) if arguments.negotiate else web, options)


def _read_port(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text) < 2**16:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port; it must be a number from 0 to 65535")


def _read_count(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
