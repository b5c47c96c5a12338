"""``{% load imageproxy %}``: images in templates."""

from __future__ import annotations

from typing import Any

from django import template
from django.urls import NoReverseMatch
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from imageproxy.presets import Preset
from imageproxy.web.django.images import Images, images

__all__ = ["blob_image", "blob_image_url", "register"]

register = template.Library()

_ELSEWHERE = {"mount": "", "prefix": "/img"}


@register.simple_tag  # type: ignore[untyped-decorator]  # Django has no types
def blob_image_url(preset: str | Preset, did: str, blob: object, **options: Any) -> str:
    """The URL of an image; ``""`` where there is none.

    blob: a blob reference as records have it, a CID, or nothing.
    options: ``format`` and ``pds_url``, see ``ImageURLs.url_for``.

    A reference that is broken gives ``""`` too, and is logged. Raises InvalidPresetError.
    """
    here = images()
    return here.links.url(preset, did, blob, **_place(here), **options)


@register.simple_tag  # type: ignore[untyped-decorator]  # Django has no types
def blob_image(
    preset: str | Preset,
    did: str,
    blob: object,
    *,
    alt: str = "",
    srcset: Any = (),
    sizes: str = "",
    loading: str = "lazy",
    aspect_ratio: object = None,
    format: str | None = None,  # noqa: A002 - the field's own name
    pds_url: str | None = None,
    **attributes: object,
) -> SafeString:
    """An ``<img>``, with its size where that is known; empty where there is no image.

    alt: what to show where the image is not; ``""`` for one that adds nothing to the text.
    srcset: further presets to choose from: ``"avatar_small avatar"``.
    sizes: how wide it is shown, in CSS; by default as wide as the preset.
    loading: ``"lazy"``, or ``"eager"`` for what is seen first.
    aspect_ratio: of the source, as records have it: of an image that is not cropped it tells the shape.
    attributes: further ones; an underscore in them is a hyphen (``data_id``).

    Otherwise as ``blob_image_url``.
    """
    here = images()
    found = here.links.attributes(
        preset,
        did,
        blob,
        alt=alt,
        srcset=srcset,
        sizes=sizes,
        loading=loading,
        aspect_ratio=aspect_ratio,
        format=format,
        pds_url=pds_url,
        more=attributes,
        **_place(here),
    )
    if not found:
        return SafeString("")
    return SafeString(format_html("<img {}>", format_html_join(" ", '{}="{}"', found.items())))


def _place(here: Images) -> dict[str, str]:
    try:
        return here.place()
    except NoReverseMatch:
        return _ELSEWHERE  # another server answers, as BASE_URL or CDN_URL say
