"""What a URL of an image comes to: which image, and the header fields of the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from imageproxy.errors import InvalidRequestError
from imageproxy.presets import ImageFormat
from imageproxy.service import Request, Service, etag_of
from imageproxy.urls import ImagePath, SigningKeys

from ._options import Options
from ._response import COMMON, Headers, Response

__all__ = ["Plan", "Planner"]

_NEGOTIATED: tuple[ImageFormat, ...] = ("avif", "webp", "jpeg")
_VERSION = re.compile(r"[a-z0-9_-]{1,80}")


@dataclass(frozen=True)
class Plan:
    """The image to answer with, and all of the answer but its bytes."""

    request: Request
    etag: str
    headers: Headers
    """Of a 200, but for ``Content-Length``."""
    alternatives: Mapping[ImageFormat, Plan] | None = None
    """The plan for each format, where the client's ``Accept`` is to choose."""

    def found(self, data: bytes) -> Response:
        """The image."""
        return Response(200, (("Content-Length", str(len(data))), *self.headers), data)

    def unchanged(self) -> Response:
        """The client has it."""
        # Not Content-Type: there is no content. The rest is what a 200 would say, RFC 9110 section 15.4.5.
        return Response(304, tuple(header for header in self.headers if header[0] != "Content-Type"))

    @cached_property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """``headers``, as ASGI has them."""
        return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]


class Planner:
    """Reads URLs, by the presets of a service. Safe to call from threads.

    Pure: nothing is looked up, and nobody is asked.
    """

    def __init__(self, service: Service, options: Options) -> None:
        self._service = service
        self._options = options
        keys = options.signing_keys
        self._keys = service._urls.keys if keys is None else SigningKeys(keys) if keys else None

    def plan(self, mount: str, path: str, query: str) -> Plan | None:
        """The plan for a URL; ``None`` for a path that is no image's.

        mount: where the app is mounted, ``""`` for nowhere.
        path: decoded, with or without the mount before it.

        Raises InvalidRequestError.
        """
        parsed = self._parse(mount, path)
        if parsed is None:
            return None
        preset = self._service._presets.get(parsed.preset)
        if parsed.format is not None:
            preset = preset.with_format(parsed.format)
        request = self._service._read(preset, parsed.did, parsed.cid)
        if self._version(parsed, query) == preset.key:
            age = f"public, max-age={self._options.versioned_max_age_seconds}, immutable"
        else:
            age = f"public, max-age={self._options.max_age_seconds}"
        if not self._options.negotiate or parsed.format is not None:
            return _plan(request, age)
        formats: set[ImageFormat] = {preset.format, *_NEGOTIATED}
        plans = {format_: self._in_format(format_, request, age) for format_ in formats}
        return replace(plans[preset.format], alternatives=plans)

    def _in_format(self, format_: ImageFormat, request: Request, age: str) -> Plan:
        preset, key = request
        return _plan(self._service._read(preset.with_format(format_), key.did, key.cid), age, varies=True)

    def is_image(self, mount: str, path: str) -> bool:
        """Whether a path has the form of an image's, whatever it says."""
        return self._parse(mount, path) is not None

    def _parse(self, mount: str, path: str) -> ImagePath | None:
        # Servers and frameworks do not agree on whether the path has the mount before it (in WSGI never, in ASGI it
        # should). And an app may be mounted at the prefix itself, which is then the end of the mount.
        prefix, mount = self._options.prefix, mount.rstrip("/")
        below = path[len(mount) :] if mount and path.startswith(f"{mount}/") else path
        ends = (mount[at:] for at, character in enumerate(mount) if character == "/")
        for whole in (below, *(end + below for end in ends)):
            if whole.startswith(f"{prefix}/") and (parsed := ImagePath.parse(whole[len(prefix) :])):
                return parsed
        return None

    def _version(self, parsed: ImagePath, query: str) -> str | None:
        """The ``v`` of the query, its signature checked. What else there is in it is ignored, if nothing is signed."""
        version: str | None = None
        signature = ""
        is_ours = True
        for part in query.split("&"):
            name, _, value = part.partition("=")
            if name == "v" and version is None:
                version = value
            elif name == "s" and not signature:
                signature = value
            elif part:
                is_ours = False
        if self._keys is not None:
            is_ours = is_ours and version is not None and _VERSION.fullmatch(version) is not None
            if not (is_ours and self._keys.made(signature, f"/img{parsed}?v={version}")):
                raise InvalidRequestError("this URL is not signed by this site, or was changed since")
        return version


def _plan(request: Request, age: str, *, varies: bool = False) -> Plan:
    preset, key = request
    etag = etag_of(key)
    headers = (
        ("Content-Type", preset.content_type),
        ("Cache-Control", age),
        ("ETag", etag),
        *((("Vary", "Accept"),) if varies else ()),
        # Both are to be found by whoever purges a CDN: the syntax of DIDs and CIDs has neither comma nor space.
        ("Cache-Tag", f"{key.did},{key.cid}"),
        ("Surrogate-Key", f"{key.did} {key.cid}"),
        *COMMON,
    )
    return Plan(request, etag, headers)
