"""Signed URLs: only those are answered that the site wrote."""

from collections.abc import Iterator

import pytest

from imageproxy import Config, ImageURLs, Service
from imageproxy.testing import FakeCache, FakeFetcher, fake_service
from imageproxy.web import Options, respond


@pytest.fixture
def service(cache: FakeCache, fetcher: FakeFetcher) -> Iterator[Service]:
    with fake_service(cache=cache, fetcher=fetcher, config=Config(url_signing_key="secret")) as service:
        yield service


def test_what_the_service_writes_is_answered(service: Service, did: str, cid: str) -> None:
    assert respond(service, "GET", service.url_for("avatar", did, cid)).status == 200
    assert respond(service, "GET", service.url_for("avatar", did, cid, format="webp")).status == 200
    assert respond(service, "HEAD", service.url_for("banner", did, cid)).status == 200


@pytest.mark.parametrize("did", ["did:web:localhost%3A8080", "did:web:example.com"])
def test_a_signed_url_may_be_decoded_on_its_way(service: Service, did: str, cid: str) -> None:
    url = service.url_for("avatar", did, cid)
    assert respond(service, "GET", url).status == 200
    assert respond(service, "GET", url.replace("%253A", "%3A")).status == 200
    assert respond(service, "GET", url.replace(":", "%3A")).status == 200


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("avatar", "banner"),
        ("?v=avatar", "?v=banner"),
        ("did:plc:e", "did:plc:a"),
        ("&s=", "&x="),
        ("&s=", "&s=a"),
        ("&s=", "&x=1&s="),
        ("?v=", "?v=x&v="),
        ("?v=", "?w="),
        ("?v=", "?v=%61"),
        ("?", "@jpeg?"),
    ],
)
def test_any_other_url_is_refused_and_costs_nothing(
    service: Service, cache: FakeCache, did: str, cid: str, old: str, new: str
) -> None:
    url = service.url_for("avatar", did, cid)
    changed = url.replace(old, new, 1)
    assert changed != url
    response = respond(service, "GET", changed)
    assert response.status == 400
    assert cache.reads == []


@pytest.mark.parametrize("query", ["", "?", "?s=", "?v=&s=", "?v=x&s=\ud800", "?v=é&s=é", "?v=%00&s=x"])
def test_a_url_without_a_signature_is_refused(service: Service, path: str, query: str) -> None:
    assert respond(service, "GET", path + query).status == 400


def test_an_older_version_that_was_signed_is_answered(service: Service, did: str, cid: str, path: str) -> None:
    keys = ImageURLs(signing_key="secret").keys
    assert keys is not None
    old = f"{path}?v=avatar-000000000000"
    response = respond(service, "GET", f"{old}&s={keys.sign(old)}")
    assert response.status == 200
    assert dict(response.headers)["Cache-Control"] == "public, max-age=86400"


def test_keys_can_be_changed(service: Service, did: str, cid: str) -> None:
    old = ImageURLs(signing_key="old").url_for("avatar", did, cid)
    assert respond(service, "GET", old).status == 400
    both = Options(signing_keys=["secret", b"old"])
    for url in (old, service.url_for("avatar", did, cid)):
        assert respond(service, "GET", url, (), both).status == 200


def test_a_site_that_signs_may_answer_all_the_same(service: Service, path: str) -> None:
    assert respond(service, "GET", path, (), Options(signing_keys=())).status == 200


def test_a_service_that_does_not_sign_may_be_asked_for_signatures(path: str, did: str, cid: str) -> None:
    options = Options(signing_keys=["other"])
    with fake_service() as service:
        assert respond(service, "GET", path, (), options).status == 400
        url = ImageURLs(signing_key="other").url_for("avatar", did, cid)
        assert respond(service, "GET", url, (), options).status == 200


def test_a_mount_does_not_matter(service: Service, did: str, cid: str) -> None:
    url = service.url_for("avatar", did, cid)
    assert respond(service, "GET", url.replace("/img", "/pictures", 1), (), Options(prefix="/pictures")).status == 200
    assert respond(service, "GET", url.removeprefix("/img"), (), Options(prefix="")).status == 200
