"""Errors as answers: short-lived, in plain text, saying what the client may know.

The text of an error of the network names addresses and servers, so it stays in the log and with the observers; what is
sent is a sentence of its own. Errors in the request itself are told in full: they speak of what the client sent.
"""

from __future__ import annotations

import logging
import math

from imageproxy.errors import (
    BlobBlockedError,
    BusyError,
    CIDMismatchError,
    DeadlineExceededError,
    DIDNotFoundError,
    DIDResolutionError,
    ImageProxyError,
    ImageTooLargeError,
    InvalidRequestError,
    PDSFetchError,
    PDSNotFoundError,
    PDSTimeoutError,
    ProcessingError,
    ServiceClosedError,
    UnsupportedFormatError,
)

from ._options import Options
from ._response import COMMON, Response

__all__ = ["failure", "method_not_allowed", "no_content", "not_found", "refusal"]

_log = logging.getLogger("imageproxy.web")

_ALLOW = "GET, HEAD, OPTIONS"
_MAX_REASON_LENGTH = 200

# The most particular first.
_STATUSES: tuple[tuple[type[ImageProxyError], int, str], ...] = (
    (PDSNotFoundError, 404, "the account's server does not have this image"),
    (DIDNotFoundError, 404, "there is no such account"),
    (CIDMismatchError, 404, "the account's server does not have this image: it gives other bytes than the CID's"),
    (PDSTimeoutError, 504, "the account's server took too long"),
    (DeadlineExceededError, 504, "the image was not made in time; ask again"),
    (PDSFetchError, 502, "the account's server did not give the image"),
    (DIDResolutionError, 502, "the account's server could not be found"),
    (UnsupportedFormatError, 422, "this blob is no image that can be shown"),
    (ImageTooLargeError, 422, "this image is too large"),
    (ProcessingError, 422, "this image is broken"),
    (BusyError, 503, "too much to do; ask again later"),
    (ServiceClosedError, 503, "closing down; ask again later"),
)


def refusal(error: Exception, options: Options) -> Response:
    """The answer for an error of the service. One that should not have been is logged, and told without detail."""
    if isinstance(error, InvalidRequestError):
        return failure(400, str(error), options)
    if isinstance(error, BlobBlockedError):
        is_status = isinstance(error.status, int) and 400 <= error.status <= 599
        why = error.reason if isinstance(error.reason, str) else "this image is not shown here"
        return failure(error.status if is_status else 410, why[:_MAX_REASON_LENGTH], options)
    for kind, status, sentence in _STATUSES:
        if isinstance(error, kind):
            return failure(status, sentence, options, retry_after=getattr(error, "retry_after", None))
    where = {name: getattr(error, name, None) for name in ("preset", "did", "cid")}
    _log.error("an image could not be answered: %r", error, exc_info=error, extra=where)
    return failure(500, "something went wrong", options)


def failure(status: int, sentence: str, options: Options, *, retry_after: object = None) -> Response:
    """An error in plain text."""
    body = f"{sentence}\n".encode("utf-8", "replace")
    # What lies in the request or at a third party may be kept for a moment; what lies here must not outlast itself.
    is_ours = status in (500, 503)
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store" if is_ours else f"max-age={options.error_max_age_seconds}"),
        *COMMON,
    ]
    if status == 503:
        seconds = retry_after if isinstance(retry_after, (int, float)) and 0 < retry_after < math.inf else 1.0
        headers.append(("Retry-After", str(math.ceil(min(seconds, 3600.0)))))
    return Response(status, tuple(headers), body)


def not_found(options: Options) -> Response:
    """For a path that is no image's."""
    return failure(404, "no image has such a URL", options)


def method_not_allowed(options: Options) -> Response:
    """For a method that images do not have."""
    refused = failure(405, f"images have the methods {_ALLOW}", options)
    return Response(refused.status, (*refused.headers, ("Allow", _ALLOW)), refused.body)


def no_content(*, is_preflight: bool) -> Response:
    """For OPTIONS, and what a script of another origin may do here (fetch.spec.whatwg.org, CORS-preflight fetch)."""
    preflight = (
        ("Access-Control-Allow-Methods", _ALLOW),
        ("Access-Control-Allow-Headers", "*"),
        ("Access-Control-Max-Age", "86400"),
    )
    return Response(204, (("Allow", _ALLOW), *(preflight if is_preflight else ()), *COMMON))
