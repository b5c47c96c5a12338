"""Links: what the pages of an app say of images, as URLs and as the attributes of an ``<img>``."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from imageproxy.errors import ConfigError, InvalidCIDError, InvalidDIDError
from imageproxy.identifiers import cid_of
from imageproxy.presets import FitMode, Preset, PresetRegistry
from imageproxy.urls import ImageURLs

__all__ = ["AspectRatio", "Links"]

_log = logging.getLogger("imageproxy.web")

AspectRatio: TypeAlias = object
"""``{"width": ..., "height": ...}``, as records have it beside an image (app.bsky.embed.defs#aspectRatio), or an SDK's
object with these attributes."""

_OWN_PREFIX = "/img"  # what ImageURLs writes


class Links:
    """Links to the images of one app. Immutable, safe to call from threads.

    urls: what writes the URLs. presets: the same as it has.

    Records are strangers' data: one that names no image gives no link, and is logged. A preset that is not there is a
    mistake of the app's own, and raises InvalidPresetError.
    """

    def __init__(self, urls: ImageURLs, presets: PresetRegistry) -> None:
        self._urls = urls
        self._presets = presets

    def url(
        self,
        preset: str | Preset,
        did: str,
        blob: object,
        *,
        mount: str,
        prefix: str,
        format: str | None = None,  # noqa: A002 - the field's own name
        pds_url: str | None = None,
    ) -> str:
        """The URL of an image; ``""`` where there is none.

        blob: a blob reference as records have it, a CID, or nothing.
        mount: where the app is, for URLs that have no base or CDN URL. prefix: where in it the images are.
        """
        try:
            cid = cid_of(blob) if blob else ""
            url = self._urls.url_for(preset, did, cid, format=format, pds_url=pds_url)
        except (InvalidCIDError, InvalidDIDError) as error:
            _log.info("no link to an image: %s", error, extra={"did": did, "preset": str(preset)})
            return ""
        if not url or not self._urls._enabled:
            return url
        root = self._urls._root
        return f"{root or mount}{prefix}{url[len(root) + len(_OWN_PREFIX) :]}"

    def attributes(
        self,
        preset: str | Preset,
        did: str,
        blob: object,
        *,
        mount: str,
        prefix: str,
        alt: str = "",
        srcset: str | Iterable[str | Preset] = (),
        sizes: str = "",
        loading: str = "lazy",
        aspect_ratio: AspectRatio = None,
        format: str | None = None,  # noqa: A002 - the field's own name
        pds_url: str | None = None,
        more: Mapping[str, object] | None = None,
    ) -> dict[str, str]:
        """The attributes of an ``<img>``, not escaped yet; empty where there is no image.

        alt: what to show where the image is not; ``""`` for one that adds nothing to the text.
        srcset: further presets to choose from, by name (with blanks or commas between) or as presets.
        sizes: how wide the image is shown; by default as wide as the preset, which matters with ``srcset`` alone.
        loading: ``"lazy"``, or ``"eager"`` for what is seen first.
        aspect_ratio: of the source, so that the page has room for an image that is not cropped before it is there.
        more: further attributes, named as Python can: an underscore at the end is dropped, others are hyphens.
        """
        if loading not in ("lazy", "eager"):
            raise ConfigError(f"loading is {loading!r}; it must be 'lazy' or 'eager'", option="loading", value=loading)
        options = {"mount": mount, "prefix": prefix, "format": format, "pds_url": pds_url}
        src = self.url(preset, did, blob, **options)  # type: ignore[arg-type]  # as above
        if not src:
            return {}
        wanted = self._presets.find(preset)
        found = {"src": src}
        if srcset and self._urls._enabled:
            others = re.split(r"[\s,]+", srcset.strip(" ,")) if isinstance(srcset, str) else srcset
            presets = dict.fromkeys([wanted, *(self._presets.find(other) for other in others)])
            candidates = [(self.url(each, did, blob, **options), each.width) for each in presets]  # type: ignore[arg-type]
            found["srcset"] = ", ".join(f"{url} {width}w" for url, width in candidates)
            found["sizes"] = sizes or f"{wanted.width}px"
        size = _shown_size(wanted, aspect_ratio)
        if size is not None:
            found["width"], found["height"] = map(str, size)
        found.update(alt=alt, loading=loading, decoding="async")
        found.update((name.rstrip("_").replace("_", "-"), str(value)) for name, value in (more or {}).items())
        return found


def _shown_size(preset: Preset, ratio: AspectRatio) -> tuple[int, int] | None:
    """How large an image is; of one that is fitted in, what is known is its shape at most."""
    if preset.fit is FitMode.COVER:
        return preset.width, preset.height
    width, height = (
        ratio.get(side) if isinstance(ratio, Mapping) else getattr(ratio, side, None) for side in ("width", "height")
    )
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        return None
    shown = preset.width, max(1, round(preset.width * height / width))
    if preset.height and shown[1] > preset.height:
        shown = max(1, round(preset.height * width / height)), preset.height
    return shown
