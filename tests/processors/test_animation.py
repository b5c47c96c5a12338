from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw

from imageproxy.errors import ConfigError, ImageTooLargeError, ProcessingError, UnsupportedFormatError
from imageproxy.presets import FitMode, Preset
from imageproxy.processors import PillowProcessor
from imageproxy.processors._animation import pictures
from imageproxy.processors._film import Film, read_film
from imageproxy.processors._headers import read_header
from imageproxy.processors._sniff import sniff

Encode = Callable[..., bytes]
Chunk = Callable[[bytes, bytes], bytes]

pytestmark = [pytest.mark.usefixtures("pillow_globals"), pytest.mark.timeout(30)]

SIZE = (120, 90)
MOVING = Preset("moving", 120, 0, FitMode.CONTAIN, 90, format="webp", animated=True)
RED, GREEN, BLUE, CLEAR = (255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255), (0, 0, 0, 0)


def drawn(count: int, size: tuple[int, int] = SIZE, background: tuple[int, ...] = CLEAR) -> list[Image.Image]:
    """A disc and a square that move."""
    frames = []
    for number in range(count):
        frame = Image.new("RGBA", size, background)
        draw = ImageDraw.Draw(frame)
        draw.ellipse((10 + number * 15, 20, 50 + number * 15, 70), fill=(255, 60 * number % 256, 0, 255))
        draw.rectangle((number * 20, 0, number * 20 + 10, 10), fill=(0, 0, 255, 255))
        draw.rectangle((number * 2, 80, number * 2 + 10, 85), fill=(0, 128, 0, 255))
        frames.append(frame)
    return frames


def film_of(data: bytes, max_frames: int = 100) -> Film | None:
    return read_film(data, read_header(data, sniff(data)), max_frames)


def shown(film: Film | None) -> list[Image.Image]:
    assert film is not None
    return [canvas.copy() for canvas in pictures(film)]


def frames_of(data: bytes) -> list[Image.Image]:
    frames = []
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image.n_frames, int)
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(image.convert("RGBA"))
    return frames


def looks_like(one: Image.Image, other: Image.Image, tolerance: int = 0) -> bool:
    """Whether they look the same on any background."""
    bands = ImageChops.difference(one.convert("RGBa"), other.convert("RGBa")).getextrema()
    return one.size == other.size and max(band[1] for band in bands) <= tolerance  # type: ignore[index]


@pytest.fixture(scope="module")
def animation(encode: Encode) -> Callable[..., bytes]:
    """``animation("GIF", frames, **options)``."""

    def made(kind: str, frames: Sequence[Image.Image], **options: Any) -> bytes:
        return encode(frames[0], kind, save_all=True, append_images=frames[1:], **{"duration": 50, **options})

    return made


# What is drawn


@pytest.mark.parametrize("background", [CLEAR, (200, 200, 255, 255)], ids=["clear", "opaque"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *(("GIF", {"disposal": disposal}) for disposal in range(3)),  # Pillow writes 3 as it reads it: wrongly
        *(("PNG", {"disposal": disposal, "blend": 0}) for disposal in range(2)),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"lossless": True, "kmin": 0, "kmax": 0}),
    ],
)
def test_every_disposal_shows_the_frames_that_were_meant(
    kind: str, options: dict[str, Any], background: tuple[int, ...], animation: Callable[..., bytes]
) -> None:
    frames = drawn(5, background=background)
    if kind == "GIF" and background == CLEAR and options["disposal"] != 2:
        return  # cannot be said in a GIF

    found = shown(film_of(animation(kind, frames, **options)))

    assert len(found) == 5
    assert all(looks_like(one, other) for one, other in zip(found, frames, strict=True))


def gif_frame(box: tuple[int, int, int, int], colour: int, disposal: int = 0, transparent: int | None = None) -> bytes:
    """A frame of one colour of four, 2 to 3 times as long as real ones: each pixel has a code of its own."""
    left, top, width, height = box
    control = b"!\xf9\x04" + bytes(((disposal << 2) | (transparent is not None), 10, 0, transparent or 0)) + b"\0"
    bits = ""
    for pixel in range(width * height):
        if pixel % 2 == 0:
            bits = f"{4:03b}" + bits  # clear: the codes stay three bits wide
        bits = f"{colour:03b}" + bits
    bits = f"{5:03b}" + bits
    packed = int(bits, 2).to_bytes((len(bits) + 7) // 8, "little")
    blocks = b"".join(bytes((len(packed[at : at + 255]),)) + packed[at : at + 255] for at in range(0, len(packed), 255))
    return control + b"," + struct.pack("<HHHHB", left, top, width, height, 0) + b"\2" + blocks + b"\0"


def gif(size: tuple[int, int], *frames: bytes) -> bytes:
    palette = bytes(RED[:3]) + bytes(GREEN[:3]) + bytes(BLUE[:3]) + b"\xff\xff\xff"
    return b"GIF89a" + struct.pack("<HHBBB", *size, 0x81, 3, 0) + palette + b"".join(frames) + b";"


def test_what_the_first_frame_of_a_gif_leaves_free_is_transparent() -> None:
    data = gif((20, 10), gif_frame((5, 2, 10, 6), 0), gif_frame((0, 0, 20, 10), 1))
    wanted = Image.new("RGBA", (20, 10))
    wanted.paste(RED, (5, 2, 15, 8))

    assert looks_like(shown(film_of(data))[0], wanted)
    still = PillowProcessor().process(data, Preset("still", 20, 0, FitMode.CONTAIN, 90, format="png"))
    assert looks_like(frames_of(still)[0], wanted)


def test_disposals_of_a_gif_are_those_of_browsers() -> None:
    """A cleared part is transparent, also where the file names a background; what is restored was there before."""
    whole, left, right = (0, 0, 20, 10), (0, 0, 10, 10), (10, 0, 10, 10)
    data = gif(
        (20, 10),
        gif_frame(whole, 0),
        gif_frame(left, 1, disposal=3),
        gif_frame(right, 2, disposal=2),
        gif_frame((0, 0, 1, 1), 0),
    )

    found = [(frame.getpixel((5, 5)), frame.getpixel((15, 5))) for frame in shown(film_of(data))]

    assert found == [(RED, RED), (GREEN, RED), (RED, BLUE), (RED, CLEAR)]


def test_blending_of_a_png_lays_over_or_replaces(png_chunk: Chunk) -> None:
    def pixels(*colour: int) -> bytes:
        return zlib.compress((b"\0" + bytes(colour) * 4) * 4)

    def control(number: int, blend: int) -> bytes:
        return png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 4, 4, 0, 0, 1, 10, 0, blend))

    head = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 6, 0, 0, 0))
    first = png_chunk(b"acTL", struct.pack(">II", 3, 7)) + control(0, 0) + png_chunk(b"IDAT", pixels(*RED))
    over = control(1, 1) + png_chunk(b"fdAT", struct.pack(">I", 2) + pixels(0, 0, 255, 128))
    replaced = control(3, 0) + png_chunk(b"fdAT", struct.pack(">I", 4) + pixels(0, 255, 0, 0))

    film = film_of(head + first + over + replaced + png_chunk(b"IEND", b""))

    assert [frame.getpixel((1, 1)) for frame in shown(film)] == [RED, (127, 0, 128, 255), (0, 255, 0, 0)]
    assert film is not None
    assert film.plays == 7
    assert [frame.duration_ms for frame in film.frames] == [100, 100, 100]


@pytest.mark.parametrize("mode", ["P", "L", "1", "LA", "RGB", "I;16"])
def test_animated_pngs_of_every_mode_are_read(mode: str, encode: Encode, png_chunk: Chunk) -> None:
    """Pillow writes none of 16 bits; so the one picture is made into two frames by hand."""
    image = Image.linear_gradient("L").resize((16, 16))
    if mode == "I;16":
        image = image.convert("I").point(lambda level: level * 257).convert("I;16")
    else:
        image = image.convert("RGB").quantize(8) if mode == "P" else image.convert(mode)
    plain = encode(image, "PNG")
    at = plain.index(b"IDAT") - 4
    body = plain[at + 8 : plain.index(b"IEND") - 8]

    def control(number: int) -> bytes:
        return png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 16, 16, 0, 0, 1, 10, 0, 0))

    again = png_chunk(b"fdAT", struct.pack(">I", 2) + body)
    moving = plain[:at] + png_chunk(b"acTL", struct.pack(">II", 2, 0)) + control(0) + plain[at:-12] + control(1) + again

    found = shown(film_of(moving + plain[-12:]))

    wanted = PillowProcessor().process(plain, Preset("still", 16, 0, FitMode.CONTAIN, 90, format="png"))
    assert len(found) == 2
    assert all(looks_like(frame, frames_of(wanted)[0], 1) for frame in found)


def test_the_default_image_of_an_animated_png_is_no_frame(animation: Callable[..., bytes]) -> None:
    frames = drawn(3)
    data = animation("PNG", [Image.new("RGBA", SIZE, GREEN), *frames], default_image=True)

    assert all(looks_like(one, other) for one, other in zip(shown(film_of(data)), frames, strict=True))


def test_the_transparent_colour_of_16_bits_is_transparent_in_every_frame(png_chunk: Chunk) -> None:
    def pixels(*colour: int) -> bytes:
        return zlib.compress((b"\0" + struct.pack(">6H", 1000, 2000, 3000, *colour)) * 2)

    def control(number: int) -> bytes:
        return png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 2, 2, 0, 0, 1, 10, 0, 0))

    data = (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
        + png_chunk(b"acTL", struct.pack(">II", 2, 0))
        + png_chunk(b"tRNS", struct.pack(">3H", 1000, 2000, 3000))
        + control(0)
        + png_chunk(b"IDAT", pixels(1000, 2000, 3001))
        + control(1)
        + png_chunk(b"fdAT", struct.pack(">I", 2) + pixels(65535, 0, 0))
        + png_chunk(b"IEND", b"")
    )

    first, second = shown(film_of(data))

    assert [first.getpixel((x, 0))[3] for x in (0, 1)] == [0, 255]  # type: ignore[index]
    assert second.getpixel((1, 1)) == RED


# What comes out


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("background", [CLEAR, (200, 200, 255, 255)], ids=["clear", "opaque"])
def test_an_animation_stays_one(
    processor: PillowProcessor, kind: str, background: tuple[int, ...], animation: Callable[..., bytes]
) -> None:
    frames = drawn(5, background=background)
    every: dict[str, dict[str, Any]] = {"GIF": {"disposal": 2}, "PNG": {"disposal": 1}, "WEBP": {"lossless": True}}
    data = animation(kind, frames, duration=[40, 100, 200, 300, 60], loop=0, **every[kind])

    result = processor.process(data, MOVING)

    with Image.open(io.BytesIO(result)) as image:
        assert (image.format, image.size, image.n_frames) == ("WEBP", SIZE, 5)
        assert image.info["loop"] == 0
        durations = []
        for number in range(5):
            image.seek(number)
            image.load()
            durations.append(image.info["duration"])
            wanted = frames[number].convert("RGBa").resize((30, 22), Image.Resampling.BOX)
            found = image.convert("RGBa").resize((30, 22), Image.Resampling.BOX)
            assert max(band[1] for band in ImageChops.difference(wanted, found).getextrema()) < 30  # type: ignore[index]
        assert durations == [40, 100, 200, 300, 60]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_without_being_asked_for_the_first_frame_is_shown(
    processor: PillowProcessor, kind: str, animation: Callable[..., bytes]
) -> None:
    frames = drawn(3)
    still = Preset("still", 120, 0, FitMode.CONTAIN, 90, format="webp")

    result = frames_of(processor.process(animation(kind, frames), still))

    assert len(result) == 1
    assert looks_like(result[0].resize((12, 9)), frames[0].resize((12, 9)), 30)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_a_still_picture_gives_what_a_still_preset_gives(processor: PillowProcessor, kind: str, encode: Encode) -> None:
    data = encode(Image.linear_gradient("L").convert("RGB"), kind)
    still = Preset("still", 120, 0, FitMode.CONTAIN, 90, format="webp")

    assert processor.process(data, MOVING) == processor.process(data, still)


@pytest.mark.parametrize(
    ("kind", "loop", "plays"),
    [("GIF", 0, 0), ("GIF", 3, 4), ("GIF", None, 1), ("PNG", 0, 0), ("PNG", 3, 3), ("WEBP", 0, 0), ("WEBP", 5, 5)],
)
def test_it_is_shown_as_often_as_it_was(
    processor: PillowProcessor, kind: str, loop: int | None, plays: int, animation: Callable[..., bytes]
) -> None:
    """A GIF tells how often it is shown again, the others how often it is shown."""
    options = {} if loop is None else {"loop": loop}

    with Image.open(io.BytesIO(processor.process(animation(kind, drawn(2), **options), MOVING))) as image:
        assert image.info["loop"] == plays


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_frames_without_a_duration_get_a_tenth_of_a_second(kind: str, animation: Callable[..., bytes]) -> None:
    film = film_of(animation(kind, drawn(4), duration=[0, 10, 20, 500]))

    assert film is not None
    assert [frame.duration_ms for frame in film.frames] == [100, 100, 20, 500]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_animations_are_turned_upright_cropped_and_converted(
    processor: PillowProcessor,
    orientation: int,
    kind: str,
    animation: Callable[..., bytes],
    quarters: Callable[..., Image.Image],
    icc_profile: Callable[..., bytes],
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    wide = icc_profile(primaries=((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)))
    first = quarters((80, 60))
    data = animation(kind, [first, Image.new("RGB", (80, 60))], exif=exif, icc_profile=wide, lossless=True)
    crop = Preset("crop", 30, 40, FitMode.COVER, 95, format="webp", position=(0.2, 0.8))

    result = frames_of(processor.process(data, replace(crop, animated=True)))
    still = frames_of(processor.process(animation(kind, [first], exif=exif, icc_profile=wide, lossless=True), crop))

    assert len(result) == 2
    assert looks_like(result[0].resize((6, 8)), still[0].resize((6, 8)), 12)


def test_no_metadata_is_left(animation: Callable[..., bytes]) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRET camera"
    for kind in ("GIF", "WEBP", "PNG"):
        data = animation(kind, drawn(2), exif=exif, xmp=b"SECRET xmp", comment=b"SECRET comment")
        assert b"SECRET" in data
        assert b"SECRET" not in PillowProcessor().process(data, MOVING)


# Limits


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_over_a_limit_the_first_frames_are_kept(kind: str, animation: Callable[..., bytes]) -> None:
    data = animation(kind, drawn(8))
    pixels = SIZE[0] * SIZE[1]

    def count(**limits: Any) -> int:
        return len(frames_of(PillowProcessor(**limits).process(data, MOVING)))

    assert count() == 8
    assert count(max_frames=3) == 3
    assert count(max_frames=1) == 1
    assert count(max_animation_pixels=5 * pixels) == 5
    assert count(max_animation_pixels=2 * pixels - 1) == 1


def test_the_result_counts_where_it_is_larger(animation: Callable[..., bytes]) -> None:
    processor = PillowProcessor(max_animation_pixels=3 * 480 * 360)
    large = Preset("large", 480, 360, FitMode.COVER, 80, format="webp", animated=True)

    assert len(frames_of(processor.process(animation("GIF", drawn(8)), large))) == 3


def test_over_the_limit_of_memory_fewer_frames_are_kept(animation: Callable[..., bytes]) -> None:
    data = animation("GIF", drawn(8))
    free, tight = PillowProcessor(), PillowProcessor(max_decode_bytes=2_950_000)

    assert tight.estimate(data, MOVING) <= 2_950_000 < free.estimate(data, MOVING)
    assert 1 <= len(frames_of(tight.process(data, MOVING))) < 8
    with pytest.raises(ImageTooLargeError, match="max_decode_bytes"):
        PillowProcessor(max_decode_bytes=1_000_000).process(data, MOVING)


@pytest.mark.parametrize("option", ["max_frames", "max_animation_pixels"])
def test_a_limit_that_cannot_be_meant_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        PillowProcessor(**{option: 0})  # type: ignore[arg-type]


def test_limits_are_part_of_the_version() -> None:
    limits: list[dict[str, Any]] = [{}, {"max_frames": 9}, {"max_animation_pixels": 9}]
    versions = [PillowProcessor(**options).version for options in limits]

    assert len(set(versions)) == 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_estimate_grows_with_the_frames(kind: str, animation: Callable[..., bytes]) -> None:
    few, many = (PillowProcessor().estimate(animation(kind, drawn(count)), MOVING) for count in (2, 40))

    assert many - few > 38 * SIZE[0] * SIZE[1]


# Hostile ones


def test_a_gif_of_two_hundred_thousand_frames(encode: Encode) -> None:
    plain = encode(Image.new("P", (8, 8)), "GIF")
    frame = plain[plain.index(b",") : -1]
    data = plain[:-1] + frame * 200_000 + b";"

    assert len(film_of(data, 500).frames) == 500  # type: ignore[union-attr]
    assert PillowProcessor().process(data, MOVING)


@pytest.mark.parametrize("blocks", [b"!\xfe\0" * 2_000_000, b"!\xfe" + b"\1a" * 3_000_000 + b"\0"])
def test_a_gif_of_nothing_but_blocks_is_not_walked_to_its_end(blocks: bytes) -> None:
    frame = gif_frame((0, 0, 4, 4), 0)
    data = gif((4, 4), frame, blocks, frame)

    assert film_of(data) is None
    assert PillowProcessor().process(data, MOVING)


@pytest.mark.parametrize(
    ("extension", "plays"),
    [
        (b"!\xff\x0bNETSCAPE2.0\3\1\2\0\0", 3),
        (b"!\xff\x0bANIMEXTS1.0\3\1\0\0\0", 0),
        (b"!\xff\x0bNETSCAPE2.0\3\1\xff\xff\0", 65_535),
        (b"!\xff\x0bNETSCAPE2.0\3\2\5\0\0", 1),  # how much to buffer
        (b"!\xff\x0bNETSCAPE2.0\1\1\0", 1),
        (b"!\xff\x0bNETSCAPE2.0\0", 1),
        (b"!\xff\x0bUNHEARD OF!\3\1\2\0\0", 1),
    ],
)
def test_only_what_says_how_often_it_plays_is_believed(extension: bytes, plays: int) -> None:
    frame = gif_frame((0, 0, 4, 4), 0)

    film = film_of(gif((4, 4), extension, frame, frame))

    assert film is not None
    assert film.plays == plays
    assert len(film.frames) == 2


def test_what_is_neither_frame_nor_extension_ends_the_film() -> None:
    frame = gif_frame((0, 0, 4, 4), 0)

    assert len(film_of(gif((4, 4), frame, frame, b"junk", frame)).frames) == 2  # type: ignore[union-attr]


def test_a_frame_outside_of_the_canvas_ends_the_film() -> None:
    frame = gif_frame((0, 0, 4, 4), 0)
    out = b"," + struct.pack("<HHHHB", 3, 0, 4, 4, 0) + frame[frame.index(b",") + 10 :]
    empty = b"," + struct.pack("<HHHHB", 0, 0, 0, 4, 0) + frame[frame.index(b",") + 10 :]

    assert film_of(gif((4, 4), frame, frame, out, frame)).frames[2:] == []  # type: ignore[union-attr]
    assert film_of(gif((4, 4), frame, empty, frame)) is None


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_a_cut_animation_shows_the_frames_before_the_cut(kind: str, animation: Callable[..., bytes]) -> None:
    data = animation(kind, drawn(8))
    if kind == "WEBP":  # whose decoder reads the whole file, or none of it, for a still picture
        assert len(film_of(data[: len(data) * 2 // 3]).frames) < 8  # type: ignore[union-attr]
        return

    result = frames_of(PillowProcessor().process(data[: len(data) * 2 // 3], MOVING))

    assert 2 <= len(result) < 8


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_mutants_end_in_an_image_or_in_an_error_of_ours(kind: str, animation: Callable[..., bytes]) -> None:
    import random

    data = animation(kind, drawn(4, (40, 30)))
    rng = random.Random(kind)
    processor = PillowProcessor(max_pixels=1_000_000)
    preset = Preset("small", 20, 20, FitMode.COVER, 80, format="webp", animated=True)
    outcomes: set[object] = set()
    for _ in range(200):
        mutant = bytearray(data)
        for _ in range(rng.randint(1, 6)):
            mutant[rng.randrange(len(mutant))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        if rng.random() < 0.2:
            del mutant[rng.randrange(len(mutant)) :]
        try:
            outcomes.add(len(frames_of(processor.process(bytes(mutant), preset))))
        except (ProcessingError, ImageTooLargeError, UnsupportedFormatError) as error:
            outcomes.add(type(error).__name__)
    assert outcomes >= {2, "ProcessingError"}


def test_frames_that_are_not_as_large_as_they_say_are_broken(animation: Callable[..., bytes]) -> None:
    data = bytearray(animation("WEBP", drawn(2), lossless=True))
    at = data.index(b"ANMF") + 8
    data[at + 6 : at + 9] = (60).to_bytes(3, "little")

    with pytest.raises(ProcessingError, match="another size than it declares"):
        shown(film_of(bytes(data)))


# Subclasses


def test_encode_frames_may_be_overridden(animation: Callable[..., bytes]) -> None:
    class Marking(PillowProcessor):
        def encode_frames(
            self, frames: Iterable[Image.Image], durations_ms: Sequence[int], plays: int, preset: Preset
        ) -> bytes:
            marked = (self._mark(frame) for frame in frames)
            return super().encode_frames(marked, durations_ms, plays, preset)

        def _mark(self, frame: Image.Image) -> Image.Image:
            assert frame.info == {}
            frame.paste(GREEN[: len(frame.getbands())], (0, 0, 40, 40))
            return frame

    for frame in frames_of(Marking().process(animation("GIF", drawn(3)), MOVING)):
        red, green, blue, alpha = frame.getpixel((20, 20))  # type: ignore[misc]
        assert (red < 30, green > 225, blue < 30, alpha) == (True, True, True, 255)


def test_of_a_webp_frame_of_many_pictures_the_first_is_taken(animation: Callable[..., bytes]) -> None:
    data = animation("WEBP", drawn(3), lossless=True)
    at = data.index(b"ANMF")
    length = int.from_bytes(data[at + 4 : at + 8], "little")
    many = b"VP8 \0\0\0\0" * 2500
    padded = data[at + 8 : at + 8 + length] + many
    longer = data[:at] + b"ANMF" + struct.pack("<I", len(padded)) + padded + data[at + 8 + length :]

    film, plain = film_of(longer[:4] + struct.pack("<I", len(longer) - 8) + longer[8:]), film_of(data)

    assert film is not None
    assert plain is not None
    assert film.frames == plain.frames
