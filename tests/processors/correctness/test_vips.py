"""The example of a second engine does what every engine must."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from imageproxy.errors import ImageTooLargeError, ProcessingError, UnsupportedFormatError
from imageproxy.presets import DEFAULT
from imageproxy.protocols import Processor, SupportsEstimate, SupportsVersion
from imageproxy.testing.contracts import ProcessorContract

Encode = Callable[..., bytes]

EXAMPLE = Path(__file__).parents[3] / "examples" / "pyvips_engine.py"
PRESET = DEFAULT.get("avatar_small")


class TestVips(ProcessorContract):
    @pytest.fixture(autouse=True)
    def _example(self, vips_example: ModuleType) -> None:
        self.example = vips_example

    def make_processor(self) -> Processor:
        made: Processor = self.example.VipsProcessor()
        return made


@pytest.fixture
def vips(vips_example: ModuleType) -> Any:
    return vips_example.VipsProcessor(max_pixels=1_000_000)


def test_it_has_the_powers_that_it_says(vips: Any) -> None:
    assert isinstance(vips, SupportsVersion)
    assert isinstance(vips, SupportsEstimate)
    assert vips.version.startswith("vips-1-8.")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
def test_size_is_checked_before_decoding(kind: str, vips: Any, encode: Encode) -> None:
    data = encode(Image.new("RGB", (1001, 1000)), kind)
    half = data[: len(data) // 2] if kind == "PNG" else data

    for call in (vips.process, vips.estimate):
        with pytest.raises(ImageTooLargeError, match="1,001,000 pixels"):
            call(half, PRESET)


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "JPEG2000", "PPM"])
def test_the_other_loaders_stay_shut(kind: str, vips: Any, encode: Encode) -> None:
    with pytest.raises(UnsupportedFormatError):
        vips.process(encode(Image.new("RGB", (20, 20)), kind), PRESET)


def test_svg_is_refused_by_name_and_by_content(vips: Any) -> None:
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
    with pytest.raises(UnsupportedFormatError):
        vips.process(svg, PRESET)
    for begins in (b"\xff\xd8\xff", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"\0\0\0\0ftypavif"):
        with pytest.raises(ProcessingError, match="image is broken"):
            vips.process(begins + svg, PRESET)


def test_files_beside_the_repository_end_in_an_image_or_in_an_error_of_ours(
    vips_example: ModuleType, shared_file: Path | None, encode: Encode
) -> None:
    data = shared_file.read_bytes() if shared_file else encode(Image.new("RGB", (20, 20)), "PNG")
    processor = vips_example.VipsProcessor()

    for preset in (PRESET, DEFAULT.get("content_preview").with_format("webp")):
        try:
            assert processor.process(data, preset)
        except (UnsupportedFormatError, ImageTooLargeError, ProcessingError):
            assert shared_file is not None


def test_the_example_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE)],
        cwd=tmp_path,  # where it keeps its cache
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [preset.name for preset in DEFAULT]
    assert "vips-1-8" in done.stdout
