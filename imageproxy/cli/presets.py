"""``imageproxy presets``."""

from __future__ import annotations

import argparse

from imageproxy.cli.choice import SETS, label
from imageproxy.cli.command import Commands, add_command, add_json
from imageproxy.cli.output import say, say_json
from imageproxy.presets import Preset

__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "presets",
        summary="list the presets",
        description="Lists the presets that the library brings, in two sets: its default ones, and those of the "
        "reference app server. Other commands take the names in the first column.",
        examples=("imageproxy presets", "imageproxy presets --set bluesky --json"),
    )
    parser.add_argument("--set", choices=SETS, help="one set alone; by default, all are listed")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    names = SETS if arguments.set is None else (arguments.set,)
    listed = [(label(name, preset), preset) for name in names for preset in SETS[name]]
    if arguments.json:
        say_json([_values(name, preset) for name, preset in listed])
        return
    say(f"{'name':<22} {'box':>10}  {'fit':<7} {'enlarges':<8} {'quality':>7}  format")
    for name, preset in listed:
        box = f"{preset.width}x{preset.height or '-'}"
        enlarges = "yes" if preset.enlarges else "no"
        say(f"{name:<22} {box:>10}  {preset.fit.value:<7} {enlarges:<8} {preset.quality:>7}  {preset.format}")


def _values(name: str, preset: Preset) -> dict[str, object]:
    return {
        "name": name,
        "width": preset.width,
        "height": preset.height,
        "fit": preset.fit.value,
        "enlarges": preset.enlarges,
        "quality": preset.quality,
        "format": preset.format,
        "key": preset.key,
    }
