"""An image engine of one's own: libvips, which streams a photo through in rows.

    pip install atproto-imageproxy "pyvips[binary]"
    python examples/pyvips_engine.py

``VipsProcessor`` inherits nothing: it is a Processor because it has ``process``. It adds a ``version``, so that a cache
never mixes its images with another engine's, and ``estimate``, so that the service can bound the memory of what is
decoded at once. Of animations it shows the first frame. Try an engine of yours with
``imageproxy.testing.ProcessorContract``, as ``tests/processors/correctness`` does with this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyvips

from imageproxy import (
    DEFAULT,
    FitMode,
    ImageTooLargeError,
    Preset,
    ProcessingError,
    UnsupportedFormatError,
    create_service,
)
from imageproxy.testing import LocalPDS, drawn_photos

# By how a file begins, the one loader that may see it. libvips has forty more, some of which read SVG, PDF, or whatever
# ImageMagick does; left to choose, it would give strangers all of them.
LOADERS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (lambda data: data[:3] == b"\xff\xd8\xff", "jpegload_buffer"),
    (lambda data: data[:8] == b"\x89PNG\r\n\x1a\n", "pngload_buffer"),
    (lambda data: data[:6] in {b"GIF87a", b"GIF89a"}, "gifload_buffer"),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", "webpload_buffer"),
    (lambda data: data[4:12] in {b"ftypavif", b"ftypavis"}, "heifload_buffer"),
)

# Loading, a float each while transparency is averaged, the result and its encoder.
SOURCE_BYTES_PER_PIXEL, RESULT_BYTES_PER_PIXEL, OTHER_BYTES = 12, 50, 8_000_000


def prepare_libvips() -> None:
    """Settings of the whole process, so the app makes them, once, before the first image.

    No cache of operations, which would keep pictures for nobody; one thread for each image, since the service works on
    as many images as there are processors; and no loader that libvips itself thinks unfit for strangers' files.
    """
    pyvips.cache_set_max(0)
    pyvips.voperation.concurrency_set(1)
    pyvips.block_untrusted_set(True)  # noqa: FBT003 - it takes no name


class VipsProcessor:
    """Turns JPEG, PNG, GIF, WebP and AVIF into what presets ask for, with libvips. Safe to use from several threads.

    max_pixels: the largest image that is decoded or made, width times height.
    """

    def __init__(self, *, max_pixels: int = 50_000_000) -> None:
        self._max_pixels = max_pixels

    @property
    def version(self) -> str:
        """Another libvips makes other bytes."""
        return f"vips-1-{pyvips.version(0)}.{pyvips.version(1)}.{pyvips.version(2)}"

    def process(self, data: bytes, preset: Preset) -> bytes:
        """The picture in ``data`` as the preset describes it.

        Raises UnsupportedFormatError, ImageTooLargeError or ProcessingError.
        """
        with failing_as_ours():
            image = self._opened(data, preset)
            image = upright(image)
            image = fitted(image, preset)
            image = in_srgb(image)
            return encoded(image, preset)

    def estimate(self, data: bytes, preset: Preset) -> int:
        """The bytes of memory that ``process`` takes at its peak, told from the header."""
        with failing_as_ours():
            image = self._opened(data, preset)
            width, height = size_of_result(*upright_size(image), preset)
            source, result = int(image.width) * int(image.height), width * height
            return OTHER_BYTES + source * SOURCE_BYTES_PER_PIXEL + result * RESULT_BYTES_PER_PIXEL

    def _opened(self, data: bytes, preset: Preset) -> Any:
        """The header read, and no pixel yet: libvips decodes when somebody asks for the result."""
        loader = next((loader for begins, loader in LOADERS if begins(data)), None)
        if loader is None:
            raise UnsupportedFormatError("the bytes are no image; JPEG, PNG, GIF, WebP and AVIF are read")
        image = getattr(pyvips.Image, loader)(data, fail_on="error")
        self._check(image.width, image.height)
        self._check(*size_of_result(*upright_size(image), preset))
        return image

    def _check(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise ImageTooLargeError(
                f"{width * height:,} pixels; the limit is {self._max_pixels:,}",
                unit="pixels",
                limit=self._max_pixels,
                actual=width * height,
            )


@contextmanager
def failing_as_ours() -> Iterator[None]:
    """Nothing of pyvips leaves the engine."""
    try:
        yield
    except pyvips.Error as error:
        raise ProcessingError(f"the image is broken: {' '.join(str(error).split())[:300]}") from error


def upright_size(image: Any) -> tuple[int, int]:
    lies = image.get_typeof("orientation") and image.get("orientation") >= 5
    return (image.height, image.width) if lies else (image.width, image.height)


def upright(image: Any) -> Any:
    """Turned as its EXIF orientation says. What is turned has to be there as a whole."""
    if image.get_typeof("orientation") and image.get("orientation") > 1:
        return image.copy_memory().autorot()
    return image


def scales(width: int, height: int, preset: Preset) -> tuple[float, float]:
    """By what width and height are to be multiplied before anything is cropped; the two differ by a rounding alone."""
    across, down = preset.width / width, (preset.height or 1e9) / height
    scale = max(across, down) if preset.fit is FitMode.COVER else min(across, down)
    if scale > 1 and not preset.enlarges:
        scale = 1.0
    return max(1, round(width * scale)) / width, max(1, round(height * scale)) / height


def size_of_result(width: int, height: int, preset: Preset) -> tuple[int, int]:
    if preset.fit is FitMode.COVER:
        return preset.width, preset.height
    across, down = scales(width, height, preset)
    return round(width * across), round(height * down)


def fitted(image: Any, preset: Preset) -> Any:
    """Resized, and cropped where the preset covers its box."""
    width, height = size_of_result(image.width, image.height, preset)
    across, down = scales(image.width, image.height, preset)
    if (across, down) != (1.0, 1.0):
        if not image.hasalpha():
            image = image.resize(across, vscale=down, kernel="lanczos3")
        else:
            # Weighted by how opaque they are: else the colours of what is transparent would bleed into the rest.
            kind, most = image.format, 65_535 if image.format == "ushort" else 255
            image = image.premultiply(max_alpha=most).resize(across, vscale=down, kernel="lanczos3")
            image = image.unpremultiply(max_alpha=most).rint().cast(kind)
    left = round((image.width - width) * preset.position[0])
    top = round((image.height - height) * preset.position[1])
    return image.crop(left, top, width, height)


def in_srgb(image: Any) -> Any:
    """In 8 bits of sRGB, or of grey. A press's colours without a profile are taken for those of libvips' own one."""
    is_press = image.interpretation == "cmyk"
    if image.get_typeof("icc-profile-data") or is_press:
        try:
            converted = image.icc_transform(
                "srgb", embedded=True, input_profile="cmyk" if is_press else "srgb", intent="perceptual", depth=8
            )
            return converted.copy_memory()
        except pyvips.Error:  # a profile that is broken, or for other colours, counts as none
            pass
    is_grey = image.interpretation in {"b-w", "grey16"}
    return image.colourspace("b-w" if is_grey else "srgb").cast("uchar")


def encoded(image: Any, preset: Preset) -> bytes:
    """As a file, without metadata."""
    if preset.format == "jpeg" and image.hasalpha():
        background = list(bytes.fromhex(preset.background[1:]))
        if image.bands == 2:
            image = image.colourspace("srgb")
        image = image.flatten(background=background).rint().cast("uchar")
    quality = {"Q": preset.quality, "keep": "none"}
    result: bytes
    if preset.format == "jpeg":
        chroma = "off" if preset.quality > 90 else "on"
        result = image.jpegsave_buffer(**quality, subsample_mode=chroma, interlace=preset.progressive)
    elif preset.format == "webp":
        result = image.webpsave_buffer(**quality, effort=3)
    elif preset.format == "avif":
        result = image.heifsave_buffer(**quality, compression="av1", effort=2)
    else:
        result = image.pngsave_buffer(compression=4, keep="none")
    return result


def main() -> None:
    prepare_libvips()
    photo = drawn_photos()[0]
    with LocalPDS() as pds:
        did = pds.create_account()
        cid = pds.add_blob(did, photo.data, content_type=photo.content_type)
        with create_service(pds.service_config(cache_path="cache"), processor=VipsProcessor()) as images:
            for preset in DEFAULT:
                image = images.get(preset, did, cid)
                print(f"{preset.name:16} {len(image.data):8,} bytes  {image.etag}")


if __name__ == "__main__":
    main()
