"""Presets, as people name them: ``avatar``, ``bluesky:avatar``, or a whole set."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import get_args

from imageproxy.errors import InvalidPresetError
from imageproxy.presets import BLUESKY, DEFAULT, ImageFormat, Preset, PresetRegistry

__all__ = ["FORMATS", "SETS", "label", "read_formats", "read_preset", "read_presets"]

SETS: Mapping[str, PresetRegistry] = {"default": DEFAULT, "bluesky": BLUESKY}
FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)


def label(set_name: str, preset: Preset) -> str:
    """What a preset of a set is called here."""
    return preset.name if set_name == "default" else f"{set_name}:{preset.name}"


def read_preset(text: str) -> Preset:
    """The preset of this label. Raises argparse.ArgumentTypeError."""
    set_name, _, name = text.rpartition(":")
    try:
        return SETS[set_name or "default"].get(name)
    except KeyError:
        raise argparse.ArgumentTypeError(f"no set of presets {set_name!r}; there are: {', '.join(SETS)}") from None
    except InvalidPresetError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def read_presets(text: str) -> dict[str, Preset]:
    """Presets by their labels, from labels and names of sets with commas between them; each once.

    Raises argparse.ArgumentTypeError.
    """
    found: dict[str, Preset] = {}
    for each in _items(text):
        if each in SETS:
            found.update((label(each, preset), preset) for preset in SETS[each])
        else:
            preset = read_preset(each)
            found[each.removeprefix("default:")] = preset
    return found


def read_formats(text: str) -> list[str]:
    """Image formats with commas between them, each once. Raises argparse.ArgumentTypeError."""
    formats = list(dict.fromkeys(_items(text)))
    for each in formats:
        if each not in FORMATS:
            raise argparse.ArgumentTypeError(f"no image format {each!r}; there are: {', '.join(FORMATS)}")
    return formats


def _items(text: str) -> list[str]:
    return [each.strip() for each in text.split(",")]
