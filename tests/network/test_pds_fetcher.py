"""PDSFetcher against servers that answer well, badly, and not at all."""

from __future__ import annotations

import base64
import json
import pickle
import socket
import threading
import tracemalloc
from collections.abc import Mapping
from itertools import repeat
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imageproxy._client import GuardedClient
from imageproxy.errors import (
    CIDMismatchError,
    ConfigError,
    ImageProxyError,
    ImageTooLargeError,
    InvalidCIDError,
    InvalidDIDError,
    PDSFetchError,
    PDSNotFoundError,
    UnsafeURLError,
    UnsupportedFormatError,
)
from imageproxy.fetchers import PDSFetcher
from imageproxy.identifiers import compute_cid
from imageproxy.protocols import Fetcher, SupportsClose

MEGABYTE = 1024**2


def test_blob_is_fetched(serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str, blob: bytes) -> None:
    server = serve_bytes(answer(blob, headers=("Content-Type: image/png",)))
    assert open_fetcher().fetch(server.url(), did, cid) == blob
    line = server.heads[0].split(b"\r\n")[0].decode()
    assert line == f"GET /xrpc/com.atproto.sync.getBlob?did=did%3Aplc%3A{did[8:]}&cid={cid} HTTP/1.1"


def test_fetcher_is_a_backend() -> None:
    with PDSFetcher() as fetcher:
        assert isinstance(fetcher, Fetcher)
        assert isinstance(fetcher, SupportsClose)


@pytest.mark.parametrize(
    ("path", "asked"), [("", "/xrpc/"), ("/", "/xrpc/"), ("//", "/xrpc/"), ("/a/b/", "/a/b/xrpc/")]
)
def test_base_url_may_have_a_path_and_slashes(
    path: str, asked: str, serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str, blob: bytes
) -> None:
    server = serve_bytes(answer(blob))
    assert open_fetcher().fetch(server.url() + path, did, cid) == blob
    assert server.heads[0].startswith(f"GET {asked}com.atproto.sync.getBlob?".encode())


@pytest.mark.parametrize("tail", ["?a=b", "#a"])
def test_base_url_with_a_query_is_refused(tail: str, open_fetcher: Any, did: str, cid: str) -> None:
    with pytest.raises(UnsafeURLError) as caught:
        open_fetcher().fetch("http://127.0.0.1:9/" + tail, did, cid)
    assert caught.value.rule == "query"


def test_chunked_blob_is_fetched(serve_bytes: Any, open_fetcher: Any, did: str, cid: str, blob: bytes) -> None:
    pieces = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(part), part) for part in (blob[:7], blob[7:5000], blob[5000:]))
    server = serve_bytes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\nTrailer: x\r\n\r\n")
    fetcher = open_fetcher()
    assert fetcher.fetch(server.url(), did, cid) == blob
    assert fetcher.fetch(server.url(), did, cid) == blob
    assert server.connections == 1


def test_blob_without_a_length_is_fetched(
    serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str, blob: bytes
) -> None:
    server = serve_bytes(answer(blob, length=False), hang_up=True)
    assert open_fetcher().fetch(server.url(), did, cid) == blob


def test_empty_blob_is_fetched(serve_bytes: Any, answer: Any, open_fetcher: Any, did: str) -> None:
    assert open_fetcher().fetch(serve_bytes(answer(b"")).url(), did, compute_cid(b"")) == b""


def test_old_dag_cbor_cid_is_proved_too(
    serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str, blob: bytes
) -> None:
    raw = base64.b32decode(cid[1:].upper() + "=" * (-len(cid[1:]) % 8))
    old = "b" + base64.b32encode(bytes([1, 0x71]) + raw[2:]).decode().rstrip("=").lower()
    assert open_fetcher().fetch(serve_bytes(answer(blob)).url(), did, old) == blob


def test_other_bytes_than_asked_for_are_refused(
    serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str
) -> None:
    server = serve_bytes(answer(b"something else"))
    with pytest.raises(CIDMismatchError) as caught:
        open_fetcher().fetch(server.url(), did, cid)
    assert caught.value.actual_cid == compute_cid(b"something else")
    assert (caught.value.did, caught.value.cid, caught.value.pds_url) == (did, cid, server.url())


@pytest.mark.parametrize(
    "cid",
    [
        "not a cid",
        "fakecid1",
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
        "zb2rhk6GMPQF3hfzwXTaNYFLKomMeC6UXdUt6jZKPpeVirLtV",
        "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
        "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5f",
    ],
)
def test_cid_that_cannot_be_proved_is_not_fetched(cid: str, serve_bytes: Any, open_fetcher: Any, did: str) -> None:
    server = serve_bytes(b"")
    with pytest.raises(InvalidCIDError) as caught:
        open_fetcher().fetch(server.url(), did, cid)
    assert caught.value.cid == cid
    assert server.connections == 0


@pytest.mark.parametrize("did", ["", "alice.example.com", "did:plc:\udc80", "did:plc:a\n"])
def test_what_is_no_did_is_not_asked_for(did: str, serve_bytes: Any, open_fetcher: Any, cid: str) -> None:
    server = serve_bytes(b"")
    with pytest.raises(InvalidDIDError):
        open_fetcher().fetch(server.url(), did, cid)
    assert server.connections == 0


class TestStrict:
    @pytest.mark.parametrize(
        "pds_url",
        [
            "http://pds.example.com",
            "https://127.0.0.1",
            "https://localhost",
            "https://10.0.0.1:2583",
            "",
            "https://a:b@c.d",
        ],
    )
    def test_unsafe_url_is_not_asked(self, pds_url: str, did: str, cid: str) -> None:
        with PDSFetcher() as fetcher, pytest.raises(UnsafeURLError) as caught:
            fetcher.fetch(pds_url, did, cid)
        assert caught.value.url == pds_url
        assert caught.value.pds_url == pds_url
        assert (caught.value.did, caught.value.cid) == (did, cid)
        assert pickle.loads(pickle.dumps(caught.value)).rule == caught.value.rule

    def test_name_of_a_private_address_is_not_connected_to(self, did: str, cid: str) -> None:
        with PDSFetcher() as fetcher:
            fetcher._client = GuardedClient(
                getaddrinfo=lambda *_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.168.1.1", 443))]
            )
            with pytest.raises(UnsafeURLError) as caught:
                fetcher.fetch("https://pds.example.com", did, cid)
        assert caught.value.rule == "private"
        assert caught.value.url is not None
        assert caught.value.url.startswith("https://pds.example.com/xrpc/")


class TestSize:
    def test_declared_length_over_the_limit_is_refused_unread(
        self, serve: Any, open_fetcher: Any, did: str, cid: str
    ) -> None:
        def handler(peer: Any) -> None:
            peer.read_head()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n")
            peer.wait_for_hang_up()

        with pytest.raises(ImageTooLargeError) as caught:
            open_fetcher(max_bytes=1000).fetch(serve(handler).url(), did, cid)
        assert (caught.value.unit, caught.value.limit, caught.value.actual) == ("bytes", 1000, 1001)
        assert (caught.value.did, caught.value.cid) == (did, cid)

    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        ],
    )
    def test_endless_body_is_left_at_the_limit(
        self, head: bytes, serve: Any, open_fetcher: Any, did: str, cid: str
    ) -> None:
        def handler(peer: Any) -> None:
            peer.read_head()
            peer.send(head)
            peer.flood(b"x" * 65536)

        with pytest.raises(ImageTooLargeError) as caught:
            open_fetcher(max_bytes=MEGABYTE).fetch(serve(handler).url(), did, cid)
        assert caught.value.actual is None

    def test_endless_chunks_are_left_at_the_limit(self, serve: Any, open_fetcher: Any, did: str, cid: str) -> None:
        def handler(peer: Any) -> None:
            peer.read_head()
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n")
            peer.flood(b"10000\r\n" + b"x" * 65536 + b"\r\n")

        with pytest.raises(ImageTooLargeError):
            open_fetcher(max_bytes=MEGABYTE).fetch(serve(handler).url(), did, cid)

    @pytest.mark.parametrize("extra", [0, 1])
    def test_limit_is_exact(self, extra: int, serve_bytes: Any, answer: Any, open_fetcher: Any, did: str) -> None:
        data = b"x" * (200_000 + extra)
        server = serve_bytes(answer(data, length=False), hang_up=True)
        fetcher = open_fetcher(max_bytes=200_000)
        if extra:
            with pytest.raises(ImageTooLargeError):
                fetcher.fetch(server.url(), did, compute_cid(data))
        else:
            assert fetcher.fetch(server.url(), did, compute_cid(data)) == data

    def test_memory_stays_near_the_size_of_the_blob(self, serve: Any, open_fetcher: Any, did: str) -> None:
        data = bytes(10 * MEGABYTE)
        cid = compute_cid(data)

        def handler(peer: Any) -> None:
            while peer.read_head():
                peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
                peer.send(data)
                return

        server, fetcher = serve(handler), open_fetcher()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            fetcher.fetch(server.url(), did, cid)
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
        assert peak < 13 * MEGABYTE

    def test_flood_of_headers_is_refused(self, serve: Any, open_fetcher: Any, did: str, cid: str) -> None:
        def handler(peer: Any) -> None:
            peer.read_head()
            peer.send(b"HTTP/1.1 200 OK\r\n")
            peer.flood(b"X-Flood: " + b"x" * 1000 + b"\r\n")

        with pytest.raises(PDSFetchError):
            open_fetcher().fetch(serve(handler).url(), did, cid)

    def test_header_without_end_is_refused(self, serve: Any, open_fetcher: Any, did: str, cid: str) -> None:
        def handler(peer: Any) -> None:
            peer.read_head()
            peer.send(b"HTTP/1.1 200 OK\r\nX: ")
            peer.flood(b"x" * 1000)

        with pytest.raises(PDSFetchError):
            open_fetcher().fetch(serve(handler).url(), did, cid)


class TestBrokenAnswers:
    def test_body_that_ends_too_early_is_refused(
        self, serve_bytes: Any, open_fetcher: Any, did: str, cid: str, blob: bytes
    ) -> None:
        server = serve_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 76801\r\n\r\n" + blob, hang_up=True)
        with pytest.raises(PDSFetchError) as caught:
            open_fetcher().fetch(server.url(), did, cid)
        assert type(caught.value) is PDSFetchError

    def test_chunks_that_end_too_early_are_refused(
        self, serve_bytes: Any, open_fetcher: Any, did: str, cid: str, blob: bytes
    ) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        server = serve_bytes(head + b"%x\r\n%b\r\n" % (len(blob), blob), hang_up=True)
        with pytest.raises(PDSFetchError):
            open_fetcher().fetch(server.url(), did, cid)

    def test_body_longer_than_its_length_is_cut_and_the_connection_dropped(
        self, serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str, blob: bytes
    ) -> None:
        smuggled = answer(blob) + b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        server, fetcher = serve_bytes(smuggled), open_fetcher()
        for _ in range(3):
            assert fetcher.fetch(server.url(), did, cid) == blob

    @pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "gzip, identity", "x"])
    def test_encoded_body_is_refused(
        self, encoding: str, serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str, blob: bytes
    ) -> None:
        server = serve_bytes(answer(blob, headers=(f"Content-Encoding: {encoding}",)))
        with pytest.raises(PDSFetchError, match="encoded") as caught:
            open_fetcher().fetch(server.url(), did, cid)
        assert caught.value.status == 200
        assert b"Accept-Encoding: identity\r\n" in server.heads[0]

    @pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
    def test_identity_is_no_encoding(
        self, encoding: str, serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str, blob: bytes
    ) -> None:
        server = serve_bytes(answer(blob, headers=(f"Content-Encoding: {encoding}",)))
        assert open_fetcher().fetch(server.url(), did, cid) == blob

    @pytest.mark.parametrize(
        "said",
        [b"", b"\r\n", b"nonsense\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"\x16\x03\x01\x00\x05", b"HTTP/1.1 2"],
    )
    def test_what_is_no_answer_is_an_error_of_ours(
        self, said: bytes, serve_bytes: Any, open_fetcher: Any, did: str, cid: str
    ) -> None:
        server = serve_bytes(said, hang_up=True)
        with pytest.raises(PDSFetchError) as caught:
            open_fetcher().fetch(server.url(), did, cid)
        assert caught.value.__cause__ is not None
        assert (caught.value.did, caught.value.cid, caught.value.pds_url) == (did, cid, server.url())

    def test_refused_connection_is_an_error_of_ours(
        self, serve_bytes: Any, open_fetcher: Any, did: str, cid: str
    ) -> None:
        server = serve_bytes(b"")
        server.close()
        with pytest.raises(PDSFetchError):
            open_fetcher().fetch(server.url(), did, cid)

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(said=st.binary(max_size=200), status=st.sampled_from([200, 302, 400, 404, 500]))
    def test_whatever_a_server_says_only_our_errors_come_out(
        self, said: bytes, status: int, serve: Any, did: str, cid: str
    ) -> None:
        def handler(peer: Any) -> None:
            peer.read_head()
            peer.send(b"HTTP/1.1 %d X\r\n" % status + said)

        server = serve(handler)
        with (
            PDSFetcher(allow_private_networks=True, timeout_seconds=2) as fetcher,
            pytest.raises(ImageProxyError) as caught,
        ):
            fetcher.fetch(server.url(), did, cid)
        assert str(caught.value).isprintable()
        server.close()


class TestVideo:
    @pytest.mark.parametrize("content_type", ["video/mp4", "VIDEO/webm", " video/mp4; codecs=avc1"])
    def test_declared_video_is_refused_unread(
        self, content_type: str, serve: Any, open_fetcher: Any, did: str, cid: str
    ) -> None:
        def handler(peer: Any) -> None:
            peer.read_head()
            peer.send(f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: 300000000\r\n\r\n".encode())
            peer.wait_for_hang_up()

        with pytest.raises(UnsupportedFormatError) as caught:
            open_fetcher().fetch(serve(handler).url(), did, cid)
        assert caught.value.format == "video"
        assert (caught.value.did, caught.value.cid) == (did, cid)

    @pytest.mark.parametrize(
        "head",
        [
            b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41",
            b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00",
            b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00",
            b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01",
        ],
    )
    def test_video_is_known_by_its_first_bytes(
        self, head: bytes, serve: Any, open_fetcher: Any, did: str, cid: str
    ) -> None:
        def handler(peer: Any) -> None:
            peer.read_head()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n")
            peer.send(head)
            peer.flood(b"x" * 65536)

        with pytest.raises(UnsupportedFormatError):
            open_fetcher(max_bytes=2**40).fetch(serve(handler).url(), did, cid)

    @pytest.mark.parametrize("brand", [b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1", b"crx "])
    def test_image_in_an_iso_file_is_no_video(
        self, brand: bytes, serve_bytes: Any, answer: Any, open_fetcher: Any, did: str
    ) -> None:
        data = b"\x00\x00\x00\x1cftyp" + brand + b"\x00\x00\x00\x00mif1isom"
        assert open_fetcher().fetch(serve_bytes(answer(data)).url(), did, compute_cid(data)) == data


def _error(name: object = None, message: object = None) -> bytes:
    return json.dumps({"error": name, "message": message}).encode()


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "body", "reason"),
        [
            ("400 Bad Request", _error("InvalidRequest", "Blob not found"), "blob_not_found"),
            ("400 Bad Request", _error("InvalidRequest", "BLOB NOT FOUND"), "blob_not_found"),
            ("400 Bad Request", _error("BlobNotFound", "whatever"), "blob_not_found"),
            ("400 Bad Request", _error("RepoNotFound", "Could not find repo for DID: did:plc:x"), "repo_not_found"),
            ("400 Bad Request", _error("RepoTakendown", "Repo has been taken down"), "repo_taken_down"),
            ("400 Bad Request", _error("RepoSuspended", ""), "repo_suspended"),
            ("400 Bad Request", _error("RepoDeactivated"), "repo_deactivated"),
            ("404 Not Found", _error("RepoTakendown"), "repo_taken_down"),
            ("404 Not Found", _error("Other", "blob not found here"), "blob_not_found"),
            ("404 Not Found", b"<html>Not Found</html>", "not_found"),
            ("404 Not Found", b"", "not_found"),
            ("404 Not Found", _error("Other", "Other"), "not_found"),
            ("500 Internal Server Error", _error("InternalServerError", "Blob not found"), "blob_not_found"),
        ],
    )
    def test_blob_that_is_not_there(
        self,
        status: str,
        body: bytes,
        reason: str,
        serve_bytes: Any,
        answer: Any,
        open_fetcher: Any,
        did: str,
        cid: str,
    ) -> None:
        server = serve_bytes(answer(body, status))
        with pytest.raises(PDSNotFoundError) as caught:
            open_fetcher().fetch(server.url(), did, cid)
        assert caught.value.reason == reason
        assert caught.value.status == int(status[:3])
        assert (caught.value.did, caught.value.cid, caught.value.pds_url) == (did, cid, server.url())

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            ("400 Bad Request", _error("InvalidRequest", 'Invalid params: Invalid CID string (got "x")')),
            ("400 Bad Request", _error("RecordNotFound", "Could not locate record")),
            ("400 Bad Request", b""),
            ("401 Unauthorized", _error("AuthMissing")),
            ("403 Forbidden", b"<html>"),
            ("410 Gone", b""),
            ("429 Too Many Requests", _error("RateLimitExceeded", "Rate Limit Exceeded")),
            ("500 Internal Server Error", _error("InternalServerError", "Internal Server Error")),
            ("502 Bad Gateway", b"\xff\xfe"),
            ("206 Partial Content", b"x"),
            ("204 No Content", b""),
            ("304 Not Modified", b""),
            ("300 Multiple Choices", b""),
            ("302 Found", b""),
            ("999 What", b""),
            ("400 Bad Request", b"[" * 8000),
            ("400 Bad Request", b"[]"),
            ("400 Bad Request", b'"Blob not found"'),
            ("400 Bad Request", b"null"),
            ("400 Bad Request", _error(["RepoNotFound"], {"a": "Blob not found"})),
            ("400 Bad Request", b'{"error": ' + b"9" * 5000 + b"}"),
        ],
    )
    def test_any_other_answer_is_a_fetch_error(
        self, status: str, body: bytes, serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str
    ) -> None:
        with pytest.raises(PDSFetchError) as caught:
            open_fetcher().fetch(serve_bytes(answer(body, status)).url(), did, cid)
        assert type(caught.value) is PDSFetchError
        assert caught.value.status == int(status[:3])

    def test_message_tells_what_the_server_said(
        self, serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str
    ) -> None:
        body = _error("Evil\x1b[2J", "line\r\nbreak \u202e\udc80 " + "x" * 5000)
        with pytest.raises(PDSFetchError, match=r"answered 400: Evil.\[2J: line") as caught:
            open_fetcher().fetch(serve_bytes(answer(body, "400 Bad Request")).url(), did, cid)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 600

    def test_endless_error_is_read_only_at_its_start(self, serve: Any, open_fetcher: Any, did: str, cid: str) -> None:
        def handler(peer: Any) -> None:
            peer.read_head()
            peer.send(b"HTTP/1.1 404 Not Found\r\n\r\n")
            peer.flood(b" " * 65536)

        with pytest.raises(PDSNotFoundError):
            open_fetcher(timeout_seconds=30).fetch(serve(handler).url(), did, cid)

    def test_error_that_ends_too_early_counts_by_its_status(
        self, serve_bytes: Any, open_fetcher: Any, did: str, cid: str
    ) -> None:
        server = serve_bytes(b"HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\n{", hang_up=True)
        with pytest.raises(PDSNotFoundError):
            open_fetcher().fetch(server.url(), did, cid)


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirect_is_followed(
        self, status: int, serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str, blob: bytes
    ) -> None:
        target = serve_bytes(answer(blob))
        server = serve_bytes(answer(b"", f"{status} X", (f"Location: {target.url()}/elsewhere?a=b#c",)))
        assert open_fetcher().fetch(server.url(), did, cid) == blob
        assert target.heads[0].startswith(b"GET /elsewhere?a=b HTTP/1.1\r\n")

    def test_five_redirects_are_followed_and_six_are_not(
        self, serve: Any, answer: Any, open_fetcher: Any, did: str, cid: str, blob: bytes
    ) -> None:
        def handler(peer: Any) -> None:
            while head := peer.read_head():
                path = head.split()[1].decode()
                left = int(path[1:]) if path[1:].isdigit() else hops
                peer.send(answer(blob) if not left else answer(b"", "302 Found", (f"Location: /{left - 1}",)))

        server, fetcher = serve(handler), open_fetcher()
        hops = 5
        assert fetcher.fetch(server.url(), did, cid) == blob
        hops = 6
        with pytest.raises(PDSFetchError, match="redirects"):
            fetcher.fetch(server.url(), did, cid)

    def test_circle_of_redirects_ends(
        self, serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str
    ) -> None:
        server = serve_bytes(answer(b"", "302 Found", ("Location: /again",)))
        with pytest.raises(PDSFetchError, match="redirects"):
            open_fetcher().fetch(server.url(), did, cid)
        assert len(server.heads) == 6

    def test_endless_body_of_a_redirect_is_not_read(
        self, serve: Any, serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str, blob: bytes
    ) -> None:
        target = serve_bytes(answer(blob))
        sent = threading.Event()

        def handler(peer: Any) -> None:
            peer.read_head()
            peer.send(f"HTTP/1.1 301 Moved\r\nLocation: {target.url()}/\r\n\r\n".encode())
            try:
                for piece in repeat(b"x" * 65536, 16 * 64):
                    peer.send(piece)
                sent.set()
            except OSError:
                pass

        assert open_fetcher().fetch(serve(handler).url(), did, cid) == blob
        assert not sent.is_set()

    @pytest.mark.parametrize(
        ("location", "rule"),
        [
            ("http://169.254.169.254/latest/meta-data", "link_local"),
            ("http://user:secret@127.0.0.1/", "userinfo"),
            ("file:///etc/passwd", "scheme"),
            ("http://2130706433/", "numeric_host"),
            ("http://[::ffff:169.254.169.254]/", "link_local"),
            ("http://127.0.0.1/a b", "characters"),
            ("http://127.0.0.1/\xe9", "characters"),
            ("http://[", "syntax"),
            ("", "syntax"),
        ],
    )
    def test_every_hop_is_judged_like_the_first(
        self, location: str, rule: str, serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str
    ) -> None:
        server = serve_bytes(answer(b"", "302 Found", (f"Location: {location}",)))
        with pytest.raises(UnsafeURLError) as caught:
            open_fetcher().fetch(server.url(), did, cid)
        assert caught.value.pds_url == server.url()
        if location:
            assert caught.value.url == location
            assert caught.value.rule == rule

    def test_redirect_to_a_name_of_a_private_address_is_refused(
        self, serve_bytes: Any, answer: Any, did: str, cid: str
    ) -> None:
        """Strictly judged: the second hop goes inside, and nothing arrives there."""
        inside = serve_bytes(answer(b"secret"))
        server = serve_bytes(answer(b"", "302 Found", (f"Location: https://inside.example.com:{inside.port}/",)))

        def getaddrinfo(host: str, port: int, *_: Any) -> list[Any]:
            return [
                (
                    socket.AF_INET,
                    socket.SOCK_STREAM,
                    6,
                    "",
                    ("169.254.169.254" if host == "inside.example.com" else "127.0.0.1", port),
                )
            ]

        with PDSFetcher(allow_private_networks=True) as fetcher:
            fetcher._client = GuardedClient(allow_private_networks=True, getaddrinfo=getaddrinfo)
            with pytest.raises(UnsafeURLError) as caught:
                fetcher.fetch(server.url("pds.example.com"), did, cid)
        assert caught.value.rule == "link_local"
        assert inside.connections == 0

    @pytest.mark.parametrize("later", [["169.254.169.254"], ["127.0.0.1", "169.254.169.254"]])
    def test_name_that_changes_its_mind_between_two_hops_is_refused(
        self, later: list[str], serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str
    ) -> None:
        """The connection of a redirect is not used again, so the name is looked up and judged anew."""
        server = serve_bytes(answer(b"", "302 Found", ("Location: /inside",)))
        asked: list[str] = []

        def getaddrinfo(host: str, port: int, *_: Any) -> list[Any]:
            asked.append(host)
            addresses = ["127.0.0.1"] if len(asked) == 1 else later
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        fetcher = open_fetcher()
        fetcher._client._dialer._getaddrinfo = getaddrinfo
        with pytest.raises(UnsafeURLError) as caught:
            fetcher.fetch(server.url("pds.test"), did, cid)
        assert (caught.value.rule, caught.value.url) == ("link_local", server.url("pds.test") + "/inside")
        assert asked == ["pds.test"] * 2
        assert len(server.heads) == 1

    def test_bytes_behind_a_redirect_are_proved(
        self, serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str
    ) -> None:
        target = serve_bytes(answer(b"other bytes"))
        server = serve_bytes(answer(b"", "302 Found", (f"Location: {target.url()}/",)))
        with pytest.raises(CIDMismatchError):
            open_fetcher().fetch(server.url(), did, cid)


class TestSubclass:
    def test_headers_and_url_may_be_overridden(
        self, serve_bytes: Any, answer: Any, did: str, cid: str, blob: bytes
    ) -> None:
        class Mirrored(PDSFetcher):
            def blob_url(self, pds_url: str, did: str, cid: str) -> str:
                return f"{mirror.url()}/{cid}"

            def request_headers(self, url: str) -> Mapping[str, str]:
                return {**super().request_headers(url), "Authorization": "Bearer x"}

        mirror = serve_bytes(answer(blob))
        with Mirrored(allow_private_networks=True) as fetcher:
            assert fetcher.fetch("http://pds.test", did, cid) == blob
        assert mirror.heads[0].startswith(f"GET /{cid} HTTP/1.1\r\n".encode())
        assert b"Authorization: Bearer x\r\n" in mirror.heads[0]

    def test_url_of_a_subclass_is_judged(self, did: str, cid: str) -> None:
        class Inside(PDSFetcher):
            def blob_url(self, pds_url: str, did: str, cid: str) -> str:
                return "http://169.254.169.254/"

        with Inside(allow_private_networks=True) as fetcher, pytest.raises(UnsafeURLError):
            fetcher.fetch("http://pds.test", did, cid)


def test_threads_share_the_fetcher(
    serve_bytes: Any, answer: Any, open_fetcher: Any, did: str, cid: str, blob: bytes
) -> None:
    server, fetcher = serve_bytes(answer(blob)), open_fetcher(timeout_seconds=30)
    got: list[bytes] = []
    start = threading.Barrier(8)

    def fetch() -> None:
        start.wait()
        got.extend(fetcher.fetch(server.url(), did, cid) for _ in range(5))

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [blob] * 40
    assert server.connections <= 8


def test_closed_fetcher_fetches_no_more(did: str, cid: str) -> None:
    fetcher = PDSFetcher(allow_private_networks=True)
    fetcher.close()
    fetcher.close()
    with pytest.raises(PDSFetchError, match="closed"):
        fetcher.fetch("http://127.0.0.1:9", did, cid)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("timeout_seconds", value) for value in (0, -1, float("nan"), float("inf"), "30", None)),
        *(("max_bytes", value) for value in (0, -1, 1.5, "10", None)),
        ("user_agent", "a\nb"),
    ],
)
def test_option_that_cannot_be_meant_is_refused(option: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        PDSFetcher(**{option: value})  # type: ignore[arg-type]
    assert caught.value.option == option
