"""DiskCache within its limit while several processes write to it: sampled on the disk, with all of them stopped."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache
from imageproxy.caches._folder import Folder

KB = 1024
LIMIT = 2000 * KB
WRITERS = 4

WRITER = """
import random
cache = DiskCache(root, max_bytes=int(sys.argv[2]))
chance = random.Random(int(sys.argv[3]))
owners = int(sys.argv[4])
tell("ready")
while True:
    for _ in range(50):
        # A third is fought over.
        number = chance.randrange(300) if chance.random() < 0.3 else chance.randrange(10**9)
        cache.set(key(number, did=f"did:plc:{number % owners}"), b"x" * chance.randrange(500, 8000))
    tell("on")
"""


def stop(processes: list[Any]) -> None:
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    for process in processes:
        os.waitpid(process.pid, os.WUNTRACED)


@pytest.mark.parametrize("owners", [1, 1_000_000], ids=["one owner", "a million owners"])
def test_four_processes_that_write_use_the_limit_and_keep_to_it(
    root: Path, python: Any, files: Any, owners: int
) -> None:
    processes = [python(WRITER, str(LIMIT), str(number), str(owners)) for number in range(WRITERS)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    totals: list[int] = []
    chance = random.Random(1)
    while len(totals) < 25:
        # Whoever it is has written some, and is at another point each time.
        assert chance.choice(processes).stdout.readline() == "on\n"
        stop(processes)
        temps = files.temps()
        assert len(temps) <= WRITERS
        totals.append(files.total())
        for process in processes:
            process.send_signal(signal.SIGCONT)
    assert max(totals) <= 1.02 * LIMIT
    assert min(totals[-10:]) >= 0.97 * LIMIT, "not all of the limit is used"
    stop(processes)
    for process in processes:
        process.kill()
        process.send_signal(signal.SIGCONT)
        process.wait()
    cache = DiskCache(root, max_bytes=LIMIT)
    cache.cleanup()
    assert cache.size_bytes() == files.total() <= LIMIT
    assert cache.verify() == 0


def test_no_request_visits_more_than_a_few_folders_however_many_there_are(
    root: Path, key: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    filler = DiskCache(root)
    for number in range(1500):
        filler.set(key(number, did=f"did:plc:{number}"), b"x" * 1000)
    visits: list[str] = []
    scans: list[int] = []
    child, names, scan = Folder.child, Folder.names, Folder.scan

    def counting_child(self: Folder, name: str, **options: Any) -> Folder:
        visits.append(name)
        return child(self, name, **options)

    def counting_names(self: Folder) -> list[str]:
        scans.append(1)
        return names(self)

    def counting_scan(self: Folder, is_wanted: Any) -> Any:
        scans.append(1)
        return scan(self, is_wanted)

    monkeypatch.setattr(Folder, "child", counting_child)
    monkeypatch.setattr(Folder, "names", counting_names)
    monkeypatch.setattr(Folder, "scan", counting_scan)
    cache = DiskCache(root, max_bytes=filler.stats()["bytes"])
    cache.get(key(3))
    cache.fence(key().did, key().cid)
    cache.stats()
    assert not visits
    assert not scans
    for number in range(2000, 2200):
        visits.clear()
        scans.clear()
        cache.set(key(number), b"x" * 1000)
        assert len(visits) <= 4
        assert len(scans) <= 2
    visits.clear()
    cache.purge(key().did, key().cid)
    assert len(visits) == 1


def simulation() -> Any:
    """The benchmark is the test: see there what is simulated."""
    path = Path(__file__).parents[2] / "benchmarks" / "eviction.py"
    spec = importlib.util.spec_from_file_location("eviction_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "case",
    [
        {"entries": 50},
        {"entries": 400, "turnover_hours": 0.05},
        {"entries": 400, "turnover_hours": 3, "owners": 1},
        {"entries": 400, "skew": 0.6},
        {"entries": 400, "skew": 1.2},
    ],
    ids=str,
)
def test_it_hits_nearly_as_often_as_an_exact_lru(root: Path, case: Any) -> None:
    module = simulation()
    outcome = module.simulate(module.Case(**case), root, 8000)
    assert outcome.ratio >= 0.97
    assert outcome.usable >= 0.95
