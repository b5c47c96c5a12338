"""The URLs under which an app serves its images. Serializers, templates and workers build them without a service."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import NamedTuple, get_args
from urllib.parse import quote, urlencode

from .errors import ConfigError
from .identifiers import canonical_cid, canonical_did
from .presets import ImageFormat, Preset, PresetRegistry, checked_registry

__all__ = ["ImagePath", "ImageURLs", "SigningKeys"]

# The colon of a port, which was escaped before something between the client and the app decoded it. It cannot be meant
# otherwise: a did:web of this protocol has no path (atproto.com/specs/did).
_DECODED_PORT = re.compile(r"(did:web:[^:/]+):([0-9]{1,5})")


class ImagePath(NamedTuple):
    """What an image's URL says in its path, as it stands there: the form is checked, not what the parts say.

    format: what follows the ``@``, or ``None`` where there is none.
    """

    preset: str
    did: str
    cid: str
    format: str | None = None

    @classmethod
    def parse(cls, path: str) -> ImagePath | None:
        """Read ``/{preset}/plain/{did}/{cid}[@format]``, decoded; ``None`` for a path of another form."""
        match path.split("/", 5):
            case ["", preset, "plain", did, last]:
                cid, at, format_ = last.partition("@")
                if port := _DECODED_PORT.fullmatch(did):
                    did = f"{port[1]}%3A{port[2]}"
                return cls(preset, did, cid, format_ if at else None)
        return None

    def __str__(self) -> str:
        """The path, encoded."""
        suffix = "" if self.format is None else f"@{quote(self.format, safe='')}"
        parts = (quote(self.preset, safe=""), "plain", quote(self.did, safe=":"), quote(self.cid, safe="") + suffix)
        return "/" + "/".join(parts)


class SigningKeys:
    """Signs image URLs with the first of some keys, and knows the signatures of all: so keys can be changed.

    keys: secrets, str or bytes. Raises ConfigError for what is none.
    """

    def __init__(self, keys: Iterable[str | bytes]) -> None:
        self._keys = tuple(key.encode() if isinstance(key, str) else key for key in keys)
        if not self._keys or not all(isinstance(key, bytes) and key for key in self._keys):
            raise ConfigError("signing_key must be a secret, str or bytes and not empty, or None", option="signing_key")

    def sign(self, path: str) -> str:
        """The signature of a path and query, as they stand in a URL."""
        return _signature(self._keys[0], path)

    def made(self, signature: str, path: str) -> bool:
        """Whether one of them made this signature. What it takes of time does not tell how wrong one is."""
        given = signature.encode("utf-8", "surrogatepass")
        return any(hmac.compare_digest(_signature(key, path).encode(), given) for key in self._keys)


class ImageURLs:
    """Writes image URLs: ``{cdn or base}/img/{preset}/plain/{did}/{cid}[@format]?v={key}``.

    base_url: where the app serves the images; ``""`` makes URLs that begin with ``/img/``.
    cdn_url: where a CDN serves them; takes the place of ``base_url`` when set.
    presets: the registry that names are looked up in; DEFAULT by default.
    signing_key: appends ``&s=``, an HMAC-SHA256 of the rest of the path and query (192 bits of it, base64url), so that
        an app that checks it answers only for images that it linked to itself.
    enabled: with ``False`` every URL is the PDS's own getBlob URL where ``pds_url`` is known, and otherwise ``""``: the
        app then works without the proxy.

    ``v`` is the preset's key, so a URL is good for ever: an edited preset makes other URLs. Immutable and safe to call
    from threads. Raises ConfigError for options that are wrong.
    """

    def __init__(
        self,
        *,
        base_url: str = "",
        cdn_url: str = "",
        presets: PresetRegistry | None = None,
        signing_key: str | bytes | None = None,
        enabled: bool = True,
    ) -> None:
        for option, value in (("base_url", base_url), ("cdn_url", cdn_url)):
            if not isinstance(value, str) or (value and not value.startswith(("https://", "http://"))):
                raise ConfigError(
                    f"{option} is {value!r}; it must be a URL such as 'https://example.com', or empty",
                    option=option,
                    value=value,
                )
        self._root = (cdn_url or base_url).rstrip("/")
        self._presets = checked_registry(presets)
        self.keys = None if signing_key is None else SigningKeys((signing_key,))
        """What the URLs are signed with, or ``None``."""
        self._enabled = enabled

    def url_for(
        self,
        preset: str | Preset,
        did: str,
        cid: str,
        *,
        format: str | None = None,  # noqa: A002 - the field's own name
        pds_url: str | None = None,
    ) -> str:
        """The URL of one image, or ``""`` for an empty CID (an account without an avatar).

        format: another format than the preset's own, an ``ImageFormat``.
        pds_url: the account's PDS, used only where this object is not enabled.

        Raises InvalidPresetError, InvalidDIDError or InvalidCIDError.
        """
        if not cid:
            return ""
        did, cid = canonical_did(did), canonical_cid(cid)
        wanted = self._presets.find(preset)
        if not self._enabled:
            if not pds_url:
                return ""
            query = urlencode({"did": did, "cid": cid}, safe=":")
            return f"{pds_url.rstrip('/')}/xrpc/com.atproto.sync.getBlob?{query}"
        if format is not None:
            wanted = wanted.with_format(format)
        path = f"/img{ImagePath(wanted.name, did, cid, format)}?v={wanted.key}"
        if self.keys is not None:
            path += f"&s={self.keys.sign(path)}"
        return self._root + path

    def srcset(self, presets: Iterable[str | Preset], did: str, cid: str) -> str:
        """The value of an ``<img srcset>`` with one candidate for each preset, described by the preset's width.

        ``""`` for an empty CID, and where this object is not enabled. Raises as ``url_for``.
        """
        found = [self._presets.find(preset) for preset in ((presets,) if isinstance(presets, str) else presets)]
        urls = [(self.url_for(preset, did, cid), preset.width) for preset in found]
        return ", ".join(f"{url} {width}w" for url, width in urls if url)

    def purge_urls(self, did: str, cid: str) -> list[str]:
        """Every URL that this object can have written for a blob, with its present presets: what to purge at a CDN."""
        formats: tuple[str | None, ...] = (None, *get_args(ImageFormat))
        urls = (self.url_for(preset, did, cid, format=wanted) for preset in self._presets for wanted in formats)
        return [url for url in urls if url]

    def is_signed(self, path: str) -> bool:
        """Whether this path and query carry the signature that ``url_for`` gives them, as its last parameter.

        ``True`` for any path where there is no signing key.
        """
        if self.keys is None:
            return True
        unsigned, _, signature = path.rpartition("&s=")
        return self.keys.made(signature, unsigned)


def _signature(key: bytes, path: str) -> str:
    digest = hmac.new(key, path.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:24]).decode("ascii")
