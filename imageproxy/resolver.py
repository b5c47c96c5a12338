"""DIDResolver: finds the PDS of an account, and remembers it.

Sources: atproto.com/specs/did, web.plc.directory/spec/v0.1/did-plc, w3c-ccg.github.io/did-method-web.
"""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn

from ._addresses import check_base_url
from ._client import GuardedClient, one_line
from ._fork import reset_after_fork
from ._guard import NetworkClosed, NetworkError, NetworkTimeout
from ._typing import Self
from .errors import ConfigError, DIDNotFoundError, DIDResolutionError, UnsafeURLError
from .identifiers import canonical_did

__all__ = ["DIDResolver"]

_log = logging.getLogger(__name__)

_PLC = re.compile(r"did:plc:[a-z2-7]{24}")
# A host name, and for localhost alone a port (atproto.com/specs/did, "Blessed DID Methods").
_WEB = re.compile(r"did:web:([a-z0-9.-]+)")
_WEB_LOCALHOST = re.compile(r"did:web:(localhost)(?:%3A([0-9]{1,5}))?")
_HEADERS = {"Accept": "application/did+ld+json, application/json"}
_MAX_DOCUMENT_BYTES = 256 * 1024
_MAX_ENTRIES = 10_000
# How long an answer serves when its directory is down, and how long until the directory is asked again.
_MAX_STALE_SECONDS = 24 * 3600.0
_RETRY_SECONDS = 60.0


@dataclass(slots=True)
class _Entry:
    pds_url: str
    ask_again_at: float
    serves_until: float


class DIDResolver:
    """The Resolver for ``did:plc`` and ``did:web``.

    plc_url: the directory of ``did:plc``, judged like every other URL.
    ttl_seconds: how long an answer is remembered. After that the directory is asked again; while it is down, the old
        answer serves for up to 24 hours. The 10,000 answers used last are kept.
    timeout_seconds: for a whole answer: looking the name up, connecting, TLS, headers and body.
    allow_private_networks: for a directory and a PDS on this machine: opens private addresses, http, any port, and
        ``did:web:localhost``. Never in production.
    user_agent: ``None`` for the library's name and version.
    clock: monotonic seconds; for tests.

    Safe to call from threads; works in the children of a fork. ``close()`` it, or use it in a ``with``. Raises
    ConfigError for an option that cannot be meant.
    """

    def __init__(
        self,
        *,
        plc_url: str = "https://plc.directory",
        ttl_seconds: float = 3600.0,
        timeout_seconds: float = 10.0,
        allow_private_networks: bool = False,
        user_agent: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for option, value in (("ttl_seconds", ttl_seconds), ("timeout_seconds", timeout_seconds)):
            if not (isinstance(value, (int, float)) and 0 < value < math.inf):
                raise ConfigError(f"{option} is {value!r}; it must be a number above 0", option=option, value=value)
        try:
            self._plc_url = check_base_url(plc_url, allow_private_networks=allow_private_networks)
        except UnsafeURLError as error:
            raise ConfigError(f"plc_url cannot be asked: {error}", option="plc_url", value=plc_url) from error
        self.ttl_seconds = ttl_seconds
        self.timeout_seconds = timeout_seconds
        self.allow_private_networks = allow_private_networks
        self._clock = clock
        self._client = GuardedClient(allow_private_networks=allow_private_networks, user_agent=user_agent)
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        # Who is asking about which DID, so that what was asked before an invalidate() is not remembered after it.
        self._asking: dict[str, set[object]] = {}
        reset_after_fork(self)

    def resolve(self, did: str, *, timeout: float | None = None) -> str:
        """The base URL of the account's PDS, without a slash at its end.

        timeout: seconds for the whole answer; shortens ``timeout_seconds``, never extends it.

        Raises InvalidDIDError; DIDNotFoundError where there is no such DID, or no more; DIDResolutionError for
        everything else.
        """
        did = canonical_did(did)
        known = self._recall(did)
        if known is not None and self._clock() < known.ask_again_at:
            return known.pds_url
        me = object()
        with self._lock:
            self._asking.setdefault(did, set()).add(me)
        try:
            pds_url = self._find_pds(did, timeout)
        except DIDNotFoundError:
            self.invalidate(did)
            raise
        except DIDResolutionError as error:
            if known is None or not _is_down(error) or self._clock() >= known.serves_until:
                raise
            known.ask_again_at = self._clock() + _RETRY_SECONDS
            _log.warning("serving an old answer for %s: %s", did, error, extra={"did": did})
            return known.pds_url
        else:
            self._remember(did, pds_url, me)
            return pds_url
        finally:
            self._stop_asking(did, me)

    def document(self, did: str, *, timeout: float | None = None) -> dict[str, Any]:
        """The DID's document: JSON of at most 256 kB about this DID, read afresh and not remembered.

        timeout: as for ``resolve``.

        Nothing but its ``id`` is checked: it says what its author likes, in any shape. Its numbers are text. It need
        not name a PDS. Raises as ``resolve`` does.
        """
        did = canonical_did(did)
        with self._telling("document", did, timeout) as (url, seconds):
            return self._read_document(did, url, seconds)

    def invalidate(self, did: str) -> None:
        """Forget this DID: the next ``resolve`` asks afresh. Raises InvalidDIDError."""
        did = canonical_did(did)
        with self._lock:
            self._entries.pop(did, None)
            self._asking.pop(did, None)

    def close(self) -> None:
        """Close the connections. Questions under way end at once with a DIDResolutionError; so do later ones."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _reset_after_fork(self) -> None:
        self._lock = threading.Lock()
        self._asking = {}

    def _recall(self, did: str) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(did)
            if entry is not None:
                self._entries.move_to_end(did)
            return entry

    def _remember(self, did: str, pds_url: str, me: object) -> None:
        ask_again_at = self._clock() + self.ttl_seconds
        with self._lock:
            if me not in self._asking.get(did, ()):
                return
            self._entries[did] = _Entry(pds_url, ask_again_at, serves_until=ask_again_at + _MAX_STALE_SECONDS)
            self._entries.move_to_end(did)
            if len(self._entries) > _MAX_ENTRIES:
                self._entries.popitem(last=False)

    def _stop_asking(self, did: str, me: object) -> None:
        with self._lock:
            asking = self._asking.get(did, set())
            asking.discard(me)
            if not asking:
                self._asking.pop(did, None)

    def _find_pds(self, did: str, timeout: float | None) -> str:
        with self._telling("PDS", did, timeout) as (url, seconds):
            return self._pds_of(did, self._read_document(did, url, seconds))

    @contextmanager
    def _telling(self, wanted: str, did: str, timeout: float | None) -> Iterator[tuple[str, float]]:
        """Where the document is and how many seconds it may take; errors are told as ours."""
        url = self._document_url(did)
        seconds = self.timeout_seconds if timeout is None else min(self.timeout_seconds, timeout)
        try:
            yield url, seconds
        except NetworkTimeout as error:
            problem = f"no document within {seconds:g} seconds: {error}"
            raise DIDResolutionError(problem, url=url, did=did) from error
        except (NetworkError, UnsafeURLError, _Malformed) as error:
            raise DIDResolutionError(f"no {wanted} for {one_line(did)}: {error}", url=url, did=did) from error
        except DIDResolutionError as error:
            error.did, error.url = did, url
            raise

    def _document_url(self, did: str) -> str:
        """Where the document of a DID is. A redirect from there is an error: the host speaks for the DID."""
        if _PLC.fullmatch(did):
            return f"{self._plc_url}/{did}"
        localhost = _WEB_LOCALHOST.fullmatch(did)
        if localhost is not None and self.allow_private_networks:
            port = f":{localhost[2]}" if localhost[2] else ""
            return f"http://{localhost[1]}{port}/.well-known/did.json"
        web = _WEB.fullmatch(did)
        if web is not None and localhost is None:
            return f"https://{web[1]}/.well-known/did.json"
        raise DIDResolutionError(
            f"{one_line(did)} cannot be resolved: only did:plc with 24 characters and did:web with a host name can",
            did=did,
        )

    def _read_document(self, did: str, url: str, seconds: float) -> dict[str, Any]:
        document = _parse(self._read(url, seconds))
        if document.get("id") != did:
            raise _Malformed("the document is not about this DID")
        return document

    def _read(self, url: str, seconds: float) -> bytes:
        with self._client.deadline(seconds) as deadline, self._client.get(url, _HEADERS, deadline) as reply:
            if reply.status in (404, 410):
                said = "does not know this DID" if reply.status == 404 else "says that this DID is no more"
                raise DIDNotFoundError(f"{url} {said}", status=reply.status)
            if reply.status != 200:
                raise DIDResolutionError(f"{url} answered {reply.status}", status=reply.status)
            document = reply.read_up_to(_MAX_DOCUMENT_BYTES + 1)
        if len(document) > _MAX_DOCUMENT_BYTES:
            raise _Malformed(f"the document has more than {_MAX_DOCUMENT_BYTES} bytes")
        return document

    def _pds_of(self, did: str, document: dict[str, Any]) -> str:
        services = document.get("service")
        for service in services if isinstance(services, list) else ():
            if (
                isinstance(service, dict)
                and service.get("id") in ("#atproto_pds", f"{did}#atproto_pds")
                and service.get("type") == "AtprotoPersonalDataServer"
            ):
                endpoint = service.get("serviceEndpoint")
                if not isinstance(endpoint, str):
                    raise _Malformed("the endpoint of its PDS is no text")
                return check_base_url(endpoint, allow_private_networks=self.allow_private_networks)
        raise _Malformed("the document names no PDS")


def _is_down(error: DIDResolutionError) -> bool:
    """Whether the directory could not answer, rather than answered something that is of no use."""
    cause = error.__cause__
    if isinstance(cause, NetworkError):
        return not isinstance(cause, NetworkClosed)
    return error.status == 429 or (error.status or 0) >= 500


class _Malformed(Exception):  # noqa: N818 - never leaves this file
    """A document that does not say what it has to."""


def _parse(document: bytes) -> dict[str, Any]:
    """The document as an object. Numbers stay text: none are needed, and long ones take long to read."""
    try:
        parsed = json.loads(document.decode("utf-8"), parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _Malformed(f"the document is no JSON: {one_line(str(error))}") from error
    if not isinstance(parsed, dict):
        raise _Malformed("the document is no JSON object")
    return parsed


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")
