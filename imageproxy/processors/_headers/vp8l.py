"""How much memory a lossless WebP needs beside its pixels (RFC 9649, chapter 3; the same for transparency, as ALPH).

Its decoder can be told to use another set of prefix codes for each block of 4 x 4 pixels, and makes tables of each
before the first pixel: up to 65,536 sets in 0.3 MB, of 6 to 20 kB. Their number is found behind small images that tell
how the large one was transformed, so these are walked through here, and not decoded: what counts is where they end.
"""

from __future__ import annotations

from .header import broken

__all__ = ["Walk"]

_PREDICTOR, _COLOUR, _SUBTRACT_GREEN, _PALETTE = range(4)
_LITERALS, _LENGTHS, _DISTANCES = 256, 24, 40
_LONGEST_CODE = 15
_MAX_CACHE_BITS = 11
# Section 3.7.2.1: the order in which the lengths of the codes for lengths are told; and of those that stand for a run,
# from which length on and in how many bits it is told.
_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_REPEAT, _RUNS = 16, {16: (3, 2), 17: (3, 3), 18: (11, 7)}
_FIRST_LENGTH = 8  # the one that is repeated, before there is any

_MOST_SETS = 65_536
# What one takes in libwebp, by the bits of the cache of colours: its ``kTableSize`` entries of 4 bytes, and what points
# at them.
_SET_BYTES = tuple(
    4 * entries + 600 for entries in (2954, 2956, 2958, 2962, 2970, 2986, 3018, 3082, 3212, 3468, 3980, 5004)
)
# The shortest set: five codes of one symbol each.
_SET_BITS = 20
_PIXEL_BYTES = 4

# What one pixel takes: at most four codes of 15 bits, or two and what follows them, of up to 14 bits.
_WINDOW_BYTES = 9
_PIECE_BYTES = 32_768

_Code = tuple[list[int], int]
"""A prefix code: for each value of the next bits, the symbol times 16 plus its length; and how many values there are,
less one."""


class Walk:
    """A walk through the lossless pictures of one file, of which several may be looked at.

    symbols: how many may be met. Those of honest files have one for every 256th to 4096th pixel, which takes a
        millisecond for 2,000 of them. Where they run out, the most that a file of this size can need is told.
    """

    def __init__(self, symbols: int = 250_000) -> None:
        self._symbols = symbols
        self._stream = memoryview(b"")
        self._at = 0  # in bits

    def side_bytes(self, stream: memoryview, size: tuple[int, int]) -> int:
        """What libwebp takes beside the pixels, at most, in bytes.

        stream: what comes after the size: of VP8L, from its sixth byte on; of ALPH, from its second.
        size: width and height in pixels.

        Raises ProcessingError for a stream that is broken before the sets begin.
        """
        self._stream, self._at = stream, 0
        width, height = size
        most = min(_MOST_SETS, -(-width // 4) * -(-height // 4), len(stream) * 8 // _SET_BITS)
        try:
            return self._side_bytes(width, height)
        except _OutOfSymbolsError:
            return most * _SET_BYTES[-1] + width * height * _PIXEL_BYTES // 4
        finally:
            self._stream = memoryview(b"")

    def _side_bytes(self, width: int, height: int) -> int:
        pixels = 0
        seen: set[int] = set()
        while self._bits(1):
            kind = self._bits(2)
            if kind in seen:
                raise broken("it is transformed twice in the same way")
            seen.add(kind)
            if kind in {_PREDICTOR, _COLOUR}:
                pixels += self._walk(*self._blocks(width, height))[0]
            elif kind == _PALETTE:
                colours = self._bits(8) + 1
                pixels += self._walk(colours, 1)[0]
                packed = 0 if colours > 16 else 1 if colours > 4 else 2 if colours > 2 else 3
                width = -(-width >> packed) if packed else width
        cache_bits = self._cache_bits()
        sets = 1
        if self._bits(1):
            found, last = self._walk(*self._blocks(width, height))
            pixels += found
            sets = last + 1
        return sets * _SET_BYTES[cache_bits] + pixels * _PIXEL_BYTES

    def _blocks(self, width: int, height: int) -> tuple[int, int]:
        bits = self._bits(3) + 2
        return -(-width // (1 << bits)), -(-height // (1 << bits))

    def _cache_bits(self) -> int:
        if not self._bits(1):
            return 0
        bits = self._bits(4)
        if not 1 <= bits <= _MAX_CACHE_BITS:
            raise broken("its cache of colours has a wrong size")
        return bits

    def _bits(self, count: int) -> int:
        at = self._at
        self._at = at + count
        return int.from_bytes(self._stream[at >> 3 : (at >> 3) + 4], "little") >> (at & 7) & ((1 << count) - 1)

    def _walk(self, width: int, height: int) -> tuple[int, int]:
        """Past one of the small images. Returns its pixels, and the largest number in the red and green of one."""
        cache_bits = self._cache_bits()
        greens = _LITERALS + _LENGTHS + ((1 << cache_bits) if cache_bits else 0)
        (green, green_mask), (red, red_mask), (blue, blue_mask), (alpha, alpha_mask), (far, far_mask) = (
            self._code(symbols) for symbols in (greens, _LITERALS, _LITERALS, _LITERALS, _DISTANCES)
        )
        pixels = left = width * height
        largest = 0
        if not (green_mask or red_mask or blue_mask or alpha_mask) and green[0] >> 4 < _LITERALS:
            left, largest = 0, (red[0] >> 4) << 8 | green[0] >> 4  # all of one colour, in no bits
        symbols = self._symbols
        while left > 0:
            # Bytes are read in half the time of a view, and not all that there are is to be copied.
            start = self._at >> 3
            data = bytes(self._stream[start : start + _PIECE_BYTES])
            end = 8 * len(data) if len(data) < _PIECE_BYTES else 8 * (_PIECE_BYTES - _WINDOW_BYTES)
            at = self._at & 7
            while left > 0 and at < end:
                symbols -= 1
                window = int.from_bytes(data[at >> 3 : (at >> 3) + _WINDOW_BYTES], "little") >> (at & 7)
                found = green[window & green_mask]
                length = found & 15
                symbol = found >> 4
                if symbol < _LITERALS:
                    found = red[window >> length & red_mask]
                    number = found >> 4 << 8 | symbol
                    if number > largest:
                        largest = number
                    length += found & 15
                    length += blue[window >> length & blue_mask] & 15
                    length += alpha[window >> length & alpha_mask] & 15
                    left -= 1
                elif symbol < _LITERALS + _LENGTHS:
                    copied, extra = _told(symbol - _LITERALS)
                    left -= copied + (window >> length & ((1 << extra) - 1))
                    length += extra
                    found = far[window >> length & far_mask]
                    length += (found & 15) + _told(found >> 4)[1]
                else:
                    left -= 1  # a colour that was met before, or black
                at += length
                if symbols < 0:
                    raise _OutOfSymbolsError
            self._at = 8 * start + at
            if self._at > 8 * len(self._stream) or (left > 0 and at >= end and len(data) < _PIECE_BYTES):
                raise broken("its pixels are cut short")
        if left < 0:
            raise broken("its pixels are cut short")
        self._symbols = symbols
        return pixels, largest

    def _code(self, symbols: int) -> _Code:
        """One prefix code, of up to ``symbols`` symbols (section 3.7.2.1)."""
        if not self._bits(1):
            return _table(self._lengths(symbols))
        lengths = [0] * symbols
        is_two = self._bits(1)
        for bits in [8 if self._bits(1) else 1] + [8] * is_two:
            symbol = self._bits(bits)
            if symbol < symbols:
                lengths[symbol] = 1
        return _table(lengths)

    def _lengths(self, symbols: int) -> list[int]:
        of_lengths = [0] * len(_ORDER)
        for index in _ORDER[: self._bits(4) + 4]:
            of_lengths[index] = self._bits(3)
        table, mask = _table(of_lengths)
        most = symbols
        if self._bits(1):
            most = 2 + self._bits(2 + 2 * self._bits(3))
            if most > symbols:
                raise broken("a code of its has too many symbols")
        lengths: list[int] = []
        before = _FIRST_LENGTH
        while len(lengths) < symbols and most > 0:
            most -= 1
            at = self._at
            found = table[int.from_bytes(self._stream[at >> 3 : (at >> 3) + 2], "little") >> (at & 7) & mask]
            self._at = at + (found & 15)
            length = found >> 4
            if length < _REPEAT:
                lengths.append(length)
                before = length or before
            else:
                least, bits = _RUNS[length]
                lengths += [before if length == _REPEAT else 0] * (least + self._bits(bits))
        if len(lengths) > symbols:
            raise broken("a code of its has too many symbols")
        return lengths


class _OutOfSymbolsError(Exception):
    pass


def _told(symbol: int) -> tuple[int, int]:
    """Of a length or a distance: the least that ``symbol`` stands for, and how many bits more there are."""
    if symbol < 4:
        return symbol + 1, 0
    extra = (symbol - 2) >> 1
    return ((2 + (symbol & 1)) << extra) + 1, extra


def _table(lengths: list[int]) -> _Code:
    """The canonical code of symbols of these lengths; 0 for those that it has not (as of RFC 1951, section 3.2.2)."""
    used = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
    if len(used) == 1:
        return [used[0][1] << 4], 0
    longest = used[-1][0] if used else 0
    if sum(1 << (_LONGEST_CODE - length) for length, _ in used) != 1 << _LONGEST_CODE:
        raise broken("a code of its is not complete")
    size = 1 << longest
    table = [0] * size
    code = before = 0
    for length, symbol in used:
        code <<= length - before
        before = length
        start = int(f"{code:0{length}b}"[::-1], 2)
        table[start :: 1 << length] = [symbol << 4 | length] * (size >> length)
        code += 1
    return table, size - 1
