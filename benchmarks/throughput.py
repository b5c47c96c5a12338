"""How many images a second one service makes on one core and on all, where every call is a miss.

    python benchmarks/throughput.py [--photos FOLDER] [--rounds N] [--resizer simd|pillow]

Photos times the DEFAULT presets, asked for by four threads a core; the fetcher has the blobs in memory and the cache
keeps nothing. Beside it stands what the machine has to give: as many processes as cores, each on one, each with a
processor alone. The three take turns within one run, and what is told is the ratio of medians: single figures do not
hold on shared machines. What is short of the processes is lost to the lock of Python and to the service; what they are
short of the number of cores themselves is lost to the memory that the cores share.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from imageproxy import DEFAULT, CacheKey, Config, Service, compute_cid
from imageproxy.processors import PillowProcessor
from imageproxy.testing import drawn_photos

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
PDS_URL = "https://pds.example.com"
THREADS_PER_CORE = 4


class Blobs:
    """A fetcher that has what it is asked for, and a cache that has nothing."""

    def __init__(self) -> None:
        self.by_cid: dict[str, bytes] = {}

    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
        return self.by_cid[cid]

    def get(self, key: CacheKey) -> bytes | None:
        return None

    def set(self, key: CacheKey, data: bytes) -> None:
        pass

    def purge(self, did: str, cid: str | None = None) -> int:
        return 0


# In a child process


def through_service(photos: list[bytes], resizer: str, cores: int) -> Callable[[], int]:
    """Each photo in each preset once for each core, as misses of one service; returns how many there were."""
    blobs = Blobs()
    service = Service(blobs, PillowProcessor(resizer=resizer), blobs, Config(decode_workers=cores))
    numbers = itertools.count()

    def run() -> int:
        cids = [compute_cid(next(numbers).to_bytes(8, "big")) for _ in range(len(photos) * cores)]
        blobs.by_cid = dict(zip(cids, itertools.cycle(photos), strict=False))
        jobs = iter([(preset, cid) for preset in DEFAULT for cid in cids])
        total = len(cids) * len(DEFAULT)
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    job = next(jobs, None)
                if job is None:
                    return
                service.get_image(job[0], DID, job[1], PDS_URL)

        threads = [threading.Thread(target=work) for _ in range(THREADS_PER_CORE * cores)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return total

    return run


def alone(photos: list[bytes], resizer: str) -> Callable[[], int]:
    processor = PillowProcessor(resizer=resizer)

    def run() -> int:
        for preset in DEFAULT:
            for photo in photos:
                processor.process(photo, preset)
        return len(photos) * len(DEFAULT)

    return run


def serve(folder: Path, resizer: str, cores: int) -> None:
    """For each line that comes in, a line with how many images were made; ``cores=0`` is a processor alone."""
    photos = [path.read_bytes() for path in sorted(folder.iterdir())]
    run = through_service(photos, resizer, cores) if cores else alone(photos, resizer)
    for _ in sys.stdin:
        print(run(), flush=True)


# In the parent


class Child:
    def __init__(self, folder: Path, resizer: str, cores: set[int], *, has_service: bool) -> None:
        command = [sys.executable, __file__, "--serve", str(folder), resizer, str(len(cores) if has_service else 0)]
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)  # the child inherits it
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        finally:
            os.sched_setaffinity(0, allowed)

    def start(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()

    def wait(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def images_per_second(children: list[Child]) -> float:
    start = time.perf_counter()
    for child in children:
        child.start()
    made = sum(child.wait() for child in children)
    return made / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description="Images per second on one core and on all.")
    parser.add_argument("--photos", type=Path, help="a folder, instead of the photos that the project draws")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--resizer", choices=("simd", "pillow"), default="simd")
    parser.add_argument("--json", type=Path, help="write the figures there")
    chosen = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = chosen.photos.iterdir() if chosen.photos else ()
        sources = [path.read_bytes() for path in given if path.suffix] or [photo.data for photo in drawn_photos()]
        for number, data in enumerate(sources):
            (folder / f"{number:04}").write_bytes(data)
        contestants = {
            "service, one core": [Child(folder, chosen.resizer, {cores[0]}, has_service=True)],
            "service, all cores": [Child(folder, chosen.resizer, set(cores), has_service=True)],
            "processes": [Child(folder, chosen.resizer, {core}, has_service=False) for core in cores],
        }
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        for turn in range(chosen.rounds + 1):
            for contestant, children in contestants.items():
                rate = images_per_second(children)
                if turn:  # the first warms up
                    rates[contestant].append(rate)
        for child in itertools.chain.from_iterable(contestants.values()):
            child.close()
    medians = {name: statistics.median(of) for name, of in rates.items()}
    base = medians["service, one core"]
    print(f"{len(cores)} cores, {len(sources)} photos in {len(DEFAULT)} presets, resizer {chosen.resizer}")
    for name, rate in medians.items():
        print(f"{name:20}{rate:8.1f} images a second{rate / base:8.2f} times one core")
    if chosen.json:
        chosen.json.write_text(json.dumps(medians, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        main()
