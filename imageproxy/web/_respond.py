"""One request, one response: for apps and frameworks that have no adapter here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast
from urllib.parse import unquote

from imageproxy.service import Service

from ._endpoint import Endpoint, WebRequest
from ._options import Options
from ._response import Response

__all__ = ["respond"]


def respond(
    service: Service,
    method: str,
    path: str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    options: Options | None = None,
) -> Response:
    """Answer a request for an image. Blocks until there is an answer, and raises nothing.

    method: as it came, in upper case.
    path: with the query, as it stands in the request: ``/img/avatar/plain/did:plc:.../bafkrei...?v=...``. A path that
        was decoded already does too.
    headers: as they came, names in any case; pairs or a mapping.

    Safe to call from threads. A server that answers many requests has less to do with a ``WSGIApp`` or ``ASGIApp``,
    which remember what a URL means.
    """
    if_none_match, accept = list[str](), list[str]()
    is_preflight = False
    for name, value in _pairs(headers):
        match name.lower():
            case "if-none-match":
                if_none_match.append(value)
            case "accept":
                accept.append(value)
            case "access-control-request-method":
                is_preflight = True
    path, _, query = path.partition("?")
    asked = WebRequest(
        method, unquote(path), query, "", ", ".join(if_none_match), ", ".join(accept), is_preflight=is_preflight
    )
    return Endpoint(service, options).respond(asked)


def _pairs(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    # The cast is for pyright, to which a mapping whose keys are pairs would be one more thing this might be.
    return cast("Mapping[str, str]", headers).items() if isinstance(headers, Mapping) else headers
