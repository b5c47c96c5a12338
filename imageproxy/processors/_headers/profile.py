"""ICC profiles for colours that a file tells in other words: chromaticities and a gamma, or code points."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from struct import pack

__all__ = ["profile_of_chromaticities", "profile_of_code_points"]

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue (CIE 1931)."""
_Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

_D65 = (0.3127, 0.3290)
_SRGB: Chromaticities = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
# ITU-T H.273, table 2. What is not in here counts as sRGB.
_PRIMARIES: dict[int, Chromaticities] = {
    1: _SRGB,
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
# Table 3: the pure powers. The curves of television (1, 6, 14, 15) are shown like sRGB's, as browsers do.
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
_PQ, _HLG = 16, 18

# Where a file says about what sRGB is, it means sRGB: a gamma of 2.2 is how most encoders put it.
_SRGB_GAMMA, _GAMMA_TOLERANCE, _CHROMATICITY_TOLERANCE = 2.2, 0.05, 0.005
_GAMMA_RANGE = (0.1, 10.0)

_D50 = (0.9642, 1.0, 0.8249)  # what colours in a profile are relative to (ICC.1:2022, section 6.3.3)
_BRADFORD: _Matrix = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))

# Film of the high dynamic range: what is as bright as paper has 203 cd/m2 (ITU-R BT.2408), the sun on it 1000.
_PAPER, _PEAK = 203.0, 1000.0
_STEPS = 4096


@lru_cache(16)
def profile_of_chromaticities(chromaticities: Chromaticities | None, gamma: float | None) -> bytes | None:
    """A profile for a screen of these primaries, whose light is the value to the power of ``gamma``.

    ``None`` for either: sRGB's. ``None`` is returned for sRGB itself, and for values that mean nothing.
    """
    if gamma is not None and not _GAMMA_RANGE[0] <= gamma <= _GAMMA_RANGE[1]:
        gamma = None
    if gamma is not None and abs(gamma - _SRGB_GAMMA) <= _GAMMA_TOLERANCE:
        gamma = None
    if chromaticities is None or _is_srgb(chromaticities):
        chromaticities = _SRGB
    if gamma is None and chromaticities is _SRGB:
        return None
    return _profile(chromaticities, _srgb_curve() if gamma is None else _power_curve(gamma))


@lru_cache(16)
def profile_of_code_points(primaries: int, transfer: int) -> bytes | None:
    """A profile for colours as videos tell them (ITU-T H.273): AVIF's nclx, PNG's cICP. ``None`` for sRGB.

    A high dynamic range is brought into that of a screen by the curve of Reinhard with a white point, as browsers do.
    """
    chromaticities = _PRIMARIES.get(primaries, _SRGB)
    if transfer in {_PQ, _HLG}:
        return _profile(chromaticities, _table_curve(_pq_light if transfer == _PQ else _hlg_light))
    return profile_of_chromaticities(chromaticities, _GAMMAS.get(transfer))


def _is_srgb(chromaticities: Chromaticities) -> bool:
    return all(abs(a - b) <= _CHROMATICITY_TOLERANCE for a, b in zip(chromaticities, _SRGB, strict=True))


def _profile(chromaticities: Chromaticities, curve: bytes) -> bytes | None:
    try:
        columns = _colorants(chromaticities)
    except ZeroDivisionError:  # three primaries on one line, or one without light
        return None
    if any(abs(value) > 10 for column in columns for value in column):
        return None
    tags = [(b"desc", b"desc\0\0\0\0\0\0\0\1\0" + bytes(78)), (b"cprt", b"text\0\0\0\0\0"), (b"wtpt", _xyz(_D50))]
    tags += [(name + b"XYZ", _xyz(column)) for name, column in zip((b"r", b"g", b"b"), columns, strict=True)]
    body, places = b"", {}
    at = 128 + 4 + 12 * (len(tags) + 3)
    table = pack(">I", len(tags) + 3)
    for name, content in [*tags, (b"rTRC", curve), (b"gTRC", curve), (b"bTRC", curve)]:
        if content not in places:
            places[content] = at + len(body)
            body += content + bytes(-len(content) % 4)
        table += pack(">4sII", name, places[content], len(content))
    head = pack(">I4xI4s4s4s12x4s", at + len(body), 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return head.ljust(68, b"\0") + _xyz(_D50)[8:] + bytes(48) + table + body


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(pack(">i", round(value * 65536)) for value in values)


def _colorants(chromaticities: Chromaticities) -> tuple[tuple[float, float, float], ...]:
    """X, Y and Z of full red, green and blue, seen under D50."""
    white, *primaries = (
        (x / y, 1.0, (1 - x - y) / y) for x, y in zip(chromaticities[::2], chromaticities[1::2], strict=True)
    )
    shares = _times(_inverse(_transposed(primaries)), white)
    cone, wanted = _times(_BRADFORD, white), _times(_BRADFORD, _D50)
    back = _inverse(_BRADFORD)
    columns = []
    for primary, share in zip(primaries, shares, strict=True):
        seen = _times(_BRADFORD, tuple(value * share for value in primary))
        columns.append(_times(back, tuple(s * w / c for s, w, c in zip(seen, wanted, cone, strict=True))))
    return tuple(columns)


def _times(matrix: _Matrix, vector: tuple[float, ...]) -> tuple[float, float, float]:
    x, y, z = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return x, y, z


def _transposed(rows: list[tuple[float, float, float]]) -> _Matrix:
    first, second, third = zip(*rows, strict=True)
    return first, second, third


def _inverse(matrix: _Matrix) -> _Matrix:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return (
        ((e * i - f * h) / determinant, (c * h - b * i) / determinant, (b * f - c * e) / determinant),
        ((f * g - d * i) / determinant, (a * i - c * g) / determinant, (c * d - a * f) / determinant),
        ((d * h - e * g) / determinant, (b * g - a * h) / determinant, (a * e - b * d) / determinant),
    )


def _power_curve(gamma: float) -> bytes:
    return b"para\0\0\0\0\0\0\0\0" + pack(">i", round(gamma * 65536))


def _srgb_curve() -> bytes:
    values = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para\0\0\0\0\0\3\0\0" + b"".join(pack(">i", round(value * 65536)) for value in values)


def _table_curve(light: Callable[[float], float]) -> bytes:
    """The curve of a function from the value to the light, where paper is 1."""
    white = _PEAK / _PAPER
    table = []
    for step in range(_STEPS):
        bright = min(white, light(step / (_STEPS - 1)))
        table.append(round(65535 * bright * (1 + bright / white**2) / (1 + bright)))
    return b"curv\0\0\0\0" + pack(f">I{_STEPS}H", _STEPS, *table)


def _pq_light(value: float) -> float:
    """SMPTE ST 2084."""
    root = math.pow(value, 1 / 78.84375)
    return math.pow(max(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root), 1 / 0.1593017578125) * 10_000 / _PAPER


def _hlg_light(value: float) -> float:
    """ITU-R BT.2100, with a system gamma of 1.2 on each channel."""
    scene = value**2 / 3 if value <= 0.5 else (math.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return math.pow(scene, 1.2) * _PEAK / _PAPER
