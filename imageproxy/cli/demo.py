"""``imageproxy demo``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from imageproxy.cli.command import Commands, add_command, add_json
from imageproxy.cli.output import say, say_json
from imageproxy.config import Config
from imageproxy.demo import run_demo
from imageproxy.demo.photos import drawn, photos_in
from imageproxy.demo.table import table

__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "demo",
        summary="show photos in every preset, with timings, from a server on this machine",
        description="Puts photos on a PDS on this machine, asks for each in every preset, cold and from the cache, "
        "prints the timings and writes a contact sheet.",
        examples=("imageproxy demo", "imageproxy demo --photos holiday --output sheet"),
    )
    parser.add_argument("--photos", type=Path, metavar="DIR", help="a folder of photos; by default, some are drawn")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", default=Path("demo"), help="where to write the sheet (%(default)s)"
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    folder = arguments.photos
    photos = drawn() if folder is None else photos_in(folder, max_bytes=Config().max_source_bytes)
    result = run_demo(photos, arguments.output, progress=sys.stderr)
    if arguments.json:
        say_json({"page": str(result.page), "photos": [report.as_values() for report in result.reports]})
        return
    say(table(result.reports))
    say(f"\nContact sheet: {result.page}")
