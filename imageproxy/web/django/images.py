"""The images of the project: what its settings say, and the service that is made by them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.urls import get_script_prefix, reverse
from django.utils.module_loading import import_string

from imageproxy.aio import AsyncService
from imageproxy.config import _PREFIX
from imageproxy.errors import ConfigError
from imageproxy.factory import create_service
from imageproxy.presets import checked_registry
from imageproxy.service import Service
from imageproxy.urls import ImageURLs
from imageproxy.web._lazy import LazyEndpoint
from imageproxy.web._links import Links
from imageproxy.web._settings import read_settings

__all__ = ["Images", "images", "read_backends"]

_SETTING = "IMAGE_PROXY"
_BACKENDS = ("CACHE", "PROCESSOR", "FETCHER", "RESOLVER", "POLICY", "PRESETS", "OBSERVERS")


class Images(LazyEndpoint):
    """What the settings come to. Makes no service before one is needed.

    Raises ConfigError that names the option.
    """

    def __init__(self) -> None:
        given = _given()
        try:
            self.config, options = read_settings(
                {_PREFIX + name: value for name, value in given.items() if name not in _BACKENDS}
            )
        except ConfigError as error:
            raise _told_as_a_setting(error, given) from None
        super().__init__(self._make_service, options)
        presets = checked_registry(_import("PRESETS", given.get("PRESETS")))
        urls = ImageURLs(
            base_url=self.config.base_url,
            cdn_url=self.config.cdn_url,
            presets=presets,
            signing_key=self.config.url_signing_key,
            enabled=self.config.enabled,
        )
        self.links = Links(urls, presets)
        self._async_service: AsyncService | None = None

    def _make_service(self) -> Service:
        return create_service(self.config, **read_backends())

    @property
    def async_service(self) -> AsyncService:
        """The service, for coroutines."""
        service = self.endpoint.service
        found = self._async_service
        if found is None or found.service is not service:
            found = self._async_service = AsyncService(service)
        return found

    def close(self, timeout: float | None = None) -> bool:
        """Close the service that was made; the next use makes another one."""
        if self._async_service is not None:
            self._async_service.release()
        return super().close(timeout)

    def place(self) -> dict[str, str]:
        """Where the images are. Raises NoReverseMatch where the project does not answer them."""
        mount = get_script_prefix().rstrip("/")
        whole = reverse("imageproxy:image", kwargs={"path": "-"})
        return {"mount": mount, "prefix": whole[len(mount) : -len("/-")]}


@lru_cache(maxsize=1)
def images() -> Images:
    """The images of the project. Raises ConfigError."""
    return Images()


def read_backends() -> dict[str, Any]:
    """What the settings give to ``create_service``. Raises ConfigError for what cannot be imported or made."""
    given = _given()
    found = {name.lower(): _import(name, given[name]) for name in _BACKENDS[:-1] if given.get(name) is not None}
    observers = given.get("OBSERVERS", ())
    if not isinstance(observers, (list, tuple)):
        raise ConfigError(
            f'IMAGE_PROXY["OBSERVERS"] is a {type(observers).__name__}; it must be a list', option="OBSERVERS"
        )
    return {**found, "observers": [_import("OBSERVERS", observer) for observer in observers]}


def _import(name: str, value: object) -> Any:
    """What a dotted path names, or makes where it is something to call."""
    if not isinstance(value, str):
        return value
    try:
        found = import_string(value)
        return found() if callable(found) else found
    except Exception as error:
        raise ConfigError(
            f'IMAGE_PROXY["{name}"] is {value!r}, which cannot be had: {error}', option=name, value=value
        ) from error


def _given() -> dict[str, Any]:
    given = getattr(settings, _SETTING, {})
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{_SETTING} is a {type(given).__name__}; it must be a dictionary of options", option=_SETTING, value=given
        )
    return dict(given)


def _told_as_a_setting(error: ConfigError, given: Mapping[str, object]) -> ConfigError:
    """The same, naming the setting, unless it is a variable of the environment that is wrong."""
    option = error.option or ""
    name = option.removeprefix(_PREFIX)
    if name not in given:
        return error
    message = f'{_SETTING}["{name}"]' + str(error).removeprefix(option).replace(_PREFIX, "")
    return ConfigError(message, option=name, value=error.value)


def _forget(*, setting: str, **_: Any) -> None:
    """In tests, settings change."""
    if setting in (_SETTING, "ROOT_URLCONF") and images.cache_info().currsize:
        images().close(0)
        images.cache_clear()


setting_changed.connect(_forget)
