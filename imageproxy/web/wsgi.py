"""Images as a WSGI app (PEP 3333)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from imageproxy.service import Service

from ._endpoint import Endpoint, WebRequest
from ._options import Options

__all__ = ["WSGIApp", "web_request"]


class WSGIApp:
    """A WSGI app that answers with images. Run it under a server, or mount it in an app.

    service: what answers; closing it stays with whoever made it.
    options: ``None`` for the defaults.

    It may be mounted anywhere; see ``Options.prefix``. Safe to call from threads. A request that waits for its image
    keeps its thread, so give the server more threads than images are made at once, or run the ``ASGIApp``.
    """

    def __init__(self, service: Service, options: Options | None = None) -> None:
        self._endpoint = Endpoint(service, options)

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request; see PEP 3333."""
        response = self._endpoint.respond(web_request(environ, self._endpoint.options))
        start_response(f"{response.status} {response.reason}", list(response.headers))
        return [response.body] if response.body else []


def web_request(environ: Mapping[str, Any], options: Options) -> WebRequest:
    """What an environment asks for, as it is seen with these options."""
    # PATH_INFO was decoded, and nothing is lost by it: no part of an image's path has a slash in it.
    return WebRequest(
        environ["REQUEST_METHOD"],
        environ.get("PATH_INFO", ""),
        environ.get("QUERY_STRING", ""),
        environ.get("SCRIPT_NAME", ""),
        environ.get("HTTP_IF_NONE_MATCH", ""),
        environ.get("HTTP_ACCEPT", "") if options.negotiate else "",
        is_preflight="HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ,
    )
