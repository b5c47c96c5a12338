"""A feed in a real browser: a page of a Flask app, its images from a running ``imageproxy serve``."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from imageproxy import DEFAULT
from imageproxy.testing import drawn_photos

from .conftest import Site
from .devtools import Page

IMAGES = """Array.from(document.images, image => ({
    id: image.id, kind: image.className, src: image.currentSrc, alt: image.alt, complete: image.complete,
    size: [image.naturalWidth, image.naturalHeight], shown: [image.width, image.height],
}))"""


def images_of(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.run(IMAGES)
    return found


def preset_of(image: dict[str, Any]) -> str:
    return str(urlsplit(image["src"]).path.split("/")[2])


def fitted(preset: str, size: tuple[int, int]) -> list[int]:
    """How large a photo of this size is in a preset of fixed width that does not enlarge."""
    width = min(DEFAULT.get(preset).width, size[0])
    return [width, round(size[1] * width / size[0])]


def photo_sizes() -> list[tuple[int, int]]:
    sizes = []
    for photo in drawn_photos():
        with Image.open(io.BytesIO(photo.data)) as image:
            orientation = image.getexif().get(0x0112, 1)
            sizes.append(image.size if orientation < 5 else image.size[::-1])
    return sizes


@pytest.mark.parametrize(
    ("scale", "content", "avatar"),
    [(1, "content_preview", "avatar_small"), (3, "content_full", "avatar_small"), (4, "content_full", "avatar")],
)
def test_every_image_is_decoded_in_the_size_that_the_screen_asks_for(
    page: Page, site: Site, scale: int, content: str, avatar: str
) -> None:
    page.set_screen(760, 1000, scale=scale)
    page.go(site.url)
    images = images_of(page)
    by_id = {image["id"]: image for image in images if image["id"]}
    assert by_id["banner"]["size"] == [640, 300]
    assert preset_of(by_id["avatar"]) == avatar
    photos = [image for image in images if image["kind"] == "photo"]
    sizes = photo_sizes()
    assert len(photos) == len(sizes) > 2
    for image, size in zip(photos, sizes, strict=True):
        assert preset_of(image) == content
        # Not naturalWidth: with srcset, that is in pixels of CSS, by the width that was promised.
        assert image["complete"]
        decoded = page.run(
            f"fetch({image['src']!r}).then(r => r.blob()).then(createImageBitmap).then(b => [b.width, b.height])"
        )
        assert decoded == fitted(content, size)
    assert all(
        image["complete"] and image["size"][0] > 0
        for image in images
        if image["id"] not in ("gone", "no-image", "lazy")
    )


def test_formats_are_what_the_browser_reads_best(page: Page, site: Site) -> None:
    page.go(site.url)
    responses = page.responses()
    for image in images_of(page):
        if image["id"] in ("gone", "no-image", "lazy"):
            continue
        is_named = "@webp" in image["src"]
        response = responses[image["src"]]
        fields = {name.lower(): value for name, value in response["headers"].items()}
        assert response["mimeType"] == ("image/webp" if is_named else "image/avif")
        assert fields.get("vary") == (None if is_named else "Accept")


def test_pixels_are_there_for_scripts_of_another_origin(page: Page, site: Site) -> None:
    page.go(site.url)
    colours = page.run(
        """fetch(document.querySelector("#banner").currentSrc)
            .then(r => r.blob()).then(createImageBitmap).then(bitmap => {
            const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
            const context = canvas.getContext("2d");
            context.drawImage(bitmap, 0, 0);
            const data = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
            return new Set(new Uint32Array(data.buffer)).size;
        })"""
    )
    assert colours > 1000


def test_a_second_visit_asks_for_nothing(page: Page, site: Site) -> None:
    page.go(site.url)
    asked = len(site.requests())
    assert asked > 5
    page.go(site.url)
    good = [image for image in images_of(page) if image["id"] not in ("gone", "no-image", "lazy")]
    assert all(image["complete"] and image["size"][0] > 0 for image in good)
    # Those that could not be had are asked for again once their ten seconds are over.
    assert len(site.requests()) <= asked + 2
    assert {entry["status"] for entry in site.requests()[asked:]} <= {404, 422}


def test_validators_are_answered_without_the_image(page: Page, site: Site) -> None:
    page.go(site.url)
    status, size = page.run(
        """fetch(document.querySelector("#banner").currentSrc, {cache: "no-cache", headers: {Accept: "image/avif"}})
            .then(r => r.blob().then(b => [r.status, b.size]))"""
    )
    assert (status, size > 1000) == (200, True), "for the page it is the image that it has"
    last = site.requests()[-1]
    assert (last["status"], last["bytes"]) == (304, 0), "for the server it is no image at all"


def test_what_cannot_be_had_is_its_text(page: Page, site: Site) -> None:
    page.go(site.url)
    by_id = {image["id"]: image for image in images_of(page) if image["id"]}
    for name, status in (("gone", 404), ("no-image", 422)):
        image = by_id[name]
        assert (image["complete"], image["size"]) == (True, [0, 0])
        assert image["kind"] == "photo broken", "onerror was called"
        assert image["alt"]
        path = urlsplit(image["src"]).path
        assert [request["status"] for request in site.requests() if request["path"] == path][-1:] == [status]
    assert "none" not in by_id, "an account without an avatar has no tag"
    assert page.run("document.body.innerText.includes('undefined')") is False
    complaints = [event["params"] for event in page.events if event["method"] == "Runtime.exceptionThrown"]
    assert complaints == []


def test_what_is_far_below_waits_until_it_is_near(page: Page, site: Site) -> None:
    page.go(site.url)
    lazy = next(image for image in images_of(page) if image["id"] == "lazy")
    assert (lazy["complete"], lazy["shown"]) == (False, [720, 360]), "there is room for it already"
    size = page.run(
        """(() => { const image = document.querySelector("#lazy"); image.scrollIntoView();
            return new Promise(done => image.addEventListener("load",
                () => done([image.naturalWidth, image.naturalHeight]))); })()"""
    )
    assert size == [720, 360]


def test_an_image_opened_by_itself_is_an_image_and_no_page(page: Page, site: Site) -> None:
    page.go(site.url)
    url = page.run("document.querySelector('#banner').currentSrc")
    page.go(url)
    assert page.run("[document.contentType, document.images[0].naturalWidth]") == ["image/avif", 640]
    assert page.run("window.origin") == "null", "it is in a sandbox"
    page.go(url.partition("&s=")[0])
    assert page.run("[document.contentType, document.body.innerText.trim()]") == [
        "text/plain",
        "this URL is not signed by this site, or was changed since",
    ]


def test_it_looks_right(page: Page, site: Site, tmp_path: Path) -> None:
    page.set_screen(660, 960)
    page.go(site.url)
    page.run("Promise.all(Array.from(document.images).filter(i => i.complete).map(i => i.decode().catch(() => 0)))")
    page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    picture = Image.open(io.BytesIO(page.picture())).convert("RGB")
    assert picture.size == (660, 960)
    banner = picture.crop((10, 0, 650, 240))
    assert len(banner.getcolors(1 << 20) or ()) > 1000
    if kept := os.environ.get("BROWSER_PICTURE"):  # for docs/img/browser.png
        picture.quantize(128, dither=Image.Dither.NONE).save(kept, optimize=True)
