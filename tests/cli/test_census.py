from __future__ import annotations

import random

from imageproxy.caches._entry import EntryInfo
from imageproxy.cli.cache.census import Owner, take_census
from imageproxy.cli.cache.report import as_text

NOW = 1_800_000_000.0


def entry(owner: str, size_bytes: int = 1000, age_seconds: float = 60.0) -> EntryInfo:
    return EntryInfo(size_bytes, NOW - age_seconds, NOW, owner.ljust(32, "0"), "000")


def test_owners_with_the_most_bytes_are_listed_from_all_groups() -> None:
    dice = random.Random(7)
    owners = {f"{number:032x}"[::-1]: dice.sample(range(1, 10**6), dice.randrange(1, 9)) for number in range(1, 300)}
    entries = [entry(owner, size) for owner in sorted(owners) for size in owners[owner]]

    census = take_census(entries, NOW)

    expected = sorted((Owner(sum(sizes), len(sizes), owner) for owner, sizes in owners.items()), reverse=True)
    assert census.owners == len(owners)
    assert census.largest == expected[:5]


def test_classes_end_below_their_limit() -> None:
    ages = [0.0, 3599.0, 3600.0, 86399.0, 86400.0, 7 * 86400.0, 30 * 86400.0, -5.0]
    census = take_census([entry("a", 1024 * 4 ** (number % 6), age) for number, age in enumerate(ages)], NOW)

    assert [each.entries for each in census.ages] == [3, 2, 1, 1, 1]  # written in the future is new
    assert [each.entries for each in census.sizes] == [2, 2, 1, 1, 1, 1]
    assert sum(each.size_bytes for each in census.sizes) == census.size_bytes


def test_a_large_cache_still_fits_in_eighty_columns() -> None:
    census = take_census([entry("a")], NOW)
    census.entries = census.owners = census.ages[0].entries = census.sizes[0].entries = 123_456_789
    census.size_bytes = census.ages[0].size_bytes = census.sizes[0].size_bytes = 999 * 1024**4

    lines = as_text("/cache", census, 1000 * 1024**4).splitlines()

    assert max(map(len, lines)) < 80
    assert lines[5:7] == [
        "",
        "written ago             entries      bytes",
    ]
    assert lines[7].startswith("under an hour       123,456,789    999 TiB  ####")
