"""A web app that shows an account's avatar: ``flask --app examples/flask_app run``.

Needs ``pip install atproto-imageproxy flask``. The options come from the environment, see ``Config.from_env``.
"""

from flask import Flask, Response, request

from imageproxy import (
    BlobBlockedError,
    BusyError,
    Config,
    DeadlineExceededError,
    DIDNotFoundError,
    ImageProxyError,
    ImageTooLargeError,
    InvalidRequestError,
    PDSNotFoundError,
    ProcessingError,
    UnsupportedFormatError,
    create_service,
)

app = Flask(__name__)
images = create_service(Config.from_env())

# The most particular first: which HTTP status tells what.
STATUSES: list[tuple[type[ImageProxyError] | tuple[type[ImageProxyError], ...], int]] = [
    (InvalidRequestError, 400),
    ((PDSNotFoundError, DIDNotFoundError), 404),
    (BlobBlockedError, 410),
    ((UnsupportedFormatError, ImageTooLargeError, ProcessingError), 422),
    (BusyError, 503),
    (DeadlineExceededError, 504),
    (ImageProxyError, 502),
]


@app.get("/img/<preset>/plain/<did>/<cid>")
def image(preset: str, did: str, cid: str) -> Response:
    found = images.get(preset, did, cid, timeout=10)
    answer = Response(found.data, content_type=found.content_type)
    answer.headers["ETag"] = found.etag
    answer.headers["Cache-Control"] = "public, max-age=86400"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer.make_conditional(request)
    return answer


@app.errorhandler(ImageProxyError)
def failed(error: ImageProxyError) -> tuple[str, int, dict[str, str]]:
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    return str(error), status, {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "max-age=10"}
