"""PNGs whose filters are undone by image-png (Rust, through kornia-rs), in a third of the time that Pillow takes.

Pillow undoes the two filters that most photos and drawings use a byte at a time. image-png does so with SIMD, but holds
the GIL from the first to the last pixel, and inflates a photo slower than ISA-L. So it gets a PNG of a few rows at a
time, made here of what ISA-L inflates, with nothing left to inflate (RFC 1951, section 3.2.4) and, as their first row,
the last one of those before.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from struct import pack
from typing import Any

from PIL import Image

from ._foreign import Mode, blank
from ._headers import Header
from ._inflated import ZLIB_HEADER, deflated, inflated, stored_blocks

__all__ = ["Unfilter", "unfilter"]

# By what follows the size in IHDR (PNG, section 11.2.1), which is 8 bits a channel, the kind of colour, and no
# interlacing: what kornia calls it, Pillow's mode, and the bytes of a pixel.
_KINDS: dict[bytes, tuple[str, Mode, int]] = {
    b"\x08\0\0\0\0": ("mono", "L", 1),
    b"\x08\x02\0\0\0": ("rgb", "RGB", 3),
    b"\x08\x06\0\0\0": ("rgba", "RGBA", 4),
}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LAST_BLOCK = b"\x01\0\0\xff\xff"
_ADLER = bytes(4)  # which nobody looks at, as all of it was looked at before
_MAX_LINE_BYTES = 65_535  # what one stored block holds


class Unfilter:
    """The decoder. Safe to use from several threads at once; while it works, others run every half a millisecond.

    zlib: what inflates, with the names of the standard library's.

    Raises ImportError or AttributeError where there is no kornia-rs, or none that is known.
    """

    def __init__(self, zlib: Any) -> None:
        self._zlib = zlib
        self._decode: Any = import_module("kornia_rs").io.decode_image_png_u8
        self._numpy: Any = import_module("numpy")

    def decoded(self, header: Header) -> Image.Image | None:
        """The picture; ``None`` for what Pillow should decode or refuse.

        header: as ``_headers`` gives it, of a PNG.
        """
        source = header.source
        pixels = deflated(source)
        kind = _KINDS.get(source[24:29])
        limit = Image.MAX_IMAGE_PIXELS
        if pixels is None or kind is None or (limit is not None and header.width * header.height > limit):
            return None
        name, mode, channels = kind
        line_bytes = 1 + channels * header.width
        if line_bytes > _MAX_LINE_BYTES or source.find(b"tRNS", 0, pixels.start) >= 0:
            return None
        image = blank((header.width, header.height), mode, self._numpy)
        top = 0
        above = bytes(line_bytes)
        try:
            for lines in _whole_lines(inflated(pixels, self._zlib, line_bytes), line_bytes):
                rows = len(lines) // line_bytes
                part = _png(header.width, rows + 1, source[24:29], above, lines, self._zlib)
                found = self._decode(part, (rows + 1, header.width), name).reshape(-1)[line_bytes - 1 :]
                strip = Image.frombuffer(mode, (header.width, rows), found, "raw", mode, 0, 1)
                image.paste(strip, (0, top))
                above = b"\0" + found[1 - line_bytes :].tobytes()
                top += rows
        except Exception:  # noqa: BLE001 - a filter that there is not
            return None
        return image if top == header.height else None


def _whole_lines(parts: Iterator[bytes], line_bytes: int) -> Iterator[memoryview]:
    """The same bytes, each part made of whole lines. A line that is cut short at the end is left out."""
    rest = b""
    for part in parts:
        data = rest + part if rest else part
        whole = len(data) - len(data) % line_bytes
        rest = data[whole:]
        if whole:
            yield memoryview(data)[:whole]


def _png(width: int, height: int, kind: bytes, above: bytes, lines: memoryview, zlib: Any) -> bytes:
    """A PNG of these lines, that of ``above`` first: each a filter and its row."""
    body = [ZLIB_HEADER, *stored_blocks(above), *stored_blocks(lines), _LAST_BLOCK, _ADLER]
    pieces: list[bytes | memoryview] = [_SIGNATURE]
    for name, contents in ((b"IHDR", [pack(">II", width, height) + kind]), (b"IDAT", body), (b"IEND", [])):
        checksum = zlib.crc32(name)
        for content in contents:
            checksum = zlib.crc32(content, checksum)
        pieces += (pack(">I", sum(map(len, contents))), name, *contents, pack(">I", checksum))
    return b"".join(pieces)


def unfilter(zlib: Any) -> Unfilter | None:
    """The decoder; ``None`` without the extra ``fast``."""
    try:
        return Unfilter(zlib)
    except (ImportError, AttributeError):
        return None
