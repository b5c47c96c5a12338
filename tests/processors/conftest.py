"""Pictures for the tests of the image engine, drawn or built byte by byte, and real ones where they are present."""

from __future__ import annotations

import io
import json
import math
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imageproxy.presets import FitMode, Preset
from imageproxy.processors import PillowProcessor
from imageproxy.testing.photos import DrawnPhoto, drawn_photos

MEASURE = Path(__file__).parents[2] / "benchmarks" / "memory.py"
SHARED = Path(__file__).resolve().parents[3] / "shared"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
PNG_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
CORNERS = ((220, 30, 30), (30, 170, 60), (40, 60, 220), (230, 210, 40))  # clockwise from the top left


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # Each test takes generated files; those beside the repository come on top.
    if "shared_file" in metafunc.fixturenames:
        folders = (SHARED / "photos", SHARED / "nasty")
        found = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())]
        metafunc.parametrize("shared_file", [None, *found], ids=lambda file: file.name if file else "none")


@pytest.fixture(params=["pillow", "simd"])
def processor(request: pytest.FixtureRequest) -> PillowProcessor:
    """One processor for each resizer."""
    return PillowProcessor(resizer=request.param)


@pytest.fixture(scope="session")
def photos() -> dict[str, DrawnPhoto]:
    return {photo.name: photo for photo in drawn_photos()}


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """``encode(image, "PNG", **options)``: the image's file."""

    def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return encoded


@pytest.fixture(scope="session")
def decode() -> Callable[[bytes], Image.Image]:
    def decoded(data: bytes) -> Image.Image:
        image: Image.Image = Image.open(io.BytesIO(data))
        image.load()
        return image

    return decoded


@pytest.fixture(scope="session")
def quarters() -> Callable[..., Image.Image]:
    """``quarters((width, height))``: four fields, clockwise from the top left red, green, blue, yellow."""

    def drawn(size: tuple[int, int] = (120, 80), mode: str = "RGB") -> Image.Image:
        width, height = size
        image = Image.new("RGB", size)
        boxes = ((0, 0), (width // 2, 0), (width // 2, height // 2), (0, height // 2))
        for colour, (left, top) in zip(CORNERS, boxes, strict=True):
            image.paste(colour, (left, top, left + (width + 1) // 2, top + (height + 1) // 2))
        return image.convert(mode)

    return drawn


@pytest.fixture(scope="session")
def corners_of() -> Callable[[Image.Image], tuple[tuple[int, ...], ...]]:
    """The colours near the four corners, clockwise from the top left."""

    def colours(image: Image.Image) -> tuple[tuple[int, ...], ...]:
        width, height = image.size
        rgb = image.convert("RGB")
        places = ((1, 1), (3, 1), (3, 3), (1, 3))
        return tuple(tuple(rgb.getpixel((width * x // 4, height * y // 4))) for x, y in places)  # type: ignore[arg-type]

    return colours


@pytest.fixture(scope="session")
def box_preset() -> Callable[..., Preset]:
    """``box_preset(width, height, "cover", ...)``: a preset of quality 90 called ``test``."""

    def made(width: int, height: int, fit: str = "contain", **options: Any) -> Preset:
        return Preset("test", width, height, FitMode(fit), options.pop("quality", 90), **options)

    return made


@pytest.fixture(scope="session")
def png_chunk() -> Callable[[bytes, bytes], bytes]:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return chunk


@pytest.fixture(scope="session")
def icc_profile() -> Callable[..., bytes]:
    """``icc_profile(gamma=2.2, primaries=(..))``: a profile of a screen, or a grey one without primaries."""

    def made(
        *, gamma: float = 2.2, primaries: tuple[tuple[float, float, float], ...] = (), note: bytes = b"test"
    ) -> bytes:
        def xyz(values: tuple[float, float, float]) -> bytes:
            return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

        curve = b"curv\0\0\0\0" + struct.pack(">IH2x", 1, round(gamma * 256))
        tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(note) + 1) + note + bytes(79), b"wtpt": xyz(_D50)}
        tags[b"cprt"] = b"text\0\0\0\0none\0"
        if primaries:
            for name, primary in zip(b"rgb", primaries, strict=True):
                tags[bytes((name,)) + b"XYZ"] = xyz(primary)
                tags[bytes((name,)) + b"TRC"] = curve
        else:
            tags[b"kTRC"] = curve
        table, body = b"", b""
        at = 128 + 4 + 12 * len(tags)
        for name_of_tag, content in tags.items():
            padded = content + bytes(-len(content) % 4)
            table += struct.pack(">4sII", name_of_tag, at + len(body), len(content))
            body += padded
        space = b"RGB " if primaries else b"GRAY"
        head = struct.pack(">I4xI4s4s4s12x4s", at + len(body), 0x02100000, b"mntr", space, b"XYZ ", b"acsp")
        head = head.ljust(68, b"\0") + b"".join(struct.pack(">i", round(value * 65536)) for value in _D50)
        return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body

    return made


_D50 = (0.9642, 1.0, 0.8249)


@pytest.fixture(scope="session")
def psnr() -> Callable[[Image.Image, Image.Image], float]:
    """How near two images are, in dB; 50 and over is beyond what eyes see."""

    def decibels(one: Image.Image, other: Image.Image) -> float:
        assert one.size == other.size
        assert one.mode == other.mode
        first, second = one.tobytes(), other.tobytes()
        squares = sum((a - b) ** 2 for a, b in zip(first, second, strict=True))
        return math.inf if not squares else 10 * math.log10(255**2 * len(first) / squares)

    return decibels


@pytest.fixture
def pillow_globals() -> Iterator[None]:
    """Fails where a test changes a switch of Pillow's: they are the host app's."""
    before = _switches()
    yield
    assert _switches() == before


def _switches() -> dict[str, object]:
    from PIL import AvifImagePlugin, GifImagePlugin, ImageFile, PngImagePlugin

    return {
        f"{module.__name__}.{name}": value
        for module in (Image, ImageFile, PngImagePlugin, GifImagePlugin, AvifImagePlugin)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, (int, str, float, type(None)))
    }


@pytest.fixture(scope="session")
def png(png_chunk: Callable[[bytes, bytes], bytes]) -> Callable[..., bytes]:
    """``png(width, height, bits, colours)``: any rows at all, in chunks of any size."""

    def built(width: int, height: int, bits: int, colours: int, *, interlaced: bool = False, seed: int = 1) -> bytes:
        rng = random.Random(seed)
        rows = bytearray()
        for left, top, across, down in PNG_PASSES if interlaced else ((0, 0, 1, 1),):
            columns = -(-(width - left) // across)
            for _ in range(-(-(height - top) // down) if columns > 0 else 0):
                rows += bytes([rng.randrange(5)])
                rows += bytes(rng.choices(range(16), k=(columns * bits * PNG_CHANNELS[colours] + 7) // 8))
        packed, parts = zlib.compress(bytes(rows), rng.randrange(10)), []
        while packed:
            size = rng.choice((0, 1, 7, 1000, 100_000))
            parts.append(png_chunk(b"IDAT", packed[:size]))
            packed = packed[size:]
        head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlaced))
        palette = png_chunk(b"PLTE", rng.randbytes(3 * 2**bits)) if colours == 3 else b""
        return b"\x89PNG\r\n\x1a\n" + head + palette + b"".join(parts) + png_chunk(b"IEND", b"")

    return built


@pytest.fixture
def measured(tmp_path: Path) -> Callable[..., list[int]]:
    """``measured([(data, preset), ...])``: all at once in a process of their own; peak, estimate, what stays."""

    def run(jobs: list[tuple[bytes, Preset]], resizer: str = "simd", rounds: int = 1) -> list[int]:
        told = []
        for number, (data, preset) in enumerate(jobs):
            path = tmp_path / str(number)
            path.write_bytes(data)
            told.append((str(path), {field.name: getattr(preset, field.name) for field in fields(preset)}))
        request = json.dumps({"resizer": resizer, "rounds": rounds, "jobs": told})
        child = subprocess.run(
            [sys.executable, MEASURE, "--peak"], input=request, capture_output=True, text=True, check=False
        )
        assert child.returncode == 0, child.stderr
        answer: list[int] = json.loads(child.stdout)
        return answer

    return run
