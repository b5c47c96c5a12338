"""The command line of the fuzzers; see ``run.py``."""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

from .supervisor import Finding, Supervisor, Tally
from .target import Target
from .worker import Order, work

_TARGETS = ("processor", "http", "identity")
_SHOWN_BYTES = 1500


def make_target(name: str) -> Target:
    """The target of this name. What only one needs is imported for that one."""
    if name == "processor":
        from .processor import ProcessorTarget

        return ProcessorTarget()
    if name == "http":
        from .fetching import FetchTarget

        return FetchTarget()
    if name == "identity":
        from .identity import IdentityTarget

        return IdentityTarget()
    from .planted import PlantedTarget

    return PlantedTarget()


def main(arguments: list[str]) -> int:
    """Returns the exit code: 1 where there is a finding."""
    options = _parser().parse_args(arguments)
    if options.as_worker:
        order = Order(**json.loads(options.as_worker))
        work(order, lambda: make_target(order.target))
        return 0
    targets = [options.target] if options.target else list(_TARGETS)
    seed = options.seed or secrets.token_hex(4)
    findings = 0
    for target in targets:
        order = Order(
            target,
            seed,
            options.seconds / len(targets),
            options.inputs,
            slot="",
            replay=[str(path.resolve()) for path in options.replay],
        )
        supervisor = Supervisor(
            hang_seconds=options.hang_seconds,
            on_finding=_saver(options.findings, target),
            on_progress=_teller(target),
        )
        _say(f"{target}: seed {seed}")
        tally = supervisor.run(order, 1 if options.replay else options.workers, progress_seconds=options.every)
        for path, outcome in tally.replayed.items():
            _say(f"{path}: {outcome}")
        if options.outcomes:
            for outcome, count in tally.counts.most_common():
                _say(f"{count:9,}  {outcome}")
        findings += len(tally.findings)
    return 1 if findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py", description="Fuzz imageproxy.")
    parser.add_argument("--target", choices=(*_TARGETS, "planted"), help="one of them; without it, each in turn")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--inputs", type=int, default=10**12, help="end after so many for each target")
    parser.add_argument("--workers", type=int, default=1, help="processes at once")
    parser.add_argument("--seed", help="what a run printed, to have the same inputs again")
    parser.add_argument("--hang-seconds", type=float, default=5.0, help="how long an input may take")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two lines of progress")
    parser.add_argument("--outcomes", action="store_true", help="list the kinds of endings, with how often each came")
    parser.add_argument("--replay", nargs="+", type=Path, default=[], metavar="FILE", help="run these inputs alone")
    parser.add_argument(
        "--findings", type=Path, default=Path(tempfile.gettempdir()) / "imageproxy-fuzz", help="folder to save to"
    )
    parser.add_argument("--as-worker", help=argparse.SUPPRESS)
    return parser


def _teller(target: str) -> Callable[[Tally, float], None]:
    def tell(tally: Tally, seconds: float) -> None:
        _say(
            f"{target}: {seconds:.0f} s, {tally.tried:,} inputs, {tally.tried / max(seconds, 0.01):,.0f} per second, "
            f"{len(tally.outcomes)} outcomes, {len(tally.findings)} findings"
        )

    return tell


def _saver(folder: Path, target: str) -> Callable[[Finding], None]:
    def save(finding: Finding) -> None:
        lines = [f"FINDING in {target}: {finding.kind} (seed {finding.seed})", finding.detail.rstrip()]
        if finding.data:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{target}-{hashlib.sha256(finding.data).hexdigest()[:16]}"
            path.write_bytes(finding.data)
            lines.append(f"again: python tests/fuzz/run.py --target {target} --replay {path}")
            if len(finding.data) <= _SHOWN_BYTES:
                lines.append(f"base64: {b64encode(finding.data).decode()}")
        _say("\n".join(lines))

    return save


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
