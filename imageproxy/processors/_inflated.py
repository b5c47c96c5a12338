"""PNGs whose pixels are inflated here, by ISA-L, in half the time that Pillow takes for those of a photo.

Pillow has no other way in than a file, and undoes the filters of PNG itself. So it gets the same PNG with the same
pixels in blocks that are stored and not compressed (RFC 1951, section 3.2.4), made as it reads them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib import import_module
from struct import pack
from typing import Any

__all__ = ["READ_BYTES", "InflatedPNG", "inflater"]

_SIGNATURE_BYTES = 8
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

READ_BYTES = 1024**2
"""How much Pillow should ask for at once, which is 16 times what it does by itself: in between, other threads wait."""

_ZLIB_HEADER = b"\x78\x01"
_BLOCK_BYTES = 65_535  # the most that a stored block holds
_INPUT_BYTES = 65_536
_NOTHING = memoryview(b"")
_MAX_CHUNK_BYTES = 2**31 - 1
_END = b"\0\0\0\0" + pack(">I", 0) + b"IEND" + pack(">I", 0xAE426082)  # after a checksum that Pillow does not look at


def inflater() -> Any:
    """The module that inflates, with the names of the standard library's zlib; ``None`` without the extra ``fast``."""
    try:
        return import_module("isal.isal_zlib")
    except ImportError:
        return None


class InflatedPNG(io.RawIOBase):
    """A file to be read once, from its beginning to its end; only before the pixels it can be sought."""

    def __init__(self, head: bytes, blocks: Iterator[bytes | bytearray]) -> None:
        self._head = io.BytesIO(head)
        self._blocks = blocks
        self._buffer = bytearray()

    @classmethod
    def of(cls, source: bytes, zlib: Any) -> InflatedPNG | None:
        """The PNG ``source``, as ``_headers`` gives it; ``None`` where Pillow should say what is wrong with it."""
        at = _SIGNATURE_BYTES
        chunks: list[memoryview] = []
        start = 0
        while at + 8 <= len(source):
            kind, body = source[at + 4 : at + 8], at + 8
            end = body + int.from_bytes(source[at : at + 4], "big")
            if kind == b"IDAT":
                start = start or at
                chunks.append(memoryview(source)[body:end])
            elif start:
                break
            at = end + 4
        raw_bytes = _raw_bytes(source) if start else 0
        stored_bytes = len(_ZLIB_HEADER) + raw_bytes + 5 * -(-raw_bytes // _BLOCK_BYTES) + 4
        if not raw_bytes or stored_bytes > _MAX_CHUNK_BYTES:
            return None
        return cls(source[:start] + pack(">I", stored_bytes) + b"IDAT", _stored(chunks, raw_bytes, zlib))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._head.seek(offset, whence)

    def tell(self) -> int:
        return self._head.tell()

    def read(self, size: int = -1) -> bytes:
        part = self._head.read(size)
        wanted = size - len(part)
        while len(self._buffer) < wanted:
            block = next(self._blocks, b"")
            if not block:
                break
            self._buffer += block
        part += self._buffer[:wanted]
        del self._buffer[:wanted]
        return part


def _raw_bytes(source: bytes) -> int:
    """How many there are inflated: rows, each with its filter; 0 for a header that says nothing of the kind."""
    width, height = int.from_bytes(source[16:20], "big"), int.from_bytes(source[20:24], "big")
    bits = source[24] * _CHANNELS.get(source[25], 0)
    if not bits:
        return 0
    passes = _ADAM7 if source[28] else ((0, 0, 1, 1),)
    sizes = ((-(-(width - left) // across), -(-(height - top) // down)) for left, top, across, down in passes)
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)


def _stored(chunks: list[memoryview], raw_bytes: int, zlib: Any) -> Iterator[bytes | bytearray]:
    """A stream of zlib's (RFC 1950) of ``raw_bytes``, uncompressed; it ends early where ``chunks`` do."""
    pieces = (chunk[at : at + _INPUT_BYTES] for chunk in chunks for at in range(0, len(chunk), _INPUT_BYTES))
    inflate, left = zlib.decompressobj(), _NOTHING
    checksum = 1
    yield _ZLIB_HEADER
    while raw_bytes:
        block, wanted = bytearray(), min(raw_bytes, _BLOCK_BYTES)
        while len(block) < wanted:
            part = inflate.decompress(left, wanted - len(block))
            left = inflate.unconsumed_tail
            block += part
            if not part:
                left = next(pieces, _NOTHING)
                if inflate.eof or not left:
                    return
        raw_bytes -= wanted
        checksum = zlib.adler32(block, checksum)
        yield pack("<BHH", not raw_bytes, wanted, wanted ^ 0xFFFF)
        yield block
    yield pack(">I", checksum) + _END
