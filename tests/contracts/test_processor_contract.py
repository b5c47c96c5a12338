"""ProcessorContract: a right processor passes, and each wrong one is found out by the test that is meant for it."""

from __future__ import annotations

import io
import itertools
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from imageproxy.errors import ImageProxyError, ProcessingError, UnsupportedFormatError
from imageproxy.presets import FitMode, Preset
from imageproxy.protocols import Processor
from imageproxy.testing.contracts import ProcessorContract

Failures = Callable[..., dict[str, Exception]]


class ToyProcessor:
    """The least that does it with Pillow."""

    def __init__(self) -> None:
        self.is_closed = False
        self.version: Any = "toy-1"

    def process(self, data: bytes, preset: Preset) -> Any:
        try:
            image = self.background(self.upright(self.load(data)), preset)
            return self.encode(self.fit(image, preset), preset)
        except ImageProxyError:
            raise
        except Exception as error:
            raise ProcessingError("broken") from error

    def estimate(self, data: bytes, preset: Preset) -> Any:
        image = self.load(data)
        return image.width * image.height * 4

    def load(self, data: bytes) -> Any:
        try:
            image: Any = Image.open(io.BytesIO(data), formats=["JPEG", "PNG"])
            if image.width * image.height > 10_000_000:
                raise ProcessingError("too large")
            image.load()
        except UnidentifiedImageError:
            raise UnsupportedFormatError("no image") from None
        except ImageProxyError:
            raise
        except Exception as error:
            raise ProcessingError("broken") from error
        return image

    def upright(self, image: Any) -> Any:
        return ImageOps.exif_transpose(image)

    def background(self, image: Any, preset: Preset) -> Any:
        image = image.convert("RGB").convert("RGBA") if image.mode == "CMYK" else image.convert("RGBA")
        if preset.format != "jpeg":
            return image
        flat = Image.new("RGBA", image.size, preset.background)
        flat.alpha_composite(image)
        return flat.convert("RGB")

    def fit(self, image: Any, preset: Preset) -> Any:
        if preset.fit is FitMode.COVER:
            return ImageOps.fit(image, (preset.width, preset.height), centering=preset.position)
        scale = preset.width / image.width
        if preset.height:
            scale = min(scale, preset.height / image.height)
        if not preset.enlarges:
            scale = min(scale, 1)
        return image.resize(self.scaled(image.size, scale))

    def scaled(self, size: tuple[int, int], scale: float) -> tuple[int, int]:
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

    def encode(self, image: Any, preset: Preset) -> Any:
        image.info = {}
        result = io.BytesIO()
        image.save(result, preset.format, quality=preset.quality, **self.options())
        return result.getvalue()

    def options(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self.is_closed = True


class GivesABuffer(ToyProcessor):
    def encode(self, image: Any, preset: Preset) -> Any:
        return bytearray(super().encode(image, preset))


class AlwaysTakesTheMiddle(ToyProcessor):
    def fit(self, image: Any, preset: Preset) -> Any:
        return super().fit(image, Preset(preset.name, preset.width, preset.height, preset.fit, preset.quality))


class Stretches(ToyProcessor):
    def fit(self, image: Any, preset: Preset) -> Any:
        return image.resize((preset.width, preset.height or 100))


class KeepsTheProportions(ToyProcessor):
    def fit(self, image: Any, preset: Preset) -> Any:
        image.thumbnail((preset.width, preset.height or 10_000))
        return image


class RoundsToNothing(ToyProcessor):
    def scaled(self, size: tuple[int, int], scale: float) -> tuple[int, int]:
        return round(size[0] * scale), round(size[1] * scale)


class AlwaysSavesPNG(ToyProcessor):
    def encode(self, image: Any, preset: Preset) -> Any:
        return super().encode(image, preset.with_format("png"))


class CannotReadCMYK(ToyProcessor):
    def background(self, image: Any, preset: Preset) -> Any:
        if image.mode == "CMYK":
            raise ProcessingError("no CMYK today")
        return super().background(image, preset)


class TakesPalettesForGrey(ToyProcessor):
    def background(self, image: Any, preset: Preset) -> Any:
        return super().background(Image.new("L", image.size) if image.mode == "P" else image, preset)


class NeverTurns(ToyProcessor):
    def upright(self, image: Any) -> Any:
        return image


class TurnsTheWrongWay(ToyProcessor):
    def upright(self, image: Any) -> Any:
        turns = {6: 90, 8: 270}
        turn = turns.get(image.getexif().get(0x0112))
        return image.rotate(turn, expand=True) if turn else super().upright(image)


class PaintsItBlack(ToyProcessor):
    def background(self, image: Any, preset: Preset) -> Any:
        return image.convert("RGB")


class KnowsOnlyOnAndOff(ToyProcessor):
    def background(self, image: Any, preset: Preset) -> Any:
        if image.mode == "RGBA":
            image.putalpha(image.getchannel("A").point(lambda value: 255 if value > 127 else 0))
        return super().background(image, preset)


class AlwaysPaintsTheBackground(ToyProcessor):
    def background(self, image: Any, preset: Preset) -> Any:
        return super().background(image, preset.with_format("jpeg"))


class KeepsTheMetadata(ToyProcessor):
    def process(self, data: bytes, preset: Preset) -> Any:
        return super().process(data, preset) + data[:200]


class StampsThem(ToyProcessor):
    def options(self) -> dict[str, Any]:
        return {"exif": b"Exif\0\0" + os.urandom(8)}


class StampsEachProcessor(ToyProcessor):
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.number = next(self.numbers)

    def options(self) -> dict[str, Any]:
        return {"exif": b"Exif\0\0%d" % self.number}


class IsOneForAllThreads(ToyProcessor):
    def load(self, data: bytes) -> Any:
        self.image = super().load(data)
        threading.Event().wait(0.001)
        return self.image


class HasOneError(ToyProcessor):
    error = UnsupportedFormatError("no image")

    def load(self, data: bytes) -> Any:
        try:
            return super().load(data)
        except UnsupportedFormatError:
            raise self.error from None


class TakesAnything(ToyProcessor):
    def process(self, data: bytes, preset: Preset) -> Any:
        try:
            return super().process(data, preset)
        except UnsupportedFormatError:
            return b"\xff\xd8\xff"


class LetsPillowsErrorsThrough(ToyProcessor):
    def load(self, data: bytes) -> Any:
        image = Image.open(io.BytesIO(data))
        image.load()
        return image

    def process(self, data: bytes, preset: Preset) -> Any:
        try:
            return self.encode(self.fit(self.background(self.load(data), preset), preset), preset)
        except UnidentifiedImageError:
            raise UnsupportedFormatError("no image") from None


class GivesWhatItHas(ToyProcessor):
    """Of a broken image, no image."""

    def process(self, data: bytes, preset: Preset) -> Any:
        try:
            return super().process(data, preset)
        except ProcessingError:
            return b"GIF89a\x01\0\x01\0\0\0\0;"


class IsSpoiledByOne(ToyProcessor):
    def load(self, data: bytes) -> Any:
        try:
            return super().load(data)
        except ImageProxyError:
            self.load = super().load  # type: ignore[method-assign]
            self.close()
            raise

    def upright(self, image: Any) -> Any:
        if self.is_closed:
            raise ProcessingError("spoiled")
        return super().upright(image)


class HasNoVersion(ToyProcessor):
    def __init__(self) -> None:
        super().__init__()
        self.version = "version 1"


class HasAVersionForEach(ToyProcessor):
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.version = f"toy-{next(self.numbers)}"


class EstimatesInFractions(ToyProcessor):
    def estimate(self, data: bytes, preset: Preset) -> Any:
        return super().estimate(data, preset) * 1.0


class EstimatesTheSameForAll(ToyProcessor):
    def estimate(self, data: bytes, preset: Preset) -> Any:
        self.load(data)
        return 1_000_000


class EstimatesAnything(ToyProcessor):
    def estimate(self, data: bytes, preset: Preset) -> Any:
        try:
            return super().estimate(data, preset)
        except ImageProxyError:
            return 1


class EstimatesWithPillowsErrors(ToyProcessor):
    def estimate(self, data: bytes, preset: Preset) -> Any:
        try:
            image = Image.open(io.BytesIO(data))
        except UnidentifiedImageError:
            raise UnsupportedFormatError("no image") from None
        image.load()
        return image.width * image.height


class EstimatesBelowZero(ToyProcessor):
    def estimate(self, data: bytes, preset: Preset) -> Any:
        try:
            return super().estimate(data, preset)
        except ProcessingError:
            return -1


class ClosesOnce(ToyProcessor):
    def close(self) -> None:
        if self.is_closed:
            raise ValueError("closed already")
        super().close()


def contract_of(make: Callable[[], Processor]) -> ProcessorContract:
    class Contract(ProcessorContract):
        def make_processor(self) -> Processor:
            return make()

    return Contract()


def test_a_right_processor_passes_and_is_closed(failures: Failures) -> None:
    made: list[ToyProcessor] = []

    def make() -> ToyProcessor:
        made.append(ToyProcessor())
        return made[-1]

    assert failures(contract_of(make)) == {}
    assert all(processor.is_closed for processor in made)


def test_a_processor_without_extra_powers_passes(failures: Failures) -> None:
    class Plain:
        def __init__(self) -> None:
            self.process = ToyProcessor().process

    assert failures(contract_of(Plain)) == {}


def test_a_processor_that_writes_few_formats_may_say_so(failures: Failures) -> None:
    class JPEGAlone(ToyProcessor):
        def encode(self, image: Any, preset: Preset) -> Any:
            assert preset.format == "jpeg"
            return super().encode(image, preset)

    class Contract(ProcessorContract):
        formats = ("jpeg",)

        def make_processor(self) -> Processor:
            return JPEGAlone()

    assert failures(Contract()) == {}


FOUND_OUT: list[tuple[type[ToyProcessor], str]] = [
    (GivesABuffer, "test_cover_is_exactly_the_box"),
    (KeepsTheProportions, "test_cover_is_exactly_the_box"),
    (AlwaysTakesTheMiddle, "test_cover_keeps_the_part_that_position_names"),
    (Stretches, "test_contain_fits_inside_and_keeps_the_proportions"),
    (RoundsToNothing, "test_contain_fits_inside_and_keeps_the_proportions"),
    (Stretches, "test_contain_enlarges_only_when_told_to"),
    (KeepsTheProportions, "test_contain_enlarges_only_when_told_to"),
    (AlwaysSavesPNG, "test_the_result_is_in_the_format_of_the_preset"),
    (CannotReadCMYK, "test_every_kind_of_pixel_is_read"),
    (TakesPalettesForGrey, "test_every_kind_of_pixel_is_read"),
    (NeverTurns, "test_the_picture_stands_upright"),
    (TurnsTheWrongWay, "test_the_picture_stands_upright"),
    (PaintsItBlack, "test_the_background_shows_through_where_there_is_no_transparency"),
    (KnowsOnlyOnAndOff, "test_the_background_shows_through_where_there_is_no_transparency"),
    (AlwaysPaintsTheBackground, "test_transparency_is_kept_where_the_format_has_it"),
    (KeepsTheMetadata, "test_nothing_of_the_metadata_is_in_the_result"),
    (StampsThem, "test_the_same_picture_gives_the_same_bytes"),
    (StampsEachProcessor, "test_the_same_picture_gives_the_same_bytes"),
    (IsOneForAllThreads, "test_threads_make_what_one_thread_makes"),
    (HasOneError, "test_threads_that_fail_have_an_error_each"),
    (TakesAnything, "test_what_is_no_image_is_refused"),
    (IsSpoiledByOne, "test_what_is_no_image_is_refused"),
    (LetsPillowsErrorsThrough, "test_what_is_broken_fails_only_in_the_known_ways"),
    (GivesWhatItHas, "test_what_is_broken_fails_only_in_the_known_ways"),
    (HasNoVersion, "test_a_version_is_fit_for_a_cache_key"),
    (HasAVersionForEach, "test_a_version_is_fit_for_a_cache_key"),
    (EstimatesInFractions, "test_an_estimate_is_a_number_of_bytes"),
    (EstimatesTheSameForAll, "test_an_estimate_is_a_number_of_bytes"),
    (EstimatesAnything, "test_an_estimate_is_a_number_of_bytes"),
    (EstimatesWithPillowsErrors, "test_an_estimate_is_a_number_of_bytes"),
    (EstimatesBelowZero, "test_an_estimate_is_a_number_of_bytes"),
    (ClosesOnce, "test_closing_twice_is_harmless"),
]


@pytest.mark.parametrize(("broken", "found_by"), FOUND_OUT)
def test_a_wrong_processor_is_found_out(broken: type[ToyProcessor], found_by: str, failures: Failures) -> None:
    assert failures(contract_of(broken), found_by)


def test_every_test_of_the_contract_can_fail() -> None:
    shown = {found_by for _, found_by in FOUND_OUT}
    assert {name for name in dir(ProcessorContract) if name.startswith("test_")} == shown
