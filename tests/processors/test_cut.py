from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imageproxy.errors import ImageProxyError, ProcessingError
from imageproxy.presets import Preset
from imageproxy.processors import PillowProcessor
from imageproxy.processors._cut import without_fine_scans, without_lower_rows
from imageproxy.processors._geometry import place
from imageproxy.processors._headers import Header, read_header
from imageproxy.processors._resize import Kernel
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


# What libjpeg makes of a picture: the first coefficient, the bit, and whether it is the light.
BANDS = [(1, 2, True), (1, 1, False), (1, 1, False), (6, 2, True)]
REFINEMENTS = [(1, 1, True), (1, 0, False), (1, 0, False), (1, 0, True)]
ALL = BANDS + REFINEMENTS
COARSE = BANDS[:-1]


@pytest.fixture
def progressive(photos: dict[str, DrawnPhoto], decode: Decode, encode: Callable[..., bytes]) -> bytes:
    return encode(decode(photos["landscape"].data).resize((803, 601)), "JPEG", progressive=True)


def scans_of(header: Header) -> list[tuple[int, int, bool]]:
    return [(scan.first, scan.bit, scan.is_light) for scan in header.scans]


@pytest.mark.parametrize(
    ("factor", "fidelity", "kernel", "left"),
    [
        (1, 80, "lanczos", ALL),
        (2, 85, "lanczos", ALL[:-1]),
        (2, 85, "catmull_rom", ALL),
        (2, 86, "lanczos", ALL),
        (4, 85, "catmull_rom", COARSE),
        (4, 100, "lanczos", COARSE),
        (8, 100, "lanczos", COARSE),
    ],
)
def test_the_scans_that_do_not_show_are_left_out(
    factor: int, fidelity: int, kernel: Kernel, left: list[tuple[int, int, bool]], progressive: bytes
) -> None:
    header = read_header(progressive, "jpeg")
    kept = without_fine_scans(header, factor, fidelity, kernel)

    assert scans_of(header) == ALL
    assert (kept is header) == (left == ALL)
    assert scans_of(read_header(kept.source, "jpeg")) == left


@pytest.mark.parametrize(("factor", "least"), [(2, 45), (4, 40), (8, 45)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_what_is_decoded_without_them_looks_the_same(
    mode: str, factor: int, least: float, progressive: bytes, decode: Decode, encode: Callable[..., bytes],
    psnr: Callable[[Image.Image, Image.Image], float],
) -> None:  # fmt: skip
    header = read_header(encode(decode(progressive).convert(mode), "JPEG", progressive=True, quality=90), "jpeg")
    kept = without_fine_scans(header, factor, 80, "lanczos")

    assert kept.source_bytes < 0.95 * header.source_bytes
    whole, part = (drafted(each.source, factor) for each in (header, kept))
    assert psnr(whole, part) > least


def test_the_result_is_that_of_all_scans_but_for_a_little(
    progressive: bytes, box_preset: Callable[..., Preset], decode: Decode,
    psnr: Callable[[Image.Image, Image.Image], float], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sizes = [(196, 196), (150, 100), (150, 40)]
    presets = [box_preset(*size, "cover", quality=80) for size in sizes]
    for resizer in ("pillow", "simd"):
        processor = PillowProcessor(resizer=resizer)
        results = [decode(processor.process(progressive, preset)) for preset in presets]
        with monkeypatch.context() as patch:
            patch.setattr("imageproxy.processors._decoder.without_fine_scans", lambda header, *_: header)
            all_scans = [decode(processor.process(progressive, preset)) for preset in presets]
        for result, of_all in zip(results, all_scans, strict=True):
            assert result.tobytes() != of_all.tobytes()
            assert psnr(result, of_all) > 35


def test_a_scan_whose_end_is_missing_is_not_left_out(progressive: bytes, box_preset: Callable[..., Preset]) -> None:
    cut_off = progressive[:-200]
    header = read_header(cut_off, "jpeg")

    assert scans_of(header) == ALL[:-1]
    for factor in (2, 4, 8):
        assert without_fine_scans(header, factor, 80, "lanczos").source.endswith(cut_off[-5000:])
    with pytest.raises(ProcessingError, match="truncated"):
        PillowProcessor().process(cut_off, box_preset(150, 100))


def test_the_scans_of_a_file_that_is_not_progressive_are_all_kept(progressive: bytes) -> None:
    frame = progressive.index(b"\xff\xc2")
    for sequential in (0xC0, 0xC1, 0xC9):
        header = read_header(progressive[:frame] + bytes((0xFF, sequential)) + progressive[frame + 2 :], "jpeg")
        assert without_fine_scans(header, 8, 80, "lanczos") is header


def test_scans_and_lower_rows_are_left_out_together(progressive: bytes, banner: Preset) -> None:
    header, upper = headers_of(progressive, banner)
    kept = without_fine_scans(upper, 4, 80, "lanczos")

    assert scans_of(read_header(kept.source, "jpeg")) == COARSE
    rows = upper.height // 4 - 16
    whole, part = (drafted(each.source, 4) for each in (without_fine_scans(header, 4, 80, "lanczos"), kept))
    box = (0, 0, whole.width, rows)
    assert part.crop(box).tobytes() == whole.crop(box).tobytes()
