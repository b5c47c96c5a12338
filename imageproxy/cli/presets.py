"""``imageproxy presets``."""

from __future__ import annotations

import argparse

from imageproxy.cli.command import Commands
from imageproxy.cli.output import say
from imageproxy.presets import DEFAULT

__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("presets", help="list the presets", description="Lists the default presets.")
    parser.set_defaults(run=_run)


def _run(_: argparse.Namespace) -> None:
    say(f"{'name':<16} {'box':>10}  {'fit':<8} {'quality':>7}  format")
    for preset in DEFAULT:
        box = f"{preset.width}x{preset.height or '-'}"
        say(f"{preset.name:<16} {box:>10}  {preset.fit.value:<8} {preset.quality:>7}  {preset.format}")
