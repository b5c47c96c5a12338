from __future__ import annotations

import io

from PIL import Image

from imageproxy.demo.contact_sheet import contact_sheet
from imageproxy.demo.measure import Failure, PhotoReport, measure
from imageproxy.demo.photos import Photo
from imageproxy.demo.table import table
from imageproxy.errors import ProcessingError
from imageproxy.presets import DEFAULT, Preset
from imageproxy.processors.pillow import PillowProcessor
from imageproxy.service import Service
from imageproxy.testing import FAKE_IMAGE, FakeCache, LocalPDS, fake_service


class NoBanners(PillowProcessor):
    def process(self, data: bytes, preset: Preset) -> bytes:
        if preset.name == "banner":
            raise ProcessingError("no banners today")
        return super().process(data, preset)


def measured(pds: LocalPDS, service: Service, data: bytes = FAKE_IMAGE) -> tuple[PhotoReport, dict[str, bytes]]:
    files: dict[str, bytes] = {}
    report = measure(Photo("p.png", lambda: data), 7, pds, service, files.__setitem__, lambda label: None)
    return report, files


def test_preset_that_fails_alone_is_shown_among_the_others(pds: LocalPDS) -> None:
    with fake_service(processor=NoBanners()) as service:
        report, files = measured(pds, service)

    assert [rendition.preset for rendition in report.renditions] == [
        preset.name for preset in DEFAULT if preset.name != "banner"
    ]
    assert [failure.preset for failure in report.failures] == ["banner"]
    assert len(files) == 6
    assert "images/07-p.png" in files
    lines = table([report]).splitlines()
    assert len(lines) == 8
    assert lines[-1].split() == ["banner", "no", "banners", "today"]
    assert "no banners today" in contact_sheet([report])


def test_image_that_could_not_be_cached_has_no_time_of_a_hit(pds: LocalPDS) -> None:
    cache = FakeCache()
    cache.fail_writes = OSError("full")
    with fake_service(cache=cache, processor=PillowProcessor()) as service:
        report, _ = measured(pds, service)

    assert {rendition.hit_seconds for rendition in report.renditions} == {None}
    assert table([report]).splitlines()[2].endswith(" -")
    page = contact_sheet([report])
    assert "From the cache" not in page
    assert "hit" not in page.partition("<main>")[2]


def test_photo_with_broken_metadata_is_described_as_its_pixels_lie(pds: LocalPDS) -> None:
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, "PNG", exif=b"Exif\0\0no EXIF at all")
    with fake_service(processor=PillowProcessor()) as service:
        report, _ = measured(pds, service, file.getvalue())

    assert report.original is not None
    assert (report.original.width, report.original.height) == (30, 20)


def test_file_that_cannot_be_read_is_told_of(pds: LocalPDS) -> None:
    def read() -> bytes:
        raise PermissionError(13, "Permission denied", "p.png")

    steps: list[str] = []
    with fake_service() as service:
        report = measure(Photo("p.png", read), 1, pds, service, lambda name, data: None, steps.append)

    assert report.failures[0] == Failure("avatar", "[Errno 13] Permission denied: 'p.png'")
    assert len(steps) == 6
