"""Make a post's images before anybody asks for them: after its record was created.

    pip install atproto-imageproxy
    python examples/warm_after_post.py

Call ``warm_post`` when the PDS has answered createRecord: a blob that no record refers to is not served yet. It takes
as long as the fetches take, so call it after the answer to the user: in a background task, or a job queue.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from imageproxy import InvalidCIDError, Service, WarmReport, cid_of, create_service
from imageproxy.testing import LocalPDS, drawn_photos

log = logging.getLogger("warm_after_post")

# What the app shows of each kind of picture.
PHOTO_PRESETS = ("content_preview", "content_full")
CARD_PRESETS = ("embed_thumbnail",)


def warm_post(images: Service, did: str, record: Mapping[str, Any]) -> list[WarmReport]:
    """Make the images of a post: a report for photos and one for link cards, if it has any.

    did: the author, in whose repo the record is. record: as it was sent to createRecord.

    What cannot be made is logged and left alone: the first request for it tries again, and has the error to show.
    """
    pictures = list(pictures_of(record.get("embed")))
    reports = []
    for presets in (PHOTO_PRESETS, CARD_PRESETS):
        items = [(did, cid) for cid, its_presets in pictures if its_presets == presets]
        if items:
            report = images.warm(items, presets=presets)
            for failure in report.failures:
                log.warning("%s of %s is not warmed: %s", failure.cid, failure.did, failure.error)
            reports.append(report)
    return reports


def pictures_of(embed: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The CIDs of an embed's pictures, each with the presets that it is shown in. A video is none.

    Records come from strangers too, so nothing is taken for granted.
    """
    if not isinstance(embed, Mapping):
        return
    kind = embed.get("$type")
    if kind == "app.bsky.embed.images":
        for each in embed.get("images") or ():
            yield from _picture(each, "image", PHOTO_PRESETS)
    elif kind == "app.bsky.embed.external":
        yield from _picture(embed.get("external"), "thumb", CARD_PRESETS)
    elif kind == "app.bsky.embed.recordWithMedia":
        media = embed.get("media")
        if isinstance(media, Mapping) and media.get("$type") != kind:
            yield from pictures_of(media)


def _picture(holder: Any, name: str, presets: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    blob_ref = holder.get(name) if isinstance(holder, Mapping) else None
    try:
        cid = cid_of(blob_ref)
    except InvalidCIDError as error:
        log.info("no picture in %r: %s", blob_ref, error)
    else:
        if cid:  # a link card without a picture has none
            yield cid, presets


def main() -> None:
    logging.basicConfig()
    photo, _, portrait, *_ = drawn_photos()
    with LocalPDS() as pds, create_service(pds.service_config(cache_path="cache")) as images:
        did = pds.create_account()
        blobs = [
            {"$type": "blob", "ref": {"$link": pds.add_blob(did, each.data)}, "mimeType": each.content_type, "size": 1}
            for each in (photo, portrait)
        ]
        record = {
            "$type": "app.bsky.feed.post",
            "text": "Two photos",
            "createdAt": "2026-01-01T00:00:00Z",
            "embed": {"$type": "app.bsky.embed.images", "images": [{"alt": "", "image": blob} for blob in blobs]},
        }
        for report in warm_post(images, did, record):
            print("made:", report.made, "of", report.done)
        print("the first request:", images.get("content_preview", did, cid_of(blobs[0])).source)


if __name__ == "__main__":
    main()
