from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from imageproxy.cli import main
from imageproxy.presets import DEFAULT
from imageproxy.processors.pillow import PillowProcessor

FORMATS = ["jpeg", "png", "webp", "avif"]


@pytest.fixture
def photo(tmp_path: Path, make_photo: Callable[..., bytes]) -> Path:
    path = tmp_path / "one.jpg"
    path.write_bytes(make_photo(300, 200))
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "sheets" / "preview"


@pytest.fixture
def preview(output: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """``preview(argument, ...)``: what the command tells as JSON."""

    def run(*arguments: object) -> Any:
        assert main(["preview", *map(str, arguments), "--output", str(output), "--json"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return json.loads(out)

    return run


def images_on(page: Path) -> list[str]:
    return re.findall(r'<img src="([^"]+)"', page.read_text(encoding="utf-8"))


def text_of(page: Path) -> str:
    html = page.read_text(encoding="utf-8").partition("<body>")[2]
    return unescape(re.sub(r"<[^>]+>", " ", html))


def test_photo_is_shown_in_every_preset_and_format_after_the_original(
    photo: Path, output: Path, preview: Callable[..., Any]
) -> None:
    told = preview(photo)

    page = output / "index.html"
    assert told["page"] == str(page)
    made = told["photos"][0]["images"]
    assert [(each["preset"], each["format"]) for each in made] == [
        (preset.name, each) for preset in DEFAULT for each in FORMATS
    ]
    assert images_on(page) == ["images/01-one.jpeg", *(each["file"] for each in made)]
    assert (output / "images/01-one.jpeg").read_bytes() == photo.read_bytes()
    for each in made:
        with Image.open(output / each["file"]) as image:
            assert (image.format or "").lower() == each["format"]
            assert image.size == (each["width"], each["height"])
        assert each["bytes"] == (output / each["file"]).stat().st_size
        assert 0 < each["seconds"] < 60


def test_pixels_bytes_and_milliseconds_stand_below_each_image(
    photo: Path, output: Path, preview: Callable[..., Any]
) -> None:
    preview(photo, "--presets", "banner", "--formats", "webp,jpeg")

    text = " ".join(text_of(output / "index.html").split())
    assert re.search(r"original 300 × 200 · [\d.]+ kB banner 640 × 300, cover, quality 85, jpeg webp 640", text)
    assert len(re.findall(r"(webp|jpeg) 640 × 300 · [\d.]+ kB [\d.]+ ms", text)) == 2
    assert f"1 photo resized with {PillowProcessor().resizer_name}." in text


def test_presets_formats_and_quality_are_chosen(photo: Path, preview: Callable[..., Any]) -> None:
    presets = ["--presets", "bluesky:avatar,avatar,bluesky:feed_fullsize,content_full", "--formats", "webp"]
    high = preview(photo, *presets)["photos"][0]["images"]
    low = preview(photo, *presets, "--quality", "20")["photos"][0]["images"]

    assert [each["preset"] for each in high] == ["bluesky:avatar", "avatar", "bluesky:feed_fullsize", "content_full"]
    assert [each["width"] for each in high] == [1000, 1000, 1000, 300]
    assert len({each["file"] for each in high}) == 4
    assert all(one["bytes"] < other["bytes"] for one, other in zip(low, high, strict=True))


def test_page_needs_nothing_from_elsewhere(photo: Path, output: Path, preview: Callable[..., Any]) -> None:
    preview(photo)

    html = (output / "index.html").read_text(encoding="utf-8")
    assert "://" not in html
    assert "url(" not in html
    assert not re.search(r"<(script|link|iframe)", html)
    assert "prefers-color-scheme: dark" in html
    assert "width=device-width" in html


def test_file_that_is_no_photo_has_its_place_and_stops_nothing(
    photo: Path, tmp_path: Path, output: Path, make_photo: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a\x1b.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "b.jpg").write_bytes(make_photo()[:300])
    (tmp_path / "c.jpg").write_bytes(bytes(10 * 1024**2 + 1))
    files = [tmp_path / "a\x1b.svg", tmp_path / "b.jpg", tmp_path / "c.jpg", photo]

    assert main(["preview", *map(str, files), "--output", str(output), "--presets", "banner"]) == 0

    *reasons, summary, page = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in reasons] == ["a?.svg", "b.jpg", "c.jpg"]
    assert "the bytes look like svg" in reasons[0]
    assert summary == "3 files of 4 could not be shown."
    assert page == f"Preview: {output / 'index.html'}"
    html = (output / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*?)</h2>\n<(\w+)", html) == [
        ("a\x1b.svg", "p"),
        ("b.jpg", "p"),
        ("c.jpg", "p"),
        ("one.jpg", "div"),
    ]
    text = text_of(output / "index.html")
    assert "the bytes look like svg" in text
    assert "the image is broken" in text
    assert "10,485,761 bytes; the limit is 10,485,760" in text
    assert "1 photo resized with" in text
    assert "3 files could not be shown" in text
    assert len(images_on(output / "index.html")) == 1 + len(FORMATS)


def test_photo_with_metadata_that_pillow_refuses_is_shown(
    tmp_path: Path, output: Path, preview: Callable[..., Any]
) -> None:
    (tmp_path / "one.png").write_bytes(png_with_a_text_too_long())

    told = preview(tmp_path / "one.png", "--presets", "banner")["photos"][0]

    assert told["error"] is None
    assert (told["original"]["width"], told["original"]["height"]) == (30, 20)
    assert images_on(output / "index.html")[0] == told["original"]["file"] == "images/01-one.png"


def png_with_a_text_too_long() -> bytes:
    """2 MB of zeros, compressed: twice what Pillow reads of a text."""
    file = io.BytesIO()
    texts = PngInfo()
    texts.add_text("Comment", "\0" * 2_000_000, zip=True)
    Image.new("RGB", (30, 20)).save(file, "PNG", pnginfo=texts)
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(file.getvalue()))
    return file.getvalue()


def test_limits_are_those_of_the_environment(
    photo: Path, preview: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGE_PROXY_MAX_SOURCE_PIXELS", "1000")

    (told,) = preview(photo)["photos"]
    assert (told["original"], told["images"]) == (None, [])
    assert "the limit is 1,000" in told["error"]


def test_preset_that_fails_alone_is_shown_among_the_others(
    photo: Path, output: Path, preview: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGE_PROXY_MAX_SOURCE_PIXELS", "200000")

    images = preview(photo, "--presets", "avatar,banner", "--formats", "webp,jpeg")["photos"][0]["images"]

    assert [(each["preset"], each["format"], "error" in each) for each in images] == [
        ("avatar", "webp", True),
        ("avatar", "jpeg", True),
        ("banner", "webp", False),
        ("banner", "jpeg", False),
    ]
    assert images[0]["error"] in text_of(output / "index.html")
    assert len(images_on(output / "index.html")) == 3


def test_folder_gives_its_files_by_name(
    tmp_path: Path, make_photo: Callable[..., bytes], preview: Callable[..., Any]
) -> None:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("b.jpg", "a.jpg", ".hidden.jpg"):
        (folder / name).write_bytes(make_photo(30))
    (tmp_path / "z.jpg").write_bytes(make_photo(30))

    told = preview(tmp_path / "z.jpg", folder, "--presets", "banner", "--formats", "jpeg")

    assert [each["name"] for each in told["photos"]] == ["z.jpg", "a.jpg", "b.jpg"]


def test_earlier_preview_is_replaced(photo: Path, output: Path, preview: Callable[..., Any]) -> None:
    preview(photo, "--presets", "banner,avatar", "--formats", "jpeg")
    preview(photo, "--presets", "banner", "--formats", "webp")

    assert sorted(path.name for path in (output / "images").iterdir()) == ["01-one-banner.webp", "01-one.jpeg"]


@pytest.mark.parametrize("photos", [["nowhere.jpg"], ["."], ["/dev/zero"]])
def test_photo_that_is_not_there_is_told(
    photos: list[str], output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")

    assert main(["preview", *photos, "--output", str(output)]) == 1

    err = capsys.readouterr().err
    assert err.startswith("imageproxy: there ")
    assert err.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize("quality", ["0", "101", "good", "-1", "8.5"])
def test_quality_that_is_none_exits_with_2(quality: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["preview", "a.jpg", "--quality", quality])

    assert ended.value.code == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no such file name on Windows")
def test_name_of_a_file_is_text_wherever_it_is_shown(
    tmp_path: Path, output: Path, make_photo: Callable[..., bytes], preview: Callable[..., Any]
) -> None:
    name = '<img src=x onerror="alert(1)">&amp;\x1b[31m.jpg'
    (tmp_path / name).write_bytes(make_photo(30))

    preview(tmp_path / name, "--presets", "banner", "--formats", "jpeg")

    html = (output / "index.html").read_text(encoding="utf-8")
    assert images_on(output / "index.html")[1] == "images/01-img-src-x-onerror-alert-1-amp-31m-banner.jpeg"
    assert "<img src=x" not in html
    assert name in text_of(output / "index.html")


def test_process_writes_the_page(photo: Path, output: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "imageproxy",
            "preview",
            str(photo),
            "--output",
            str(output),
            "--presets",
            "avatar_small",
        ],
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, f"Preview: {output / 'index.html'}\n", "")
    assert len(images_on(output / "index.html")) == 5
