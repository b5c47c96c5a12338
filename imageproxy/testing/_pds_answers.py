"""What a PDS and a directory say, in the words and with the headers of the reference servers."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from imageproxy.errors import InvalidCIDError, InvalidDIDError
from imageproxy.identifiers import Cid, canonical_did
from imageproxy.testing._loopback_server import Answer, Request

__all__ = [
    "AccountStatus",
    "Blob",
    "blob_answer",
    "can_be_parsed",
    "document",
    "error_answer",
    "invalid_params",
    "is_did",
    "json_answer",
    "redirects_to",
    "text_answer",
    "unavailable",
]

AccountStatus = Literal["active", "takendown", "suspended", "deactivated", "deleted"]

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


@dataclass
class Blob:
    """A blob as it is stored."""

    data: bytes
    content_type: str
    is_taken_down: bool = False


def unavailable(did: str, status: AccountStatus) -> Answer | None:
    """What is said of all that an account has; ``None`` where it is active."""
    if status == "active":
        return None
    name, message = _UNAVAILABLE[status]
    return error_answer(400, name, message.format(did))


def blob_answer(cid: str, blob: Blob, request: Request) -> Answer:
    """A blob that is found."""
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


def document(did: str, pds_url: str, handle: str) -> dict[str, Any]:
    """The document of a DID."""
    return {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": did,
        "alsoKnownAs": [f"at://{handle}"],
        "verificationMethod": [],
        "service": [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds_url}],
    }


def redirects_to(url: str, status: int) -> Callable[[Request], Answer]:
    """Answers every request with a redirect to the same path under ``url``."""
    return lambda request: Answer(status, {"location": url + request.path, "content-type": "text/plain"}, b"moved")


def json_answer(status: int, value: object, content_type: str = "application/json") -> Answer:
    """A value as JSON."""
    return Answer(status, {"content-type": f"{content_type}; charset=utf-8"}, json.dumps(value).encode())


def text_answer(status: int, text: str) -> Answer:
    """Plain text."""
    return Answer(status, {"content-type": "text/plain; charset=utf-8"}, text.encode())


def error_answer(status: int, name: str, message: str) -> Answer:
    """An error of XRPC."""
    return json_answer(status, {"error": name, "message": message})


def invalid_params(method: str, issue: str) -> Answer:
    """What is said of a question that the lexicon does not allow."""
    return error_answer(400, "InvalidRequest", f"Invalid {method} params: {issue}")


def is_did(text: str) -> bool:
    """Whether the reference takes it for a DID."""
    try:
        canonical_did(text)
    except InvalidDIDError:
        return False
    return True


def can_be_parsed(cid: str) -> bool:
    """Whether the reference can take the CID apart; it does so beyond the syntax."""
    try:
        return Cid.parse(cid).is_verifiable or bool(_CID_V0.fullmatch(cid))
    except InvalidCIDError:
        return False
