"""What httplint, the linter of REDbot, has to say about every kind of answer: nothing that is not explained here."""

import io
from collections.abc import Iterator
from typing import Any

import httplint
import pytest
from httplint.note import levels
from PIL import Image

from imageproxy import (
    BlobBlockedError,
    BusyError,
    Config,
    DIDResolutionError,
    PDSTimeoutError,
    PillowProcessor,
    Service,
    compute_cid,
)
from imageproxy.testing import FakeFetcher, FakePolicy, fake_service
from imageproxy.web import Options, Response, respond

EXPLAINED = {
    # It is only in one case: behind an app that asks for a login, where a shared cache would not keep the image.
    "STORE_PUBLIC_UNNECESSARY",
    # Each of these says what the status says.
    "STATUS_BAD_REQUEST",
    "STATUS_INTERNAL_SERVICE_ERROR",
    "STATUS_SERVICE_UNAVAILABLE",
    "STATUS_BAD_GATEWAY",
    "STATUS_GATEWAY_TIMEOUT",
}

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
PHOTO = io.BytesIO()
Image.new("RGB", (40, 30), "teal").save(PHOTO, "PNG")
BLOB = PHOTO.getvalue()
CID = compute_cid(BLOB)
IMAGE = f"/img/avatar_small/plain/{DID}/{CID}"

ERRORS: dict[str, bytes | Exception] = {
    "bafkreislow": PDSTimeoutError("slow"),
    "bafkreibusy": BusyError("busy", retry_after=3.0),
    "bafkreilost": DIDResolutionError("lost"),
    "bafkreitext": b"no image",
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    policy = FakePolicy([(DID, "bafkreiblocked")])
    fetcher = FakeFetcher({CID: BLOB, **ERRORS})
    with fake_service(
        fetcher=fetcher, processor=PillowProcessor(), policy=policy, config=Config(admission_timeout_seconds=30)
    ) as service:
        yield service


def lint(method: str, path: str, headers: dict[str, str], response: Response) -> list[Any]:
    request = httplint.HttpRequestLinter()
    request.process_request_topline(method.encode(), b"https://images.example" + path.encode(), b"HTTP/1.1")
    request.process_headers([(b"Host", b"images.example"), *encoded(headers.items())])
    request.finish_content(True)
    linter = httplint.HttpResponseLinter()
    linter.request = request
    linter.is_head_response = method == "HEAD"
    linter.process_response_topline(b"HTTP/1.1", str(response.status).encode(), response.reason.encode())
    linter.process_headers([(b"Date", b"Tue, 24 Nov 2026 10:00:00 GMT"), *encoded(response.headers)])
    if response.body:
        linter.feed_content(response.body)
    linter.finish_content(True)
    return list(linter.notes)


def encoded(fields: Any) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in fields]


REQUESTS: list[tuple[str, str, dict[str, str], int]] = [
    ("GET", IMAGE, {}, 200),
    ("GET", f"{IMAGE}?v=now", {}, 200),
    ("GET", f"{IMAGE}@png", {}, 200),
    ("GET", IMAGE, {"Accept": "image/webp"}, 200),
    ("GET", IMAGE, {"Accept": "image/avif"}, 200),
    ("GET", IMAGE, {"Origin": "https://app.example"}, 200),
    ("GET", IMAGE, {"Range": "bytes=0-9"}, 200),
    ("HEAD", IMAGE, {}, 200),
    ("GET", IMAGE, {"If-None-Match": "*"}, 304),
    ("HEAD", IMAGE, {"If-None-Match": "*"}, 304),
    ("OPTIONS", IMAGE, {}, 204),
    ("OPTIONS", IMAGE, {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}, 204),
    ("GET", "/img/nope/plain/a/b", {}, 400),
    ("GET", "/nowhere", {}, 404),
    ("HEAD", "/nowhere", {}, 404),
    ("GET", f"/img/avatar/plain/{DID}/bafkreimadeup", {}, 404),
    ("POST", IMAGE, {}, 405),
    ("GET", f"/img/avatar/plain/{DID}/bafkreiblocked", {}, 410),
    ("GET", f"/img/avatar/plain/{DID}/bafkreitext", {}, 422),
    ("GET", "/img/avatar/plain/did:plc:lost/bafkreilost", {}, 502),
    ("GET", f"/img/avatar/plain/{DID}/bafkreibusy", {}, 503),
    ("GET", f"/img/avatar/plain/{DID}/bafkreislow", {}, 504),
]


@pytest.mark.parametrize("negotiate", [False, True])
@pytest.mark.parametrize(("method", "path", "headers", "status"), REQUESTS)
def test_a_linter_of_http_finds_nothing(
    service: Service, method: str, path: str, headers: dict[str, str], status: int, negotiate: bool
) -> None:
    if path.endswith("?v=now"):
        path = service.url_for("avatar_small", DID, CID)
    response = respond(service, method, path, headers, Options(negotiate=negotiate))
    assert response.status == status
    explained = set(EXPLAINED)
    if ("Content-Type", "image/avif") in response.headers:
        explained.add("CONTENT_TYPE_MISMATCH")  # its table of signatures has no AVIF, and takes one for MP4
    notes = lint(method, path, headers, response)
    assert notes
    assert [
        str(note) for note in notes if note.level in (levels.WARN, levels.BAD) and name(note) not in explained
    ] == []


def test_a_blocked_image_may_have_a_status_of_its_own() -> None:
    with fake_service(policy=FakePolicy(error=BlobBlockedError("", status=451))) as service:
        response = respond(service, "GET", IMAGE)
    assert {name(note) for note in lint("GET", IMAGE, {}, response) if note.level == levels.BAD} == set()


def test_the_linter_finds_what_is_wrong() -> None:
    wrong = Response(200, (("Content-Type", "image/jpeg"), ("Content-Length", "5"), ("ETag", "naked")), b"none")
    assert {name(note) for note in lint("GET", IMAGE, {}, wrong) if note.level == levels.BAD}


def name(note: Any) -> str:
    return type(note).__name__
