"""The pictures that a processor is tried with, good and bad."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

__all__ = ["CORNERS", "broken_files", "corners_of", "encoded", "foreign_files", "gradient", "quarters"]

CORNERS = ((220, 30, 30), (30, 170, 60), (40, 60, 220), (230, 210, 40))  # clockwise from the top left


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The file of an image."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """From dark at the top to light."""
    return Image.linear_gradient("L").resize(size).convert(mode)


def quarters(size: tuple[int, int]) -> Image.Image:
    """Four fields with the colours CORNERS."""
    width, height = size
    image = Image.new("RGB", size)
    boxes = ((0, 0), (width // 2, 0), (width // 2, height // 2), (0, height // 2))
    for colour, (left, top) in zip(CORNERS, boxes, strict=True):
        image.paste(colour, (left, top, left + (width + 1) // 2, top + (height + 1) // 2))
    return image


def corners_of(image: Image.Image) -> list[int]:
    """The numbers of those CORNERS that an image's own are most like, clockwise from the top left."""
    width, height = image.size
    pixels = image.convert("RGB")
    places = ((1, 1), (3, 1), (3, 3), (1, 3))
    return [_nearest(pixels.getpixel((width * x // 4, height * y // 4))) for x, y in places]


def foreign_files() -> Iterator[bytes]:
    """What is no image at all."""
    yield b""
    yield b"\n"
    yield b"no image at all"
    yield b"<!doctype html><html><body>404</body></html>"
    yield b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><script>alert(1)</script></svg>"
    yield b"%PDF-1.7\n" + b"\0" * 100
    yield b"\0" * 1000
    yield from (random.Random(seed).randbytes(2000) for seed in range(5))  # noqa: S311 - the same each time


def broken_files() -> Iterator[bytes]:
    """Images that are cut short, have flipped bytes, or promise what they do not keep."""
    picture = quarters((64, 48))
    for whole in (encoded(picture, "JPEG"), encoded(picture, "JPEG", progressive=True), encoded(picture, "PNG")):
        yield from (whole[:length] for length in range(2, len(whole), max(1, len(whole) // 24)))
        for seed in range(24):
            dice = random.Random(seed)  # noqa: S311 - the same each time
            flipped = bytearray(whole)
            for _ in range(4):
                flipped[dice.randrange(len(flipped))] = dice.randrange(256)
            yield bytes(flipped)
    for width, height in ((0, 0), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1), (60_000, 60_000)):
        yield _png_of_size(width, height)


def _png_of_size(width: int, height: int) -> bytes:
    """A PNG of a few bytes that declares a size, with pixels for a row or none."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _nearest(colour: object) -> int:
    assert isinstance(colour, tuple)  # noqa: S101 - a pixel of an RGB image
    distances = [sum((a - b) ** 2 for a, b in zip(colour, corner, strict=True)) for corner in CORNERS]
    return distances.index(min(distances))
