"""How an image meets a preset's box: sizes and crops as numbers. Pure arithmetic, no pixels."""

from __future__ import annotations

from typing import NamedTuple

from imageproxy.presets import FitMode, Preset

__all__ = ["Box", "Placement", "draft_factor", "fidelity", "place", "swaps_sides", "to_stored"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in source pixels."""


class Placement(NamedTuple):
    """What to do: take ``box`` of the source, and make it ``size`` (width, height in pixels)."""

    size: tuple[int, int]
    box: Box


def place(source: tuple[int, int], preset: Preset) -> Placement:
    """Place an image of ``source`` (width, height, upright, each at least 1) as the preset's fit says.

    COVER is exactly the preset's width and height; CONTAIN is inside them, with no side under 1.
    """
    return _cover(source, preset) if preset.fit is FitMode.COVER else _contain(source, preset)


def _cover(source: tuple[int, int], preset: Preset) -> Placement:
    width, height = source
    scale = max(preset.width / width, preset.height / height)
    # Of an extreme shape less than a pixel would be left, which no resizer takes: a whole one, then, and stretched.
    crop_width = min(width, max(1.0, preset.width / scale))
    crop_height = min(height, max(1.0, preset.height / scale))
    left = (width - crop_width) * preset.position[0]
    top = (height - crop_height) * preset.position[1]
    box = (left, top, min(width, left + crop_width), min(height, top + crop_height))
    return Placement((preset.width, preset.height), box)


def _contain(source: tuple[int, int], preset: Preset) -> Placement:
    width, height = source
    scale = preset.width / width
    if preset.height:
        scale = min(scale, preset.height / height)
    if scale >= 1 and not preset.enlarges:
        scale = 1.0
    # A float's last digit must not push a side over the box.
    new_width = min(preset.width, max(1, round(width * scale)))
    new_height = max(1, round(height * scale))
    if preset.height:
        new_height = min(preset.height, new_height)
    return Placement((new_width, new_height), (0.0, 0.0, float(width), float(height)))


def swaps_sides(orientation: int) -> bool:
    """Whether an image stored in this EXIF orientation (1 to 8) is wide where its upright picture is high."""
    return orientation >= 5


def to_stored(placement: Placement, stored: tuple[int, int], orientation: int) -> Placement:
    """The same placement, said of the pixels as they are stored, to be turned upright after the resize.

    placement: of the upright picture.
    stored: width and height as stored.
    orientation: 1 to 8 (EXIF 2.32, tag 0x0112: where row 0 and column 0 of the stored pixels are in the picture).
    """
    width, height = stored
    left, top, right, bottom = placement.box
    new_width, new_height = placement.size
    if swaps_sides(orientation):
        left, top, right, bottom = top, left, bottom, right
        new_width, new_height = new_height, new_width
    if orientation in {2, 3, 7, 8}:
        left, right = width - right, width - left
    if orientation in {3, 4, 6, 7}:
        top, bottom = height - bottom, height - top
    return Placement((new_width, new_height), (left, top, right, bottom))


def fidelity(preset: Preset) -> int:
    """How near to the photo the result has to be, as a JPEG's quality."""
    return {"jpeg": preset.quality, "png": 100}.get(preset.format, max(preset.quality, 90))


# A JPEG can be decoded at a half, a quarter or an eighth of its size, which is quick but a coarser filter than the
# resizer's, so some shrinking is left for that: in all it is by at least these factors, for each quality up to that.
# Those for a quarter and an eighth are libvips'. Of the half's, measured on 30 photos after encoding, against a resize
# of the whole photo in floating point: the result is at most 0.45 dB below that of a full decode.
_SHRINKS = (
    (80, (2.15, 5.0, 9.0)),
    (85, (2.2, 5.0, 9.0)),
    (94, (2.5, 5.0, 9.0)),
    (100, (4.0, 8.0, 16.0)),  # where the encoder no longer hides the difference
)
# That is for photos with little to see from one pixel to the next, as most are (``Header.detail``). Nine of those 30
# have more and lost up to 1.7 dB; for these the half is libvips', too.
_MUCH_DETAIL = 4.5
_SHRINK_OF_DETAIL = 3.0


def draft_factor(placement: Placement, preset: Preset, detail: float) -> int:
    """By what a JPEG may be shrunk while decoding it for this placement: 1, 2, 4 or 8.

    detail: the header's.
    """
    left, top, right, bottom = placement.box
    shrink = min((right - left) / placement.size[0], (bottom - top) / placement.size[1])
    half, quarter, eighth = next(shrinks for quality, shrinks in _SHRINKS if fidelity(preset) <= quality)
    if detail > _MUCH_DETAIL:
        half = max(half, _SHRINK_OF_DETAIL)
    return 8 if shrink >= eighth else 4 if shrink >= quarter else 2 if shrink >= half else 1
