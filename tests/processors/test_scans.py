"""Progressive JPEGs of which scans are left out: which, and what that does to the picture."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from PIL import Image

from imageproxy.errors import ProcessingError
from imageproxy.presets import Preset
from imageproxy.processors import PillowProcessor
from imageproxy.processors._cut import without_fine_scans, without_lower_rows
from imageproxy.processors._geometry import place
from imageproxy.processors._headers import Header, read_header
from imageproxy.processors._resize import Kernel
from imageproxy.processors._turbo import Turbo
from imageproxy.testing.photos import DrawnPhoto

Decode = Callable[[bytes], Image.Image]
Encode = Callable[..., bytes]
PSNR = Callable[[Image.Image, Image.Image], float]

pytestmark = pytest.mark.usefixtures("pillow_globals")

# What libjpeg makes of a picture: the first coefficient, the bit, and whether it is the light. Those of coefficient 0,
# at the beginning and between the refinements, are not told.
BANDS = [(1, 2, True), (1, 1, False), (1, 1, False), (6, 2, True)]
REFINEMENTS = [(1, 1, True), (1, 0, False), (1, 0, False), (1, 0, True)]
ALL = BANDS + REFINEMENTS


@pytest.fixture(scope="module")
def picture(photos: dict[str, DrawnPhoto], decode: Decode) -> Image.Image:
    return decode(photos["landscape"].data).resize((803, 601))


@pytest.fixture(scope="module")
def progressive(picture: Image.Image, encode: Encode) -> bytes:
    """Of quality 85, whose quantizer has steps of 17.3 in the mean."""
    return encode(picture, "JPEG", progressive=True, quality=85)


def scans_of(header: Header) -> list[tuple[int, int, bool]]:
    return [(scan.first, scan.bit, scan.is_light) for scan in header.scans]


def drafted(source: bytes, factor: int) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(source))
    image.draft(None, (image.width // factor, image.height // factor))
    image.load()
    return image


def sos(first: int, bits: int, component: int = 1) -> bytes:
    """A scan of one component, without content."""
    return b"\xff\xda\0\x08" + bytes((1, component, 0, first, 63, bits))


@pytest.mark.parametrize(
    ("factor", "fidelity", "kernel", "left"),
    [
        (1, 80, "lanczos", ALL),
        (2, 80, "lanczos", ALL[:-1]),
        (2, 80, "catmull_rom", ALL),
        (2, 85, "lanczos", ALL),
        (4, 80, "catmull_rom", BANDS[:-1]),  # two bits, and with them the band from 6 on
        (4, 85, "lanczos", BANDS[:-1]),
        (4, 86, "lanczos", [*BANDS, REFINEMENTS[0]]),  # one, and the band has to stay for the other
        (4, 90, "lanczos", [*BANDS, REFINEMENTS[0]]),
        (4, 91, "lanczos", ALL),
        (8, 80, "lanczos", BANDS[:-1]),
        (8, 100, "lanczos", ALL),
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


@pytest.mark.parametrize(
    ("quality", "at_a_half", "below"), [(30, 0, 0), (50, 0, 3), (75, 0, 3), (85, 1, 5), (90, 1, 5), (96, 2, 5)]
)
def test_the_coarser_the_file_the_more_its_bits_say(
    quality: int, at_a_half: int, below: int, picture: Image.Image, encode: Encode
) -> None:
    header = read_header(encode(picture, "JPEG", progressive=True, quality=quality), "jpeg")

    for factor, count in ((2, at_a_half), (4, below), (8, below)):
        kept = without_fine_scans(header, factor, 80, "lanczos")
        assert len(read_header(kept.source, "jpeg").scans) == len(ALL) - count


def test_of_a_grey_file_the_means_keep_their_last_bit(picture: Image.Image, encode: Encode) -> None:
    data = encode(picture.convert("L"), "JPEG", progressive=True, quality=85)
    header = read_header(data, "jpeg")
    kept = without_fine_scans(header, 4, 80, "lanczos")

    assert scans_of(header) == [(1, 2, True), (6, 2, True), (1, 1, True), (1, 0, True)]
    means = b"\xff\xda\0\x08\x01\x01\0\0\0\x10"
    assert data.count(means) == kept.source.count(means) == 1
    assert scans_of(read_header(kept.source, "jpeg")) == [(1, 2, True)]


@pytest.mark.parametrize(("factor", "least"), [(2, 41), (4, 37), (8, 42)])
@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_what_is_decoded_without_them_looks_the_same(
    mode: str, quality: int, factor: int, least: float, picture: Image.Image, encode: Encode, psnr: PSNR
) -> None:
    header = read_header(encode(picture.convert(mode), "JPEG", progressive=True, quality=quality), "jpeg")
    kept = without_fine_scans(header, factor, 80, "lanczos")

    assert kept.source_bytes < header.source_bytes or (factor == 2 and quality < 85)
    whole, part = (drafted(each.source, factor) for each in (header, kept))
    assert psnr(whole, part) > least


@pytest.mark.parametrize("resizer", ["pillow", "simd"])
def test_the_result_is_that_of_all_scans_but_for_a_little(
    resizer: str, progressive: bytes, box_preset: Callable[..., Preset], decode: Decode, psnr: PSNR,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    processor = PillowProcessor(resizer=resizer)
    presets = [box_preset(*size, "cover", quality=80) for size in ((196, 196), (150, 100), (150, 40))]
    results = [decode(processor.process(progressive, preset)) for preset in presets]

    monkeypatch.setattr("imageproxy.processors._decoder.without_fine_scans", lambda header, *_: header)
    for preset, result in zip(presets, results, strict=True):
        of_all = decode(processor.process(progressive, preset))
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


def test_a_scan_that_says_what_no_decoder_takes_is_left_to_the_decoder(
    progressive: bytes, box_preset: Callable[..., Preset]
) -> None:
    broken = bytearray(progressive)
    last = broken.rindex(b"\xff\xda")
    assert broken[last + 9] == 0x10  # bit 0, of what is known to bit 1
    broken[last + 9] = 0x30

    assert scans_of(read_header(bytes(broken), "jpeg")) == ALL[:-1]
    with pytest.raises(ProcessingError, match="broken data stream"):
        PillowProcessor().process(bytes(broken), box_preset(150, 100, quality=80))


def left_of(body: bytes, progressive: bytes, factor: int = 4, fidelity: int = 80) -> list[tuple[int, int, bool]]:
    """The scans that are left of a file with a first one and then ``body``."""
    second = progressive.index(b"\xff\xda", progressive.index(b"\xff\xda") + 2)
    header = read_header(progressive[:second] + body + b"\xff\xd9", "jpeg")
    kept = without_fine_scans(header, factor, fidelity, "lanczos")
    left = scans_of(read_header(kept.source, "jpeg"))
    assert (kept is header) == (left == scans_of(header))
    return left


def test_bands_of_short_waves_are_left_out_of_the_light(progressive: bytes) -> None:
    light = [(first, 0, True) for first in (1, 2, 5)]
    colours = [(1, 0, False), (9, 0, False)]
    body = sos(1, 0) + sos(2, 0) + sos(5, 0) + sos(6, 0) + sos(9, 0) + sos(1, 0, 2) + sos(9, 0, 2)

    assert left_of(body, progressive) == [*light, *colours]
    for factor, fidelity in ((1, 80), (2, 80), (4, 91), (4, 100)):
        assert len(left_of(body, progressive, factor, fidelity)) == 7


def test_how_finely_the_colours_are_refined_does_not_matter_to_the_light(progressive: bytes) -> None:
    body = sos(1, 0) + sos(6, 0) + sos(1, 3, 2) + sos(1, 0x32, 2) + sos(1, 0x21, 2) + sos(1, 0x10, 2)

    assert left_of(body, progressive) == [(1, 0, True), (1, 3, False), (1, 2, False)]


def test_a_file_without_fine_scans_is_left_as_it_is(progressive: bytes) -> None:
    assert left_of(sos(1, 0) + sos(1, 0, 2), progressive) == [(1, 0, True), (1, 0, False)]


def test_all_else_of_the_file_is_left(progressive: bytes) -> None:
    """Nothing but from a scan's marker to the next."""
    parts = re.split(rb"(?=\xff[\xc4\xd9\xda])", progressive)
    scans = [part for part in parts if part[:2] == b"\xff\xda"]
    gone = {scans[at] for at in (4, 5, 7, 8, 9)}  # the band, and the refinements, but that of the means

    kept = without_fine_scans(read_header(progressive, "jpeg"), 4, 80, "lanczos")
    assert kept.source == b"".join(part for part in parts if part not in gone)


def test_light_of_fewer_samples_than_colours_keeps_its_scans(picture: Image.Image, encode: Encode) -> None:
    data = encode(picture, "JPEG", progressive=True)
    frame = data.index(b"\xff\xc2")
    assert data[frame + 11 : frame + 19 : 3] == b"\x22\x11\x11"
    swapped = data[: frame + 11] + b"\x11" + data[frame + 12 : frame + 14] + b"\x22" + data[frame + 15 :]

    assert read_header(swapped, "jpeg").scans == ()


def test_damage_in_a_scan_does_not_end_it(progressive: bytes, box_preset: Callable[..., Preset]) -> None:
    """A marker that is not in use, over which libjpeg passes where restarts are in use."""
    last = progressive.rindex(b"\xff\xda")
    damaged = progressive[: last + 500] + b"\xff\2" + progressive[last + 502 :]

    assert scans_of(read_header(damaged, "jpeg")) == ALL
    assert PillowProcessor().process(damaged, box_preset(150, 100, quality=80))


def test_what_comes_behind_the_end_is_no_scan(progressive: bytes) -> None:
    assert scans_of(read_header(progressive + sos(1, 0x10) * 3 + b"\xff\xd9", "jpeg")) == ALL


def test_the_first_scan_is_never_left_out(progressive: bytes) -> None:
    at = progressive.index(b"\xff\xda")

    assert scans_of(read_header(progressive[:at] + sos(1, 0x10) + progressive[at:], "jpeg")) == ALL


@pytest.mark.parametrize("marker", [0xC4, 0xDD, 0xFE])
def test_what_else_stands_between_scans_is_none(marker: int, progressive: bytes) -> None:
    at = progressive.rindex(b"\xff\xda")
    comment = bytes((0xFF, marker, 0, 22)) + sos(1, 0x10) * 2

    header = read_header(progressive[:at] + comment + progressive[at:], "jpeg")
    assert scans_of(header) == ALL
    assert comment in without_fine_scans(header, 4, 80, "lanczos").source


@pytest.mark.parametrize("frame", [0xC0, 0xC1, 0xC9])
def test_the_scans_of_a_file_that_is_not_progressive_are_all_kept(frame: int, progressive: bytes) -> None:
    start, at = progressive.index(b"\xff\xc2"), progressive.index(b"\xff\xda")
    sequential = bytes((0xFF, frame)) + progressive[start + 2 : at]
    data = progressive[:start] + sequential + sos(0, 0) + sos(1, 0x10) * 3 + b"\xff\xd9"

    assert read_header(data, "jpeg").scans == ()
    assert len(read_header(data.replace(bytes((0xFF, frame)), b"\xff\xc2", 1), "jpeg").scans) == 3


def test_a_file_without_tables_keeps_its_scans(progressive: bytes) -> None:
    header = read_header(progressive.replace(b"\xff\xdb", b"\xff\xec"), "jpeg")

    assert header.step == inf
    assert scans_of(header) == ALL
    assert without_fine_scans(header, 8, 80, "lanczos") is header


def test_scans_and_lower_rows_are_left_out_together(progressive: bytes, box_preset: Callable[..., Preset]) -> None:
    header = read_header(progressive, "jpeg")
    upper = without_lower_rows(header, place((803, 601), box_preset(160, 40, "cover")))
    kept = without_fine_scans(upper, 4, 80, "lanczos")

    assert upper.height < header.height
    assert scans_of(read_header(kept.source, "jpeg")) == BANDS[:-1]
    rows = upper.height // 4 - 16
    whole, part = (drafted(each.source, 4) for each in (without_fine_scans(header, 4, 80, "lanczos"), kept))
    box = (0, 0, whole.width, rows)
    assert part.crop(box).tobytes() == whole.crop(box).tobytes()


@pytest.mark.parametrize(("size", "is_whole"), [((150, 112), True), ((160, 40), False)])
def test_what_the_decoder_warns_of_counts_where_only_scans_are_left_out(
    size: tuple[int, int], is_whole: bool, progressive: bytes, box_preset: Callable[..., Preset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told: list[Any] = []

    def decoded(_turbo: Turbo, header: Header, _factor: int, *, is_whole: bool) -> None:
        told.append((len(header.scans), is_whole))

    monkeypatch.setattr(Turbo, "decoded", decoded)
    monkeypatch.setattr("imageproxy.processors._turbo.CAN_BE_COLOUR", True)
    PillowProcessor(resizer="simd").process(progressive, box_preset(*size, "cover", quality=80))

    assert told == [(0, is_whole)]


def test_a_header_of_another_format_has_no_scans(photos: dict[str, DrawnPhoto]) -> None:
    header = read_header(photos["sunset"].data, "webp")

    assert without_fine_scans(replace(header, step=1.0), 4, 80, "lanczos").source == header.source
