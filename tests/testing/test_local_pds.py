"""LocalPDS against what the reference servers do; ``tests/pds/test_reference_server.py`` holds those to the same."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from imageproxy.errors import InvalidDIDError
from imageproxy.identifiers import compute_cid
from imageproxy.testing import AccountStatus, LocalPDS


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


DATA = b"\xff\xd8\xff not much of a photo"
ELSEWHERE = compute_cid(b"another blob")


def get_blob(
    session: requests.Session, url: str, did: str, cid: str, method: str = "GET", **options: Any
) -> requests.Response:
    return session.request(
        method, f"{url}/xrpc/com.atproto.sync.getBlob", params={"did": did, "cid": cid}, timeout=10, **options
    )


def test_blob_comes_with_the_headers_of_the_reference_server(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, DATA, content_type="image/png")

    answer = get_blob(session, pds.url, did, cid)

    assert (answer.status_code, answer.content, cid) == (200, DATA, compute_cid(DATA))
    assert {name: value for name, value in answer.headers.items() if name not in ("Server", "Date")} == {
        "access-control-allow-origin": "*",
        "cache-control": "private",
        "content-disposition": f'attachment; filename="{cid}"',
        "content-length": str(len(DATA)),
        "content-security-policy": "default-src 'none'; sandbox",
        "content-type": "image/png",
        "vary": "Authorization",
        "x-content-type-options": "nosniff",
    }


def test_range_is_ignored(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, DATA)

    answer = get_blob(session, pds.url, did, cid, headers={"range": "bytes=0-3"})

    assert (answer.status_code, answer.content) == (200, DATA)


def test_head_gives_the_headers_alone(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, DATA)

    answer = get_blob(session, pds.url, did, cid, method="HEAD")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(DATA))


def test_connection_is_kept_alive(pds: LocalPDS) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, DATA)
    connection = http.client.HTTPConnection(urlsplit(pds.url).netloc, timeout=10)
    connection.connect()
    first = connection.sock.getsockname()

    for method in ("GET", "HEAD", "GET"):
        connection.request(method, f"/xrpc/com.atproto.sync.getBlob?did={did}&cid={cid}")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read() == (b"" if method == "HEAD" else DATA)
    assert connection.sock.getsockname() == first
    connection.close()


@pytest.mark.parametrize("content_type", ["image/svg+xml", "text/html", "application/octet-stream"])
def test_compressible_blob_loses_its_length_for_who_accepts_compression(
    pds: LocalPDS, session: requests.Session, content_type: str
) -> None:
    drawing = b"<svg>" + b" " * 2000 + b"</svg>"
    did = pds.create_account()
    cid = pds.add_blob(did, drawing, content_type=content_type)

    plain = get_blob(session, pds.url, did, cid)
    packed = get_blob(session, pds.url, did, cid, headers={"accept-encoding": "gzip"})

    assert (plain.content, plain.headers["content-length"]) == (drawing, str(len(drawing)))
    assert (packed.content, packed.headers["content-encoding"]) == (drawing, "gzip")
    assert "content-length" not in packed.headers
    assert plain.headers["vary"] == packed.headers["vary"] == "Authorization, Accept-Encoding"


@pytest.mark.parametrize(
    ("declared", "served"),
    [("text/html", "text/html; charset=utf-8"), ("text/html; charset=x", "text/html; charset=x"), ("*/*", "*/*")],
)
def test_content_type_is_as_declared(pds: LocalPDS, session: requests.Session, declared: str, served: str) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, DATA, content_type=declared)

    assert get_blob(session, pds.url, did, cid).headers["content-type"] == served


def test_photo_is_never_compressed(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, bytes(5000))

    answer = get_blob(session, pds.url, did, cid, headers={"accept-encoding": "gzip"})

    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("did", "cid", "body"),
    [
        ("{did}", ELSEWHERE, ("InvalidRequest", "Blob not found")),
        ("{other}", "{cid}", ("InvalidRequest", "Blob not found")),
        ("{did}", "{taken_down}", ("InvalidRequest", "Blob not found")),
        ("{did}", "{removed}", ("InvalidRequest", "Blob not found")),
        (
            "{did}",
            "not-a-cid",
            ("InvalidRequest", 'Invalid com.atproto.sync.getBlob params: Invalid CID string (got "not-a-cid")'),
        ),
        (
            "{did}",
            "abcdefgh",
            ("InvalidRequest", 'Invalid com.atproto.sync.getBlob params: Invalid CID string (got "abcdefgh")'),
        ),
        (
            "did:plc:",
            "{cid}",
            ("InvalidRequest", 'Invalid com.atproto.sync.getBlob params: Invalid DID (got "did:plc:")'),
        ),
        (
            "",
            "{cid}",
            ("InvalidRequest", 'Invalid com.atproto.sync.getBlob params: Missing required key "did"'),
        ),
        (
            "{did}",
            "",
            ("InvalidRequest", 'Invalid com.atproto.sync.getBlob params: Missing required key "cid"'),
        ),
        ("{did}", "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n", ("InvalidRequest", "Blob not found")),
        (
            "{did}",
            "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a",
            ("InvalidRequest", "Blob not found"),
        ),
        (
            "alice.test",
            "{cid}",
            ("InvalidRequest", 'Invalid com.atproto.sync.getBlob params: Invalid DID (got "alice.test")'),
        ),
        ("did:web:example.com", "{cid}", ("RepoNotFound", "Could not find repo for DID: did:web:example.com")),
        (
            "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa",
            "{cid}",
            ("RepoNotFound", "Could not find repo for DID: did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"),
        ),
    ],
    ids=[
        "never-uploaded",
        "of-another-account",
        "blob-taken-down",
        "removed",
        "malformed-cid",
        "odd-cid",
        "malformed-did",
        "no-did",
        "no-cid",
        "cidv0",
        "dag-cbor",
        "handle-for-a-did",
        "unknown-did-web",
        "unknown-did",
    ],
)
def test_every_error_is_a_400_worded_as_the_reference_does(
    pds: LocalPDS, session: requests.Session, did: str, cid: str, body: tuple[str, str]
) -> None:
    owner, other = pds.create_account(), pds.create_account()
    blobs = {name: pds.add_blob(owner, name.encode()) for name in ("cid", "taken_down", "removed")}
    pds.take_down_blob(owner, blobs["taken_down"])
    pds.remove_blob(owner, blobs["removed"])

    answer = get_blob(session, pds.url, did.format(did=owner, other=other), cid.format(**blobs))

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json() == {"error": body[0], "message": body[1]}
    assert "content-disposition" not in answer.headers


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        ("takendown", "RepoTakendown", "Repo has been takendown: {}"),
        ("suspended", "RepoSuspended", "Repo has been suspended: {}"),
        ("deactivated", "RepoDeactivated", "Repo has been deactivated: {}"),
        ("deleted", "RepoNotFound", "Could not find repo for DID: {}"),
    ],
)
def test_account_status_hides_its_blobs_until_it_is_active_again(
    pds: LocalPDS, session: requests.Session, status: AccountStatus, error: str, message: str
) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, DATA)

    pds.set_account_status(did, status)
    answer = get_blob(session, pds.url, did, cid)
    assert (answer.status_code, answer.json()) == (400, {"error": error, "message": message.format(did)})

    pds.set_account_status(did, "active")
    assert get_blob(session, pds.url, did, cid).content == DATA


def test_blob_may_be_served_under_a_cid_that_is_not_its_own(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()
    assert pds.add_blob(did, DATA, cid=ELSEWHERE) == ELSEWHERE
    pds.add_blob(did, b"made up", cid="madeupcid")

    assert get_blob(session, pds.url, did, ELSEWHERE).content == DATA
    assert get_blob(session, pds.url, did, "madeupcid").content == b"made up"


def test_other_methods_of_the_protocol_are_not_there(pds: LocalPDS, session: requests.Session) -> None:
    answer = session.get(f"{pds.url}/xrpc/com.atproto.sync.getRepo", timeout=10)

    assert (answer.status_code, answer.json()["error"]) == (501, "MethodNotImplemented")


def test_made_up_did_follows_the_syntax(pds: LocalPDS) -> None:
    dids = {pds.create_account() for _ in range(20)}

    assert len(dids) == 20
    assert all(re.fullmatch(r"did:plc:[a-z2-7]{24}", did) for did in dids)


def test_account_with_a_did_of_the_tests_own(pds: LocalPDS) -> None:
    assert pds.create_account("did:web:Example.com") == "did:web:example.com"
    with pytest.raises(ValueError, match="there is an account"):
        pds.create_account("did:web:example.com")
    with pytest.raises(InvalidDIDError):
        pds.create_account("example.com")


def test_directory_names_the_pds(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()

    answer = session.get(f"{pds.plc_url}/{did}", timeout=10)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/did+ld+json; charset=utf-8"
    assert answer.json()["id"] == did
    assert answer.json()["service"] == [
        {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds.url}
    ]


def test_directory_does_not_know_a_did_that_nobody_registered(pds: LocalPDS, session: requests.Session) -> None:
    answer = session.get(f"{pds.plc_url}/did:plc:{'a' * 24}", timeout=10)

    assert (answer.status_code, answer.json()) == (404, {"message": f"DID not registered: did:plc:{'a' * 24}"})


def test_tombstoned_did_is_gone_while_its_blobs_stay(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, DATA)

    pds.tombstone(did)

    answer = session.get(f"{pds.plc_url}/{did}", timeout=10)
    assert (answer.status_code, answer.json()) == (410, {"message": f"DID not available: {did}"})
    assert get_blob(session, pds.url, did, cid).status_code == 200


def test_moved_account_names_its_new_pds(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account(pds_url="https://old.test")
    before = session.get(f"{pds.plc_url}/{did}", timeout=10).json()

    pds.move_account(did, "https://new.test")

    after = session.get(f"{pds.plc_url}/{did}", timeout=10).json()
    assert before["service"][0]["serviceEndpoint"] == "https://old.test"
    assert after["service"][0]["serviceEndpoint"] == "https://new.test"


def test_did_web_of_this_server_has_its_document_at_the_well_known_path(
    pds: LocalPDS, session: requests.Session
) -> None:
    document = f"http://localhost:{port_of(pds.url)}/.well-known/did.json"
    assert session.get(document, timeout=10).status_code == 404

    did = pds.create_account(method="web")

    assert did == f"did:web:localhost%3A{port_of(pds.url)}"
    assert session.get(document, timeout=10).json()["id"] == did
    cid = pds.add_blob(did, DATA)
    assert get_blob(session, pds.url, did, cid).content == DATA


def xrpc(session: requests.Session, pds: LocalPDS, method: str, **query: str) -> requests.Response:
    return session.get(f"{pds.url}/xrpc/{method}", params=query, timeout=10)


def test_record_is_given_back_with_its_type(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account(handle="alice.test")
    uri = pds.add_record(did, "app.bsky.feed.post", {"text": "hello"}, key="1")

    for repo in (did, "alice.test"):
        answer = xrpc(session, pds, "com.atproto.repo.getRecord", repo=repo, collection="app.bsky.feed.post", rkey="1")
        assert answer.json() == {"uri": uri, "value": {"$type": "app.bsky.feed.post", "text": "hello"}}
    assert uri == f"at://{did}/app.bsky.feed.post/1"
    assert pds.add_record(did, "app.bsky.feed.post", {}) != pds.add_record(did, "app.bsky.feed.post", {})


@pytest.mark.parametrize(
    ("repo", "rkey", "error"),
    [
        ("{did}", "2", ("RecordNotFound", "Could not locate record: at://{did}/a.b.c/2")),
        ("did:web:example.com", "1", ("InvalidRequest", "Could not locate record")),
        ("nobody.test", "1", ("InvalidRequest", "Could not locate record")),
    ],
)
def test_record_that_is_not_there_is_worded_as_the_reference_does(
    pds: LocalPDS, session: requests.Session, repo: str, rkey: str, error: tuple[str, str]
) -> None:
    did = pds.create_account()
    pds.add_record(did, "a.b.c", {}, key="1")

    answer = xrpc(session, pds, "com.atproto.repo.getRecord", repo=repo.format(did=did), collection="a.b.c", rkey=rkey)

    name, message = error
    assert answer.status_code == 400
    assert answer.json() == {"error": name, "message": message.format(did=did)}


def test_question_without_a_key_is_refused(pds: LocalPDS, session: requests.Session) -> None:
    answer = xrpc(session, pds, "com.atproto.repo.getRecord", repo="alice.test", rkey="1")

    assert answer.status_code == 400
    assert answer.json()["message"] == 'Invalid com.atproto.repo.getRecord params: Missing required key "collection"'


def test_blobs_are_listed_in_pages_until_one_is_empty(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()
    cids = sorted(pds.add_blob(did, b"%d" % number) for number in range(5))

    pages: list[dict[str, Any]] = []
    cursor = ""
    while not pages or pages[-1]["cids"]:
        query = {"did": did, "limit": "2", **({"cursor": cursor} if cursor else {})}
        pages.append(xrpc(session, pds, "com.atproto.sync.listBlobs", **query).json())
        cursor = pages[-1].get("cursor", "")

    assert [page["cids"] for page in pages] == [cids[:2], cids[2:4], cids[4:], []]
    assert [page.get("cursor") for page in pages] == [cids[1], cids[3], cids[4], None]


@pytest.mark.parametrize(
    ("did", "error"), [("did:web:example.com", "RepoNotFound"), ("{did}", "RepoTakendown"), ("alice", "InvalidRequest")]
)
def test_blobs_of_an_account_that_is_not_there_are_not_listed(
    pds: LocalPDS, session: requests.Session, did: str, error: str
) -> None:
    account = pds.create_account()
    pds.set_account_status(account, "takendown")

    answer = xrpc(session, pds, "com.atproto.sync.listBlobs", did=did.format(did=account))

    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_handle_leads_to_its_account_and_back(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account(handle="alice.test")

    answer = xrpc(session, pds, "com.atproto.identity.resolveHandle", handle="Alice.test")
    well_known = session.get(f"{pds.url}/.well-known/atproto-did", headers={"host": "alice.test:80"}, timeout=10)

    assert answer.json() == {"did": did}
    assert (well_known.text, well_known.headers["content-type"]) == (did, "text/plain; charset=utf-8")
    assert session.get(f"{pds.plc_url}/{did}", timeout=10).json()["alsoKnownAs"] == ["at://alice.test"]
    assert pds.handle_of(did) == "alice.test"
    assert re.fullmatch(r"[a-z2-7]{24}\.test", pds.handle_of(pds.create_account()))


def test_handle_that_nobody_has_is_not_found(pds: LocalPDS, session: requests.Session) -> None:
    answer = xrpc(session, pds, "com.atproto.identity.resolveHandle", handle="alice.test")
    well_known = session.get(f"{pds.url}/.well-known/atproto-did", headers={"host": "alice.test"}, timeout=10)

    assert (answer.status_code, answer.json()["error"]) == (400, "HandleNotFound")
    assert (well_known.status_code, well_known.text) == (404, "User not found")


def test_failures_of_the_repo_are_scripted_apart(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, DATA)
    pds.fail_next(502, on="repo")

    assert get_blob(session, pds.url, did, cid).status_code == 200
    assert xrpc(session, pds, "com.atproto.sync.listBlobs", did=did).status_code == 502
    assert xrpc(session, pds, "com.atproto.sync.listBlobs", did=did).status_code == 200


def test_scripted_failures_come_first_and_then_stop(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, DATA)
    pds.fail_next(429, retry_after=1.5)
    pds.fail_next(503, 2)
    pds.fail_next(418)

    answers = [get_blob(session, pds.url, did, cid) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [429, 503, 503, 418, 200]
    assert answers[0].headers["retry-after"] == "1.5"
    assert answers[0].json() == {"error": "RateLimitExceeded", "message": "Rate Limit Exceeded"}
    assert "retry-after" not in answers[1].headers


def test_failures_of_the_directory_are_scripted_apart(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, DATA)
    pds.fail_next(502, on="directory")

    assert get_blob(session, pds.url, did, cid).status_code == 200
    assert session.get(f"{pds.plc_url}/{did}", timeout=10).status_code == 502
    assert session.get(f"{pds.plc_url}/{did}", timeout=10).status_code == 200


@pytest.mark.parametrize("hops", [1, 3])
def test_bridge_redirects_to_the_blob(pds: LocalPDS, session: requests.Session, hops: int) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, DATA)

    answer = get_blob(session, pds.bridge_url(hops), did, cid)

    assert answer.content == DATA
    assert [hop.status_code for hop in answer.history] == [301] * hops
    assert len({port_of(hop.url) for hop in (*answer.history, answer)}) == hops + 1
    assert len(pds.blob_requests) == 1


def test_entryway_redirects_with_its_own_status(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, DATA)

    answer = get_blob(session, pds.bridge_url(status=302), did, cid)

    assert [hop.status_code for hop in answer.history] == [302]


def test_held_request_is_answered_on_release(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, DATA)
    pds.hold()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(get_blob, session, pds.url, did, cid)
        pds.wait_for_requests(1)
        assert not waiting.done()
        pds.take_down_blob(did, cid)

        pds.release()

        assert waiting.result(timeout=10).json()["message"] == "Blob not found"


def test_requests_are_logged_as_they_came(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()
    session.get(f"{pds.plc_url}/{did}", headers={"X-Mark": "7"}, timeout=10)
    get_blob(session, pds.url, did, ELSEWHERE, method="HEAD")

    lookup, fetch = pds.requests

    assert (lookup.method, lookup.path, lookup.headers["x-mark"]) == ("GET", f"/{did}", "7")
    assert fetch.method == "HEAD"
    assert [fetch] == pds.blob_requests


def test_waiting_for_requests_that_do_not_come_fails(pds: LocalPDS) -> None:
    with pytest.raises(AssertionError, match="1 requests did not come"):
        pds.wait_for_requests(timeout=0.001)


def test_unknown_account_or_blob_is_a_lookup_error(pds: LocalPDS) -> None:
    did = pds.create_account()

    with pytest.raises(LookupError, match="no account did:web"):
        pds.add_blob("did:web:example.com", DATA)
    with pytest.raises(LookupError, match="no blob"):
        pds.remove_blob(did, ELSEWHERE)
    with pytest.raises(ValueError, match="'gone'; it must be one of 'active', 'takendown'"):
        pds.set_account_status(did, "gone")  # type: ignore[arg-type]


def test_config_points_a_service_here(pds: LocalPDS) -> None:
    config = pds.service_config(fetch_timeout_seconds=2.0)

    assert config.plc_url == pds.plc_url
    assert config.allow_private_networks
    assert config.fetch_timeout_seconds == 2.0


def test_many_clients_at_once_each_get_their_blob(pds: LocalPDS) -> None:
    did = pds.create_account()
    blobs = {pds.add_blob(did, str(number).encode() * 1000): str(number).encode() * 1000 for number in range(40)}

    def fetch(cid: str) -> bytes:
        with requests.Session() as http:
            http.trust_env = False
            return get_blob(http, pds.url, did, cid).content

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(fetch, blobs)) == list(blobs.values())


def test_close_ends_threads_connections_and_the_port() -> None:
    before = set(threading.enumerate())
    pds = LocalPDS()
    bridge = pds.bridge_url()
    did = pds.create_account()
    cid = pds.add_blob(did, DATA)
    ports = [port_of(url) for url in (pds.url, bridge)]
    with requests.Session() as idle, ThreadPoolExecutor(1) as pool:
        idle.trust_env = False
        get_blob(idle, bridge, did, cid)  # leaves two connections open
        pds.hold()
        held = pool.submit(get_blob, idle, pds.url, did, ELSEWHERE)
        pds.wait_for_requests(2)

        pds.close()
        pds.close()

        held.exception(timeout=10)
    assert set(threading.enumerate()) == before
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)


def test_client_that_hangs_up_leaves_no_trace(pds: LocalPDS, capsys: pytest.CaptureFixture[str]) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, bytes(20_000_000))
    with socket.create_connection(("127.0.0.1", port_of(pds.url)), timeout=10) as client:
        client.sendall(f"GET /xrpc/com.atproto.sync.getBlob?did={did}&cid={cid} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.recv(10)

    pds.close()

    assert capsys.readouterr().err == ""


def test_mistake_in_the_server_itself_is_not_hidden(
    pds: LocalPDS, session: requests.Session, capsys: pytest.CaptureFixture[str]
) -> None:
    did = pds.create_account(pds_url=object())  # type: ignore[arg-type]  # no JSON can be made of it

    with pytest.raises(requests.ConnectionError):
        session.get(f"{pds.plc_url}/{did}", timeout=10)

    pds.close()
    assert "TypeError" in capsys.readouterr().err


def test_documents_are_json_of_the_context_that_the_directory_names(pds: LocalPDS, session: requests.Session) -> None:
    did = pds.create_account()

    document = json.loads(session.get(f"{pds.plc_url}/{did.replace(':', '%3A')}", timeout=10).text)

    assert document["@context"][0] == "https://www.w3.org/ns/did/v1"
