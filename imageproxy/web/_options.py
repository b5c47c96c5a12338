"""The options of the web adapters: one frozen value for all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from imageproxy.errors import ConfigError

__all__ = ["Options"]

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_MAX_AGE_SECONDS = 2**31  # the most that a cache need understand, RFC 9111 section 1.2.2


@dataclass(frozen=True, kw_only=True)
class Options:
    """How images are answered over HTTP. Frozen; safe to share.

    Raises ConfigError, whose ``option`` names the field.
    """

    prefix: str = "/img"
    """What the paths of images begin with, below where the app is mounted; ``""``: nothing. An app that is mounted at
    ``/img`` itself may leave it as it is."""
    signing_keys: Sequence[str | bytes] | None = field(default=None, repr=False)
    """Answer only for URLs that carry a signature made with one of these secrets: the present one, and old ones for as
    long as pages are about that were written with them. ``None``: with the service's own ``url_signing_key``, if it has
    one. Empty: sign or not, every URL is answered."""
    negotiate: bool = False
    """Whether a URL that names no format is answered in AVIF or WebP to a client that asks for it (``Accept``). Each
    format is made and cached for itself. Do not use it behind a CDN that ignores ``Vary``."""
    max_age_seconds: int = 86_400
    """How long clients and CDNs may keep an image whose URL does not carry its preset's present version."""
    versioned_max_age_seconds: int = 31_536_000
    """How long they may keep one whose URL does, as all do that ``url_for`` writes. A takedown cannot reach what
    browsers hold: with a policy, choose shorter."""
    error_max_age_seconds: int = 10
    """How long they may keep an error that lies in the request or at the account's server."""
    timeout_seconds: float | None = None
    """How long a request waits for its image; ``None``: as long as the service's own deadlines allow."""

    def __post_init__(self) -> None:
        is_prefix = isinstance(self.prefix, str) and _PREFIX.fullmatch(self.prefix) is not None
        self._check("prefix", is_prefix, "a path such as '/img', with no slash at its end, or empty")
        if self.signing_keys is not None:
            is_sequence = isinstance(self.signing_keys, Sequence) and not isinstance(self.signing_keys, (str, bytes))
            self._check("signing_keys", is_sequence, "a list of secrets, or None")
            object.__setattr__(self, "signing_keys", tuple(self.signing_keys))
            are_keys = all(isinstance(key, (str, bytes)) and key for key in self.signing_keys)
            self._check("signing_keys", are_keys, "a list of secrets, str or bytes and not empty, or None")
        self._check("negotiate", isinstance(self.negotiate, bool), "True or False")
        for name in ("max_age_seconds", "versioned_max_age_seconds", "error_max_age_seconds"):
            value = getattr(self, name)
            is_age = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_AGE_SECONDS
            self._check(name, is_age, "a whole number of seconds, 0 or more")
        timeout = self.timeout_seconds
        is_timeout = isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and timeout > 0
        self._check("timeout_seconds", timeout is None or is_timeout, "a number of seconds above 0, or None")

    def _check(self, option: str, is_right: bool, wanted: str) -> None:
        if not is_right:
            value = getattr(self, option)
            shown = "hidden" if option == "signing_keys" else repr(value)
            raise ConfigError(f"{option} is {shown}; it must be {wanted}", option=option, value=value)
