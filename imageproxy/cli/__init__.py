"""The command line: ``imageproxy``, or ``python -m imageproxy``.

Exit codes: 0; 1 for an error, told in one line on stderr, and where some of many things failed; 2 for a command that is
not understood; 130 after Ctrl-C; 141 where the reader of the output is gone.

Each command is a file of its own, or a package, with a function ``add_to``: it adds the command's parser, whose default
``run`` is the function that carries it out and returns an exit code, or ``None`` for 0. A further command is one more
such file, and its line in ``_COMMANDS``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from imageproxy import __version__
from imageproxy.cli import cache, demo, get, presets, preview, serve, warm
from imageproxy.cli.cache import purge
from imageproxy.errors import ImageProxyError

__all__ = ["main"]

_COMMANDS = (
    demo,
    preview,
    presets,
    get,
    serve,
    warm,
    purge,
    cache,
)  # in the order of the help


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    argv: without the program's name; ``None``: the process's own.

    Raises SystemExit for a command that is not understood, and for ``--help``, as argparse does.
    """
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments) or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        # What is computed just now runs to its end, a second or two; a second Ctrl-C does not wait for it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        return 130
    except BrokenPipeError:
        # What is still buffered would fail once more when the interpreter flushes it on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ImageProxyError, OSError) as error:
        print(f"imageproxy: {error}", file=sys.stderr)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imageproxy", description="Small, safe, cached images from the blobs of AT Protocol accounts."
    )
    parser.add_argument("--version", action="version", version=f"imageproxy {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_to(commands)
    return parser
