"""Images in a Flask app. Needs the extra: ``pip install "atproto-imageproxy[flask]"``.

::

    from imageproxy.web.flask import ImageProxy

    images = ImageProxy()


    def create_app() -> Flask:
        app = Flask(__name__)
        app.config.from_prefixed_env()
        images.init_app(app)
        return app

In templates, ``{{ blob_image("avatar", did, profile.avatar, alt=name) }}`` is an ``<img>``, and
``{{ blob_image_url("avatar", did, profile.avatar) }}`` a URL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from imageproxy.config import _PREFIX
from imageproxy.errors import ConfigError
from imageproxy.factory import create_service
from imageproxy.presets import Preset, checked_registry
from imageproxy.service import Service
from imageproxy.urls import ImageURLs

from ._lazy import LazyEndpoint
from ._links import AspectRatio, Links
from ._options import Options
from ._settings import read_settings
from .wsgi import web_request

try:
    from flask import Flask, Response, current_app, has_request_context, request
    from markupsafe import Markup
except ImportError as error:
    raise ImportError(
        'imageproxy.web.flask needs an extra that is not installed: pip install "atproto-imageproxy[flask]"'
    ) from error

__all__ = ["ImageProxy"]

_METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]


class ImageProxy:
    """Serves images in Flask apps, and links to them in their templates.

    app: the app; ``None``: call ``init_app``. One object may serve several apps.
    service: what answers, for all its apps; the caller closes it. ``None``: each app gets one of its own, made when the
        first image is asked for.
    options: how to answer; ``None``: as the app's config says.
    backends: for ``create_service``: ``policy``, ``presets``, ``cache``, ...

    The config has ``IMAGE_PROXY_...`` for each option of ``Config.from_env``, in the same units, and for each field of
    ``web.Options``; what it does not have is taken from the environment. It is read by ``init_app``.

    A service that was made here is closed when the process exits, so that what is queued is written (for at most ten
    seconds); ``close`` does it earlier. Processes that are killed lose what is queued, which costs a fetch each.

    Safe to use from threads, and in the children of a fork.
    """

    def __init__(
        self,
        app: Flask | None = None,
        service: Service | None = None,
        *,
        options: Options | None = None,
        **backends: Any,
    ) -> None:
        if service is not None and backends:
            raise ConfigError(
                f"{', '.join(backends)} cannot be given beside a service, which has its own",
                option=next(iter(backends)),
            )
        self._service = service
        self._options = options
        self._backends = backends
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Add the images to an app: a rule below ``Options.prefix``, and what templates use.

        Raises ConfigError for an option of its config that is wrong, and where the app has images already.
        """
        if "imageproxy" in app.extensions:
            raise ConfigError("the app has images already; call init_app once for each app", option="app")
        given = {name: value for name, value in app.config.items() if name.startswith(_PREFIX)}
        config, options = read_settings(given)
        options = options if self._options is None else self._options
        presets = checked_registry(self._backends.get("presets"))
        urls = ImageURLs(
            base_url=config.base_url,
            cdn_url=config.cdn_url,
            presets=presets,
            signing_key=config.url_signing_key,
            enabled=config.enabled,
        )
        if self._service is not None:
            urls, presets = self._service._urls, self._service._presets
        images = _AppImages(
            lambda: self._service or create_service(config, **self._backends),
            Links(urls, presets),
            options,
            owns=self._service is None,
        )
        app.extensions["imageproxy"] = images
        app.add_url_rule(
            f"{options.prefix}/<path:image>",
            "imageproxy",
            images.answer,
            methods=_METHODS,
            provide_automatic_options=False,
        )
        app.jinja_env.globals.update(blob_image=self.blob_image, blob_image_url=self.blob_image_url)
        app.jinja_env.filters["blob_image_url"] = _blob_image_url_filter

    @property
    def service(self) -> Service:
        """The service of the current app; made now, if it was not yet."""
        return _images_of(current_app).endpoint.service

    def close(self, app: Flask | None = None, *, timeout: float | None = None) -> bool:
        """Close the service that was made for an app; see ``Service.close``. The next image makes another one.

        app: ``None``: the current one. A service that was given is left alone.
        """
        return _images_of(current_app if app is None else app).close(timeout)

    def blob_image_url(
        self,
        preset: str | Preset,
        did: str,
        blob: object,
        *,
        format: str | None = None,  # noqa: A002 - the field's own name
        pds_url: str | None = None,
    ) -> str:
        """The URL of an image, for the current app; ``""`` where there is none.

        blob: a blob reference as records have it, a CID, or nothing.
        format, pds_url: see ``ImageURLs.url_for``.

        A reference that is broken gives ``""`` too, and is logged. Raises InvalidPresetError.
        """
        images = _images_of(current_app)
        return images.links.url(preset, did, blob, format=format, pds_url=pds_url, **images.place())

    def blob_image(
        self,
        preset: str | Preset,
        did: str,
        blob: object,
        *,
        alt: str = "",
        srcset: str | Iterable[str | Preset] = (),
        sizes: str = "",
        loading: str = "lazy",
        aspect_ratio: AspectRatio = None,
        format: str | None = None,  # noqa: A002 - the field's own name
        pds_url: str | None = None,
        **attributes: object,
    ) -> Markup:
        """An ``<img>``, with its size where that is known; empty where there is no image.

        alt: what to show where the image is not; ``""`` for one that adds nothing to the text.
        srcset: further presets to choose from: ``"avatar_small avatar"``.
        sizes: how wide it is shown, in CSS; by default as wide as the preset.
        loading: ``"lazy"``, or ``"eager"`` for what is seen first.
        aspect_ratio: of the source, as records have it: of an image that is not cropped it tells the shape.
        attributes: further ones; an underscore at the end is dropped (``class_``), others are hyphens.

        Otherwise as ``blob_image_url``.
        """
        images = _images_of(current_app)
        found = images.links.attributes(
            preset,
            did,
            blob,
            alt=alt,
            srcset=srcset,
            sizes=sizes,
            loading=loading,
            aspect_ratio=aspect_ratio,
            format=format,
            pds_url=pds_url,
            more=attributes,
            **images.place(),
        )
        pairs = Markup(" ").join(Markup('{}="{}"').format(*pair) for pair in found.items())
        return Markup("<img {}>").format(pairs) if found else Markup()


class _AppImages(LazyEndpoint):
    """What one app has."""

    def __init__(self, make: Callable[[], Service], links: Links, options: Options, *, owns: bool) -> None:
        super().__init__(make, options, owns=owns)
        self.links = links

    def place(self) -> dict[str, str]:
        """Where the images are, as seen from the request."""
        mount = request.root_path if has_request_context() else current_app.config["APPLICATION_ROOT"]
        return {"mount": mount.rstrip("/"), "prefix": self.options.prefix}

    def answer(self, image: str) -> Response:  # noqa: ARG002 - the endpoint reads the path itself
        """The view."""
        found = self.endpoint.respond(web_request(request.environ, self.options))
        # As a list: of bytes, the framework would set the length itself, which of an answer to HEAD is another one.
        response = Response([found.body] if found.body else [], found.status, headers=list(found.headers))
        if not any(name == "Content-Type" for name, _ in found.headers):
            del response.headers["Content-Type"]  # the framework's own, of no content
        return response


def _images_of(app: Flask) -> _AppImages:
    try:
        images: _AppImages = app.extensions["imageproxy"]
    except KeyError:
        raise ConfigError("the app has no images; call init_app", option="app") from None
    return images


def _blob_image_url_filter(blob: object, preset: str | Preset, did: str, **options: Any) -> str:
    images = _images_of(current_app)
    return images.links.url(preset, did, blob, **options, **images.place())
