"""``imageproxy warm``: makes images ahead of the first request for them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from imageproxy._terminal import ProgressBar
from imageproxy.cli.choice import read_presets
from imageproxy.cli.command import Commands, add_command, add_json
from imageproxy.cli.output import say, say_json
from imageproxy.cli.service import open_reader, open_service
from imageproxy.cli.warm.items import BadLine, Item, read_items
from imageproxy.cli.warm.summary import Summary
from imageproxy.config import Config
from imageproxy.presets import Preset
from imageproxy.results import WarmReport

__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "warm",
        summary="make images ahead of the first request for them",
        description="Fills the cache with the images of a list, or with all of accounts. Each blob is fetched once, "
        "whatever the presets. What is no image, such as a video, is counted apart. Exits with 1 where an image "
        "failed or a line could not be read; all others are made.",
        examples=(
            "imageproxy warm blobs.txt",
            "my-app list-avatars | imageproxy warm --presets avatar,avatar_small -",
            "imageproxy warm --account alice.example.com --account did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        ),
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="a DID and a CID on each line, '-' for stdin; empty lines and what follows a # do not count",
    )
    source.add_argument(
        "--account",
        action="append",
        metavar="ACCOUNT",
        help="all blobs of an account: a DID or a handle; may be repeated",
    )
    parser.add_argument(
        "--presets",
        type=read_presets,
        metavar="NAMES",
        default="default",
        help="default, bluesky, or names of 'imageproxy presets', with commas between them (by default: %(default)s)",
    )
    parser.add_argument("--pds", metavar="URL", help="the PDS of all accounts; by default, it is looked up")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    config = Config.from_env()
    presets: list[Preset] = list(arguments.presets.values())
    bad_lines: list[BadLine] = []
    if arguments.file is None:
        items = _list_accounts(arguments.account, arguments.pds, config)
    else:
        items, bad_lines = _read(arguments.file)
        for bad in bad_lines:
            print(f"imageproxy: line {bad.number}: {bad.message}", file=sys.stderr)
    total = len(items) * len(presets)
    with open_service(config, pds_url=arguments.pds) as service, ProgressBar(sys.stderr) as bar:
        report = service.warm(
            items, presets=presets, on_progress=lambda report: bar.show(report.done, total, _told(report))
        )
    summary = Summary.of(report, blobs=len(items))
    if arguments.json:
        unread = [{"line": bad.number, "message": bad.message} for bad in bad_lines]
        say_json({**summary.as_values(), "bad_lines": unread})
    else:
        say(summary.as_text())
    return 1 if bad_lines or summary.failed else 0


def _read(file: str) -> tuple[list[Item], list[BadLine]]:
    if file == "-":
        return read_items(sys.stdin.buffer)
    with Path(file).open("rb") as lines:
        return read_items(lines)


def _list_accounts(accounts: list[str], pds_url: str | None, config: Config) -> list[Item]:
    items: list[Item] = []
    with open_reader(config) as reader, ProgressBar(sys.stderr) as bar:
        for account in accounts:
            did, its_pds_url = reader.find_account(account, pds_url=pds_url)
            for cid in reader.list_blobs(did, its_pds_url):
                items.append((did, cid))
                bar.tell(f"listing: {len(items):,} blobs")
    return items


def _told(report: WarmReport) -> str:
    return f"{report.made:,} made, {report.cached:,} cached, {len(report.failures):,} not"
