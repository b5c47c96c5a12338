"""What the commands print."""

from __future__ import annotations

import json
import sys

__all__ = ["counted", "say", "say_json"]


def say(text: str) -> None:
    """Print it, with a question mark for what the terminal's encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


def say_json(value: object) -> None:
    """Print it for programs."""
    print(json.dumps(value, indent=2))


def counted(number: int, one: str, many: str) -> str:
    """A number and its noun: ``"1 entry"``, ``"2,000 entries"``."""
    return f"{number:,} {one if number == 1 else many}"
