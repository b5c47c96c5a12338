from __future__ import annotations

import argparse

import pytest

from imageproxy.cli.units import read_days, read_size, shown_size, shown_time


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1000000", 1_000_000),
        ("12 B", 12),
        ("1k", 1024),
        ("500MB", 500 * 1024**2),
        ("1.5 GiB", 3 * 1024**3 // 2),
        (" .5g ", 1024**3 // 2),
        ("2tb", 2 * 1024**4),
    ],
)
def test_size_is_read(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0.1", "-1", "GB", "1.", "1 XB", "1e9", "nan", "1 2", "１GB", "10 GB/day"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="such as 500MB"):
        read_size(text)


@pytest.mark.parametrize(("text", "seconds"), [("1", 86400.0), ("0.5", 43200.0), ("0", None)])
def test_days_are_read(text: str, seconds: float | None) -> None:
    assert read_days(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "a week"])
def test_what_is_no_number_of_days_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="such as 30"):
        read_days(text)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (7, "7 B"),
        (999, "999 B"),
        (1000, "1 KiB"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (10 * 1024, "10 KiB"),
        (999 * 1024**2, "999 MiB"),
        (10 * 1024**3, "10 GiB"),
        (3 * 1024**4, "3 TiB"),
        (5000 * 1024**4, "5000 TiB"),
    ],
)
def test_size_is_shown_in_the_unit_that_fits(size: int, shown: str) -> None:
    assert shown_size(size) == shown


def test_time_is_shown_in_utc() -> None:
    assert shown_time(1_795_514_664.9) == "2026-11-24 10:04:24Z"
