"""What ``INSTALLED_APPS`` finds."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from .checks import check_deployment, check_settings, check_urls

__all__ = ["ImageProxyConfig"]


class ImageProxyConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """The app. It has no models."""

    name = "imageproxy.web.django"
    label = "imageproxy"
    verbose_name = "Image proxy"

    def ready(self) -> None:
        """Register the checks, and no more."""
        register(check_settings)
        register(check_urls)
        register(check_deployment, deploy=True)
