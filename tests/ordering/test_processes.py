"""A purge in one process holds in the others that share the folder, while threads of all of them ask for the image."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

WORKERS = 3
ROUNDS = 30
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = "bafkreimadeup0"

WORKER = """
import sys, threading
from pathlib import Path
from imageproxy import DiskCache, Service
from imageproxy.caches import MemoryCache, TieredCache
from imageproxy.testing import FakeResolver

DID, CID, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])

class Source:
    def fetch(self, pds_url, did, cid, *, timeout=None):
        return (folder / "version").read_bytes()  # what it was when the fetch began
    def process(self, data, preset):
        return data

cache = TieredCache(MemoryCache(10**6), DiskCache(folder / "cache"))
source = Source()
images = Service(cache, source, source, resolver=FakeResolver())
is_over = threading.Event()
def ask():
    while not is_over.is_set():
        images.get_image("avatar", DID, CID)
askers = [threading.Thread(target=ask) for _ in range(2)]
for asker in askers:
    asker.start()
for line in sys.stdin:
    command = line.strip()
    if command == "get":
        print(images.get_image("avatar", DID, CID).decode(), flush=True)
    else:
        report = images.purge(DID, CID if command == "purge blob" else None)
        print("purged" if report.is_complete else report, flush=True)
is_over.set()
for asker in askers:
    asker.join()
images.close()
"""


class Worker:
    """A process with a service of its own, which does what it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, command: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(command, file=self.process.stdin, flush=True)
        return self.process.stdout.readline().strip()


@contextmanager
def worker(folder: Path) -> Iterator[Worker]:
    command = [sys.executable, "-W", "error", "-c", WORKER, DID, CID, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(100, process.kill)
        watchdog.start()
        try:
            yield Worker(process)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait() == 0
        finally:
            watchdog.cancel()
            process.kill()


def set_version(folder: Path, version: int) -> None:
    (folder / "next").write_text(f"{version}")
    (folder / "next").replace(folder / "version")


def test_no_process_gets_what_was_fetched_before_a_purge_by_any_of_them(tmp_path: Path) -> None:
    set_version(tmp_path, 0)
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(tmp_path)) for _ in range(WORKERS)]
        for version in range(1, ROUNDS + 1):
            set_version(tmp_path, version)
            purging = workers[version % WORKERS]
            assert purging.ask("purge blob" if version % 2 else "purge owner") == "purged"
            assert [each.ask("get") for each in workers] == [f"{version}"] * WORKERS
