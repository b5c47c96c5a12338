"""The list of blobs to warm: lines of text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from imageproxy.errors import InvalidRequestError
from imageproxy.identifiers import canonical_cid, canonical_did

__all__ = ["BadLine", "Item", "read_items"]

Item: TypeAlias = tuple[str, str]
_MAX_LINE_BYTES = 4096  # a DID has at most 2048 characters


class BadLine(NamedTuple):
    """A line that could not be read, by its number from 1, and why."""

    number: int
    message: str


def read_items(lines: Iterable[bytes]) -> tuple[list[Item], list[BadLine]]:
    """The pairs ``(did, cid)``, and the lines that are none. Empty lines and what follows a ``#`` do not count."""
    items: list[Item] = []
    bad: list[BadLine] = []
    for number, line in enumerate(lines, 1):
        words = (
            line[:_MAX_LINE_BYTES].decode("utf-8-sig" if number == 1 else "utf-8", "replace").partition("#")[0].split()
        )
        if not words:
            continue
        try:
            did, cid = words
            items.append((canonical_did(did), canonical_cid(cid)))
        except InvalidRequestError as error:
            bad.append(BadLine(number, str(error)))
        except ValueError:
            bad.append(BadLine(number, f"a line has a DID and a CID, not {len(words)} words"))
    return items, bad
