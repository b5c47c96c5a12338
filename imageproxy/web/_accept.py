"""Choosing a format by what the client says that it reads (RFC 9110 section 12.5.1)."""

from __future__ import annotations

import re
from functools import lru_cache

from imageproxy.presets import ImageFormat

__all__ = ["choose_format"]

_MAX_LENGTH = 1024  # of real browsers' Accept, the longest has some 150 characters
_RANGE = re.compile(r"\s*([^\s;,]+/[^\s;,]+)\s*((?:;[^,]*)?)")
_WEIGHT = re.compile(r";\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*(?:;|$)", re.IGNORECASE)


def choose_format(accept: str, own: ImageFormat) -> ImageFormat:
    """The best of AVIF, WebP, JPEG and the preset's own format.

    The one with the greatest weight, and of several the smallest file. ``image/*`` and ``*/*`` stand for the preset's
    own format alone: they come from clients that have never heard of AVIF. A client that accepts none of them gets the
    preset's own, as if it had not said anything (RFC 9110 allows that).
    """
    return _choose(accept, own) if len(accept) <= _MAX_LENGTH else own


@lru_cache(maxsize=512)
def _choose(accept: str, own: ImageFormat) -> ImageFormat:
    weights = _weights(accept)
    whatever = weights.get("image/*", weights.get("*/*", 0.0))
    best, best_weight = own, 0.0
    preferred: tuple[ImageFormat, ...] = ("avif", "webp", own, "jpeg")
    for candidate in preferred:
        weight = weights.get(f"image/{candidate}", whatever if candidate == own else 0.0)
        if weight > best_weight:
            best, best_weight = candidate, weight
    return best


def _weights(accept: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for item in accept.split(","):
        if media := _RANGE.fullmatch(item):
            parameters = media[2]
            weight = _WEIGHT.search(parameters)
            if weight is None and re.search(r";\s*q\s*=", parameters, re.IGNORECASE):
                continue  # a weight that is none: what is meant cannot be told
            weights[media[1].lower()] = float(weight[1]) if weight else 1.0
    return weights
