"""What is answered: a frozen value, and the header fields that every answer has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus

__all__ = ["COMMON", "Headers", "Response"]

Headers = tuple[tuple[str, str], ...]

COMMON: Headers = (
    ("X-Content-Type-Options", "nosniff"),
    # Whatever a browser takes it for, when it is opened by itself: no script, no plugin, no origin.
    ("Content-Security-Policy", "default-src 'none'; sandbox"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
    ("Access-Control-Allow-Origin", "*"),
)
"""What is the same for images and errors. No cookie and no account is involved, so every origin may read all of it."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: the status, the header fields in the order to send them, and the body.

    What a server adds itself (``Date``, ``Connection``, ...) is not there. The body of an answer to HEAD is empty, and
    its ``Content-Length`` that of the answer to GET.
    """

    status: int
    headers: Headers
    body: bytes = b""

    @property
    def reason(self) -> str:
        """The status in words, for HTTP/1.1."""
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return "Unknown"

    def without_body(self) -> Response:
        """The same as the answer to HEAD."""
        return replace(self, body=b"")
