"""What a command adds itself to."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, TypeAlias

__all__ = ["Commands", "add_command", "add_json"]

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = Any

_HEADING = "examples:\n"


def add_command(
    commands: Commands, name: str, *, summary: str, description: str, examples: tuple[str, ...] = ()
) -> argparse.ArgumentParser:
    """Add a command.

    summary: for the list of commands. examples: lines of a shell, shown below its options.
    """
    epilog = _HEADING + "\n".join(f"  {line}" for line in examples) if examples else None
    return commands.add_parser(name, help=summary, description=description, epilog=epilog, formatter_class=_Formatter)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option of the commands that report something."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


class _Formatter(argparse.HelpFormatter):
    """Leaves the lines of examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(_HEADING) else super()._fill_text(text, width, indent)
