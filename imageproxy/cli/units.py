"""Sizes and times, as people write and read them."""

from __future__ import annotations

import argparse
import math
import re
from datetime import datetime, timezone

__all__ = ["read_days", "read_size", "shown_size", "shown_time"]

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+) *(?:([KMGT])(?:I?B)?|B)?", re.IGNORECASE)
_UNITS = "KMGT"
_DAY_SECONDS = 86400


def read_size(text: str) -> int:
    """Bytes, from ``"500MB"``, ``"1.5 GiB"``, ``"2g"`` or a bare number; a kB is 1024 bytes, as in the variables.

    Raises argparse.ArgumentTypeError for what is no size above 0.
    """
    found = _SIZE.fullmatch(text.strip())
    size = 0
    if found is not None:
        number, unit = found.groups()
        size = int(float(number) * 1024 ** (_UNITS.index(unit.upper()) + 1 if unit else 0))
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size above 0, such as 500MB, 2GB or 1000000")
    return size


def read_days(text: str) -> float | None:
    """Seconds, from a number of days; ``None``, which is for ever, from 0.

    Raises argparse.ArgumentTypeError for what is no such number.
    """
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not 0 <= days < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days, such as 30, 0.5, or 0 for ever")
    return days * _DAY_SECONDS or None


def shown_size(size_bytes: int) -> str:
    """Two or three digits and the unit: ``"612 B"``, ``"1.5 KiB"``, ``"23 MiB"``."""
    size: float = size_bytes
    unit = "B"
    for unit in ("B", *(f"{letter}iB" for letter in _UNITS)):
        if size < 1000 or unit == "TiB":
            break
        size /= 1024
    return f"{round(size, 1):g} {unit}" if size < 10 else f"{size:.0f} {unit}"


def shown_time(seconds: float) -> str:
    """A time given in seconds since the epoch, to the second, in UTC: ``"2026-11-24 09:30:00Z"``."""
    return datetime.fromtimestamp(int(seconds), timezone.utc).isoformat(" ").replace("+00:00", "Z")
