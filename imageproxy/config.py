"""The options of a service: one frozen value, checked when it is made."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .errors import ConfigError

__all__ = ["Config"]

_PREFIX = "IMAGE_PROXY_"
_TRUE = frozenset({"1", "t", "true", "y", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "n", "no", "off"})


@dataclass(frozen=True, kw_only=True)
class Config:
    """The options of ``create_service`` and ``Service``. Frozen; safe to share.

    A field's unit is in its name. Every field can be set from the environment, see ``from_env``.

    Raises ConfigError, whose ``option`` names the field.
    """

    enabled: bool = True
    """Whether ``url_for`` writes proxy URLs; see ``ImageURLs``. The service itself answers either way."""
    base_url: str = ""
    """Where the app serves the images, such as ``https://example.com``; ``""`` makes URLs that begin with a slash."""
    cdn_url: str = ""
    """Where a CDN serves them; takes the place of ``base_url`` in URLs when set."""
    url_signing_key: str | None = field(default=None, repr=False)
    """Signs the URLs when set; see ``ImageURLs``."""

    cache_path: Path | str | None = None
    """The folder of the disk cache; ``None``: the user's cache folder, as platformdirs tells it."""
    cache_max_bytes: int = 10 * 1024**3
    """The most that the cache holds."""
    cache_ttl_seconds: float | None = 30 * 86400.0
    """How long after it was written an image is served; ``None`` (0 in the environment): for ever."""
    cleanup_interval_seconds: float | None = 3600.0
    """How often a thread of ``create_service`` tidies the cache; ``None`` (0 in the environment): never."""
    write_queue_max_bytes: int = 64 * 1024**2
    """The most that waits to be written to the cache; what does not fit is dropped, and counted."""
    write_queue_max_age_seconds: float = 60.0
    """How long an image waits to be written to the cache before it is dropped, and counted."""

    fetch_timeout_seconds: float = 30.0
    """How long finding the PDS and fetching the blob may take, together."""
    flight_timeout_seconds: float = 60.0
    """The longest that a caller waits who gave no shorter ``timeout``: queueing, fetching and processing together."""
    max_source_bytes: int = 10 * 1024**2
    """The largest blob that is fetched."""
    max_source_pixels: int = 50_000_000
    """The largest image that is decoded, width times height."""
    max_flights: int = 1000
    """How many different images may be under way at once; one more is a BusyError."""
    memory_budget_bytes: int | None = None
    """What sources and decoding may take of memory at once, in this process; ``None``: a quarter of the memory of the
    machine, or of the control group that the process is in. Of several processes each has a budget of its own."""
    admission_timeout_seconds: float = 10.0
    """How long an image waits for room in that budget before it is a BusyError."""
    fetch_workers: int = 32
    """How many blobs are fetched at once."""
    decode_workers: int | None = None
    """How many images are decoded at once; ``None``: as many as there are processors to run on."""

    plc_url: str = "https://plc.directory"
    """The directory that did:plc is looked up in."""
    identity_ttl_seconds: float = 3600.0
    """How long the PDS of a DID is remembered."""
    user_agent: str | None = None
    """The User-Agent of every request; ``None``: the library's name and version."""
    allow_private_networks: bool = False
    """Opens private addresses, http and any port, for a PDS on this machine. Never set it in production."""

    def __post_init__(self) -> None:
        for name in ("enabled", "allow_private_networks"):
            self._check(name, isinstance(getattr(self, name), bool), "True or False")
        for name in ("base_url", "cdn_url", "plc_url"):
            value = getattr(self, name)
            empty_is_fine = name != "plc_url"
            is_url = isinstance(value, str) and (
                (not value and empty_is_fine) or value.startswith(("https://", "http://"))
            )
            self._check(name, is_url, "a URL such as 'https://example.com'" + (", or empty" if empty_is_fine else ""))
            object.__setattr__(self, name, value.rstrip("/"))
        key, agent = self.url_signing_key, self.user_agent
        self._check("url_signing_key", key is None or _is_line(key), "a line of text, or None")
        is_header = agent is None or (_is_line(agent) and agent.isascii())
        self._check("user_agent", is_header, "a line of ASCII text, or None")
        if isinstance(self.cache_path, (str, os.PathLike)) and str(self.cache_path):
            object.__setattr__(self, "cache_path", Path(self.cache_path))
        self._check("cache_path", self.cache_path is None or isinstance(self.cache_path, Path), "a path, or None")
        for name in ("cache_max_bytes", "write_queue_max_bytes", "max_source_bytes", "max_source_pixels"):
            self._check(name, _is_count(getattr(self, name)), "a whole number above 0")
        for name in ("max_flights", "fetch_workers"):
            self._check(name, _is_count(getattr(self, name)), "a whole number above 0")
        for name in ("decode_workers", "memory_budget_bytes"):
            value = getattr(self, name)
            self._check(name, value is None or _is_count(value), "a whole number above 0, or None")
        for name in ("cache_ttl_seconds", "cleanup_interval_seconds"):
            value = getattr(self, name)
            self._check(name, value is None or _is_duration(value), "a number above 0, or None")
        for name in (
            "write_queue_max_age_seconds",
            "admission_timeout_seconds",
            "fetch_timeout_seconds",
            "flight_timeout_seconds",
            "identity_ttl_seconds",
        ):
            self._check(name, _is_duration(getattr(self, name)), "a number above 0")

        self._check(
            "memory_budget_bytes",
            self.memory_budget_bytes is None or self.memory_budget_bytes >= 4 * self.max_source_bytes,
            f"at least four times max_source_bytes, which is {self.max_source_bytes:,}",
        )

    def _check(self, option: str, is_right: bool, wanted: str) -> None:
        if not is_right:
            value = getattr(self, option)
            shown = "hidden" if option == "url_signing_key" else repr(value)
            raise ConfigError(f"{option} is {shown}; it must be {wanted}", option=option, value=value)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Read the ``IMAGE_PROXY_*`` variables; one that is unset or empty leaves the default.

        environ: what to read instead of ``os.environ``.

        The variables of the Go original keep their names and units: ``_ENABLED``, ``_BASE_URL``, ``_CDN_URL``,
        ``_CACHE_PATH``, ``_CACHE_MAX_GB``, ``_CACHE_TTL_DAYS`` (0: for ever), ``_CLEANUP_INTERVAL_MINUTES`` (0: never),
        ``_FETCH_TIMEOUT_SECONDS``, ``_MAX_SOURCE_SIZE_MB``. Every other field is read from the variable of its own name
        (``_FLIGHT_TIMEOUT_SECONDS``). A GB is 1024**3 bytes and an MB 1024**2.

        Raises ConfigError that names the variable, its value and what would do.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, object] = {}
        given: dict[str, tuple[str, str, str]] = {}
        name = ""
        try:
            for suffix, (name, read, wanted) in _VARIABLES.items():
                text = environ.get(_PREFIX + suffix, "").strip()
                if text:
                    given[name] = _PREFIX + suffix, text, wanted
                    values[name] = read(text)
            return cls(**values)  # type: ignore[arg-type]  # each value is checked there
        except (ValueError, OverflowError) as error:  # ConfigError is a ValueError
            # Either the text that was read last cannot be read, or the field that is named is wrong.
            name = (error.option if isinstance(error, ConfigError) else None) or name
            variable, text, wanted = given[name]
            shown = "hidden" if name == "url_signing_key" else repr(text)
            raise ConfigError(f"{variable} is {shown}; it must be {wanted}", option=variable, value=text) from None


def _is_line(value: object) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_duration(value: object) -> bool:
    # The upper bound is that of the system's own waits, some 292 years or 49 days; NaN is within no bounds.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= threading.TIMEOUT_MAX


def _read_bool(text: str) -> bool:
    lower = text.lower()
    if lower in _TRUE:
        return True
    if lower in _FALSE:
        return False
    raise ValueError(text)


def _scaled(factor: int) -> Callable[[str], int]:
    return lambda text: int(float(text) * factor)


def _or_none(read: Callable[[str], float], factor: int = 1) -> Callable[[str], float | None]:
    """A duration for which 0 means off."""
    return lambda text: read(text) * factor or None


_NUMBER = "a number above 0"
_WHOLE = "a whole number above 0"
_NUMBER_OR_OFF = "a number above 0, or 0 for off"
_URL = "a URL such as https://example.com"
_LINE = "a line of text"

_NAMED_VARIABLES: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "ENABLED": ("enabled", _read_bool, "true or false"),
    "BASE_URL": ("base_url", str, _URL),
    "CDN_URL": ("cdn_url", str, _URL),
    "CACHE_PATH": ("cache_path", Path, "the path of a folder"),
    "CACHE_MAX_GB": ("cache_max_bytes", _scaled(1024**3), _NUMBER),
    "CACHE_TTL_DAYS": ("cache_ttl_seconds", _or_none(float, 86400), _NUMBER_OR_OFF),
    "CLEANUP_INTERVAL_MINUTES": ("cleanup_interval_seconds", _or_none(float, 60), _NUMBER_OR_OFF),
    "FETCH_TIMEOUT_SECONDS": ("fetch_timeout_seconds", float, _NUMBER),
    "MAX_SOURCE_SIZE_MB": ("max_source_bytes", _scaled(1024**2), _NUMBER),
    "MEMORY_BUDGET_BYTES": (
        "memory_budget_bytes",
        int,
        "a whole number, at least four times the largest source (IMAGE_PROXY_MAX_SOURCE_SIZE_MB)",
    ),
}
_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "bool": (_read_bool, "true or false"),
    "int": (int, _WHOLE),
    "int | None": (int, _WHOLE),
    "float": (float, _NUMBER),
    "float | None": (_or_none(float), _NUMBER_OR_OFF),
    "str": (str, _URL),
    "str | None": (str, _LINE),
}
_TAKEN = {name for name, _, _ in _NAMED_VARIABLES.values()}
_VARIABLES = _NAMED_VARIABLES | {
    option.name.upper(): (option.name, *_READERS[str(option.type)])
    for option in fields(Config)
    if option.name not in _TAKEN
}
