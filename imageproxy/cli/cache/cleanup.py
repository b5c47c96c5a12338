"""``imageproxy cache cleanup``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from imageproxy._terminal import ProgressBar
from imageproxy.cli.cache.folder import add_options, cache_for
from imageproxy.cli.command import Commands, add_command
from imageproxy.cli.output import counted, say, say_json
from imageproxy.cli.units import read_days, read_size, shown_size
from imageproxy.config import Config

__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "cleanup",
        summary="remove what is expired or over the limit",
        description="Removes what is expired, what was used longest ago where the cache is over the limit, and what "
        "killed processes left. A service does this by itself from time to time.",
        examples=("imageproxy cache cleanup --max-bytes 2GB --ttl-days 7",),
    )
    add_options(parser)
    parser.add_argument(
        "--max-bytes",
        type=read_size,
        metavar="SIZE",
        help="the limit, such as 500MB or 2GB (of 1024**3 bytes); by default IMAGE_PROXY_CACHE_MAX_GB, or 10 GB",
    )
    parser.add_argument(
        "--ttl-days",
        type=read_days,
        metavar="DAYS",
        default=argparse.SUPPRESS,  # 0 is None
        help="how old an image may be, 0 for any age; by default IMAGE_PROXY_CACHE_TTL_DAYS, or 30",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    config = Config.from_env()
    if arguments.max_bytes is not None:
        config = replace(config, cache_max_bytes=arguments.max_bytes)
    if "ttl_days" in arguments:
        config = replace(config, cache_ttl_seconds=arguments.ttl_days)
    cache = cache_for(arguments.root, config)
    before = sum(entry.size_bytes for entry in cache.entries())
    with ProgressBar(sys.stderr) as bar:
        removed = cache.cleanup(on_progress=bar.show)
    left = cache.size_bytes()
    freed = max(0, before - left)  # others may have written meanwhile
    if arguments.json:
        say_json({"root": str(cache.root), "removed_entries": removed, "removed_bytes": freed, "bytes": left})
    else:
        say(f"Removed {counted(removed, 'entry', 'entries')}, {shown_size(freed)}; {shown_size(left)} are left.")
