"""What a Processor must do."""
# ruff: noqa: S101, D102 - assertions are what these classes are for, and the tests' names say what is asked

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from functools import partial

from PIL import Image

from imageproxy.errors import ImageTooLargeError, ProcessingError, UnsupportedFormatError
from imageproxy.presets import FitMode, ImageFormat, Preset
from imageproxy.protocols import Processor, SupportsEstimate, SupportsVersion

from ._pictures import broken_files, corners_of, encoded, foreign_files, gradient, quarters
from ._support import at_once, check_own_errors, closed_twice, opened, raised

__all__ = ["ProcessorContract"]

_REFUSALS = (UnsupportedFormatError, ImageTooLargeError, ProcessingError)
_ORIENTATION = 0x0112
_DESCRIPTION = 0x010E
_VERSION = re.compile(r"[a-zA-Z0-9._-]{1,64}")
_SMALL = Preset("small", 32, 32, FitMode.COVER, 80)


class ProcessorContract:
    """What a Processor must do, and one with a version or an estimate beyond that. Override ``make_processor``.

    formats: what it writes. Narrow it where it cannot write all.
    """

    formats: Sequence[ImageFormat] = ("jpeg", "png", "webp", "avif")

    def make_processor(self) -> Processor:
        """A processor that reads JPEG and PNG at least, and writes ``formats``, with JPEG among them."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _processor(self) -> Iterator[Processor]:
        with opened(self.make_processor()) as processor:
            yield processor

    # Sizes

    def test_cover_is_exactly_the_box(self) -> None:
        preset = Preset("cover", 64, 48, FitMode.COVER, 80)
        with self._processor() as processor:
            for size in ((300, 200), (20, 90), (64, 48), (1, 1), (1, 300), (300, 1)):
                assert _made(processor, encoded(gradient(size)), preset).size == (64, 48), f"of {size}"

    def test_cover_keeps_the_part_that_position_names(self) -> None:
        source = encoded(quarters((200, 100)))
        with self._processor() as processor:
            for position, corners in (
                ((0.0, 0.5), [0, 0, 3, 3]),
                ((1.0, 0.5), [1, 1, 2, 2]),
                ((0.5, 0.5), [0, 1, 2, 3]),
            ):
                preset = Preset("part", 50, 50, FitMode.COVER, 90, position=position)
                assert corners_of(_made(processor, source, preset)) == corners, f"position {position}"

    def test_contain_fits_inside_and_keeps_the_proportions(self) -> None:
        box = Preset("contain", 100, 100, FitMode.CONTAIN, 80)
        proportional = Preset("proportional", 100, 0, FitMode.CONTAIN, 80)
        with self._processor() as processor:
            for size, preset, wanted in (
                ((400, 200), box, (100, 50)),
                ((200, 400), box, (50, 100)),
                ((3000, 2), box, (100, 1)),
                ((2, 3000), box, (1, 100)),
                ((200, 800), proportional, (100, 400)),
            ):
                assert _made(processor, encoded(gradient(size)), preset).size == wanted, f"{preset.name} of {size}"

    def test_contain_enlarges_only_when_told_to(self) -> None:
        small = encoded(gradient((40, 20)))
        with self._processor() as processor:
            assert _made(processor, small, Preset("contain", 100, 100, FitMode.CONTAIN, 80)).size == (40, 20)
            enlarging = Preset("enlarging", 100, 100, FitMode.CONTAIN, 80, enlarge=True)
            assert _made(processor, small, enlarging).size == (100, 50)

    # What it looks like

    def test_the_result_is_in_the_format_of_the_preset(self) -> None:
        source = encoded(gradient((64, 64)))
        with self._processor() as processor:
            for format_ in self.formats:
                assert _made(processor, source, _SMALL.with_format(format_)).format == format_.upper()

    def test_every_kind_of_pixel_is_read(self) -> None:
        sources = {mode: encoded(gradient((64, 48), mode)) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")}
        sources |= {f"{mode} in JPEG": encoded(gradient((64, 48), mode), "JPEG") for mode in ("L", "RGB", "CMYK")}
        with self._processor() as processor:
            for mode, source in sources.items():
                for format_ in self.formats:
                    image = _made(processor, source, _SMALL.with_format(format_)).convert("L")
                    dark, light = image.getpixel((16, 2)), image.getpixel((16, 29))
                    assert isinstance(dark, int)
                    assert isinstance(light, int)
                    assert (dark < 60, light > 195) == (True, True), f"{mode} as {format_}: from {dark} to {light}"

    def test_the_picture_stands_upright(self) -> None:
        # Which corner of the picture as it is stored is shown at each corner, by the EXIF orientation.
        shown = {
            1: [0, 1, 2, 3],
            2: [1, 0, 3, 2],
            3: [2, 3, 0, 1],
            4: [3, 2, 1, 0],
            5: [0, 3, 2, 1],
            6: [3, 0, 1, 2],
            7: [2, 1, 0, 3],
            8: [1, 2, 3, 0],
        }
        preset = Preset("upright", 60, 0, FitMode.CONTAIN, 90)
        exif = Image.Exif()
        with self._processor() as processor:
            for orientation, corners in shown.items():
                exif[_ORIENTATION] = orientation
                image = _made(processor, encoded(quarters((160, 80)), "JPEG", exif=exif.tobytes()), preset)
                assert image.size == ((60, 30) if orientation < 5 else (60, 120)), f"orientation {orientation}"
                assert corners_of(image) == corners, f"orientation {orientation}"

    def test_the_background_shows_through_where_there_is_no_transparency(self) -> None:
        preset = Preset("background", 40, 40, FitMode.COVER, 90, background="#ff0000")
        with self._processor() as processor:
            for alpha, (reddest, least) in ((0, (255, 0)), (128, (255, 128)), (255, (255, 255))):
                source = encoded(Image.new("RGBA", (40, 40), (255, 255, 255, alpha)))
                colour = _made(processor, source, preset).convert("RGB").getpixel((20, 20))
                assert isinstance(colour, tuple)
                wanted = (reddest, least, least)
                assert max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) < 12, f"{colour} is not {wanted}"

    def test_transparency_is_kept_where_the_format_has_it(self) -> None:
        source = encoded(Image.new("RGBA", (40, 40), (0, 0, 255, 0)))
        with self._processor() as processor:
            for format_ in self.formats:
                if format_ != "jpeg":
                    alpha = _made(processor, source, _SMALL.with_format(format_)).convert("RGBA").getpixel((16, 16))
                    assert isinstance(alpha, tuple)
                    assert alpha[3] < 10, f"{format_} has lost the transparency"

    def test_nothing_of_the_metadata_is_in_the_result(self) -> None:
        exif = Image.Exif()
        exif[_DESCRIPTION] = "taken-at-home"
        source = encoded(gradient((64, 64)), "JPEG", exif=exif.tobytes(), comment=b"taken-at-home")
        with self._processor() as processor:
            for format_ in self.formats:
                result = processor.process(source, _SMALL.with_format(format_))
                assert b"taken-at-home" not in result, f"{format_} tells what the owner did not mean to show"

    # The same again, and in threads

    def test_the_same_picture_gives_the_same_bytes(self) -> None:
        source = encoded(quarters((300, 200)), "JPEG")
        for format_ in self.formats:
            results = set()
            for _ in range(2):
                with self._processor() as processor:  # of one processor, and of one that was made afresh
                    results |= {processor.process(source, _SMALL.with_format(format_)) for _ in range(2)}
            assert len(results) == 1, f"{format_}: the cache's entity tags say that they are the same"

    def test_threads_make_what_one_thread_makes(self) -> None:
        sources = [encoded(quarters((200 + 10 * number, 150)), "JPEG") for number in range(4)]
        sources += [encoded(quarters((150, 200 + 10 * number)), "PNG") for number in range(4)]
        preset = Preset("threads", 90, 90, FitMode.COVER, 80)
        with self._processor() as processor:
            alone = [processor.process(source, preset) for source in sources]
            for _ in range(3):
                assert at_once(partial(processor.process, source, preset) for source in sources) == alone

    def test_threads_that_fail_have_an_error_each(self) -> None:
        with self._processor() as processor:
            fail = partial(raised, _REFUSALS, partial(processor.process, b"no image at all", _SMALL))
            check_own_errors(at_once([fail] * 6))

    # Bytes from strangers

    def test_what_is_no_image_is_refused(self) -> None:
        picture = encoded(gradient((64, 64)))
        with self._processor() as processor:
            for data in (*foreign_files(), picture[:20]):
                raised((UnsupportedFormatError, ProcessingError), partial(processor.process, data, _SMALL))
            assert processor.process(picture, _SMALL), "one broken image must not spoil the next"

    def test_what_is_broken_fails_only_in_the_known_ways(self) -> None:
        with self._processor() as processor:
            for data in broken_files():
                try:
                    result = processor.process(data, _SMALL)
                except _REFUSALS:
                    continue
                except Exception as error:
                    raise AssertionError(f"{type(error).__name__} came of {data[:40]!r}...: {error}") from error
                assert Image.open(io.BytesIO(result)).size == (32, 32), f"no image came of {data[:40]!r}..."
            assert processor.process(encoded(gradient((64, 64))), _SMALL), "one broken image must not spoil the next"

    # More powers, and closing

    def test_a_version_is_fit_for_a_cache_key(self) -> None:
        versions = set()
        for _ in range(2):
            with self._processor() as processor:
                if not isinstance(processor, SupportsVersion):
                    return  # a power that not every processor has
                versions.add(processor.version)
                assert _VERSION.fullmatch(processor.version), f"{processor.version!r}: 1 to 64 of a-z A-Z 0-9 . _ -"
        assert len(versions) == 1, "the version says that the same input gives the same bytes"

    def test_an_estimate_is_a_number_of_bytes(self) -> None:
        with self._processor() as processor:
            if not isinstance(processor, SupportsEstimate):
                return  # a power that not every processor has
            small, large = (
                processor.estimate(encoded(gradient(size), "PNG"), _SMALL) for size in ((64, 64), (1200, 1200))
            )
            assert type(small) is int, f"estimate() gave {type(small).__name__}"
            assert 0 < small < large, f"64 pixels a side take {small:,} bytes, and 1,200 take {large:,}"
            for data in foreign_files():
                raised(_REFUSALS, partial(processor.estimate, data, _SMALL))
            for data in broken_files():
                try:
                    estimated = processor.estimate(data, _SMALL)
                except _REFUSALS:
                    continue
                except Exception as error:
                    raise AssertionError(f"{type(error).__name__} came of {data[:40]!r}...: {error}") from error
                assert estimated > 0

    def test_closing_twice_is_harmless(self) -> None:
        processor = self.make_processor()
        assert processor.process(encoded(gradient((64, 64))), _SMALL)
        closed_twice(processor)


def _made(processor: Processor, source: bytes, preset: Preset) -> Image.Image:
    result = processor.process(source, preset)
    assert type(result) is bytes, f"process() gave {type(result).__name__}"
    image: Image.Image = Image.open(io.BytesIO(result))
    image.load()
    return image
