"""RecordReader against a PDS, and against servers that say what they like."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from imageproxy import records
from imageproxy.errors import (
    ConfigError,
    DIDNotFoundError,
    DIDResolutionError,
    InvalidDIDError,
    InvalidRequestError,
    PDSFetchError,
    PDSNotFoundError,
    PDSTimeoutError,
    UnsafeURLError,
)
from imageproxy.identifiers import compute_cid
from imageproxy.records import RecordBlob, RecordReader, RecordURI
from imageproxy.testing import LocalPDS

HANDLE = "alice.example.com"
POST = "app.bsky.feed.post"
PHOTO, DRAWING, VIDEO = (compute_cid(name) for name in (b"photo", b"drawing", b"video"))


def blob(cid: str, content_type: str = "image/jpeg") -> dict[str, Any]:
    return {"$type": "blob", "ref": {"$link": cid}, "mimeType": content_type, "size": 5}


@pytest.fixture
def pds() -> Iterator[LocalPDS]:
    with LocalPDS() as server:
        yield server


@pytest.fixture
def open_reader(pds: LocalPDS) -> Iterator[Callable[..., RecordReader]]:
    """``open_reader(**options)``: for loopback; asks again without a wait; closed after the test."""
    with ExitStack() as stack:

        def make(**options: Any) -> RecordReader:
            defaults = {"plc_url": pds.plc_url, "allow_private_networks": True, "timeout_seconds": 5.0}
            reader = stack.enter_context(RecordReader(**{**defaults, **options}))
            reader._random = lambda: 0.0
            return reader

        yield make


@pytest.fixture
def reader(open_reader: Callable[..., RecordReader]) -> RecordReader:
    return open_reader()


@pytest.fixture
def host_handle(
    open_reader: Callable[..., RecordReader], trusted: Callable[[str], ssl.SSLContext], serve_bytes: Callable[..., Any]
) -> Callable[..., tuple[RecordReader, Any]]:
    """``host_handle(reply)``: a reader for which HANDLE is a host that answers so over TLS, and the host's server."""

    def start(reply: bytes, **options: Any) -> tuple[RecordReader, Any]:
        server = serve_bytes(reply, trusted(HANDLE))
        reader = open_reader(**options)

        def getaddrinfo(*_: object) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]

        reader._client._dialer._getaddrinfo = getaddrinfo
        return reader, server

    return start


# Accounts


@pytest.mark.parametrize("handle", [HANDLE, "Alice.Example.COM", f"@{HANDLE}"])
@pytest.mark.parametrize("form", ["{}", " {}\r\n"])
def test_handle_is_asked_of_its_own_host(
    pds: LocalPDS, host_handle: Callable[..., Any], answer: Callable[..., bytes], handle: str, form: str
) -> None:
    did = pds.create_account(handle=HANDLE)
    reader, host = host_handle(answer(form.format(did).encode()))

    assert reader.resolve_handle(handle) == did
    assert reader.find_account(handle) == (did, pds.url)

    assert host.heads[0].startswith(b"GET /.well-known/atproto-did HTTP/1.1\r\n")
    assert f"Host: {HANDLE}\r\n".encode() in host.heads[0]


def test_handle_may_be_asked_of_a_server(pds: LocalPDS, reader: RecordReader) -> None:
    did = pds.create_account(handle=HANDLE)

    assert reader.resolve_handle(HANDLE, server_url=pds.url) == did
    assert reader.find_account(HANDLE, pds_url=pds.url) == (did, pds.url)


@pytest.mark.parametrize("claimed", ["bob.example.com", "alice.example.com.evil.test"])
def test_handle_that_the_account_does_not_claim_is_refused(
    pds: LocalPDS, host_handle: Callable[..., Any], answer: Callable[..., bytes], claimed: str
) -> None:
    did = pds.create_account(handle=claimed)
    reader, _ = host_handle(answer(did.encode()))

    with pytest.raises(DIDResolutionError, match=f"names {did}, whose document says {claimed}") as refused:
        reader.resolve_handle(HANDLE)

    assert refused.value.did == did


@pytest.mark.parametrize("names", [None, [], "at://alice.example.com", [1, "https://alice.example.com"]])
def test_document_without_a_handle_claims_none(
    reader: RecordReader, open_reader: Callable[..., RecordReader], serve_bytes: Callable[..., Any], pds: LocalPDS,
    answer: Callable[..., bytes], names: object,
) -> None:  # fmt: skip
    did = pds.create_account(handle=HANDLE)
    service = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds.url}
    document = {"id": did, "alsoKnownAs": names, "service": [service]}
    directory = serve_bytes(answer(json.dumps(document).encode()))

    with pytest.raises(DIDResolutionError, match="whose document says no handle"):
        open_reader(plc_url=directory.url()).resolve_handle(HANDLE, server_url=pds.url)


@pytest.mark.parametrize(
    ("body", "options", "told"),
    [
        (b"User not found", {"status": "404 Not Found"}, "answered 404"),
        (b"<html>", {}, "not a DID: '<html>'"),
        (b"\xff\xfe", {}, "not a DID"),
        (b"d" * (1024 * 1024 + 1), {}, "has more than 1,048,576 bytes"),
        (b"did:plc:x", {"headers": ("Content-Encoding: gzip",)}, "the answer is encoded, unasked: gzip"),
        (b"", {"status": "302 Found", "headers": ("Location: https://169.254.169.254/",)}, "link_local|no address"),
    ],
)
def test_host_without_a_did_is_an_error_that_says_what_to_do(
    host_handle: Callable[..., Any], answer: Callable[..., bytes], body: bytes, options: dict[str, Any], told: str
) -> None:
    reader, _ = host_handle(answer(body, **options))

    with pytest.raises(DIDResolutionError, match=told) as failed:
        reader.resolve_handle(HANDLE)

    assert "may stand in DNS alone, which is not asked: give the DID" in str(failed.value)
    assert isinstance(failed.value.__cause__, (PDSFetchError, InvalidDIDError))


def test_server_that_does_not_know_the_handle_is_an_error(pds: LocalPDS, reader: RecordReader) -> None:
    with pytest.raises(DIDResolutionError, match=r"HandleNotFound: Unable to resolve handle$"):
        reader.resolve_handle(HANDLE, server_url=pds.url)


@pytest.mark.parametrize("did", [None, 5, "alice", {"did": "did:web:a.example.com"}])
def test_server_that_gives_no_did_is_an_error(
    reader: RecordReader, serve_bytes: Callable[..., Any], answer: Callable[..., bytes], did: object
) -> None:
    server = serve_bytes(answer(json.dumps({"did": did}).encode()))

    with pytest.raises(DIDResolutionError, match="no DID for the handle"):
        reader.resolve_handle(HANDLE, server_url=server.url())


@pytest.mark.parametrize(
    "account", ["", "alice", "alice..example.com", "a_b.example.com", "1.2.3.4", "a" * 64 + ".com", "did:", "x\n.com"]
)
def test_what_is_neither_did_nor_handle_is_told(pds: LocalPDS, reader: RecordReader, account: str) -> None:
    with pytest.raises(InvalidDIDError):
        reader.find_account(account)

    assert pds.requests == []


@pytest.mark.parametrize("handle", ["alice.test", "alice.localhost"])
def test_handle_of_no_host_on_the_internet_is_not_asked(handle: str) -> None:
    with RecordReader() as reader, pytest.raises(DIDResolutionError, match="not on the internet") as failed:
        reader.resolve_handle(handle)

    assert isinstance(failed.value.__cause__, UnsafeURLError)


def test_did_is_looked_up_and_a_known_pds_asked_nothing(pds: LocalPDS, reader: RecordReader) -> None:
    did = pds.create_account()

    assert reader.find_account(did, pds_url="https://pds.example.com") == (did, "https://pds.example.com")
    assert pds.requests == []
    assert reader.find_account(did) == (did, pds.url)
    with pytest.raises(DIDNotFoundError):
        reader.find_account("did:plc:ewvi7nxzyoun6zhxrhs64oiz")


# Records


def test_blobs_are_found_wherever_they_are(pds: LocalPDS, reader: RecordReader) -> None:
    did = pds.create_account()
    record = {
        "text": "cid",
        "embed": {
            "$type": "app.bsky.embed.recordWithMedia",
            "record": {"uri": f"at://{did}/{POST}/1", "cid": "bafyreigh2akiscaildc"},
            "media": {"images": [{"alt": "", "image": blob(PHOTO)}, {"image": blob(VIDEO, "video/mp4")}]},
        },
        "old": {"cid": DRAWING, "mimeType": "image/png"},
        "again": blob(PHOTO),
        "number": 12345678901234567890,
    }
    pds.add_record(did, POST, record, key="3jwdwj2ctlk26")

    assert reader.find_blobs(did, pds.url, POST, "3jwdwj2ctlk26") == (
        RecordBlob(PHOTO, "image/jpeg", "embed.media.images.0.image"),
        RecordBlob(VIDEO, "video/mp4", "embed.media.images.1.image"),
        RecordBlob(DRAWING, "image/png", "old"),
    )


def test_record_that_says_no_type_has_a_blob_of_none(pds: LocalPDS, reader: RecordReader) -> None:
    did = pds.create_account()
    pds.add_record(did, POST, {"image": {"$type": "blob", "ref": {"$link": PHOTO}, "mimeType": None}}, key="1")

    assert reader.find_blobs(did, pds.url, POST, "1") == (RecordBlob(PHOTO, "", "image"),)


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = blob(PHOTO)
    for _ in range(levels):
        value = {"in": value}
    return value


def test_what_is_nested_too_deep_is_not_looked_at(pds: LocalPDS, reader: RecordReader) -> None:
    did = pds.create_account()
    pds.add_record(did, POST, nested(32), key="deep")
    pds.add_record(did, POST, nested(33), key="deeper")

    assert len(reader.find_blobs(did, pds.url, POST, "deep")) == 1
    assert reader.find_blobs(did, pds.url, POST, "deeper") == ()


def test_no_more_than_a_thousand_blobs_are_told(pds: LocalPDS, reader: RecordReader) -> None:
    did = pds.create_account()
    pds.add_record(did, POST, {"all": [blob(compute_cid(b"%d" % number)) for number in range(1001)]}, key="many")

    assert len(reader.find_blobs(did, pds.url, POST, "many")) == 1000


def test_record_that_is_not_there_is_told_in_the_words_of_the_pds(pds: LocalPDS, reader: RecordReader) -> None:
    did = pds.create_account()
    told = f"^the PDS answered 400: RecordNotFound: Could not locate record: at://{did}/{POST}/1$"

    with pytest.raises(PDSNotFoundError, match=told) as failed:
        reader.find_blobs(did, pds.url, POST, "1")

    assert failed.value.reason == "record_not_found"
    assert (failed.value.did, failed.value.pds_url, failed.value.status) == (did, pds.url, 400)


@pytest.mark.parametrize(
    ("status", "error", "message", "reason"),
    [
        ("400 Bad Request", "RecordNotFound", "", "record_not_found"),
        ("404 Not Found", "RecordNotFound", "", "record_not_found"),
        ("400 Bad Request", "InvalidRequest", "Could not locate record", "record_not_found"),
        ("400 Bad Request", "RepoTakendown", "Could not locate record", "repo_taken_down"),
        ("404 Not Found", "", "", "not_found"),
    ],
)
def test_reason_why_there_is_no_record_is_told(
    reader: RecordReader,
    did: str,
    serve_bytes: Callable[..., Any],
    answer: Callable[..., bytes],
    status: str,
    error: str,
    message: str,
    reason: str,
) -> None:
    server = serve_bytes(answer(json.dumps({"error": error, "message": message}).encode(), status))

    with pytest.raises(PDSNotFoundError) as failed:
        reader.find_blobs(did, server.url(), POST, "1")

    assert failed.value.reason == reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"value": []}',
        b'{"value": "\xff"}',
        b"[" * 100_000,
        b'{"value": {"image": {"$type": "blob"}}}',
        b'{"value": {"image": {"$type": "blob", "ref": {"$link": "x"}}}}',
        b'{"value": {"image": {"cid": [], "mimeType": "image/png"}}}',
        b" " * (1024 * 1024 + 1),
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_answer_that_is_no_record_is_an_error(
    reader: RecordReader, did: str, serve_bytes: Callable[..., Any], answer: Callable[..., bytes], body: bytes
) -> None:
    server = serve_bytes(answer(body))

    with pytest.raises(PDSFetchError) as failed:
        reader.find_blobs(did, server.url(), POST, "1")

    assert (failed.value.did, failed.value.pds_url) == (did, server.url())
    assert len(str(failed.value)) < 500


def test_long_numbers_take_no_time(
    reader: RecordReader, did: str, serve_bytes: Callable[..., Any], answer: Callable[..., bytes]
) -> None:
    server = serve_bytes(answer(b'{"value": {"size": ' + b"9" * 1_000_000 + b"}}"))

    assert reader.find_blobs(did, server.url(), POST, "1") == ()


def test_redirect_is_followed_and_judged(
    pds: LocalPDS, reader: RecordReader, serve_bytes: Callable[..., Any], answer: Callable[..., bytes]
) -> None:
    did = pds.create_account()
    pds.add_record(did, POST, {"image": blob(PHOTO)}, key="1")
    elsewhere = serve_bytes(answer(status="302 Found", headers=("Location: http://169.254.169.254/latest",)))

    assert len(reader.find_blobs(did, pds.bridge_url(hops=2), POST, "1")) == 1
    with pytest.raises(UnsafeURLError):
        reader.find_blobs(did, elsewhere.url(), POST, "1")


def test_server_on_a_private_address_is_not_asked(did: str) -> None:
    with RecordReader() as reader, pytest.raises(UnsafeURLError) as refused:
        reader.find_blobs(did, "http://127.0.0.1:2583", POST, "1")

    assert refused.value.pds_url == "http://127.0.0.1:2583"


def test_failure_that_may_pass_is_asked_again(pds: LocalPDS, reader: RecordReader) -> None:
    did = pds.create_account()
    pds.add_record(did, POST, {"image": blob(PHOTO)}, key="1")
    pds.fail_next(503, 2, on="repo")

    assert len(reader.find_blobs(did, pds.url, POST, "1")) == 1


def test_server_that_says_nothing_is_left_after_the_timeout(
    open_reader: Callable[..., RecordReader], did: str, serve: Callable[..., Any], elapsed: Callable[[], float]
) -> None:
    server = serve(lambda peer: peer.wait_for_hang_up())

    with pytest.raises(PDSTimeoutError, match=r"no answer within 0.3 seconds") as failed:
        open_reader(timeout_seconds=0.3).find_blobs(did, server.url(), POST, "1")

    assert failed.value.timeout == 0.3
    assert elapsed() < 5


@pytest.mark.parametrize("length", [True, False])
def test_answer_that_is_too_large_is_not_read_on(
    reader: RecordReader,
    did: str,
    serve: Callable[..., Any],
    answer: Callable[..., bytes],
    length: bool,
) -> None:
    def endless(peer: Any) -> None:
        peer.read_head()
        peer.send(answer(headers=("Content-Length: 9000000000",) if length else (), length=False))
        peer.flood(b" " * 65536)

    with pytest.raises(PDSFetchError, match="the answer has more than 1,048,576 bytes"):
        reader.find_blobs(did, serve(endless).url(), POST, "1")


def test_server_that_is_not_there_is_an_error(pds: LocalPDS, reader: RecordReader, did: str) -> None:
    pds.close()

    with pytest.raises(PDSFetchError, match="no answer: "):
        reader.find_blobs(did, pds.url, POST, "1")


# Lists of blobs


def test_all_blobs_are_listed_page_by_page(pds: LocalPDS, reader: RecordReader) -> None:
    did = pds.create_account()
    cids = {pds.add_blob(did, b"%d" % number) for number in range(2001)}

    listed = reader.list_blobs(did, pds.url)
    first = next(listed)

    assert len(pds.requests) == 1  # as they are taken
    rest = list(listed)
    assert {first, *rest} == cids
    assert len(rest) == 2000
    assert [request.path.partition("cursor=")[2] for request in pds.requests] == ["", rest[998], rest[1998], rest[1999]]


def test_account_without_blobs_has_an_empty_list(pds: LocalPDS, reader: RecordReader) -> None:
    assert list(reader.list_blobs(pds.create_account(), pds.url)) == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [("deleted", "repo_not_found"), ("takendown", "repo_taken_down"), ("deactivated", "repo_deactivated")],
)
def test_repo_that_is_not_there_is_told_by_its_reason(
    pds: LocalPDS, reader: RecordReader, status: Any, reason: str
) -> None:
    did = pds.create_account()
    pds.set_account_status(did, status)

    with pytest.raises(PDSNotFoundError) as failed:
        list(reader.list_blobs(did, pds.url))

    assert failed.value.reason == reason


@pytest.mark.parametrize(
    "page",
    [
        {},
        {"cids": PHOTO},
        {"cids": {}},
        {"cids": [PHOTO, "x"]},
        {"cids": [PHOTO, 5]},
        {"cids": [[PHOTO]]},
        {"cids": [PHOTO], "cursor": True},
        {"cids": [PHOTO], "cursor": "c" * 1025},
    ],
    ids=json.dumps,
)
def test_answer_that_is_no_list_is_an_error(
    reader: RecordReader, did: str, serve_bytes: Callable[..., Any], answer: Callable[..., bytes], page: object
) -> None:
    server = serve_bytes(answer(json.dumps(page).encode()))

    with pytest.raises(PDSFetchError, match="list of blobs") as failed:
        list(reader.list_blobs(did, server.url()))

    assert (failed.value.did, failed.value.pds_url) == (did, server.url())


@pytest.mark.parametrize("page", [{"cids": [PHOTO]}, {"cids": [PHOTO], "cursor": None}])
def test_list_ends_where_there_is_no_cursor(
    reader: RecordReader, did: str, serve_bytes: Callable[..., Any], answer: Callable[..., bytes], page: object
) -> None:
    server = serve_bytes(answer(json.dumps(page).encode()))

    assert list(reader.list_blobs(did, server.url())) == [PHOTO]


def test_cursor_that_stands_still_ends_the_list(
    reader: RecordReader, did: str, serve_bytes: Callable[..., Any], answer: Callable[..., bytes]
) -> None:
    server = serve_bytes(answer(json.dumps({"cids": [PHOTO], "cursor": "here"}).encode()))

    assert list(reader.list_blobs(did, server.url())) == [PHOTO, PHOTO]


def test_list_without_an_end_is_an_error(
    reader: RecordReader,
    did: str,
    serve: Callable[..., Any],
    answer: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(records, "_MAX_PAGES", 5)

    def endless(peer: Any) -> None:
        while peer.read_head():
            peer.send(answer(json.dumps({"cids": [PHOTO], "cursor": str(len(peer.heads))}).encode()))

    with pytest.raises(PDSFetchError, match="without an end: 5 pages"):
        list(reader.list_blobs(did, serve(endless).url()))


# URIs


@pytest.mark.parametrize(
    "text",
    [
        "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/3jwdwj2ctlk26",
        "at://alice.example.com/app.bsky.actor.profile/self",
        "at://did:web:localhost%3A2583/com.example.a-b.c/a:b~c._-",
    ],
)
def test_uri_of_a_record_is_taken_apart(text: str) -> None:
    uri = RecordURI.parse(text)

    assert str(uri) == text
    assert uri == RecordURI(*text.removeprefix("at://").split("/"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice.example.com/app.bsky.feed.post/1",
        "https://bsky.app/profile/alice",
        "at://alice.example.com",
        "at://alice.example.com/app.bsky.feed.post",
        "at://alice.example.com/app.bsky.feed.post/1/2",
        "at://alice.example.com/post/1",
        "at://alice.example.com/app.bsky.feed.post/",
        "at://alice.example.com/app.bsky.feed.post/..",
        "at://alice.example.com/app.bsky.feed.post/1?a=b",
        "at://alice.example.com/app.bsky.feed.post/1\n",
        f"at://alice.example.com/{'a' * 60}{'.a' * 130}/1",
        f"at://alice.example.com/app.bsky.feed.post/{'1' * 513}",
    ],
)
def test_what_is_no_uri_of_a_record_is_told(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="not the URI of a record"):
        RecordURI.parse(text)


# Its life


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), "5", None])
def test_timeout_that_cannot_be_meant_is_refused(seconds: Any) -> None:
    with pytest.raises(ConfigError, match="timeout_seconds is") as refused:
        RecordReader(timeout_seconds=seconds)

    assert refused.value.option == "timeout_seconds"


def test_nothing_is_left_behind(pds: LocalPDS, left_behind: Callable[[], tuple[int, list[str]]]) -> None:
    did = pds.create_account(handle=HANDLE)
    pds.add_record(did, POST, {"image": blob(PHOTO)}, key="1")
    with RecordReader(plc_url=pds.plc_url, allow_private_networks=True) as reader:
        did, url = reader.find_account(HANDLE, pds_url=pds.url)
        reader.find_blobs(did, url, POST, "1")
    pds.close()

    assert left_behind()[1] == []
    with pytest.raises(PDSFetchError, match="the connections were closed"):
        reader.find_blobs(did, url, POST, "1")
