"""A fence as a text, to be a part of a key."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

__all__ = ["fence_text"]

_MAX_LENGTH = 64


def fence_text(fence: Hashable) -> str:
    """A short text of ``0-9 a-z ( , ) -`` that is the same where fences are equal, in every process, and else differs.

    Raises TypeError for a fence that is not made of None, int, str, bytes and tuples of them: what others mean, only
    the process knows that made them.
    """
    text = _spell_out(fence)
    if len(text) <= _MAX_LENGTH:
        return text
    return "h" + hashlib.sha256(text.encode("ascii")).hexdigest()[: _MAX_LENGTH - 1]


def _spell_out(fence: Hashable) -> str:
    # A letter in front keeps the types apart, and hex has none of what stands between the parts of a tuple.
    if isinstance(fence, bytes):
        return f"b{fence.hex()}"
    if isinstance(fence, int):
        return f"i{fence:x}"
    if isinstance(fence, str):
        return f"s{fence.encode('utf-8', 'surrogatepass').hex()}"
    if isinstance(fence, tuple):
        return f"({','.join(map(_spell_out, fence))})"
    if fence is None:
        return "n"
    raise TypeError(f"a fence of type {type(fence).__name__}; it must be of None, int, str, bytes, and tuples of them")
