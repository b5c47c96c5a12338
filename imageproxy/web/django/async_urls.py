"""The same as ``urls``, for projects that run under ASGI: images are awaited, and no thread waits for them."""

from __future__ import annotations

from django.urls import path

from .views import image_async

__all__ = ["app_name", "urlpatterns"]

app_name = "imageproxy"
urlpatterns = [path("<path:path>", image_async, name="image")]
