"""Each fuzzer for a while, from a seed that no run had before; what fuzzers have found before; and that they do find.

``run.py`` says how to fuzz for longer, and how to run an input again that a failure names.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .containers import kind_of, mutate_parts, put_together, take_apart
from .pictures import seeds

HERE = Path(__file__).resolve().parent
TARGETS = ("processor", "http", "identity")
SECONDS = 20


def run(*arguments: str | Path) -> tuple[int, str]:
    """The exit code of ``run.py`` and what it printed."""
    done = subprocess.run(
        [sys.executable, HERE / "run.py", *arguments], capture_output=True, text=True, check=False, timeout=110
    )
    return done.returncode, done.stdout + done.stderr


def tried(output: str) -> int:
    return int(re.findall(r"([0-9,]+) inputs", output)[-1].replace(",", ""))


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found(target: str) -> None:
    status, output = run("--target", target, "--seconds", str(SECONDS))

    assert status == 0, output
    assert tried(output) > 100, output


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_found_stays_fixed(target: str) -> None:
    files = sorted((HERE / "corpus" / target).iterdir())
    assert files

    status, output = run("--target", target, "--replay", *files)

    assert status == 0, output
    assert all(str(file) in output for file in files), output


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("crash", r"crash \(SIGABRT\)"),
        ("hang", "hang"),
        ("exception", "LookupError from run"),
        ("warning", "UserWarning"),
        ("memory", "memory"),
        ("thread", "ValueError in a thread"),
    ],
)
def test_planted_fault_is_told_and_saved(fault: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_text(fault)

    status, output = run(
        *("--target", "planted", "--replay", file, "--hang-seconds", "0.5", "--findings", tmp_path / "found")
    )

    assert status == 1, output
    assert re.search(f"FINDING in planted: {told}", output), output
    assert [found.read_text() for found in (tmp_path / "found").iterdir()] == [fault]


def test_fuzzing_digs_where_an_ending_is_new(tmp_path: Path) -> None:
    status, output = run(
        "--target", "planted", "--seconds", "60", "--inputs", "30000", "--seed", "7", "--findings", tmp_path
    )

    assert status == 1, output
    assert "FINDING in planted: deep" in output
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [bytes(3)]  # made as short as can be


def test_a_seed_makes_the_same_inputs_again() -> None:
    one, other = (
        run("--target", "processor", "--seed", "5", "--inputs", "600", "--outcomes")[1].splitlines() for _ in range(2)
    )

    endings = [[line for line in lines if line.startswith(" ")] for lines in (one, other)]
    assert endings[0]
    assert endings[0] == endings[1]


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "avif"])
def test_what_is_taken_apart_is_put_together_as_it_was(kind: str) -> None:
    files = [data for data in seeds() if kind_of(data) == kind]
    drawn = files[:8]  # those at the end may be broken ones, which lose what cannot be read

    assert len(drawn) == 8
    assert [put_together(take_apart(data, kind), kind) for data in drawn] == drawn


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "avif"])
def test_mutants_of_parts_differ_and_stay_of_their_kind(kind: str) -> None:
    corpus = seeds()
    data = [each for each in corpus if kind_of(each) == kind][7]
    rng = random.Random(1)

    mutants = {mutate_parts(rng, data, kind, corpus) for _ in range(200)}

    assert len(mutants) > 100
    assert sum(kind_of(mutant) == kind for mutant in mutants) > 100
