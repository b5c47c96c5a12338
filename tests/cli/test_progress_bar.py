from __future__ import annotations

import io

import pytest

from imageproxy._terminal import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_fills_and_is_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()

    with ProgressBar(terminal, 2) as bar:
        bar.advance("one")
        bar.advance("two")

    _, first, _, second, _, wiped, _ = terminal.getvalue().split("\r")
    assert first.rstrip() == "[........................] 1/2  one"
    assert second.rstrip() == "[############............] 2/2  two"
    assert wiped == " " * 59


def test_share_is_shown_and_drawn_again_only_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()

    bar = ProgressBar(terminal)
    for done in range(1, 1001):
        bar.show(done, 1000)

    lines = [line.rstrip() for line in terminal.getvalue().split("\r") if line]
    assert lines[0] == "[........................] 0 %"
    assert lines[-1] == "[########################] 100 %"
    assert len(lines) < 150


def test_text_is_shown_where_there_is_no_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()

    with ProgressBar(terminal) as bar:
        bar.tell("listing: 5 blobs")
        bar.show(1, 4, "3 to come")

    told, shown, _ = (line.rstrip() for line in terminal.getvalue().split("\r") if line)
    assert told == "listing: 5 blobs"
    assert shown == "[######..................] 25 %  3 to come"


@pytest.mark.parametrize("columns", [20, 40, 200])
def test_line_never_wraps(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = Terminal()

    ProgressBar(terminal, 1).advance("a very long name of a photo " * 10)

    assert len(terminal.getvalue().strip("\r")) == columns - 1


def test_escape_in_a_name_does_not_reach_the_terminal() -> None:
    terminal = Terminal()

    ProgressBar(terminal, 1).advance("\x1b]0;owned\x07\n")

    assert "?]0;owned??" in terminal.getvalue()


def test_nothing_is_written_where_there_is_no_terminal() -> None:
    stream = io.StringIO()

    with ProgressBar(stream, 1) as bar:
        bar.advance("one")

    assert stream.getvalue() == ""
