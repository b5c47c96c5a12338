"""The image engine under attack: ``PillowProcessor.process`` with files of strangers."""

from __future__ import annotations

import importlib.util
import io
import random
import warnings
import zlib
from types import ModuleType

from PIL import AvifImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from imageproxy.errors import ImageTooLargeError, ProcessingError, UnsupportedFormatError
from imageproxy.presets import FitMode, Preset
from imageproxy.processors import PillowProcessor

from .containers import kind_of, mutate_parts
from .mutation import mutate, pick
from .pictures import seeds
from .target import Corpus, FindingError, shape_of

__all__ = ["ProcessorTarget"]

# Small, so that thousands are made in a second; still more than an address space of some MB would hold by mistake.
_MAX_PIXELS = 1_000_000
_PRESETS = (
    Preset("cover", 16, 16, FitMode.COVER, 80),
    Preset("contain", 24, 0, FitMode.CONTAIN, 80),
    Preset("thumb", 9, 5, FitMode.COVER, 96, position=(0.0, 1.0)),
    Preset("fill", 12, 12, FitMode.CONTAIN, 50, enlarge=True, background="#102030"),
    Preset("flat", 8, 20, FitMode.COVER, 80, format="png", position=(1.0, 0.3)),
    Preset("web", 16, 16, FitMode.CONTAIN, 80, format="webp"),
    Preset("fine", 20, 6, FitMode.COVER, 100, format="webp"),
    Preset("new", 8, 8, FitMode.CONTAIN, 50, format="avif"),
    Preset("film", 10, 10, FitMode.COVER, 60, format="webp", animated=True),
    Preset("slow", 12, 12, FitMode.CONTAIN, 70, progressive=True),
)
# By the checksum of the input, which says nothing else; encoding an AVIF takes as long as ten of the others.
_TURNS = (*range(7), *range(7), *range(7), *range(7), *range(7), 7)
_METADATA = ("exif", "icc_profile", "xmp", "comment")
_MODULES = (Image, ImageFile, PngImagePlugin, GifImagePlugin, JpegImagePlugin, WebPImagePlugin, AvifImagePlugin)


class ProcessorTarget:
    """Ends in an image of the preset's format and size without metadata, or in one of three errors."""

    name = "processor"

    def __init__(self) -> None:
        resizers = ["pillow", "simd"] if importlib.util.find_spec("cykooz_resizer") else ["pillow"]
        self._processors = [PillowProcessor(max_pixels=_MAX_PIXELS, resizer=name) for name in resizers]
        # Pillow loads its first plugins on its own; numpy, which comes with the first JPEG, has filters of warnings.
        for processor in self._processors:
            for preset in _PRESETS:
                processor.process(seeds()[0], preset)
        self._globals = _globals()
        self._quick_globals = _quick_globals()

    def seeds(self) -> list[bytes]:
        return seeds()

    def mutant(self, rng: random.Random, corpus: Corpus) -> bytes:
        data = pick(rng, corpus)
        kind = kind_of(data)
        if kind and rng.random() < 0.65:
            data = mutate_parts(rng, data, kind, corpus)
            if rng.random() < 0.8:
                return data
        return mutate(rng, data, corpus)

    def run(self, data: bytes, *, in_all_ways: bool = False) -> str:
        turn = zlib.crc32(data)
        if not in_all_ways:
            processor = self._processors[turn % 7 % len(self._processors)]
            return self._run(processor, data, _PRESETS[_TURNS[turn % len(_TURNS)]])
        return ", ".join(self._run(processor, data, preset) for preset in _PRESETS for processor in self._processors)

    def settle(self) -> None:
        changed = [name for name, value in _globals().items() if self._globals.get(name, self) != value]
        if changed:
            raise FindingError("globals of Pillow changed", ", ".join(changed))

    def _run(self, processor: PillowProcessor, data: bytes, preset: Preset) -> str:
        try:
            result = processor.process(data, preset)
        except (UnsupportedFormatError, ImageTooLargeError, ProcessingError) as error:
            outcome = shape_of(error)
            if "MemoryError" in outcome or "DecompressionBomb" in outcome:  # the library's own limits come first
                raise FindingError("refused by none of the library's limits", outcome) from error
        else:
            outcome = _check(result, preset) + kind_of(data)
        if _quick_globals() != self._quick_globals:
            self.settle()
            raise FindingError("globals of Pillow changed", repr(_quick_globals()))
        return outcome


def _check(result: bytes, preset: Preset) -> str:
    with Image.open(io.BytesIO(result), formats=[preset.format]) as image:
        image.load()
        width, height = image.size
        if preset.fit is FitMode.COVER:
            is_right = (width, height) == (preset.width, preset.height)
        else:
            is_right = 1 <= width <= preset.width and 1 <= height <= (preset.height or _MAX_PIXELS)
        if not is_right:
            raise FindingError("wrong size", f"{width}x{height} for {preset}")
        if found := [name for name in _METADATA if image.info.get(name)]:
            raise FindingError("metadata in the result", repr(found))
        if getattr(image, "n_frames", 1) != 1:
            raise FindingError("frames in the result", repr(preset))
        return f"{preset.format} {image.mode} {'full' if width == preset.width else 'small'} from "


def _quick_globals() -> tuple[object, ...]:
    """What the library could be tempted to change, quick enough to be looked at after each input."""
    return (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK, len(Image.OPEN), _filters())


def _filters() -> int:
    return len(warnings.filters)


def _globals() -> dict[str, object]:
    return {f"{module.__name__}.{name}": value for module in _MODULES for name, value in _switches(module).items()}


def _switches(module: ModuleType) -> dict[str, object]:
    return {
        name: len(value) if isinstance(value, (dict, list)) else value
        for name, value in vars(module).items()
        if isinstance(value, (int, str, float, type(None), dict, list)) and not name.startswith("__")
    }
