from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from imageproxy.cli import main
from imageproxy.presets import DEFAULT
from imageproxy.testing.photos import drawn_photos

PRESETS = [preset.name for preset in DEFAULT]


class Page(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.links: list[str | None] = []
        self.text = ""
        self.tags: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "a":
            self.links.append(dict(attrs)["href"])

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "sheets" / "demo"


def demo(photos: Path, output: Path) -> int:
    return main(["demo", "--photos", str(photos), "--output", str(output)])


def test_every_preset_of_every_photo_is_made_timed_and_shown(
    photos: Path, output: Path, make_photo: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "one.jpg").write_bytes(make_photo(900, 600))
    (photos / "two.png").write_bytes(make_photo(300, 400, "PNG"))

    assert demo(photos, output) == 0

    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines()[2:14]]
    assert rows[0][0] == "one.jpg"
    assert rows[6][0] == "two.png"
    assert [row[-5] for row in rows] == PRESETS * 2
    assert [row[-4] for row in rows[:6]] == ["1000x1000", "360x360", "640x300", "800x533", "900x600", "720x360"]
    for row in rows:
        size_bytes, cold, hit = (float(cell.replace(",", "")) for cell in row[-3:])
        assert size_bytes > 500
        assert cold * 1000 > hit > 0
    assert out.rstrip().endswith(f"Contact sheet: {output / 'index.html'}")
    assert err == ""  # no progress bar where there is no terminal

    page = Page(output / "index.html")
    assert [str(image["src"]).rpartition("-")[2] for image in page.images][1:7] == [f"{name}.jpeg" for name in PRESETS]
    assert page.links == [image["src"] for image in page.images]
    for image in page.images:
        with Image.open(output / str(image["src"])) as file:
            assert (image["width"], image["height"]) == (str(file.width), str(file.height))
    assert all(name in page.text for name in PRESETS)
    assert len(re.findall(r"cold [\d.]+ ms · hit [\d.,]+ µs", page.text)) == 12
    assert (output / str(page.images[0]["src"])).read_bytes() == (photos / "one.jpg").read_bytes()


def test_photos_are_drawn_where_none_are_given(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--output", str(output)]) == 0

    page = Page(output / "index.html")
    names = [photo.name for photo in drawn_photos()]
    assert f"{6 * len(names)} images made from {len(names)} photos." in page.text
    assert [str(image["alt"]) for image in page.images[::7]] == [f"{name}, as uploaded" for name in names]
    assert len(capsys.readouterr().out.partition("\n\n")[0].splitlines()) == 2 + 6 * len(names)


def test_result_as_json(
    photos: Path, output: Path, make_photo: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "a.txt").write_text("no photo")
    (photos / "one.jpg").write_bytes(make_photo(900, 600))

    assert main(["demo", "--photos", str(photos), "--output", str(output), "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["page"] == str(output / "index.html")
    text, photo = told["photos"]
    assert (text["name"], text["original"], text["images"], len(text["failures"])) == ("a.txt", None, [], 6)
    assert (photo["original"]["width"], photo["original"]["height"], photo["failures"]) == (900, 600, [])
    assert [image["preset"] for image in photo["images"]] == PRESETS
    for image in photo["images"]:
        assert image["bytes"] == (output / image["file"]).stat().st_size
        assert image["cold_seconds"] > image["hit_seconds"] > 0


def test_page_needs_nothing_from_elsewhere(photos: Path, output: Path, make_photo: Callable[..., bytes]) -> None:
    (photos / "one.jpg").write_bytes(make_photo())

    demo(photos, output)

    html = (output / "index.html").read_text(encoding="utf-8")
    assert not {"script", "link", "iframe"} & Page(output / "index.html").tags
    assert "://" not in html
    assert "url(" not in html


def test_turned_photo_is_described_as_it_is_shown(photos: Path, output: Path, make_photo: Callable[..., bytes]) -> None:
    (photos / "turned.jpg").write_bytes(make_photo(300, 200, orientation=6))

    demo(photos, output)

    original, *_, full, _ = Page(output / "index.html").images
    assert (original["width"], original["height"]) == ("200", "300")
    assert (full["width"], full["height"]) == ("200", "300")


def test_file_that_is_no_photo_is_told_of_and_does_not_stop_the_others(
    photos: Path, output: Path, make_photo: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "a.txt").write_text("no photo")
    (photos / "b.jpg").write_bytes(make_photo())
    (photos / "c.jpg").write_bytes(b"\0" * (10 * 1024**2 + 1))
    (photos / ".hidden").write_text("")
    (photos / "folder").mkdir()

    assert demo(photos, output) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("a.txt  ")
    assert "text" in lines[2]
    assert lines[3].startswith("b.jpg  avatar ")
    assert lines[9] == "c.jpg  10,485,761 bytes; the limit is 10,485,760"
    assert lines[10] == ""
    page = Page(output / "index.html")
    assert "6 images made from 1 photo; 2 files could not be shown." in page.text
    assert "10,485,761 bytes" in page.text
    assert len(page.images) == 7


def test_folder_with_no_photo_at_all_still_has_a_page(
    photos: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "a.txt").write_text("no photo")

    assert demo(photos, output) == 0

    assert "0 images made from 0 photos; 1 file could not be shown." in Page(output / "index.html").text


@pytest.mark.skipif(sys.platform == "win32", reason="no such file name on Windows")
def test_name_of_a_file_is_text_wherever_it_is_shown(
    photos: Path, output: Path, make_photo: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    name = '<img src=x onerror="alert(1)">&amp;\x1b[31m.jpg'
    (photos / name).write_bytes(make_photo())

    assert demo(photos, output) == 0

    page = Page(output / "index.html")
    assert len(page.images) == 7
    assert page.images[1]["alt"] == f"{name}, avatar"
    assert name in page.text
    assert page.images[1]["src"] == "images/01-img-src-x-onerror-alert-1-amp-31m-avatar.jpeg"
    assert "\x1b" not in capsys.readouterr().out


def test_table_fits_a_hundred_characters(
    photos: Path, output: Path, make_photo: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / f"{'long' * 30}.jpg").write_bytes(make_photo())
    (photos / f"{'text' * 30}.txt").write_text("no photo")

    demo(photos, output)

    table = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    assert max(len(line) for line in table) == 100
    assert len(table) == 2 + 6 + 1


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("x")])
def test_photos_have_to_be_a_folder_with_files(
    make: Callable[[Path], object], output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "in")

    assert demo(tmp_path / "in", output) == 1

    assert capsys.readouterr().err.startswith("imageproxy: --photos is ")
    assert not output.exists()


def test_nothing_is_left_running(photos: Path, output: Path, make_photo: Callable[..., bytes]) -> None:
    before = set(threading.enumerate())
    (photos / "one.jpg").write_bytes(make_photo())

    demo(photos, output)

    assert set(threading.enumerate()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_progress_is_shown_on_a_terminal_and_wiped_in_the_end(
    photos: Path, output: Path, make_photo: Callable[..., bytes]
) -> None:
    import pty  # not there on Windows

    (photos / "one.jpg").write_bytes(make_photo())
    leader, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "imageproxy", "demo", "--photos", str(photos), "--output", str(output)],
        stdout=subprocess.PIPE,
        stderr=terminal,
    ) as command:
        out, _ = command.communicate(timeout=60)
    os.close(terminal)
    shown = os.read(leader, 100_000).decode()
    os.close(leader)

    assert command.returncode == 0
    assert "[" not in out.decode()
    lines = shown.split("\r")
    assert [line.split()[1] for line in lines if line.strip()] == [f"{step}/6" for step in range(1, 7)]
    assert "one.jpg content_full" in shown
    assert shown.endswith("\r" + " " * 79 + "\r")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_ctrl_c_leaves_no_temporary_folder_and_no_traceback(
    photos: Path, output: Path, tmp_path: Path, make_photo: Callable[..., bytes]
) -> None:
    import pty  # not there on Windows

    for number in range(50):
        (photos / f"{number}.jpg").write_bytes(make_photo())
    (tmp_path / "tmp").mkdir()
    leader, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "imageproxy", "demo", "--photos", str(photos), "--output", str(output)],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    ) as command:
        shown = os.read(leader, 1)  # it has begun
        command.send_signal(signal.SIGINT)
        out, _ = command.communicate(timeout=60)
    os.close(terminal)
    shown += os.read(leader, 100_000)
    os.close(leader)

    assert (command.returncode, out) == (130, b"")
    assert b"Traceback" not in shown
    assert list((tmp_path / "tmp").iterdir()) == []
