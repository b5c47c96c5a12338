"""How the reference PDS and PLC directory answer: the facts that the fetcher, the resolver and LocalPDS are built on.

Plain HTTP, without a line of the library's own fetcher or resolver. Where one of these tests fails after an update of
the servers, the practice has changed, and ``imageproxy.testing.LocalPDS`` has to follow.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image

from imageproxy.identifiers import compute_cid
from imageproxy.testing import AccountStatus, LocalPDS

from .install import install
from .servers import Account, Network, running

pytestmark = pytest.mark.pds


def _image(file_format: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, file_format)
    return file.getvalue()


PNG = _image("PNG")
HTML = b"<!doctype html><script>alert(1)</script>" + b"<p>text</p>" * 200
SVG = b'<svg xmlns="http://www.w3.org/2000/svg">' + b"<g></g>" * 200 + b"</svg>"
UNKNOWN_DID = "did:plc:" + "a" * 24
GET_RECORD = "/xrpc/com.atproto.repo.getRecord"
LIST_BLOBS = "/xrpc/com.atproto.sync.listBlobs"
RESOLVE_HANDLE = "/xrpc/com.atproto.identity.resolveHandle"
WELL_KNOWN_DID = "/.well-known/atproto-did"
UNKNOWN_CID = compute_cid(b"no server has this")


def _assert_error(response: requests.Response, error: str, message: str) -> None:
    assert response.status_code == 400
    assert response.json() == {"error": error, "message": message}
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["Content-Length"] == str(len(response.content))
    assert "Content-Disposition" not in response.headers


# getBlob, where there is one


def test_published_blob_is_served_with_its_size_and_type_as_an_attachment(network: Network, account: Account) -> None:
    cid = network.put_blob(account, PNG, "image/png")

    response = network.get_blob(account.did, cid)

    assert response.status_code == 200
    assert response.content == PNG
    assert cid == compute_cid(PNG)
    assert set(response.headers) == {
        "X-Powered-By",
        "Access-Control-Allow-Origin",
        "Cache-Control",
        "Vary",
        "content-length",
        "x-content-type-options",
        "content-disposition",
        "content-security-policy",
        "Content-Type",
        "Date",
        "Connection",
        "Keep-Alive",
    }
    assert response.headers["Content-Length"] == str(len(PNG))
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{cid}"'
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Cache-Control"] == "private"
    assert response.headers["Vary"] == "Authorization"


def test_head_answers_with_the_headers_of_get(network: Network, account: Account) -> None:
    cid = network.put_blob(account, PNG, "image/png")
    get = network.get_blob(account.did, cid)

    head = network.http.head(get.url)

    assert head.status_code == 200
    assert head.content == b""
    assert {**head.headers, "Date": ""} == {**get.headers, "Date": ""}


def test_range_is_ignored(network: Network, account: Account) -> None:
    cid = network.put_blob(account, PNG, "image/png")

    response = network.get_blob(account.did, cid, headers={"Range": "bytes=0-9"})

    assert response.status_code == 200
    assert response.content == PNG


@pytest.mark.parametrize(
    ("data", "declared", "served"),
    [
        pytest.param(HTML, "image/png", "image/png", id="html-posing-as-png"),
        pytest.param(SVG, "image/png", "image/png", id="svg-posing-as-png"),
        pytest.param(HTML, "text/html", "text/html; charset=utf-8", id="html"),
        pytest.param(SVG, "image/svg+xml", "image/svg+xml", id="svg"),
        pytest.param(b'<?xml version="1.0"?>' + SVG, "image/png", "application/xml", id="xml-found-out"),
        pytest.param(PNG, "text/html", "image/png", id="png-found-out"),
        pytest.param(_image("WEBP"), "image/png", "image/webp", id="webp-found-out"),
        pytest.param(b"\xff\xd8\xff\xe0 and no more", "image/png", "image/jpeg", id="three-bytes-make-a-jpeg"),
        pytest.param(b"text", "IMAGE/PNG", "IMAGE/PNG", id="case-kept"),
        pytest.param(b"text", "*/*", "*/*", id="no-type-at-all"),
        pytest.param(b"", "image/png", "image/png", id="empty"),
    ],
)
def test_content_type_is_sniffed_or_else_as_declared(
    network: Network, account: Account, data: bytes, declared: str, served: str
) -> None:
    cid = network.put_blob(account, data, declared)

    response = network.get_blob(account.did, cid)

    assert response.status_code == 200
    assert response.content == data
    assert response.headers["Content-Type"] == served


@pytest.mark.parametrize("mime", ["image/svg+xml", "text/html", "application/octet-stream"])
def test_compressible_blob_loses_its_length_when_compression_is_accepted(
    network: Network, account: Account, mime: str
) -> None:
    cid = network.put_blob(account, SVG, mime)

    plain = network.get_blob(account.did, cid, headers={"Accept-Encoding": "identity"})
    packed = network.get_blob(account.did, cid, headers={"Accept-Encoding": "gzip, br"}, stream=True)

    with packed:
        assert packed.headers["Content-Encoding"] == "br"
        assert packed.headers["Transfer-Encoding"] == "chunked"
        assert "Content-Length" not in packed.headers
        assert len(packed.raw.read(decode_content=False)) < len(SVG)
    assert plain.content == SVG
    assert plain.headers["Content-Length"] == str(len(SVG))
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Authorization, Accept-Encoding"


def test_image_is_not_compressed(network: Network, account: Account) -> None:
    cid = network.put_blob(account, PNG, "image/png")

    response = network.get_blob(account.did, cid, headers={"Accept-Encoding": "gzip, br"})

    assert "Content-Encoding" not in response.headers
    assert response.headers["Content-Length"] == str(len(PNG))


def test_blob_over_ten_megabytes_can_be_had(network: Network, account: Account) -> None:
    data = bytes(11 * 1024**2)
    cid = network.put_blob(account, data, "image/png")

    response = network.get_blob(account.did, cid)

    assert response.content == data
    assert response.headers["Content-Length"] == str(len(data))


# getBlob, where there is none: a 400 whatever the reason

Arrange = Callable[[Network, Account], tuple[str, str]]
BLOB_NOT_FOUND = "Blob not found"
BAD_PARAMS = "Invalid com.atproto.sync.getBlob params: "


def _never_uploaded(network: Network, account: Account) -> tuple[str, str]:
    return account.did, UNKNOWN_CID


def _uploaded_only(network: Network, account: Account) -> tuple[str, str]:
    return account.did, network.upload_blob(account, PNG, "image/png")["ref"]["$link"]


def _of_another_account(network: Network, account: Account) -> tuple[str, str]:
    return account.did, network.put_blob(network.create_account(), PNG, "image/png")


def _record_deleted(network: Network, account: Account) -> tuple[str, str]:
    blob_ref = network.upload_blob(account, PNG, "image/png")
    network.delete_record(account, network.publish(account, blob_ref))
    return account.did, blob_ref["ref"]["$link"]


def _blob_taken_down(network: Network, account: Account) -> tuple[str, str]:
    cid = network.put_blob(account, PNG, "image/png")
    network.take_down_blob(account.did, cid)
    return account.did, cid


def _account_taken_down(network: Network, account: Account) -> tuple[str, str]:
    cid = network.put_blob(account, PNG, "image/png")
    network.take_down_account(account.did)
    return account.did, cid


def _account_deactivated(network: Network, account: Account) -> tuple[str, str]:
    cid = network.put_blob(account, PNG, "image/png")
    network.deactivate_account(account)
    return account.did, cid


def _account_deleted(network: Network, account: Account) -> tuple[str, str]:
    cid = network.put_blob(account, PNG, "image/png")
    network.delete_account(account.did)
    return account.did, cid


@pytest.mark.parametrize(
    ("arrange", "error", "message"),
    [
        pytest.param(_never_uploaded, "InvalidRequest", BLOB_NOT_FOUND, id="never-uploaded"),
        pytest.param(_uploaded_only, "InvalidRequest", BLOB_NOT_FOUND, id="uploaded-only"),
        pytest.param(_of_another_account, "InvalidRequest", BLOB_NOT_FOUND, id="of-another-account"),
        pytest.param(_record_deleted, "InvalidRequest", BLOB_NOT_FOUND, id="record-deleted"),
        pytest.param(_blob_taken_down, "InvalidRequest", BLOB_NOT_FOUND, id="blob-taken-down"),
        pytest.param(_account_taken_down, "RepoTakendown", "Repo has been takendown: {did}", id="account-taken-down"),
        pytest.param(
            _account_deactivated, "RepoDeactivated", "Repo has been deactivated: {did}", id="account-deactivated"
        ),
        pytest.param(_account_deleted, "RepoNotFound", "Could not find repo for DID: {did}", id="account-deleted"),
    ],
)
def test_blob_that_is_not_to_be_had(
    network: Network, account: Account, arrange: Arrange, error: str, message: str
) -> None:
    did, cid = arrange(network, account)

    response = network.get_blob(did, cid)

    _assert_error(response, error, message.format(did=did))


@pytest.mark.parametrize(
    ("did", "cid", "error", "message"),
    [
        pytest.param(
            UNKNOWN_DID, UNKNOWN_CID, "RepoNotFound", f"Could not find repo for DID: {UNKNOWN_DID}", id="unknown-did"
        ),
        pytest.param(
            "did:web:example.com",
            UNKNOWN_CID,
            "RepoNotFound",
            "Could not find repo for DID: did:web:example.com",
            id="unknown-did-web",
        ),
        pytest.param(
            "nonsense", UNKNOWN_CID, "InvalidRequest", f'{BAD_PARAMS}Invalid DID (got "nonsense")', id="malformed-did"
        ),
        pytest.param(
            "alice.test",
            UNKNOWN_CID,
            "InvalidRequest",
            f'{BAD_PARAMS}Invalid DID (got "alice.test")',
            id="handle-for-a-did",
        ),
        pytest.param("", UNKNOWN_CID, "InvalidRequest", f'{BAD_PARAMS}Missing required key "did"', id="no-did"),
        pytest.param(
            UNKNOWN_DID,
            "nonsense",
            "InvalidRequest",
            f'{BAD_PARAMS}Invalid CID string (got "nonsense")',
            id="malformed-cid",
        ),
        pytest.param(UNKNOWN_DID, "", "InvalidRequest", f'{BAD_PARAMS}Missing required key "cid"', id="no-cid"),
    ],
)
def test_request_that_names_nothing(network: Network, did: str, cid: str, error: str, message: str) -> None:
    _assert_error(network.get_blob(did, cid), error, message)


@pytest.mark.parametrize(
    "cid",
    [
        "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n",
        "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a",
    ],
    ids=["cidv0", "dag-cbor"],
)
def test_cid_that_no_blob_has_is_not_called_malformed(network: Network, account: Account, cid: str) -> None:
    _assert_error(network.get_blob(account.did, cid), "InvalidRequest", BLOB_NOT_FOUND)


def test_post_is_refused(network: Network, account: Account) -> None:
    url = network.get_blob(account.did, UNKNOWN_CID).url

    response = network.http.post(url)

    _assert_error(response, "InvalidRequest", "Incorrect HTTP method (POST) expected GET")


@pytest.mark.parametrize("what", ["blob", "account", "deactivation"])
def test_blob_is_back_once_it_is_allowed_again(network: Network, account: Account, what: str) -> None:
    cid = network.put_blob(account, PNG, "image/png")

    if what == "blob":
        network.take_down_blob(account.did, cid)
        network.take_down_blob(account.did, cid, applied=False)
    elif what == "account":
        network.take_down_account(account.did)
        network.take_down_account(account.did, applied=False)
    else:
        network.deactivate_account(account)
        network.activate_account(account)

    assert network.get_blob(account.did, cid).content == PNG


# The directory


def test_did_document_names_the_pds(network: Network, account: Account) -> None:
    response = network.get_did_document(account.did)

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/did+ld+json; charset=utf-8"
    document = response.json()
    assert list(document) == ["@context", "id", "alsoKnownAs", "verificationMethod", "service"]
    assert document["id"] == account.did
    assert document["alsoKnownAs"] == [f"at://{account.handle}"]
    assert document["service"] == [
        {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": network.pds_url}
    ]


def test_did_document_follows_a_move(network: Network, account: Account) -> None:
    network.move(account.did, "http://localhost:1")

    (service,) = network.get_did_document(account.did).json()["service"]

    assert service["serviceEndpoint"] == "http://localhost:1"


@pytest.mark.parametrize("end", [Network.take_down_account, Network.delete_account], ids=["taken-down", "deleted"])
def test_did_document_outlives_the_account(
    network: Network, account: Account, end: Callable[[Network, str], None]
) -> None:
    before = network.get_did_document(account.did).json()

    end(network, account.did)

    assert network.get_did_document(account.did).json() == before


def test_tombstoned_did_is_a_404_of_its_own(network: Network, account: Account) -> None:
    """The public directory answers 410 here; the published package is older than that."""
    network.tombstone(account.did)

    response = network.get_did_document(account.did)

    assert response.status_code == 404
    assert response.json() == {"message": f"DID not available: {account.did}"}


@pytest.mark.parametrize(
    "did", [UNKNOWN_DID, "did:plc:short", "did:plc:" + "A" * 24, "did:web:example.com", "nonsense"]
)
def test_unknown_did_is_a_404_and_so_is_a_malformed_one(network: Network, did: str) -> None:
    response = network.get_did_document(did)

    assert response.status_code == 404
    assert response.json() == {"message": f"DID not registered: {did}"}
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"


# What LocalPDS says of the same account: here the two are held against each other


@pytest.fixture
def local(account: Account) -> Iterator[LocalPDS]:
    """A LocalPDS that has the account, too, under the same DID and handle."""
    with LocalPDS() as pds:
        pds.create_account(account.did, handle=account.handle)
        yield pds


def _said(http: requests.Session, base_url: str, path: str, **options: Any) -> tuple[int, str, str, Any]:
    response = http.get(base_url + path, **options)
    content_type = response.headers["Content-Type"]
    is_json = content_type.startswith("application/json")
    return response.status_code, response.reason, content_type, response.json() if is_json else response.text


def _said_by_both(network: Network, local: LocalPDS, path: str, **options: Any) -> Any:
    """The body of what both say, which has to be the same."""
    said = _said(network.http, network.pds_url, path, **options)

    assert _said(network.http, local.url, path, **options) == said

    return said[-1]


@pytest.mark.parametrize("by", ["did", "handle"])
def test_record_is_told_as_by_localpds(network: Network, account: Account, local: LocalPDS, by: str) -> None:
    fields = {"attachment": network.upload_blob(account, PNG, "image/png"), "text": "\N{SNOWMAN}", "number": 5}
    _, _, _, collection, key = network.publish_record(account, fields).split("/")
    local.add_record(account.did, collection, fields, key=key)
    query = {"repo": getattr(account, by), "collection": collection, "rkey": key}

    reference = _said(network.http, network.pds_url, GET_RECORD, params=query)
    ours = _said(network.http, local.url, GET_RECORD, params=query)

    reference[-1].pop("cid")  # the one thing more that it tells; LocalPDS makes no CIDs of records
    assert ours == reference


@pytest.mark.parametrize(
    ("repo", "error"), [("{did}", "RecordNotFound"), (UNKNOWN_DID, "InvalidRequest"), ("nobody.test", "InvalidRequest")]
)
def test_record_that_is_not_there_is_told_as_by_localpds(
    network: Network, account: Account, local: LocalPDS, repo: str, error: str
) -> None:
    query = {"repo": repo.format(did=account.did), "collection": "app.bsky.feed.post", "rkey": "3jwdwj2ctlk26"}

    said = _said_by_both(network, local, GET_RECORD, params=query)

    assert said["error"] == error
    assert said["message"].startswith("Could not locate record")


@pytest.mark.parametrize("absent", ["repo", "collection", "rkey"])
def test_question_without_a_record_is_refused_as_by_localpds(
    network: Network, account: Account, local: LocalPDS, absent: str
) -> None:
    query = {"repo": account.did, "collection": "app.bsky.feed.post", "rkey": "3jwdwj2ctlk26"}
    del query[absent]

    assert _said_by_both(network, local, GET_RECORD, params=query)["error"] == "InvalidRequest"


def test_blobs_are_listed_page_by_page_as_by_localpds(network: Network, account: Account, local: LocalPDS) -> None:
    blobs = [b"%d" % number for number in range(5)]
    cids = {network.put_blob(account, data, "image/png") for data in blobs}
    for data in blobs:
        local.add_blob(account.did, data)

    pages: list[dict[str, Any]] = []
    query = {"did": account.did, "limit": "2"}
    while not pages or pages[-1]["cids"]:
        pages.append(_said_by_both(network, local, LIST_BLOBS, params=query))
        query["cursor"] = pages[-1].get("cursor", "")

    assert [len(page["cids"]) for page in pages] == [2, 2, 1, 0]
    assert {cid for page in pages for cid in page["cids"]} == cids
    assert _said_by_both(network, local, LIST_BLOBS, params={"did": account.did})["cids"] == sorted(cids)


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        (lambda network, account: network.take_down_account(account.did), "takendown", "RepoTakendown"),
        (lambda network, account: network.deactivate_account(account), "deactivated", "RepoDeactivated"),
        (lambda network, account: network.delete_account(account.did), "deleted", "RepoNotFound"),
    ],
    ids=["taken-down", "deactivated", "deleted"],
)
def test_blobs_of_an_account_that_is_off_are_refused_as_by_localpds(
    network: Network,
    account: Account,
    local: LocalPDS,
    end: Callable[[Network, Account], None],
    status: AccountStatus,
    error: str,
) -> None:
    end(network, account)
    local.set_account_status(account.did, status)

    assert _said_by_both(network, local, LIST_BLOBS, params={"did": account.did})["error"] == error


@pytest.mark.parametrize("did", [UNKNOWN_DID, "nonsense"])
def test_blobs_of_nobody_are_refused_as_by_localpds(network: Network, local: LocalPDS, did: str) -> None:
    _said_by_both(network, local, LIST_BLOBS, params={"did": did})


def test_handle_is_resolved_as_by_localpds(network: Network, account: Account, local: LocalPDS) -> None:
    for handle in (account.handle, account.handle.upper()):
        assert _said_by_both(network, local, RESOLVE_HANDLE, params={"handle": handle}) == {"did": account.did}
    unknown = _said_by_both(network, local, RESOLVE_HANDLE, params={"handle": "nobody.test"})
    assert unknown["error"] == "HandleNotFound"


@pytest.mark.parametrize("port", ["", ":2583"])
def test_host_of_a_handle_names_its_did_as_by_localpds(
    network: Network, account: Account, local: LocalPDS, port: str
) -> None:
    host = {"Host": account.handle + port}

    assert _said_by_both(network, local, WELL_KNOWN_DID, headers=host) == account.did


def test_host_of_nobody_names_no_did_and_nor_does_localpds(network: Network, local: LocalPDS) -> None:
    reference = _said(network.http, network.pds_url, WELL_KNOWN_DID, headers={"Host": "nobody.test"})
    ours = _said(network.http, local.url, WELL_KNOWN_DID, headers={"Host": "nobody.test"})

    assert reference[0] == ours[0] == 404
    assert reference[3] == ours[3] == "User not found"


# The servers themselves


def test_servers_listen_on_one_loopback_address_only(network: Network) -> None:
    for url in (network.pds_url, network.plc_url):
        port = urlsplit(url).port
        assert port is not None
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(OSError):  # noqa: PT011  # refused where this address exists, unreachable elsewhere
            socket.create_connection(("127.0.0.2", port), timeout=5)


def test_servers_end_when_their_input_does(tmp_path: Path) -> None:
    with running(install(), tmp_path) as servers:
        assert servers.http.get(f"{servers.plc_url}/_health").status_code == 200
        port = urlsplit(servers.plc_url).port
        assert port is not None

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
