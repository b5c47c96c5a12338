"""The header of a PNG (www.w3.org/TR/png-3)."""

from __future__ import annotations

import zlib
from struct import unpack_from

from .header import Header, broken, check_count

__all__ = ["read"]

_SIGNATURE_BYTES = 8
_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
# A 10 MB file in IDATs of 4 kB has 2,600.
_MAX_CHUNKS = 50_000
# A profile of a press with its tables has 3 MB.
_MAX_PROFILE_BYTES = 4 * 1024**2


def read(data: bytes) -> Header:
    """Read the size, the EXIF block and the ICC profile.

    What is kept of an animated PNG is its default image, which every reader without animations shows.
    """
    if data[12:16] != b"IHDR":
        raise broken("its first chunk is not IHDR")
    width, height, bits = unpack_from(">IIB", data, 16)
    # Pixels of 16 bits are decoded to 8, where a transparent colour of 16 would hit others, or none.
    needed = _NEEDED - {b"tRNS"} if bits == 16 else _NEEDED
    view = memoryview(data)
    kept: list[memoryview] = [view[:_SIGNATURE_BYTES]]
    exif = profile = None
    chunks = 0
    run_start = at = _SIGNATURE_BYTES  # a run: needed chunks one after the other, copied in one piece
    while at + 8 <= len(data):
        chunks += 1
        check_count(chunks, _MAX_CHUNKS, "chunks")
        kind = data[at + 4 : at + 8]
        body, end = at + 8, at + 12 + int.from_bytes(data[at : at + 4], "big")
        if kind == b"IHDR" and at != _SIGNATURE_BYTES:  # a decoder would take the last one, and we the first
            raise broken("it has two headers")
        if kind not in needed:
            kept.append(view[run_start:at])
            run_start = end
            if kind == b"eXIf" and exif is None:
                exif = data[body : end - 4]
            elif kind == b"iCCP" and profile is None:
                profile = _inflate_profile(data[body : end - 4])
        at = end
        if kind == b"IEND":
            break
    kept.append(view[run_start:at])
    return Header("PNG", width, height, b"".join(kept), exif, profile)


def _inflate_profile(chunk: bytes) -> bytes | None:
    _name, _, rest = chunk.partition(b"\0")
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(rest[1:], _MAX_PROFILE_BYTES)  # after the method, of which there is one
    except zlib.error:
        return None
    return profile if inflate.eof else None
