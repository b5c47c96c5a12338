"""Asking an endpoint of a PDS: within a deadline, judging redirects, again where that may help; refusals have reasons.

Sources: atproto.com/specs/xrpc, and what servers really answer: the reference PDS gives every error the status 400,
others use 404, and bridges and entryways redirect.
"""

from __future__ import annotations

import json
import logging
import random as random_numbers
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from ._addresses import follow
from ._client import GuardedClient, Reply, one_line
from ._deadline import Deadline
from ._guard import NetworkClosed, NetworkError, NetworkTimeout
from ._retry import next_wait, read_retry_after
from .errors import NotFoundReason, PDSFetchError, PDSNotFoundError

__all__ = ["Missing", "ask", "read_body", "read_json", "refuse_encoded", "xrpc_url"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_ERROR_BYTES = 8 * 1024
# The errors that the lexicons of com.atproto.sync share.
_REPO_ERRORS: dict[str, NotFoundReason] = {
    "RepoNotFound": "repo_not_found",
    "RepoTakendown": "repo_taken_down",
    "RepoSuspended": "repo_suspended",
    "RepoDeactivated": "repo_deactivated",
}


class Missing(NamedTuple):
    """How an endpoint says that it has not what was asked for: by the name of its error, or in its message.

    message: a part of it, in lower case.
    """

    name: str
    message: str
    reason: NotFoundReason


def xrpc_url(base_url: str, method: str, query: Mapping[str, str]) -> str:
    """The URL of a question. The base URL has no slash at its end."""
    return f"{base_url}/xrpc/{method}?{urlencode(query)}"


def ask(
    client: GuardedClient,
    url: str,
    read: Callable[[Reply], T],
    *,
    seconds: float,
    headers: Callable[[str], Mapping[str, str]] = lambda _: {"Accept": "*/*"},
    missing: Missing | None = None,
    random: Callable[[], float] = random_numbers.random,
    pause: Callable[[Deadline, float], None] = Deadline.pause,
) -> T:
    """What ``read`` makes of the answer, whose status is 200. Asked again where that may help and there is time.

    seconds: for everything: its turn, connecting, redirects, reading, and asking again.
    headers: those of a request to a URL, which may be where a redirect leads.
    missing: what is told as a PDSNotFoundError, beside a repo that is not there and a bare 404.

    Raises PDSFetchError or a child of it, NetworkError or a child of it, and what ``read`` does.
    """
    with client.deadline(seconds) as deadline:
        attempt = 0
        while True:
            try:
                with _answer(client, url, deadline, headers, missing) as reply:
                    return read(reply)
            except (NetworkError, PDSFetchError) as error:
                wait = next_wait(error, attempt, deadline.remaining(), random)
                if wait is None:
                    raise
                _log.debug("asking again in %.2f seconds: %s", wait, error)
            pause(deadline, wait)
            attempt += 1


def refuse_encoded(reply: Reply) -> None:
    """Raise PDSFetchError for a body that is compressed, which nobody asked for."""
    encoding = reply.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise PDSFetchError(f"the answer is encoded, unasked: {one_line(encoding)}", status=reply.status)


def read_body(reply: Reply, max_bytes: int) -> bytes:
    """The whole body. Raises PDSFetchError for one with more bytes, or encoded, and NetworkError."""
    refuse_encoded(reply)
    body = reply.read_up_to(max_bytes + 1) if (reply.content_length or 0) <= max_bytes else None
    if body is None or len(body) > max_bytes:
        raise PDSFetchError(f"the answer has more than {max_bytes:,} bytes")
    return body


def read_json(reply: Reply, max_bytes: int) -> dict[str, Any]:
    """The body as a JSON object. Its numbers stay text: none are needed, and long ones take long to read.

    Raises as ``read_body`` does, and PDSFetchError for what is no JSON object.
    """
    try:
        parsed = json.loads(read_body(reply, max_bytes), parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise PDSFetchError(f"the answer is no JSON: {one_line(str(error))}") from error
    if not isinstance(parsed, dict):
        raise PDSFetchError("the answer is no JSON object")
    return parsed


@contextmanager
def _answer(
    client: GuardedClient,
    url: str,
    deadline: Deadline,
    headers: Callable[[str], Mapping[str, str]],
    missing: Missing | None,
) -> Iterator[Reply]:
    with _follow(client, url, deadline, headers) as reply:
        if reply.status != 200:
            raise _refusal(reply, missing)
        yield reply


def _follow(client: GuardedClient, url: str, deadline: Deadline, headers: Callable[[str], Mapping[str, str]]) -> Reply:
    """The first answer that is no redirect. The body of a redirect is never read."""
    for _ in range(_MAX_REDIRECTS + 1):
        reply = client.get(url, headers(url), deadline)
        location = reply.headers.get("Location")
        if reply.status not in _REDIRECTS or location is None:
            return reply
        reply.close()
        url = follow(url, location)
    raise PDSFetchError(f"more than {_MAX_REDIRECTS} redirects, the last to {one_line(url)}")


def _refusal(reply: Reply, missing: Missing | None) -> PDSFetchError:
    """What an answer other than 200 means: by its error name, else by its message, else by its status."""
    name, message = _read_error(reply)
    said = f"the PDS answered {reply.status}"
    if name or message:
        said += f": {one_line(name)}: {one_line(message)}" if name and message else f": {one_line(name or message)}"
    reason = _REPO_ERRORS.get(name)
    if reason is None and missing is not None and (name == missing.name or missing.message in message.lower()):
        reason = missing.reason
    if reason is None and reply.status == 404:
        reason = "not_found"
    if reason is None:
        retry_after = read_retry_after(reply.headers.get("Retry-After"), time.time())
        return PDSFetchError(said, status=reply.status, retry_after=retry_after)
    return PDSNotFoundError(said, reason=reason, status=reply.status)


def _read_error(reply: Reply) -> tuple[str, str]:
    """The ``error`` and ``message`` of an XRPC error (atproto.com/specs/xrpc), as far as they can be read."""
    try:
        answer = json.loads(reply.read_up_to(_MAX_ERROR_BYTES))
    except (NetworkTimeout, NetworkClosed):
        raise
    except (NetworkError, ValueError, RecursionError):
        return "", ""
    if not isinstance(answer, dict):
        return "", ""
    name, message = answer.get("error"), answer.get("message")
    return name if isinstance(name, str) else "", message if isinstance(message, str) else ""
