"""The process that feeds inputs to a target, one after the other, until its time is over or one of them kills it.

Nothing that an input does to it is hidden: each stands in the slot before it runs, and warnings, exceptions in threads
and in destructors, and memory that is not given back are findings like any other.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import signal
import sys
import threading
import time
import warnings
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from .new_lines import NewLines
from .slot import MAX_BYTES, Slot
from .target import FindingError, Target, failure_of

__all__ = ["Order", "work"]

_MAX_RISE_BYTES = 400 * 1024**2
# Beyond what any honest input needs, and far below what makes the system look for a process to kill.
_MAX_ADDRESS_BYTES = 4 * 1024**3
_MAX_CORPUS = 4096
_MAX_KEPT_BYTES = 20_000
_MINIMISE_SECONDS = 3.0
_SETTLE_EVERY_SECONDS = 1.0
_REPORT_EVERY_SECONDS = 0.5
_TO_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Order:
    """What a worker is to do: fuzz from ``seed`` for ``seconds`` or ``inputs``, or run the files of ``replay``."""

    target: str
    seed: str
    seconds: float
    inputs: int
    slot: str
    replay: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def work(order: Order, make_target: Callable[[], Target]) -> None:
    """Obey, and write what happens to standard output, a line of JSON each."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as reports:
        os.dup2(2, 1)  # what the library or a codec prints is no report
        faulthandler.enable()
        if hasattr(faulthandler, "register"):
            faulthandler.register(signal.SIGUSR1, all_threads=True)
        _limit_memory()
        _Work(order, make_target, reports).run()


def _limit_memory() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or most > _MAX_ADDRESS_BYTES:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (_MAX_ADDRESS_BYTES, most))
        except (ValueError, OSError):  # macOS has the name alone
            return


class _Work:
    def __init__(self, order: Order, make_target: Callable[[], Target], reports: IO[str]) -> None:
        self._order = order
        self._reports = reports
        self._slot = Slot(Path(order.slot))
        self._complaints: list[tuple[str, str]] = []
        self._listen()
        self._target = make_target()
        self._outcomes: Counter[str] = Counter()
        self._known: set[str] = set()
        self._number = 0
        self._memory_at_start = 0

    def run(self) -> None:
        if self._order.replay:
            self._replay()
        else:
            self._fuzz()
        self._settle(b"")
        self._report(outcomes=self._outcomes)
        self._report_progress()

    def _replay(self) -> None:
        self._memory_at_start = _peak()
        for path in self._order.replay:
            data = Path(path).read_bytes()
            outcome = self._try(data, in_all_ways=True)
            self._settle(data)
            self._report(replayed=path, outcome=outcome or "a finding")

    def _fuzz(self) -> None:
        rng = random.Random(self._order.seed)
        corpus = [seed for seed in self._target.seeds() if len(seed) <= MAX_BYTES]
        lines = NewLines()
        for seed in corpus:
            self._try(seed)
        self._memory_at_start = _peak()
        for _ in self._turns():
            data = self._target.mutant(rng, corpus)
            lines_before = lines.count
            outcome = self._try(data)
            if outcome is None:
                continue
            if self._outcomes[outcome] == 1:
                self._report(outcome=outcome)
            elif lines.count == lines_before:
                continue
            if len(data) <= _MAX_KEPT_BYTES and len(corpus) < _MAX_CORPUS:
                corpus.append(data)

    def _turns(self) -> Iterator[None]:
        """Until the time, or the number of inputs, is reached; with what has to be done now and then."""
        now = time.monotonic()
        ends_at = now + self._order.seconds
        reports_at = settles_at = now
        while now < ends_at and self._number < self._order.inputs:
            if now >= settles_at:
                self._settle(b"")
                settles_at = now + _SETTLE_EVERY_SECONDS
            if now >= reports_at:
                self._report_progress()
                reports_at = now + _REPORT_EVERY_SECONDS
            yield
            now = time.monotonic()

    def _try(self, data: bytes, *, in_all_ways: bool = False) -> str | None:
        """Run one input; returns its outcome, or ``None`` for a finding, which is reported."""
        self._number += 1
        self._slot.put(self._number, data)
        try:
            outcome = self._checked(data, in_all_ways=in_all_ways)
        except FindingError as finding:
            self._found(finding, data)
            return None
        finally:
            self._slot.clear(self._number)
        self._outcomes[outcome] += 1
        return outcome

    def _checked(self, data: bytes, *, in_all_ways: bool = False) -> str:
        """Raises FindingError for whatever is wrong with how the input was taken."""
        try:
            outcome = self._target.run(data, in_all_ways=in_all_ways)
        except FindingError:
            raise
        except Exception as error:
            raise failure_of(error) from error
        self._raise_complaints()
        rise = _peak() - self._memory_at_start
        if rise > _MAX_RISE_BYTES and self._memory_at_start:
            self._memory_at_start = _peak()  # the peak never falls
            raise FindingError("memory", f"{rise / 1e6:.0f} MB more than at the start")
        return outcome

    def _found(self, finding: FindingError, data: bytes) -> None:
        if finding.kind in self._known:
            return
        self._known.add(finding.kind)
        if not self._order.replay and finding.kind != "memory":
            data = self._minimised(data, finding.kind)
        self._report(kind=finding.kind, detail=finding.detail, data=b64encode(data).decode())

    def _minimised(self, data: bytes, kind: str) -> bytes:
        """A shorter input with the same finding, as far as one is found soon."""
        ends_at = time.monotonic() + _MINIMISE_SECONDS
        piece = len(data) // 2
        while piece and time.monotonic() < ends_at:
            at = 0
            while at < len(data) and time.monotonic() < ends_at:
                shorter = data[:at] + data[at + piece :]
                if self._shows(shorter, kind):
                    data = shorter
                else:
                    at += piece
            piece //= 2
        return data

    def _shows(self, data: bytes, kind: str) -> bool:
        self._slot.put(self._number, data)
        try:
            self._checked(data)
        except FindingError as finding:
            return finding.kind == kind
        return False

    def _settle(self, data: bytes) -> None:
        try:
            self._target.settle()
            self._raise_complaints()
        except FindingError as finding:
            self._found(finding, data)
        except Exception as error:  # noqa: BLE001 - closing may not fail, either
            self._found(failure_of(error), data)

    def _listen(self) -> None:
        """Take notice of what would only be printed."""

        def on_warning(message: Warning | str, category: type[Warning], filename: str, line: int, *_: Any) -> None:
            self._complaints.append((f"{category.__name__}", f"{filename}:{line}: {message}"))

        def on_unraisable(unraisable: Any) -> None:
            value = unraisable.exc_value
            self._complaints.append((f"unraisable {type(value).__name__}", f"{value!r} in {unraisable.object!r}"))

        def on_thread_error(args: Any) -> None:
            self._complaints.append((f"{args.exc_type.__name__} in a thread", f"{args.exc_value!r} in {args.thread}"))

        warnings.simplefilter("always")
        warnings.showwarning = on_warning  # type: ignore[assignment]  # its last two arguments are never given
        sys.unraisablehook = on_unraisable
        threading.excepthook = on_thread_error

    def _raise_complaints(self) -> None:
        if self._complaints:
            kind, detail = self._complaints[0]
            self._complaints.clear()
            raise FindingError(kind, detail)

    def _report_progress(self) -> None:
        self._report(tried=self._number)
        if os.fstat(2).st_size > 1_000_000:  # codecs talk; what they said last is kept
            os.ftruncate(2, 0)

    def _report(self, **report: object) -> None:
        self._reports.write(json.dumps(report) + "\n")
        self._reports.flush()


def _peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _TO_BYTES
