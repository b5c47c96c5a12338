"""What the client has already: ``If-None-Match`` (RFC 9110 section 13.1.2).

A tag that matches is answered 304 without a look at the image, once the policy has allowed it. The tag is made of what
the pixels depend on (preset, engine, CID), so whoever has an image under it has the right one, also where this side's
copy has been evicted since or the blob is gone from its server: fetching it again would prove nothing. A client that
makes up a tag learns nothing and gets nothing but a 304. ``*`` asks whether there is an image at all, and is answered
when it is there.
"""

from __future__ import annotations

import re
from enum import Enum

__all__ = ["Condition", "condition"]

_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\U0010ffff]*")')


class Condition(Enum):
    """What the request says about the client's copy."""

    NONE = "none"
    """Nothing that matters: send the image."""
    HAS_THIS = "has this"
    """It has the present image."""
    HAS_ANY = "has any"
    """It wants nothing if there is an image."""


def condition(if_none_match: str, etag: str) -> Condition:
    """Judge the field's value, ``""`` where there is none. Compares weakly, as the RFC wants it here."""
    if not if_none_match:
        return Condition.NONE
    if if_none_match.strip() == "*":
        return Condition.HAS_ANY
    return Condition.HAS_THIS if etag in _TAG.findall(if_none_match) else Condition.NONE
