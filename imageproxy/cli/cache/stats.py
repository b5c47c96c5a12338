"""``imageproxy cache stats``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator

from imageproxy._terminal import ProgressBar
from imageproxy.caches._entry import SHARDS, EntryInfo
from imageproxy.cli.cache.census import take_census
from imageproxy.cli.cache.folder import add_options, cache_for
from imageproxy.cli.cache.report import as_text, as_values
from imageproxy.cli.command import Commands, add_command
from imageproxy.cli.output import say, say_json
from imageproxy.config import Config

__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "stats",
        summary="tell what is in the cache",
        description="Tells how much is in the cache, how old and how large its entries are, and which accounts have "
        "most. Accounts appear as the digests that name their files. Changes nothing. Times are in UTC, a KiB is 1024 "
        "bytes.",
        examples=("imageproxy cache stats --json",),
    )
    add_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    config = Config.from_env()
    cache = cache_for(arguments.root, config)
    with ProgressBar(sys.stderr) as bar:
        census = take_census(_shown(cache.entries(), bar), time.time())
    if arguments.json:
        say_json(as_values(str(cache.root), census, config.cache_max_bytes))
    else:
        say(as_text(str(cache.root), census, config.cache_max_bytes))


def _shown(entries: Iterable[EntryInfo], bar: ProgressBar) -> Iterator[EntryInfo]:
    """The entries; the bar moves with the folders that they come from."""
    shard = ""
    for entry in entries:
        if entry.shard != shard:
            shard = entry.shard
            bar.show(int(shard, 16), SHARDS)
        yield entry
