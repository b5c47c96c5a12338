"""Images beside pages, in Starlette: ``uvicorn starlette_app:app``.

Needs ``pip install atproto-imageproxy starlette uvicorn``. The images are an app of their own, mounted at ``/img``. A
route awaits the same service: here for the image that other sites show in the preview of a link, which has one address
for as long as the account exists.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from imageproxy import BusyError, Config, ImageProxyError, InvalidRequestError, create_service
from imageproxy.aio import AsyncService
from imageproxy.web import ASGIApp

AVATARS: dict[str, str] = {}  # from DIDs to the CIDs of their present avatars: of an app, the database

images = AsyncService(create_service(Config.from_env()))


async def card(request: Request) -> Response:
    did = request.path_params["did"]
    try:
        cid = AVATARS.get(did) or request.query_params.get("cid", "")
        found = await images.get("embed_thumbnail", did, cid, timeout=10)
    except InvalidRequestError as error:
        return PlainTextResponse(str(error), 400)
    except BusyError as error:
        return PlainTextResponse("busy", 503, {"Retry-After": str(round(error.retry_after or 1))})
    except ImageProxyError:
        return PlainTextResponse("no such image", 404, {"Cache-Control": "max-age=10"})
    headers = {"ETag": found.etag, "Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"}
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    return Response(found.data, media_type=found.content_type, headers=headers)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with images:  # closes it when the server ends: a mounted app is not told
        yield


app = Starlette(routes=[Mount("/img", ASGIApp(images)), Route("/cards/{did}.jpg", card)], lifespan=lifespan)
