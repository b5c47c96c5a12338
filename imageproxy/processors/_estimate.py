"""How much memory a picture takes at the peak, told from its header. Pure arithmetic, nothing is decoded.

Each coefficient is in bytes per pixel unless it says otherwise. They were measured as resident memory, with Pillow 13.0
(libjpeg-turbo 3.2, libwebp 1.6, dav1d 1.5, aom 3.14) on Linux, by ``benchmarks/memory.py``, and agree with what the
sources of the codecs say of their buffers. They are the most that a codec can be made to take. Of what depends on the
picture, noise takes the most.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from struct import unpack_from
from typing import Literal, NamedTuple

from imageproxy.presets import Preset

from ._colour import BAND_PIXELS
from ._cut import needed_rows
from ._encode import Effort, animation_options, has_full_chroma, webp_method
from ._film import Film
from ._foreign import CAN_BE_COLOUR
from ._geometry import Placement, draft_factor
from ._headers import Header
from ._inflated import READ_BYTES
from ._resize import ResizerName, is_flattened_first, strip_rows

__all__ = ["DecoderName", "peak_bytes"]

DecoderName = Literal["pillow", "libwebp"]

# Whatever the size: objects, the codecs' tables and rows in work, the bands of ``pillow.py``, what malloc rounds up.
_FLOOR_BYTES = 2 * 1024**2

# What was in use before and lies between what is in use now, malloc keeps: the file, and of images a block of theirs.
_BLOCK_BYTES = 16 * 1024**2

# What Pillow stores: a byte for grey, a bit or an index into a palette; two for grey of 16 bits; four for all the rest.
_GREY, _GREY_16, _COLOUR = 1, 2, 4

# JPEG: a decoder that needs every scan before it knows a pixel keeps all coefficients, two bytes each; measured 3.1 in
# 4:2:0, 6.1 in 4:4:4, 8.1 in CMYK, drafted or not. Otherwise, rows: 20 per pixel of the width with four components.
_COEFFICIENT_BYTES = 2
_JPEG_ROWS = 32
_SOS = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})

# PNG: two rows of at most 16 bits in four channels. A transparent colour of 16 bits is looked for in both halves of
# each channel: the picture twice, its bands, and what of them differs.
_PNG_ROWS = 16
# Inflating piece by piece (``_inflated.py``) leaves holes in the heap: measured 8.3 MB after a file of 12 MB.
_PNG_HOLES_BYTES = 9_000_000
_PNG_READS = 2  # of what it inflated: one that is being made, one that Pillow works on
_KEYED = 28

# GIF: the picture before the frame is drawn, and what it is to be replaced with afterwards.
_GIF_CANVASES = 2

# WebP: libwebp's decoder of animations, the only one that Pillow has, holds two canvases in RGBA. One of them is copied
# into bytes, and those into the image: measured 16.0, with losses or without, with transparency or without. Asked
# itself, libwebp holds nothing but rows beside the image; without losses, or for transparency, a picture in ARGB; and
# the transparency.
_WEBP_CANVASES = 8
_WEBP_LOSSLESS, _WEBP_ALPHA_PLANE, _WEBP_ROWS = 4, 1, 256
_WEBP_TRANSPARENT = frozenset({b"VP8L", b"VP8X"})  # a still picture's first chunk, as ``_headers`` leaves it

# AVIF: dav1d's frame has 1.5 for 8 bits in 4:2:0, twice that with film grain or where libavif scales or joins tiles,
# and 6 for 12 bits in 4:4:4. Only the AV1 stream knows, whatever the boxes around it declare: so 6, and 2 for alpha.
# The decoder's states for blocks and filters: measured 0.4 to 0.6. Both stay until the image is let go.
_AVIF_FRAME, _AVIF_ALPHA_FRAME, _AVIF_STATES = 6, 2, 0.6

# Resizing: what is as wide as the result and as high as the source, in strips; see ``_resize.py``. Pillow's own resizer
# averages first where it shrinks four times or more: at most as much again.
_AVERAGED_FROM = 4

# What the encoders take beside the picture.
#   JPEG   Its result, twice: of noise 0.8 at quality 90, in 4:4:4 at 100 up to 5.5, of grey 2. Progressive, or with
#          optimized tables: also its coefficients, two bytes each. Encoded again, where the files are small: these.
#   PNG    Its result, three times while it grows. Noise is not compressed.
#   WebP   Pixels as ARGB (4) and YUV (1.5), the result; grey is turned into RGB. From method 3 it
#          keeps what it is to write: 25 for noise, 6 to 14 for photos.
#          Transparency has an encoder of its own: 38.8 for noise, 21 to 25 for drawings and photos.
#   AVIF   Pixels as bytes and as RGB (6) and YUV (1.5); then aom's copy, references and statistics. It takes nearly the
#          same for all pictures and qualities: 17 to 21.4 for grey, 26 to 28.5 for colour, 29 to 35 with alpha; 42 to
#          46 and 45 to 49 in 4:4:4.
_JPEG, _JPEG_FINE, _JPEG_FINE_GREY, _JPEG_COEFFICIENTS = 2.0, 11.2, 4.4, 3.2
_JPEG_SMOOTH = 3.6
_PNG_COPIES = 3
_WEBP, _WEBP_TOKENS, _WEBP_ALPHA, _WEBP_KEEPS_FROM = 8.5, 32.5, 39.5, 3
_AVIF_GREY, _AVIF_COLOUR, _AVIF_ALPHA = 22.0, 29.5, 36.0
_AVIF_FINE_COLOUR, _AVIF_FINE_ALPHA = 47.0, 50.0

# Animations: the canvas, and what a frame covers of it. A frame while it is decoded. libwebp's encoder holds four
# canvases and a picture in work: measured 25. It keeps all that it has written, at the end nearly four times: of noise
# with transparency, 1 for each frame up to quality 95, and 3 over that.
_CANVASES = 8
_FRAME = {"GIF": 5, "PNG": 8, "WEBP": 20}
_FILM_ENCODER, _FILM_TOKENS = 38.0, 24.0
_FILM_OUTPUT, _FILM_FINE_OUTPUT, _FILM_FINE_QUALITY = 3.8, 11.4, 96


class _Picture(NamedTuple):
    """What a header tells of a picture. Sizes in bytes.

    loading: the most while it is decoded, and made into a mode that can be resized.
    converted: of this, what the image takes that is made for that; in place, the SIMD resizer needs none.
    resizing: what is held while it is resized, beyond the file and the result.
    pixel: of one pixel then, and of the result.
    has_alpha: whether the result can have transparency.
    has_profile: whether colours are converted by an ICC profile.
    """

    loading: float
    resizing: float
    pixel: int
    has_alpha: bool
    has_profile: bool
    converted: float = 0


def peak_bytes(
    header: Header,
    preset: Preset,
    placement: Placement,
    film: Film | None = None,
    *,
    decoder: DecoderName,
    resizer: ResizerName,
    effort: Effort,
) -> int:
    """The bytes of memory that the picture takes at the peak of its processing, beyond the file; at most.

    placement: on the stored pixels, before any draft.
    film: where the picture is to be an animation.
    decoder: who decodes it, if there is no film.
    """
    averages = resizer == "pillow"
    if film is not None:
        return _FLOOR_BYTES + ceil(_animating(header, preset, placement, film, averages, effort))
    factor = draft_factor(placement, preset, header.detail) if header.format == "JPEG" else 1
    picture = (_webp_by_libwebp if decoder == "libwebp" else _READERS[header.format])(header, factor)
    width, height = placement.size
    pixels = width * height
    result = pixels * picture.pixel
    loading = picture.loading
    is_flat = preset.format == "jpeg" and is_flattened_first(resizer, placement, (header.width, header.height))
    if resizer == "simd" and not is_flat:
        loading -= picture.converted
    return _FLOOR_BYTES + ceil(
        max(
            loading,
            header.source_bytes
            + picture.resizing
            + result
            + _resizing(header, placement, factor, picture.pixel, averages),
            _finishing(picture, pixels),
            result + pixels * _encoding(picture, preset, effort),
        )
    )


def _jpeg(header: Header, factor: int) -> _Picture:
    source = header.parts[0]
    at = 2
    kind, frame_at = 0, 0
    while (marker := source[at + 1]) != _SOS:
        if marker in _FRAMES:
            kind, frame_at = marker, at + 4
        at += 2 + int.from_bytes(source[at + 2 : at + 4], "big")
    height, width, components = unpack_from(">HHB", source, frame_at + 1)
    pixel = _GREY if components == 1 else _COLOUR
    image = ceil(width / factor) * ceil(height / factor) * pixel
    work = width * _JPEG_ROWS
    if kind in _PROGRESSIVE or source[at + 4] < components:
        sampling = source[frame_at + 7 : frame_at + 6 + 3 * components : 3]
        across = max((each >> 4 for each in sampling), default=1) or 1
        down = max((each & 0xF for each in sampling), default=1) or 1
        blocks = sum((each >> 4) * (each & 0xF) for each in sampling)
        groups = ceil(width / (8 * across)) * ceil(height / (8 * down))
        work += groups * blocks * 64 * _COEFFICIENT_BYTES
    has_profile = header.icc_profile is not None
    return _Picture(header.source_bytes + work + image, image, pixel, has_alpha=False, has_profile=has_profile)


def _png(header: Header, _factor: int) -> _Picture:
    source = header.source
    pixels = header.width * header.height
    bits, colours = source[24], source[25]  # IHDR, as the reader made sure
    # Looked for in names and values, too: a wrong find is rare, and only makes the estimate higher.
    has_alpha = (
        colours in {4, 6} or source.find(b"tRNS", 0, source.find(b"IDAT")) >= 0 or header.transparent is not None
    )
    is_grey = colours == 0
    stored = (_GREY_16 if bits == 16 else _GREY) if is_grey else _GREY if colours == 3 else _COLOUR
    pixel = _GREY if is_grey and not has_alpha else _COLOUR
    is_converted = has_alpha or colours == 3 or (is_grey and bits in {1, 16})
    converted = pixel if is_converted else 0
    if header.transparent is not None:
        stored, converted, pixel = _KEYED, 0, _COLOUR
    loading = len(source) + header.width * _PNG_ROWS + pixels * (stored + converted)
    holes = min(len(source), _PNG_HOLES_BYTES) + min(pixels * stored, _PNG_READS * READ_BYTES)
    in_place = converted * pixels if colours == 6 else 0
    has_profile = header.icc_profile is not None
    return _Picture(loading + holes, pixels * pixel + holes, pixel, has_alpha, has_profile, in_place)


def _gif(header: Header, _factor: int) -> _Picture:
    pixels = header.width * header.height
    loading = header.source_bytes + pixels * (_GIF_CANVASES * _GREY + _COLOUR)
    if header.offset is not None:  # it is laid on its canvas
        loading += pixels * 2 * _COLOUR
    return _Picture(loading, pixels * _COLOUR, _COLOUR, has_alpha=True, has_profile=False)


def _webp_by_libwebp(header: Header, _factor: int) -> _Picture:
    source = header.source
    pixels = header.width * header.height
    has_alpha = source[12:16] in _WEBP_TRANSPARENT
    image = _COLOUR if CAN_BE_COLOUR else _COLOUR + 3
    plane = 0 if source[12:16] == b"VP8L" else _WEBP_ALPHA_PLANE
    work = header.width * _WEBP_ROWS + pixels * (_WEBP_LOSSLESS + plane if has_alpha else 0)
    converted = pixels * _COLOUR if has_alpha else 0
    profile = len(header.icc_profile or b"")
    loading = len(source) + profile + pixels * image + max(work + header.side_bytes, converted)
    resizing = profile + pixels * _COLOUR
    return _Picture(loading, resizing, _COLOUR, has_alpha, profile > 0, max(0, converted - work - header.side_bytes))


def _webp(header: Header, _factor: int) -> _Picture:
    source = header.source
    pixels = header.width * header.height
    # In an animation, looked for everywhere: a wrong find is rare, and only makes the estimate higher.
    has_alpha = source[12:16] in _WEBP_TRANSPARENT or (
        header.is_animated and any(word in source for word in (b"VP8L", b"ALPH"))
    )
    loading = len(source) + header.side_bytes + pixels * (_WEBP_CANVASES + 2 * _COLOUR)
    if has_alpha:  # the bytes are let go before the image is converted, but malloc may keep them
        loading += min(pixels * _COLOUR, _BLOCK_BYTES)
    loading = max(loading, 2 * len(source))  # the decoder's copy, and one more while the file is opened
    resizing = pixels * (_WEBP_CANVASES + _COLOUR)
    return _Picture(loading, resizing, _COLOUR, has_alpha, has_profile=header.icc_profile is not None)


def _avif(header: Header, _factor: int) -> _Picture:
    source = header.source
    pixels = header.width * header.height
    has_alpha = b"auxC" in source
    decoder = pixels * (_AVIF_FRAME + _AVIF_STATES + (_AVIF_ALPHA_FRAME if has_alpha else 0))
    # The pixels as bytes, which are read from there into the image.
    loading = len(source) + decoder + pixels * ((4 if has_alpha else 3) + _COLOUR)
    resizing = decoder + pixels * _COLOUR
    has_profile = any(word in source for word in (b"colrprof", b"colrrICC"))
    return _Picture(loading, resizing, _COLOUR, has_alpha, has_profile)


_READERS: dict[str, Callable[[Header, int], _Picture]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "WEBP": _webp,
    "AVIF": _avif,
}


def _resizing(header: Header, placement: Placement, factor: int, pixel: int, averages: bool) -> float:
    """Bytes, beyond the image and the result."""
    width, height = placement.size
    left, top, right, bottom = (side / factor for side in placement.box)
    if (right - left, bottom - top) == placement.size:
        return 0.0
    rows_per_row = (bottom - top) / height
    # Fewer rows may be decoded, and of a small source larger strips are made.
    source = ceil(header.width / factor), ceil(needed_rows(header, placement) / factor)
    strip = strip_rows(source, placement.size, rows_per_row)
    part = width * min(strip, height) * pixel
    between = part * rows_per_row * (2 if averages and rows_per_row >= _AVERAGED_FROM else 1)
    return between + (part if strip < height else 0)


def _finishing(picture: _Picture, pixels: int) -> int:
    """Bytes: two images at a time; with a profile three, and those of grey are in colour on the way. To lay what is
    transparent on a background, five as large as a band.
    """
    images = pixels * (2 * _COLOUR + picture.pixel if picture.has_profile else 2 * picture.pixel)
    laid = min(pixels, BAND_PIXELS) * 5 * _COLOUR if picture.has_alpha else 0
    return images + laid + min(pixels * picture.pixel, _BLOCK_BYTES)


def _encoding(picture: _Picture, preset: Preset, effort: Effort) -> float:
    """Bytes per pixel, beyond the picture."""
    has_alpha, is_grey = picture.has_alpha, picture.pixel == _GREY
    is_fine = has_full_chroma(preset)
    if preset.format == "jpeg":
        if is_fine and not is_grey:
            return _JPEG_FINE
        output = _JPEG_FINE_GREY if is_fine else _JPEG
        if preset.progressive or effort == "high":
            return output + _JPEG_COEFFICIENTS
        return max(output, _JPEG_SMOOTH) if effort == "medium" else output
    if preset.format == "png":
        return _PNG_COPIES * (1 if is_grey else 4 if has_alpha else 3)
    if preset.format == "webp":
        if has_alpha:
            return _WEBP_ALPHA
        keeps = webp_method(preset, effort, has_alpha=has_alpha) >= _WEBP_KEEPS_FROM
        return (_WEBP_TOKENS if keeps else _WEBP) + (_COLOUR if is_grey else 0)
    if is_grey:
        return _AVIF_GREY
    if is_fine:
        return _AVIF_FINE_ALPHA if has_alpha else _AVIF_FINE_COLOUR
    return _AVIF_ALPHA if has_alpha else _AVIF_COLOUR


def _animating(
    header: Header, preset: Preset, placement: Placement, film: Film, averages: bool, effort: Effort
) -> float:
    """Bytes: the canvas, a frame beside it, the encoder with all that it has written."""
    source = header.width * header.height
    pixels = placement.size[0] * placement.size[1]
    frames = [sum(map(len, frame.parts)) for frame in film.frames]
    files = header.source_bytes + 2 * max(frames) + (sum(frames) if film.format == "PNG" else 0)
    decoding = source * (_FRAME[film.format] + _COLOUR) + max(frame.side_bytes for frame in film.frames)
    resizing = source * _COLOUR + _resizing(header, placement, 1, _COLOUR, averages) + 4 * pixels * _COLOUR
    encoder = _FILM_ENCODER + (_FILM_TOKENS if animation_options(preset, effort)["method"] >= _WEBP_KEEPS_FROM else 0)
    written = len(frames) * (_FILM_FINE_OUTPUT if preset.quality >= _FILM_FINE_QUALITY else _FILM_OUTPUT)
    return files + source * _CANVASES + max(decoding, resizing) + pixels * (encoder + written)
