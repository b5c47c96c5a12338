"""The folder that a command of ``imageproxy cache`` is about."""

from __future__ import annotations

import argparse
from pathlib import Path

from imageproxy.caches import DiskCache
from imageproxy.cli.command import add_json
from imageproxy.config import Config
from imageproxy.errors import ConfigError

__all__ = ["add_options", "cache_for"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all these commands have."""
    parser.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="the cache folder; by default that of IMAGE_PROXY_CACHE_PATH, or the user's",
    )
    add_json(parser)


def cache_for(root: Path | None, config: Config) -> DiskCache:
    """The cache in the folder ``root``, or in the one that ``config`` names. Makes nothing.

    Raises ConfigError where there is no such folder.
    """
    cache = DiskCache(
        config.cache_path if root is None else root,
        max_bytes=config.cache_max_bytes,
        ttl_seconds=config.cache_ttl_seconds,
    )
    if not cache.root.is_dir():
        raise ConfigError(f"there is no cache folder {str(cache.root)!r}", option="--root", value=cache.root)
    return cache
