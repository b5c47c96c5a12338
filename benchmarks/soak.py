"""A soak: 64 threads ask one service for good, huge, broken, missing and slow blobs; memory and latency are plotted.

    python benchmarks/soak.py --seconds 120 --budget-mb 256 --plot soak.png

The servers run in a process of their own, so the memory measured is the service's. What is looked for: the memory stays
under its budget, and the latency of the good images does not rise with time. Needs matplotlib for the plot.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image

from imageproxy import Config, FitMode, ImageProxyError, Preset, Service, compute_cid, create_service
from imageproxy.testing import LocalPDS, drawn_photos

THREADS = 64
WINDOW_SECONDS = 5.0
# What is asked for, and how often.
MIX = {"good": 70, "huge": 10, "broken": 8, "missing": 8, "slow": 4}

Targets = dict[str, list[tuple[str, str]]]


# The servers, in a child process


def serve() -> None:
    """Hold all blobs, print where they are as a line of JSON, and end when stdin does."""
    with LocalPDS() as pds, drip_server() as drip_url:
        did = pds.create_account()
        photos = [photo.data for photo in drawn_photos()]
        slow_did = pds.create_account(pds_url=drip_url)
        targets = {
            "good": [(did, pds.add_blob(did, data)) for data in photos],
            "huge": [(did, pds.add_blob(did, data)) for data in huge_images()],
            "broken": [(did, pds.add_blob(did, data)) for data in broken_images(photos)],
            "missing": [(did, compute_cid(bytes([number]))) for number in range(50)],
            "slow": [(slow_did, pds.add_blob(slow_did, bytes([1, number]))) for number in range(50)],
        }
        print(json.dumps({"plc_url": pds.plc_url, "targets": targets}), flush=True)
        sys.stdin.read()


def huge_images() -> Iterator[bytes]:
    """Up to 50 megapixels in a few kilobytes, where decoding takes most memory, and one over the limit."""
    for width, height, mode, kind in (
        (7000, 7000, "RGB", "WEBP"),
        (7000, 7000, "RGBA", "PNG"),
        (5000, 5000, "RGB", "WEBP"),
        (6000, 4000, "RGB", "JPEG"),
        (9000, 9000, "L", "PNG"),
    ):
        buffer = BytesIO()
        options = {"lossless": True, "method": 0} if kind == "WEBP" else {}
        Image.new(mode, (width, height)).save(buffer, kind, **options)
        yield buffer.getvalue()


def broken_images(photos: list[bytes]) -> Iterator[bytes]:
    """Cut short, turned over, and no image at all."""
    for data in photos:
        yield data[: len(data) // 2]
        yield data[:200] + bytes(reversed(data[200:]))
    yield b"<svg xmlns='http://www.w3.org/2000/svg'/>"


@contextmanager
def drip_server() -> Iterator[str]:
    """A PDS that announces a megabyte and sends a byte now and then."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopping = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: image/jpeg\r\ncontent-length: 1000000\r\n\r\n")
                while not stopping.wait(0.2):
                    connection.sendall(b"\xff")
            except OSError:
                pass

    def accept() -> None:
        while not stopping.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    stopping.set()
    listener.close()


# The load


class Load:
    """Threads that ask, and what came of it."""

    def __init__(self, images: Service, targets: Targets, seconds: float) -> None:
        self._images = images
        self._targets = targets
        self._ends_at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self.began_at = time.monotonic()
        self.latencies: list[tuple[float, float]] = []  # of the good ones that were made: when, how long, in seconds
        self.outcomes: Counter[str] = Counter()

    def run(self) -> None:
        threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask(self, seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < self._ends_at:
            (kind,) = chance.choices(list(MIX), list(MIX.values()))
            did, cid = chance.choice(self._targets[kind])
            side = chance.randrange(100, 400)  # so many presets that most requests are misses
            preset = Preset("soak", side, side, FitMode.COVER, 80)
            began = time.monotonic()
            outcome: str
            try:
                outcome = self._images.get(preset, did, cid, timeout=20).source
            except ImageProxyError as error:
                outcome = type(error).__name__
            ended = time.monotonic()
            with self._lock:
                self.outcomes[f"{kind}: {outcome}"] += 1
                if kind == "good" and outcome == "fetch":
                    self.latencies.append((ended - self.began_at, ended - began))


def resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell the memory of a process")


def watch(samples: list[tuple[float, int]], stopping: threading.Event) -> None:
    began = time.monotonic()
    while not stopping.wait(0.1):
        samples.append((time.monotonic() - began, resident_bytes()))


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def windows(latencies: list[tuple[float, float]]) -> list[tuple[float, float, float, int]]:
    """For each window of time: its start, the median and the 95th percentile in ms, and how many there were."""
    by_window: dict[int, list[float]] = {}
    for when, seconds in latencies:
        by_window.setdefault(int(when / WINDOW_SECONDS), []).append(seconds * 1e3)
    return [
        (number * WINDOW_SECONDS, statistics.median(values), percentile(values, 0.95), len(values))
        for number, values in sorted(by_window.items())
    ]


def plot(path: Path, samples: list[tuple[float, int]], rows: list[tuple[float, float, float, int]], start: int) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (memory, latency) = plt.subplots(2, 1, sharex=True, figsize=(9, 6), layout="constrained")
    memory.plot([when for when, _ in samples], [(size - start) / 1e6 for _, size in samples])
    memory.set(ylabel="memory over the start, MB", title=f"{THREADS} threads: {MIX}")
    memory.set_ylim(bottom=0)
    latency.plot([row[0] for row in rows], [row[1] for row in rows], label="median")
    latency.plot([row[0] for row in rows], [row[2] for row in rows], label="95th percentile")
    latency.set(ylabel="good images that were made, ms", xlabel="seconds")
    latency.set_ylim(bottom=0)
    latency.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--budget-mb", type=int, default=256)
    parser.add_argument("--plot", type=Path, help="a PNG to write")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    with (
        subprocess.Popen(
            [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as servers,
        tempfile.TemporaryDirectory() as cache_path,
    ):
        assert servers.stdin is not None
        assert servers.stdout is not None
        told = json.loads(servers.stdout.readline())
        config = Config(
            cache_path=Path(cache_path),
            plc_url=told["plc_url"],
            allow_private_networks=True,
            memory_budget_bytes=arguments.budget_mb * 10**6,
            fetch_timeout_seconds=5,
        )
        samples: list[tuple[float, int]] = []
        stopping = threading.Event()
        with create_service(config) as images:
            for did, cid in told["targets"]["good"][:2]:
                images.get_image("avatar_small", did, cid)  # what is loaded once is not the load's
            start = resident_bytes()
            watcher = threading.Thread(target=watch, args=(samples, stopping))
            watcher.start()
            load = Load(images, told["targets"], arguments.seconds)
            load.run()
            stopping.set()
            watcher.join()
            print(images.stats())
        servers.stdin.close()
    for outcome, count in sorted(load.outcomes.items()):
        print(f"{count:8} {outcome}")
    rows = windows(load.latencies)
    print(f"{'from s':>7} {'median ms':>10} {'95 % ms':>10} {'images':>7}")
    for row in rows:
        print(f"{row[0]:7.0f} {row[1]:10.1f} {row[2]:10.1f} {row[3]:7}")
    peak = max(size for _, size in samples) - start
    print(f"peak memory over the start: {peak / 1e6:.0f} MB of a budget of {arguments.budget_mb} MB")
    if arguments.plot:
        plot(arguments.plot, samples, rows, start)


if __name__ == "__main__":
    main()
