"""Changing bytes without knowing what they mean."""

from __future__ import annotations

import random
from collections.abc import Callable

from .target import Corpus

__all__ = ["INTERESTING", "mutate", "pick"]

INTERESTING = (0, 1, 2, 3, 7, 8, 16, 0x7F, 0x80, 0xFE, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000)
INTERESTING_32 = (*INTERESTING, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)
_SIGNATURES = tuple(
    b"IHDR IDAT IEND PLTE tRNS iCCP eXIf acTL fcTL fdAT VP8X VP8L ANMF ALPH EXIF ICCP "
    b"Exif\0\0 ICC_PROFILE\0 MPF\0 Adobe JFIF\0 II*\0 MM\0* acsp NETSCAPE2.0 avis ispe av01".split(b" ")
)
MAX_BYTES = 16_384

Change = Callable[[random.Random, bytearray, Corpus], None]


def mutate(rng: random.Random, data: bytes, corpus: Corpus, *, most: int = 4) -> bytes:
    """``data`` with one to ``most`` changes, of which fewer are likelier."""
    mutant = bytearray(data)
    for _ in range(min(rng.randint(1, most), rng.randint(1, most))):
        if not mutant:
            mutant += bytes((rng.getrandbits(8),))
        rng.choice(_CHANGES)(rng, mutant, corpus)
    # What was long to begin with, a file that came with the tests, stays so.
    return bytes(mutant[: max(MAX_BYTES, len(data))])


def pick(rng: random.Random, corpus: Corpus) -> bytes:
    """An input of the corpus; one that was added late is likelier, since it is one that opened something new."""
    if rng.random() < 0.5:
        return rng.choice(corpus)
    late = max(1, len(corpus) // 4)
    return corpus[len(corpus) - 1 - rng.randrange(late)]


def _place(rng: random.Random, data: bytearray) -> int:
    """Anywhere, but more often near the beginning, where headers are."""
    end = len(data)
    return rng.randrange(min(end, 64) if rng.random() < 0.3 else end)


def _length(rng: random.Random, data: bytearray) -> int:
    return min(len(data), 1 << rng.randrange(10), 1 + rng.randrange(len(data)))


def _flip_bit(rng: random.Random, data: bytearray, _: Corpus) -> None:
    data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _set_byte(rng: random.Random, data: bytearray, _: Corpus) -> None:
    data[_place(rng, data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.getrandbits(8)))


def _add_to_byte(rng: random.Random, data: bytearray, _: Corpus) -> None:
    at = _place(rng, data)
    data[at] = (data[at] + rng.choice((1, -1, 2, -2, 16, -16))) & 0xFF


def _set_number(rng: random.Random, data: bytearray, _: Corpus) -> None:
    size = rng.choice((2, 2, 3, 4, 4, 8))
    if len(data) < size:
        return
    at = min(_place(rng, data), len(data) - size)
    value = rng.choice(INTERESTING_32) if rng.random() < 0.8 else rng.getrandbits(size * 8)
    value = min(value, (1 << size * 8) - 1)
    data[at : at + size] = value.to_bytes(size, "big" if rng.random() < 0.5 else "little")


def _truncate(rng: random.Random, data: bytearray, _: Corpus) -> None:
    del data[_place(rng, data) :]


def _delete(rng: random.Random, data: bytearray, _: Corpus) -> None:
    at = _place(rng, data)
    del data[at : at + _length(rng, data)]


def _duplicate(rng: random.Random, data: bytearray, _: Corpus) -> None:
    at = _place(rng, data)
    piece = data[at : at + _length(rng, data)]
    times = 1 if rng.random() < 0.8 else min(rng.choice((2, 10, 100, 1000)), MAX_BYTES // max(1, len(piece)))
    data[at:at] = piece * times


def _move(rng: random.Random, data: bytearray, _: Corpus) -> None:
    at = _place(rng, data)
    length = _length(rng, data)
    piece = data[at : at + length]
    del data[at : at + length]
    to = rng.randint(0, len(data))
    data[to:to] = piece


def _insert(rng: random.Random, data: bytearray, _: Corpus) -> None:
    at = _place(rng, data)
    data[at:at] = rng.choice(
        (rng.randbytes(rng.randint(1, 8)), b"\xff" * rng.randint(1, 40), bytes(rng.randint(1, 40)))
    )


def _write_signature(rng: random.Random, data: bytearray, _: Corpus) -> None:
    at = _place(rng, data)
    word = rng.choice(_SIGNATURES)
    data[at : at + len(word)] = word


def _splice(rng: random.Random, data: bytearray, corpus: Corpus) -> None:
    other = rng.choice(corpus)
    if other:
        start = rng.randrange(len(other))
        at = _place(rng, data)
        length = rng.randint(1, min(1024, len(other)))
        data[at : at + (length if rng.random() < 0.5 else 0)] = other[start : start + length]


def _graft_end(rng: random.Random, data: bytearray, corpus: Corpus) -> None:
    other = rng.choice(corpus)
    data[_place(rng, data) :] = other[rng.randint(0, len(other)) :][:MAX_BYTES]


_CHANGES: tuple[Change, ...] = (
    _flip_bit,
    _flip_bit,
    _set_byte,
    _set_byte,
    _add_to_byte,
    _set_number,
    _set_number,
    _truncate,
    _delete,
    _duplicate,
    _move,
    _insert,
    _write_signature,
    _splice,
    _graft_end,
)
