"""Which failures of a PDS are worth another try, and when. Pure: nothing is asked and nothing waits here.

Sources: RFC 9110, section 10.2.3 (Retry-After) and section 15 (429 and 5xx).
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Callable
from datetime import timezone
from email.utils import parsedate_to_datetime
from http.client import IncompleteRead

import urllib3

from .errors import PDSFetchError, PDSNotFoundError

__all__ = ["next_wait", "read_retry_after"]

_MAX_RETRIES = 2
# The longest wait before the first retry; it doubles with each.
_FIRST_WAIT_SECONDS = 0.5
_PASSING_STATUSES = frozenset({429, 502, 503, 504})
# Refused, reset or broken; a handshake or a body that was cut short.
_PASSING_CAUSES = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError, IncompleteRead)
_PASSING_ERRNOS = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT})
_SECONDS = re.compile(r"[0-9]{1,9}")


def next_wait(error: Exception, attempt: int, left: float, random: Callable[[], float]) -> float | None:
    """How many seconds to wait before asking again; ``None``: do not.

    error: the PDSFetchError or the NetworkError that an attempt ended with.
    attempt: 0 for the first.
    left: seconds until the deadline.
    random: a number from 0 to 1. The whole wait is random ("full jitter"), so that clients that were disappointed
        together do not come back together.
    """
    if attempt >= _MAX_RETRIES or not _may_pass(error):
        return None
    wait = random() * _FIRST_WAIT_SECONDS * 2**attempt
    if isinstance(error, PDSFetchError) and error.retry_after is not None:
        wait = max(wait, error.retry_after)
    return wait if wait < left else None


def read_retry_after(value: str | None, now: float) -> float | None:
    """The seconds that a Retry-After header asks for, from a number or a date; ``None`` where it cannot be read.

    now: seconds since the epoch.
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        # All dates of HTTP are in GMT; one without a zone is in no other.
        at = (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(at - now, 0.0)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, PDSFetchError):
        return error.status in _PASSING_STATUSES and not isinstance(error, PDSNotFoundError)
    cause = _root_of(error)
    if isinstance(cause, socket.gaierror):
        return cause.errno == socket.EAI_AGAIN
    return isinstance(cause, _PASSING_CAUSES) or (isinstance(cause, OSError) and cause.errno in _PASSING_ERRNOS)


def _root_of(error: Exception) -> BaseException | None:
    """What went wrong underneath. urllib3 keeps what it wraps among the arguments of its errors."""
    cause = error.__cause__
    while isinstance(cause, urllib3.exceptions.HTTPError):
        wrapped = next((each for each in reversed(cause.args) if isinstance(each, BaseException)), None)
        if wrapped is None:
            break
        cause = wrapped
    return cause
