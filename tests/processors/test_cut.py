from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imageproxy.errors import ImageProxyError
from imageproxy.presets import Preset
from imageproxy.processors import PillowProcessor
from imageproxy.processors._cut import without_lower_rows
from imageproxy.processors._geometry import place
from imageproxy.processors._headers import Header, read_header
from imageproxy.processors._sniff import sniff
from imageproxy.testing.photos import DrawnPhoto

Decode = Callable[[bytes], Image.Image]

pytestmark = pytest.mark.usefixtures("pillow_globals")


@pytest.fixture
def banner(box_preset: Callable[..., Preset]) -> Preset:
    return box_preset(160, 40, "cover")


def headers_of(data: bytes, preset: Preset) -> tuple[Header, Header]:
    """As it is, and without its lower rows."""
    header = read_header(data, sniff(data))
    return header, without_lower_rows(header, place((header.width, header.height), preset))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize(
    "options",
    [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"restart_marker_rows": 1}, {"optimize": True}],
    ids=str,
)
def test_the_rows_of_a_jpeg_that_are_left_are_the_same(
    mode: str, factor: int, options: dict[str, Any], banner: Preset, photos: dict[str, DrawnPhoto],
    decode: Decode, encode: Callable[..., bytes],
) -> None:  # fmt: skip
    picture = decode(photos["landscape"].data).resize((640, 479)).convert(mode)
    data = encode(picture, "JPEG", **options)
    header, kept = headers_of(data, banner)

    assert kept.height < header.height
    whole, part = (drafted(each.source, factor) for each in (header, kept))
    rows = (place((640, 479), banner).box[3] + 16) / factor  # what a resizer looks at: it shrinks to a quarter
    assert part.width == whole.width
    assert part.height >= rows
    box = (0, 0, whole.width, int(rows))
    assert part.crop(box).tobytes() == whole.crop(box).tobytes()


def drafted(source: bytes, factor: int) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(source))
    image.draft(None, (image.width // factor, image.height // factor))
    image.load()
    return image


def decode_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imageproxy.processors._decoder.without_lower_rows", lambda header, _: header)
    monkeypatch.setattr("imageproxy.processors._decoder.needed_rows", lambda header, _: header.height)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_result_is_that_of_the_whole_image(
    kind: str, orientation: int, banner: Preset, photos: dict[str, DrawnPhoto],
    decode: Decode, encode: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(decode(photos["landscape"].data).resize((640, 480)), kind, exif=exif)
    processor = PillowProcessor(resizer="simd")
    of_part = processor.process(data, banner)

    decode_whole(monkeypatch)
    assert processor.process(data, banner) == of_part


def test_real_files_come_out_the_same(
    shared_file: Path | None, banner: Preset, photos: dict[str, DrawnPhoto], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = photos["landscape"].data if shared_file is None else shared_file.read_bytes()
    processor = PillowProcessor(resizer="simd")
    try:
        of_part = processor.process(data, banner)
    except ImageProxyError:
        return
    decode_whole(monkeypatch)
    try:
        assert processor.process(data, banner) == of_part
    except ImageProxyError:
        assert headers_of(data, banner)[0] != headers_of(data, banner)[1]  # it is broken below what is asked for


@pytest.mark.parametrize("name", ["sunset", "winter", "blinking", "icon"])
def test_other_formats_and_small_images_are_left_as_they_are(
    name: str, banner: Preset, photos: dict[str, DrawnPhoto]
) -> None:
    header, kept = headers_of(photos[name].data, banner)

    assert kept is header


def test_what_keeps_its_lower_rows_is_left_as_it_is(banner: Preset, photos: dict[str, DrawnPhoto]) -> None:
    header, kept = headers_of(photos["landscape"].data, replace(banner, position=(0.5, 1.0)))

    assert kept is header
