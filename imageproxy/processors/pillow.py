"""The default image engine: Pillow decodes and encodes, one of two resizers resizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from PIL import Image

from imageproxy.errors import ConfigError, ImageTooLargeError
from imageproxy.presets import Preset

from ._animation import encode_frames, pictures
from ._colour import ToSRGB, flatten, resizable, straight, without_needless_alpha
from ._decoder import Decoder, check_pixels, place_stored
from ._encode import Effort, animation_options, checked_effort, encoded
from ._estimate import DecoderName, peak_bytes
from ._exif import orientation
from ._failing import failing_as, naming
from ._film import Film, read_film
from ._formats import READABLE, is_built_in, unsupported
from ._geometry import Placement
from ._headers import Header, read_header
from ._resize import Kernel, ResizerName, is_as_it_is, is_flattened_first, kernel_for, make_resizer, resize
from ._sniff import sniff

__all__ = ["PillowProcessor"]

# Raised by hand whenever the same input gives other bytes than before: it is part of every cache key.
_VERSION = "pillow-7"
_VERSION_OF_RESIZER: dict[ResizerName, str] = {"pillow": _VERSION, "simd": _VERSION + "s"}

_ANIMATION_LIMITS = 500, 50_000_000  # frames, and pixels of them all

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

# What is converted is converted a band of rows at a time.
_BAND_BYTES = 256 * 1024


class _Recipe(NamedTuple):
    """What is to be done with the pixels as they are stored: what to take of them and how, how to turn it, its colours.

    turn: the EXIF orientation.
    profile: the ICC profile.
    """

    placement: Placement
    turn: int
    profile: bytes | None
    kernel: Kernel


class PillowProcessor:
    """Turns photos into what presets ask for: JPEG (MPO, too), PNG, WebP, GIF and AVIF in; JPEG, PNG, WebP, AVIF out.

    max_pixels: the largest image that is decoded, and the largest that is made, width times height. Pillow's own limit
        (``PIL.Image.MAX_IMAGE_PIXELS``, 89 million unless the app set it) holds as well: over it Pillow warns, over
        twice that it refuses.
    max_decode_bytes: the most memory that one image may take, as ``estimate`` tells it by format and size. An AVIF of
        30 megapixels is over it, a WebP or a JPEG of 45 is not.
    max_frames: how many frames an animation may have.
    max_animation_pixels: how many pixels they may have together, as they are or as they are made, whichever is more. Of
        an animation over either limit the first frames that are within it are kept; if they are no two, a still image.
    effort: how long the encoders look for a smaller file of the same quality: ``"low"``, ``"medium"`` or ``"high"``.
        High makes files 4 to 6 % smaller in two to four times the time, low 8 to 16 % larger (JPEG: the same) in less.
    resizer: ``"auto"`` takes the SIMD resizer where the extra ``fast`` is installed (several times as fast), and
        Pillow's otherwise; ``"simd"`` and ``"pillow"`` say it outright.

    Pictures come out upright, in sRGB, without any metadata. Of an animation the first frame is shown, unless the
    preset is ``animated``: then GIF, WebP and animated PNG stay animations. Transparency is kept, and averaged rightly,
    where the preset's format has it, and laid on ``preset.background`` otherwise.

    Raises ConfigError for a bad option. Safe to use from several threads at once; holds no locks and no files.
    """

    def __init__(
        self,
        *,
        max_pixels: int = 50_000_000,
        max_decode_bytes: int = 400_000_000,
        max_frames: int = _ANIMATION_LIMITS[0],
        max_animation_pixels: int = _ANIMATION_LIMITS[1],
        effort: str = "medium",
        resizer: str = "auto",
    ) -> None:
        for option, value in (
            ("max_pixels", max_pixels),
            ("max_decode_bytes", max_decode_bytes),
            ("max_frames", max_frames),
            ("max_animation_pixels", max_animation_pixels),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(
                    f"{option} is {value!r}; it must be a whole number above 0", option=option, value=value
                )
        self._max_pixels = max_pixels
        self._max_decode_bytes = max_decode_bytes
        self._max_frames = max_frames
        self._max_animation_pixels = max_animation_pixels
        self._effort: Effort = checked_effort(effort)
        self._resizer = make_resizer(resizer)
        self._decoder = Decoder(self._resizer, max_pixels)
        self._to_srgb = ToSRGB()

    @property
    def resizer_name(self) -> ResizerName:
        """The resizer that runs: ``"pillow"`` or ``"simd"``."""
        return self._resizer.name

    @property
    def version(self) -> str:
        """Changes whenever the same input gives other bytes than before, be it by an option."""
        version = _VERSION_OF_RESIZER[self._resizer.name]
        if self._effort != "medium":
            version += f"-{self._effort}"
        limits = self._max_frames, self._max_animation_pixels
        return version if limits == _ANIMATION_LIMITS else f"{version}-{limits[0]}x{limits[1]}"

    def process(self, data: bytes, preset: Preset) -> bytes:
        """The picture in ``data`` as the preset describes it, encoded as ``preset.format``.

        Raises UnsupportedFormatError, whose ``format`` names what the bytes look like; ImageTooLargeError, in pixels;
        ProcessingError for a broken image, and for one that the preset's format cannot hold.
        """
        with naming(preset):
            return self._process(data, preset)

    def estimate(self, data: bytes, preset: Preset) -> int:
        """The bytes of memory that ``process(data, preset)`` takes at its peak, at most, and without ``data`` itself.

        Told from the header alone, in the time that copying ``data`` takes (of a lossless WebP from some more of it, in
        1 to 6 ms); the rest of the file may be broken. It counts what is in use: what malloc has not given back to the
        system from earlier work comes on top.

        Raises what ``process`` raises for a header that it refuses.
        """
        with naming(preset), failing_as("the image is broken"):
            header = self._read_header(data)
            return self._check_peak(header, preset, self._read_film(data, header, preset))

    def encode(self, image: Image.Image, preset: Preset) -> bytes:
        """Encode the finished picture. May be overridden, to draw on it first or to encode in another way.

        image: upright, in sRGB, of the preset's size, without metadata; L or RGB, or RGBA where the preset's format
            has transparency and the picture does.

        What it raises and is not an error of this library becomes a ProcessingError. A class that overrides this
        should override ``version``, too: what it draws is part of what is cached.
        """
        return encoded(image, preset, self._effort)

    def encode_frames(
        self, frames: Iterable[Image.Image], durations_ms: Sequence[int], plays: int, preset: Preset
    ) -> bytes:
        """Encode an animation, as ``encode`` does a still picture; may be overridden together with it.

        frames: each as ``encode`` gets it, made when it is asked for.
        durations_ms: how long each is shown, in milliseconds.
        plays: how often all of it is shown; 0 is for ever.
        """
        return encode_frames(frames, durations_ms, plays, animation_options(preset, self._effort))

    def _process(self, data: bytes, preset: Preset) -> bytes:
        with failing_as("the image is broken"):
            header = self._read_header(data)
            film = self._read_film(data, header, preset)
            self._check_peak(header, preset, film)
            if film is not None:
                del header
                return self._animate(film, preset)
            image, recipe = self._decode(header, preset)
            del header
        with failing_as(f"the image could not be made into {preset.name!r}"):
            for step in self._steps(recipe, preset):
                image = step(image)
            is_built_in(preset.format)
            return self.encode(image, preset)

    def _steps(self, recipe: _Recipe, preset: Preset) -> list[Callable[[Image.Image], Image.Image]]:
        """All between decoding and encoding; as steps, so that each picture is let go when the next one is there."""
        placement, turn, profile, kernel = recipe
        is_laid = _is_laid(preset, profile)
        return [
            lambda image: resize(self._resizer, image, *placement, kernel),
            lambda image: image if is_laid else straight(image),
            lambda image: self._to_srgb.convert(image, profile),
            lambda image: image.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else image,
            lambda image: (
                flatten(image, preset.background) if preset.format == "jpeg" else without_needless_alpha(image)
            ),
            _without_info,
        ]

    def _animate(self, film: Film, preset: Preset) -> bytes:
        turn = orientation(film.exif)
        placement = place_stored(film.size, turn, preset)
        self._check_result(placement, preset)
        is_built_in(preset.format)
        recipe = _Recipe(placement, turn, film.icc_profile, kernel_for(self._resizer.name, preset, placement))
        frames = self._frames(film, self._steps(recipe, preset))
        return self.encode_frames(frames, [frame.duration_ms for frame in film.frames], film.plays, preset)

    def _frames(self, film: Film, steps: list[Callable[[Image.Image], Image.Image]]) -> Iterator[Image.Image]:
        for canvas in pictures(film):
            # The canvas is drawn on further, and the SIMD resizer premultiplies in place.
            image = self._resizable(canvas.copy() if self._resizer.name == "simd" else canvas)
            for step in steps:
                image = step(image)
            yield image

    def _read_film(self, data: bytes, header: Header, preset: Preset) -> Film | None:
        """The animation, as much of it as the limits allow; ``None`` where a still picture is to be made."""
        if not preset.animated:
            return None
        stored = _size(header)
        pixels = max(_pixels(place_stored(stored, turn, preset)) for turn in _possible_turns(header))
        most = self._max_animation_pixels // max(stored[0] * stored[1], pixels)
        film = read_film(data, header, min(self._max_frames, most))
        while film is not None and self._peak(header, preset, film) > self._max_decode_bytes:
            film = film.cut(len(film.frames) * 3 // 4)
        return film

    def _read_header(self, data: bytes) -> Header:
        kind = sniff(data)
        if kind not in READABLE or not is_built_in(kind):
            raise unsupported(kind)
        header = read_header(data, kind)
        # Before Pillow opens the file: opening alone can allocate by the size that it declares.
        check_pixels(header.width * header.height, self._max_pixels, "the image has")
        return header

    def _peak(self, header: Header, preset: Preset, film: Film | None) -> int:
        """The memory that this will take, in bytes."""
        placements = [place_stored(_size(header), turn, preset) for turn in _possible_turns(header)]
        self._check_result(min(placements, key=_pixels), preset)
        decoder: DecoderName = "libwebp" if self._decoder.is_direct(header) else "pillow"
        return max(
            peak_bytes(header, preset, place, film, decoder=decoder, resizer=self._resizer.name, effort=self._effort)
            for place in placements
        )

    def _check_peak(self, header: Header, preset: Preset, film: Film | None) -> int:
        """The same, refused where it is too much."""
        peak = self._peak(header, preset, film)
        if peak > self._max_decode_bytes:
            raise ImageTooLargeError(
                f"this {header.format} would take about {peak:,} bytes of memory; the limit is "
                f"{self._max_decode_bytes:,} (max_decode_bytes)",
                unit="bytes",
                limit=self._max_decode_bytes,
                actual=peak,
            )
        return peak

    def _decode(self, header: Header, preset: Preset) -> tuple[Image.Image, _Recipe]:
        """The pixels as they are stored, in a mode that can be resized, and what to do with them."""
        image, stored, turn, profile, draft = self._decoder.decode(header, preset)
        placement = place_stored(stored, turn, preset)
        self._check_result(placement, preset)
        kernel = kernel_for(self._resizer.name, preset, placement, header.detail, draft)
        is_laid = _is_laid(preset, profile)
        is_flat = is_laid and is_flattened_first(self._resizer.name, placement, stored)
        background = preset.background if is_flat else None
        left, top, right, bottom = (side / draft for side in placement.box)
        placement = Placement(placement.size, (left, top, right, bottom))
        if image.mode != "RGBA" or not is_as_it_is(*placement) or is_laid:
            image = self._resizable(image, background)
        return image, _Recipe(placement, turn, profile, kernel)

    def _resizable(self, image: Image.Image, background: str | None = None) -> Image.Image:
        """The image in a mode that can be resized, what is transparent laid on ``background`` if there is one.

        ``image`` itself may be changed.
        What Pillow has no direct way for is made in bands of rows: on the way it takes an image or two.
        """
        width, height = image.size
        band = max(1, _BAND_BYTES // (4 * width))
        if image.mode == "RGBA":
            # To the SIMD resizer it is all the same how many channels there are.
            if background is None and self._resizer.name == "simd":
                return self._resizer.premultiplied(image)
            if without_needless_alpha(image.crop((0, 0, width, min(band, height)))).mode == "RGB":
                image = without_needless_alpha(image)  # which most are that begin so
            if image.mode == "RGBA":
                image = flatten(image, background) if background is not None else self._resizer.premultiplied(image)
            return image
        result: Image.Image | None = None
        for top in range(0, height, band):
            part = resizable(image.crop((0, top, width, min(top + band, height))))
            if part.mode == "RGBA":
                part = flatten(part, background) if background is not None else self._resizer.premultiplied(part)
            if part.mode == image.mode:
                return image
            if result is None:
                result = Image.new(part.mode, image.size)
            result.paste(part, (0, top))
        return result or image

    def _check_result(self, placement: Placement, preset: Preset) -> None:
        check_pixels(_pixels(placement), self._max_pixels, f"made into {preset.name!r} the image would have")


def _is_laid(preset: Preset, profile: bytes | None) -> bool:
    """Whether what is transparent is laid on the background while premultiplied: but for colours that are to change."""
    return preset.format == "jpeg" and profile is None


def _pixels(placement: Placement) -> int:
    return placement.size[0] * placement.size[1]


def _size(header: Header) -> tuple[int, int]:
    return header.width, header.height


def _without_info(image: Image.Image) -> Image.Image:
    image.info = {}  # some encoders write what stands in here
    return image


def _possible_turns(header: Header) -> tuple[int, ...]:
    """The EXIF orientations to reckon with before the file is decoded; of AVIF only its decoder can tell."""
    return (1, 6) if header.format == "AVIF" and b"irot" in header.source else (orientation(header.exif),)
