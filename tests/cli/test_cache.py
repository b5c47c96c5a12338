from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache
from imageproxy.cli import main
from imageproxy.protocols import CacheKey

ALICE = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
BOB = "did:web:bob.example.com"
CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
OTHER_CID = "bafkreibmbue5xwxmsso5mxss442ckvt2kpvpajjrg7nx7647lvcnj5tt3a"
TRAILER_BYTES = 20
DAY = 86400


@pytest.fixture(autouse=True)
def _no_options_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("IMAGE_PROXY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cache with three images of Alice and one of Bob: of 100, 1,000, 5,000 and 70,000 bytes."""
    cache = DiskCache(tmp_path / "cache")
    cache.set(CacheKey("avatar-1", ALICE, CID, "image/jpeg"), bytes(100))
    cache.set(CacheKey("banner-1", ALICE, CID, "image/jpeg"), bytes(1000))
    cache.set(CacheKey("avatar-1", ALICE, OTHER_CID, "image/jpeg"), bytes(5000))
    cache.set(CacheKey("avatar-1", BOB, CID, "image/jpeg"), bytes(70_000))
    return tmp_path / "cache"


def entry_of(root: Path, size_bytes: int) -> Path:
    (path,) = (path for path in root.glob("v1/*/*") if path.stat().st_size == size_bytes + TRAILER_BYTES)
    return path


def age(path: Path, days: float) -> None:
    status = path.stat()
    os.utime(path, (status.st_atime - days * DAY, status.st_mtime - days * DAY))


def everything_in(folder: Path) -> dict[Path, tuple[int, int]]:
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture
def run_json(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def run(command: str, root: Path, *arguments: str) -> Any:
        assert main(["cache", command, "--root", str(root), "--json", *arguments]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return json.loads(out)

    return run


# stats


def test_stats_tell_what_is_there(root: Path, run_json: Callable[..., Any]) -> None:
    age(entry_of(root, 5000), days=10)
    age(entry_of(root, 70_000), days=40)

    told = run_json("stats", root)

    total = 76_100 + 4 * TRAILER_BYTES
    assert (told["root"], told["entries"], told["bytes"]) == (str(root), 4, total)
    assert told["max_bytes"] == 10 * 1024**3
    assert told["written"]["last"] - told["written"]["first"] == pytest.approx(40 * DAY, abs=60)
    assert told["used"]["last"] - told["used"]["first"] == pytest.approx(40 * DAY, abs=60)
    assert [each["entries"] for each in told["ages"]] == [2, 0, 0, 1, 1]
    assert [each["under_seconds"] for each in told["ages"]] == [3600, DAY, 7 * DAY, 30 * DAY, None]
    assert [each["entries"] for each in told["sizes"]] == [2, 1, 0, 1, 0, 0]
    assert told["sizes"][1] == {"under_bytes": 16384, "entries": 1, "bytes": 5020}
    assert told["owners"] == 2
    assert [(owner["entries"], owner["bytes"]) for owner in told["largest_owners"]] == [(1, 70_020), (3, 6160)]


def test_stats_are_a_table_of_eighty_columns(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "stats", "--root", str(root)]) == 0

    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == f"folder   {root}"
    assert lines[1] == "entries  4 of 2 accounts"
    assert lines[2] == "bytes    74 KiB, 0.0 % of the limit of 10 GiB"
    assert lines[3].startswith("written  20")
    assert max(map(len, lines[1:])) < 80
    rows = [line for line in lines if line.endswith("#")]
    assert rows[0] == "under an hour                 4     74 KiB  " + "#" * 32
    assert rows[1] == "under 4 KiB                   2    1.1 KiB  " + "#" * 32
    assert "under 16 KiB                  1    4.9 KiB  " + "#" * 16 in rows
    assert {line.index("entries") for line in lines[4:] if "entries" in line} == {24}


def test_stats_go_by_the_limit_of_the_environment(
    root: Path, run_json: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGE_PROXY_CACHE_MAX_GB", "2")

    assert run_json("stats", root)["max_bytes"] == 2 * 1024**3


def test_stats_change_nothing(root: Path, run_json: Callable[..., Any]) -> None:
    for path in root.glob("v1/*/*"):
        age(path, days=100)  # expired
    before = everything_in(root)

    run_json("stats", root)

    assert everything_in(root) == before


def test_stats_of_an_empty_folder_say_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "stats", "--root", str(tmp_path)]) == 0

    assert capsys.readouterr().out.splitlines() == [f"folder   {tmp_path}", "entries  none"]
    assert list(tmp_path.iterdir()) == []


def test_stats_of_an_empty_folder_as_json(tmp_path: Path, run_json: Callable[..., Any]) -> None:
    told = run_json("stats", tmp_path)

    assert (told["entries"], told["written"], told["used"], told["largest_owners"]) == (0, None, None, [])


# cleanup


def test_cleanup_removes_what_is_expired(root: Path, run_json: Callable[..., Any]) -> None:
    age(entry_of(root, 70_000), days=31)

    told = run_json("cleanup", root)

    assert told == {"root": str(root), "removed_entries": 1, "removed_bytes": 70_020, "bytes": 6160}


def test_cleanup_removes_what_is_over_the_limit(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    age(entry_of(root, 70_000), days=1)

    assert main(["cache", "cleanup", "--root", str(root), "--max-bytes", "10kB"]) == 0

    assert capsys.readouterr() == ("Removed 1 entry, 68 KiB; 6 KiB are left.\n", "")


@pytest.mark.parametrize(("days", "removed"), [("0", 0), ("41", 0), ("39.5", 1)])
def test_cleanup_takes_the_ttl_that_it_is_given(
    root: Path, days: str, removed: int, run_json: Callable[..., Any]
) -> None:
    age(entry_of(root, 70_000), days=40)

    assert run_json("cleanup", root, "--ttl-days", days)["removed_entries"] == removed


def test_cleanup_goes_by_the_environment(
    root: Path, run_json: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGE_PROXY_CACHE_TTL_DAYS", "5")
    age(entry_of(root, 70_000), days=6)

    assert run_json("cleanup", root)["removed_entries"] == 1


@pytest.mark.parametrize("option", [["--max-bytes", "lots"], ["--max-bytes", "0"], ["--ttl-days", "-1"]])
def test_option_that_cannot_be_meant_exits_with_2(
    root: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cache", "cleanup", "--root", str(root), *option])

    assert ended.value.code == 2
    assert f"argument {option[0]}: {option[1]!r} is no " in capsys.readouterr().err


# verify


def test_verify_finds_nothing_wrong(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "verify", "--root", str(root)]) == 0

    assert capsys.readouterr() == ("Read 4 entries; all are sound.\n", "")


def test_verify_removes_what_is_damaged(
    root: Path, run_json: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    flipped, cut = entry_of(root, 5000), entry_of(root, 70_000)
    flipped.write_bytes(b"\1" + flipped.read_bytes()[1:])
    os.truncate(cut, 1000)

    assert main(["cache", "verify", "--root", str(root)]) == 0

    assert capsys.readouterr().out == "Removed 2 damaged of 4 entries.\n"
    assert not flipped.exists()
    assert not cut.exists()
    assert run_json("verify", root) == {"root": str(root), "entries": 2, "damaged_entries": 0}


# purge


def test_purge_takes_one_blob_in_every_variant(root: Path, run_json: Callable[..., Any]) -> None:
    told = run_json("purge", root, ALICE, CID)

    assert told == {"root": str(root), "did": ALICE, "cid": CID, "removed_entries": 2}
    assert DiskCache(root).get(CacheKey("avatar-1", ALICE, OTHER_CID, "image/jpeg")) is not None
    assert DiskCache(root).get(CacheKey("avatar-1", BOB, CID, "image/jpeg")) is not None


def test_purge_takes_all_of_an_account(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "purge", "--root", str(root), ALICE]) == 0

    assert capsys.readouterr() == ("Removed 3 entries.\n", "")


def test_purge_takes_every_spelling_of_an_account(root: Path, run_json: Callable[..., Any]) -> None:
    told = run_json("purge", root, BOB.replace("bob", "BOB"))

    assert (told["did"], told["cid"], told["removed_entries"]) == (BOB, None, 1)


def test_purge_keeps_out_what_was_being_fetched(root: Path, run_json: Callable[..., Any]) -> None:
    cache = DiskCache(root)
    key = CacheKey("avatar-1", ALICE, CID, "image/jpeg")
    fence = cache.fence(ALICE, CID)

    run_json("purge", root, ALICE, CID)

    assert cache.set_fenced(key, b"late", fence) is False


@pytest.mark.parametrize(
    ("identifiers", "told"), [(["alice"], "not a DID: 'alice'"), ([ALICE, CID.upper()], f"write {CID}")]
)
def test_identifier_that_is_none_is_told_in_one_line(
    root: Path, identifiers: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "purge", "--root", str(root), *identifiers]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("imageproxy: ")
    assert told in err
    assert err.count("\n") == 1


# All of them

COMMANDS = [["stats"], ["cleanup"], ["verify"], ["purge", ALICE]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_folder_that_is_not_there_is_told_and_not_made(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", *command, "--root", str(tmp_path / "no" / "cache")]) == 1

    assert capsys.readouterr() == ("", f"imageproxy: there is no cache folder {str(tmp_path / 'no' / 'cache')!r}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_folder_is_that_of_the_environment(
    command: list[str], root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMAGE_PROXY_CACHE_PATH", str(root))

    assert main(["cache", *command, "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["root"] == str(root)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_folder_is_the_users_where_none_is_named(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    root = DiskCache().root
    root.mkdir(parents=True)

    assert main(["cache", *command, "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["root"] == str(root)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_help_says_what_the_command_does(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cache", command[0], "--help"])

    assert ended.value.code == 0
    assert "--root DIR" in capsys.readouterr().out


def read_all(terminal: int) -> Iterator[str]:
    with contextlib.suppress(OSError):  # as Linux tells that the other end was closed
        while read := os.read(terminal, 4096):
            yield read.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("command", ["stats", "cleanup", "verify"])
def test_progress_is_shown_on_a_terminal_and_wiped_in_the_end(root: Path, command: str) -> None:
    import pty  # not there on Windows

    leader, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "imageproxy", "cache", command, "--root", str(root), "--json"],
        stdout=subprocess.PIPE,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        shown = "".join(read_all(leader))
        out, _ = process.communicate(timeout=60)
    os.close(leader)

    assert process.returncode == 0
    assert json.loads(out)["root"] == str(root)
    assert "[" in shown
    assert " %" in shown
    assert shown.endswith("\r" + " " * 79 + "\r")
