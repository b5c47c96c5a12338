"""``path("img/", include("imageproxy.web.django.urls"))``: the images, below any path."""

from __future__ import annotations

from django.urls import path

from .views import image

__all__ = ["app_name", "urlpatterns"]

app_name = "imageproxy"
urlpatterns = [path("<path:path>", image, name="image")]
