"""What a request for an image is answered with."""

import dataclasses
import logging
import threading
from typing import Any

import pytest

from imageproxy import (
    DEFAULT,
    BlobBlockedError,
    BusyError,
    CIDMismatchError,
    ConfigError,
    DeadlineExceededError,
    DIDNotFoundError,
    DIDResolutionError,
    ImageProxyError,
    ImageTooLargeError,
    PDSFetchError,
    PDSNotFoundError,
    PDSTimeoutError,
    PolicyError,
    ProcessingError,
    Service,
    ServiceClosedError,
    UnsafeURLError,
    UnsupportedFormatError,
)
from imageproxy.testing import FakeCache, FakeFetcher, FakePolicy, FakeProcessor, FakeResolver, fake_service
from imageproxy.web import Options, Response, respond
from imageproxy.web._refusals import refusal

SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Access-Control-Allow-Origin": "*",
}


def test_an_image_comes_with_all_that_caches_and_browsers_need(service: Service, path: str, did: str, cid: str) -> None:
    response = respond(service, "GET", path)
    assert (response.status, response.reason, response.body) == (200, "OK", b"avatar:blob")
    assert dict(response.headers) == {
        "Content-Type": "image/jpeg",
        "Content-Length": "11",
        "Cache-Control": "public, max-age=86400",
        "ETag": service.get("avatar", did, cid).etag,
        "Cache-Tag": f"{did},{cid}",
        "Surrogate-Key": f"{did} {cid}",
        **SECURITY,
    }


def test_a_url_of_the_presets_present_version_is_good_for_ever(service: Service, path: str, did: str, cid: str) -> None:
    for url, age in (
        (service.url_for("avatar", did, cid), "public, max-age=31536000, immutable"),
        (service.url_for("avatar", did, cid, format="webp"), "public, max-age=31536000, immutable"),
        (path, "public, max-age=86400"),
        (f"{path}?v=avatar-000000000000", "public, max-age=86400"),
        (f"{path}@webp?v={DEFAULT.get('avatar').key}", "public, max-age=86400"),
        (f"{path}?x=1&v={DEFAULT.get('avatar').key}", "public, max-age=31536000, immutable"),
    ):
        response = respond(service, "GET", url)
        assert (response.status, dict(response.headers)["Cache-Control"]) == (200, age), url


def test_how_long_images_and_errors_are_kept_can_be_chosen(service: Service, path: str, did: str, cid: str) -> None:
    options = Options(max_age_seconds=60, versioned_max_age_seconds=3600, error_max_age_seconds=0)
    for url, age in (
        (path, "public, max-age=60"),
        (service.url_for("avatar", did, cid), "public, max-age=3600, immutable"),
        ("/img/nope/plain/a/b", "max-age=0"),
    ):
        assert dict(respond(service, "GET", url, (), options).headers)["Cache-Control"] == age


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "avif"])
def test_a_format_can_be_named(service: Service, path: str, format_: str) -> None:
    response = respond(service, "GET", f"{path}@{format_}")
    assert response.status == 200
    assert dict(response.headers)["Content-Type"] == f"image/{format_}"
    assert response.body == (b"avatar:blob" if format_ == "jpeg" else f"avatar@{format_}:blob".encode())


def test_head_is_answered_as_get_without_the_body(service: Service, path: str) -> None:
    for url in (path, "/img/nope/plain/a/b", "/nowhere", f"{path}@bmp"):
        get, head = respond(service, "GET", url), respond(service, "HEAD", url)
        assert get.body
        assert head == dataclasses.replace(get, body=b"")


@pytest.mark.parametrize(
    "spelling", ["did:web:localhost%253A8080", "did:web:localhost%3A8080", "did:web:localhost:8080"]
)
def test_the_port_of_a_did_web_survives_any_decoding(cid: str, spelling: str) -> None:
    resolver = FakeResolver()
    with fake_service(resolver=resolver) as service:
        response = respond(service, "GET", f"/img/avatar/plain/{spelling}/{cid}")
    assert response.status == 200
    assert [call.did for call in resolver.calls] == ["did:web:localhost%3A8080"]
    assert dict(response.headers)["Surrogate-Key"] == f"did:web:localhost%3A8080 {cid}"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/img",
        "/img/",
        "/img/avatar",
        "/img/avatar/plain/did:plc:a",
        "/img/avatar/plain/did:plc:a/bafkreimadeup/more",
        "/img/avatar/fancy/did:plc:a/bafkreimadeup",
        "/IMG/avatar/plain/did:plc:a/bafkreimadeup",
        "//img/avatar/plain/did:plc:a/bafkreimadeup",
        "/img//plain/did:plc:a/bafkreimadeup/",
        "/img/avatar/plain/../plain/did:plc:a/bafkreimadeup",
        "/x/img/avatar/plain/did:plc:a/bafkreimadeup",
        "img/avatar/plain/did:plc:a/bafkreimadeup",
        "http://example.com/img/avatar/plain/did:plc:a/bafkreimadeup",
    ],
)
def test_a_path_that_is_no_images_is_not_found(service: Service, path: str) -> None:
    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        assert respond(service, method, path).status == 404


def test_a_slash_is_one_however_it_is_written(service: Service, did: str, cid: str) -> None:
    """A WSGI app cannot tell, so nobody does."""
    assert respond(service, "GET", f"/img/avatar/plain%2f{did}%2F{cid}").status == 200


@pytest.mark.parametrize(
    ("preset", "did", "last"),
    [
        ("nope", "did:plc:a", "bafkreimadeup"),
        ("", "did:plc:a", "bafkreimadeup"),
        ("%00", "did:plc:a", "bafkreimadeup"),
        ("avatar", "", "bafkreimadeup"),
        ("avatar", "..", "bafkreimadeup"),
        ("avatar", "did:plc:a%00", "bafkreimadeup"),
        ("avatar", "did:plc:a%0d%0aSet-Cookie:%20x", "bafkreimadeup"),
        ("avatar", "did:plc:%25252e", "bafkreimadeup"),
        ("avatar", "did:plc:ä", "bafkreimadeup"),
        ("avatar", "did:plc:%ff", "bafkreimadeup"),
        ("avatar", "did:plc:" + "a" * 10_000, "bafkreimadeup"),
        ("avatar", "did:plc:a", ""),
        ("avatar", "did:plc:a", "no"),
        ("avatar", "did:plc:a", "bafkreimadeup%0a"),
        ("avatar", "did:plc:a", "%2e%2e"),
        ("avatar", "did:plc:a", "b" * 10_000),
        ("avatar", "did:plc:a", "bafkreimadeup@"),
        ("avatar", "did:plc:a", "bafkreimadeup@bmp"),
        ("avatar", "did:plc:a", "bafkreimadeup@webp@webp"),
        ("avatar", "did:plc:a", "bafkreimadeup@JPEG"),
    ],
)
def test_a_bad_preset_did_cid_or_format_is_the_clients_fault(
    service: Service, cache: FakeCache, fetcher: FakeFetcher, preset: str, did: str, last: str
) -> None:
    response = respond(service, "GET", f"/img/{preset}/plain/{did}/{last}")
    assert response.status == (404 if "%2525" in did else 400)
    assert dict(response.headers)["Cache-Control"] == "max-age=10"
    assert len(response.body) < 400
    assert cache.reads == [] or "%2525" in did
    assert all("\r" not in value and "\n" not in value for _, value in response.headers)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "get", "", "GET "])
def test_other_methods_are_refused(service: Service, path: str, method: str) -> None:
    response = respond(service, method, path)
    assert response.status == 405
    assert dict(response.headers)["Allow"] == "GET, HEAD, OPTIONS"


def test_a_script_of_another_origin_may_ask_conditionally(service: Service, path: str) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    response = respond(service, "OPTIONS", path, asked)
    headers = dict(response.headers)
    assert (response.status, response.body) == (204, b"")
    assert "Content-Length" not in headers  # RFC 9110 section 8.6
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Access-Control-Allow-Headers"] == "*"
    assert headers["Access-Control-Allow-Methods"] == headers["Allow"] == "GET, HEAD, OPTIONS"
    plain = respond(service, "OPTIONS", path, {"Origin": "https://app.example"})
    assert dict(plain.headers) == {"Allow": "GET, HEAD, OPTIONS", **SECURITY}


def answer(error: Exception, path: str, **backends: Any) -> Response:
    with fake_service(fetcher=FakeFetcher(error=error), **backends) as service:
        return respond(service, "GET", path)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PDSNotFoundError("secret", reason="blob_not_found"), 404),
        (PDSNotFoundError("secret", reason="repo_taken_down"), 404),
        (DIDNotFoundError("secret"), 404),
        (CIDMismatchError("secret"), 404),
        (BlobBlockedError("secret"), 410),
        (BlobBlockedError("secret", status=451), 451),
        (BlobBlockedError("secret", status=200), 410),
        (BlobBlockedError("secret", status="451"), 410),
        (UnsupportedFormatError("secret"), 422),
        (ImageTooLargeError("secret"), 422),
        (ProcessingError("secret"), 422),
        (PDSFetchError("secret"), 502),
        (UnsafeURLError("secret"), 502),
        (DIDResolutionError("secret"), 502),
        (BusyError("secret", retry_after=2.5), 503),
        (ServiceClosedError("secret"), 503),
        (PDSTimeoutError("secret"), 504),
        (DeadlineExceededError("secret"), 504),
    ],
)
def test_each_error_has_its_status_and_tells_no_secrets(path: str, error: ImageProxyError, status: int) -> None:
    response = refusal(error, Options())
    headers = dict(response.headers)
    assert response.status == status
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Content-Length"] == str(len(response.body))
    assert headers["Cache-Control"] == ("no-store" if status == 503 else "max-age=10")
    assert ("Retry-After" in headers) == (status == 503)
    assert headers.items() >= SECURITY.items()
    assert "ETag" not in headers
    assert b"secret" not in response.body


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [(2.5, "3"), (0, "1"), (-5, "1"), (float("inf"), "1"), (float("nan"), "1"), (1e9, "3600"), ("soon", "1")],
)
def test_a_busy_service_says_when_to_come_back(retry_after: Any, seconds: str) -> None:
    response = refusal(BusyError("", retry_after=retry_after), Options())
    assert dict(response.headers)["Retry-After"] == seconds


def test_errors_of_the_pipeline_are_answered(path: str) -> None:
    assert answer(PDSNotFoundError("", reason="blob_not_found"), path).status == 404
    assert answer(OSError("boom"), path).status == 502
    with fake_service(processor=FakeProcessor(error=UnsupportedFormatError(""))) as service:
        assert respond(service, "GET", path).status == 422
    with fake_service(resolver=FakeResolver({})) as service:
        assert respond(service, "GET", path).status == 404
    assert respond(service, "GET", path).status == 503  # closed


def test_the_reason_of_a_block_is_told(path: str) -> None:
    policy = FakePolicy(error=BlobBlockedError("", reason="court order ✓ " + "x" * 500, status=451))
    with fake_service(policy=policy) as service:
        response = respond(service, "GET", path)
    assert response.status == 451
    assert response.body.startswith("court order ✓".encode())
    assert len(response.body) < 300


@pytest.mark.parametrize("error", [PolicyError("secret"), ConfigError("secret"), RuntimeError("secret")])
def test_what_should_not_have_been_is_logged_and_told_without_detail(
    path: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakePolicy):
        def is_blocked(self, did: str, cid: str) -> bool:
            raise error

    with fake_service(policy=Broken()) as service, caplog.at_level(logging.ERROR):
        response = respond(service, "GET", path)
    assert (response.status, response.body) == (500, b"something went wrong\n")
    assert dict(response.headers)["Cache-Control"] == "no-store"
    (record,) = caplog.records
    assert record.name == "imageproxy.web"
    assert record.exc_info


def test_an_error_that_nobody_thought_of_is_a_500(path: str, caplog: pytest.LogCaptureFixture) -> None:
    class Strange(Service):
        def get_image(self, *args: Any, **options: Any) -> bytes:
            raise ZeroDivisionError

    with Strange(FakeCache(), FakeProcessor(), FakeFetcher()) as service:
        assert respond(service, "GET", path).status == 500
        assert respond(service, "HEAD", path).body == b""
    assert len(caplog.records) == 2


def test_a_request_waits_no_longer_than_the_options_say(path: str) -> None:
    gate = threading.Event()
    with fake_service(fetcher=FakeFetcher(gate=gate)) as service:
        assert respond(service, "GET", path, (), Options(timeout_seconds=0.05)).status == 504
        gate.set()


def test_headers_may_be_a_mapping_or_pairs_in_any_case(service: Service, path: str, did: str, cid: str) -> None:
    etag = service.get("avatar", did, cid).etag
    assert respond(service, "GET", path, {"IF-NONE-MATCH": etag}).status == 304
    assert respond(service, "GET", path, [("if-none-match", '"x"'), ("If-None-Match", etag)]).status == 304


def test_a_range_is_not_a_thing_here(service: Service, path: str) -> None:
    assert respond(service, "GET", path, {"Range": "bytes=0-1"}).status == 200


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": "img"},
        {"prefix": "/img/"},
        {"prefix": "/"},
        {"prefix": "/a b"},
        {"prefix": None},
        {"signing_keys": "secret"},
        {"signing_keys": b"secret"},
        {"signing_keys": [""]},
        {"signing_keys": [5]},
        {"signing_keys": 5},
        {"negotiate": 1},
        {"max_age_seconds": -1},
        {"max_age_seconds": 1.5},
        {"max_age_seconds": True},
        {"versioned_max_age_seconds": None},
        {"error_max_age_seconds": 2**40},
        {"timeout_seconds": 0},
        {"timeout_seconds": "1"},
        {"timeout_seconds": True},
    ],
)
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    (option,) = options
    with pytest.raises(ConfigError, match=option) as caught:
        Options(**options)
    assert caught.value.option == option


def test_options_do_not_show_their_secrets() -> None:
    assert "hush" not in repr(Options(signing_keys=["hush"]))
    with pytest.raises(ConfigError) as caught:
        Options(signing_keys=["hush", 5])  # type: ignore[list-item]
    assert "hush" not in str(caught.value)


def test_a_status_without_a_name_has_a_reason() -> None:
    assert Response(599, ()).reason == "Unknown"
