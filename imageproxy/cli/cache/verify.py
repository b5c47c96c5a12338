"""``imageproxy cache verify``."""

from __future__ import annotations

import argparse
import sys

from imageproxy._terminal import ProgressBar
from imageproxy.cli.cache.folder import add_options, cache_for
from imageproxy.cli.command import Commands, add_command
from imageproxy.cli.output import counted, say, say_json
from imageproxy.config import Config

__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "verify",
        summary="read everything, and remove what is damaged",
        description="Reads every entry, and removes those that are cut short or have flipped bits; they are made anew "
        "when they are next asked for. Exits with 0 also where some were: afterwards the cache is sound. "
        "With --json, damaged_entries tells how many.",
        examples=("imageproxy cache verify --root /var/cache/images",),
    )
    add_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    cache = cache_for(arguments.root, Config.from_env())
    entries = sum(1 for _ in cache.entries())
    with ProgressBar(sys.stderr) as bar:
        damaged = cache.verify(on_progress=bar.show)
    if arguments.json:
        say_json({"root": str(cache.root), "entries": entries, "damaged_entries": damaged})
    elif damaged:
        say(f"Removed {damaged:,} damaged of {counted(entries, 'entry', 'entries')}.")
    else:
        say(f"Read {counted(entries, 'entry', 'entries')}; all are sound.")
