"""The command line: ``imageproxy``, or ``python -m imageproxy``.

Exit codes: 0; 1 for an error, told in one line on stderr; 2 for a command that is not understood; 130 after Ctrl-C; 141
where the reader of the output is gone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from imageproxy import __version__
from imageproxy.config import Config
from imageproxy.demo import run_demo
from imageproxy.demo.photos import drawn, photos_in
from imageproxy.demo.table import table
from imageproxy.errors import ImageProxyError
from imageproxy.factory import create_service
from imageproxy.presets import DEFAULT

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    argv: without the program's name; ``None``: the process's own.

    Raises SystemExit for a command that is not understood, and for ``--help``, as argparse does. Ctrl-C ends the
    process without returning.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        os._exit(130)  # at once: the interpreter would wait for the threads of what was under way
    except BrokenPipeError:
        # What is still buffered would fail once more when the interpreter flushes it on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ImageProxyError, OSError) as error:
        print(f"imageproxy: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imageproxy", description="Small, safe, cached images from the blobs of AT Protocol accounts."
    )
    parser.add_argument("--version", action="version", version=f"imageproxy {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo",
        help="show photos in every preset, with timings, from a server on this machine",
        description="Puts photos on a PDS on this machine, asks for each in every preset, cold and from the cache, "
        "prints the timings and writes a contact sheet.",
    )
    demo.add_argument("--photos", type=Path, metavar="DIR", help="a folder of photos; by default, some are drawn")
    demo.add_argument(
        "--output", type=Path, metavar="DIR", default=Path("demo"), help="where to write the sheet (%(default)s)"
    )
    demo.set_defaults(run=_demo)

    get = commands.add_parser(
        "get",
        help="get one image",
        description="Gets one image through the cache, as an app would. Options come from the IMAGE_PROXY_* variables.",
    )
    get.add_argument("preset", metavar="PRESET", help="its name; see 'imageproxy presets'")
    get.add_argument("did", metavar="DID", help="the account")
    get.add_argument("cid", metavar="CID", help="the blob")
    get.add_argument("--pds", metavar="URL", help="the account's PDS; by default, it is looked up")
    get.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write it; by default, to stdout")
    get.set_defaults(run=_get, usage_error=get.error)

    presets = commands.add_parser("presets", help="list the presets", description="Lists the default presets.")
    presets.set_defaults(run=_presets)
    return parser


def _demo(arguments: argparse.Namespace) -> None:
    folder = arguments.photos
    photos = drawn() if folder is None else photos_in(folder, max_bytes=Config().max_source_bytes)
    result = run_demo(photos, arguments.output, progress=sys.stderr)
    _say(table(result.reports))
    _say(f"\nContact sheet: {result.page}")


def _get(arguments: argparse.Namespace) -> None:
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


def _presets(_: argparse.Namespace) -> None:
    _say(f"{'name':<16} {'box':>10}  {'fit':<8} {'quality':>7}  format")
    for preset in DEFAULT:
        box = f"{preset.width}x{preset.height or '-'}"
        _say(f"{preset.name:<16} {box:>10}  {preset.fit.value:<8} {preset.quality:>7}  {preset.format}")


def _say(text: str) -> None:
    """Print it, with a question mark for what the terminal's encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))
