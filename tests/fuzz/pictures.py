"""The pictures that the fuzzer of the image engine begins with: tiny, drawn here, one for each thing a format has."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms, PngImagePlugin

__all__ = ["seeds"]

# Broken files from the tests of image libraries, where they stand beside the repository; the small ones alone.
_NASTY = Path(__file__).resolve().parents[3] / "shared" / "nasty"
_MAX_NASTY_BYTES = 12_000
_SIZES = ((1, 1), (7, 5), (16, 16), (32, 24))


def seeds() -> list[bytes]:
    """All of them, and at the end what is there of the broken files."""
    drawn = [*_jpegs(), *_pngs(), *_built_pngs(), *_gifs(), *_webps(), *_avifs(), *_no_images()]
    files = sorted(_NASTY.iterdir()) if _NASTY.is_dir() else []
    return drawn + [file.read_bytes() for file in files if file.stat().st_size <= _MAX_NASTY_BYTES]


def _draw(mode: str, size: tuple[int, int]) -> Image.Image:
    gradient = Image.linear_gradient("L").resize(size)
    other = gradient.transpose(Image.Transpose.ROTATE_180)
    bands = len(Image.new(mode, (1, 1)).getbands())
    if mode in {"LA", "RGBA", "RGB", "CMYK"}:
        return Image.merge(mode, [gradient, other, gradient, other][:bands])
    if mode == "P":
        return gradient.convert("RGB").quantize(16)
    return gradient.convert("I").convert(mode) if mode.startswith("I") else gradient.convert(mode)


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "maker"
    return exif.tobytes()


def _profile(kind: str = "sRGB") -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes()  # type: ignore[arg-type]  # one of three
    return profile[:24] + bytes(12) + profile[36:]  # without the time when it was made: a seed is the same every time


def _jpegs() -> Iterator[bytes]:
    for mode in ("L", "RGB", "CMYK"):
        for size in _SIZES:
            yield _encode(_draw(mode, size), "JPEG")
    rgb = _draw("RGB", (32, 24))
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        yield _encode(rgb, "JPEG", subsampling=subsampling, progressive=True)
    yield _encode(_draw("L", (16, 16)), "JPEG", progressive=True)
    yield _encode(_draw("RGB", (128, 96)), "JPEG", quality=20)
    yield _encode(rgb, "JPEG", restart_marker_blocks=1)
    yield _encode(rgb, "JPEG", optimize=True, comment=b"a comment", dpi=(72, 72))
    for orientation in range(1, 9):
        yield _encode(rgb, "JPEG", exif=_exif(orientation))
    yield _encode(rgb, "JPEG", icc_profile=_profile())
    yield _encode(rgb, "JPEG", icc_profile=_profile("XYZ"))
    yield _encode(_draw("L", (16, 16)), "JPEG", icc_profile=_profile("LAB"))
    yield _encode(rgb, "MPO", save_all=True, append_images=[_draw("RGB", (16, 16))])


def _pngs() -> Iterator[bytes]:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        for size in _SIZES[:3]:
            yield _encode(_draw(mode, size), "PNG")
    yield _encode(_draw("P", (16, 16)), "PNG", transparency=bytes(range(0, 256, 16)))
    yield _encode(_draw("L", (16, 16)), "PNG", transparency=128)
    yield _encode(_draw("RGB", (16, 16)), "PNG", transparency=(0, 255, 0))
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "text")
    text.add_text("Long", "text " * 20, zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x/>")
    yield _encode(
        _draw("RGBA", (16, 16)), "PNG", pnginfo=text, exif=_exif(6), icc_profile=_profile(), dpi=(72, 72), gamma=0.5
    )
    frames = [_draw("RGBA", (16, 16)), _draw("RGBA", (16, 16)).transpose(Image.Transpose.ROTATE_90)]
    yield _encode(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=10)
    yield _encode(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)


def _built_pngs() -> Iterator[bytes]:
    """What Pillow does not write: every depth of every colour type, plain and interlaced."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    depths = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    for colour, count in channels.items():
        for depth in depths[colour]:
            for interlaced in (0, 1):
                yield _build_png((9, 7), depth, colour, count * depth, interlaced)


def _build_png(size: tuple[int, int], depth: int, colour: int, bits: int, interlaced: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    width, height = size
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = []
    for left, top, right, down in passes if interlaced else ((0, 0, 1, 1),):
        columns = len(range(left, width, right))
        for row in range(top, height, down) if columns else ():
            filtering = row % 5
            rows.append(bytes((filtering, *(row * 37 + at & 0xFF for at in range((columns * bits + 7) // 8)))))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    palette = chunk(b"PLTE", bytes(range(3 << min(depth, 4)))) if colour == 3 else b""
    body = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + body + chunk(b"IEND", b"")


def _gifs() -> Iterator[bytes]:
    for mode in ("1", "L", "P"):
        for size in _SIZES:
            yield _encode(_draw(mode, size), "GIF")
    picture = _draw("P", (24, 16))
    yield _encode(picture, "GIF", interlace=False)
    yield _encode(picture, "GIF", transparency=0, comment=b"a comment")
    turned = picture.transpose(Image.Transpose.ROTATE_180)
    for disposal in (0, 1, 2, 3):
        yield _encode(picture, "GIF", save_all=True, append_images=[turned], disposal=disposal, loop=0, transparency=3)


def _webps() -> Iterator[bytes]:
    for mode in ("RGB", "RGBA"):
        for size in _SIZES:
            for lossless in (False, True):
                yield _encode(_draw(mode, size), "WEBP", lossless=lossless)
    rgba = _draw("RGBA", (16, 16))
    yield _encode(rgba, "WEBP", exif=_exif(5), icc_profile=_profile(), xmp=b"<x/>")
    yield _encode(rgba, "WEBP", save_all=True, append_images=[rgba.transpose(Image.Transpose.ROTATE_90)], duration=10)


def _avifs() -> Iterator[bytes]:
    rgb, rgba = _draw("RGB", (16, 16)), _draw("RGBA", (16, 16))
    for size in _SIZES:
        yield _encode(_draw("RGB", size), "AVIF", speed=10)
    yield _encode(rgba, "AVIF", speed=10)
    yield _encode(_draw("L", (16, 16)), "AVIF", speed=10, subsampling="4:0:0")
    yield _encode(rgb, "AVIF", speed=10, subsampling="4:4:4", range="limited")
    yield _encode(rgba, "AVIF", speed=10, exif=_exif(6), icc_profile=_profile(), xmp=b"<x/>")
    frames = [rgba.transpose(Image.Transpose.ROTATE_90)]
    yield _without_times(_encode(rgba, "AVIF", speed=10, save_all=True, append_images=frames))


def _without_times(film: bytes) -> bytes:
    """A film says when it was made; a seed is the same every time."""
    patched = bytearray(film)
    for box in re.finditer(rb"mvhd|tkhd|mdhd", film):
        at = box.end()
        length = 16 if film[at] == 1 else 8  # of both times, behind version and flags
        patched[at + 4 : at + 4 + length] = bytes(length)
    return bytes(patched)


def _no_images() -> Iterator[bytes]:
    yield b""
    yield b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'
    yield b"<!doctype html><script>alert(1)</script>"
    yield b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"
    yield b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1miafavif"
    yield b"\xff\x0a" + bytes(20)
    for kind in ("BMP", "TIFF", "ICO"):
        yield _encode(_draw("RGB", (16, 16)), kind)
