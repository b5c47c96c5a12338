from __future__ import annotations

import io
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imageproxy.errors import ConfigError, ImageTooLargeError, ProcessingError, UnsupportedFormatError
from imageproxy.presets import BLUESKY, DEFAULT, Preset
from imageproxy.processors import PillowProcessor
from imageproxy.protocols import Processor, SupportsVersion
from imageproxy.testing.photos import DrawnPhoto

Encode = Callable[..., bytes]
Decode = Callable[[bytes], Image.Image]
Colours = tuple[tuple[int, ...], ...]

pytestmark = pytest.mark.usefixtures("pillow_globals")

ULTRA_HDR = Path(__file__).parent.parent / "data" / "ultra_hdr.jpg"

CORNERS = ((220, 30, 30), (30, 170, 60), (40, 60, 220), (230, 210, 40))


SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))


def near(found: Colours, wanted: Colours, by: int = 12) -> bool:
    return all(
        abs(a - b) <= by for one, other in zip(found, wanted, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_it_is_a_processor_with_a_version(processor: PillowProcessor) -> None:
    assert isinstance(processor, Processor)
    assert isinstance(processor, SupportsVersion)
    assert processor.version.startswith("pillow-")


@pytest.mark.parametrize("max_pixels", [0, -1, 1.5, True, "50"])
def test_a_limit_that_cannot_be_meant_is_refused(max_pixels: Any) -> None:
    with pytest.raises(ConfigError, match="max_pixels") as caught:
        PillowProcessor(max_pixels=max_pixels)

    assert caught.value.option == "max_pixels"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
@pytest.mark.parametrize("output", ["jpeg", "png", "webp", "avif"])
def test_every_format_turns_into_every_other(
    processor: PillowProcessor,
    kind: str,
    output: str,
    quarters: Callable[..., Image.Image],
    encode: Encode,
    decode: Decode,
    corners_of: Callable[[Image.Image], Colours],
    box_preset: Callable[..., Preset],
) -> None:
    source = encode(quarters(), kind, quality=95)

    result = decode(processor.process(source, box_preset(60, 60, format=output)))

    assert result.format == output.upper()
    assert result.size == (60, 40)
    assert near(corners_of(result), CORNERS, by=25)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "1"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "P"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "I;16"),
        ("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("GIF", "L"), ("GIF", "P"), ("WEBP", "RGBA"),
        ("AVIF", "L"), ("AVIF", "RGBA"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("output", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("width", [60, 120], ids=["smaller", "as it is"])
def test_every_mode_keeps_what_it_shows(
    processor: PillowProcessor,
    kind: str,
    mode: str,
    output: str,
    width: int,
    quarters: Callable[..., Image.Image],
    encode: Encode,
    decode: Decode,
    corners_of: Callable[[Image.Image], Colours],
    box_preset: Callable[..., Preset],
) -> None:
    image = quarters(mode="RGB")
    if mode == "I;16":
        grey = image.convert("L")
        image = Image.frombytes("I;16", grey.size, b"".join(bytes((0, level)) for level in grey.tobytes()))
        wanted = corners_of(grey)
    else:
        image = image.quantize(16) if mode == "P" else image.convert(mode)
        wanted = corners_of(image)

    result = decode(processor.process(encode(image, kind), box_preset(width, 0, format=output)))

    assert result.size == (width, width * 2 // 3)
    # A dithered image of two levels is a field of dots; its averages are what counts.
    assert mode == "1" or near(corners_of(result), wanted, by=20)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_the_picture_is_upright(
    processor: PillowProcessor,
    orientation: int,
    kind: str,
    quarters: Callable[..., Image.Image],
    encode: Encode,
    decode: Decode,
    corners_of: Callable[[Image.Image], Colours],
    box_preset: Callable[..., Preset],
) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = quarters((240, 160))
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    source = encode(stored, kind, exif=exif, quality=95)

    whole = decode(processor.process(source, box_preset(60, 60)))
    wide = decode(processor.process(source, box_preset(64, 16, "cover", position=(0.5, 0.0))))

    assert whole.size == (60, 40)
    assert near(corners_of(whole), CORNERS, by=25)
    assert wide.size == (64, 16)
    assert near(corners_of(wide), (CORNERS[0], CORNERS[1], CORNERS[1], CORNERS[0]), by=25)  # the top alone


@pytest.mark.parametrize(
    ("position", "corner"), [((0, 0), 0), ((1, 0), 1), ((1, 1), 2), ((0, 1), 3)], ids=["tl", "tr", "br", "bl"]
)
def test_cover_keeps_the_part_that_the_preset_names(
    processor: PillowProcessor,
    position: tuple[float, float],
    corner: int,
    quarters: Callable[..., Image.Image],
    encode: Encode,
    decode: Decode,
    corners_of: Callable[[Image.Image], Colours],
    box_preset: Callable[..., Preset],
) -> None:
    wide, high = encode(quarters((400, 100)), "PNG"), encode(quarters((100, 400)), "PNG")

    left_or_right = corners_of(decode(processor.process(wide, box_preset(50, 50, "cover", position=position))))
    top_or_bottom = corners_of(decode(processor.process(high, box_preset(50, 50, "cover", position=position))))

    assert near((left_or_right[corner], top_or_bottom[corner]), (CORNERS[corner], CORNERS[corner]))
    assert near((left_or_right[0], left_or_right[3]), (CORNERS[0], CORNERS[3])) == (position[0] == 0)
    assert near((top_or_bottom[0], top_or_bottom[1]), (CORNERS[0], CORNERS[1])) == (position[1] == 0)


def test_cover_enlarges_and_contain_does_not(
    processor: PillowProcessor,
    quarters: Callable[..., Image.Image],
    encode: Encode,
    decode: Decode,
    box_preset: Callable[..., Preset],
) -> None:
    source = encode(quarters((30, 20)), "PNG")

    assert decode(processor.process(source, box_preset(400, 400, "cover"))).size == (400, 400)
    assert decode(processor.process(source, box_preset(400, 400))).size == (30, 20)
    assert decode(processor.process(source, box_preset(400, 400, enlarge=True))).size == (400, 267)


@pytest.mark.parametrize("size", [(65_500, 1), (1, 65_500), (1, 1), (3000, 7)])
@pytest.mark.parametrize("preset", DEFAULT, ids=lambda preset: preset.name)
def test_extreme_shapes_end_in_an_image(
    processor: PillowProcessor, size: tuple[int, int], preset: Preset, encode: Encode, decode: Decode
) -> None:
    result = decode(processor.process(encode(Image.new("RGB", size, "#336699"), "JPEG"), preset))

    assert min(result.size) >= 1
    assert result.width <= preset.width
    assert preset.height == 0 or result.height <= preset.height


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "MPO"])
def test_the_first_frame_is_shown(
    processor: PillowProcessor, kind: str, encode: Encode, decode: Decode, box_preset: Callable[..., Preset]
) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("#00c800", "#c80000", "#0000c8")]
    source = encode(frames[0], kind, save_all=True, append_images=frames[1:])

    for output in ("jpeg", "avif", "webp"):
        result = decode(processor.process(source, box_preset(64, 64, format=output)))

        assert getattr(result, "n_frames", 1) == 1
        assert near((result.convert("RGB").getpixel((32, 32)),), ((0, 200, 0),))  # type: ignore[arg-type]


def test_a_photo_with_a_gain_map_gives_its_main_image(
    processor: PillowProcessor, decode: Decode, box_preset: Callable[..., Preset]
) -> None:
    """Ultra HDR (ISO 21496-1) as Android's cameras write it, in Display P3: drawn here, encoded by libultrahdr 1.4."""
    photo = ULTRA_HDR.read_bytes()
    main = photo[: photo.rindex(b"\xff\xd8\xff")]
    preset = box_preset(200, 150, quality=95)

    result = processor.process(photo, preset)

    assert b"21496" in photo
    assert result == processor.process(main, preset)
    assert near((decode(result).getpixel((150, 40)),), ((240, 232, 231),))  # type: ignore[arg-type] # the sun


@pytest.mark.parametrize("output", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF"])
@pytest.mark.parametrize("width", [30, 120], ids=["smaller", "as it is"])
def test_no_metadata_is_left(
    processor: PillowProcessor,
    kind: str,
    output: str,
    width: int,
    quarters: Callable[..., Image.Image],
    icc_profile: Callable[..., bytes],
    encode: Encode,
    decode: Decode,
    box_preset: Callable[..., Preset],
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRET camera"
    exif.get_ifd(0x8825)[29] = "SECRET place"
    srgb = icc_profile(primaries=SRGB, note=b"SECRET profile")
    options: dict[str, Any] = {"exif": exif, "icc_profile": srgb, "xmp": b"SECRET xmp", "comment": b"SECRET comment"}
    if kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text("note", "SECRET text")
    source = encode(quarters(), kind, **options)
    assert b"SECRET" in source

    result = processor.process(source, box_preset(width, 0, format=output))

    assert b"SECRET" not in result
    assert not decode(result).info.keys() & {"exif", "icc_profile", "xmp", "comment", "XML:com.adobe.xmp", "dpi"}


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (b"", "empty", "no bytes"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg", "look like svg; JPEG, PNG, WebP, GIF and AVIF are read"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic", "look like heic"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "mp4", "look like mp4"),
        (b"\1\2\3", None, "no image of a known format"),
    ],
)
def test_what_is_no_readable_image_is_named(
    processor: PillowProcessor, data: bytes, name: str | None, message: str
) -> None:
    with pytest.raises(UnsupportedFormatError, match=message) as caught:
        processor.process(data, DEFAULT.get("avatar"))

    assert caught.value.format == name
    assert caught.value.preset == "avatar"


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "ICO", "JPEG2000", "PPM", "TGA"])
def test_the_other_decoders_stay_shut(
    processor: PillowProcessor, kind: str, quarters: Callable[..., Image.Image], encode: Encode
) -> None:
    with pytest.raises(UnsupportedFormatError):
        processor.process(encode(quarters(), kind), DEFAULT.get("avatar"))


def test_a_format_that_this_pillow_lacks_is_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, quarters: Callable[..., Image.Image], encode: Encode
) -> None:
    source = encode(quarters(), "AVIF")
    monkeypatch.setattr("PIL.AvifImagePlugin.SUPPORTED", False)

    with pytest.raises(UnsupportedFormatError, match="which this Pillow was built without") as caught:
        PillowProcessor().process(source, DEFAULT.get("avatar"))

    assert caught.value.format == "avif"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_more_pixels_than_allowed_are_refused(
    kind: str, quarters: Callable[..., Image.Image], encode: Encode, box_preset: Callable[..., Preset]
) -> None:
    source = encode(quarters((100, 80)), kind)
    preset = box_preset(10, 10)

    PillowProcessor(max_pixels=8000).process(source, preset)
    with pytest.raises(ImageTooLargeError, match=r"8,000 pixels; the limit is 7,999 \(max_pixels\)") as caught:
        PillowProcessor(max_pixels=7999).process(source, preset)

    assert (caught.value.unit, caught.value.limit, caught.value.actual) == ("pixels", 7999, 8000)
    assert caught.value.preset == "test"


def test_a_result_of_more_pixels_than_allowed_is_refused(
    processor: PillowProcessor, encode: Encode, box_preset: Callable[..., Preset]
) -> None:
    source = encode(Image.new("L", (1, 60_000)), "PNG")

    with pytest.raises(ImageTooLargeError, match=r"made into 'test' the image would have 38,400,000,000"):
        processor.process(source, box_preset(800, 0, enlarge=True))


def test_pillows_own_limit_is_the_apps(
    processor: PillowProcessor, quarters: Callable[..., Image.Image], encode: Encode, box_preset: Callable[..., Preset]
) -> None:
    source = encode(quarters((100, 80)), "PNG")
    before = Image.MAX_IMAGE_PIXELS
    try:
        for limit in (7000, 3000):  # at the first Pillow warns, which is an error here; at the second it refuses
            Image.MAX_IMAGE_PIXELS = limit
            with pytest.raises(ImageTooLargeError, match="MAX_IMAGE_PIXELS") as caught:
                processor.process(source, box_preset(10, 10))
            assert caught.value.limit == limit
    finally:
        Image.MAX_IMAGE_PIXELS = before


def test_what_the_format_cannot_hold_is_an_error_of_ours(
    processor: PillowProcessor, encode: Encode, box_preset: Callable[..., Preset]
) -> None:
    source = encode(Image.new("L", (4, 17_000)), "PNG")

    with pytest.raises(ProcessingError, match="could not be made into 'test'") as caught:
        processor.process(source, box_preset(4, 0, format="webp"))

    assert caught.value.__cause__ is not None
    assert caught.value.preset == "test"


def test_encode_may_be_overridden(
    quarters: Callable[..., Image.Image], encode: Encode, box_preset: Callable[..., Preset]
) -> None:
    class Marking(PillowProcessor):
        def encode(self, image: Image.Image, preset: Preset) -> bytes:
            assert (image.mode, image.size, image.info) == ("RGB", (30, 20), {})
            return b"marked " + super().encode(image, preset)

    class Failing(PillowProcessor):
        def encode(self, image: Image.Image, preset: Preset) -> bytes:
            raise KeyError(preset.name)

    source = encode(quarters(), "PNG")

    assert Marking().process(source, box_preset(30, 30)).startswith(b"marked \xff\xd8")
    with pytest.raises(ProcessingError, match="KeyError: 'test'"):
        Failing().process(source, box_preset(30, 30))


@pytest.mark.parametrize("name", ["landscape", "sideways", "portrait", "sunset", "winter", "blinking", "icon"])
def test_bluesky_presets_take_every_photo(name: str, photos: dict[str, DrawnPhoto], decode: Decode) -> None:
    processor = PillowProcessor()
    for preset in (BLUESKY.get("banner"), BLUESKY.get("feed_fullsize")):
        result = decode(processor.process(photos[name].data, preset))

        assert result.width == preset.width or result.height == preset.height


def test_threads_get_what_one_gets(
    processor: PillowProcessor,
    photos: dict[str, DrawnPhoto],
    icc_profile: Callable[..., bytes],
    encode: Encode,
    decode: Decode,
) -> None:
    presets = (DEFAULT.get("avatar_small"), DEFAULT.get("banner"))
    wide = encode(decode(photos["winter"].data), "JPEG", icc_profile=icc_profile(primaries=DISPLAY_P3))
    sources = [wide, *(photos[name].data for name in ("sideways", "portrait", "sunset", "blinking"))]
    jobs = [(source, preset) for source in sources for preset in presets]
    alone = [processor.process(*job) for job in jobs]
    together: list[list[bytes]] = []

    def work(first: int) -> None:
        order = jobs[first:] + jobs[:first]
        results = [processor.process(*job) for job in order]
        together.append(results[len(jobs) - first :] + results[: len(jobs) - first])

    threads = [threading.Thread(target=work, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert together == [alone] * 8


def test_files_beside_the_repository_end_in_an_image_or_in_an_error_of_ours(
    processor: PillowProcessor, shared_file: Any, photos: dict[str, DrawnPhoto]
) -> None:
    data = shared_file.read_bytes() if shared_file else photos["landscape"].data
    for preset in DEFAULT:
        with suppress(UnsupportedFormatError, ImageTooLargeError, ProcessingError):
            result = processor.process(data, preset)
            with Image.open(io.BytesIO(result)) as image:
                assert image.width <= preset.width


@pytest.mark.parametrize("side", [32, 250])
@pytest.mark.parametrize("alpha", [0, 255])
def test_transparency_comes_out_on_the_background_however_much_is_shrunk(
    side: int, alpha: int, processor: PillowProcessor, encode: Encode, decode: Decode, box_preset: Callable[..., Preset]
) -> None:
    picture = Image.new("RGBA", (256, 256), (10, 200, 30, alpha))
    preset = box_preset(side, side, background="#ff8800")

    result = decode(processor.process(encode(picture, "PNG"), preset))

    wanted = (10, 200, 30) if alpha else (255, 136, 0)
    for band, level in zip(result.split(), wanted, strict=True):
        low, high = band.getextrema()
        assert level - 3 <= low <= high <= level + 3  # type: ignore[operator]  # of one band they are numbers


def test_a_picture_that_only_begins_opaque_keeps_its_transparency(
    processor: PillowProcessor, encode: Encode, decode: Decode, box_preset: Callable[..., Preset]
) -> None:
    picture = Image.new("RGBA", (600, 600), "#112233")
    picture.paste((0, 0, 0, 0), (0, 500, 600, 600))

    result = decode(processor.process(encode(picture, "PNG"), box_preset(300, 300, format="png")))

    assert result.mode == "RGBA"
    assert result.getpixel((150, 290)) == (0, 0, 0, 0)
