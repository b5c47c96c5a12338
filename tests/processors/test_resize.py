from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import replace

import PIL
import pytest
from PIL import Image

from imageproxy.errors import ConfigError
from imageproxy.presets import FitMode, Preset
from imageproxy.processors import PillowProcessor
from imageproxy.processors._geometry import Placement
from imageproxy.processors._resize import Kernel, PillowResizer, Resizer, SIMDResizer, kernel_for, resize
from imageproxy.testing.photos import DrawnPhoto

Decode = Callable[[bytes], Image.Image]


@pytest.fixture(params=[PillowResizer, SIMDResizer])
def resizer(request: pytest.FixtureRequest) -> Resizer:
    made: Resizer = request.param()
    return made


def test_auto_takes_the_simd_resizer_where_it_is_installed() -> None:
    assert PillowProcessor().resizer_name == "simd"
    assert PillowProcessor(resizer="simd").resizer_name == "simd"
    assert PillowProcessor(resizer="pillow").resizer_name == "pillow"


def test_auto_is_content_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)

    assert PillowProcessor().resizer_name == "pillow"


def test_simd_without_the_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)

    with pytest.raises(ConfigError, match=r'pip install "atproto-imageproxy\[fast\]"') as caught:
        PillowProcessor(resizer="simd")

    assert caught.value.option == "resizer"


def test_another_resizer_is_refused() -> None:
    with pytest.raises(ConfigError, match="resizer is 'vips'; it must be 'auto', 'pillow' or 'simd'"):
        PillowProcessor(resizer="vips")


def test_auto_leaves_the_simd_resizer_alone_with_a_pillow_that_it_may_not_know(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(PIL, "__version__", "99.0.0")

    with caplog.at_level(logging.INFO, "imageproxy"):
        assert PillowProcessor().resizer_name == "pillow"

    assert "99.0.0" in caplog.text


def test_each_resizer_has_a_version_of_its_own() -> None:
    assert PillowProcessor(resizer="pillow").version != PillowProcessor(resizer="simd").version


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBa"])
@pytest.mark.parametrize(("size", "box"), [((300, 200), (0, 0, 1200, 800)), ((200, 200), (100.5, 33.3, 700.1, 633))])
def test_both_resizers_make_the_same_picture(
    mode: str,
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    photos: dict[str, DrawnPhoto],
    decode: Decode,
    psnr: Callable[[Image.Image, Image.Image], float],
) -> None:
    source = decode(photos["landscape"].data).resize((1200, 800))
    source = source.convert("RGBA").convert("RGBa") if mode == "RGBa" else source.convert(mode)

    kernels: dict[Kernel, Image.Resampling] = {
        "lanczos": Image.Resampling.LANCZOS,
        "catmull_rom": Image.Resampling.BICUBIC,
    }
    for kernel, of_pillow in kernels.items():
        with_pillow = source.resize(size, of_pillow, box)
        with_simd = SIMDResizer().resize(source, size, box, kernel)

        assert psnr(with_pillow, with_simd) > 50
        assert psnr(PillowResizer().resize(source, size, box, kernel), with_simd) > 45


def test_strips_make_the_same_picture_as_one_piece(
    resizer: Resizer, photos: dict[str, DrawnPhoto], decode: Decode
) -> None:
    source = decode(photos["landscape"].data)
    size, box = (1700, 1100), (10.5, 20.25, 2390.5, 1590.75)

    in_strips = resize(resizer, source, size, box)
    at_once = resizer.resize(source, size, box, "lanczos")

    difference = max(abs(a - b) for a, b in zip(in_strips.tobytes(), at_once.tobytes(), strict=True))
    assert difference <= 1


def test_nothing_is_resized_where_the_size_is_right(resizer: Resizer) -> None:
    source = Image.frombytes("L", (4, 3), bytes(range(12)))

    assert resize(resizer, source, (4, 3), (0, 0, 4, 3)).tobytes() == source.tobytes()
    assert resize(resizer, source, (2, 2), (1, 1, 3, 3)).tobytes() == bytes([5, 6, 9, 10])


def test_the_finer_kernel_is_taken_where_it_shows() -> None:
    preset = Preset("test", 100, 100, FitMode.COVER, 90)
    shrinks, enlarges = Placement((100, 100), (0, 0, 300, 300)), Placement((100, 100), (0, 0, 300, 90))

    for name in ("pillow", "simd"):
        assert kernel_for(name, preset, shrinks, detail=6.5) == "catmull_rom"
        assert kernel_for(name, preset, shrinks, detail=6.6) == "lanczos"
        assert kernel_for(name, preset, enlarges, detail=2) == "lanczos"
        assert kernel_for(name, replace(preset, quality=91), shrinks, detail=2) == "lanczos"
        assert kernel_for(name, preset.with_format("png"), shrinks, detail=2) == "lanczos"
    assert kernel_for("simd", preset, shrinks) == "lanczos"
    assert kernel_for("simd", preset, shrinks, detail=2, draft=2) == "lanczos"
    # To Pillow's own resizer the time matters more, but not where little is shrunk.
    little = Placement((100, 100), (0, 0, 150, 150))
    assert kernel_for("pillow", preset, shrinks) == "catmull_rom"
    assert kernel_for("pillow", preset, little) == "lanczos"
    assert kernel_for("pillow", preset, little, detail=2) == "catmull_rom"
    assert kernel_for("pillow", preset, shrinks, detail=2, draft=2) == "lanczos"
    assert kernel_for("pillow", preset, Placement((100, 100), (0, 0, 320, 320)), detail=2, draft=2) == "catmull_rom"


def test_transparency_is_premultiplied_as_pillow_does_it(photos: dict[str, DrawnPhoto], decode: Decode) -> None:
    source = decode(photos["portrait"].data)
    expected = source.convert("RGBa")

    made = SIMDResizer().premultiplied(source)

    assert made.mode == made.im.mode == "RGBa"
    assert made.tobytes() == expected.tobytes()
