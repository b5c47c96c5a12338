"""The header of an AVIF (aomediacodec.github.io/av1-avif; the boxes: ISO/IEC 14496-12 and 23008-12)."""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from
from typing import NamedTuple

from imageproxy.errors import UnsupportedFormatError

from .av1 import largest_frame
from .header import Header, broken, check_count
from .profile import profile_of_code_points

__all__ = ["read"]

# A grid of tiles with an alpha plane has some hundreds of boxes and items.
_MAX_PARTS = 4096


class _Box(NamedTuple):
    kind: bytes
    start: int  # of its content
    end: int


class _Item(NamedTuple):
    number: int
    kind: bytes
    kind_at: int


def read(data: bytes) -> Header:
    """Read the size: the largest that any part declares or that its AV1 stream asks the decoder for.

    Of a sequence, the still image that goes with it is kept: the first frame, without a track to be read. The EXIF
    block is hidden, since in an AVIF it does not turn the picture (the decoder tells what does).
    """
    top = {box.kind: box for box in _boxes(data, 0, len(data))}
    meta = top.get(b"meta")
    if meta is None:
        raise UnsupportedFormatError("this AVIF is a film without a still image", format="avif")
    inside = {box.kind: box for box in _boxes(data, meta.start + 4, meta.end)}
    if not {b"iinf", b"iloc", b"iprp"} <= inside.keys():
        raise broken("it has no image item")
    items = list(_items(data, inside[b"iinf"]))
    sizes = list(_declared_sizes(data, inside[b"iprp"]))
    if not sizes:
        raise broken("it declares no size")
    places = _places(data, inside[b"iloc"], inside.get(b"idat"))
    sizes += [largest_frame(places[item.number]) for item in items if item.kind == b"av01" and item.number in places]
    width, height = max(sizes, key=lambda size: size[0] * size[1])

    source = data
    hidden = [item.kind_at for item in items if item.kind == b"Exif"]
    if hidden or data[8:12] != b"avif":
        patched = bytearray(data)
        patched[8:12] = b"avif"
        for at in hidden:
            patched[at : at + 4] = b"skip"  # as long as before: no offset moves
        source = bytes(patched)
    return Header("AVIF", width, height, (source,), icc_profile=_profile(data, inside))


def _profile(data: bytes, inside: dict[bytes, _Box]) -> bytes | None:
    """A profile of the code points of the main picture's colours (its own ICC profile, the decoder tells).

    Only of the main one: that of a gain map, and the brighter picture that it makes, have others.
    """
    if b"pitm" not in inside:
        return None
    start = inside[b"pitm"].start
    main = int.from_bytes(data[start + 4 : start + (6 if data[start] == 0 else 8)], "big")
    containers = {box.kind: box for box in _boxes(data, inside[b"iprp"].start, inside[b"iprp"].end)}
    if not {b"ipco", b"ipma"} <= containers.keys():
        return None
    properties = list(_boxes(data, containers[b"ipco"].start, containers[b"ipco"].end))
    for index in _properties_of(data, containers[b"ipma"], main):
        box = properties[index - 1] if 1 <= index <= len(properties) else None
        if box is not None and box.kind == b"colr" and data[box.start : box.start + 4] == b"nclx":
            primaries, transfer = unpack_from(">HH", data, box.start + 4)
            return profile_of_code_points(primaries, transfer)
    return None


def _properties_of(data: bytes, ipma: _Box, wanted: int) -> list[int]:
    """The numbers, from 1, of an item's properties."""
    version, is_wide = data[ipma.start], data[ipma.start + 3] & 1
    item_bytes, index_bytes = (4 if version else 2), (2 if is_wide else 1)
    (count,) = unpack_from(">I", data, ipma.start + 4)
    check_count(count, _MAX_PARTS, "items with properties")
    at = ipma.start + 8
    for _ in range(count):
        item = int.from_bytes(data[at : at + item_bytes], "big")
        at += item_bytes
        end = at + 1 + data[at] * index_bytes
        if item == wanted:
            indices = (
                int.from_bytes(data[each : each + index_bytes], "big") for each in range(at + 1, end, index_bytes)
            )
            return [index & (0x7FFF if is_wide else 0x7F) for index in indices]
        at = end
    return []


def _boxes(data: bytes, at: int, end: int) -> Iterator[_Box]:
    count = 0
    while at + 8 <= end:
        count += 1
        check_count(count, _MAX_PARTS, "boxes")
        size, kind = unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1:
            (size,) = unpack_from(">Q", data, start)
            start += 8
        box_end = at + size if size else end
        if box_end > end or box_end < start:
            raise broken("a box ends outside of the one it is in")
        yield _Box(kind, start, box_end)
        at = box_end


def _items(data: bytes, iinf: _Box) -> Iterator[_Item]:
    head = 6 if data[iinf.start] == 0 else 8  # version and flags, and the count
    for box in _boxes(data, iinf.start + head, iinf.end):
        version = data[box.start]
        if box.kind == b"infe" and version >= 2:
            number_bytes = 2 if version == 2 else 4
            number = int.from_bytes(data[box.start + 4 : box.start + 4 + number_bytes], "big")
            kind_at = box.start + 4 + number_bytes + 2
            yield _Item(number, data[kind_at : kind_at + 4], kind_at)


def _declared_sizes(data: bytes, iprp: _Box) -> Iterator[tuple[int, int]]:
    for container in _boxes(data, iprp.start, iprp.end):
        if container.kind == b"ipco":
            for box in _boxes(data, container.start, container.end):
                if box.kind == b"ispe":
                    width, height = unpack_from(">II", data, box.start + 4)
                    yield width, height


def _places(data: bytes, iloc: _Box, idat: _Box | None) -> dict[int, bytes]:
    """The content of each item."""
    at = iloc.start

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > iloc.end:
            raise broken("its table of items is cut short")
        return int.from_bytes(data[at - size : at], "big")

    version = number(1)
    number(3)
    sizes = number(2)
    offset_bytes, length_bytes, base_bytes, index_bytes = (sizes >> shift & 0xF for shift in (12, 8, 4, 0))
    index_bytes = index_bytes if version else 0
    contents: dict[int, bytes] = {}
    parts = total = 0
    for _ in range(number(4 if version == 2 else 2)):
        item = number(4 if version == 2 else 2)
        is_in_idat = version > 0 and number(2) & 0xF == 1
        number(2)
        base = number(base_bytes)
        extents = []
        for _ in range(number(2)):
            parts += 1
            check_count(parts, _MAX_PARTS, "pieces")
            number(index_bytes)
            start = base + number(offset_bytes)
            length = number(length_bytes)
            if is_in_idat and idat is not None:
                start += idat.start
            extents.append(data[start : start + length] if length else data[start:])
            total += len(extents[-1])
            check_count(total, 2 * len(data), "bytes in its pieces")
        contents[item] = b"".join(extents)
    return contents
