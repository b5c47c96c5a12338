from __future__ import annotations

from pathlib import Path

import pytest

from imageproxy.demo.output import OutputFolder
from imageproxy.errors import ConfigError


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} - {".imageproxy-files"}


@pytest.mark.parametrize("is_there", [True, False])
def test_new_or_empty_folder_is_taken(tmp_path: Path, is_there: bool) -> None:
    root = tmp_path / "a" / "b"
    if is_there:
        root.mkdir(parents=True)

    assert OutputFolder(root).write("index.html", b"page") == root / "index.html"

    assert (root / "index.html").read_bytes() == b"page"


def test_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert OutputFolder(Path("demo")).write("index.html", b"") == tmp_path / "demo" / "index.html"


def test_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(ConfigError, match="it must be a new folder") as refused:
        OutputFolder(tmp_path)

    assert refused.value.option == "--output"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_earlier_demo_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    first = OutputFolder(root)
    first.write("index.html", b"old")
    first.write("images/01-cat-avatar.jpeg", b"old")
    (root / "images" / "mine.jpeg").write_text("mine")
    (root / "notes.txt").write_text("mine")
    (root / "images" / "01-cat-avatar.jpeg").unlink()  # the user may tidy up too

    OutputFolder(root).write("images/01-dog-avatar.jpeg", b"new")

    assert files(root) == {"notes.txt", str(Path("images/mine.jpeg")), str(Path("images/01-dog-avatar.jpeg"))}


def test_broken_off_demo_is_replaced_too(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    OutputFolder(root).write("images/01-cat-avatar.jpeg", b"half a demo")

    OutputFolder(root).write("index.html", b"new")

    assert files(root) == {"index.html"}


@pytest.mark.parametrize("name", ["../outside.txt", "images/../../outside.txt", "images/..", "notes.txt", ""])
def test_list_that_was_tampered_with_reaches_nothing_else(tmp_path: Path, name: str) -> None:
    root = tmp_path / "demo"
    OutputFolder(root)
    (root / ".imageproxy-files").write_text(f"{name}\n")
    (tmp_path / "outside.txt").write_text("mine")
    (root / "notes.txt").write_text("mine")

    OutputFolder(root)

    assert files(tmp_path) - {str(Path("demo/.imageproxy-files"))} == {"outside.txt", str(Path("demo/notes.txt"))}
