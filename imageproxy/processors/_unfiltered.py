"""PNGs whose filters are undone by image-png (Rust, through kornia-rs), in a third of the time that Pillow takes.

Pillow undoes the two filters that most photos and drawings use a byte at a time. image-png does so with SIMD, but holds
the GIL from the first to the last pixel, and inflates a photo slower than ISA-L. So it gets a PNG of a few rows at a
time, made here of what ISA-L inflates, with nothing left to inflate (RFC 1951, section 3.2.4) and, as their first row,
the last one of those before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from importlib import import_module
from struct import pack
from typing import Any, NamedTuple

from PIL import Image, ImageFile

from imageproxy._fork import reset_after_fork

from ._foreign import CAN_BE_COLOUR, Mode, blank, without_alpha
from ._headers import Header
from ._inflated import ZLIB_HEADER, Deflated, deflated, inflated, stored_blocks

__all__ = ["Unfilter", "unfilter"]

logger = logging.getLogger(__name__)


class _Kind(NamedTuple):
    """A kind of picture, with 8 bits a channel, and how it is decoded.

    decoder, name: kornia's function, and what that calls the kind.
    declared: what stands after the size in the header that it is given.
    mode: Pillow's, of the result.
    pixel_bytes: in the file.
    """

    decoder: str
    name: str
    declared: bytes
    mode: Mode
    pixel_bytes: int


# By what stands after the size in its header (PNG, section 11.2.1): bits, colour type, and no interlacing. Of grey with
# transparency kornia knows nothing, but to a filter it is the same as grey of 16 bits.
_KINDS = {
    b"\x08\0\0\0\0": _Kind("decode_image_png_u8", "mono", b"\x08\0\0\0\0", "L", 1),
    b"\x08\x02\0\0\0": _Kind("decode_image_png_u8", "rgb", b"\x08\x02\0\0\0", "RGB", 3),
    b"\x08\x04\0\0\0": _Kind("decode_image_png_u16", "mono", b"\x10\0\0\0\0", "RGBA", 2),
    b"\x08\x06\0\0\0": _Kind("decode_image_png_u8", "rgba", b"\x08\x06\0\0\0", "RGBA", 4),
}
_HEADER_BYTES = 33  # of the signature and IHDR
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LAST_BLOCK = b"\x01\0\0\xff\xff"
_ADLER = bytes(4)  # which nobody looks at, as all of it was looked at before
_OPAQUE = 0xFF000000  # of a pixel as a number: the least that is
_MAX_LINE_BYTES = 65_535  # what one stored block holds


class Unfilter:
    """The decoder. Safe to use from several threads at once; it works for one of them, and the others have Pillow.

    Two of them would wait for each other more than they win, since each holds the GIL half of the time: half a
    millisecond at once.

    zlib: what inflates, with the names of the standard library's.

    Raises ImportError or AttributeError where there is no kornia-rs, or none that is known.
    """

    def __init__(self, zlib: Any) -> None:
        self._zlib = zlib
        self._reset_after_fork()
        reset_after_fork(self)
        module = import_module("kornia_rs").io
        self._decoders: dict[str, Any] = {kind.decoder: getattr(module, kind.decoder) for kind in _KINDS.values()}
        self._numpy: Any = import_module("numpy")

    def _reset_after_fork(self) -> None:
        self._turn = threading.Lock()

    def decoded(self, header: Header) -> Image.Image | None:
        """The picture; ``None`` for what Pillow should decode or refuse.

        header: as ``_headers`` gives it, of a PNG.
        """
        source = header.source
        kind = _KINDS.get(source[24:29])
        limit = Image.MAX_IMAGE_PIXELS
        if kind is None or (limit is not None and header.width * header.height > limit):
            return None
        pixels = deflated(source)
        line_bytes = 1 + kind.pixel_bytes * header.width
        # One header, and nothing else before the pixels: no transparent colour, and nothing that could be broken.
        if pixels is None or pixels.start != _HEADER_BYTES or not self._has_checksum(source):
            return None
        if line_bytes > _MAX_LINE_BYTES or not self._turn.acquire(blocking=False):
            return None
        try:
            return self._put_together(header, pixels, kind)
        except Exception as error:  # noqa: BLE001 - of a filter that there is not, kornia raises this and no other
            logger.debug("image-png did not take a PNG, Pillow is to: %r", error)
            return None
        finally:
            self._turn.release()

    def _put_together(self, header: Header, pixels: Deflated, kind: _Kind) -> Image.Image | None:
        line_bytes = 1 + kind.pixel_bytes * header.width
        image = blank((header.width, header.height), kind.mode, self._numpy)
        decode = self._decoders[kind.decoder]
        top, is_opaque = 0, kind.mode == "RGBA"
        above = bytes(line_bytes)
        for lines in _whole_lines(inflated(pixels, self._zlib, line_bytes), line_bytes):
            rows = len(lines) // line_bytes
            part = _png(header.width, rows + 1, kind.declared, above, lines, self._zlib)
            found = decode(part, (rows + 1, header.width), kind.name)
            above = b"\0" + found[rows].astype(found.dtype.newbyteorder(">")).tobytes()
            strip = (found[1:] if found.itemsize == 1 else self._rgba(found[1:])).reshape(-1)
            is_opaque = is_opaque and bool(strip.view("<u4").min() >= _OPAQUE)
            raw = ImageFile.PyDecoder(kind.mode)
            raw.setimage(image.im, (0, top, header.width, top + rows))
            raw.set_as_raw(strip)
            top += rows
        if top != header.height:
            return None
        return without_alpha(image) if is_opaque and CAN_BE_COLOUR else image

    def _rgba(self, grey_alpha: Any) -> Any:
        """RGBA of grey with transparency, of which each is a number with the grey on top."""
        wide = grey_alpha.astype("<u4")
        return ((wide >> 8) * 0x010101 | wide << 24).view(self._numpy.uint8)

    def _has_checksum(self, source: bytes) -> bool:
        return bool(self._zlib.crc32(source[12:29]) == int.from_bytes(source[29:33], "big"))


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
    except Exception as error:  # noqa: BLE001 - of a numpy that does not fit, any
        logger.warning("kornia-rs is installed and does not load; PNGs are decoded by Pillow: %r", error)
        return None
