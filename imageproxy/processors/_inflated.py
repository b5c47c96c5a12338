"""PNGs whose pixels are inflated here, by ISA-L, in half the time that Pillow takes for those of a photo.

Pillow has no other way in than a file, and undoes the filters of PNG itself. So it gets the same PNG with the same
pixels in blocks that are stored and not compressed (RFC 1951, section 3.2.4), made as it reads them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib import import_module
from struct import pack
from typing import Any, NamedTuple

__all__ = ["READ_BYTES", "ZLIB_HEADER", "Deflated", "InflatedPNG", "deflated", "inflated", "inflater", "stored_blocks"]

_SIGNATURE_BYTES = 8
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

READ_BYTES = 1024**2
"""How much Pillow should ask for at once, which is 16 times what it does by itself: in between, other threads wait."""

ZLIB_HEADER = b"\x78\x01"
_BLOCK_BYTES = 65_535  # the most that a stored block holds
_PART_BYTES = 8 * _BLOCK_BYTES  # inflated at once, of this much that is deflated: it stays near the core
_PIECE_BYTES = 256 * 1024
_MAX_CHUNK_BYTES = 2**31 - 1


def inflater() -> Any:
    """The module that inflates, with the names of the standard library's zlib; ``None`` without the extra ``fast``."""
    try:
        return import_module("isal.isal_zlib")
    except ImportError:
        return None


class Deflated(NamedTuple):
    """The pixels of a PNG as they lie in its file.

    start: where the first of their chunks is.
    chunks: what these hold.
    raw_bytes: how many there are inflated: rows, each with its filter.
    """

    start: int
    chunks: list[memoryview]
    raw_bytes: int


class InflatedPNG(io.RawIOBase):
    """A file to be read once, ``READ_BYTES`` at a time. Up to the pixels it can be sought in.

    It ends with the last pixel: a decoder that has its rows looks no further.
    """

    def __init__(self, head: bytes, parts: Iterator[bytes]) -> None:
        self._head = io.BytesIO(head)
        self._parts = parts

    @classmethod
    def of(cls, source: bytes, zlib: Any) -> InflatedPNG | None:
        """The PNG ``source``, as ``_headers`` gives it; ``None`` where Pillow should say what is wrong with it."""
        pixels = deflated(source)
        if pixels is None:
            return None
        # Pillow counts what it asked for, not what it got.
        reads = 3 + pixels.raw_bytes // _PART_BYTES + len(source) // _PIECE_BYTES
        if reads * READ_BYTES > _MAX_CHUNK_BYTES:
            return None
        head = source[: pixels.start] + pack(">I", _MAX_CHUNK_BYTES) + b"IDAT"
        return cls(head, _stored(inflated(pixels, zlib)))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._head.seek(offset, whence)

    def tell(self) -> int:
        return self._head.tell()

    def read(self, size: int = -1) -> bytes:
        return self._head.read(size) or next(self._parts, b"")


def deflated(source: bytes) -> Deflated | None:
    """The pixels of the PNG ``source``, as ``_headers`` gives it; ``None`` for a header that tells of none."""
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
    return Deflated(start, chunks, raw_bytes) if raw_bytes else None


def _raw_bytes(source: bytes) -> int:
    """As ``Deflated`` has it; 0 for a header that says nothing of the kind."""
    width, height = int.from_bytes(source[16:20], "big"), int.from_bytes(source[20:24], "big")
    bits = source[24] * _CHANNELS.get(source[25], 0)
    if not bits:
        return 0
    passes = _ADAM7 if source[28] else ((0, 0, 1, 1),)
    sizes = ((-(-(width - left) // across), -(-(height - top) // down)) for left, top, across, down in passes)
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)


def _pieces(chunks: list[memoryview]) -> Iterator[bytes]:
    """What the chunks hold, in pieces of one to two times ``_PIECE_BYTES``, but for the last."""
    gathered: list[memoryview] = []
    size = 0
    for chunk in chunks:
        for at in range(0, len(chunk), _PIECE_BYTES):
            gathered.append(chunk[at : at + _PIECE_BYTES])
            size += len(gathered[-1])
            if size >= _PIECE_BYTES:
                yield b"".join(gathered)
                gathered, size = [], 0
    yield b"".join(gathered)


def inflated(pixels: Deflated, zlib: Any, line_bytes: int = 1) -> Iterator[bytes]:
    """Their bytes, in parts of up to ``_PART_BYTES``; they end early where the chunks do.

    line_bytes: what most parts are to be a multiple of.
    """
    part_bytes = _PART_BYTES - _PART_BYTES % line_bytes
    left_over = pixels.raw_bytes
    inflate = zlib.decompressobj()
    for piece in _pieces(pixels.chunks):
        left = piece
        while left_over and not inflate.eof:
            part = inflate.decompress(left, min(left_over, part_bytes))
            if not part:
                break
            left = inflate.unconsumed_tail
            left_over -= len(part)
            yield part


def stored_blocks(data: bytes | memoryview) -> Iterator[bytes | memoryview]:
    """Blocks that hold ``data`` uncompressed, in pieces; more are to follow."""
    view = memoryview(data)
    for at in range(0, len(data), _BLOCK_BYTES):
        block = view[at : at + _BLOCK_BYTES]
        yield pack("<BHH", 0, len(block), len(block) ^ 0xFFFF)
        yield block


def _stored(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The beginning of a stream of zlib's (RFC 1950) that holds ``parts``, uncompressed."""
    yield ZLIB_HEADER
    for part in parts:
        yield b"".join(stored_blocks(part))
