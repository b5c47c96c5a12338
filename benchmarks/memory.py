"""What `PillowProcessor.process` takes of memory at its peak, and what `estimate` tells beforehand.

    python benchmarks/memory.py [word ...]

Words pick the cases that have all of them in their lines. Each case runs in a process of its own, warmed up with tiny
pictures: measured is the most resident memory over what was resident at the start. No ratio of measured to estimated is
to be over 1; under 0.5 the estimate wastes the budget of a service. At the end, six of the worst at once, a few times
over: `left` is what malloc keeps when all of them are done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import random
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageCms

from imageproxy import BLUESKY, DEFAULT, FitMode, Preset
from imageproxy.presets import ImageFormat
from imageproxy.processors import PillowProcessor

TILE = 512
FORMATS: tuple[ImageFormat, ...] = ("jpeg", "png", "webp", "avif")
TRANSPARENT = (200, 100, 50)


class Job(NamedTuple):
    """One picture to be made into one preset."""

    path: Path
    preset: Preset


class Peak(NamedTuple):
    """Bytes. ``left``: resident when all is done, over the start."""

    measured: int
    estimated: int
    left: int


def peak(jobs: list[Job], resizer: str = "simd", rounds: int = 1) -> Peak:
    """All jobs at once, each on a thread of its own, in a fresh process."""
    request = {"resizer": resizer, "rounds": rounds, "jobs": [(str(path), _fields(preset)) for path, preset in jobs]}
    command = [sys.executable, __file__, "--peak"]
    child = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)
    if child.returncode:
        raise RuntimeError(child.stderr)
    return Peak(*json.loads(child.stdout))


def _fields(preset: Preset) -> dict[str, Any]:
    return {field.name: getattr(preset, field.name) for field in dataclasses.fields(preset) if field.init}


def measure(request: dict[str, Any]) -> Peak:
    """In the child."""
    processor = PillowProcessor(resizer=request["resizer"], max_decode_bytes=2_000_000_000)
    jobs = [(Path(path).read_bytes(), Preset(**fields)) for path, fields in request["jobs"]]
    warm_up(processor)
    estimated = sum(processor.estimate(data, preset) for data, preset in jobs)
    barrier = threading.Barrier(len(jobs))

    def work(data: bytes, preset: Preset) -> None:
        barrier.wait()
        for _ in range(request["rounds"]):
            processor.process(data, preset)

    threads = [threading.Thread(target=work, args=job) for job in jobs]
    with contextlib.suppress(OSError):  # where the mark cannot be reset, that of the start counts, which is low
        Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Peak(resident("VmHWM") - before, estimated, resident("VmRSS") - before)


def resident(field: str) -> int:
    """Bytes: VmRSS, which is now; VmHWM, the most since the mark was reset. Without /proc both are the most of all."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


def warm_up(processor: PillowProcessor) -> None:
    """Every plugin loaded, every codec started once."""
    tiny = Preset("tiny", 32, 32, FitMode.COVER, 80)
    image = Image.new("RGBA", (64, 64), (200, 100, 50, 128))
    sources = [encoded(image, kind) for kind in ("PNG", "WEBP", "AVIF", "GIF")]
    sources.append(encoded(image.convert("RGB"), "JPEG", icc_profile=wide_profile()))
    for source in sources:
        for preset in (tiny, tiny.with_format("png"), tiny.with_format("webp"), tiny.with_format("avif")):
            processor.process(source, preset)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def wide_profile() -> bytes:
    """A profile that is not sRGB's: its red and green changed places."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"?XYZ").replace(b"gXYZ", b"rXYZ").replace(b"?XYZ", b"gXYZ")


def texture(mode: str, megapixels: float, grain: float = 0.12) -> Image.Image:
    """Soft fields with grain, 4 to 3. A photo is about as hard to compress at 0.12; 1 is noise alone."""
    side = max(8, round((megapixels * 1e6 / 12) ** 0.5))
    size = (4 * side, 3 * side)
    rng = random.Random(7)
    bands = []
    for _ in range(4):
        soft = Image.frombytes("L", (8, 8), rng.randbytes(64)).resize((TILE, TILE), Image.Resampling.BICUBIC)
        bands.append(Image.blend(soft, Image.frombytes("L", (TILE, TILE), rng.randbytes(TILE * TILE)), grain))
    tile = Image.merge("RGBA", bands)
    if mode == "P":
        tile = tile.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    elif mode == "I;16":
        tile = tile.convert("L").convert("I").point(lambda value: value * 256).convert("I;16")
    elif mode == "LA":
        tile = Image.merge("LA", (bands[0], bands[3]))
    elif mode != "RGBA":
        tile = tile.convert("RGB").convert(mode)
    image = Image.new(tile.mode, size)
    if tile.mode == "P":
        image.putpalette(tile.getpalette() or [])
    for top in range(0, size[1], TILE):
        for left in range(0, size[0], TILE):
            image.paste(tile, (left, top))
    return image


def interlaced(mode: str, megapixels: float) -> bytes:
    """A PNG in Adam7, which Pillow does not write. mode: L, or RGBA."""
    image = texture(mode, megapixels)
    width, height = image.size
    pixels = memoryview(image.tobytes()).cast("B" if mode == "L" else "I")
    rows = bytearray()
    for left, top, across, down in _ADAM7:
        for row in range(top, height, down):
            rows += b"\0"
            rows += pixels[row * width + left : (row + 1) * width : across].tobytes()
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if mode == "L" else 6, 0, 0, 1)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # left, top, steps


# Told as "what mode", with the options of Pillow's encoder.
SOURCES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "JPEG": ("JPEG", "RGB", {"quality": 90}),
    "JPEG 4:4:4": ("JPEG", "RGB", {"quality": 90, "subsampling": 0}),
    "JPEG grey": ("JPEG", "L", {}),
    "JPEG CMYK": ("JPEG", "CMYK", {}),
    "JPEG progressive": ("JPEG", "RGB", {"progressive": True}),
    "JPEG progressive 4:4:4": ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    "JPEG progressive grey": ("JPEG", "L", {"progressive": True}),
    "JPEG progressive CMYK": ("JPEG", "CMYK", {"progressive": True}),
    "JPEG turned": (
        "JPEG",
        "RGB",
        {"quality": 90, "exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"},
    ),
    "JPEG profile": ("JPEG", "RGB", {"quality": 90, "icc_profile": wide_profile()}),
    "PNG bits": ("PNG", "1", {"compress_level": 1}),
    "PNG grey": ("PNG", "L", {"compress_level": 1}),
    "PNG grey 16 bits": ("PNG", "I;16", {"compress_level": 1}),
    "PNG grey alpha": ("PNG", "LA", {"compress_level": 1}),
    "PNG palette": ("PNG", "P", {"compress_level": 1}),
    "PNG palette alpha": ("PNG", "P", {"compress_level": 1, "transparency": 0}),
    "PNG RGB": ("PNG", "RGB", {"compress_level": 1}),
    "PNG RGB key": ("PNG", "RGB", {"compress_level": 1, "transparency": TRANSPARENT}),
    "PNG RGBA": ("PNG", "RGBA", {"compress_level": 1}),
    "PNG RGBA profile": ("PNG", "RGBA", {"compress_level": 1, "icc_profile": wide_profile()}),
    "GIF": ("GIF", "P", {}),
    "GIF alpha": ("GIF", "P", {"transparency": 0, "disposal": 2}),
    "WebP": ("WEBP", "RGB", {"method": 0}),
    "WebP alpha": ("WEBP", "RGBA", {"method": 0}),
    "WebP lossless": ("WEBP", "RGB", {"lossless": True, "method": 0, "quality": 0}),
    "WebP lossless alpha": ("WEBP", "RGBA", {"lossless": True, "method": 0, "quality": 0}),
    "AVIF": ("AVIF", "RGB", {"speed": 10}),
    "AVIF 4:4:4": ("AVIF", "RGB", {"speed": 10, "subsampling": "4:4:4"}),
    "AVIF alpha": ("AVIF", "RGBA", {"speed": 10}),
    "AVIF grey": ("AVIF", "L", {"speed": 10}),
    "AVIF film grain": ("AVIF", "RGB", {"speed": 10, "advanced": {"film-grain-test": "1"}}),
}
PLAIN = ("JPEG", "JPEG turned", "JPEG profile", "PNG RGB", "PNG RGBA", "PNG RGBA profile")
NOISE = {"noise grey": "L", "noise RGB": "RGB", "noise RGBA": "RGBA"}


class Case(NamedTuple):
    source: str
    megapixels: float
    preset: Preset
    resizer: str


def cases() -> Iterator[Case]:
    small, large = DEFAULT.get("avatar_small"), DEFAULT.get("content_full")
    for source in [*SOURCES, "PNG grey interlaced", "PNG RGBA interlaced"]:
        yield from (Case(source, megapixels, small, "simd") for megapixels in (0.02, 1, 12, 48))
        yield Case(source, 12, large, "pillow")
    for preset in [*DEFAULT, *BLUESKY]:
        yield from (Case(source, 12, preset, "simd") for source in PLAIN)
        yield from (Case(source, 2, preset, "pillow") for source in ("JPEG", "PNG RGBA"))
    for made, quality in itertools.product(FORMATS, (80, 100)):
        preset = Preset(f"same-q{quality}", 16000, 0, FitMode.CONTAIN, quality, format=made)
        yield from (Case(source, megapixels, preset, "simd") for source in NOISE for megapixels in (0.1, 4))
    for made in FORMATS:
        preset = Preset("enlarged", 4000, 3000, FitMode.COVER, 90, format=made)
        yield from (Case(source, 2, preset, "simd") for source in ("JPEG", "PNG RGBA", "WebP", "AVIF"))


def source_of(case: Case, folder: Path) -> Path:
    path = folder / f"{case.source}-{case.megapixels}".replace(" ", "-").replace(":", "")
    if not path.exists():
        if case.source.endswith("interlaced"):
            data = interlaced("L" if "grey" in case.source else "RGBA", case.megapixels)
        elif case.source in NOISE:
            data = encoded(texture(NOISE[case.source], case.megapixels, grain=1), "PNG", compress_level=0)
        else:
            kind, mode, options = SOURCES[case.source]
            data = encoded(texture(mode, case.megapixels), kind, **options)
        path.write_bytes(data)
    return path


def worst(folder: Path) -> list[Job]:
    kinds = ("JPEG progressive CMYK", "PNG RGBA", "WebP", "WebP lossless alpha", "AVIF", "AVIF alpha")
    preset = BLUESKY.get("feed_thumbnail")
    return [Job(source_of(Case(kind, 12, preset, "simd"), folder), preset) for kind in kinds]


def line(name: str, found: Peak) -> str:
    ratio = found.measured / found.estimated
    mark = " TOO LOW" if ratio > 1 else ""
    return f"{name}{found.measured / 1e6:10.1f}{found.estimated / 1e6:11.1f}{ratio:7.2f}{mark}"


def main(words: list[str]) -> None:
    print(f"{'source':24}{'MP':>5}  {'preset':22}{'resizer':8}{'measured':>10}{'estimated':>11}{'ratio':>7}   (MB)")
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in cases():
            made = f"{case.preset.name} {case.preset.format}"
            told = f"{case.source:24}{case.megapixels:5}  {made:22}{case.resizer:8}"
            if all(word in told for word in words):
                found = peak([Job(source_of(case, folder), case.preset)], case.resizer)
                print(line(told, found), flush=True)
                if case.megapixels >= 1:
                    ratios.append(found.measured / found.estimated)
        if ratios:
            print(f"1 MP and over: {len(ratios)} cases, ratios from {min(ratios):.2f} to {max(ratios):.2f}")
        if not words:
            for rounds in (1, 5):
                found = peak(worst(folder), rounds=rounds)
                print(line(f"six at once, {rounds} times", found), f"  left {found.left / 1e6:.1f}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--peak"]:
        print(json.dumps(measure(json.load(sys.stdin))))
    else:
        main(sys.argv[1:])
