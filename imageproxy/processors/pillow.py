"""The default image engine: Pillow decodes and encodes, one of two resizers resizes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from PIL import Image, UnidentifiedImageError

from imageproxy.errors import (
    ConfigError,
    ImageProxyError,
    ImageTooLargeError,
    ProcessingError,
    UnsupportedFormatError,
)
from imageproxy.presets import Preset

from ._colour import ToSRGB, flatten, resizable, straight, without_needless_alpha
from ._estimate import peak_bytes
from ._exif import orientation
from ._geometry import Placement, draft_factor, place, swaps_sides, to_stored
from ._headers import Header, read_header
from ._resize import ResizerName, make_resizer, resize
from ._sniff import sniff

__all__ = ["PillowProcessor"]

# Raised by hand whenever the same input gives other bytes than before: it is part of every cache key.
_VERSION = "pillow-1"
_VERSION_OF_RESIZER: dict[ResizerName, str] = {"pillow": _VERSION, "simd": _VERSION + "s"}

_READABLE = frozenset({"jpeg", "png", "gif", "webp", "avif"})

# What Pillow does not load before it is asked for; and asked for one of these, it would load all of its forty.
_PLUGINS = {"webp": "PIL.WebPImagePlugin", "avif": "PIL.AvifImagePlugin"}

# What undoes each EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Encoders, measured on photos and drawings of 1000 and 360 pixels:
#   JPEG   optimized tables save 1 % and double the time, progressive saves 4 % and takes five times as long.
#   WebP   methods 4 and 5 save at most 3 % over 3. Method 2 takes half the time for 1 to 3 % more bytes, but 40 % more
#          at quality 100, and up to 7 % more with transparency.
#   PNG    level 6, the default, saves at most 2 % over 4 and takes up to twice as long.
#   AVIF   speed 6, the default, saves 1 % over 8 and takes twice as long; 9 takes a quarter, but makes drawings half as
#          large again. One thread, for as many images are under way as there are processors.
_WEBP_FAST_QUALITY = 95
_PNG_LEVEL = 4
_AVIF_SPEED = 8

# What is converted is converted a band of rows at a time.
_BAND_BYTES = 256 * 1024


class PillowProcessor:
    """Turns photos into what presets ask for: JPEG (MPO, too), PNG, WebP, GIF and AVIF in; JPEG, PNG, WebP, AVIF out.

    max_pixels: the largest image that is decoded, and the largest that is made, width times height. Pillow's own limit
        (``PIL.Image.MAX_IMAGE_PIXELS``, 89 million unless the app set it) holds as well: over it Pillow warns, over
        twice that it refuses.
    max_decode_bytes: the most memory that one image may take, as ``estimate`` tells it by format and size: a WebP of 24
        megapixels is over it, a photo of 50 as a JPEG is not.
    resizer: ``"auto"`` takes the SIMD resizer where the extra ``fast`` is installed (several times as fast), and
        Pillow's otherwise; ``"simd"`` and ``"pillow"`` say it outright.

    Pictures come out upright, in sRGB, without any metadata. Of an animation the first frame is shown. Transparency is
    kept, and averaged rightly, where the preset's format has it, and laid on ``preset.background`` otherwise.

    Raises ConfigError for a bad option. Safe to use from several threads at once; holds no locks and no files.
    """

    def __init__(
        self, *, max_pixels: int = 50_000_000, max_decode_bytes: int = 400_000_000, resizer: str = "auto"
    ) -> None:
        for option, value in (("max_pixels", max_pixels), ("max_decode_bytes", max_decode_bytes)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(
                    f"{option} is {value!r}; it must be a whole number above 0", option=option, value=value
                )
        self._max_pixels = max_pixels
        self._max_decode_bytes = max_decode_bytes
        self._resizer = make_resizer(resizer)
        self._to_srgb = ToSRGB()

    @property
    def resizer_name(self) -> ResizerName:
        """The resizer that runs: ``"pillow"`` or ``"simd"``."""
        return self._resizer.name

    @property
    def version(self) -> str:
        """Changes whenever the same input gives other bytes than before; the two resizers have one each."""
        return _VERSION_OF_RESIZER[self._resizer.name]

    def process(self, data: bytes, preset: Preset) -> bytes:
        """The picture in ``data`` as the preset describes it, encoded as ``preset.format``.

        Raises UnsupportedFormatError, whose ``format`` names what the bytes look like; ImageTooLargeError, in pixels;
        ProcessingError for a broken image, and for one that the preset's format cannot hold.
        """
        with _naming(preset):
            return self._process(data, preset)

    def estimate(self, data: bytes, preset: Preset) -> int:
        """The bytes of memory that ``process(data, preset)`` takes at its peak, at most, and without ``data`` itself.

        Told from the header alone, in the time that copying ``data`` takes; the rest of the file may be broken. It
        counts what is in use: what malloc has not given back to the system from earlier work comes on top.

        Raises what ``process`` raises for a header that it refuses.
        """
        with _naming(preset), _failing_as("the image is broken"):
            return self._check_peak(self._read_header(data), preset)

    def encode(self, image: Image.Image, preset: Preset) -> bytes:
        """Encode the finished picture. May be overridden, to draw on it first or to encode in another way.

        image: upright, in sRGB, of the preset's size, without metadata; L or RGB, or RGBA where the preset's format
            has transparency and the picture does.

        What it raises and is not an error of this library becomes a ProcessingError. A class that overrides this
        should override ``version``, too: what it draws is part of what is cached.
        """
        buffer = io.BytesIO()
        image.save(buffer, preset.format, **_options(image, preset))
        return buffer.getvalue()

    def _process(self, data: bytes, preset: Preset) -> bytes:
        with _failing_as("the image is broken"):
            header = self._read_header(data)
            self._check_peak(header, preset)
            image, placement, turn, profile = self._decode(header, preset)
            del header
        with _failing_as(f"the image could not be made into {preset.name!r}"):
            image = resize(self._resizer, image, *placement)
            image = straight(image)
            image = self._to_srgb.convert(image, profile)
            if turn in _UPRIGHT:
                image = image.transpose(_UPRIGHT[turn])
            image = flatten(image, preset.background) if preset.format == "jpeg" else without_needless_alpha(image)
            image.info = {}  # some encoders write what stands in here
            _is_built_in(preset.format)
            return self.encode(image, preset)

    def _read_header(self, data: bytes) -> Header:
        kind = sniff(data)
        if kind not in _READABLE or not _is_built_in(kind):
            raise _unsupported(kind)
        header = read_header(data, kind)
        # Before Pillow opens the file: opening alone can allocate by the size that it declares.
        self._check_pixels(header.width * header.height, "the image has")
        return header

    def _check_peak(self, header: Header, preset: Preset) -> int:
        """The memory that this will take, in bytes; refused where it is too much."""
        stored = header.width, header.height
        placements = [_place(stored, turn, preset) for turn in _possible_turns(header)]
        self._check_result(min(placements, key=_pixels), preset)
        averages = self._resizer.name == "pillow"
        peak = max(peak_bytes(header, preset, placement, averages=averages) for placement in placements)
        if peak > self._max_decode_bytes:
            raise ImageTooLargeError(
                f"this {header.format} would take about {peak:,} bytes of memory; the limit is "
                f"{self._max_decode_bytes:,} (max_decode_bytes)",
                unit="bytes",
                limit=self._max_decode_bytes,
                actual=peak,
            )
        return peak

    def _decode(self, header: Header, preset: Preset) -> tuple[Image.Image, Placement, int, bytes | None]:
        """The pixels as they are stored, what to take of them, their EXIF orientation, their ICC profile."""
        # Closed by hand: some of Pillow's images hold on to their file.
        with io.BytesIO(header.source) as file, Image.open(file, formats=[header.format]) as opened:
            self._check_pixels(opened.width * opened.height, "the image has")
            turn = orientation(header.exif or opened.info.get("exif"))
            placement = _place(opened.size, turn, preset)
            self._check_result(placement, preset)
            placement = _draft(opened, placement, preset.quality)
            opened.load()
            profile = header.icc_profile or opened.info.get("icc_profile")
            return _resizable(opened), placement, turn, profile

    def _check_result(self, placement: Placement, preset: Preset) -> None:
        self._check_pixels(_pixels(placement), f"made into {preset.name!r} the image would have")

    def _check_pixels(self, pixels: int, what: str) -> None:
        if pixels > self._max_pixels:
            raise ImageTooLargeError(
                f"{what} {pixels:,} pixels; the limit is {self._max_pixels:,} (max_pixels)",
                unit="pixels",
                limit=self._max_pixels,
                actual=pixels,
            )


def _place(stored: tuple[int, int], turn: int, preset: Preset) -> Placement:
    width, height = stored
    upright = (height, width) if swaps_sides(turn) else stored
    return to_stored(place(upright, preset), stored, turn)


def _pixels(placement: Placement) -> int:
    return placement.size[0] * placement.size[1]


def _possible_turns(header: Header) -> tuple[int, ...]:
    """The EXIF orientations to reckon with before Pillow has opened the file; of some formats only it can tell."""
    hint = {"WEBP": b"EXIF", "AVIF": b"irot"}.get(header.format)
    return (1, 6) if hint is not None and hint in header.source else (orientation(header.exif),)


def _draft(opened: Image.Image, placement: Placement, quality: int) -> Placement:
    """Have a JPEG decoded smaller where that does not show; returns the placement on what will be decoded."""
    factor = draft_factor(placement, quality)
    if opened.format not in ("JPEG", "MPO") or factor == 1:
        return placement
    opened.draft(None, (opened.width // factor, opened.height // factor))
    left, top, right, bottom = (side / factor for side in placement.box)
    return Placement(placement.size, (left, top, right, bottom))


def _resizable(image: Image.Image) -> Image.Image:
    """``resizable(image)``, made in bands of rows: what it makes on the way takes as much memory as an image or two."""
    width, height = image.size
    band = max(1, _BAND_BYTES // (4 * width))
    result: Image.Image | None = None
    for top in range(0, height, band):
        part = resizable(image.crop((0, top, width, min(top + band, height))))
        if part.mode == image.mode:
            return image
        if result is None:
            result = Image.new(part.mode, image.size)
        result.paste(part, (0, top))
    return result or image


def _options(image: Image.Image, preset: Preset) -> dict[str, Any]:
    if preset.format == "jpeg":
        return {"quality": preset.quality, "subsampling": "4:2:0"}
    if preset.format == "png":
        return {"compress_level": _PNG_LEVEL}
    if preset.format == "webp":
        is_fast = preset.quality <= _WEBP_FAST_QUALITY and image.mode != "RGBA"
        return {"quality": preset.quality, "method": 2 if is_fast else 3}
    return {"quality": preset.quality, "speed": _AVIF_SPEED, "max_threads": 1}


def _is_built_in(kind: str) -> bool:
    """Whether this Pillow has the format; one that was built from source may not. Loads what reads and writes it."""
    return kind not in _PLUGINS or bool(import_module(_PLUGINS[kind]).SUPPORTED)


def _unsupported(kind: str) -> UnsupportedFormatError:
    read = "; JPEG, PNG, WebP, GIF and AVIF are read"
    if kind == "empty":
        return UnsupportedFormatError("the blob has no bytes" + read, format=kind)
    if kind == "unknown":
        return UnsupportedFormatError("the bytes are no image of a known format" + read)
    if kind in _READABLE:
        return UnsupportedFormatError(f"the image is a {kind}, which this Pillow was built without", format=kind)
    return UnsupportedFormatError(f"the bytes look like {kind}" + read, format=kind)


@contextmanager
def _naming(preset: Preset) -> Iterator[None]:
    """The errors of this library tell the preset."""
    try:
        yield
    except ImageProxyError as error:
        error.preset = error.preset or preset.name
        raise


@contextmanager
def _failing_as(what: str) -> Iterator[None]:
    """Nothing of Pillow's leaves the library, and on broken files it raises nearly everything there is."""
    try:
        yield
    except ImageProxyError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(
            f"the image is over Pillow's own limit, PIL.Image.MAX_IMAGE_PIXELS: {error}",
            unit="pixels",
            limit=Image.MAX_IMAGE_PIXELS,
        ) from error
    except UnidentifiedImageError as error:  # whose message names the address of an object
        raise ProcessingError(f"{what}: it is not what its first bytes say") from error
    except Exception as error:
        raise ProcessingError(f"{what}: {type(error).__name__}: {error}") from error
