"""From a file to pixels: which decoder is given how much of it."""

from __future__ import annotations

import io
from functools import cached_property
from importlib import import_module
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from PIL import Image

from imageproxy.errors import ImageTooLargeError
from imageproxy.presets import Preset

from ._cut import needed_rows, without_fine_scans, without_lower_rows
from ._exif import orientation
from ._geometry import Placement, draft_factor, fidelity, place, swaps_sides, to_stored
from ._headers import Header
from ._inflated import READ_BYTES, InflatedPNG, inflater
from ._resize import Resizer, SIMDResizer, kernel_for
from ._sixteen_bits import with_transparent_colour
from ._turbo import Turbo, turbo
from ._unfiltered import Unfilter, unfilter

if TYPE_CHECKING:
    from ._libwebp import LibWebP

__all__ = ["Decoded", "Decoder", "check_pixels", "place_stored"]


class Decoded(NamedTuple):
    """The pixels as they are stored.

    size: of the whole picture in its file; of this, ``image`` may lack the rows below the crop, and be shrunk by
        ``draft``.
    turn: the EXIF orientation.
    profile: the ICC profile.
    """

    image: Image.Image
    size: tuple[int, int]
    turn: int
    profile: bytes | None
    draft: int = 1


class Decoder:
    """Pillow, and what decodes the same pixels in less time or memory. Safe to use from several threads at once.

    max_pixels: the largest image, also where only the decoder finds out how large it is.
    """

    def __init__(self, resizer: Resizer, max_pixels: int) -> None:
        self._resizer = resizer
        self._max_pixels = max_pixels
        self._is_fast = isinstance(resizer, SIMDResizer)
        self._zlib = inflater() if self._is_fast else None

    # Not before the first file that needs them.

    @cached_property
    def _turbo(self) -> Turbo | None:  # numpy, which comes with it, takes 45 ms to load and starts a thread
        return turbo() if self._is_fast else None

    @cached_property
    def _unfilter(self) -> Unfilter | None:  # numpy again
        return unfilter(self._zlib) if self._zlib is not None else None

    @cached_property
    def _libwebp(self) -> LibWebP | None:
        try:  # ctypes, which it is made of, takes some milliseconds to load, and may be missing
            decoder: LibWebP | None = import_module("imageproxy.processors._libwebp").libwebp()
        except ImportError:
            return None
        return decoder

    def is_direct(self, header: Header) -> bool:
        """Whether it is a WebP that Pillow has no part in, which takes less memory."""
        return header.format == "WEBP" and self._libwebp is not None and self._libwebp.takes(header)

    def decode(self, header: Header, preset: Preset) -> Decoded:
        """As many of the pixels as the preset needs. Raises nearly anything for a broken file."""
        size = header.width, header.height
        turn, profile = orientation(header.exif), header.icc_profile
        if header.transparent is not None:
            return Decoded(with_transparent_colour(header.source, header.transparent), size, turn, profile)
        placement = place_stored(size, turn, preset)
        if self.is_direct(header) and self._libwebp is not None:
            return Decoded(self._libwebp.decoded(header, needed_rows(header, placement)), size, turn, profile)
        kept = without_lower_rows(header, placement)
        image: Image.Image | None = None
        factor = 1
        if header.format == "JPEG":
            factor = draft_factor(placement, preset, header.detail)
            kernel = kernel_for(self._resizer.name, preset, placement, header.detail, factor)
            kept = without_fine_scans(kept, factor, fidelity(preset), kernel)
            if self._turbo is not None:
                image = self._turbo.decoded(kept, factor, is_whole=kept.height == header.height)
        elif header.format == "PNG" and self._unfilter is not None:
            image = self._unfilter.decoded(kept)
            self._settle()
        return Decoded(image, size, turn, profile, factor) if image else self._by_pillow(header, kept, factor)

    def _by_pillow(self, header: Header, kept: Header, factor: int = 1) -> Decoded:
        # Closed by hand: some of Pillow's images hold on to their file.
        with self._file(kept) as file, Image.open(file, formats=[kept.format]) as opened:
            check_pixels(opened.width * opened.height, self._max_pixels, "the image has")
            turn = orientation(header.exif or opened.info.get("exif"))
            if header.offset is not None:
                opened.load()
                return Decoded(_on_canvas(opened, header), (header.width, header.height), turn, None)
            size = (opened.width, opened.height + header.height - kept.height)
            if factor > 1:
                opened.draft(None, (opened.width // factor, opened.height // factor))
            if isinstance(file, InflatedPNG):
                opened.decodermaxblock = READ_BYTES
            opened.load()
            if isinstance(file, InflatedPNG):
                self._settle()
            return Decoded(opened, size, turn, opened.info.get("icc_profile") or header.icc_profile, factor)

    def _settle(self) -> None:
        if isinstance(self._resizer, SIMDResizer):
            self._resizer.settle()

    def _file(self, header: Header) -> IO[bytes]:
        """What Pillow reads: the bytes of the image, or the same with its pixels inflated."""
        inflated = None
        if header.format == "PNG" and self._zlib is not None:
            inflated = InflatedPNG.of(header.source, self._zlib)
        return cast("IO[bytes]", inflated or io.BytesIO(header.source))


def place_stored(size: tuple[int, int], turn: int, preset: Preset) -> Placement:
    """Where the preset takes its picture from, and its size: of the pixels as they are stored."""
    upright = (size[1], size[0]) if swaps_sides(turn) else size
    return to_stored(place(upright, preset), size, turn)


def check_pixels(pixels: int, limit: int, what: str) -> None:
    """Raise ImageTooLargeError for more than ``limit``; ``what``: whose pixels they are, with a verb."""
    if pixels > limit:
        raise ImageTooLargeError(
            f"{what} {pixels:,} pixels; the limit is {limit:,} (max_pixels)",
            unit="pixels",
            limit=limit,
            actual=pixels,
        )


def _on_canvas(image: Image.Image, header: Header) -> Image.Image:
    """The picture where it lies on its canvas."""
    canvas = Image.new("RGBA", (header.width, header.height))
    canvas.paste(image.convert("RGBA"), header.offset)
    return canvas
