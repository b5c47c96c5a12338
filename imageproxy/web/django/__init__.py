"""Images in a Django project. Needs the extra: ``pip install "atproto-imageproxy[django]"``.

::

    INSTALLED_APPS = [..., "imageproxy.web.django"]
    IMAGE_PROXY = {"CACHE_PATH": "/var/cache/images", "POLICY": "myapp.images.Takedowns"}

    urlpatterns = [..., path("img/", include("imageproxy.web.django.urls"))]

and in a template::

    {% load imageproxy %}
    {% blob_image "avatar" did profile.avatar alt=profile.displayName srcset="avatar_small" class="round" %}

``IMAGE_PROXY`` has the options of ``Config.from_env`` and the fields of ``imageproxy.web.Options``, in capitals; what
it does not have is taken from the ``IMAGE_PROXY_...`` variables. ``CACHE``, ``PROCESSOR``, ``FETCHER``, ``RESOLVER``,
``POLICY``, ``PRESETS`` and ``OBSERVERS`` are for ``create_service``: dotted paths of an object, or of what makes it.
``manage.py check`` tells what is wrong with it.

Under ASGI, include ``imageproxy.web.django.async_urls``: its view awaits images and holds no thread.

The service is made when the first image is asked for, and closed when the process exits.
"""

from __future__ import annotations

try:
    import django as _django  # noqa: F401 - said here, where the app is installed
except ImportError as error:
    raise ImportError(
        'imageproxy.web.django needs an extra that is not installed: pip install "atproto-imageproxy[django]"'
    ) from error

__all__: list[str] = []
