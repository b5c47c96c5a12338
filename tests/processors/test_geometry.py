from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imageproxy.presets import FitMode, ImageFormat, Preset
from imageproxy.processors._geometry import Placement, draft_factor, place, swaps_sides, to_stored

sides = st.integers(1, 65_535)
boxes = st.integers(1, 16_000)
fractions = st.floats(0, 1)


def cover(width: int, height: int, position: tuple[float, float] = (0.5, 0.5)) -> Preset:
    return Preset("test", width, height, FitMode.COVER, 80, position=position)


def contain(width: int, height: int, *, enlarge: bool | None = None) -> Preset:
    return Preset("test", width, height, FitMode.CONTAIN, 80, enlarge=enlarge)


@pytest.mark.parametrize(
    ("source", "preset", "size", "box"),
    [
        ((4000, 3000), cover(1000, 1000), (1000, 1000), (500, 0, 3500, 3000)),
        ((3000, 4000), cover(1000, 1000), (1000, 1000), (0, 500, 3000, 3500)),
        ((4000, 3000), cover(1000, 1000, (0, 0)), (1000, 1000), (0, 0, 3000, 3000)),
        ((4000, 3000), cover(1000, 1000, (1, 0)), (1000, 1000), (1000, 0, 4000, 3000)),
        ((100, 100), cover(400, 200), (400, 200), (0, 25, 100, 75)),
        ((4000, 3000), contain(800, 0), (800, 600), (0, 0, 4000, 3000)),
        ((3000, 4000), contain(800, 800), (600, 800), (0, 0, 3000, 4000)),
        ((700, 4000), contain(800, 1000), (175, 1000), (0, 0, 700, 4000)),
        ((300, 200), contain(800, 800), (300, 200), (0, 0, 300, 200)),
        ((300, 200), contain(900, 0), (300, 200), (0, 0, 300, 200)),
        ((300, 200), contain(900, 900, enlarge=True), (900, 600), (0, 0, 300, 200)),
        ((65_500, 1), contain(800, 0), (800, 1), (0, 0, 65_500, 1)),
        ((1, 65_500), contain(800, 600), (1, 600), (0, 0, 1, 65_500)),
    ],
)
def test_placements(
    source: tuple[int, int], preset: Preset, size: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    assert place(source, preset) == Placement(size, box)


@given(width=sides, height=sides, box_width=boxes, box_height=boxes, x=fractions, y=fractions)
def test_cover_is_exact_and_stays_inside(
    width: int, height: int, box_width: int, box_height: int, x: float, y: float
) -> None:
    size, (left, top, right, bottom) = place((width, height), cover(box_width, box_height, (x, y)))

    assert size == (box_width, box_height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    # A pixel at least, within what 32 bits hold: that is how Pillow takes it.
    assert right - left >= 0.99
    assert bottom - top >= 0.99
    if min(right - left, bottom - top) > 1 + 1e-9:  # it may be one plus the last digit of a float
        assert (right - left) / (bottom - top) == pytest.approx(box_width / box_height)


@given(width=sides, height=sides, box_width=boxes, box_height=boxes, enlarge=st.booleans())
def test_contain_stays_within_both_sides(
    width: int, height: int, box_width: int, box_height: int, enlarge: bool
) -> None:
    (new_width, new_height), box = place((width, height), contain(box_width, box_height, enlarge=enlarge))

    assert 1 <= new_width <= box_width
    assert 1 <= new_height <= box_height
    assert box == (0, 0, width, height)
    if enlarge:
        assert new_width == box_width or new_height == box_height
    else:
        assert new_width <= width
        assert new_height <= height


@given(width=sides, height=sides, box_width=boxes, enlarge=st.booleans())
def test_contain_of_any_height_keeps_the_proportions(width: int, height: int, box_width: int, enlarge: bool) -> None:
    (new_width, new_height), _ = place((width, height), contain(box_width, 0, enlarge=enlarge))

    assert 1 <= new_width <= box_width
    assert abs(new_height - max(1, height * new_width / width)) <= max(1, height / width)


_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_crop_of_the_stored_pixels_is_that_of_the_upright_picture(orientation: int) -> None:
    stored = Image.frombytes("L", (7, 5), bytes(range(35)))
    turn = _TRANSPOSED.get(orientation)
    upright = stored.transpose(turn) if turn is not None else stored
    wanted = upright.crop((1, 2, 4, 5))

    size, box = to_stored(Placement((3, 3), (1, 2, 4, 5)), stored.size, orientation)
    found = stored.crop(tuple(map(int, box)))  # type: ignore[arg-type]
    found = found.transpose(turn) if turn is not None else found

    assert size == (3, 3)
    assert found.tobytes() == wanted.tobytes()
    assert swaps_sides(orientation) == (upright.size != stored.size)


@pytest.mark.parametrize(
    ("shrink", "quality", "factor"),
    [
        (1.0, 80, 1),
        (2.14, 80, 1),
        (2.15, 80, 2),
        (2.19, 85, 1),
        (2.2, 85, 2),
        (2.49, 90, 1),
        (2.5, 90, 2),
        (4.9, 80, 2),
        (5.0, 90, 4),
        (9.0, 80, 8),
        (40, 80, 8),
        (3.9, 95, 1),
        (4.0, 95, 2),
    ],
)
def test_a_jpeg_is_decoded_smaller_only_where_enough_is_left_to_resize(
    shrink: float, quality: int, factor: int
) -> None:
    side = shrink * 1000
    preset = Preset("square", 1000, 1000, FitMode.COVER, quality)

    assert draft_factor(Placement((1000, 1000), (0, 0, side, side)), preset, 2.0) == factor
    # The side that shrinks less decides.
    assert draft_factor(Placement((1000, 1000), (0, 0, side * 8, side)), preset, 2.0) == factor


@pytest.mark.parametrize(("made", "factor"), [("jpeg", 2), ("webp", 1), ("avif", 1), ("png", 1)])
def test_what_hides_less_than_a_jpeg_is_made_of_more_pixels(made: ImageFormat, factor: int) -> None:
    preset = Preset("square", 1000, 1000, FitMode.COVER, 80, format=made)

    assert draft_factor(Placement((1000, 1000), (0, 0, 2400, 2400)), preset, 2.0) == factor


def test_a_photo_of_the_finest_detail_is_made_of_more_pixels() -> None:
    preset = Preset("square", 1000, 1000, FitMode.COVER, 80)
    placement = Placement((1000, 1000), (0, 0, 2900, 2900))

    assert draft_factor(placement, preset, 4.5) == 2
    assert draft_factor(placement, preset, 8.0) == 1
