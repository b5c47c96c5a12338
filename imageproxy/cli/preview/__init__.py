"""``imageproxy preview``: what presets and formats make of photos, on a page to choose by."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from imageproxy._terminal import ProgressBar, printable
from imageproxy.cli.choice import FORMATS, read_formats, read_presets
from imageproxy.cli.command import Commands, add_command, add_json
from imageproxy.cli.output import counted, say, say_json
from imageproxy.cli.preview.page import preview_page
from imageproxy.cli.preview.renditions import Preview, Wanted, render
from imageproxy.config import Config
from imageproxy.demo.output import OutputFolder
from imageproxy.demo.photos import Photo, photo_files
from imageproxy.errors import ConfigError
from imageproxy.presets import Preset
from imageproxy.processors.pillow import PillowProcessor

__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "preview",
        summary="show photos in every preset and format on a page, to choose by",
        description="Writes a page that shows photos in every preset and output format, with the pixels, bytes and "
        "milliseconds of each, so that presets can be chosen by eye. No server is needed, and no cache is used. "
        "Click an image to see it in full.",
        examples=(
            "imageproxy preview photo.jpg drawing.png",
            "imageproxy preview holiday/ --presets avatar,content_full --formats webp,avif --quality 70",
            "imageproxy preview photo.jpg --presets default,bluesky --output compared",
        ),
    )
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTO", help="a file, or a folder of files")
    parser.add_argument(
        "--presets",
        type=read_presets,
        metavar="NAMES",
        default="default",
        help="default, bluesky, or names of 'imageproxy presets', with commas between them (by default: %(default)s)",
    )
    parser.add_argument(
        "--formats",
        type=read_formats,
        metavar="NAMES",
        default=",".join(FORMATS),
        help="output formats, with commas between them (by default: %(default)s)",
    )
    parser.add_argument(
        "--quality", type=_read_quality, metavar="1-100", help="instead of that of the presets; PNG has none"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=Path("preview"),
        help="where to write the page and its images; an earlier one there is replaced (%(default)s)",
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _read_quality(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= 100:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no quality; it must be a whole number from 1 to 100")


def _run(arguments: argparse.Namespace) -> None:
    config = Config.from_env()
    photos = photo_files(_files(arguments.photos), max_bytes=config.max_source_bytes)
    presets: dict[str, Preset] = arguments.presets
    if arguments.quality is not None:
        presets = {label: replace(preset, quality=arguments.quality) for label, preset in presets.items()}
    wanted = [
        Wanted(label, preset, tuple(preset.with_format(each) for each in arguments.formats))
        for label, preset in presets.items()
    ]
    processor = PillowProcessor(max_pixels=config.max_source_pixels)
    folder = OutputFolder(arguments.output)
    previews = _render(photos, wanted, processor, folder)
    page = folder.write("index.html", preview_page(previews, processor.resizer_name).encode())
    if arguments.json:
        told = [preview.as_values() for preview in previews]
        say_json({"page": str(page), "resizer": processor.resizer_name, "photos": told})
    else:
        failed = [preview for preview in previews if preview.original is None]
        for preview in failed:
            say(printable(f"{preview.name}  {preview.message}"))
        if failed:
            say(f"{counted(len(failed), 'file', 'files')} of {len(previews):,} could not be shown.")
        say(f"Preview: {page}")


def _render(
    photos: list[Photo], wanted: list[Wanted], processor: PillowProcessor, folder: OutputFolder
) -> list[Preview]:
    steps = len(photos) * sum(len(each.variants) for each in wanted)
    with ProgressBar(sys.stderr, steps) as bar:
        return [
            render(photo, number, wanted, processor, folder.write, bar.advance)
            for number, photo in enumerate(photos, 1)
        ]


def _files(paths: Iterable[Path]) -> list[Path]:
    """The files, and those in the folders, by name and without the hidden ones. Raises ConfigError."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
        elif path.is_file():
            files.append(path)
        else:
            raise ConfigError(f"there is no photo {str(path)!r}", option="PHOTO", value=path)
    if not files:
        raise ConfigError("there are no files in these folders", option="PHOTO")
    return files
