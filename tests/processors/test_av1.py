from __future__ import annotations

import pytest

from imageproxy.errors import ProcessingError
from imageproxy.processors._headers.av1 import largest_frame


def sequence_header(*fields: tuple[int, int]) -> bytes:
    """A sequence header unit of these (value, bits)."""
    bits = "".join(f"{value:0{count}b}" for value, count in fields)
    payload = int(bits.ljust(-len(bits) % 8 + len(bits), "0"), 2).to_bytes((len(bits) + 7) // 8, "big")
    return bytes((0b0000_1010, len(payload))) + payload


PROFILE = ((0, 3), (0, 1))
SIZE = ((11, 4), (9, 4), (3999, 12), (999, 10))
POINT = ((0, 12), (5, 5))

HEADERS = {
    "of a still picture": (*PROFILE, (1, 1), (5, 5), *SIZE),
    "of a film": (*PROFILE, (0, 1), (0, 1), (0, 1), (0, 5), *POINT, *SIZE),
    "with a high level": (*PROFILE, (0, 1), (0, 1), (0, 1), (0, 5), (0, 12), (9, 5), (1, 1), *SIZE),
    "with two points and a display delay": (
        *PROFILE, (0, 1), (0, 1), (1, 1), (1, 5), *POINT, (1, 1), (9, 4), *POINT, (0, 1), *SIZE,
    ),
    "with timing": (*PROFILE, (0, 1), (1, 1), (7, 64), (0, 1), (0, 1), (0, 1), (0, 5), *POINT, *SIZE),
    "with equal pictures": (
        *PROFILE, (0, 1), (1, 1), (7, 64), (1, 1), (0b00101, 5), (0, 1), (0, 1), (0, 5), *POINT, *SIZE,
    ),
    "with a decoder model": (
        *PROFILE, (0, 1), (1, 1), (7, 64), (1, 1), (1, 33), (1, 1), (9, 5), (0, 42), (0, 1), (0, 5),
        *POINT, (1, 1), (0, 21), *SIZE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_the_size_is_found_in_a_header(name: str) -> None:
    assert largest_frame(b"\x12\0" + sequence_header(*HEADERS[name])) == (4000, 1000)


def test_the_largest_of_several_counts() -> None:
    small = sequence_header(*PROFILE, (1, 1), (5, 5), (5, 4), (5, 4), (31, 6), (31, 6))
    large = sequence_header(*HEADERS["of a still picture"])

    assert largest_frame(small) == (32, 32)
    assert largest_frame(small + large + small) == (4000, 1000)


def test_a_unit_may_have_an_extension_and_no_size() -> None:
    unit = sequence_header(*HEADERS["of a film"])

    assert largest_frame(bytes((0b0000_1100, 0)) + unit[2:]) == (4000, 1000)


@pytest.mark.parametrize("stream", [b"", b"\x12\0", b"\x32\x05abcde", b"\x0a" + b"\x80" * 9])
def test_a_stream_without_a_size_is_broken(stream: bytes) -> None:
    with pytest.raises(ProcessingError, match="image is broken"):
        largest_frame(stream)


def test_a_header_that_is_cut_short_is_noticed() -> None:
    with pytest.raises(IndexError):  # as everywhere in headers: their reader says that the file is cut short
        largest_frame(b"\x0a\1\0")


def test_a_flood_of_units_is_refused() -> None:
    with pytest.raises(ProcessingError, match="more than 4096 AV1 units"):
        largest_frame(b"\x12\0" * 1_000_000)
