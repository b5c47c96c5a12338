"""What processing a miss costs against sharp and libvips doing the same work: photos times presets, one core each.

    python -m benchmarks.process [--photos FOLDER] [--no-drawn] [--rounds N] [--presets default|bluesky]
                                 [--formats jpeg,webp,avif,png] [--memory] [--plot FILE] [word ...]

Contestants are this library with Pillow's resizer and with that of the extra ``fast`` (simd), sharp (Node) and pyvips,
which the first run installs into the user's cache folder. Each is a process of its own; all are on one core and take
turns within one run, and what is told is the ratio of medians: single figures do not hold on shared machines. Time is
that of the processor over all threads of the contestant, which with one core and nothing to wait for is the time that
passes, but for what else the machine does; ``--wall`` tells what passed.

The work: upright, in sRGB, fitted (Lanczos), without metadata, in the preset's format, quality and chroma. sharp
optimizes a JPEG's Huffman tables unless told otherwise; ``--plain-tables`` tells it otherwise, which makes its JPEGs
faster and larger. PSNR is in dB, of the decoded result: see process_peers/reference.py.

Words pick the cells that have all of them in "photo preset format". Needs numpy, and matplotlib for ``--plot``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from typing_extensions import Self

from benchmarks.process_peers.contestant import CONTESTANTS, Contestant, Name, Run, WorkerError
from benchmarks.process_peers.install import Peers, cache_folder, install
from benchmarks.process_peers.plot import plot
from benchmarks.process_peers.reference import Judge
from benchmarks.process_peers.table import Cell, Result, print_cell, print_head, print_summary
from imageproxy import BLUESKY, DEFAULT, Preset
from imageproxy.presets import ImageFormat
from imageproxy.testing import drawn_photos


class Options(NamedTuple):
    rounds: int
    core: int
    wall: bool
    optimize: bool
    memory: bool


class Bench:
    """The contestants, started, and what they are measured with."""

    def __init__(self, peers: Peers, options: Options, folder: Path) -> None:
        self._peers = peers
        self._options = options
        self._folder = folder

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._contestants = [stack.enter_context(self._started(name)) for name in CONTESTANTS]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _started(self, name: Name) -> Contestant:
        return Contestant(name, self._peers, core=self._options.core, optimize=self._options.optimize)

    def measure(self, photo: Path, preset: Preset, judge: Judge) -> Cell:
        """Raises WorkerError where one of them cannot make the picture."""
        results: dict[Name, Result] = {}
        quality: dict[Name, tuple[int, float]] = {}
        for contestant in self._contestants:  # the first run warms up
            saved = self._folder / contestant.name
            quality[contestant.name] = (
                contestant.run(photo, preset, saved).bytes,
                judge.psnr(saved.read_bytes(), preset),
            )
        runs: dict[Name, list[Run]] = {name: [] for name in quality}
        for turn in range(self._options.rounds):
            first = turn % len(self._contestants)
            for contestant in self._contestants[first:] + self._contestants[:first]:
                runs[contestant.name].append(contestant.run(photo, preset))
        for name, (size, psnr) in quality.items():
            seconds = statistics.median(run.wall if self._options.wall else run.cpu for run in runs[name])
            peak = self._peak(name, photo, preset) if self._options.memory else None
            results[name] = Result(seconds, size, psnr, peak)
        return Cell(photo.stem, preset.name, preset.format, results)

    def _peak(self, name: Name, photo: Path, preset: Preset) -> int:
        with self._started(name) as fresh:
            fresh.run(self._folder / "warm-up", preset)
            return fresh.peak(photo, preset)


def photos(folders: Sequence[Path], drawn: Path | None) -> Iterator[Path]:
    """Those of the folders, and those that the project draws, written to the folder ``drawn``."""
    for folder in folders:
        yield from sorted(path for path in folder.iterdir() if path.is_file() and path.suffix)
    if drawn is not None:
        for photo in drawn_photos():
            path = drawn / f"{photo.name}.{photo.content_type.partition('/')[2]}"
            path.write_bytes(photo.data)
            yield path


def presets(which: str, formats: Sequence[ImageFormat]) -> list[Preset]:
    chosen = {"default": DEFAULT, "bluesky": BLUESKY}[which]
    return [preset.with_format(made) for made in formats for preset in chosen] if formats else list(chosen)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Processing a miss, against sharp and libvips.")
    parser.add_argument("words", nargs="*", help="only the cells that have them all")
    parser.add_argument("--photos", type=Path, action="append", default=[], help="a folder of them")
    parser.add_argument("--drawn", action=argparse.BooleanOptionalAction, default=True, help="those the project draws")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--presets", choices=("default", "bluesky"), default="default")
    parser.add_argument("--formats", default="", help="instead of the presets' own: jpeg,webp,avif,png")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--wall", action="store_true", help="time that passed instead of the processor's")
    parser.add_argument("--plain-tables", action="store_true", help="no optimized Huffman tables for sharp")
    parser.add_argument("--memory", action="store_true", help="peak memory, too, each in a fresh process")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--plot", type=Path, help="draw the times there")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    options = Options(chosen.rounds, chosen.core, chosen.wall, not chosen.plain_tables, chosen.memory)
    formats: list[ImageFormat] = [made for made in chosen.formats.split(",") if made]
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "drawn").mkdir()
        (folder / "warm-up").write_bytes(next(photo.data for photo in drawn_photos() if photo.name == "icon"))
        with Bench(install(), options, folder) as bench:
            print_head(options.memory)
            for photo in photos(chosen.photos, folder / "drawn" if chosen.drawn else None):
                judge = Judge(photo.read_bytes(), cache_folder() / "references")
                for preset in presets(chosen.presets, formats):
                    if not all(word in f"{photo.stem} {preset.name} {preset.format}" for word in chosen.words):
                        continue
                    try:
                        cells.append(bench.measure(photo, preset, judge))
                    except WorkerError as error:
                        print(f"{photo.stem} {preset.name}: {error}")
                        continue
                    print_cell(cells[-1])
    if not cells:
        sys.exit("no cell has all of these words")
    print_summary(cells)
    if chosen.json:
        chosen.json.write_text(json.dumps([cell.as_json() for cell in cells], indent=1))
    if chosen.plot:
        plot(cells, chosen.plot)


if __name__ == "__main__":
    main()
