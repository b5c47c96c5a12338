from __future__ import annotations

from collections.abc import Callable

import pytest
from PIL import Image, ImageChops, ImageCms

from imageproxy.presets import Preset
from imageproxy.processors import PillowProcessor
from imageproxy.processors._colour import flatten
from imageproxy.processors._foreign import without_alpha

Encode = Callable[..., bytes]
Decode = Callable[[bytes], Image.Image]
Colours = tuple[tuple[int, ...], ...]

pytestmark = pytest.mark.usefixtures("pillow_globals")


SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))


def near(found: Colours, wanted: Colours, by: int = 12) -> bool:
    return all(
        abs(a - b) <= by for one, other in zip(found, wanted, strict=True) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("background", ["#ffffff", "#102030"])
def test_transparency_is_laid_on_the_background_for_jpeg(
    processor: PillowProcessor,
    background: str,
    encode: Encode,
    decode: Decode,
    box_preset: Callable[..., Preset],
) -> None:
    source = encode(Image.new("RGBA", (90, 90), (255, 0, 0, 0)), "PNG")

    result = decode(processor.process(source, box_preset(30, 30, background=background)))

    wanted = tuple(bytes.fromhex(background[1:]))
    assert result.mode == "RGB"
    assert near((result.getpixel((15, 15)),), (wanted,), by=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("output", ["png", "webp", "avif"])
def test_transparency_is_kept_where_the_format_has_it(
    processor: PillowProcessor, output: str, encode: Encode, decode: Decode, box_preset: Callable[..., Preset]
) -> None:
    image = Image.new("RGBA", (90, 90), (0, 0, 255, 255))
    image.paste((0, 0, 255, 0), (45, 0, 90, 90))

    result = decode(processor.process(encode(image, "PNG"), box_preset(30, 30, format=output)))

    assert result.mode == "RGBA"
    assert result.getpixel((5, 15))[3] >= 250  # type: ignore[index]
    assert result.getpixel((25, 15))[3] <= 5  # type: ignore[index]


def test_the_colour_behind_transparent_pixels_does_not_bleed(
    processor: PillowProcessor, encode: Encode, decode: Decode, box_preset: Callable[..., Preset]
) -> None:
    image = Image.new("RGBA", (100, 100), (0, 0, 0, 0))  # transparent black around
    image.paste((255, 255, 255, 255), (25, 25, 75, 75))  # a white square

    result = decode(processor.process(encode(image, "PNG"), box_preset(33, 33)))  # on white

    assert result.convert("L").getextrema()[0] >= 250  # type: ignore[operator]


def test_an_alpha_channel_that_says_nothing_is_dropped(
    processor: PillowProcessor,
    quarters: Callable[..., Image.Image],
    encode: Encode,
    decode: Decode,
    box_preset: Callable[..., Preset],
) -> None:
    opaque = encode(quarters(mode="RGBA"), "PNG")

    assert decode(processor.process(opaque, box_preset(30, 30, format="png"))).mode == "RGB"


@pytest.mark.parametrize("transparent", [0, bytes([0, 255, 128, 255])], ids=["one colour", "a table"])
def test_transparent_colours_of_a_palette_are_transparent(
    processor: PillowProcessor,
    transparent: int | bytes,
    encode: Encode,
    decode: Decode,
    box_preset: Callable[..., Preset],
) -> None:
    image = Image.new("P", (64, 64))
    image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.paste(1, (32, 0, 64, 64))

    result = decode(processor.process(encode(image, "PNG", transparency=transparent), box_preset(16, 16, format="png")))

    assert result.getpixel((2, 8))[3] == 0  # type: ignore[index]
    assert result.getpixel((13, 8)) == (200, 0, 0, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_wide_colours_become_srgb(
    processor: PillowProcessor,
    kind: str,
    mode: str,
    icc_profile: Callable[..., bytes],
    encode: Encode,
    decode: Decode,
    box_preset: Callable[..., Preset],
) -> None:
    if kind == "JPEG":
        mode = "RGB"
    profile = icc_profile(primaries=DISPLAY_P3)
    image = Image.new(mode, (64, 64), (180, 100, 60, 200)[: len(mode)])

    result = decode(
        processor.process(encode(image, kind, icc_profile=profile, quality=95), box_preset(32, 32, format="png"))
    )

    # (180, 100, 60) of Display P3 with a gamma of 2.2, by the two matrices.
    assert near((result.getpixel((16, 16))[:3],), ((194, 94, 45),), by=4)  # type: ignore[index]
    if mode == "RGBA":
        assert abs(result.getpixel((16, 16))[3] - 200) <= 2  # type: ignore[index]


def test_a_grey_profile_is_applied_and_the_picture_stays_grey(
    processor: PillowProcessor,
    icc_profile: Callable[..., bytes],
    encode: Encode,
    decode: Decode,
    box_preset: Callable[..., Preset],
) -> None:
    linear = encode(Image.new("L", (64, 64), 55), "PNG", icc_profile=icc_profile(gamma=1.0))

    result = decode(processor.process(linear, box_preset(32, 32, format="png")))

    assert result.mode == "L"
    assert abs(result.getpixel((16, 16)) - 128) <= 2  # type: ignore[operator]


def test_a_grey_picture_with_the_profile_of_a_screen_is_grey(
    processor: PillowProcessor,
    icc_profile: Callable[..., bytes],
    encode: Encode,
    decode: Decode,
    box_preset: Callable[..., Preset],
) -> None:
    profile = icc_profile(gamma=1.0, primaries=SRGB)

    result = decode(
        processor.process(
            encode(Image.new("L", (64, 64), 55), "PNG", icc_profile=profile), box_preset(32, 32, format="png")
        )
    )

    assert result.mode == "L"
    assert abs(result.getpixel((16, 16)) - 128) <= 2  # type: ignore[operator]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("profile", ["sRGB", "broken", "cut", "grey", "empty", "large"])
def test_profiles_that_say_nothing_of_the_picture_change_nothing(
    processor: PillowProcessor,
    mode: str,
    profile: str,
    quarters: Callable[..., Image.Image],
    icc_profile: Callable[..., bytes],
    encode: Encode,
    box_preset: Callable[..., Preset],
) -> None:
    screen = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profiles = {
        "sRGB": screen,
        "broken": b"this is no profile".ljust(400, b"!"),
        "cut": icc_profile(primaries=DISPLAY_P3)[:200],
        "grey": icc_profile(gamma=1.0) if mode != "L" else b"?",
        "empty": b"",
        "large": screen + bytes(100_000),
    }
    image = quarters().convert(mode)
    preset = box_preset(30, 30)

    plain = processor.process(encode(image, "JPEG"), preset)

    assert processor.process(encode(image, "JPEG", icc_profile=profiles[profile]), preset) == plain


def test_cmyk_of_photoshop_is_not_a_negative(
    processor: PillowProcessor, encode: Encode, decode: Decode, box_preset: Callable[..., Preset]
) -> None:
    source = encode(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), "JPEG")  # Pillow writes it as Photoshop does

    result = decode(processor.process(source, box_preset(32, 32)))

    assert near((result.getpixel((16, 16)),), ((254, 0, 0),), by=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("background", ["#ffffff", "#000000", "#336699"])
@pytest.mark.parametrize("is_newest", [True, False])
def test_what_is_premultiplied_is_laid_on_the_background_as_it_is_otherwise(
    background: str, is_newest: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_newest:  # where colours cannot be looked at without their fourth channel
        monkeypatch.setattr("imageproxy.processors._foreign.CAN_BE_COLOUR", False)
    ramp = Image.linear_gradient("L")  # from top to bottom
    image = Image.merge("RGBA", (ramp.rotate(90), Image.new("L", ramp.size, 130), ramp.rotate(270), ramp))
    image = image.resize((256, 700), Image.Resampling.NEAREST)  # more than one band

    difference = ImageChops.difference(flatten(image.convert("RGBa"), background), flatten(image, background))

    assert max(high for _, high in difference.getextrema()) <= 1  # type: ignore[misc]


def test_a_premultiplied_colour_over_its_alpha_is_no_brighter_than_white() -> None:
    image = Image.frombytes("RGBa", (1, 1), bytes((120, 90, 100, 100)))

    assert flatten(image, "#ffffff").getpixel((0, 0)) == (255, 245, 255)


def test_the_fourth_channel_can_be_left_aside_whatever_the_size() -> None:
    for size in ((40, 30), (4200, 1100)):  # of which Pillow makes one block of memory, or several
        image = without_alpha(Image.new("RGBa", size, (10, 20, 30, 40)))

        assert (image.mode, image.getpixel((39, 29))) == ("RGB", (10, 20, 30))
        image.putpixel((0, 0), (1, 2, 3))
