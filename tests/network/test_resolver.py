"""DIDResolver against directories that answer well, badly, and not at all."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import chain, repeat
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imageproxy._client import GuardedClient
from imageproxy.errors import (
    ConfigError,
    DIDNotFoundError,
    DIDResolutionError,
    ImageProxyError,
    InvalidDIDError,
)
from imageproxy.protocols import Resolver, SupportsClose, SupportsInvalidate
from imageproxy.resolver import DIDResolver, _Malformed, _parse

PDS = "https://pds.example.com"


def _service(endpoint: object = PDS, **changes: object) -> dict[str, object]:
    service = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": endpoint}
    return {**service, **changes}


def _document(did: str, *services: object) -> bytes:
    return json.dumps({"id": did, "alsoKnownAs": ["at://a.b"], "service": list(services or [_service()])}).encode()


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_resolver(clock: Clock) -> Iterator[Callable[..., DIDResolver]]:
    """``open_resolver(server, **options)``: a resolver whose directory is this server."""
    with ExitStack() as stack:

        def make(server: Any = None, **options: Any) -> DIDResolver:
            defaults = {"allow_private_networks": True, "timeout_seconds": 5.0, "clock": clock}
            if server is not None:
                defaults["plc_url"] = server.url()
            return stack.enter_context(DIDResolver(**{**defaults, **options}))

        yield make


class Directory:
    """A server whose answer a test may change."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply

    def __call__(self, peer: Any) -> None:
        while peer.read_head():
            peer.send(self.reply)


def test_plc_did_is_resolved(serve_bytes: Any, answer: Any, open_resolver: Any, did: str) -> None:
    server = serve_bytes(answer(_document(did)))
    assert open_resolver(server).resolve(did) == PDS
    head = server.heads[0].decode()
    assert head.startswith(f"GET /{did} HTTP/1.1\r\n")
    assert "Accept: application/did+ld+json, application/json\r\n" in head
    assert "User-Agent: atproto-imageproxy/" in head


def test_resolver_is_a_backend() -> None:
    with DIDResolver() as resolver:
        assert isinstance(resolver, Resolver)
        assert isinstance(resolver, SupportsInvalidate)
        assert isinstance(resolver, SupportsClose)


def test_directory_may_have_a_path(serve_bytes: Any, answer: Any, open_resolver: Any, did: str) -> None:
    server = serve_bytes(answer(_document(did)))
    assert open_resolver(plc_url=server.url() + "/plc/").resolve(did) == PDS
    assert server.heads[0].startswith(f"GET /plc/{did} HTTP/1.1\r\n".encode())


def test_web_did_of_localhost_is_resolved(serve_bytes: Any, answer: Any, open_resolver: Any) -> None:
    server = serve_bytes(b"")
    did = f"did:web:localhost%3A{server.port}"
    server.handler = Directory(answer(_document(did)))
    assert open_resolver().resolve(did) == PDS
    assert open_resolver().resolve(did.replace("%3A", "%3a")) == PDS
    assert server.heads[0].startswith(b"GET /.well-known/did.json HTTP/1.1\r\n")
    assert f"Host: localhost:{server.port}\r\n".encode() in server.heads[0]


def test_web_did_is_asked_over_https(open_resolver: Any) -> None:
    asked: list[tuple[str, int]] = []

    def getaddrinfo(host: str, port: int, *_: Any) -> list[Any]:
        asked.append((host, port))
        return []

    resolver = open_resolver(allow_private_networks=False)
    resolver._client = GuardedClient(getaddrinfo=getaddrinfo)
    with pytest.raises(DIDResolutionError) as caught:
        resolver.resolve("did:web:Example.com")
    assert asked == [("example.com", 443)]
    assert caught.value.url == "https://example.com/.well-known/did.json"
    assert caught.value.did == "did:web:example.com"


@pytest.mark.parametrize(
    "did",
    [
        "did:plc:tooshort",
        "did:plc:ewvi7nxzyoun6zhxrhs64oi1",
        "did:plc:ewvi7nxzyoun6zhxrhs64oizz",
        "did:plc:EWVI7NXZYOUN6ZHXRHS64OIZ",
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
        "did:web:example.com:user:alice",
        "did:web:example.com%3A8443",
        "did:web:example.com%2Fpath",
        "did:web:user%40example.com",
        "did:web:localhost%3A2583%3A1",
        "did:web:localhost%3A123456",
        "did:web:localhost%3A0",
        "did:web:127.1",
        "did:web:169.254.169.254",
        "did:web:a..b",
        "did:web:.",
    ],
)
def test_did_that_cannot_be_resolved_is_not_asked_for(did: str, serve_bytes: Any, open_resolver: Any) -> None:
    server = serve_bytes(b"")
    with pytest.raises(DIDResolutionError) as caught:
        open_resolver(server).resolve(did)
    assert caught.value.did == did
    assert server.connections == 0


@pytest.mark.parametrize("did", ["did:web:localhost", "did:web:localhost%3A2583", "did:web:pds", "did:web:a.local"])
def test_web_did_of_the_local_network_needs_leave(did: str) -> None:
    with DIDResolver() as resolver, pytest.raises(DIDResolutionError):
        resolver.resolve(did)


@pytest.mark.parametrize("did", ["", "nonsense", "did:plc:a\n", "did:plc:\udc80"])
def test_what_is_no_did_is_refused(did: str, open_resolver: Any) -> None:
    with pytest.raises(InvalidDIDError):
        open_resolver().resolve(did)
    with pytest.raises(InvalidDIDError):
        open_resolver().invalidate(did)


class TestDocument:
    @pytest.mark.parametrize(
        "services",
        [
            [_service(id="did:plc:ewvi7nxzyoun6zhxrhs64oiz#atproto_pds")],
            [_service(PDS + "/")],
            [_service(type="Other"), _service()],
            [_service("https://other.example.com", id="#other"), None, "x", _service()],
            [_service(), _service("https://second.example.com")],
        ],
    )
    def test_service_of_the_right_id_and_type_is_the_pds(
        self, services: list[object], serve_bytes: Any, answer: Any, open_resolver: Any, did: str
    ) -> None:
        assert open_resolver(serve_bytes(answer(_document(did, *services)))).resolve(did) == PDS

    @pytest.mark.parametrize(
        "services",
        [
            [_service(type="BskyNotificationService")],
            [_service(id="#other")],
            [_service(id="did:plc:aaaaaaaaaaaaaaaaaaaaaaaa#atproto_pds")],
            [_service(id=["#atproto_pds"])],
            [_service(type=None)],
            [None, [], "#atproto_pds", 3],
            [_service(None)],
            [_service([PDS])],
            [_service({"uri": PDS})],
            [_service("")],
            [_service("pds.example.com")],
            [_service("ftp://pds.example.com")],
            [_service("javascript:alert(1)")],
            [_service("https://user:pass@pds.example.com")],
            [_service("https://pds.example.com?a=b")],
            [_service("https://pds.example.com/\n")],
            [_service("https://pds.example.com/\ud800")],
            [_service("http://169.254.169.254")],
            [_service("http://2130706433")],
        ],
    )
    def test_document_without_a_usable_pds_is_an_error(
        self, services: list[object], serve_bytes: Any, answer: Any, open_resolver: Any, did: str
    ) -> None:
        server = serve_bytes(answer(_document(did, *services)))
        with pytest.raises(DIDResolutionError) as caught:
            open_resolver(server).resolve(did)
        assert not isinstance(caught.value, DIDNotFoundError)
        assert (caught.value.did, caught.value.url) == (did, f"{server.url()}/{did}")
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize("endpoint", ["http://pds.example.com", "https://10.0.0.1", "https://localhost:2583"])
    def test_pds_of_the_local_network_needs_leave(
        self, endpoint: str, serve_bytes: Any, answer: Any, open_resolver: Any, did: str
    ) -> None:
        server = serve_bytes(answer(_document(did, _service(endpoint))))
        resolver = open_resolver(server)
        assert resolver.resolve(did) == endpoint
        resolver.invalidate(did)
        resolver.allow_private_networks = False
        with pytest.raises(DIDResolutionError):
            resolver.resolve(did)

    @pytest.mark.parametrize(
        "document",
        [
            b"",
            b"nonsense",
            b"[]",
            b'"text"',
            b"null",
            b"3",
            b"{",
            b"\xff\xfe{\x00}\x00",
            b"\xff",
            b"[" * 100_000,
            b'{"a":' * 50_000,
            b'{"id": NaN}',
            b'{"id": Infinity, "service": -Infinity}',
            b'{"id": ' + b"9" * 200_000 + b"}",
            b'{"id": 1e999999}',
            b'{"id": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "service": []}',
            b'{"id": ["did:plc:ewvi7nxzyoun6zhxrhs64oiz"]}',
            b'{"service": [{"id": "#atproto_pds"}]}',
            b'{"id": "did:plc:ewvi7nxzyoun6zhxrhs64oiz"}',
            b'{"id": "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "service": {"id": "#atproto_pds"}}',
            b'{"id": "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "service": "#atproto_pds"}',
            b'{"id": "\\ud800"}',
        ],
        ids=lambda document: repr(document[:30]),
    )
    def test_malformed_document_is_an_error(
        self, document: bytes, serve_bytes: Any, answer: Any, open_resolver: Any, did: str
    ) -> None:
        with pytest.raises(DIDResolutionError):
            open_resolver(serve_bytes(answer(document))).resolve(did)

    def test_numbers_of_any_length_do_no_harm(
        self, serve_bytes: Any, answer: Any, open_resolver: Any, did: str
    ) -> None:
        document = b'{"n": [' + b"9" * 100_000 + b", 1e99999], " + _document(did)[1:]
        assert open_resolver(serve_bytes(answer(document))).resolve(did) == PDS

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        document=st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["#atproto_pds", PDS]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["id", "service", "type", "serviceEndpoint"]), inner, max_size=4)
            ),
            max_leaves=12,
        )
    )
    def test_json_of_any_shape_gives_only_our_errors(self, document: object, open_resolver: Any, did: str) -> None:
        resolver = open_resolver()
        with suppress(_Malformed, ImageProxyError):
            resolver._pds_of(did, _parse(json.dumps(document).encode()))


class TestTheWholeDocument:
    def test_it_is_told_as_it_is(self, serve_bytes: Any, answer: Any, open_resolver: Any, did: str) -> None:
        document = {"id": did, "alsoKnownAs": ["at://alice.test"], "service": "none", "number": 5, "nothing": None}
        server = serve_bytes(answer(json.dumps(document).encode()))

        assert open_resolver(server).document(did) == {**document, "number": "5"}

    def test_it_is_read_afresh_and_changes_nothing_of_what_is_remembered(
        self, serve_bytes: Any, answer: Any, open_resolver: Any, did: str
    ) -> None:
        server = serve_bytes(answer(_document(did)))
        resolver = open_resolver(server)

        assert resolver.document(did) == resolver.document(did)
        assert len(server.heads) == 2
        assert resolver.resolve(did) == resolver.resolve(did) == PDS
        assert len(server.heads) == 3

    @pytest.mark.parametrize(
        ("document", "told"),
        [
            (b"<html>", "the document is no JSON"),
            (b"[]", "the document is no JSON object"),
            (b"{}", "the document is not about this DID"),
            (b'{"id": "did:plc:other"}', "the document is not about this DID"),
            (b" " * (256 * 1024 + 1), "the document has more than 262144 bytes"),
        ],
        ids=lambda each: repr(each[:30]),
    )
    def test_malformed_document_is_an_error(
        self, document: bytes, told: str, serve_bytes: Any, answer: Any, open_resolver: Any, did: str
    ) -> None:
        server = serve_bytes(answer(document))

        with pytest.raises(DIDResolutionError, match=f"^no document for {did}: {told}") as caught:
            open_resolver(server).document(did)

        assert (caught.value.did, caught.value.url) == (did, f"{server.url()}/{did}")

    def test_what_is_not_there_or_no_did_is_told(
        self, serve_bytes: Any, answer: Any, open_resolver: Any, did: str
    ) -> None:
        resolver = open_resolver(serve_bytes(answer(b"", "404 Not Found")))

        with pytest.raises(DIDNotFoundError) as caught:
            resolver.document(did)
        with pytest.raises(InvalidDIDError):
            resolver.document("alice.test")

        assert (caught.value.status, caught.value.did) == (404, did)

    def test_timeout_is_kept(self, serve: Any, open_resolver: Any, did: str) -> None:
        server = serve(lambda peer: peer.wait_for_hang_up())

        with pytest.raises(DIDResolutionError, match=r"^no document within 0.2 seconds: "):
            open_resolver(server).document(did, timeout=0.2)


class TestAnswers:
    @pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
    def test_did_that_is_not_there(
        self, status: str, serve_bytes: Any, answer: Any, open_resolver: Any, did: str
    ) -> None:
        server = serve_bytes(answer(b'{"message": "DID not registered"}', status))
        with pytest.raises(DIDNotFoundError) as caught:
            open_resolver(server).resolve(did)
        assert (caught.value.status, caught.value.did) == (int(status[:3]), did)
        assert caught.value.url == f"{server.url()}/{did}"

    @pytest.mark.parametrize(
        "status", ["201 Created", "204 No Content", "400 Bad Request", "403 Forbidden", "429 Slow", "500 Oops"]
    )
    def test_any_other_status_is_an_error(
        self, status: str, serve_bytes: Any, answer: Any, open_resolver: Any, did: str
    ) -> None:
        with pytest.raises(DIDResolutionError) as caught:
            open_resolver(serve_bytes(answer(b"", status))).resolve(did)
        assert type(caught.value) is DIDResolutionError
        assert caught.value.status == int(status[:3])

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirect_is_an_error(
        self, status: int, serve_bytes: Any, answer: Any, open_resolver: Any, did: str
    ) -> None:
        target = serve_bytes(answer(_document(did)))
        server = serve_bytes(answer(b"", f"{status} X", (f"Location: {target.url()}/",)))
        with pytest.raises(DIDResolutionError) as caught:
            open_resolver(server).resolve(did)
        assert caught.value.status == status
        assert target.connections == 0

    def test_document_over_the_limit_is_refused(self, serve: Any, open_resolver: Any, did: str) -> None:
        def handler(peer: Any) -> None:
            peer.read_head()
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            peer.flood(b" " * 65536)

        with pytest.raises(DIDResolutionError, match="262144 bytes"):
            open_resolver(serve(handler)).resolve(did)

    def test_document_of_the_limit_is_read(self, serve_bytes: Any, answer: Any, open_resolver: Any, did: str) -> None:
        document = _document(did).ljust(256 * 1024)
        assert open_resolver(serve_bytes(answer(document))).resolve(did) == PDS

    def test_encoded_document_is_an_error(self, serve_bytes: Any, answer: Any, open_resolver: Any, did: str) -> None:
        server = serve_bytes(answer(gzip.compress(_document(did)), headers=("Content-Encoding: gzip",)))
        with pytest.raises(DIDResolutionError):
            open_resolver(server).resolve(did)

    def test_slow_directory_is_left_in_time(self, serve: Any, did: str, elapsed: Any, left_behind: Any) -> None:
        def handler(peer: Any) -> None:
            peer.read_head()
            peer.drip(chain([b"HTTP/1.1 200 OK\r\n\r\n"], repeat(b" ")))

        server = serve(handler)
        with DIDResolver(plc_url=server.url(), timeout_seconds=60, allow_private_networks=True) as resolver:
            start = elapsed()
            with pytest.raises(DIDResolutionError, match="seconds"):
                resolver.resolve(did, timeout=0.3)
            assert 0.2 < elapsed() - start < 1.8
        assert left_behind()[1] == []

    def test_directory_that_is_down_is_an_error(self, serve_bytes: Any, open_resolver: Any, did: str) -> None:
        server = serve_bytes(b"")
        server.close()
        with pytest.raises(DIDResolutionError) as caught:
            open_resolver(server).resolve(did)
        assert type(caught.value) is DIDResolutionError
        assert caught.value.__cause__ is not None

    def test_name_of_a_private_address_is_not_connected_to(self) -> None:
        with DIDResolver() as resolver:
            resolver._client = GuardedClient(
                getaddrinfo=lambda *_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 443))]
            )
            with pytest.raises(DIDResolutionError, match=r"10\.0\.0\.1"):
                resolver.resolve("did:web:example.com")

    def test_closed_resolver_asks_no_more(self, did: str) -> None:
        resolver = DIDResolver()
        resolver.close()
        resolver.close()
        with pytest.raises(DIDResolutionError, match="closed"):
            resolver.resolve(did)


class TestMemory:
    def test_answer_is_remembered_for_its_time(
        self, serve_bytes: Any, answer: Any, open_resolver: Any, clock: Clock, did: str
    ) -> None:
        server = serve_bytes(answer(_document(did)))
        resolver = open_resolver(server, ttl_seconds=100)
        for _ in range(3):
            resolver.resolve(did)
        clock.now += 99.9
        resolver.resolve(did)
        assert len(server.heads) == 1
        clock.now += 0.1
        resolver.resolve(did)
        assert len(server.heads) == 2

    def test_forgotten_answer_is_asked_for_afresh(self, serve: Any, answer: Any, open_resolver: Any, did: str) -> None:
        directory = Directory(answer(_document(did)))
        resolver = open_resolver(serve(directory))
        assert resolver.resolve(did) == PDS
        directory.reply = answer(_document(did, _service("https://new.example.com")))
        assert resolver.resolve(did) == PDS
        resolver.invalidate(did)
        assert resolver.resolve(did) == "https://new.example.com"

    def test_answer_asked_for_before_it_was_forgotten_is_not_remembered(
        self, serve: Any, answer: Any, open_resolver: Any, did: str
    ) -> None:
        asked, go_on = threading.Event(), threading.Event()

        def handler(peer: Any) -> None:
            while peer.read_head():
                asked.set()
                go_on.wait(30)
                peer.send(answer(_document(did)))

        server = serve(handler)
        resolver = open_resolver(server)
        thread = threading.Thread(target=resolver.resolve, args=(did,))
        thread.start()
        assert asked.wait(30)
        resolver.invalidate(did)
        go_on.set()
        thread.join()
        resolver.resolve(did)
        assert len(server.heads) == 2
        resolver.resolve(did)
        assert len(server.heads) == 2
        assert resolver._asking == {}

    @pytest.mark.parametrize("status", ["500 Oops", "503 Busy", "429 Slow"])
    def test_old_answer_serves_while_the_directory_is_down(
        self, status: str, serve: Any, answer: Any, open_resolver: Any, clock: Clock, did: str, caplog: Any
    ) -> None:
        directory = Directory(answer(_document(did)))
        server = serve(directory)
        resolver = open_resolver(server, ttl_seconds=100)
        resolver.resolve(did)
        directory.reply = answer(b"", status)
        clock.now += 101
        with caplog.at_level(logging.WARNING, logger="imageproxy.resolver"):
            assert resolver.resolve(did) == PDS
        assert caplog.records[0].did == did
        # The directory is left in peace for a minute, and nobody waits for it.
        assert resolver.resolve(did) == PDS
        assert len(server.heads) == 2
        clock.now += 60
        directory.reply = answer(_document(did, _service("https://new.example.com")))
        assert resolver.resolve(did) == "https://new.example.com"
        assert len(server.heads) == 3

    def test_old_answer_serves_while_the_directory_cannot_be_reached(
        self, serve_bytes: Any, answer: Any, open_resolver: Any, clock: Clock, did: str
    ) -> None:
        server = serve_bytes(answer(_document(did)))
        resolver = open_resolver(server, ttl_seconds=100)
        resolver.resolve(did)
        server.close()
        clock.now += 100 + 24 * 3600 - 1
        assert resolver.resolve(did) == PDS
        clock.now += 60
        with pytest.raises(DIDResolutionError):
            resolver.resolve(did)

    @pytest.mark.parametrize("status", ["200 OK", "302 Found", "403 Forbidden"])
    def test_answer_that_is_of_no_use_is_not_covered_up(
        self, status: str, serve: Any, answer: Any, open_resolver: Any, clock: Clock, did: str
    ) -> None:
        directory = Directory(answer(_document(did)))
        resolver = open_resolver(serve(directory), ttl_seconds=100)
        resolver.resolve(did)
        directory.reply = answer(b"{}", status)
        clock.now += 101
        with pytest.raises(DIDResolutionError):
            resolver.resolve(did)

    def test_did_that_is_no_more_is_forgotten(
        self, serve: Any, answer: Any, open_resolver: Any, clock: Clock, did: str
    ) -> None:
        directory = Directory(answer(_document(did)))
        resolver = open_resolver(serve(directory), ttl_seconds=100)
        resolver.resolve(did)
        clock.now += 101
        directory.reply = answer(b"", "410 Gone")
        with pytest.raises(DIDNotFoundError):
            resolver.resolve(did)
        directory.reply = answer(b"", "500 Oops")
        with pytest.raises(DIDResolutionError) as caught:
            resolver.resolve(did)
        assert caught.value.status == 500

    def test_memory_is_bounded_and_keeps_what_was_used_last(
        self, serve: Any, answer: Any, open_resolver: Any, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr("imageproxy.resolver._MAX_ENTRIES", 3)

        def handler(peer: Any) -> None:
            while head := peer.read_head():
                peer.send(answer(_document(head.split()[1].decode()[1:])))

        server = serve(handler)
        resolver = open_resolver(server)
        dids = ["did:plc:" + letter * 24 for letter in "abcd"]
        for did in (*dids[:3], dids[0], dids[3]):
            resolver.resolve(did)
        assert len(server.heads) == 4
        assert len(resolver._entries) == 3
        resolver.resolve(dids[0])
        assert len(server.heads) == 4
        resolver.resolve(dids[1])
        assert len(server.heads) == 5

    def test_children_of_a_fork_keep_what_is_remembered_and_take_new_locks(
        self, serve_bytes: Any, answer: Any, open_resolver: Any, did: str
    ) -> None:
        resolver = open_resolver(serve_bytes(answer(_document(did))))
        resolver.resolve(did)
        resolver._lock.acquire()  # as a thread of the parent may have left it
        resolver._reset_after_fork()
        assert resolver.resolve(did) == PDS

    def test_threads_share_the_resolver(self, serve: Any, answer: Any, open_resolver: Any) -> None:
        def handler(peer: Any) -> None:
            while head := peer.read_head():
                peer.send(answer(_document(head.split()[1].decode()[1:])))

        resolver = open_resolver(serve(handler), timeout_seconds=30)
        got: list[str] = []

        def resolve() -> None:
            for letter in "abcdef":
                got.append(resolver.resolve("did:plc:" + letter * 24))
                resolver.invalidate("did:plc:" + letter * 24)

        threads = [threading.Thread(target=resolve) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == [PDS] * 36
        assert resolver._asking == {}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("ttl_seconds", value) for value in (0, -1, float("nan"), float("inf"), "1", None)),
        *(("timeout_seconds", value) for value in (0, -1, float("nan"), float("inf"), "1", None)),
        *(
            ("plc_url", value)
            for value in ("", "plc.directory", "http://plc.directory", "https://plc.directory?x", None)
        ),
        ("user_agent", "\n"),
    ],
)
def test_option_that_cannot_be_meant_is_refused(option: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        DIDResolver(**{option: value})  # type: ignore[arg-type]
    assert caught.value.option == option
