"""Choosing a format by the client's Accept."""

from typing import Any

import pytest

from imageproxy import DEFAULT, CacheKey, FitMode, Preset, Service
from imageproxy.testing import FakeCache, fake_service
from imageproxy.web import Options, respond
from imageproxy.web._accept import choose_format

CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
FIREFOX_65 = "image/webp,*/*"
SAFARI_13 = "image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5"

NEGOTIATING = Options(negotiate=True)


@pytest.mark.parametrize(
    ("accept", "own", "chosen"),
    [
        ("", "jpeg", "jpeg"),
        ("*/*", "jpeg", "jpeg"),
        ("image/*", "png", "png"),
        (CHROME, "jpeg", "avif"),
        (CHROME, "png", "avif"),
        (FIREFOX_65, "jpeg", "webp"),
        (SAFARI_13, "jpeg", "jpeg"),
        (SAFARI_13, "webp", "webp"),
        ("image/jpeg", "webp", "jpeg"),
        ("image/jpeg, image/webp", "webp", "webp"),
        ("image/png, image/jpeg", "png", "png"),
        ("image/avif;q=0.5, image/webp;q=0.7, */*;q=0.1", "jpeg", "webp"),
        ("image/avif;q=0.1, */*", "jpeg", "jpeg"),
        ("image/avif;q=0, image/webp;q=0.000", "jpeg", "jpeg"),
        ("image/avif;Q=0.8 , image/webp ; q = 0.9", "jpeg", "webp"),
        ("IMAGE/AVIF", "jpeg", "avif"),
        ("image/avif;q=1.5, image/webp;q=nan", "jpeg", "jpeg"),
        ("image/avif;q=, image/webp;q=0.5", "jpeg", "webp"),
        ("image/avif;profile=x;q=0.2, image/jpeg;q=0.1", "jpeg", "avif"),
        ("text/html", "jpeg", "jpeg"),
        ("image/avif image/webp", "jpeg", "jpeg"),
        (";;,,/,image/", "jpeg", "jpeg"),
        ("image/avif" + " " * 2000, "jpeg", "jpeg"),
        ("a/b;" * 200, "jpeg", "jpeg"),
    ],
)
def test_the_format_is_the_best_that_the_client_names(accept: str, own: Any, chosen: str) -> None:
    assert choose_format(accept, own) == chosen


def test_each_format_is_an_entry_and_a_tag_of_its_own(service: Service, cache: FakeCache, path: str) -> None:
    tags: dict[str, str] = {}
    for accept, format_ in ((CHROME, "avif"), (FIREFOX_65, "webp"), ("", "jpeg"), (CHROME, "avif")):
        response = respond(service, "GET", path, {"Accept": accept}, NEGOTIATING)
        headers = dict(response.headers)
        assert headers["Content-Type"] == f"image/{format_}"
        assert headers["Vary"] == "Accept"
        tags[format_] = headers["ETag"]
        again = respond(service, "GET", path, {"Accept": accept, "If-None-Match": headers["ETag"]}, NEGOTIATING)
        assert (again.status, dict(again.headers)["Vary"]) == (304, "Accept")
    assert len(set(tags.values())) == 3
    assert respond(service, "GET", path, {"Accept": CHROME, "If-None-Match": tags["jpeg"]}, NEGOTIATING).status == 200
    assert service.flush()
    assert {key.content_type for key in cache.entries} == {"image/avif", "image/webp", "image/jpeg"}


def test_a_url_that_names_its_format_is_not_negotiated(service: Service, path: str) -> None:
    response = respond(service, "GET", f"{path}@jpeg", {"Accept": CHROME}, NEGOTIATING)
    assert dict(response.headers)["Content-Type"] == "image/jpeg"
    assert "Vary" not in dict(response.headers)


def test_nothing_is_negotiated_unless_it_is_asked_for(service: Service, path: str) -> None:
    response = respond(service, "GET", path, {"Accept": CHROME})
    assert dict(response.headers)["Content-Type"] == "image/jpeg"
    assert "Vary" not in dict(response.headers)


def test_a_negotiated_image_of_the_present_version_is_good_for_ever(service: Service, did: str, cid: str) -> None:
    response = respond(service, "GET", service.url_for("avatar", did, cid), {"Accept": CHROME}, NEGOTIATING)
    assert "immutable" in dict(response.headers)["Cache-Control"]


def test_a_preset_of_another_format_is_negotiated_too(path: str, key: CacheKey) -> None:
    presets = DEFAULT.with_presets(Preset("avatar", 10, 10, FitMode.COVER, 80, format="png"))
    with fake_service(presets=presets) as service:
        for accept, content_type in (("", "image/png"), (CHROME, "image/avif")):
            response = respond(service, "GET", path, {"Accept": accept}, NEGOTIATING)
            assert dict(response.headers)["Content-Type"] == content_type
