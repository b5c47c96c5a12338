"""The orientation in an EXIF block: the one thing of it that a picture needs."""

from __future__ import annotations

from struct import error, unpack_from

__all__ = ["orientation"]

_ORIENTATION = 0x0112
_BYTE_ORDERS = {b"II*\x00": "<", b"MM\x00*": ">"}
_MAX_ENTRIES = 1000
_SHORT = 3


def orientation(exif: bytes | None) -> int:
    """Where the stored pixels' first row and column are in the picture, 1 to 8 (EXIF 2.32, section 4.6.4).

    1, which is as stored, for no block, a broken one, and one that does not say.
    """
    block = exif or b""
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = _BYTE_ORDERS.get(block[:4])
    if order is None:
        return 1
    try:
        (at,) = unpack_from(order + "I", block, 4)
        (count,) = unpack_from(order + "H", block, at)
        for entry in range(at + 2, at + 2 + 12 * min(count, _MAX_ENTRIES), 12):
            tag, kind = unpack_from(order + "HH", block, entry)
            if tag == _ORIENTATION:
                (value,) = unpack_from(order + ("H" if kind == _SHORT else "I"), block, entry + 8)
                return value if 1 <= value <= 8 else 1
    except error:
        pass  # the block ends before the tag
    return 1
