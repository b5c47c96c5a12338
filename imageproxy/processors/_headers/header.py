"""What is known of an image before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import NamedTuple

from imageproxy.errors import ProcessingError

__all__ = ["Header", "Scan", "broken", "check_count", "most_blocks"]


class Scan(NamedTuple):
    """A scan of a progressive JPEG: a pass over the picture that tells more of its coefficients (ITU-T T.81, annex G).

    start, end: where it stands in the last of ``Header.parts``, from its marker to the next.
    first: the first of the coefficients, in their zigzag order.
    refines: whether it tells one more bit of those that were told before.
    bit: the last that it tells; 0 is the last of all.
    is_light: whether it is of the first component, which is the light of nearly all files.
    """

    start: int
    end: int
    first: int
    refines: bool
    bit: int
    is_light: bool


@dataclass(frozen=True)
class Header:
    """An image's size and what is needed besides its pixels.

    format: the decoder's name, as Pillow has it (``"JPEG"``).
    width, height: in pixels, as stored: before any orientation.
    parts: the bytes to decode, one after the other: the image without the metadata, which the decoders stumble over
        more often than over pixels (and of which none is to be in the result). They are joined when ``source`` is
        first asked for, since an estimate does without. What is read of a JPEG or a PNG before its pixels is in the
        first.
    exif, icc_profile: as found, or a profile made of what else tells the colours; ``None`` where there is none, or
        where the decoder tells it better.
    scans: of a progressive JPEG, after the first, those of one component that tell other coefficients than the blocks'
        means; none where the first component has fewer samples than another.
    step: of a JPEG, the mean step of its quantizer; infinite where it is not known.
    transparent: the one transparent colour of a picture with 16 bits a channel, which decoders to 8 bits miss.
    offset: where the picture lies on a canvas of ``width`` times ``height``, the rest of which is transparent; ``None``
        where it covers all of it.
    is_animated: whether it is an animation of a kind whose first frame is no file for decoders of still pictures.
    side_bytes: what its decoder takes beside the pixels, where that is not told by the size.
    detail: how much there is to see from one pixel to the next. Of a JPEG its bits per pixel, times the root of the
        mean step of its quantizer: of photos 0.5 to 13; of others it is not known, and taken for the most.
    """

    format: str
    width: int
    height: int
    parts: tuple[bytes | memoryview, ...]
    exif: bytes | None = None
    icc_profile: bytes | None = None
    scans: tuple[Scan, ...] = ()
    step: float = inf
    transparent: tuple[int, ...] | None = None
    offset: tuple[int, int] | None = None
    is_animated: bool = False
    side_bytes: int = 0
    detail: float = inf

    @cached_property
    def source(self) -> bytes:
        """The bytes to decode."""
        return b"".join(self.parts)

    @property
    def source_bytes(self) -> int:
        """How many these are."""
        return sum(map(len, self.parts))


def broken(what: str) -> ProcessingError:
    """The error for a header that cannot be read."""
    return ProcessingError(f"the image is broken: {what}")


def check_count(count: int, limit: int, what: str) -> None:
    """Raise ProcessingError for a file built of more parts than any real one: walking them is the attack."""
    if count > limit:
        raise ProcessingError(f"the image has more than {limit} {what}, as no honest one has")


def most_blocks(size: int) -> int:
    """How many blocks a walk through ``size`` bytes may meet. Those of honest files have 255 bytes, but for a few."""
    return 50_000 + size // 128
