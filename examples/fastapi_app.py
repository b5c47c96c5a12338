"""Images beside an API, in FastAPI: ``fastapi dev examples/fastapi_app.py``, or ``uvicorn fastapi_app:app``.

Needs ``pip install atproto-imageproxy fastapi uvicorn``. The images are an app of their own, mounted at ``/img``. A
route of the API awaits the same service: here for a tiny image that stands in the page itself until the large one is
there.
"""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import BaseModel

from imageproxy import DEFAULT, Config, FitMode, ImageProxyError, Preset, create_service
from imageproxy.aio import AsyncService
from imageproxy.web import ASGIApp

TINY = Preset("tiny", 16, 16, FitMode.COVER, 40, format="webp")

images = AsyncService(create_service(Config.from_env(), presets=DEFAULT.with_presets(TINY)))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with images:  # closes it when the server ends: a mounted app is not told
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/img", ASGIApp(images))


class Avatar(BaseModel):
    src: str
    placeholder: str | None


@app.get("/avatars/{did}/{cid}")
async def avatar(did: str, cid: str) -> Avatar:
    try:
        tiny = await images.get("tiny", did, cid, timeout=5)
        placeholder = f"data:{tiny.content_type};base64,{b64encode(tiny.data).decode()}"
    except ImageProxyError:
        placeholder = None  # the page does without
    return Avatar(src=images.url_for("avatar", did, cid), placeholder=placeholder)
