"""The gallery shows the presets as they are. Where this fails, run docs/gallery.py."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

DOCS = Path(__file__).parents[2] / "docs"
SIZE_IN_KB = re.compile(r"[\d.e+]+\N{NO-BREAK SPACE}kB")


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_gallery", DOCS / "gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(gallery: ModuleType) -> list[Any]:
    """What the presets make now, encoded in less time than by themselves."""
    return [
        gallery.make(set_name, preset, photo, through=replace(preset, format="jpeg", quality=80, animated=False))
        for set_name, presets in gallery.SETS.items()
        for preset in presets
        for photo in gallery.photos().values()
    ]


def test_the_page_says_what_the_presets_are(gallery: ModuleType, made: list[Any]) -> None:
    # Sizes in bytes are those of one machine's encoders.
    assert SIZE_IN_KB.sub("", gallery.PAGE.read_text(encoding="utf-8")) == SIZE_IN_KB.sub("", gallery.page(made))


def test_there_are_these_pictures_and_no_others(gallery: ModuleType, made: list[Any]) -> None:
    assert {path.name for path in gallery.PICTURES.iterdir()} == {each.file_name for each in made}


def test_the_pictures_show_what_the_presets_make(gallery: ModuleType, made: list[Any]) -> None:
    for each in made:
        with Image.open(gallery.PICTURES / each.file_name) as shown:
            expected = each.small().convert("RGBA")
            assert shown.size == expected.size, each.file_name
            page = Image.new("RGBA", shown.size, "#ffffff")
            difference = ImageChops.difference(
                Image.alpha_composite(page, shown.convert("RGBA")).convert("L"),
                Image.alpha_composite(page, expected).convert("L"),
            )
        assert ImageStat.Stat(difference).mean[0] < 8, each.file_name


def test_the_pictures_are_small_in_sum(gallery: ModuleType) -> None:
    assert sum(path.stat().st_size for path in gallery.PICTURES.iterdir()) < 400_000
