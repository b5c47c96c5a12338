from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from imageproxy import __version__
from imageproxy.cli import main
from imageproxy.presets import DEFAULT
from imageproxy.testing import LocalPDS

COMMAND = (sys.executable, "-m", "imageproxy")
CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=60, check=False)


def test_presets_are_listed_with_what_they_make(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0

    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["name", "box", "fit", "quality", "format"]
    assert [line.split()[0] for line in lines] == [preset.name for preset in DEFAULT]
    assert ["avatar", "1000x1000", "cover", "85", "jpeg"] in [line.split() for line in lines]
    assert ["content_preview", "800x-", "contain", "80", "jpeg"] in [line.split() for line in lines]


def test_module_is_the_command() -> None:
    done = run("--version")

    assert (done.returncode, done.stdout.decode().strip(), done.stderr) == (0, f"imageproxy {__version__}", b"")


@pytest.mark.parametrize("arguments", [[], ["paint"], ["get", "avatar"], ["demo", "--photos"], ["presets", "more"]])
def test_command_that_is_not_understood_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert "usage: imageproxy" in capsys.readouterr().err


def test_get_writes_the_image_to_a_file(
    pds: LocalPDS, make_photo: Callable[..., bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, make_photo())

    assert main(["get", "banner", did, cid, "-o", str(tmp_path / "banner.jpg")]) == 0

    with Image.open(tmp_path / "banner.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (640, 300))
    assert capsys.readouterr() == ("", "")


def test_get_writes_the_image_to_stdout_and_takes_it_from_the_cache_next_time(
    pds: LocalPDS, make_photo: Callable[..., bytes], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, make_photo())

    assert main(["get", "avatar", did, cid]) == 0
    first = capfdbinary.readouterr().out
    assert main(["get", "avatar", did, cid]) == 0

    assert capfdbinary.readouterr().out == first
    with Image.open(io.BytesIO(first)) as image:
        assert image.size == (1000, 1000)
    assert len(pds.blob_requests) == 1


def test_get_asks_the_pds_that_it_is_given(pds: LocalPDS, make_photo: Callable[..., bytes], tmp_path: Path) -> None:
    did = pds.create_account(pds_url="https://elsewhere.test")
    cid = pds.add_blob(did, make_photo())

    assert main(["get", "avatar", did, cid, "--pds", pds.url, "-o", str(tmp_path / "a.jpg")]) == 0

    assert pds.requests == pds.blob_requests


def test_get_does_not_fill_the_terminal_with_an_image(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    with pytest.raises(SystemExit) as ended:
        main(["get", "avatar", "did:web:example.com", CID])

    assert ended.value.code == 2
    assert "name a file with -o" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("preset", "cid", "told"),
    [("poster", CID, "no preset 'poster'"), ("avatar", "x", "not a CID: 'x'"), ("avatar", CID, "")],
    ids=["preset", "cid", "absent"],
)
def test_error_of_the_library_is_one_line_and_exits_with_1(
    pds: LocalPDS, preset: str, cid: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    did = pds.create_account()

    assert main(["get", preset, did, cid, "-o", str(tmp_path / "no.jpg")]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("imageproxy: ")
    assert err.count("\n") == 1
    assert told in err
    assert not (tmp_path / "no.jpg").exists()


def test_wrong_variable_is_told_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMAGE_PROXY_CACHE_MAX_GB", "plenty")

    assert main(["get", "avatar", "did:web:example.com", CID, "-o", str(tmp_path / "no.jpg")]) == 1

    assert capsys.readouterr().err.startswith("imageproxy: IMAGE_PROXY_CACHE_MAX_GB is 'plenty'")


def test_file_that_cannot_be_written_is_one_line(
    pds: LocalPDS, make_photo: Callable[..., bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, make_photo())

    assert main(["get", "avatar", did, cid, "-o", str(tmp_path / "nowhere" / "a.jpg")]) == 1

    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "nowhere" in err


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals and pipes")
def test_ctrl_c_exits_with_130_and_says_nothing(pds: LocalPDS) -> None:
    did = pds.create_account()
    pds.hold()
    with subprocess.Popen(
        [*COMMAND, "get", "avatar", did, CID], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        pds.wait_for_requests(2, timeout=30)  # the account is looked up, the blob is asked for
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=30)

    assert (command.returncode, out, err) == (130, b"", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals and pipes")
def test_reader_that_is_gone_is_no_reason_to_complain() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen([*COMMAND, "presets"], stdout=writer, stderr=subprocess.PIPE) as command:
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
