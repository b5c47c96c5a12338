"""The picture that a careful person would have made: every step by its definition, in floating point, with numpy alone.

Nothing of the library is used here but its presets. What the engines make is held against it.
"""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from imageproxy.presets import FitMode, Preset
from imageproxy.processors import PillowProcessor
from imageproxy.protocols import Processor

Array: TypeAlias = npt.NDArray[np.float64]

LOBES = 3


@pytest.fixture(scope="session")
def vips_example() -> ModuleType:
    """``examples/pyvips_engine.py`` as a module, set up as its program does."""
    path = Path(__file__).parents[3] / "examples" / "pyvips_engine.py"
    spec = importlib.util.spec_from_file_location("example_pyvips_engine", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.prepare_libvips()
    return module


@pytest.fixture(params=["pillow", "simd", "vips"])
def engine(request: pytest.FixtureRequest, vips_example: ModuleType) -> Processor:
    """Each engine that there is: the library's with both resizers, and the example."""
    if request.param == "vips":
        made: Processor = vips_example.VipsProcessor()
        return made
    return PillowProcessor(resizer=request.param)


class Reference:
    """What a preset makes of pixels. Arrays are height x width x channels (RGB or RGBA, or one of grey), 0 to 255."""

    def make(
        self, pixels: Array, preset: Preset, *, orientation: int = 1, convert: Callable[[Array], Array] | None = None
    ) -> Array:
        """Upright, cropped and resized, in sRGB by ``convert``, laid on the background where it is to be a JPEG."""
        pixels = self.upright(pixels, orientation)
        size, box = self.place(pixels.shape[1], pixels.shape[0], preset)
        has_alpha = pixels.shape[2] == 4
        if has_alpha:
            pixels = np.concatenate((pixels[..., :3] * pixels[..., 3:] / 255, pixels[..., 3:]), axis=2)
        result = self.resize(pixels, size, box)
        if has_alpha:
            alpha = result[..., 3:]
            with np.errstate(divide="ignore", invalid="ignore"):
                colours = np.where(alpha > 0.5, result[..., :3] * 255 / alpha, 0)
            result = np.concatenate((colours, alpha), axis=2)
        result = result.clip(0, 255)
        if convert is not None:
            result = np.concatenate((convert(result[..., :3]), result[..., 3:]), axis=2)
        if has_alpha and preset.format == "jpeg":
            background = np.array(list(bytes.fromhex(preset.background[1:])), np.float64)
            result = result[..., :3] * result[..., 3:] / 255 + background * (1 - result[..., 3:] / 255)
        return result

    def upright(self, pixels: Array, orientation: int) -> Array:
        """By the table of EXIF: where the first row and the first column are in the picture."""
        if orientation >= 5:
            pixels = pixels.transpose(1, 0, 2)  # the first row is at the left or at the right
        if orientation in {2, 3, 6, 7}:
            pixels = pixels[:, ::-1]
        if orientation in {3, 4, 7, 8}:
            pixels = pixels[::-1]
        return pixels

    def place(
        self, width: int, height: int, preset: Preset
    ) -> tuple[tuple[int, int], tuple[float, float, float, float]]:
        """The size of the result, and the part of the picture that it shows."""
        across = preset.width / width
        down = preset.height / height if preset.height else np.inf
        if preset.fit is FitMode.COVER:
            scale = max(across, down)
            part = preset.width / scale, preset.height / scale
            left, top = (
                (whole - shown) * at for whole, shown, at in zip((width, height), part, preset.position, strict=True)
            )
            return (preset.width, preset.height), (left, top, left + part[0], top + part[1])
        scale = min(across, down)
        scale = scale if preset.enlarge else min(scale, 1.0)
        return (round(width * scale), round(height * scale)), (0, 0, width, height)

    def resize(self, pixels: Array, size: tuple[int, int], box: tuple[float, float, float, float]) -> Array:
        """Lanczos with three lobes, widened where the picture is made smaller."""
        left, top, right, bottom = box
        rows = self._resize_rows(pixels, size[1], top, bottom)
        columns = self._resize_rows(rows.transpose(1, 0, 2), size[0], left, right)
        return np.asarray(columns.transpose(1, 0, 2))

    def _resize_rows(self, pixels: Array, wanted: int, start: float, end: float) -> Array:
        step = (end - start) / wanted
        reach = LOBES * max(1.0, step)
        result = np.empty((wanted, *pixels.shape[1:]))
        for row in range(wanted):
            centre = start + (row + 0.5) * step
            first, last = max(0, int(centre - reach - 1)), min(len(pixels), int(centre + reach + 2))
            distance = (np.arange(first, last) + 0.5 - centre) / max(1.0, step)
            weights = np.where(np.abs(distance) < LOBES, np.sinc(distance) * np.sinc(distance / LOBES), 0)
            result[row] = np.tensordot(weights / weights.sum(), pixels[first:last], 1)
        return result

    def to_srgb(self, primaries: Array, light: Callable[[Array], Array]) -> Callable[[Array], Array]:
        """From a screen's colours. primaries: x and y of red, green and blue, white being D65; light: from 0 to 1."""
        matrix = np.linalg.inv(self._to_xyz(np.array(((0.64, 0.33), (0.3, 0.6), (0.15, 0.06))))) @ self._to_xyz(
            primaries
        )

        def convert(colours: Array) -> Array:
            linear = (light(colours / 255) @ matrix.T).clip(0, 1)
            return np.asarray(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))

        return convert

    def _to_xyz(self, primaries: Array) -> Array:
        columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
        return np.asarray(columns * np.linalg.solve(columns, np.array((0.3127 / 0.329, 1, 0.3583 / 0.329))))


@pytest.fixture(scope="session")
def reference() -> Reference:
    return Reference()


@pytest.fixture(scope="session")
def decoded() -> Callable[..., Array]:
    """``decoded(data, mode)``: the pixels of a file."""

    def made(data: bytes, mode: str | None = None) -> Array:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image.convert(mode) if mode else image, np.float64)
        return pixels if pixels.ndim == 3 else pixels[..., None]

    return made


@pytest.fixture(scope="session")
def decibels() -> Callable[[Array, Array], float]:
    """How near two pictures are: PSNR, of transparent ones as they look on black and on white."""

    def told(one: Array, other: Array) -> float:
        assert one.shape == other.shape
        if one.shape[2] == 4:
            return min(told(_laid_on(one, shade), _laid_on(other, shade)) for shade in (0.0, 255.0))
        error = float(np.mean((one - other) ** 2))
        return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))

    return told


def _laid_on(pixels: Array, shade: float) -> Array:
    share = pixels[..., 3:] / 255
    return np.asarray(pixels[..., :3] * share + shade * (1 - share))


@pytest.fixture(scope="session")
def scene() -> Callable[..., Array]:
    """``scene(width, height)``: soft hills of colour, fine lines, hard edges, and transparency for mode RGBA."""

    def drawn(width: int = 600, height: int = 400, mode: str = "RGB") -> Array:
        y, x = np.mgrid[0:height, 0:width] / max(width, height)
        red = 127 + 100 * np.sin(9 * x + 4 * y)
        green = 127 + 100 * np.cos(7 * y - 3 * x)
        blue = 127 + 60 * np.sin(200 * x * y) + 60 * ((x * 20).astype(int) % 2)
        pixels = np.stack((red, green, blue), axis=2)
        pixels[height // 8 : height // 4, width // 8 : width // 3] = (250, 20, 30)
        pixels[height // 2 : height // 2 + height // 50 + 1] = 255
        if mode == "RGBA":
            alpha = 255 * np.clip(2.2 - 4 * np.hypot(x - 0.5, y - 0.33), 0, 1)
            alpha[:, : width // 6] = 0
            pixels = np.concatenate((pixels, alpha[..., None]), axis=2)
        return np.asarray(pixels.clip(0, 255).round())

    return drawn
