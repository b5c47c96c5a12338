"""The view of an image, for threads and for coroutines."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from imageproxy._flight import Flight
from imageproxy.web._endpoint import WebRequest
from imageproxy.web._options import Options
from imageproxy.web._response import Response

from .images import images

__all__ = ["image", "image_async"]


def image(request: HttpRequest, path: str) -> HttpResponse:
    """Answer with the image that a path says. A thread waits for it."""
    here = images()
    return _shown(here.endpoint.respond(_asked(request, path, here.options)))


async def image_async(request: HttpRequest, path: str) -> HttpResponse:
    """The same, awaited."""
    here = images()
    endpoint, service, timeout = here.endpoint, here.async_service, here.options.timeout_seconds
    decided = endpoint.decide(_asked(request, path, here.options))
    if isinstance(decided, Response):
        return _shown(decided)
    try:
        if decided.is_known:
            await service._vet(decided.plan.request)
            return _shown(decided.unchanged())
        found = await service._begin(decided.plan.request, None, timeout)
        data = await service._land(found, timeout) if isinstance(found, Flight) else found
        return _shown(decided.found(data))
    except Exception as error:  # noqa: BLE001 - every request is answered
        return _shown(endpoint.failed(error, is_head=request.method == "HEAD"))


# Nothing is changed by any request, and what is no GET or HEAD is refused as it is elsewhere. Django's decorator would
# do the same, but before 5.0 it makes a coroutine function a plain one.
image.csrf_exempt = True  # type: ignore[attr-defined]
image_async.csrf_exempt = True  # type: ignore[attr-defined]


def _asked(request: HttpRequest, path: str, options: Options) -> WebRequest:
    fields = request.META
    return WebRequest(
        request.method or "GET",
        f"{options.prefix}/{path}",  # wherever the URLs are included
        fields.get("QUERY_STRING", ""),
        "",
        fields.get("HTTP_IF_NONE_MATCH", ""),
        fields.get("HTTP_ACCEPT", "") if options.negotiate else "",
        is_preflight="HTTP_ACCESS_CONTROL_REQUEST_METHOD" in fields,
    )


def _shown(found: Response) -> HttpResponse:
    response = HttpResponse(found.body, status=found.status, headers=dict(found.headers))
    if not any(name == "Content-Type" for name, _ in found.headers):
        del response["Content-Type"]  # the framework's own, of no content
    return response
