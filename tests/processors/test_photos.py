from __future__ import annotations

from collections.abc import Callable

import pytest
from PIL import Image

from imageproxy.testing.photos import DrawnPhoto, drawn_photos

CORNERS = ((229, 56, 59), (42, 157, 74), (38, 103, 255), (255, 214, 10))


def test_they_are_the_same_each_time(photos: dict[str, DrawnPhoto]) -> None:
    assert {photo.name: photo for photo in drawn_photos()} == photos


def test_each_is_what_it_says(photos: dict[str, DrawnPhoto], decode: Callable[[bytes], Image.Image]) -> None:
    for photo in photos.values():
        image = decode(photo.data)
        assert Image.MIME[str(image.format)] == photo.content_type
    assert decode(photos["icon"].data).size == (48, 48)
    assert decode(photos["sideways"].data).getexif()[0x0112] == 6
    assert decode(photos["portrait"].data).mode == "RGBA"
    assert decode(photos["blinking"].data).n_frames == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["landscape", "portrait", "sunset", "winter", "panorama", "blinking"])
def test_each_corner_has_its_colour(
    name: str, photos: dict[str, DrawnPhoto], decode: Callable[[bytes], Image.Image]
) -> None:
    image = decode(photos[name].data).convert("RGB")
    right, bottom = image.width - 5, image.height - 5
    for place, wanted in zip(((4, 4), (right, 4), (right, bottom), (4, bottom)), CORNERS, strict=True):
        found = image.getpixel(place)
        assert isinstance(found, tuple)
        assert all(abs(a - b) < 40 for a, b in zip(found, wanted, strict=True))
