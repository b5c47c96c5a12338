"""How near the disk cache comes to an exact LRU, and how much of its limit it uses.

    python benchmarks/eviction.py [--plot docs/img/eviction.png] [--folder DIR] [--requests 100000]

The real DiskCache, on real files, against a dictionary that forgets what was used least recently, to the byte and to
the request. Both are asked for the same images, which are as popular as Zipf says. The clock is a simulated one, since
DiskCache notes a use at most hourly, and oftener only if it turns over quickly: each case says how long the cache takes
to turn over. Small files; the folder is best in memory.
"""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from imageproxy import CacheKey, DiskCache

SMALLEST, LARGEST = 100, 300
"""Bytes of an entry, trailer included."""
TRAILER = 20
IMAGES_PER_ENTRY = 10
"""How many images there are for each one that fits."""


@dataclass(frozen=True)
class Case:
    """entries: how many fit. skew: of the images' popularity. owners: how many accounts, of Zipf-like sizes.

    turnover_hours: how long it takes until as many were written as fit.
    """

    entries: int
    skew: float = 0.9
    owners: int = 1_000_000
    turnover_hours: float = 24.0

    @property
    def max_bytes(self) -> int:
        return self.entries * (SMALLEST + LARGEST) // 2


class Outcome(NamedTuple):
    """The shares of hits, and the least share of the limit that was used once the cache was full."""

    exact: float
    disk: float
    usable: float

    @property
    def ratio(self) -> float:
        return self.disk / self.exact


class ExactLRU:
    """Forgets what was used least recently."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._sizes: OrderedDict[int, int] = OrderedDict()
        self._total = 0

    def ask(self, image: int, size: int) -> bool:
        """Whether it was there; it is now."""
        if image in self._sizes:
            self._sizes.move_to_end(image)
            return True
        self._sizes[image] = size
        self._total += size
        while self._total > self._max_bytes:
            self._total -= self._sizes.popitem(last=False)[1]
        return False


class Crowd:
    """Who asks for what: images by popularity, each with an owner and a size."""

    def __init__(self, case: Case, seed: int) -> None:
        chance = random.Random(seed)
        count = case.entries * IMAGES_PER_ENTRY
        self._chance = chance
        self._images = range(count)
        self._weights = list(itertools.accumulate((rank + 1) ** -case.skew for rank in range(count)))
        self.sizes = [chance.randint(SMALLEST, LARGEST) for _ in range(count)]
        # A few accounts have many images, many have one: the rank of a Zipf-like owner is a power of the number of all.
        self.owners = [int(case.owners ** chance.random()) for _ in range(count)]

    def requests(self, count: int) -> Iterator[int]:
        return iter(self._chance.choices(self._images, cum_weights=self._weights, k=count))


def simulate(case: Case, root: Path, requests: int, seed: int = 1) -> Outcome:
    """Fill both caches with half of the requests, and count the hits of the other half."""
    crowd = Crowd(case, seed)
    stream = list(crowd.requests(requests))
    exact = ExactLRU(case.max_bytes)
    hits_of_exact = [exact.ask(image, crowd.sizes[image]) for image in stream]
    counted = requests // 2
    hit_share = sum(hits_of_exact[counted:]) / (requests - counted)
    seconds_per_request = case.turnover_hours * 3600 * (1 - hit_share) / case.entries

    now = time.time()
    data = bytes(LARGEST)
    cache = DiskCache(root, max_bytes=case.max_bytes, ttl_seconds=None, clock=lambda: now)
    hits = 0
    usable = 1.0
    for number, image in enumerate(stream):
        now += seconds_per_request
        key = CacheKey("avatar", f"did:plc:{crowd.owners[image]}", str(image), "image/jpeg")
        if cache.get(key) is not None:
            hits += number >= counted
            continue
        cache.set(key, data[: crowd.sizes[image] - TRAILER])
        if number >= counted:
            usable = min(usable, cache.stats()["bytes"] / case.max_bytes)
    return Outcome(hit_share, hits / (requests - counted), usable)


GROUPS: dict[str, tuple[list[Case], Callable[[Case], str]]] = {
    "entries that fit": (
        [Case(entries) for entries in (50, 200, 1_000, 5_000, 20_000, 50_000)],
        lambda case: f"{case.entries:,}",
    ),
    "skew": ([Case(2_000, skew=skew) for skew in (0.6, 0.8, 1.0, 1.2)], lambda case: f"{case.skew:g}"),
    "accounts": (
        [Case(2_000, owners=owners) for owners in (1, 30, 1_000, 1_000_000)],
        lambda case: f"{case.owners:,}",
    ),
    "turns over in": (
        [Case(2_000, turnover_hours=hours) for hours in (0.02, 1, 4, 24, 24 * 30)],
        lambda case: f"{case.turnover_hours:g} h",
    ),
}


def run(folder: Path | None, requests: int) -> dict[Case, Outcome]:
    """All cases, told one by one as they end."""
    print("entries   skew    accounts   turns over in   exact LRU   DiskCache   ratio   of the limit")
    outcomes: dict[Case, Outcome] = {}
    for cases, _ in GROUPS.values():
        for case in cases:
            if case in outcomes:
                continue
            with tempfile.TemporaryDirectory(dir=folder) as root:
                # A small cache is full soon; a large one needs more to be full.
                count = min(max(requests, 8 * case.entries), 1000 * case.entries)
                found = outcomes[case] = simulate(case, Path(root), count)
            print(
                f"{case.entries:7,} {case.skew:6g} {case.owners:11,} {case.turnover_hours:13g} h"
                f" {found.exact:11.4f} {found.disk:11.4f} {found.ratio:7.4f} {found.usable:14.4f}",
                flush=True,
            )
    return outcomes


def plot(outcomes: dict[Case, Outcome], path: Path) -> None:
    from matplotlib.figure import Figure  # here, since only the plot needs it

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    shares = [len(cases) + 1 for cases, _ in GROUPS.values()]
    all_axes = figure.subplots(1, len(GROUPS), sharey=True, width_ratios=shares)
    for axes, (name, (cases, label)) in zip(all_axes, GROUPS.items(), strict=True):
        places = range(len(cases))
        found = [outcomes[case] for case in cases]
        axes.bar(
            [place - 0.2 for place in places], [each.exact for each in found], 0.4, color="0.75", label="exact LRU"
        )
        axes.bar([place + 0.2 for place in places], [each.disk for each in found], 0.4, label="DiskCache")
        for place, each in zip(places, found, strict=True):
            axes.annotate(
                f"{each.ratio:.3f}",
                (place, max(each.exact, each.disk)),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        axes.set_xticks(places, [label(case) for case in cases], fontsize=8)
        axes.set_xlabel(name)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    all_axes[0].set_ylabel("share of hits")
    all_axes[0].set_ylim(0, 1)
    all_axes[0].legend(loc="upper left", frameon=False, fontsize=8)
    figure.suptitle("DiskCache against an exact LRU; above the bars, the one by the other", x=0.01, ha="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    in_memory = Path("/dev/shm")
    parser.add_argument("--folder", type=Path, default=in_memory if in_memory.is_dir() else None)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    outcomes = run(arguments.folder, arguments.requests)
    if arguments.plot:
        plot(outcomes, arguments.plot)


if __name__ == "__main__":
    main()
