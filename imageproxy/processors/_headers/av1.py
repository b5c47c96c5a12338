"""The size in an AV1 sequence header (AV1 Bitstream Specification, sections 5.3 to 5.5).

The size that an AVIF's boxes declare is not the one that the AV1 decoder allocates by: that one is in here.
"""

from __future__ import annotations

from collections.abc import Iterator

from .header import broken, check_count

__all__ = ["largest_frame"]

_SEQUENCE_HEADER = 1
_MAX_OBUS = 4096


def largest_frame(stream: bytes) -> tuple[int, int]:
    """The largest (width, height) of the stream's sequence headers. Raises ProcessingError where there is none."""
    sizes = [_frame_size(payload) for kind, payload in _obus(stream) if kind == _SEQUENCE_HEADER]
    if not sizes:
        raise broken("it has no AV1 sequence header")
    return max(sizes, key=lambda size: size[0] * size[1])


def _obus(stream: bytes) -> Iterator[tuple[int, bytes]]:
    at = count = 0
    while at < len(stream):
        count += 1
        check_count(count, _MAX_OBUS, "AV1 units")
        head = stream[at]
        at += 2 if head & 0b100 else 1  # with an extension byte, or without
        if head & 0b10:
            size, at = _leb128(stream, at)
        else:
            size = len(stream) - at
        yield head >> 3 & 0xF, stream[at : at + min(size, 64)]  # a sequence header has 11 bytes or so
        at += size


def _leb128(stream: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = stream[at + index]
        value |= (byte & 0x7F) << index * 7
        if not byte & 0x80:
            return value, at + index + 1
    raise broken("an AV1 unit has no size")


class _Bits:
    """Reads bits, most significant first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise IndexError
        return self._value >> self._left & (1 << count) - 1


def _frame_size(payload: bytes) -> tuple[int, int]:
    bits = _Bits(payload)
    bits.read(4)  # seq_profile, still_picture
    if bits.read(1):  # reduced_still_picture_header
        bits.read(5)  # seq_level_idx
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(width_bits) + 1, bits.read(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    has_decoder_model = False
    if bits.read(1):  # timing_info_present_flag
        bits.read(64)
        if bits.read(1):  # equal_picture_interval
            _skip_uvlc(bits)
        has_decoder_model = bool(bits.read(1))
        if has_decoder_model:
            delay_bits = bits.read(5) + 1
            bits.read(42)
    has_display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)  # operating_point_idc
        if bits.read(5) > 7:  # seq_level_idx
            bits.read(1)  # seq_tier
        if has_decoder_model and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read(1):
            bits.read(4)


def _skip_uvlc(bits: _Bits) -> None:
    zeros = 0
    while not bits.read(1):
        zeros += 1
    if zeros < 32:
        bits.read(zeros)
