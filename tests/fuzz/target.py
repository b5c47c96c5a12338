"""What a fuzzer needs of the thing that it attacks, and what it says when it wins."""

from __future__ import annotations

import random
import re
import traceback
from collections.abc import Sequence
from typing import Protocol

__all__ = ["Corpus", "FindingError", "Target", "failure_of", "shape_of"]

Corpus = Sequence[bytes]

_QUOTED = re.compile(r"b?'[^']*(?:'|$)|b?\"[^\"]*(?:\"|$)")
_NUMBER = re.compile(r"0x[0-9a-f]+|[0-9a-f]*[0-9][0-9a-f,.]*")


class FindingError(Exception):
    """The library broke a promise. ``kind`` names which, in a way that two findings of one cause have in common."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail


class Target(Protocol):
    """One part of the library under attack. An input is bytes, whatever it stands for, so that it can be a file.

    Made in a process of its own, of which it may change what it likes, before the first input.
    """

    name: str

    def seeds(self) -> list[bytes]:
        """Inputs to begin with. The same list every time."""
        ...

    def mutant(self, rng: random.Random, corpus: Corpus) -> bytes:
        """A new input, from those in ``corpus``. The same one for the same state of ``rng`` and the same corpus."""
        ...

    def run(self, data: bytes, *, in_all_ways: bool = False) -> str:
        """Feed the input to the library; returns a short text for what happened, one for each kind of ending.

        in_all_ways: with each preset and option there is, instead of those that the input's own bytes select.

        Raises FindingError; so, by itself, does whatever else the library lets through.
        """
        ...

    def settle(self) -> None:
        """Close all and begin anew. Raises FindingError for what is left open, running or changed."""
        ...


def shape_of(error: BaseException) -> str:
    """The kind of ending that an error is: its type, those of its causes, its message without the values in it."""
    names = []
    cause: BaseException | None = error
    while cause is not None:
        names.append(type(cause).__name__)
        cause = cause.__cause__
    message = _NUMBER.sub("#", _QUOTED.sub("'..'", str(error)[:200]))
    return f"{' < '.join(names)}: {message[:60]}"


def failure_of(error: BaseException) -> FindingError:
    """What the library should not have let through, named by where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if "imageproxy" in frame.filename and "fuzz" not in frame.filename]
    where = inside[-1] if inside else frames[-1]
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return FindingError(f"{type(error).__name__} from {where.name}, line {where.lineno}", text)
