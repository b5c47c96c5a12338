"""Taking the files of each format apart and putting them together again, lengths and checksums right.

So a mutant gets past the checks at the door, and breaks what stands behind them.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from .mutation import INTERESTING, mutate
from .target import Corpus

__all__ = ["Part", "kind_of", "mutate_parts", "put_together", "take_apart"]

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_PARTS = 300
# Boxes of an AVIF that hold boxes, and how many bytes stand before the first of them.
_BOXES = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"iinf": 6, b"iref": 4, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0}
_BOXES |= {b"stbl": 0, b"stsd": 8, b"grpl": 0, b"dinf": 0}
_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xDA)))


class Part(NamedTuple):
    """A chunk, segment, block or box. ``kind`` is empty for bytes that stand outside of any."""

    kind: bytes
    body: bytes


def kind_of(data: bytes) -> str:
    """The container's format, ``""`` for what has none."""
    if data.startswith(_PNG):
        return "png"
    if data[:2] == b"\xff\xd8":
        return "jpeg"
    if data[:4] == b"RIFF":
        return "webp"
    if data[:3] == b"GIF":
        return "gif"
    return "avif" if data[4:8] == b"ftyp" else ""


def take_apart(data: bytes, kind: str) -> list[Part]:
    """The parts of a file; what cannot be read any more is one part at the end."""
    return list(_SPLITTERS[kind](data))


def put_together(parts: list[Part], kind: str) -> bytes:
    """The file of these parts."""
    if kind == "webp":
        body = b"".join(map(_riff_chunk, parts[1:]))
        return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    join = _JOINERS[kind]
    return b"".join(join(part) if part.kind else part.body for part in parts)


def mutate_parts(rng: random.Random, data: bytes, kind: str, corpus: Corpus) -> bytes:
    """``data`` with its parts changed, exchanged, repeated, left out, or taken from other files of its kind."""
    if kind == "avif":
        return _mutate_boxes(rng, data, corpus)
    parts = take_apart(data, kind)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change(rng, parts, kind, corpus)
    return put_together(parts, kind)


def _change(rng: random.Random, parts: list[Part], kind: str, corpus: Corpus) -> None:
    if len(parts) < 2:
        parts.append(Part(b"", rng.randbytes(4)))
    at = rng.randrange(1, len(parts))
    part = parts[at]
    what = rng.random()
    if what < 0.55:
        parts[at] = Part(part.kind, _mutate_body(rng, part, corpus))
    elif what < 0.63:
        del parts[at]
    elif what < 0.71:
        times = 1 if rng.random() < 0.8 else rng.choice((2, 10, 70, _MAX_PARTS))
        parts[at:at] = [part] * (times if len(part.body) * times < 50_000 else 1)
    elif what < 0.79:
        to = rng.randrange(1, len(parts))
        parts[at], parts[to] = parts[to], part
    elif what < 0.84:
        parts[at] = Part(rng.choice(parts).kind or part.kind, part.body)
    else:
        other = rng.choice(corpus)
        if kind_of(other) == kind and len(other) < 20_000:
            donor = take_apart(other, kind)
            parts[at : at + rng.randrange(2)] = [rng.choice(donor)]


def _mutate_body(rng: random.Random, part: Part, corpus: Corpus) -> bytes:
    body = part.body
    places = _DIMENSIONS.get(part.kind)
    if places and rng.random() < 0.5:
        at, size, order = rng.choice(places)
        if len(body) >= at + size:
            value = rng.choice(INTERESTING) if rng.random() < 0.6 else rng.randint(1, 600)
            number = min(value, (1 << size * 8) - 1).to_bytes(size, order)
            return body[:at] + number + body[at + size :]
    if part.kind in {b"IDAT", b"iCCP", b"fdAT"} and rng.random() < 0.5:
        return _mutate_inflated(rng, body, corpus)
    return mutate(rng, body, corpus, most=3)


def _mutate_inflated(rng: random.Random, body: bytes, corpus: Corpus) -> bytes:
    at = body.find(b"\x78")
    if at < 0:
        return body
    try:
        plain = zlib.decompressobj().decompress(body[at:], 200_000)
    except zlib.error:
        return body
    return body[:at] + zlib.compress(mutate(rng, plain, corpus, most=3), 1)


# Where the widths and heights stand: offset, bytes, order.
_DIMENSIONS: dict[bytes, list[tuple[int, int, Literal["big", "little"]]]] = {
    b"IHDR": [(0, 4, "big"), (4, 4, "big"), (8, 1, "big"), (9, 1, "big"), (12, 1, "big")],
    b"fcTL": [(4, 4, "big"), (8, 4, "big"), (12, 4, "big"), (16, 4, "big")],
    b"VP8X": [(0, 1, "big"), (4, 3, "little"), (7, 3, "little")],
    b"ANMF": [(0, 3, "little"), (3, 3, "little"), (6, 3, "little"), (9, 3, "little")],
    b"VP8 ": [(6, 2, "little"), (8, 2, "little")],
    b"VP8L": [(1, 4, "little")],
    b"ispe": [(4, 4, "big"), (8, 4, "big")],
    b",": [(1, 2, "little"), (3, 2, "little"), (5, 2, "little"), (7, 2, "little"), (9, 1, "big"), (10, 1, "big")],
    **{
        bytes((marker,)): [(0, 1, "big"), (1, 2, "big"), (3, 2, "big"), (5, 1, "big"), (7, 1, "big"), (10, 1, "big")]
        for marker in (0xC0, 0xC1, 0xC2)
    },
}


# PNG: length, kind, body, checksum.


def _split_png(data: bytes) -> Iterator[Part]:
    yield Part(b"", data[:8])
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            break
        yield Part(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])
        at += 12 + length
    if at < len(data):
        yield Part(b"", data[at:])


def _png_chunk(part: Part) -> bytes:
    head = part.kind + part.body
    return struct.pack(">I", len(part.body)) + head + struct.pack(">I", zlib.crc32(head))


# JPEG: a marker, a length that counts itself, a body; compressed data behind a scan's header.


def _split_jpeg(data: bytes) -> Iterator[Part]:
    yield Part(b"", data[:2])
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _BARE_MARKERS:
            yield Part(b"", data[at : at + 2])
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2 or at + 2 + length > len(data):
            break
        yield Part(bytes((marker,)), data[at + 4 : at + 2 + length])
        at += 2 + length
        if marker == 0xDA:
            end = at
            while (end := data.find(b"\xff", end)) >= 0 and data[end + 1 : end + 2] == b"\0":
                end += 2
            end = len(data) if end < 0 else end
            yield Part(b"", data[at:end])
            at = end
    if at < len(data):
        yield Part(b"", data[at:])


def _jpeg_segment(part: Part) -> bytes:
    body = part.body[:65_533]
    return b"\xff" + part.kind[:1] + struct.pack(">H", len(body) + 2) + body


# WebP: a kind, a length, a body, padded to an even length.


def _split_webp(data: bytes) -> Iterator[Part]:
    yield Part(b"", data[:12])
    at = 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        if at + 8 + length > len(data):
            break
        yield Part(data[at : at + 4], data[at + 8 : at + 8 + length])
        at += 8 + length + (length & 1)
    if at < len(data):
        yield Part(b"", data[at:])


def _riff_chunk(part: Part) -> bytes:
    if not part.kind:
        return part.body
    return part.kind + struct.pack("<I", len(part.body)) + part.body + bytes(len(part.body) & 1)


# GIF: screen and palette, then extensions and frames, whose data are sub-blocks up to an empty one. Bodies hold all.


def _split_gif(data: bytes) -> Iterator[Part]:
    at = 13 + (3 << ((data[10] & 7) + 1) if len(data) > 10 and data[10] & 0x80 else 0)
    yield Part(b"", data[:at])
    while at < len(data) and data[at : at + 1] in (b"!", b","):
        start = at
        if data[at : at + 1] == b"!":
            at += 2
        else:
            flags = data[at + 9] if at + 9 < len(data) else 0
            at += 11 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
        yield Part(data[start : start + 1], data[start:at])
    if at < len(data):
        yield Part(b"", data[at:])


def _gif_block(part: Part) -> bytes:
    return part.body


# AVIF: a length that counts itself, a kind, a body; boxes in boxes; offsets into the whole file in one of them.


def _split_avif(data: bytes) -> Iterator[Part]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8 or at + size > len(data):
            break
        yield Part(kind, data[at + 8 : at + size])
        at += size
    if at < len(data):
        yield Part(b"", data[at:])


def _avif_box(part: Part) -> bytes:
    return struct.pack(">I", len(part.body) + 8) + part.kind[:4].ljust(4) + part.body


def _mutate_boxes(rng: random.Random, data: bytes, corpus: Corpus) -> bytes:
    parts = take_apart(data, "avif")
    meta = next((at for at, part in enumerate(parts) if part.kind == b"meta"), None)
    if meta is None or rng.random() < 0.3:
        _change(rng, parts, "avif", corpus)
        return put_together(parts, "avif")
    parts[meta] = Part(b"meta", _mutate_inside(rng, parts[meta], corpus))
    mutant = put_together(parts, "avif")
    before, after = data.find(b"mdat"), mutant.find(b"mdat")
    return mutant if before == after or after < 0 else _moved(mutant, before, after - before)


def _mutate_inside(rng: random.Random, box: Part, corpus: Corpus) -> bytes:
    head = _BOXES[box.kind]
    parts = [Part(b"", box.body[:head]), *take_apart(box.body[head:], "avif")]
    containers = [at for at, part in enumerate(parts) if part.kind in _BOXES]
    if containers and rng.random() < 0.6:
        at = rng.choice(containers)
        parts[at] = Part(parts[at].kind, _mutate_inside(rng, parts[at], corpus))
    else:
        _change(rng, parts, "avif", corpus)
    return put_together(parts, "avif")


def _moved(data: bytes, mdat_at: int, by: int) -> bytes:
    """The file with the offsets in its table of items (iloc) that lead to the media data moved."""
    at = data.find(b"iloc")
    if at < 4:
        return data
    (size,) = struct.unpack_from(">I", data, at - 4)
    moved = bytearray(data)
    for place in range(at + 4, min(at - 4 + size, at + 500, len(data)) - 3):
        (offset,) = struct.unpack_from(">I", data, place)
        if mdat_at < offset < len(data) + abs(by):
            moved[place : place + 4] = struct.pack(">I", max(0, offset + by))
    return bytes(moved)


_SPLITTERS: dict[str, Callable[[bytes], Iterator[Part]]] = {
    "png": _split_png,
    "jpeg": _split_jpeg,
    "webp": _split_webp,
    "gif": _split_gif,
    "avif": _split_avif,
}
_JOINERS: dict[str, Callable[[Part], bytes]] = {
    "png": _png_chunk,
    "jpeg": _jpeg_segment,
    "gif": _gif_block,
    "avif": _avif_box,
}
