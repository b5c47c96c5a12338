"""What the disk cache costs with a million entries, against ten thousand.

    python benchmarks/cache_scale.py [--folder DIR] [--sizes 10000 1000000] [--plot docs/img/cache-scale.png]

Fills a cache of each size with small images, by several processes, and then measures both in turns, so that what else
the machine does touches both alike. The folder should be on the file system that matters, and have some 5 GB free;
without one, a temporary folder is used. A folder that was filled before is used again. What a file costs the system,
which grows with the disk (finding a free inode, reading one that is not in memory), is in all figures.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from imageproxy import CacheKey, DiskCache

IMAGES_PER_ACCOUNT = 5
SMALLEST, LARGEST = 200, 1000
UNLIMITED = 10**15
ROUNDS = 30
SETS = 200


def key(number: int, entries: int, preset: str = "avatar-0f1e2d3c4b5a") -> CacheKey:
    did = f"did:plc:{number % (entries // IMAGES_PER_ACCOUNT):024d}"
    return CacheKey(preset, did, f"bafkrei{number:052d}", "image/jpeg")


DATA = os.urandom(LARGEST)


def image(number: int) -> bytes:
    return DATA[: SMALLEST + number * 7919 % (LARGEST - SMALLEST)]


# Filling


def fill(root: Path, entries: int, processes: int) -> None:
    """In processes of their own, each with its part."""
    command = [sys.executable, __file__, "--fill", str(root), str(entries), str(processes)]
    children = [subprocess.Popen([*command, str(part)]) for part in range(processes)]
    if sum(child.wait() for child in children):
        raise SystemExit("filling failed")


def fill_part(root: Path, entries: int, parts: int, part: int) -> None:
    cache = DiskCache(root, max_bytes=UNLIMITED)
    for number in range(part, entries, parts):
        cache.set(key(number, entries), image(number))


# Measuring


class Subject:
    """One cache that is full: what is written to it evicts as much."""

    def __init__(self, root: Path, entries: int) -> None:
        self.root = root
        self.entries = entries
        self.chance = random.Random(1)
        self.max_bytes = DiskCache(root).size_bytes()
        self.full = DiskCache(root, max_bytes=self.max_bytes)
        self.new = entries * 10

    def any_key(self) -> CacheKey:
        return key(self.chance.randrange(self.entries), self.entries)

    def new_key(self) -> CacheKey:
        self.new += 1
        return key(self.new, self.entries)


class Cost(NamedTuple):
    """Seconds for one call: of the clock, of the processor, and of the slowest call."""

    wall: float
    cpu: float
    worst: float


def opening(subject: Subject) -> Iterator[Callable[[], object]]:
    yield lambda: DiskCache(subject.root).get(subject.any_key())


def hits(subject: Subject) -> Iterator[Callable[[], object]]:
    for _ in range(SETS):
        wanted = subject.any_key()
        yield lambda wanted=wanted: subject.full.get(wanted)  # type: ignore[misc]


def misses(subject: Subject) -> Iterator[Callable[[], object]]:
    for _ in range(SETS):
        wanted = subject.new_key()
        yield lambda wanted=wanted: subject.full.get(wanted)  # type: ignore[misc]


def sets(subject: Subject) -> Iterator[Callable[[], object]]:
    """New images where there is room; they are removed again, unmeasured, so that the next round finds the same."""
    cache = DiskCache(subject.root, max_bytes=UNLIMITED)
    wanted = [subject.new_key() for _ in range(SETS)]
    for number, place in enumerate(wanted):
        yield lambda place=place, number=number: cache.set(place, image(number))  # type: ignore[misc]
    for place in wanted:
        cache.delete(place)


def evicting_sets(subject: Subject) -> Iterator[Callable[[], object]]:
    for number in range(SETS):
        wanted = subject.new_key()
        yield lambda wanted=wanted, number=number: subject.full.set(wanted, image(number))  # type: ignore[misc]


def blob_purges(subject: Subject) -> Iterator[Callable[[], object]]:
    wanted = subject.new_key()
    subject.full.set(wanted, image(0))
    yield lambda: subject.full.purge(wanted.did, wanted.cid)


def account_purges(subject: Subject) -> Iterator[Callable[[], object]]:
    wanted = subject.any_key()
    yield lambda: subject.full.purge(wanted.did)


def cleanups(subject: Subject) -> Iterator[Callable[[], object]]:
    yield subject.full.cleanup


MEASURES: dict[str, tuple[Callable[[Subject], Iterator[Callable[[], object]]], int]] = {
    "open, and the first get": (opening, ROUNDS),
    "get, hit": (hits, ROUNDS),
    "get, miss": (misses, ROUNDS),
    "set, with room": (sets, ROUNDS),
    "set, with eviction": (evicting_sets, ROUNDS),
    "purge of a blob": (blob_purges, ROUNDS),
    "purge of an account": (account_purges, ROUNDS),
    "cleanup": (cleanups, 3),
}


def measure(subjects: list[Subject]) -> dict[str, list[list[Cost]]]:
    """For each measure and subject, the cost in each round."""
    table: dict[str, list[list[Cost]]] = {}
    for name, (prepare, rounds) in MEASURES.items():
        table[name] = [[] for _ in subjects]
        for _ in range(rounds):
            for subject, costs in zip(subjects, table[name], strict=True):
                costs.append(run(prepare(subject)))
    return table


def run(calls: Iterator[Callable[[], object]]) -> Cost:
    """Measure each call by itself: what is done between them is preparation."""
    wall = cpu = worst = 0.0
    count = 0
    for call in calls:
        began, began_cpu = time.perf_counter(), time.process_time()
        call()
        cpu += time.process_time() - began_cpu
        took = time.perf_counter() - began
        wall += took
        worst = max(worst, took)
        count += 1
    return Cost(wall / count, cpu / count, worst)


# Telling


class Row(NamedTuple):
    name: str
    seconds: list[float]

    @property
    def ratio(self) -> float:
        return self.seconds[-1] / self.seconds[0]


def rows(table: dict[str, list[list[Cost]]]) -> list[Row]:
    told = []
    for name, of_subjects in table.items():
        told.append(Row(name, [statistics.median(cost.wall for cost in costs) for costs in of_subjects]))
        if "set" in name or name == "cleanup":
            told.append(
                Row(f"{name}: processor", [statistics.median(cost.cpu for cost in costs) for costs in of_subjects])
            )
        if "eviction" in name:
            told.append(
                Row(f"{name}: slowest of {SETS}", [statistics.median(c.worst for c in costs) for costs in of_subjects])
            )
            told.append(Row(f"{name}: slowest of all", [max(cost.worst for cost in costs) for costs in of_subjects]))
    return told


def show(told: list[Row], sizes: list[int]) -> None:
    print(f"{'':38}" + "".join(f"{size:>14,}" for size in sizes) + "   ratio")
    for row in told:
        print(f"{row.name:38}" + "".join(f"{text(seconds):>14}" for seconds in row.seconds) + f"{row.ratio:8.2f}")


def text(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def plot(told: list[Row], sizes: list[int], path: Path) -> None:
    from matplotlib.figure import Figure  # here, since only the plot needs it

    figure = Figure(figsize=(9, 0.42 * len(told) + 1.4), layout="constrained")
    axes = figure.subplots()
    places = list(range(len(told), 0, -1))
    for place, row in zip(places, told, strict=True):
        axes.plot(row.seconds, [place] * len(row.seconds), color="0.8", linewidth=3, zorder=1)
        axes.annotate(
            f"x {row.ratio:.2f}", (max(row.seconds), place), xytext=(9, 0), textcoords="offset points", va="center"
        )
    for number, size in enumerate(sizes):
        axes.scatter([row.seconds[number] for row in told], places, s=55, zorder=2, label=f"{size:,} entries")
    axes.set_xscale("log")
    axes.set_xlim(right=max(max(row.seconds) for row in told) * 8)
    axes.set_yticks(places, [row.name for row in told])
    axes.set_xticks([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1], ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"])
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    axes.set_title("DiskCache: what a call costs as the cache grows", loc="left")
    axes.legend(loc="upper right", frameon=False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        subjects = []
        for entries in arguments.sizes:
            root = folder / str(entries)
            if not root.exists():
                fill(root, entries, arguments.processes)
            subjects.append(Subject(root, entries))
        told = rows(measure(subjects))
    show(told, arguments.sizes)
    if arguments.plot:
        plot(told, arguments.sizes, arguments.plot)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fill"]:
        fill_part(Path(sys.argv[2]), *map(int, sys.argv[3:]))
    else:
        main()
