from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache
from imageproxy.cli import main
from imageproxy.cli.warm.items import read_items
from imageproxy.identifiers import compute_cid
from imageproxy.testing import LocalPDS

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = compute_cid(b"nobody has this")
VIDEO = b"\0\0\0\x20ftypisom"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"


def warm(*arguments: object) -> int:
    return main(["warm", *map(str, arguments)])


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., Path]:
    """``listed(line, ...)``: a file of these lines."""

    def write(*lines: str) -> Path:
        path = tmp_path / "list.txt"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return write


def cached_images(tmp_path: Path) -> int:
    return sum(1 for _ in DiskCache(tmp_path / "cache").entries())


def test_list_is_made_in_the_default_presets(
    pds: LocalPDS,
    make_photo: Callable[..., bytes],
    listed: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    did = pds.create_account()
    cids = [pds.add_blob(did, make_photo(width)) for width in (30, 60)]

    assert warm(listed("# avatars", "", *(f"{did} {cid}" for cid in cids))) == 0

    assert capsys.readouterr() == ("2 blobs: 12 images made, 0 cached already, 0 failed.\n", "")
    assert cached_images(tmp_path) == 12
    assert len(pds.blob_requests) == 2

    assert warm(listed(f"{did} {cids[0]}"), "--presets", "avatar,bluesky:avatar") == 0

    assert capsys.readouterr() == ("1 blob: 1 image made, 1 cached already, 0 failed.\n", "")


def test_list_may_come_from_stdin(
    pds: LocalPDS,
    make_photo: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, make_photo())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{did}\t{cid}  # alice\r\n".encode())))

    assert warm("-", "--presets", "banner") == 0

    assert capsys.readouterr().out == "1 blob: 1 image made, 0 cached already, 0 failed.\n"


def test_bad_lines_are_told_with_their_numbers_and_the_others_made(
    pds: LocalPDS,
    make_photo: Callable[..., bytes],
    listed: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, make_photo())
    path = listed("# list", "alice bafy", f"{did} {cid}", f"{did}", f"{did} {cid.upper()}")

    assert warm(path, "--presets", "banner") == 1

    out, err = capsys.readouterr()
    assert out == "1 blob: 1 image made, 0 cached already, 0 failed.\n"
    first, second, third = err.splitlines()
    assert first.startswith("imageproxy: line 2: not a DID: 'alice'")
    assert second == "imageproxy: line 4: a line has a DID and a CID, not 1 words"
    assert third.startswith("imageproxy: line 5: not the canonical text of a CID")

    assert warm(path, "--presets", "banner", "--json") == 1
    assert [bad["line"] for bad in json.loads(capsys.readouterr().out)["bad_lines"]] == [2, 4, 5]


@pytest.mark.parametrize("account", ["{did}", "alice.test"])
def test_account_is_warmed_from_its_list_of_blobs(
    pds: LocalPDS,
    make_photo: Callable[..., bytes],
    account: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    did = pds.create_account(handle="alice.test")
    for width in (30, 60, 90):
        pds.add_blob(did, make_photo(width))

    assert warm("--account", account.format(did=did), "--pds", pds.url, "--presets", "banner") == 0

    assert capsys.readouterr() == ("3 blobs: 3 images made, 0 cached already, 0 failed.\n", "")
    assert cached_images(tmp_path) == 3


def test_several_accounts_are_looked_up(
    pds: LocalPDS, make_photo: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    dids = [pds.create_account() for _ in range(2)]
    for did in dids:
        pds.add_blob(did, make_photo())

    assert warm("--account", dids[0], "--account", dids[1], "--presets", "banner") == 0

    assert capsys.readouterr().out == "2 blobs: 2 images made, 0 cached already, 0 failed.\n"


def test_what_is_no_image_is_counted_apart_and_no_failure(
    pds: LocalPDS, make_photo: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    did = pds.create_account()
    pds.add_blob(did, make_photo())
    pds.add_blob(did, VIDEO, content_type="video/mp4")
    pds.add_blob(did, VIDEO + b"2")
    pds.add_blob(did, SVG, content_type="image/svg+xml")
    pds.add_blob(did, b"\x01\x02 nothing that is known")

    assert warm("--account", did, "--presets", "avatar,banner") == 0

    made, skipped = capsys.readouterr().out.splitlines()
    assert made == "5 blobs: 2 images made, 0 cached already, 0 failed."
    assert skipped.startswith("Skipped 4 blobs of formats that are not read: 2 video, 1 ")
    assert "1 svg" in skipped


def test_failures_are_told_by_their_reasons(
    pds: LocalPDS,
    make_photo: Callable[..., bytes],
    listed: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    did = pds.create_account()
    photo = make_photo()
    broken = pds.add_blob(did, photo[: len(photo) // 2])
    missing = [compute_cid(b"%d" % number) for number in range(2)]
    path = listed(f"{did} {broken}", *(f"{did} {cid}" for cid in missing), f"{DID} {CID}")

    assert warm(path, "--presets", "avatar,banner") == 1

    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "4 blobs: 0 images made, 0 cached already, 8 failed."
    assert lines[0].split() == ["4", "PDSNotFoundError", "(blob_not_found)"]
    assert lines[1].strip().startswith(f"such as {did} {missing[0]}: the PDS answered 400: InvalidRequest: Blob not")
    assert {line.split()[1] for line in lines[2::2]} == {"DIDNotFoundError", "ProcessingError"}

    assert warm(path, "--presets", "avatar,banner", "--json") == 1

    told = json.loads(capsys.readouterr().out)
    assert (told["blobs"], told["made"], told["cached"], told["failed"], told["skipped_blobs"]) == (4, 0, 0, 8, {})
    assert told["bad_lines"] == []
    reason = told["reasons"][0]
    assert (reason["reason"], reason["images"]) == ("PDSNotFoundError (blob_not_found)", 4)
    assert (reason["example"]["did"], reason["example"]["cid"]) == (did, missing[0])


def test_status_of_a_pds_is_part_of_the_reason(
    pds: LocalPDS, listed: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    did = pds.create_account()
    pds.fail_next(500)

    assert warm(listed(f"{did} {CID}"), "--presets", "banner") == 1

    assert "PDSFetchError (500)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["/no/such/list"], "No such file"),
        (["--account", "alice"], "neither a DID nor a handle"),
        (["--account", DID], "does not know this DID"),
    ],
)
def test_what_cannot_begin_is_one_line(
    pds: LocalPDS, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert warm(*arguments) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["list.txt", "--account", DID], ["list.txt", "--presets", "poster"]])
def test_command_that_is_not_understood_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        warm(*arguments)

    assert ended.value.code == 2


def test_line_of_any_bytes_is_read_or_told() -> None:
    items, bad = read_items([b"\xef\xbb\xbf" + f"{DID} {CID}\n".encode(), b"\xff\xfe\0\n", b"x" * 10_000, b"\r\n"])

    assert items == [(DID, CID)]
    assert [line.number for line in bad] == [2, 3]
    assert all(len(line.message) < 300 for line in bad)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_process_shows_its_progress_on_a_terminal(pds: LocalPDS, make_photo: Callable[..., bytes]) -> None:
    import pty  # not there on Windows

    did = pds.create_account()
    for width in (30, 60):
        pds.add_blob(did, make_photo(width))
    leader, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "imageproxy", "warm", "--account", did, "--presets", "banner,avatar"],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "COLUMNS": "79"},
    ) as command:
        out, _ = command.communicate(timeout=60)
    os.close(terminal)
    shown = os.read(leader, 100_000).decode()
    os.close(leader)

    assert (command.returncode, out) == (0, b"2 blobs: 4 images made, 0 cached already, 0 failed.\n")
    lines = [line.rstrip() for line in shown.split("\r")]
    assert "listing: 2 blobs" in lines
    assert "[########################] 100 %  4 made, 0 cached, 0 not" in lines
    assert "\x1b" not in shown
    assert shown.endswith("\r" + " " * 78 + "\r")


def test_process_reads_a_pipe(pds: LocalPDS, make_photo: Callable[..., bytes]) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, make_photo())

    done = subprocess.run(
        [sys.executable, "-m", "imageproxy", "warm", "-", "--json"],
        input=f"{did} {cid}\n",
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )

    told: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, done.stderr, told["made"]) == (0, "", 6)
