"""The Python side of benchmarks/process.py: a line of JSON in, a line of JSON out; see contestant.py.

worker.py pillow | simd | pyvips
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

Make = Callable[[bytes, dict[str, Any]], bytes]

PROPORTIONAL = 10_000_000  # libvips wants a height


def ours(resizer: str) -> Make:
    from imageproxy import Preset
    from imageproxy.processors import PillowProcessor

    processor = PillowProcessor(resizer=resizer)
    names = ("name", "width", "height", "fit", "quality", "format", "background", "enlarge")

    def make(data: bytes, fields: dict[str, Any]) -> bytes:
        return processor.process(data, Preset(**{name: fields[name] for name in names}))

    return make


def libvips() -> Make:
    """What libvips' manual says for thumbnails: one operation from the file's bytes to the pixels of the result."""
    pyvips: Any = import_module("pyvips")  # installed for the benchmark alone

    pyvips.cache_set_max(0)

    def make(data: bytes, preset: dict[str, Any]) -> bytes:
        covers = preset["fit"] == "cover"
        options = {"crop": "centre"} if covers else {"size": "both" if preset["enlarges"] else "down"}
        if pyvips.Image.new_from_buffer(data, "").get_typeof("icc-profile-data"):  # slow, also where there is none
            options["output_profile"] = "srgb"
        image = pyvips.Image.thumbnail_buffer(data, preset["width"], height=preset["height"] or PROPORTIONAL, **options)
        made, quality = preset["format"], preset["quality"]
        subsample = "off" if quality > 90 else "on"
        if made == "jpeg":
            if image.hasalpha():
                rgb = preset["background"]
                image = image.flatten(background=[int(rgb[at : at + 2], 16) for at in (1, 3, 5)])
            encoded = image.jpegsave_buffer(
                Q=quality, keep="none", subsample_mode=subsample, optimize_coding=preset["optimize"]
            )
        elif made == "webp":
            encoded = image.webpsave_buffer(Q=quality, keep="none")
        elif made == "avif":
            encoded = image.heifsave_buffer(Q=quality, keep="none", compression="av1", subsample_mode=subsample)
        else:
            encoded = image.pngsave_buffer(keep="none")
        return bytes(encoded)

    return make


def resident(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


def answer(make: Make, data: bytes, request: dict[str, Any]) -> dict[str, float]:
    preset = request["preset"]
    if request["op"] == "peak":
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        make(data, preset)
        return {"peak": resident("VmHWM") - before}
    cpu, start = time.process_time(), time.perf_counter()
    result = make(data, preset)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    if request["save"]:
        Path(request["save"]).write_bytes(result)
    return {"wall": wall, "cpu": cpu, "bytes": len(result)}


def main(contestant: str) -> None:
    make = libvips() if contestant == "pyvips" else ours(contestant)
    path, data = "", b""
    for line in sys.stdin:
        request = json.loads(line)
        if request["path"] != path:
            path, data = request["path"], Path(request["path"]).read_bytes()
        try:
            reply: dict[str, Any] = answer(make, data, request)
        except Exception as error:  # noqa: BLE001 - told to the benchmark, which leaves the cell out
            reply = {"error": str(error)}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
