"""System checks: ``manage.py check``, and ``manage.py check --deploy`` for what matters in production.

================== ==================================================================
imageproxy.E001    an option of ``IMAGE_PROXY`` is wrong
imageproxy.W001    the URLs of images are written, and answered nowhere
imageproxy.W002    the image proxy may connect to private networks (deploy)
imageproxy.W003    URLs are not signed, so anyone may use the image proxy (deploy)
================== ==================================================================
"""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name
from django.urls import NoReverseMatch

from imageproxy.errors import ConfigError

from .images import Images, read_backends

__all__ = ["check_deployment", "check_settings", "check_urls"]


def check_settings(**_: Any) -> list[CheckMessage]:
    """Whether ``IMAGE_PROXY`` is right, and what it names is there."""
    try:
        read_backends()
        Images()
    except ConfigError as error:
        return [Error(str(error), id="imageproxy.E001")]
    return []


def check_urls(**_: Any) -> list[CheckMessage]:
    """Whether there is a view for the URLs that are written."""
    images = _valid()
    if images is None or images.config.base_url or images.config.cdn_url or not images.config.enabled:
        return []
    try:
        images.place()
    except NoReverseMatch:
        return [
            Warning(
                "the URLs of images lead nowhere: no view answers them",
                hint="Include 'imageproxy.web.django.urls' in your URLs, or say in IMAGE_PROXY['BASE_URL'] or "
                "IMAGE_PROXY['CDN_URL'] where the images are.",
                id="imageproxy.W001",
            )
        ]
    return []


def check_deployment(**_: Any) -> list[CheckMessage]:
    """What is fit for a machine of one's own, and not for production."""
    images = _valid()
    found: list[CheckMessage] = []
    if images is not None and images.config.allow_private_networks:
        found.append(
            Warning(
                "strangers' accounts can name servers in private networks, and the image proxy connects to them",
                hint="Leave IMAGE_PROXY['ALLOW_PRIVATE_NETWORKS'] out.",
                id="imageproxy.W002",
            )
        )
    if images is not None and not (images.config.url_signing_key or images.options.signing_keys):
        found.append(
            Warning(
                "anyone can have this site fetch any image of any account",
                hint="Set IMAGE_PROXY['URL_SIGNING_KEY'] to a secret, so that only URLs of this site are answered; or "
                "silence this check, if that is what the site is for.",
                id="imageproxy.W003",
            )
        )
    return found


def _valid() -> Images | None:
    try:
        return Images()
    except ConfigError:
        return None  # told by another check
