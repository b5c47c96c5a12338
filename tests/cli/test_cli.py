from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imageproxy import __version__
from imageproxy.cli import _parser, main
from imageproxy.testing import LocalPDS

COMMAND = (sys.executable, "-m", "imageproxy")
CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=60, check=False)


def test_module_is_the_command() -> None:
    done = run("--version")

    assert (done.returncode, done.stdout.decode().strip(), done.stderr) == (0, f"imageproxy {__version__}", b"")


@pytest.mark.parametrize("arguments", [[], ["paint"], ["get"], ["demo", "--photos"], ["presets", "more"]])
def test_command_that_is_not_understood_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert "usage: imageproxy" in capsys.readouterr().err


def test_wrong_variable_is_told_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMAGE_PROXY_CACHE_MAX_GB", "plenty")

    assert main(["get", "did:web:example.com", CID, "-o", str(tmp_path / "no.jpg")]) == 1

    assert capsys.readouterr().err.startswith("imageproxy: IMAGE_PROXY_CACHE_MAX_GB is 'plenty'")


# With the number of requests after which a blob is asked for, for certain.
WAITING = [
    (["get", "{did}", CID], 2),
    (["get", "{did}", CID, "-o", "image.jpg"], 2),
    (["warm", "--account", "{did}"], 5),
]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals and pipes")
@pytest.mark.parametrize(("arguments", "requests"), WAITING)
def test_ctrl_c_exits_with_130_and_says_nothing(
    pds: LocalPDS, arguments: list[str], requests: int, tmp_path: Path, make_photo: Callable[..., bytes]
) -> None:
    did = pds.create_account()
    for number in range(40):
        pds.add_blob(did, make_photo(8 + number))
    pds.hold()
    with subprocess.Popen(
        [*COMMAND, *(argument.format(did=did) for argument in arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    ) as command:
        pds.wait_for_requests(requests, timeout=30)
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=10)  # though the PDS says nothing for a minute

    assert (command.returncode, out, err) == (130, b"", b"")
    assert not (tmp_path / "image.jpg").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals and pipes")
@pytest.mark.parametrize("arguments", [["presets"], ["presets", "--json"], ["cache", "stats", "--root", "."]])
def test_reader_that_is_gone_is_no_reason_to_complain(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen([*COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE) as command:
        os.close(writer)
        _, err = command.communicate(timeout=30)

    assert (command.returncode, err) == (141, b"")


def test_character_that_the_terminal_lacks_becomes_a_question_mark(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "é.txt").write_text("no photo")

    done = subprocess.run(
        [*COMMAND, "demo", "--photos", str(tmp_path / "photos"), "--output", str(tmp_path / "out")],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"hit ?s" in done.stdout


COMMANDS = ["demo", "preview", "presets", "get", "warm", "purge", "cache"]


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    assert ended.value.code == 0
    listed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [words[0] for words in listed if words and words[0] in COMMANDS] == COMMANDS


@pytest.mark.parametrize("command", [*COMMANDS[:-1], "cache stats", "cache cleanup", "cache verify", "cache purge"])
def test_help_of_each_command_has_examples_that_are_understood(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])

    assert ended.value.code == 0
    _, _, examples = capsys.readouterr().out.partition("\nexamples:\n")
    assert examples.startswith("  imageproxy ")
    for line in examples.splitlines():
        words = shlex.split(line.rpartition("imageproxy")[2].partition("|")[0].partition(">")[0])
        assert _parser().parse_args(words).run


@pytest.mark.parametrize("arguments", [["presets"], ["--help"], ["get"], ["get", "x", "y", "-o", "z"]])
def test_what_is_no_terminal_is_sent_no_colours(arguments: list[str]) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=60, check=False)

    assert done.stdout + done.stderr
    assert b"\x1b" not in done.stdout + done.stderr
