from __future__ import annotations

import argparse
import json

import pytest

from imageproxy.cli import main
from imageproxy.cli.choice import read_formats, read_presets
from imageproxy.presets import BLUESKY, DEFAULT

NAMES = [preset.name for preset in DEFAULT]
BLUESKY_NAMES = [f"bluesky:{preset.name}" for preset in BLUESKY]


@pytest.mark.parametrize(
    ("options", "names"),
    [([], NAMES + BLUESKY_NAMES), (["--set", "default"], NAMES), (["--set", "bluesky"], BLUESKY_NAMES)],
)
def test_presets_are_listed_with_what_they_make(
    capsys: pytest.CaptureFixture[str], options: list[str], names: list[str]
) -> None:
    assert main(["presets", *options]) == 0

    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["name", "box", "fit", "enlarges", "quality", "format"]
    assert [line.split()[0] for line in lines] == names
    assert max(map(len, lines)) < 80


def test_values_of_a_preset_stand_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["presets"])

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["avatar", "1000x1000", "cover", "yes", "85", "jpeg"] in lines
    assert ["content_preview", "800x-", "contain", "no", "80", "jpeg"] in lines
    assert ["bluesky:feed_thumbnail", "2000x2000", "contain", "yes", "100", "webp"] in lines


def test_presets_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in told] == NAMES + BLUESKY_NAMES
    assert told[3] == {
        "name": "content_preview",
        "width": 800,
        "height": 0,
        "fit": "contain",
        "enlarges": False,
        "quality": 80,
        "format": "jpeg",
        "key": DEFAULT.get("content_preview").key,
    }


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("default", NAMES),
        ("bluesky", BLUESKY_NAMES),
        ("bluesky,default", BLUESKY_NAMES + NAMES),
        ("banner, avatar ,banner", ["banner", "avatar"]),
        ("bluesky:banner,banner,default:banner", ["bluesky:banner", "banner"]),
        ("default,avatar", NAMES),
    ],
)
def test_presets_are_chosen_by_names_and_sets(text: str, labels: list[str]) -> None:
    chosen = read_presets(text)

    assert list(chosen) == labels
    for label, preset in chosen.items():
        assert preset == (BLUESKY if label.startswith("bluesky:") else DEFAULT).get(label.removeprefix("bluesky:"))


@pytest.mark.parametrize("text", ["", "poster", "avatar,", "x:avatar", ":", "bluesky:content_full", "Avatar"])
def test_preset_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="there are: "):
        read_presets(text)


def test_formats_are_chosen_by_name() -> None:
    assert read_formats("webp, jpeg,webp") == ["webp", "jpeg"]
    with pytest.raises(argparse.ArgumentTypeError, match="no image format 'gif'; there are: jpeg, png, webp, avif"):
        read_formats("webp,gif")
