"""A Personal Data Server on this machine, for tests: accounts, blobs and DID documents behind real HTTP.

It answers ``com.atproto.sync.getBlob`` and the lookups of DIDs as the reference servers do, errors and headers
included, and can be told to fail, to redirect and to keep its callers waiting::

    with LocalPDS() as pds, create_service(pds.service_config(cache_path=tmp_path)) as images:
        did = pds.create_account()
        cid = pds.add_blob(did, jpeg)
        avatar = images.get_image("avatar", did, cid)

It is made for tests and for trying things out, never for production.
"""

from __future__ import annotations

import gzip
import json
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from typing_extensions import Self

from imageproxy.config import Config
from imageproxy.errors import InvalidCIDError, InvalidDIDError
from imageproxy.identifiers import Cid, canonical_cid, canonical_did, compute_cid
from imageproxy.testing._loopback_server import Answer, LoopbackServer, Request

__all__ = ["AccountStatus", "LocalPDS", "Request"]

AccountStatus = Literal["active", "takendown", "suspended", "deactivated", "deleted"]
Part = Literal["blob", "directory"]

_GET_BLOB = "/xrpc/com.atproto.sync.getBlob"
_DID_WEB_DOCUMENT = "/.well-known/did.json"
_PLC_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_HOLD_SECONDS = 60.0  # a test that forgot to release should fail, not hang
_COMPRESSIBLE = ("text/", "image/svg+xml", "application/json", "application/octet-stream", "application/xml")
_COMPRESSES_FROM_BYTES = 1024
_CID_V0 = re.compile(r"Qm[1-9A-HJ-NP-Za-km-z]{44}")

# The error name and message of each status but "active", as the reference server words them. It knows no suspension;
# that name is the lexicon's.
_UNAVAILABLE: dict[AccountStatus, tuple[str, str]] = {
    "deleted": ("RepoNotFound", "Could not find repo for DID: {}"),
    "takendown": ("RepoTakendown", "Repo has been takendown: {}"),
    "suspended": ("RepoSuspended", "Repo has been suspended: {}"),
    "deactivated": ("RepoDeactivated", "Repo has been deactivated: {}"),
}
_FAILURES = {
    429: ("RateLimitExceeded", "Rate Limit Exceeded"),
    500: ("InternalServerError", "Internal Server Error"),
    502: ("UpstreamFailure", "Upstream Failure"),
    503: ("NotEnoughResources", "Not Enough Resources"),
    504: ("UpstreamTimeout", "Upstream Timeout"),
}


@dataclass
class _Blob:
    data: bytes
    content_type: str
    is_taken_down: bool = False


@dataclass
class _Account:
    pds_url: str
    status: AccountStatus = "active"
    is_tombstoned: bool = False
    blobs: dict[str, _Blob] = field(default_factory=dict)


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
        self._failures: dict[Part, deque[Answer]] = {"blob": deque(), "directory": deque()}
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
            bridge = LoopbackServer(_redirects_to(url, status))
            self._bridges.append(bridge)
            url = bridge.url
        return url

    # Accounts

    def create_account(
        self, did: str | None = None, *, method: Literal["plc", "web"] = "plc", pds_url: str | None = None
    ) -> str:
        """Register an account, active and without blobs; returns its DID.

        did: ``None`` makes one up: a random ``did:plc``, or with ``method="web"`` this server's own
            ``did:web:localhost%3A{port}``, of which there can be one.
        pds_url: what its document names as its PDS; this server by default.

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
            self._accounts[did] = _Account(self.url if pds_url is None else pds_url)
        return did

    def set_account_status(self, did: str, status: AccountStatus) -> None:
        """Set what the PDS says of the account: all but ``"active"`` make every blob of it an error."""
        if status != "active" and status not in _UNAVAILABLE:
            known = ", ".join(map(repr, ("active", *_UNAVAILABLE)))
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
            self._account(did).blobs[cid] = _Blob(data, content_type)
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

    # Trouble

    def fail_next(self, status: int, count: int = 1, *, retry_after: float | None = None, on: Part = "blob") -> None:
        """Answer the next ``count`` requests with this HTTP status.

        retry_after: seconds, for a ``Retry-After`` header; ``None``: no header.
        on: which requests: ``"blob"`` for getBlob, ``"directory"`` for lookups of DIDs.
        """
        phrase = HTTPStatus(status).phrase
        failure = _error(status, *_FAILURES.get(status, (phrase.replace(" ", ""), phrase)))
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

    def _blob(self, did: str, cid: str) -> _Blob:
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
            with self._changed:
                return self._failure("blob") or self._answer_get_blob(request)
        if path.startswith("/xrpc/"):
            return _error(501, "MethodNotImplemented", "Method Not Implemented")
        with self._changed:
            return self._failure("directory") or self._answer_lookup(path)

    def _failure(self, part: Part) -> Answer | None:
        return self._failures[part].popleft() if self._failures[part] else None

    def _answer_get_blob(self, request: Request) -> Answer:
        params = parse_qs(urlsplit(request.path).query)
        for name in ("did", "cid"):
            if name not in params:
                return _invalid_params(f'Missing required key "{name}"')
        did, cid = params["did"][0], params["cid"][0]
        if not _is_did(did):
            return _invalid_params(f"Invalid DID (got {json.dumps(did)})")
        account = self._accounts.get(did)
        blob = account.blobs.get(cid) if account is not None else None
        # The reference takes a CID apart, so one that merely follows the syntax fails; unless a test stored it here.
        if blob is None and not _can_be_parsed(cid):
            return _invalid_params(f"Invalid CID string (got {json.dumps(cid)})")
        status = "deleted" if account is None else account.status
        if status != "active":
            name, message = _UNAVAILABLE[status]
            return _error(400, name, message.format(did))
        if blob is None or blob.is_taken_down:
            return _error(400, "InvalidRequest", "Blob not found")
        return _blob_answer(cid, blob, request)

    def _answer_lookup(self, path: str) -> Answer:
        if path == _DID_WEB_DOCUMENT:
            did = f"did:web:localhost%3A{self._server.port}"
        else:
            did = unquote(path.removeprefix("/"))
        account = self._accounts.get(did)
        if account is None:
            return _json(404, {"message": f"DID not registered: {did}"})
        if account.is_tombstoned:
            return _json(410, {"message": f"DID not available: {did}"})
        return _json(200, _document(did, account.pds_url), content_type="application/did+ld+json")


def _blob_answer(cid: str, blob: _Blob, request: Request) -> Answer:
    is_text = blob.content_type.startswith("text/") and "charset" not in blob.content_type
    is_compressible = blob.content_type.startswith(_COMPRESSIBLE) and len(blob.data) >= _COMPRESSES_FROM_BYTES
    headers = {
        "access-control-allow-origin": "*",
        "cache-control": "private",
        "vary": "Authorization, Accept-Encoding" if is_compressible else "Authorization",
        "x-content-type-options": "nosniff",
        "content-disposition": f'attachment; filename="{cid}"',
        "content-security-policy": "default-src 'none'; sandbox",
        "content-type": blob.content_type + ("; charset=utf-8" if is_text else ""),
    }
    # The reference server prefers br, which the standard library cannot make.
    if is_compressible and request.method == "GET" and "gzip" in request.headers.get("accept-encoding", ""):
        return Answer(200, {**headers, "content-encoding": "gzip"}, gzip.compress(blob.data), is_chunked=True)
    return Answer(200, headers, blob.data)


def _document(did: str, pds_url: str) -> dict[str, Any]:
    handle = did.rpartition(":")[2].lower().replace("%3a", "-")
    return {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": did,
        "alsoKnownAs": [f"at://{handle}.test"],
        "verificationMethod": [],
        "service": [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds_url}],
    }


def _redirects_to(url: str, status: int) -> Callable[[Request], Answer]:
    return lambda request: Answer(status, {"location": url + request.path, "content-type": "text/plain"}, b"moved")


def _json(status: int, value: object, content_type: str = "application/json") -> Answer:
    return Answer(status, {"content-type": f"{content_type}; charset=utf-8"}, json.dumps(value).encode())


def _error(status: int, name: str, message: str) -> Answer:
    return _json(status, {"error": name, "message": message})


def _invalid_params(issue: str) -> Answer:
    return _error(400, "InvalidRequest", f"Invalid com.atproto.sync.getBlob params: {issue}")


def _is_did(text: str) -> bool:
    try:
        canonical_did(text)
    except InvalidDIDError:
        return False
    return True


def _can_be_parsed(cid: str) -> bool:
    try:
        return Cid.parse(cid).is_verifiable or bool(_CID_V0.fullmatch(cid))
    except InvalidCIDError:
        return False
