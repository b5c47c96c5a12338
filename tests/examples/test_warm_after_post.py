from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from imageproxy import compute_cid, create_service
from imageproxy.testing import DrawnPhoto, LocalPDS

PHOTO, OTHER, THUMB = (compute_cid(data) for data in (b"photo", b"other", b"thumb"))


@pytest.fixture
def example(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("warm_after_post")


def blob(cid: str) -> dict[str, Any]:
    return {"$type": "blob", "ref": {"$link": cid}, "mimeType": "image/jpeg", "size": 1}


IMAGES = {
    "$type": "app.bsky.embed.images",
    "images": [{"alt": "", "image": blob(PHOTO)}, {"alt": "", "image": {"cid": OTHER, "mimeType": "image/png"}}],
}
CARD = {"$type": "app.bsky.embed.external", "external": {"uri": "https://example.com", "thumb": blob(THUMB)}}


@pytest.mark.parametrize(
    ("embed", "cids"),
    [
        (IMAGES, [PHOTO, OTHER]),
        (CARD, [THUMB]),
        ({"$type": "app.bsky.embed.recordWithMedia", "record": {}, "media": IMAGES}, [PHOTO, OTHER]),
        ({"$type": "app.bsky.embed.recordWithMedia", "record": {}, "media": CARD}, [THUMB]),
        ({"$type": "app.bsky.embed.external", "external": {"uri": "https://example.com"}}, []),
        ({"$type": "app.bsky.embed.video", "video": blob(PHOTO)}, []),
        ({"$type": "app.bsky.embed.record", "record": {}}, []),
        (None, []),
        ("what strangers write", []),
        ({"$type": "app.bsky.embed.images", "images": None}, []),
        (
            {"$type": "app.bsky.embed.images", "images": ["nothing", {"image": {"ref": 7}}, {"image": blob(PHOTO)}]},
            [PHOTO],
        ),
        ({"$type": "app.bsky.embed.recordWithMedia", "media": {"$type": "app.bsky.embed.recordWithMedia"}}, []),
        ({"$type": "app.bsky.embed.recordWithMedia"}, []),
    ],
)
def test_the_pictures_of_each_kind_of_embed_are_found(example: ModuleType, embed: object, cids: list[str]) -> None:
    assert [cid for cid, _ in example.pictures_of(embed)] == cids


def test_what_the_app_shows_is_there_before_it_is_asked_for(
    example: ModuleType, pds: LocalPDS, photo: DrawnPhoto, tmp_path: Path
) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, photo.data, content_type=photo.content_type)
    media = {"$type": "app.bsky.embed.images", "images": [{"alt": "", "image": blob(each)} for each in (cid, PHOTO)]}
    with create_service(pds.service_config(cache_path=tmp_path)) as images:
        (report,) = example.warm_post(
            images, did, {"embed": {"$type": "app.bsky.embed.recordWithMedia", "media": media}}
        )
        assert (report.made, len(report.failures)) == (2, 2)
        for preset in ("content_preview", "content_full"):
            assert images.get_cached(preset, did, cid) is not None
        assert images.get_cached("avatar", did, cid) is None
        assert example.warm_post(images, did, {"text": "no picture"}) == []
    assert len(pds.blob_requests) == 2  # one for each blob, whatever the presets


def test_the_example_runs(run_example: Callable[[str], str]) -> None:
    assert run_example("warm_after_post").splitlines() == ["made: 4 of 4", "the first request: cache"]
