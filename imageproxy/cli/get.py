"""``imageproxy get``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from imageproxy.cli.command import Commands
from imageproxy.config import Config
from imageproxy.factory import create_service

__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "get",
        help="get one image",
        description="Gets one image through the cache, as an app would. Options come from the IMAGE_PROXY_* variables.",
    )
    parser.add_argument("preset", metavar="PRESET", help="its name; see 'imageproxy presets'")
    parser.add_argument("did", metavar="DID", help="the account")
    parser.add_argument("cid", metavar="CID", help="the blob")
    parser.add_argument("--pds", metavar="URL", help="the account's PDS; by default, it is looked up")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write it; by default, to stdout")
    parser.set_defaults(run=_run, usage_error=parser.error)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.output is None and sys.stdout.isatty():
        arguments.usage_error("an image is not for the terminal; name a file with -o, or redirect the output")
    service = create_service(Config.from_env())
    patience = None
    try:
        image = service.get_image(arguments.preset, arguments.did, arguments.cid, arguments.pds)
    except KeyboardInterrupt:
        patience = 0.0  # not for what a slow PDS still owes
        raise
    finally:
        service.close(patience)
    if arguments.output is None:
        sys.stdout.buffer.write(image)
    else:
        arguments.output.write_bytes(image)
