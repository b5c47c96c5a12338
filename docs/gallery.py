"""Makes ``docs/presets.md`` and the pictures in it: what each preset makes of a few drawn photos.

    python docs/gallery.py

Run it when a preset changes; ``tests/docs/test_site_gallery.py`` tells when it is due.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from imageproxy import BLUESKY, DEFAULT, PillowProcessor, Preset
from imageproxy.testing import DrawnPhoto, drawn_photos

DOCS = Path(__file__).parent
PAGE = DOCS / "presets.md"
PICTURES = DOCS / "img" / "gallery"
SETS = {"default": DEFAULT, "bluesky": BLUESKY}
SCALE = 6
"""How many times smaller the pictures of the page are, all by the same."""

FORMATS = {"jpeg": "JPEG", "png": "PNG", "webp": "WebP", "avif": "AVIF"}
PHOTOS = {
    "landscape": "a photo, 2400×1600",
    "sideways": "one that a phone stored lying on its side, 1200×1600",
    "portrait": "a transparent PNG, 900×1200",
    "icon": "an icon, 48×48",
}


@dataclass(frozen=True)
class Made:
    """What a preset made of a photo."""

    set_name: str
    preset: Preset
    photo: str
    picture: Image.Image
    size_bytes: int

    @property
    def file_name(self) -> str:
        """In the folder of the pictures."""
        return f"{self.set_name}-{self.preset.name}-{self.photo}.webp"

    def small(self) -> Image.Image:
        """The picture for the page."""
        width, height = (max(1, round(side / SCALE)) for side in self.picture.size)
        return self.picture.resize((width, height), Image.Resampling.LANCZOS)


@cache
def photos() -> dict[str, DrawnPhoto]:
    """What the presets are shown with, by name."""
    return {photo.name: photo for photo in drawn_photos() if photo.name in PHOTOS}


def make(set_name: str, preset: Preset, photo: DrawnPhoto, *, through: Preset | None = None) -> Made:
    """What the default engine makes of it. ``through``: encode it by this preset instead, which may be quicker."""
    data = PillowProcessor(resizer="pillow").process(photo.data, through or preset)
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
    return Made(set_name, preset, photo.name, picture, len(data))


def facts(preset: Preset) -> str:
    """What the page says of a preset."""
    box = f"{preset.width}×{preset.height}" if preset.height else f"{preset.width} wide, as high as it needs"
    enlarging = "" if preset.enlarge is None else ", enlarging" if preset.enlarge else ", never enlarging"
    return f"{box} · {preset.fit.value}{enlarging} · quality {preset.quality} · {FORMATS[preset.format]}"


def page(all_made: list[Made]) -> str:
    """The text of the page."""
    return "\n".join(_lines(all_made)) + "\n"


def _lines(all_made: list[Made]) -> Iterator[str]:
    yield "# The presets, in pictures"
    yield ""
    yield "<!-- Made by docs/gallery.py: change that, and run it. -->"
    yield ""
    yield "A *preset* says what is made of a blob. Here is what those that come with the library make of:"
    yield ""
    for name, words in PHOTOS.items():
        yield f"- `{name}`: {words}"
    yield ""
    yield f"All pictures of this page are {SCALE} times smaller than what the preset makes, so they can be compared."
    yield "The sizes beneath are those of the real ones. [Presets of your own](how-to/presets.md) are one line each."
    for set_name, presets in SETS.items():
        yield ""
        yield f"## {set_name.upper()}"
        yield ""
        yield {
            "default": "What a service has that is told nothing else. They are those of the Go original.",
            "bluesky": "Those of the protocol's reference app server: `create_service(presets=BLUESKY)`. They\n"
            "enlarge, and their quality of 100 makes large files.",
        }[set_name]
        for preset in presets:
            made = [each for each in all_made if (each.set_name, each.preset) == (set_name, preset)]
            yield ""
            yield f"### {preset.name} ({set_name.upper()})"
            yield ""
            yield facts(preset)
            yield ""
            yield from (_image(each) for each in made)
            yield ""
            yield " ·\n".join(f"`{each.photo}`\N{NO-BREAK SPACE}{_size(each)}" for each in made)


def _image(made: Made) -> str:
    return f"![{made.photo} as {made.preset.name}](img/gallery/{made.file_name})"


def _size(made: Made) -> str:
    width, height = made.picture.size
    return f"{width}×{height}, {made.size_bytes / 1000:.3g}\N{NO-BREAK SPACE}kB"


def main() -> None:
    """Make the pictures, and the page."""
    all_made = [
        make(set_name, preset, photo)
        for set_name, presets in SETS.items()
        for preset in presets
        for photo in photos().values()
    ]
    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.glob("*.webp"):
        old.unlink()
    for made in all_made:
        made.small().save(PICTURES / made.file_name, "webp", quality=72, method=6)
    PAGE.write_text(page(all_made), encoding="utf-8")


if __name__ == "__main__":
    main()
