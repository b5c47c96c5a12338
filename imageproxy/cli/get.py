"""``imageproxy get``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

from imageproxy.cli.choice import FORMATS, read_preset
from imageproxy.cli.command import Commands, add_command, add_json
from imageproxy.cli.output import counted, say_json
from imageproxy.cli.service import open_reader, open_service
from imageproxy.config import Config
from imageproxy.errors import InvalidRequestError
from imageproxy.presets import Preset
from imageproxy.records import RecordBlob, RecordURI
from imageproxy.results import Image

__all__ = ["add_to"]

_ALL = 0
_NUMBER = "{n}"


class _Wanted(NamedTuple):
    did: str
    pds_url: str | None
    cids: list[str]


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "get",
        summary="get the image of a record, or one blob",
        description="Gets an image through the cache, as an app would: that of a record, or a blob of an account. "
        "Options come from the IMAGE_PROXY_* variables. The DID of a handle is asked of the handle's own host, and not "
        "of DNS.",
        examples=(
            "imageproxy get at://alice.example.com/app.bsky.actor.profile/self -p avatar -o alice.jpg",
            "imageproxy get at://alice.example.com/app.bsky.feed.post/3jwdwj2ctlk26 --image all -o 'photo-{n}.jpg'",
            "imageproxy get did:plc:ewvi7nxzyoun6zhxrhs64oiz bafkrei... --format webp > photo.webp",
        ),
    )
    parser.add_argument("what", metavar="WHAT", help="a record (at://...), or the account of a blob: a DID or a handle")
    parser.add_argument("cid", metavar="CID", nargs="?", help="the blob")
    parser.add_argument(
        "-p",
        "--preset",
        type=read_preset,
        metavar="PRESET",
        default="content_full",
        help="what is made of it; see 'imageproxy presets' (%(default)s)",
    )
    parser.add_argument("-f", "--format", choices=FORMATS, help="another format than the preset's own")
    parser.add_argument(
        "-i",
        "--image",
        type=_read_number,
        metavar="N",
        default="1",
        help="which of a record's images, from 1, or 'all' (%(default)s)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help=f"where to write it; {_NUMBER} in it becomes the number of the image; by default, it goes to stdout",
    )
    parser.add_argument(
        "--pds",
        metavar="URL",
        help="the account's PDS, which is asked for its handle, too; by default, it is looked up",
    )
    add_json(parser)
    parser.set_defaults(run=_run, usage_error=parser.error)


def _read_number(text: str) -> int:
    if text == "all":
        return _ALL
    if text.isascii() and text.isdecimal() and int(text[:9]) > 0:
        return int(text[:9])
    raise argparse.ArgumentTypeError(f"{text!r} is no number of an image: 1, 2, ..., or all")


def _run(arguments: argparse.Namespace) -> None:
    _check(arguments)
    config = Config.from_env()
    preset: Preset = arguments.preset
    if arguments.format is not None:
        preset = preset.with_format(arguments.format)
    did, pds_url, cids = _find(arguments, config)
    told = []
    with open_service(config) as service:
        for number, cid in enumerate(cids, arguments.image or 1):
            image = service.get(preset, did, cid, pds_url)
            file = _write(arguments.output, number, image)
            told.append(
                {
                    "file": file,
                    "did": did,
                    "cid": cid,
                    "preset": preset.name,
                    "content_type": image.content_type,
                    "bytes": len(image.data),
                    "source": image.source,
                }
            )
    if arguments.json:
        say_json(told)


def _check(arguments: argparse.Namespace) -> None:
    """Exits with 2 for options that do not go together."""
    is_record = arguments.what.startswith("at://")
    if is_record is (arguments.cid is not None):
        arguments.usage_error("give a record (at://...) alone, or an account and a CID")
    if arguments.image == _ALL and _NUMBER not in (arguments.output or ""):
        arguments.usage_error(f"of several images each needs a file: write {_NUMBER} where its number goes in -o")
    if arguments.json and arguments.output is None:
        arguments.usage_error("with --json, name a file for the image with -o")
    if arguments.output is None and sys.stdout.isatty():
        arguments.usage_error("an image is not for the terminal; name a file with -o, or redirect the output")


def _find(arguments: argparse.Namespace, config: Config) -> _Wanted:
    """What to ask for. Looks up no more than it has to: a DID and a CID may be in the cache."""
    if arguments.cid is not None and arguments.what.startswith("did:"):
        return _Wanted(arguments.what, arguments.pds, [arguments.cid])
    with open_reader(config) as reader:
        if arguments.cid is not None:
            did, pds_url = reader.find_account(arguments.what, pds_url=arguments.pds)
            return _Wanted(did, pds_url, [arguments.cid])
        uri = RecordURI.parse(arguments.what)
        did, pds_url = reader.find_account(uri.authority, pds_url=arguments.pds)
        blobs = reader.find_blobs(did, pds_url, uri.collection, uri.key)
    images = [blob for blob in blobs if _may_be_image(blob)]
    if not images:
        others = ", ".join(sorted({blob.content_type for blob in blobs})) or "no blobs at all"
        raise InvalidRequestError(f"there is no image in {uri}; it has {others}", did=did)
    if arguments.image > len(images):
        raise InvalidRequestError(
            f"there is no image {arguments.image} in {uri}; it has {counted(len(images), 'image', 'images')}", did=did
        )
    chosen = images if arguments.image == _ALL else [images[arguments.image - 1]]
    return _Wanted(did, pds_url, [blob.cid for blob in chosen])


def _may_be_image(blob: RecordBlob) -> bool:
    return not blob.content_type or blob.content_type.startswith("image/")


def _write(output: str | None, number: int, image: Image) -> str | None:
    """The file that it was written to; ``None`` for stdout."""
    if output is None:
        sys.stdout.buffer.write(image.data)
        return None
    path = Path(output.replace(_NUMBER, str(number)))
    path.write_bytes(image.data)
    return str(path)
