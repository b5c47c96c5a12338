"""Each hostile file, in a process of its own: an image or an error of ours, within 5 s and 400 MB over the start."""

import json
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

NASTY = Path(__file__).parents[3] / "shared" / "nasty"

SCRIPT = """
import json, resource, sys, time
from io import BytesIO
from pathlib import Path
from PIL import Image
from imageproxy import DEFAULT, ImageProxyError, PillowProcessor

processor, unit = PillowProcessor(), 1 if sys.platform == "darwin" else 1024
small = BytesIO()
Image.new("RGB", (64, 64)).save(small, "JPEG")
processor.process(small.getvalue(), DEFAULT.get("avatar_small"))
data = Path(sys.argv[1]).read_bytes()
start, began, outcomes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic(), []
for preset in (DEFAULT.get("avatar"), DEFAULT.get("content_full"), DEFAULT.get("banner").with_format("webp")):
    try:
        made = processor.process(data, preset)
        Image.open(BytesIO(made)).load()
        outcomes.append("image")
    except ImageProxyError as error:
        outcomes.append(type(error).__name__)
seconds = (time.monotonic() - began) / 3
print(json.dumps([outcomes, seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) * unit]))
"""

OURS = {"image", "UnsupportedFormatError", "ImageTooLargeError", "ProcessingError"}


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A header that promises much, and few bytes of pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    pixels = zlib.compress(bytes(1_000_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + b"\x08\x06\0\0\0") + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def generated() -> dict[str, bytes]:
    black = Image.new("RGB", (7000, 7000))
    return {
        "png-header-of-48-mp": png_of(7000, 6900),
        "png-header-of-4-gp": png_of(65535, 65535),
        "webp-of-49-mp": encoded(black, "WEBP", lossless=True, method=0),
        "gif-of-49-mp": encoded(Image.new("P", (7000, 7000)), "GIF"),
        "jpeg-progressive-of-49-mp": encoded(black, "JPEG", progressive=True, quality=30),
        "jpeg-one-pixel-high": encoded(Image.new("RGB", (65500, 1)), "JPEG"),
        "png-one-pixel-wide": encoded(Image.new("RGBA", (1, 60000)), "PNG"),
    }


@pytest.fixture(scope="module")
def generated_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("hostile")
    for name, data in generated().items():
        (folder / name).write_bytes(data)
    return {path.name: path for path in folder.iterdir()}


def check(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes, seconds, peak_bytes = json.loads(done.stdout)
    assert set(outcomes) <= OURS
    assert seconds < 5
    assert peak_bytes < 400e6


@pytest.mark.parametrize(
    "name",
    [
        "png-header-of-48-mp",
        "png-header-of-4-gp",
        "webp-of-49-mp",
        "gif-of-49-mp",
        "jpeg-progressive-of-49-mp",
        "jpeg-one-pixel-high",
        "png-one-pixel-wide",
    ],
)
def test_generated_files(name: str, generated_files: dict[str, Path]) -> None:
    check(generated_files[name])


def test_real_files_where_present() -> None:
    for path in sorted(NASTY.iterdir()) if NASTY.is_dir() else ():
        if path.name != "README":
            check(path)
