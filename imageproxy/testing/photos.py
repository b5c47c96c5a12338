"""Pictures that the project draws itself, with Pillow alone: free of anybody's rights, the same on every run.

They are made to give mistakes away: the sun (or the hair) is on top, the balloon (or the face) is round, and each
corner has a colour of its own, clockwise from the top left: red, green, blue, yellow.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFilter

__all__ = ["DrawnPhoto", "drawn_photos"]

_CORNERS = ("#e5383b", "#2a9d4a", "#2667ff", "#ffd60a")


@dataclass(frozen=True)
class DrawnPhoto:
    """One picture. ``name`` says what is special about it; ``data`` is encoded as ``content_type``."""

    name: str
    data: bytes
    content_type: str


@dataclass(frozen=True)
class _Scene:
    """The colours of a landscape, and the seed of its hills and clouds."""

    zenith: str
    horizon: str
    sun: str
    hills: tuple[str, ...]  # from far to near
    seed: int


_MORNING = _Scene("#3b82c4", "#f3dfc1", "#fff4c2", ("#8ba6b5", "#5f8a7d", "#3f7350", "#2c5530"), 1)
_EVENING = _Scene("#2b2d6e", "#ff9e6d", "#ffe08a", ("#8d5a86", "#5f3f6b", "#3d2c4e", "#241c33"), 2)
_WINTER = _Scene("#7fb2d9", "#eef4f8", "#ffffff", ("#c3d3df", "#9db7c9", "#d5e3ec", "#f4f8fb"), 3)
_DESERT = _Scene("#4aa3c7", "#fbe3c0", "#fff7d6", ("#d9a679", "#c98452", "#b5673b", "#8f4a2a"), 4)


# Noise, from coarse to fine: (cells along the width, share).
_CLOUDS = ((5, 0.6), (14, 0.4), (48, 0.2), (150, 0.08))
_EARTH = ((12, 0.4), (60, 0.35), (300, 0.4))


def drawn_photos() -> tuple[DrawnPhoto, ...]:
    """All of them, small enough to be drawn in about a second:

    - ``landscape``: a photo as a camera makes it, 2400x1600
    - ``sideways``: a portrait photo as a phone stores it: lying on its side, with EXIF orientation 6
    - ``portrait``: a PNG with soft transparency
    - ``sunset`` (WebP), ``winter`` (AVIF), ``panorama`` (JPEG, five times as wide as high)
    - ``blinking``: a GIF of two frames, of which the first is green and the second red
    - ``icon``: a PNG of 48x48, smaller than any preset
    """
    upright = _landscape((1200, 1600), _DESERT)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that its right side was up
    portrait = _portrait(900)
    return (
        _encoded("landscape", _landscape((2400, 1600), _MORNING), "jpeg", quality=92),
        _encoded("sideways", upright.transpose(Image.Transpose.ROTATE_90), "jpeg", quality=90, exif=exif),
        _encoded("portrait", portrait, "png"),
        _encoded("sunset", _landscape((1600, 1200), _EVENING), "webp", quality=88, method=2),
        _encoded("winter", _landscape((1200, 900), _WINTER), "avif", quality=75, speed=10),
        _encoded("panorama", _landscape((3000, 600), _EVENING), "jpeg", quality=90),
        _encoded(
            "blinking", _signal("#1b8a4b"), "gif", save_all=True, append_images=[_signal("#c1121f")], duration=500
        ),
        _encoded("icon", portrait.resize((48, 64), Image.Resampling.LANCZOS).crop((0, 0, 48, 48)), "png"),
    )


def _encoded(name: str, image: Image.Image, format: str, **options: Any) -> DrawnPhoto:  # noqa: A002 - Pillow's word
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return DrawnPhoto(name, buffer.getvalue(), f"image/{format}")


def _landscape(size: tuple[int, int], scene: _Scene) -> Image.Image:
    width, height = size
    rng = random.Random(scene.seed)  # noqa: S311 - to be the same each time
    image = _sky(size, scene, rng)
    texture = _noise(size, rng, _EARTH).point([min(255, level + 78) for level in range(256)])
    texture = Image.merge("RGB", (texture, texture, texture))
    for index, colour in enumerate(scene.hills):
        top = height * (0.45 + 0.13 * index)
        ridge = _ridge(width, top, height * (0.09 - 0.01 * index), rng)
        mask = Image.new("L", size)
        ImageDraw.Draw(mask).polygon([*ridge, (width, height), (0, height)], fill=255)
        image.paste(ImageChops.multiply(texture, Image.new("RGB", size, colour)), mask=mask)
    _balloon(image, (width * 0.5, height * 0.42), min(size) * 0.16)
    _mark_corners(image)
    return _grainy(image, rng)


def _sky(size: tuple[int, int], scene: _Scene, rng: random.Random) -> Image.Image:
    width, height = size
    gradient = Image.linear_gradient("L").resize(size, Image.Resampling.BILINEAR)
    sky = Image.composite(Image.new("RGB", size, scene.horizon), Image.new("RGB", size, scene.zenith), gradient)
    clouds = _noise(size, rng, _CLOUDS).point([min(150, max(0, (level - 118) * 4)) for level in range(256)])
    sky.paste("#ffffff", mask=clouds)
    radius = round(min(size) * 0.09)
    at = (round(width * 0.72), round(height * 0.16))
    glow = ImageChops.invert(Image.radial_gradient("L")).resize((radius * 8, radius * 8), Image.Resampling.BILINEAR)
    glow = glow.point([max(0, level - 75) ** 2 // 180 for level in range(256)])
    sky.paste(scene.sun, (at[0] - radius * 4, at[1] - radius * 4), glow)
    _smooth(sky, at, radius, lambda draw, box: draw.ellipse(box, fill=scene.sun))
    return sky


def _ridge(width: int, top: float, swing: float, rng: random.Random) -> list[tuple[float, float]]:
    waves = [(rng.uniform(0.6, 1.4) * 2**octave, rng.uniform(0, math.tau), 0.5**octave) for octave in range(6)]
    step = max(1, width // 400)
    return [
        (x, top + swing * sum(high * math.sin(math.tau * often * x / width + phase) for often, phase, high in waves))
        for x in range(0, width + step, step)
    ]


def _noise(size: tuple[int, int], rng: random.Random, shares: tuple[tuple[int, float], ...]) -> Image.Image:
    """Smooth noise of several sizes, each of so many cells along the width, laid over the ones before by its share."""
    noise = Image.new("L", size, 128)
    for cells, share in shares:
        grid = (cells, max(2, cells * size[1] // size[0]))
        layer = Image.frombytes("L", grid, rng.randbytes(grid[0] * grid[1])).resize(size, Image.Resampling.BICUBIC)
        noise = Image.blend(noise, layer, share)
    return noise


def _grainy(image: Image.Image, rng: random.Random) -> Image.Image:
    """The grain of a sensor, so that the picture is as hard to compress as a photo."""
    tile = Image.frombytes("L", (256, 256), rng.randbytes(256 * 256)).point(lambda level: 120 + level / 16)
    grain = Image.new("L", image.size)
    for top in range(0, image.height, 256):
        for left in range(0, image.width, 256):
            grain.paste(tile, (left, top))
    return ImageChops.add(image, Image.merge("RGB", (grain, grain, grain)), offset=-128)


def _balloon(image: Image.Image, centre: tuple[float, float], radius: float) -> None:
    def draw_on(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float]) -> None:
        left, top, right, bottom = box
        draw.ellipse(box, fill="#d7263d")
        for share, colour in ((0.66, "#f6f0e0"), (0.3, "#d7263d")):
            inset = (right - left) * (1 - share) / 2
            draw.ellipse((left + inset, top, right - inset, bottom), fill=colour)
        draw.ellipse(box, outline="#3a1018", width=max(1, round((right - left) / 60)))

    at = (round(centre[0]), round(centre[1]))
    radius = round(radius)
    _smooth(image, at, radius, draw_on)
    x, y = at
    draw = ImageDraw.Draw(image)
    rope = max(1, radius // 40)
    for side in (-1, 1):
        draw.line(
            (x + side * radius * 0.55, y + radius * 0.84, x + side * radius * 0.15, y + radius * 1.35), "#3a1018", rope
        )
    draw.rectangle((x - radius * 0.17, y + radius * 1.35, x + radius * 0.17, y + radius * 1.6), fill="#6b4423")


def _smooth(
    image: Image.Image,
    centre: tuple[int, int],
    radius: int,
    draw_on: Callable[[ImageDraw.ImageDraw, tuple[float, float, float, float]], None],
) -> None:
    """Draw into the square around ``centre`` with smooth edges: Pillow's own drawing has hard ones."""
    side = 2 * radius
    large = Image.new("RGBA", (side * 3, side * 3))
    draw_on(ImageDraw.Draw(large), (0, 0, side * 3 - 1, side * 3 - 1))
    small = large.resize((side, side), Image.Resampling.BOX)
    image.paste(small, (centre[0] - radius, centre[1] - radius), small)


def _mark_corners(image: Image.Image) -> None:
    width, height = image.size
    size = min(image.size) // 14
    draw = ImageDraw.Draw(image)
    for colour, (x, y) in zip(_CORNERS, ((0, 0), (width, 0), (width, height), (0, height)), strict=True):
        draw.ellipse((x - size, y - size, x + size, y + size), fill=colour, outline="#ffffff", width=max(1, size // 10))


def _portrait(width: int) -> Image.Image:
    """A head and shoulders, 3 to 4, whose shadow fades into transparency. Under it the colour is black, unseen."""
    scale = width / 90
    size = (width, width * 4 // 3)

    def box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        return left * scale * 2, top * scale * 2, right * scale * 2, bottom * scale * 2

    figure = Image.new("RGBA", (size[0] * 2, size[1] * 2))
    draw = ImageDraw.Draw(figure)
    draw.rounded_rectangle(box(10, 84, 80, 150), radius=28 * scale * 2, fill="#2a6f97")
    draw.rectangle(box(37, 70, 53, 92), fill="#d99b76")
    draw.ellipse(box(15, 10, 75, 70), fill="#4a2c1a")
    draw.ellipse(box(20, 20, 70, 80), fill="#f0b995")
    draw.pieslice(box(18, 12, 72, 62), 180, 360, fill="#4a2c1a")
    for x in (35, 55):
        draw.ellipse(box(x - 4, 46, x + 4, 54), fill="#ffffff")
        draw.ellipse(box(x - 2, 48, x + 2, 52), fill="#222222")
    draw.arc(box(34, 50, 56, 70), 25, 155, fill="#a23b3b", width=round(3 * scale))
    draw.ellipse(box(43, 52, 47, 60), fill="#dc9f7c")
    figure = figure.resize(size, Image.Resampling.BOX)
    shadow = Image.new("RGBA", size)
    shadow.putalpha(figure.getchannel("A").filter(ImageFilter.GaussianBlur(5 * scale)).point(lambda level: level * 0.6))
    picture = Image.alpha_composite(shadow, figure)
    _mark_corners(picture)
    return picture


def _signal(colour: str) -> Image.Image:
    image = Image.new("RGB", (480, 360), "#20242b")
    _smooth(image, (240, 190), 120, lambda draw, box: draw.ellipse(box, fill=colour))
    ImageDraw.Draw(image).polygon(((240, 20), (270, 60), (210, 60)), fill="#f1f1f1")
    _mark_corners(image)
    return image.quantize(64)
