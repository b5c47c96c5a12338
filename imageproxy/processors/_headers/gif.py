"""The header of a GIF (www.w3.org/Graphics/GIF/spec-gif89a.txt)."""

from __future__ import annotations

from struct import pack, unpack_from

from .header import Header, broken, check_count

__all__ = ["read"]

_SCREEN_BYTES = 13
_EXTENSION, _IMAGE = 0x21, 0x2C
_GRAPHIC_CONTROL, _CONTROL_BYTES = 0xF9, 4
# Comments and XMP before the first frame; real files have a few hundred at most.
_MAX_BLOCKS = 4096


def read(data: bytes) -> Header:
    """Read the size, and leave out all that stands before the first frame but what that frame is drawn with."""
    screen_width, screen_height, flags = unpack_from("<HHB", data, 6)
    at = _SCREEN_BYTES + _palette_bytes(flags)
    screen = data[:at]
    control = b""
    blocks = 0
    while data[at] != _IMAGE:
        if data[at] != _EXTENSION:
            raise broken("it has no frame")
        start, kind = at, data[at + 1]
        at += 2
        while size := data[at]:
            at += 1 + size
            blocks += 1
            check_count(blocks, _MAX_BLOCKS, "blocks before its first frame")
        at += 1
        blocks += 1
        check_count(blocks, _MAX_BLOCKS, "blocks before its first frame")
        if kind == _GRAPHIC_CONTROL and data[start + 2] >= _CONTROL_BYTES:  # of an empty one Pillow looks for more
            control = data[start:at]
    left, top, width, height = unpack_from("<HHHH", data, at + 1)
    # A frame that sticks out makes the picture larger.
    whole = max(screen_width, left + width), max(screen_height, top + height)
    offset = None
    rest = at
    descriptor = b""
    if whole != (width, height):
        # What the frame leaves free is transparent, as in browsers, and not of the first colour, as in Pillow.
        offset = left, top
        screen = screen[:6] + pack("<HH", width, height) + screen[10:]
        descriptor = pack("<BHHHH", _IMAGE, 0, 0, width, height)
        rest = at + 9
    return Header("GIF", *whole, (screen, control, descriptor, memoryview(data)[rest:]), offset=offset)


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
