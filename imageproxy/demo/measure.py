"""One photo in every preset, timed: what it costs to make an image, and to find it in the cache."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from imageproxy.demo.photos import Photo
from imageproxy.demo.pictures import Picture, Write, file_stem, keep, keep_original
from imageproxy.errors import ImageProxyError
from imageproxy.presets import DEFAULT, Preset
from imageproxy.service import Service
from imageproxy.testing.local_pds import LocalPDS

__all__ = ["Failure", "PhotoReport", "Rendition", "measure"]

_HITS = 25
_FLUSH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Rendition:
    """A photo in one preset.

    cold_seconds: resolving, fetching, processing. hit_seconds: the median from the cache, ``None`` if it is not there.
    """

    preset: str
    picture: Picture
    cold_seconds: float
    hit_seconds: float | None

    def as_values(self) -> dict[str, object]:
        """For JSON."""
        times = {"cold_seconds": self.cold_seconds, "hit_seconds": self.hit_seconds}
        return {"preset": self.preset, **self.picture.as_values(), **times}


@dataclass(frozen=True, slots=True)
class Failure:
    """A preset that a photo could not be shown in, and why."""

    preset: str
    message: str


@dataclass(frozen=True, slots=True)
class PhotoReport:
    """What came of one photo. ``original`` is ``None`` where no preset of it could be made."""

    name: str
    original: Picture | None
    renditions: tuple[Rendition, ...]
    failures: tuple[Failure, ...]

    def as_values(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.name,
            "original": self.original and self.original.as_values(),
            "images": [rendition.as_values() for rendition in self.renditions],
            "failures": [{"preset": failure.preset, "error": failure.message} for failure in self.failures],
        }


def measure(
    photo: Photo,
    number: int,
    pds: LocalPDS,
    service: Service,
    write: Write,
    advance: Callable[[str], None],
) -> PhotoReport:
    """Upload the photo for an account of its own, and ask for every preset: once cold, then from the cache.

    number: makes the names of its files unique.
    write: for the files of the contact sheet.
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
    stem = file_stem(photo.name, number)
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
        picture = keep(f"{stem}-{preset.name}.{preset.format}", image, write)
        renditions.append(Rendition(preset.name, picture, cold_seconds, _time_hits(service, preset, did, cid)))
    original = keep_original(stem, data, write) if made else None
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
