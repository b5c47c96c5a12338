"""One photo in every preset, timed: what it costs to make an image, and to find it in the cache."""

from __future__ import annotations

import io
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from imageproxy.demo.photos import Photo
from imageproxy.errors import ImageProxyError
from imageproxy.presets import DEFAULT, Preset
from imageproxy.service import Service
from imageproxy.testing.local_pds import LocalPDS

__all__ = ["Failure", "Original", "PhotoReport", "Rendition", "measure"]

_HITS = 25
_FLUSH_SECONDS = 60.0
_EXIF_ORIENTATION = 0x0112
_TURNED = range(5, 9)  # the orientations that exchange width and height


@dataclass(frozen=True, slots=True)
class Rendition:
    """A photo in one preset.

    file: where it was written to, relative to the contact sheet.
    cold_seconds: resolving, fetching, processing. hit_seconds: the median from the cache, ``None`` if it is not there.
    """

    preset: str
    file: str
    width: int
    height: int
    size_bytes: int
    cold_seconds: float
    hit_seconds: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A preset that a photo could not be shown in, and why."""

    preset: str
    message: str


@dataclass(frozen=True, slots=True)
class Original:
    """The photo as it was uploaded. ``width`` and ``height`` are as it is shown, its EXIF orientation applied."""

    file: str
    width: int
    height: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PhotoReport:
    """What came of one photo. ``original`` is ``None`` where no preset of it could be made."""

    name: str
    original: Original | None
    renditions: tuple[Rendition, ...]
    failures: tuple[Failure, ...]


def measure(
    photo: Photo,
    number: int,
    pds: LocalPDS,
    service: Service,
    write: Callable[[str, bytes], object],
    advance: Callable[[str], None],
) -> PhotoReport:
    """Upload the photo for an account of its own, and ask for every preset: once cold, then from the cache.

    number: makes the names of its files unique.
    write: is given the name and the bytes of each file for the contact sheet.
    advance: is told before each preset what comes now.
    """
    try:
        data = photo.read()
    except (ImageProxyError, OSError) as error:
        for _ in DEFAULT:
            advance(photo.name)
        return PhotoReport(photo.name, None, (), tuple(Failure(preset.name, str(error)) for preset in DEFAULT))
    did = pds.create_account()
    cid = pds.add_blob(did, data)
    stem = f"images/{number:02}-{_slug(photo.name)}"
    made: list[tuple[Preset, bytes, float]] = []
    failures: list[Failure] = []
    for preset in DEFAULT:
        advance(f"{photo.name} {preset.name}")
        try:
            start = time.perf_counter()
            image = service.get_image(preset, did, cid)
            made.append((preset, image, time.perf_counter() - start))
        except ImageProxyError as error:
            failures.append(Failure(preset.name, str(error)))
    pds.remove_blob(did, cid)  # from here on nothing can come but from the cache, and no photo stays in memory
    service.flush(_FLUSH_SECONDS)
    renditions = []
    for preset, image, cold_seconds in made:
        file = f"{stem}-{preset.name}.{preset.format}"
        write(file, image)
        width, height = _shown_size(image)
        hit_seconds = _time_hits(service, preset, did, cid)
        renditions.append(Rendition(preset.name, file, width, height, len(image), cold_seconds, hit_seconds))
    original = _keep_original(data, stem, write) if made else None
    return PhotoReport(photo.name, original, tuple(renditions), tuple(failures))


def _time_hits(service: Service, preset: Preset, did: str, cid: str) -> float | None:
    """The median of several hits, in seconds."""
    if service.get_cached(preset, did, cid) is None:
        return None
    seconds = []
    for _ in range(_HITS):
        start = time.perf_counter()
        service.get_image(preset, did, cid)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _keep_original(data: bytes, stem: str, write: Callable[[str, bytes], object]) -> Original:
    with Image.open(io.BytesIO(data)) as image:
        suffix = (image.format or "bin").lower()
    file = f"{stem}.{suffix}"
    write(file, data)
    return Original(file, *_shown_size(data), len(data))


def _shown_size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        try:
            is_turned = image.getexif().get(_EXIF_ORIENTATION) in _TURNED
        except Exception:  # noqa: BLE001 - Pillow raises what comes to its hand; browsers ignore broken metadata too
            is_turned = False
        return (height, width) if is_turned else (width, height)


def _slug(name: str) -> str:
    """The part of a file's name that is safe in any file system and URL."""
    return re.sub(r"[^a-z0-9]+", "-", Path(name).stem.lower()).strip("-")[:40] or "photo"
