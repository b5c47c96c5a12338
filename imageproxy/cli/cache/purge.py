"""``imageproxy cache purge``."""

from __future__ import annotations

import argparse

from imageproxy.cli.cache.folder import add_options, cache_for
from imageproxy.cli.command import Commands
from imageproxy.cli.output import counted, say, say_json
from imageproxy.config import Config
from imageproxy.identifiers import canonical_cid, canonical_did

__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "purge",
        help="erase one blob, or all of an account",
        description="Erases one blob in every preset, or all of an account. What services are fetching just now does "
        "not come back into the folder. It may be fetched afresh: what is to stay away, a policy must block.",
    )
    add_options(parser)
    parser.add_argument("did", metavar="DID", help="the account")
    parser.add_argument("cid", metavar="CID", nargs="?", help="the blob; without it, all of the account")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    did = canonical_did(arguments.did)
    cid = None if arguments.cid is None else canonical_cid(arguments.cid)
    cache = cache_for(arguments.root, Config.from_env())
    removed = cache.purge(did, cid)
    if arguments.json:
        say_json({"root": str(cache.root), "did": did, "cid": cid, "removed_entries": removed})
    else:
        say(f"Removed {counted(removed, 'entry', 'entries')}.")
