"""The header of a JPEG (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import inf, sqrt
from struct import unpack_from

from imageproxy.errors import ProcessingError, UnsupportedFormatError

from .header import Header, Scan, broken, check_count

__all__ = ["read"]

_EOI, _SOS, _DQT = 0xD9, 0xDA, 0xDB
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; the three are tables
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_FIRST_IN_USE = 0xC0
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
# Tables and frames, and of the applications' segments those that tell the colours: JFIF's and Adobe's.
_NEEDED = _FRAMES | {0xC4, 0xCC, _DQT, 0xDC, 0xDD, 0xE0, 0xEE, _SOS}
_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"

# Photos have some tens of segments; 10 MB of extended XMP or of a profile are about 160.
_MAX_SEGMENTS = 4096
_MAX_JUNK_BYTES = 65_536
# A decoder goes over the whole image once per scan, 0.6 to 0.9 ms per megapixel. Real files have at most 11 scans.
_MAX_SCANS = 64
_MAX_SCAN_MEGAPIXELS = 1000

# The next marker inside compressed data: not a stuffed zero, a restart, or a fill byte.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def read(data: bytes) -> Header:
    """Read the size, the EXIF block and the ICC profile; count the scans, where there can be several."""
    view = memoryview(data)
    kept: list[bytes | memoryview] = [b"\xff\xd8"]
    frame = exif = None
    step = 0.0
    icc: list[bytes] = []
    *segments, (_, scan_at, scan_end) = _segments(data)
    for marker, start, end in segments:
        body = view[start + 2 : end]
        if marker in _NEEDED:
            kept += (bytes((0xFF, marker)), view[start:end])
        if marker in _FRAMES:
            frame = marker, bytes(body)
        elif marker == _DQT:
            step = step or _mean_step(body)
        elif marker == 0xE1 and exif is None and body[:6] == _EXIF:
            exif = bytes(body[6:])
        elif marker == 0xE2 and body[:12] == _ICC:
            icc.append(bytes(body[12:]))
    if frame is None:
        raise broken("its first scan comes before its frame")
    kind, content = frame
    bits, height, width, components = unpack_from(">BHHB", content)
    if bits != 8:
        raise UnsupportedFormatError(f"this JPEG has {bits} bits per sample; 8 are read", format="jpeg")
    # A sequential scan that holds every component is the only one that a decoder reads.
    scans: list[tuple[int, int]] = []
    if kind in _PROGRESSIVE or data[scan_at + 2] < components:
        scans = list(_scans(data, scan_at - 2, width * height))
    kept += (bytes((0xFF, _SOS)), view[scan_at:scan_end])
    parts = (b"".join(kept), view[scan_end:])
    detail = 8 * sum(map(len, parts)) / max(1, width * height) * sqrt(step)
    later = _later_scans(data, frame, scans, scan_end)
    return Header("JPEG", width, height, parts, exif, _join_profile(icc), later, step or inf, detail=detail)


def _mean_step(tables: memoryview) -> float:
    """Of the first table of a segment DQT (section B.2.4.1): of 64 steps, in one byte each or in two."""
    is_wide = len(tables) > 0 and tables[0] >> 4
    steps: tuple[int, ...] = unpack_from(">64H" if is_wide else ">64B", tables, 1)
    return sum(steps) / len(steps)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Each segment up to the first scan's, which is the last: its marker, and where its length and its end are."""
    segments = junk = 0
    at = 2
    while (found := data.find(b"\xff", at)) >= 0:
        code_at = found
        while data[code_at] == 0xFF:
            code_at += 1
            check_count(code_at - at, _MAX_JUNK_BYTES, "bytes between its segments")
        junk += code_at - at
        check_count(junk, _MAX_JUNK_BYTES, "bytes between its segments")
        segments += 1
        check_count(segments, _MAX_SEGMENTS, "segments")
        marker = data[code_at]
        at = code_at + 1
        if marker == 0 or marker in _NO_LENGTH:
            continue
        (length,) = unpack_from(">H", data, at)
        end = at + length
        if length < 2 or end > len(data) or marker == _EOI:
            break
        yield marker, at, end
        if marker == _SOS:
            return
        at = end
    raise broken("it ends before the image begins")


def _scans(data: bytes, at: int, pixels: int) -> Iterator[tuple[int, int]]:
    """Where each scan begins, with its marker, and where it ends; not the last one, if no marker comes after it."""
    scans = markers = 0
    start: int | None = None
    while (match := _MARKER.search(data, at)) is not None:
        at = match.end()
        marker = data[at - 1]
        markers += 1
        check_count(markers, _MAX_SEGMENTS, "segments")
        if marker < _FIRST_IN_USE:  # looking for a restart that is missing, libjpeg passes over it, and over no more
            continue
        if start is not None:
            yield start, match.start()
        if marker == _EOI:
            break
        start = match.start() if marker == _SOS else None
        scans += marker == _SOS
        if scans > _MAX_SCANS or scans * pixels > _MAX_SCAN_MEGAPIXELS * 1_000_000:
            raise ProcessingError(
                f"this JPEG is stored in too many scans: over {scans - 1} of {pixels / 1e6:.1f} megapixels; save it "
                "with fewer"
            )
        if marker not in _NO_LENGTH and at + 2 <= len(data):
            at += int.from_bytes(data[at : at + 2], "big")


def _later_scans(data: bytes, frame: tuple[int, bytes], scans: list[tuple[int, int]], origin: int) -> tuple[Scan, ...]:
    """Those among ``scans``; ``origin``: where the last of the header's parts begins."""
    kind, content = frame
    if kind not in _PROGRESSIVE:
        return ()
    light = content[7]  # how many samples it has across and down, as each component does (section B.2.2)
    if any(each >> 4 > light >> 4 or each & 15 > light & 15 for each in content[7::3]):
        return ()
    found = []
    for start, end in scans:
        # Sections B.2.3 and G.1.1.1: how many components; the first one's number and its tables; from which
        # coefficient to which; the bits before, and after.
        count, number, _, first, _, bits = unpack_from(">6B", data, start + 4)
        before, bit = bits >> 4, bits & 15
        # One that refines anything but by a bit is an error, which its decoder is to find.
        if start >= origin and count == 1 and first > 0 and before in {0, bit + 1}:
            found.append(Scan(start - origin, end - origin, first, before > 0, bit, is_light=number == content[6]))
    return tuple(found)


def _join_profile(parts: list[bytes]) -> bytes | None:
    """The profile, from its numbered parts (ICC.1:2022, annex B.4); ``None`` for one that is not whole."""
    parts.sort(key=lambda part: part[:1])
    numbers = [tuple(part[:2]) for part in parts]
    if not parts or numbers != [(number, len(parts)) for number in range(1, len(parts) + 1)]:
        return None
    return b"".join(part[2:] for part in parts)
