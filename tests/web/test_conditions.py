"""If-None-Match: answered after the policy, and without the image."""

import pytest

from imageproxy import BlobBlockedError, CacheKey, Service
from imageproxy.testing import FakeCache, FakeFetcher, FakePolicy, fake_service
from imageproxy.web import respond


@pytest.fixture
def etag(key: CacheKey) -> str:
    return f'"{key.preset}-{key.cid}"'


@pytest.mark.parametrize(
    "value",
    [
        "{etag}",
        "W/{etag}",
        '"a", "b",{etag}',
        '"a", W/{etag} ,"b"',
        ",,{etag},",
        '"with, comma", {etag}',
        'W/"", {etag}',
        '"\xe9", {etag}',
    ],
)
def test_a_client_that_has_the_image_gets_none(
    service: Service, fetcher: FakeFetcher, cache: FakeCache, path: str, etag: str, value: str
) -> None:
    for method in ("GET", "HEAD"):
        response = respond(service, method, path, {"If-None-Match": value.format(etag=etag)})
        headers = dict(response.headers)
        assert (response.status, response.body) == (304, b"")
        assert headers["ETag"] == etag
        assert headers["Cache-Control"] == "public, max-age=86400"
        assert not {"Content-Type", "Content-Length"} & set(headers)
    # Nor is the image looked for: the tag says all there is to say.
    assert fetcher.calls == []
    assert cache.reads == []


@pytest.mark.parametrize(
    "value",
    ["", " ", '"other"', "{bare}", '"{bare}', 'w/{etag}x"', '"x{bare}"', '"a"b{bare}c"d"', "'{bare}'", "**", '"*"'],
)
def test_any_other_tag_gets_the_image(service: Service, path: str, etag: str, value: str) -> None:
    value = value.format(etag=etag[:-1], bare=etag.strip('"'))
    assert respond(service, "GET", path, {"If-None-Match": value}).status == 200


def test_each_format_has_a_tag_of_its_own(service: Service, path: str, etag: str) -> None:
    assert respond(service, "GET", f"{path}@webp", {"If-None-Match": etag}).status == 200


def test_a_star_asks_whether_there_is_an_image(service: Service, fetcher: FakeFetcher, path: str) -> None:
    assert respond(service, "GET", path, {"If-None-Match": " * "}).status == 304
    assert len(fetcher.calls) == 1
    assert respond(service, "GET", f"{path[:-59]}bafkreimadeup", {"If-None-Match": "*"}).status == 404


def test_the_policy_comes_before_the_tag(path: str, did: str, cid: str, etag: str, policy: FakePolicy) -> None:
    with fake_service(policy=policy) as service:
        assert respond(service, "GET", path, {"If-None-Match": etag}).status == 304
        assert policy.calls == [(did, cid)]
        policy.blocked.add(did)
        for value in (etag, "*"):
            assert respond(service, "GET", path, {"If-None-Match": value}).status == 410
        policy.error = BlobBlockedError("", status=451)
        assert respond(service, "GET", path, {"If-None-Match": etag}).status == 451


def test_the_policy_is_asked_once_for_a_hit(path: str, did: str, cid: str, policy: FakePolicy) -> None:
    with fake_service(policy=policy) as service:
        service.get_image("avatar", did, cid)
        policy.calls.clear()
        respond(service, "GET", path, {"If-None-Match": '"other"'})
        assert policy.calls == [(did, cid)]
