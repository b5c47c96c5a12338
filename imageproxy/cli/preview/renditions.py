"""One photo in presets and formats, timed."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

from imageproxy.demo.photos import Photo
from imageproxy.demo.pictures import Picture, Write, file_stem, keep, keep_original
from imageproxy.errors import ImageProxyError
from imageproxy.presets import Preset
from imageproxy.protocols import Processor

__all__ = ["Preview", "Rendition", "Row", "Wanted", "render"]


class Wanted(NamedTuple):
    """A preset by its label, and what is to be made of it: itself in each format."""

    label: str
    preset: Preset
    variants: tuple[Preset, ...]


@dataclass(frozen=True, slots=True)
class Rendition:
    """A photo in a preset and a format.

    picture: ``None`` where it could not be made; ``message`` then tells why.
    seconds: decoding, resizing and encoding, once.
    """

    format: str
    picture: Picture | None
    seconds: float
    message: str = ""

    def as_values(self) -> dict[str, object]:
        """For JSON."""
        if self.picture is None:
            return {"format": self.format, "error": self.message}
        return {"format": self.format, **self.picture.as_values(), "seconds": self.seconds}


@dataclass(frozen=True, slots=True)
class Row:
    """A photo in a preset: ``label`` is its name, ``description`` its values in words."""

    label: str
    description: str
    renditions: tuple[Rendition, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What came of one photo. Where nothing did, ``original`` is ``None`` and ``message`` tells why."""

    name: str
    original: Picture | None
    rows: tuple[Row, ...]
    message: str = ""

    def as_values(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.name,
            "original": self.original and self.original.as_values(),
            "error": self.message or None,
            "images": [
                {"preset": row.label, **rendition.as_values()} for row in self.rows for rendition in row.renditions
            ],
        }


def render(
    photo: Photo,
    number: int,
    wanted: Sequence[Wanted],
    processor: Processor,
    write: Write,
    advance: Callable[[str], None],
) -> Preview:
    """Make all of them.

    number: makes the names of its files unique.
    write: for the files of the page.
    advance: is told before each what comes now.
    """
    try:
        data = photo.read()
    except (ImageProxyError, OSError) as error:
        for each in wanted:
            for _ in each.variants:
                advance(photo.name)
        return Preview(photo.name, None, (), str(error))
    if number == 1:
        _warm_up(wanted, processor)
    stem = file_stem(photo.name, number)
    rows = []
    for label, preset, variants in wanted:
        renditions = []
        for variant in variants:
            advance(f"{photo.name} {label} {variant.format}")
            file = f"{stem}-{label.replace(':', '-')}.{variant.format}"
            renditions.append(_make(data, variant, processor, file, write))
        rows.append(Row(label, _described(preset), tuple(renditions)))
    made = [rendition for row in rows for rendition in row.renditions if rendition.picture is not None]
    if not made:
        return Preview(photo.name, None, (), rows[0].renditions[0].message)
    return Preview(photo.name, keep_original(stem, data, write), tuple(rows))


def _make(data: bytes, preset: Preset, processor: Processor, file: str, write: Write) -> Rendition:
    started = time.perf_counter()
    try:
        image = processor.process(data, preset)
    except ImageProxyError as error:
        return Rendition(preset.format, None, time.perf_counter() - started, str(error))
    seconds = time.perf_counter() - started
    return Rendition(preset.format, keep(file, image, write), seconds)


def _warm_up(wanted: Sequence[Wanted], processor: Processor) -> None:
    """Use each format once, so that loading its encoder counts for no photo."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    for preset in wanted[0].variants:
        with contextlib.suppress(ImageProxyError):  # what a preset cannot do is told with the photos
            processor.process(file.getvalue(), preset)


def _described(preset: Preset) -> str:
    box = f"{preset.width} × {preset.height}" if preset.height else f"{preset.width} wide"
    enlarged = ", enlarged" if preset.enlarge else ""
    return f"{box}, {preset.fit.value}{enlarged}, quality {preset.quality}, {preset.format}"
