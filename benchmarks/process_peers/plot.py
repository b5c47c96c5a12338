"""The times of benchmarks/process.py as a picture."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from .contestant import Name
from .table import BASE, Cell

__all__ = ["plot"]

_SERIES: tuple[tuple[Name, str, str, float], ...] = (
    ("simd", 'imageproxy, extra "fast"', "#1b6ca8", 0.0),
    ("pillow", "imageproxy, Pillow alone", "#e07a1f", 0.22),
    ("pyvips", "pyvips", "#9a9a9a", -0.22),
)


def plot(cells: Sequence[Cell], path: Path) -> None:
    """Each photo a row, each preset a dot; left of the line is faster than sharp. Needs matplotlib."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    photos = list(dict.fromkeys(cell.photo for cell in cells))
    figure = Figure(figsize=(9, 1.5 + 0.34 * len(photos)), dpi=130, layout="constrained")
    axes = figure.subplots()
    for name, label, colour, offset in _SERIES:
        mean = statistics.geometric_mean(cell.time(name) for cell in cells)
        axes.scatter(
            [cell.time(name) for cell in cells],
            [photos.index(cell.photo) - offset for cell in cells],
            s=22,
            color=colour,
            alpha=0.85,
            linewidths=0,
            label=f"{label}: {mean:.2f} on average",
            zorder=3,
        )
    axes.axvline(1, color="#333333", linewidth=1.2, zorder=2)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(photos)), [photo[:24] for photo in photos])
    axes.set_ylim(len(photos) - 0.4, -0.6)
    axes.grid(axis="x", color="#e4e4e4", zorder=0)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel(
        f"time of one picture, {BASE} = 1; one core each, one dot per preset, averages geometric (left is faster)"
    )
    figure.legend(loc="outside upper center", ncols=len(_SERIES), frameon=False, fontsize=8.5, handletextpad=0.2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
