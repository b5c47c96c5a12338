"""Runs workers, and tells what became of them: a crash, a hang or a finding, each with the input that made it."""

from __future__ import annotations

import hashlib
import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from .slot import Slot
from .worker import Order

__all__ = ["Finding", "Supervisor", "Tally"]

_RUN = Path(__file__).resolve().with_name("run.py")
_TICK_SECONDS = 0.1
# A tick that took longer is a machine that slept, which is no fault of the input's.
_MAX_TICK_SECONDS = 0.5
_GRACE_SECONDS = 30.0
_MAX_RESTARTS = 50


@dataclass(frozen=True)
class Finding:
    """What broke a promise, and the input that made it; ``b""`` where no single one did."""

    kind: str
    detail: str
    data: bytes
    seed: str


@dataclass
class Tally:
    """What a run came to."""

    tried: int = 0
    outcomes: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    replayed: dict[str, str] = field(default_factory=dict)


class _Worker:
    """One process, made anew where it dies before its time."""

    def __init__(self, order: Order, folder: Path, reports: queue.SimpleQueue[tuple[_Worker, dict[str, Any]]]) -> None:
        self.order = order
        self.slot = Slot(Path(order.slot))
        self.tried = 0
        self.stuck_for = 0.0
        self._stuck_at = 0
        self._stderr: IO[bytes] = (folder / f"{self.slot.path.name}.stderr").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, str(_RUN), "--as-worker", order.to_json()],
            stdout=subprocess.PIPE,
            stderr=(folder / f"{self.slot.path.name}.stderr").open("ab"),
            text=True,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, args=(reports,), daemon=True)
        self._reader.start()

    def _read(self, reports: queue.SimpleQueue[tuple[_Worker, dict[str, Any]]]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            reports.put((self, json.loads(line)))

    def tick(self, seconds: float) -> None:
        """Count the time that the input under way has taken."""
        if self.slot.number == self._stuck_at and self.slot.seconds_under_way() > 0:
            self.stuck_for += min(seconds, _MAX_TICK_SECONDS)
        else:
            self.stuck_for = 0.0
        self._stuck_at = self.slot.number

    def kill(self) -> None:
        """End it, having it say first where it is."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR1)
            time.sleep(0.3)
            self.process.kill()

    def is_over(self) -> bool:
        return self.process.poll() is not None

    def last_words(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read()[-6000:].decode("utf-8", "replace")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._stderr.close()
        self.slot.close()


class Supervisor:
    """Runs one order on several workers at once.

    hang_seconds: how long an input may take.
    on_finding: called with each new finding.
    on_progress: called every few seconds.
    """

    def __init__(
        self, *, hang_seconds: float, on_finding: Callable[[Finding], None], on_progress: Callable[[Tally, float], None]
    ) -> None:
        self._hang_seconds = hang_seconds
        self._on_finding = on_finding
        self._on_progress = on_progress
        self._reports: queue.SimpleQueue[tuple[_Worker, dict[str, Any]]] = queue.SimpleQueue()
        self._tally = Tally()
        self._tried_before = 0
        self._restarts = 0

    def run(self, order: Order, workers: int, *, progress_seconds: float) -> Tally:
        """Until the order is carried out. ``order.slot`` is set here; ``order.inputs`` is shared among the workers."""
        began = now = time.monotonic()
        tells_at = began + progress_seconds
        with tempfile.TemporaryDirectory(prefix="imageproxy-fuzz-") as name:
            folder = Path(name)
            share = -(-order.inputs // workers)
            running = [
                self._start(replace(order, seed=f"{order.seed}/{each}", inputs=share), folder)
                for each in range(workers)
            ]
            try:
                while running:
                    before, now = now, time.monotonic()
                    self._take_reports()
                    for worker in list(running):
                        worker.tick(now - before)
                        if self._is_done(worker, late=now > began + order.seconds + _GRACE_SECONDS):
                            running.remove(worker)
                            running += self._after(worker, folder, began + order.seconds - now)
                    self._tally.tried = self._tried_before + sum(worker.tried for worker in running)
                    if now >= tells_at:
                        self._on_progress(self._tally, now - began)
                        tells_at = now + progress_seconds
            finally:
                for worker in running:
                    worker.close()
        self._on_progress(self._tally, time.monotonic() - began)
        return self._tally

    def _start(self, order: Order, folder: Path) -> _Worker:
        slot = folder / hashlib.sha256(order.seed.encode()).hexdigest()[:12]
        return _Worker(replace(order, slot=str(slot)), folder, self._reports)

    def _is_done(self, worker: _Worker, *, late: bool) -> bool:
        """Whether it has ended, or is ended here; either way, with a finding where there is one."""
        if worker.is_over():
            return True
        if worker.stuck_for > self._hang_seconds or late:
            data = worker.slot.read()
            worker.kill()
            self._found("hang", f"over {self._hang_seconds:g} s\n{worker.last_words()}", data, worker)
            return True
        return False

    def _after(self, worker: _Worker, folder: Path, seconds_left: float) -> list[_Worker]:
        """The worker in place of one that has ended; none where it was done, or time is over."""
        status = worker.process.wait()
        worker._reader.join()
        self._take_reports()
        self._tried_before += max(worker.tried, worker.slot.number)
        data, words = worker.slot.read(), worker.last_words()
        worker.close()
        if status == 0:
            return []
        if worker.stuck_for <= self._hang_seconds:
            what = signal.Signals(-status).name if status < 0 else f"exit {status}"
            self._found(f"crash ({what})", words, data, worker)
        order = worker.order
        if seconds_left <= 0 or order.replay or self._restarts >= _MAX_RESTARTS:
            return []
        self._restarts += 1
        left = replace(
            order,
            seed=f"{order.seed}.{self._restarts}",
            seconds=seconds_left,
            inputs=max(1, order.inputs - worker.tried),
        )
        return [self._start(left, folder)]

    def _take_reports(self) -> None:
        wait = _TICK_SECONDS
        while True:
            try:
                worker, report = self._reports.get(timeout=wait)
            except queue.Empty:
                return
            wait = 0.001
            if "tried" in report:
                worker.tried = report["tried"]
            elif "outcomes" in report:
                self._tally.counts.update(report["outcomes"])
                self._tally.outcomes.update(report["outcomes"])
            elif "replayed" in report:
                self._tally.replayed[report["replayed"]] = report["outcome"]
            elif "outcome" in report:
                self._tally.outcomes.add(report["outcome"])
            else:
                self._found(report["kind"], report["detail"], b64decode(report["data"]), worker)

    def _found(self, kind: str, detail: str, data: bytes, worker: _Worker) -> None:
        finding = Finding(kind, detail, data, worker.order.seed)
        if not any(kind == each.kind and (kind != "hang" or data == each.data) for each in self._tally.findings):
            self._tally.findings.append(finding)
            self._on_finding(finding)
