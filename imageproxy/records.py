"""RecordReader: from the name of an account or of a record to the CIDs of blobs, as its PDS tells them.

Sources: atproto.com/specs/handle (well-known, both directions), atproto.com/specs/at-uri-scheme, and the lexicons
com.atproto.repo.getRecord, com.atproto.sync.listBlobs and com.atproto.identity.resolveHandle.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from ._addresses import check_base_url
from ._client import GuardedClient, Reply, one_line
from ._guard import NetworkError, NetworkTimeout
from ._typing import Self
from ._xrpc import Missing, ask, read_body, read_json, xrpc_url
from .errors import (
    ConfigError,
    DIDResolutionError,
    InvalidCIDError,
    InvalidDIDError,
    InvalidRequestError,
    PDSFetchError,
    PDSTimeoutError,
)
from .identifiers import canonical_cid, canonical_did, cid_of
from .resolver import DIDResolver

__all__ = ["RecordBlob", "RecordReader", "RecordURI"]

T = TypeVar("T")

_RECORD = Missing("RecordNotFound", "could not locate record", "record_not_found")
_HANDLE = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MAX_HANDLE_LENGTH = 253
_COLLECTION = re.compile(r"[a-zA-Z](?:[a-zA-Z0-9-]{0,62})(?:\.[a-zA-Z0-9-]{1,63})+")
_MAX_COLLECTION_LENGTH = 317
_RECORD_KEY = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9_~.:-]{1,512}")
_MAX_ANSWER_BYTES = 1024 * 1024  # as much as a record may have; a page of CIDs is far smaller
_PAGE_BLOBS = 1000  # the most that the lexicon lets one ask for
_MAX_PAGES = 1000
_MAX_CURSOR_LENGTH = 1024
_MAX_DEPTH = 32
_MAX_BLOBS = 1000


class RecordURI(NamedTuple):
    """``at://authority/collection/key``, taken apart. The authority is a DID or a handle."""

    authority: str
    collection: str
    key: str

    @classmethod
    def parse(cls, text: str) -> RecordURI:
        """Read the URI of one record. Raises InvalidRequestError for what is none."""
        match text.removeprefix("at://").split("/"):
            case [authority, collection, key] if text.startswith("at://"):
                is_collection = _COLLECTION.fullmatch(collection) and len(collection) <= _MAX_COLLECTION_LENGTH
                if is_collection and _RECORD_KEY.fullmatch(key):
                    return cls(authority, collection, key)
        raise InvalidRequestError(
            f"not the URI of a record: {one_line(text)!r}; one looks like "
            "at://alice.example.com/app.bsky.feed.post/3jwdwj2ctlk26"
        )

    def __str__(self) -> str:
        return f"at://{self.authority}/{self.collection}/{self.key}"


class RecordBlob(NamedTuple):
    """A blob that a record refers to.

    content_type: as declared when it was uploaded, ``""`` where the record does not say.
    path: where in the record, ``"embed.images.0.image"`` for one.
    """

    cid: str
    content_type: str
    path: str


class RecordReader:
    """Asks for the DID of a handle, the blobs of a record, and all blobs of an account.

    plc_url: the directory of ``did:plc``.
    timeout_seconds: for one question: a handle, a record, a page of a list.
    allow_private_networks: for servers on this machine. Never in production.
    user_agent: ``None`` for the library's name and version.

    It asks as PDSFetcher does: public addresses alone, redirects judged anew, again where a failure may pass. An answer
    has at most a megabyte. What a server says of a record is not proved; that a blob is the one it names, the fetcher
    proves.

    Safe to call from threads. ``close()`` it, or use it in a ``with``. Raises ConfigError.
    """

    def __init__(
        self,
        *,
        plc_url: str = "https://plc.directory",
        timeout_seconds: float = 30.0,
        allow_private_networks: bool = False,
        user_agent: str | None = None,
    ) -> None:
        if not (isinstance(timeout_seconds, (int, float)) and 0 < timeout_seconds < math.inf):
            raise ConfigError(
                f"timeout_seconds is {timeout_seconds!r}; it must be a number above 0",
                option="timeout_seconds",
                value=timeout_seconds,
            )
        self._resolver = DIDResolver(
            plc_url=plc_url, allow_private_networks=allow_private_networks, user_agent=user_agent
        )
        self._client = GuardedClient(allow_private_networks=allow_private_networks, user_agent=user_agent)
        self._timeout_seconds = timeout_seconds
        self._random = random.random

    def find_account(self, account: str, *, pds_url: str | None = None) -> tuple[str, str]:
        """The DID and the PDS of an account, from its DID or its handle.

        pds_url: its PDS, where that is known. It is then asked for the handle, too.

        Raises InvalidDIDError for what is neither, DIDNotFoundError and DIDResolutionError.
        """
        is_did = account.startswith("did:")
        did = canonical_did(account) if is_did else self.resolve_handle(account, server_url=pds_url)
        return did, pds_url or self._resolver.resolve(did)

    def resolve_handle(self, handle: str, *, server_url: str | None = None) -> str:
        """The DID of a handle, which the DID's own document confirms.

        server_url: a server to ask for it (resolveHandle); ``None``: the handle's own host, at
            ``https://{handle}/.well-known/atproto-did``. A handle that stands in DNS alone is not found there.

        Raises InvalidDIDError for what is no handle, DIDNotFoundError and DIDResolutionError.
        """
        name = _canonical_handle(handle)
        try:
            did = self._ask_well_known(name) if server_url is None else self._ask_server(name, server_url)
        except (PDSFetchError, InvalidDIDError) as error:
            hint = (
                "; a handle may stand in DNS alone, which is not asked: give the DID, or a server that resolves handles"
            )
            raise DIDResolutionError(
                f"no DID for the handle {name}: {error}{hint if server_url is None else ''}"
            ) from error
        claimed = _handle_of(self._resolver.document(did))
        if claimed != name:
            raise DIDResolutionError(
                f"the handle {name} names {did}, whose document says {one_line(claimed) or 'no handle'}", did=did
            )
        return did

    def find_blobs(self, did: str, pds_url: str, collection: str, key: str) -> tuple[RecordBlob, ...]:
        """The blobs that a record refers to, wherever in it and of whatever type, in its order.

        Of a blob that it names twice, the first is told. What is nested more than 32 levels deep is not looked at, and
        no more than 1,000 are told.

        Raises PDSFetchError or a child of it, PDSNotFoundError where the PDS says that there is no such record.
        """
        query = {"repo": did, "collection": collection, "rkey": key}
        answer = self._ask_xrpc(pds_url, "com.atproto.repo.getRecord", query, did)
        record = answer.get("value")
        if not isinstance(record, dict):
            raise PDSFetchError("the PDS gave an answer without a record", pds_url=pds_url, did=did)
        found: dict[str, RecordBlob] = {}
        try:
            for blob in _walk(record, (), _MAX_DEPTH):
                found.setdefault(blob.cid, blob)
                if len(found) == _MAX_BLOBS:
                    break
        except InvalidCIDError as error:
            raise PDSFetchError(f"the record is broken: {error}", pds_url=pds_url, did=did) from error
        return tuple(found.values())

    def list_blobs(self, did: str, pds_url: str) -> Iterator[str]:
        """The CIDs of all blobs of an account, images or not, page by page as they are taken.

        At most a million. Raises PDSFetchError or a child of it.
        """
        cursor = ""
        for _ in range(_MAX_PAGES):
            query = {"did": did, "limit": str(_PAGE_BLOBS), **({"cursor": cursor} if cursor else {})}
            answer = self._ask_xrpc(pds_url, "com.atproto.sync.listBlobs", query, did)
            cids, next_cursor = answer.get("cids"), answer.get("cursor") or ""
            if not isinstance(cids, list) or not isinstance(next_cursor, str) or len(next_cursor) > _MAX_CURSOR_LENGTH:
                raise PDSFetchError("the PDS gave no list of blobs", pds_url=pds_url, did=did)
            try:
                yield from [canonical_cid(cid) for cid in cids]
            except InvalidCIDError as error:
                raise PDSFetchError(f"the list of blobs is broken: {error}", pds_url=pds_url, did=did) from error
            if not cids or not next_cursor or next_cursor == cursor:
                return
            cursor = next_cursor
        raise PDSFetchError(f"the PDS lists blobs without an end: {_MAX_PAGES} pages", pds_url=pds_url, did=did)

    def close(self) -> None:
        """Close the connections. Questions under way end at once with an error."""
        self._client.close()
        self._resolver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask_well_known(self, handle: str) -> str:
        answer = self._ask(f"https://{handle}/.well-known/atproto-did", _read_text)
        return canonical_did(answer.strip())

    def _ask_server(self, handle: str, server_url: str) -> str:
        answer = self._ask_xrpc(server_url, "com.atproto.identity.resolveHandle", {"handle": handle}, None)
        return canonical_did(answer.get("did", ""))

    def _ask_xrpc(self, server_url: str, method: str, query: Mapping[str, str], did: str | None) -> dict[str, Any]:
        try:
            base_url = check_base_url(server_url, allow_private_networks=self._client.allow_private_networks)
            return self._ask(xrpc_url(base_url, method, query), _read_json)
        except PDSFetchError as error:
            error.pds_url, error.did = server_url, did
            raise

    def _ask(self, url: str, read: Callable[[Reply], T]) -> T:
        seconds = self._timeout_seconds
        try:
            return ask(self._client, url, read, seconds=seconds, missing=_RECORD, random=self._random)
        except NetworkTimeout as error:
            raise PDSTimeoutError(f"no answer within {seconds:g} seconds: {error}", timeout=seconds) from error
        except NetworkError as error:
            raise PDSFetchError(f"no answer: {error}") from error


def _read_text(reply: Reply) -> str:
    return read_body(reply, _MAX_ANSWER_BYTES).decode("utf-8", "replace")


def _read_json(reply: Reply) -> dict[str, Any]:
    return read_json(reply, _MAX_ANSWER_BYTES)


def _handle_of(document: Mapping[str, object]) -> str:
    """The handle that the document of a DID claims, in lower case, ``""`` for none."""
    names = document.get("alsoKnownAs")
    # Of several, the first is the account's handle (atproto.com/specs/did, "Representation of DID documents").
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str) and name.startswith("at://"):
            return name.removeprefix("at://").lower()
    return ""


def _canonical_handle(text: str) -> str:
    handle = text.removeprefix("@").lower()
    if not _HANDLE.fullmatch(handle) or len(handle) > _MAX_HANDLE_LENGTH:
        raise InvalidDIDError(
            f"neither a DID nor a handle: {one_line(text)!r}; they look like did:plc:ewvi7nxzyoun6zhxrhs64oiz and "
            "alice.example.com",
            did=text,
        )
    return handle


def _walk(value: object, path: tuple[str, ...], levels: int) -> Iterator[RecordBlob]:
    """The blobs in a value of a record. Raises InvalidCIDError for a reference without a CID."""
    if isinstance(value, dict):
        if _is_reference(value):
            content_type = value.get("mimeType")
            yield RecordBlob(cid_of(value), content_type if isinstance(content_type, str) else "", ".".join(path))
            return
        inside: list[tuple[str, object]] = list(value.items())
    elif isinstance(value, list):
        inside = [(str(number), each) for number, each in enumerate(value)]
    else:
        return
    for name, each in inside if levels else ():
        yield from _walk(each, (*path, name), levels - 1)


def _is_reference(value: Mapping[str, object]) -> bool:
    """Whether it refers to a blob: as records do now, or as they once did (atproto.com/specs/blob, "Legacy")."""
    return value.get("$type") == "blob" or value.keys() == {"cid", "mimeType"}
