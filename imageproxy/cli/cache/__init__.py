"""``imageproxy cache``: looks after the folder of a disk cache, also while services use it."""

from __future__ import annotations

from imageproxy.cli.cache import cleanup, purge, stats, verify
from imageproxy.cli.command import Commands

__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the group of commands."""
    parser = commands.add_parser(
        "cache",
        help="look after a cache folder: stats, cleanup, verify, purge",
        description="Looks after the folder of a disk cache. Services may go on using it meanwhile.",
    )
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (stats, cleanup, verify, purge):
        command.add_to(group)
