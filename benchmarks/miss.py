"""What a miss costs once the blob is there: photos times presets, by stage, with either resizer.

    python benchmarks/miss.py [folder of photos]

Without a folder, the photos are drawn. Both resizers take turns within one run, and are told as a ratio of medians:
single figures do not hold on shared machines. The PSNR is that of the finished, decoded image against a resize of the
fully decoded photo in floating point; it is left out (-) for photos with transparency or a colour profile, of which the
colours are changed on purpose.
"""

from __future__ import annotations

import io
import math
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageMath, ImageOps

from imageproxy import DEFAULT, ImageProxyError, Preset
from imageproxy.processors._geometry import place
from imageproxy.processors._headers import read_header
from imageproxy.processors._resize import resize
from imageproxy.processors._sniff import sniff
from imageproxy.processors.pillow import PillowProcessor
from imageproxy.testing.photos import drawn_photos

ROUNDS = 7


class Times(NamedTuple):
    """Seconds. What is left of the total is turning upright, colours and transparency."""

    total: float
    decode: float
    resize: float
    encode: float


class Timed(PillowProcessor):
    """Notes how long the last encoding took."""

    encode_seconds = 0.0

    def encode(self, image: Image.Image, preset: Preset) -> bytes:
        start = time.perf_counter()
        try:
            return super().encode(image, preset)
        finally:
            self.encode_seconds = time.perf_counter() - start


def measure(processor: Timed, data: bytes, preset: Preset) -> Times:
    start = time.perf_counter()
    processor.process(data, preset)
    total = time.perf_counter() - start

    start = time.perf_counter()
    image, recipe = processor._decode(read_header(data, sniff(data)), preset)
    decoded = time.perf_counter()
    resize(processor._resizer, image, *recipe.placement, recipe.kernel)
    return Times(total, decoded - start, time.perf_counter() - decoded, processor.encode_seconds)


def median(times: list[Times]) -> Times:
    return Times(*(statistics.median(stage) for stage in zip(*times, strict=True)))


def reference(data: bytes, preset: Preset) -> list[Image.Image] | None:
    """The three channels, resized in floating point; ``None`` where the colours are not simply those of the pixels."""
    with Image.open(io.BytesIO(data)) as opened:
        if opened.has_transparency_data or opened.info.get("icc_profile") or opened.mode not in {"RGB", "P", "L"}:
            return None
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    size, box = place(upright.size, preset)
    return [band.convert("F").resize(size, Image.Resampling.LANCZOS, box) for band in upright.split()]


def psnr(wanted: list[Image.Image], result: bytes) -> float:
    with Image.open(io.BytesIO(result)) as image:
        bands = image.convert("RGB").split()
    squares = 0.0
    for band, channel in zip(wanted, bands, strict=True):
        square = ImageMath.lambda_eval(
            lambda of: (of["one"] - of["other"]) * (of["one"] - of["other"]), one=band, other=channel.convert("F")
        )
        mean = square.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        squares += float(mean)
    return 10 * math.log10(255**2 * 3 / squares) if squares else math.inf


def photos(folder: str | None) -> dict[str, bytes]:
    if folder is None:
        return {photo.name: photo.data for photo in drawn_photos()}
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()}


def main(folder: str | None = None) -> None:
    processors = {name: Timed(resizer=name) for name in ("pillow", "simd")}
    stages = f"{'decode':>8}{'resize':>8}{'encode':>8}{'total':>8}   "
    print(f"{'':34}{'Pillow, ms':>32}   {'SIMD, ms':>32}   {'SIMD/Pillow':>10}   PSNR, dB")
    print(f"{'':34}{stages * 2}")
    ratios = []
    for name, data in photos(folder).items():
        for preset in DEFAULT:
            try:
                results = {which: processor.process(data, preset) for which, processor in processors.items()}
            except ImageProxyError as error:
                print(f"{name}: {error}")
                break
            rounds: dict[str, list[Times]] = {which: [] for which in processors}
            for _ in range(ROUNDS):
                for which, processor in processors.items():
                    rounds[which].append(measure(processor, data, preset))
            times = {which: median(of) for which, of in rounds.items()}
            ratio = times["simd"].total / times["pillow"].total
            ratios.append(ratio)
            row = f"{name[:17]:<18}{preset.name:<16}"
            for of in times.values():
                row += (
                    "".join(f"{1000 * of_stage:8.1f}" for of_stage in (of.decode, of.resize, of.encode, of.total))
                    + "   "
                )
            wanted = reference(data, preset)
            told = "-" if wanted is None else "  ".join(f"{psnr(wanted, result):.2f}" for result in results.values())
            print(f"{row}{ratio:10.2f}   {told}")
    if ratios:
        print(f"simd/pillow: geometric mean {statistics.geometric_mean(ratios):.2f}, worst {max(ratios):.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
