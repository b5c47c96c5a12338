"""A Personal Data Server on this machine, for tests: accounts, blobs and DID documents behind real HTTP.

It answers for blobs, lists of blobs, records, and the lookups of DIDs and handles as the reference servers do, errors
and headers included, and can be told to fail, to redirect and to keep its callers waiting::

    with LocalPDS() as pds, create_service(pds.service_config(cache_path=tmp_path)) as images:
        did = pds.create_account()
        cid = pds.add_blob(did, jpeg)
        avatar = images.get_image("avatar", did, cid)

It is made for tests and for trying things out, never for production.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, get_args
from urllib.parse import parse_qs, unquote, urlsplit

from imageproxy._typing import Self
from imageproxy.config import Config
from imageproxy.identifiers import canonical_cid, canonical_did, compute_cid
from imageproxy.testing._loopback_server import Answer, LoopbackServer, Request
from imageproxy.testing._pds_answers import (
    AccountStatus,
    Blob,
    blob_answer,
    can_be_parsed,
    document,
    error_answer,
    invalid_params,
    is_did,
    json_answer,
    redirects_to,
    text_answer,
    unavailable,
)

__all__ = ["AccountStatus", "LocalPDS", "Request"]

Part = Literal["blob", "repo", "directory"]

_GET_BLOB = "/xrpc/com.atproto.sync.getBlob"
_GET_RECORD = "/xrpc/com.atproto.repo.getRecord"
_LIST_BLOBS = "/xrpc/com.atproto.sync.listBlobs"
_RESOLVE_HANDLE = "/xrpc/com.atproto.identity.resolveHandle"
_WELL_KNOWN_DID = "/.well-known/atproto-did"
_REPO_PATHS = frozenset({_GET_RECORD, _LIST_BLOBS, _RESOLVE_HANDLE, _WELL_KNOWN_DID})
_DID_WEB_DOCUMENT = "/.well-known/did.json"
_PLC_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_HOLD_SECONDS = 60.0  # a test that forgot to release should fail, not hang
_FAILURES = {
    429: ("RateLimitExceeded", "Rate Limit Exceeded"),
    500: ("InternalServerError", "Internal Server Error"),
    502: ("UpstreamFailure", "Upstream Failure"),
    503: ("NotEnoughResources", "Not Enough Resources"),
    504: ("UpstreamTimeout", "Upstream Timeout"),
}


@dataclass
class _Account:
    pds_url: str
    handle: str
    status: AccountStatus = "active"
    is_tombstoned: bool = False
    blobs: dict[str, Blob] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)  # by their URIs


class LocalPDS:
    """A PDS, and the directory that its accounts are registered in, on a free port of 127.0.0.1.

    It runs from the moment it is made until ``close``, after which no thread, socket or connection of it is left; it
    is a context manager. All methods are safe to call from threads and take effect with the next request.

    The methods that take a DID raise LookupError for one that has no account here, and those that take a CID for one
    that the account does not have.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self._requests: list[Request] = []
        self._failures: dict[Part, deque[Answer]] = {"blob": deque(), "repo": deque(), "directory": deque()}
        self._changed = threading.Condition()
        self._is_released = threading.Event()
        self._is_released.set()
        self._bridges: list[LoopbackServer] = []
        self._server = LoopbackServer(self._answer)

    # What a service is pointed at

    @property
    def url(self) -> str:
        """The base URL of the PDS: ``"http://127.0.0.1:port"``."""
        return self._server.url

    @property
    def plc_url(self) -> str:
        """The base URL of the directory: ``f"{plc_url}/{did}"`` is the document of a ``did:plc``."""
        return self._server.url

    def service_config(self, **options: Any) -> Config:
        """A Config for ``create_service`` that looks DIDs up here and may connect to this machine.

        options: further fields of Config; give ``cache_path`` a folder of the test's own.
        """
        return Config(**{"plc_url": self.plc_url, "allow_private_networks": True, **options})

    def bridge_url(self, hops: int = 1, *, status: Literal[301, 302, 307, 308] = 301) -> str:
        """The base URL of a server that redirects getBlob to this one, as bridges (301) and entryways (302) do.

        hops: how many redirects in a row, each by a server with a port of its own.
        """
        url = self.url
        for _ in range(hops):
            bridge = LoopbackServer(redirects_to(url, status))
            self._bridges.append(bridge)
            url = bridge.url
        return url

    # Accounts

    def create_account(
        self,
        did: str | None = None,
        *,
        method: Literal["plc", "web"] = "plc",
        pds_url: str | None = None,
        handle: str | None = None,
    ) -> str:
        """Register an account, active and without blobs; returns its DID.

        did: ``None`` makes one up: a random ``did:plc``, or with ``method="web"`` this server's own
            ``did:web:localhost%3A{port}``, of which there can be one.
        pds_url: what its document names as its PDS; this server by default.
        handle: its handle, such as ``"alice.test"``; by default one that is made from the DID.

        Raises InvalidDIDError, and ValueError where there is such an account.
        """
        if did is None and method == "web":
            did = f"did:web:localhost%3A{self._server.port}"
        elif did is None:
            did = "did:plc:" + "".join(secrets.choice(_PLC_ALPHABET) for _ in range(24))
        did = canonical_did(did)
        with self._changed:
            if did in self._accounts:
                raise ValueError(f"there is an account {did} already")
            self._accounts[did] = _Account(
                self.url if pds_url is None else pds_url,
                handle or did.rpartition(":")[2].lower().replace("%3a", "-") + ".test",
            )
        return did

    def handle_of(self, did: str) -> str:
        """The account's handle. Nothing but this server and the DID's document knows of it."""
        with self._changed:
            return self._account(did).handle

    def set_account_status(self, did: str, status: AccountStatus) -> None:
        """Set what the PDS says of the account: all but ``"active"`` make every blob of it an error."""
        if status not in get_args(AccountStatus):
            known = ", ".join(map(repr, get_args(AccountStatus)))
            raise ValueError(f"status is {status!r}; it must be one of {known}")
        with self._changed:
            self._account(did).status = status

    def move_account(self, did: str, pds_url: str) -> None:
        """Change what the account's document names as its PDS. The blobs stay here too, as those of a migration do."""
        with self._changed:
            self._account(did).pds_url = pds_url

    def tombstone(self, did: str) -> None:
        """Take the account's DID out of the directory for good; the PDS goes on serving its blobs."""
        with self._changed:
            self._account(did).is_tombstoned = True

    # Blobs

    def add_blob(self, did: str, data: bytes, *, content_type: str = "image/jpeg", cid: str | None = None) -> str:
        """Store a blob; returns its CID.

        content_type: as declared at the upload; nobody checks whether it is true.
        cid: the CID to serve the bytes under, right or wrong; by default the one that they have.
        """
        cid = compute_cid(data) if cid is None else canonical_cid(cid)
        with self._changed:
            self._account(did).blobs[cid] = Blob(data, content_type)
        return cid

    def take_down_blob(self, did: str, cid: str) -> None:
        """Keep the blob, and say that it is not there."""
        with self._changed:
            self._blob(did, cid).is_taken_down = True

    def remove_blob(self, did: str, cid: str) -> None:
        """Forget the blob."""
        with self._changed:
            self._blob(did, cid)
            del self._account(did).blobs[cid]

    # Records

    def add_record(self, did: str, collection: str, record: dict[str, Any], *, key: str | None = None) -> str:
        """Store a record, or replace it; returns its ``at://`` URI.

        record: as JSON has it; ``$type`` is added. The blobs it refers to need not be there.
        key: ``None`` makes one up.
        """
        uri = f"at://{did}/{collection}/{key or secrets.token_hex(8)}"
        with self._changed:
            self._account(did).records[uri] = {"$type": collection, **record}
        return uri

    # Trouble

    def fail_next(self, status: int, count: int = 1, *, retry_after: float | None = None, on: Part = "blob") -> None:
        """Answer the next ``count`` requests with this HTTP status.

        retry_after: seconds, for a ``Retry-After`` header; ``None``: no header.
        on: which requests: ``"blob"`` for getBlob, ``"repo"`` for records, lists of blobs and handles,
            ``"directory"`` for lookups of DIDs.
        """
        phrase = HTTPStatus(status).phrase
        failure = error_answer(status, *_FAILURES.get(status, (phrase.replace(" ", ""), phrase)))
        if retry_after is not None:
            failure = failure._replace(headers={**failure.headers, "retry-after": f"{retry_after:g}"})
        with self._changed:
            self._failures[on].extend([failure] * count)

    def hold(self) -> None:
        """Let every getBlob wait, from now until ``release``, with no byte of the answer sent."""
        self._is_released.clear()

    def release(self) -> None:
        """Answer those who wait. Does nothing where nobody is held."""
        self._is_released.set()

    # What was asked

    @property
    def requests(self) -> list[Request]:
        """The requests so far, in the order they came, those that wait included. The list is the caller's own."""
        with self._changed:
            return list(self._requests)

    @property
    def blob_requests(self) -> list[Request]:
        """Those of them that asked for a blob."""
        return [request for request in self.requests if request.path.startswith(_GET_BLOB)]

    def wait_for_requests(self, count: int = 1, *, timeout: float = 10.0) -> None:
        """Wait until there were ``count`` requests in all. Raises AssertionError after ``timeout`` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, timeout):
                raise AssertionError(f"{count} requests did not come within {timeout} s; there were: {self._requests}")

    # Its life

    def close(self) -> None:
        """Stop, and break off what is under way. Calling it again does nothing."""
        self.release()
        for server in (self._server, *self._bridges):
            server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Answering

    def _account(self, did: str) -> _Account:
        try:
            return self._accounts[did]
        except KeyError:
            raise LookupError(f"no account {did} here") from None

    def _blob(self, did: str, cid: str) -> Blob:
        try:
            return self._account(did).blobs[cid]
        except KeyError:
            raise LookupError(f"no blob {cid} of {did} here") from None

    def _answer(self, request: Request) -> Answer:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
        path = urlsplit(request.path).path
        if path == _GET_BLOB:
            self._is_released.wait(_HOLD_SECONDS)
        elif path.startswith("/xrpc/") and path not in _REPO_PATHS:
            return error_answer(501, "MethodNotImplemented", "Method Not Implemented")
        part: Part = "blob" if path == _GET_BLOB else "repo" if path in _REPO_PATHS else "directory"
        with self._changed:
            return self._failure(part) or self._answer_part(path, request)

    def _answer_part(self, path: str, request: Request) -> Answer:
        if path == _GET_BLOB:
            return self._answer_get_blob(request)
        if path == _GET_RECORD:
            return self._answer_get_record(_query(request))
        if path == _LIST_BLOBS:
            return self._answer_list_blobs(_query(request))
        if path == _RESOLVE_HANDLE:
            did = self._did_of(_query(request).get("handle", ""))
            failure = error_answer(400, "HandleNotFound", "Unable to resolve handle")
            return json_answer(200, {"did": did}) if did else failure
        if path == _WELL_KNOWN_DID:
            did = self._did_of(request.headers.get("host", "").partition(":")[0])
            return text_answer(200, did) if did else text_answer(404, "User not found")
        return self._answer_lookup(path)

    def _failure(self, part: Part) -> Answer | None:
        return self._failures[part].popleft() if self._failures[part] else None

    def _did_of(self, handle: str) -> str | None:
        found = (did for did, account in self._accounts.items() if account.handle == handle.lower())
        return next(found, None)

    def _answer_get_record(self, query: dict[str, str]) -> Answer:
        for name in ("repo", "collection", "rkey"):
            if name not in query:
                return invalid_params(_method(_GET_RECORD), f'Missing required key "{name}"')
        did = self._did_of(query["repo"]) or query["repo"]
        account = self._accounts.get(did)
        if account is None:
            return error_answer(400, "InvalidRequest", "Could not locate record")
        uri = f"at://{did}/{query['collection']}/{query['rkey']}"
        if uri not in account.records:
            return error_answer(400, "RecordNotFound", f"Could not locate record: {uri}")
        return json_answer(200, {"uri": uri, "value": account.records[uri]})

    def _answer_list_blobs(self, query: dict[str, str]) -> Answer:
        did = query.get("did", "")
        if not is_did(did):
            return invalid_params(_method(_LIST_BLOBS), f"Invalid DID (got {json.dumps(did)})")
        account = self._accounts.get(did)
        refusal = unavailable(did, "deleted" if account is None else account.status)
        if refusal is not None:
            return refusal
        blobs = {} if account is None else account.blobs
        after = sorted(cid for cid in blobs if cid > query.get("cursor", ""))
        page = after[: int(query.get("limit", "500"))]
        return json_answer(200, {"cids": page, **({"cursor": page[-1]} if page else {})})

    def _answer_get_blob(self, request: Request) -> Answer:
        query = _query(request)
        for name in ("did", "cid"):
            if name not in query:
                return invalid_params(_method(_GET_BLOB), f'Missing required key "{name}"')
        did, cid = query["did"], query["cid"]
        if not is_did(did):
            return invalid_params(_method(_GET_BLOB), f"Invalid DID (got {json.dumps(did)})")
        account = self._accounts.get(did)
        blob = account.blobs.get(cid) if account is not None else None
        # The reference takes a CID apart, so one that merely follows the syntax fails; unless a test stored it here.
        if blob is None and not can_be_parsed(cid):
            return invalid_params(_method(_GET_BLOB), f"Invalid CID string (got {json.dumps(cid)})")
        refusal = unavailable(did, "deleted" if account is None else account.status)
        if refusal is not None:
            return refusal
        if blob is None or blob.is_taken_down:
            return error_answer(400, "InvalidRequest", "Blob not found")
        return blob_answer(cid, blob, request)

    def _answer_lookup(self, path: str) -> Answer:
        if path == _DID_WEB_DOCUMENT:
            did = f"did:web:localhost%3A{self._server.port}"
        else:
            did = unquote(path.removeprefix("/"))
        account = self._accounts.get(did)
        if account is None:
            return json_answer(404, {"message": f"DID not registered: {did}"})
        if account.is_tombstoned:
            return json_answer(410, {"message": f"DID not available: {did}"})
        return json_answer(200, document(did, account.pds_url, account.handle), content_type="application/did+ld+json")


def _query(request: Request) -> dict[str, str]:
    """The first value of each parameter."""
    return {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}


def _method(path: str) -> str:
    return path.rpartition("/")[2]
