"""The frames of a GIF (www.w3.org/Graphics/GIF/spec-gif89a.txt)."""

from __future__ import annotations

from struct import pack, unpack_from

from imageproxy.processors._headers.header import most_blocks

from .film import Disposal, Film, Frame, Part

__all__ = ["read"]

_SCREEN_BYTES = 13
_EXTENSION, _IMAGE = 0x21, 0x2C
_GRAPHIC_CONTROL, _APPLICATION = 0xF9, 0xFF
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_DISPOSALS = {2: Disposal.CLEAR, 3: Disposal.RESTORE}
_NO_CONTROL = bytes(4)
_HAS_PALETTE, _PALETTE_BITS, _HAS_TRANSPARENT = 0x80, 7, 1


def read(data: bytes, film: Film) -> None:
    """Add the frames of ``data`` to ``film``."""
    view = memoryview(data)
    blocks = most_blocks(len(data))
    flags = data[10]
    at = _SCREEN_BYTES + _palette_bytes(flags)
    palette = view[_SCREEN_BYTES:at]
    control = _NO_CONTROL

    def skip(at: int) -> int:
        """Behind the blocks that begin here."""
        nonlocal blocks
        while size := data[at]:
            at += 1 + size
            blocks -= 1
        return at + 1

    while blocks > 0:
        blocks -= 1
        if data[at] == _IMAGE:
            left, top, width, height, local = unpack_from("<HHHHB", data, at + 1)
            start = at + 10
            end = skip(start + _palette_bytes(local) + 1)
            if end > len(data):
                return
            parts: list[Part] = [
                b"GIF89a" + pack("<HHBBB", width, height, flags, 0, 0),
                palette,
                b"!\xf9\x04" + bytes((control[0] & _HAS_TRANSPARENT, 0, 0, control[3])) + b"\0",
                pack("<BHHHHB", _IMAGE, 0, 0, width, height, local),
                view[start:end],
                b";",
            ]
            disposal = _DISPOSALS.get(control[0] >> 2 & 7, Disposal.KEEP)
            duration = 10 * int.from_bytes(control[1:3], "little")
            if not film.add(Frame(parts, (width, height), (left, top), duration, disposal)):
                return
            control = _NO_CONTROL
            at = end
        elif data[at] == _EXTENSION:
            kind, first = data[at + 1], data[at + 3 : at + 3 + data[at + 2]]
            if kind == _GRAPHIC_CONTROL and len(first) >= 4:
                control = first
            elif kind == _APPLICATION and first in _LOOPS:
                film.plays = _plays(data, at + 3 + len(first), film.plays)
            at = skip(at + 2)
        else:
            return


def _plays(data: bytes, at: int, otherwise: int) -> int:
    """How often it plays: the file tells how often it plays *again*."""
    if data[at] < 3 or data[at + 1] & 7 != 1:
        return otherwise
    again = int.from_bytes(data[at + 2 : at + 4], "little")
    return min(again + 1, 0xFFFF) if again else 0


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & _PALETTE_BITS) + 1) if flags & _HAS_PALETTE else 0
