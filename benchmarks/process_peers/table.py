"""The figures of benchmarks/process.py, and how they are told."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .contestant import CONTESTANTS, Name

__all__ = ["BASE", "Cell", "Result", "print_cell", "print_head", "print_summary"]

BASE: Name = "sharp"
_OTHERS: tuple[Name, ...] = tuple(name for name in CONTESTANTS if name != BASE)


class Result(NamedTuple):
    """Seconds, bytes of the file, decibels, bytes of memory."""

    seconds: float
    size: int
    psnr: float
    peak: int | None


@dataclass(frozen=True)
class Cell:
    """One photo in one preset."""

    photo: str
    preset: str
    format: str
    results: dict[Name, Result]

    def time(self, name: Name) -> float:
        """In sharp's time."""
        return self.results[name].seconds / self.results[BASE].seconds

    def size(self, name: Name) -> float:
        return self.results[name].size / self.results[BASE].size

    def psnr(self, name: Name) -> float:
        """How many dB over sharp."""
        return self.results[name].psnr - self.results[BASE].psnr

    def as_json(self) -> dict[str, Any]:
        results = {name: result._asdict() for name, result in self.results.items()}
        return {"photo": self.photo, "preset": self.preset, "format": self.format, "results": results}


def print_head(memory: bool) -> None:
    columns = f"{'pillow':>7}{'simd':>7}{'sharp':>7}{'pyvips':>7}"
    others = f"{'pillow':>7}{'simd':>7}{'pyvips':>7}"
    over = f"{'':42}{'time, sharp in ms':^28}  {'size / sharp':^21}  {'PSNR, dB':^28}"
    head = f"{'photo':20}{'preset':17}{'':5}{columns}  {others}  {columns}"
    if memory:
        over, head = f"{over}  {'peak, MB':^28}", f"{head}  {columns}"
    print(f"{over}\n{head}", flush=True)


def print_cell(cell: Cell) -> None:
    row = f"{cell.photo[:19]:20}{cell.preset[:16]:17}{cell.format:5}"
    for name in CONTESTANTS:
        row += f"{cell.results[name].seconds * 1000:7.1f}" if name == BASE else f"{cell.time(name):7.2f}"
    row += "  " + "".join(f"{cell.size(name):7.3f}" for name in _OTHERS)
    row += "  " + "".join(f"{cell.results[name].psnr:7.2f}" for name in CONTESTANTS)
    peaks = [cell.results[name].peak for name in CONTESTANTS]
    row += "  " + "".join("" if peak is None else f"{peak / 1e6:7.1f}" for peak in peaks)
    print(row.rstrip(), flush=True)


def print_summary(cells: Sequence[Cell]) -> None:
    print(f"\nagainst {BASE}, {len(cells)} cells:")
    for name in _OTHERS:
        times = [cell.time(name) for cell in cells]
        slowest = max(cells, key=lambda cell: cell.time(name))
        largest = max(cells, key=lambda cell: cell.size(name))
        worst = min(cells, key=lambda cell: cell.psnr(name))
        print(
            f"  {name:7} time: geometric mean {statistics.geometric_mean(times):.3f}, "
            f"worst {slowest.time(name):.2f} ({slowest.photo} {slowest.preset} {slowest.format}), "
            f"{sum(time > 1 for time in times)} over 1\n"
            f"  {'':7} size: geometric mean {statistics.geometric_mean(cell.size(name) for cell in cells):.3f}, "
            f"worst {largest.size(name):.3f} ({largest.photo} {largest.preset} {largest.format})\n"
            f"  {'':7} PSNR: mean {statistics.fmean(cell.psnr(name) for cell in cells):+.2f} dB, "
            f"worst {worst.psnr(name):+.2f} ({worst.photo} {worst.preset} {worst.format})"
        )
        peaks = [cell.results[name].peak for cell in cells]
        told = [peak for peak in peaks if peak is not None]
        if told:
            print(f"  {'':7} peak: median {statistics.median(told) / 1e6:.1f} MB, most {max(told) / 1e6:.1f} MB")
