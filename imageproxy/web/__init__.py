"""Images over HTTP: ``GET /img/{preset}/plain/{did}/{cid}[@format]``, in any framework or in none.

``respond`` takes a request and gives a response, and can be mounted in anything. ``WSGIApp`` and ``ASGIApp`` are whole
apps, to run under a server or to mount in another app. ``imageproxy.web.flask`` and ``imageproxy.web.django`` fit into
these frameworks and add links to images to their templates; each needs the extra of its name. All take the same
``Options``.
"""

from __future__ import annotations

from ._options import Options
from ._respond import respond
from ._response import Response
from .asgi import ASGIApp
from .wsgi import WSGIApp

__all__ = ["ASGIApp", "Options", "Response", "WSGIApp", "respond"]
