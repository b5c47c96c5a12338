"""How to test an app that shows images: no network, no disk, no waiting.

pip install atproto-imageproxy pytest
pytest examples/test_my_app.py
"""
# ruff: noqa: S101 - pytest's way to say what is expected

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from imageproxy import ImageProxyError, PDSTimeoutError, Service, cid_of, compute_cid, create_service
from imageproxy.testing import FakeFetcher, FakePolicy, LocalPDS, RecordingObserver, drawn_photos, fake_service

# The app.

PLACEHOLDER = b"a grey circle"


def avatar_of(images: Service, did: str, profile: Mapping[str, Any]) -> bytes:
    """The avatar of a profile, or a grey circle: a page never fails for want of a picture."""
    cid = cid_of(profile.get("avatar"))
    if not cid:
        return PLACEHOLDER
    try:
        return images.get_image("avatar_small", did, cid, timeout=2)
    except ImageProxyError:
        return PLACEHOLDER


# Its tests.

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
BLOB = b"a blob"  # a fake processor reads anything
CID = compute_cid(BLOB)
PROFILE = {"avatar": {"$type": "blob", "ref": {"$link": CID}, "mimeType": "image/jpeg", "size": len(BLOB)}}


def test_the_avatar_is_shown() -> None:
    with fake_service(fetcher=FakeFetcher({CID: BLOB})) as images:
        assert avatar_of(images, DID, PROFILE) == b"avatar_small:a blob"


def test_an_account_without_an_avatar_costs_nothing() -> None:
    fetcher = FakeFetcher()
    with fake_service(fetcher=fetcher) as images:
        assert avatar_of(images, DID, {}) == PLACEHOLDER
    assert fetcher.calls == []


@pytest.mark.parametrize(
    "fetcher", [FakeFetcher({}), FakeFetcher(error=PDSTimeoutError("too slow")), FakeFetcher(error=OSError("broken"))]
)
def test_a_pds_in_trouble_is_no_trouble_of_ours(fetcher: FakeFetcher) -> None:
    with fake_service(fetcher=fetcher) as images:
        assert avatar_of(images, DID, PROFILE) == PLACEHOLDER


def test_who_is_blocked_has_no_face() -> None:
    with fake_service(policy=FakePolicy({DID})) as images:
        assert avatar_of(images, DID, PROFILE) == PLACEHOLDER


def test_a_full_page_asks_the_pds_once() -> None:
    gate = threading.Event()
    fetcher, observer = FakeFetcher(gate=gate), RecordingObserver()
    with fake_service(fetcher=fetcher, observers=[observer]) as images, ThreadPoolExecutor(10) as pool:
        avatars = [pool.submit(avatar_of, images, DID, PROFILE) for _ in range(10)]
        observer.wait_for("coalesced", 9)  # one is fetching, nine have joined it
        gate.set()
        assert len({avatar.result() for avatar in avatars}) == 1
    assert len(fetcher.calls) == 1


def test_it_works_over_real_http_with_a_real_photo(tmp_path: Path) -> None:
    photo = drawn_photos()[0]
    with LocalPDS() as pds, create_service(pds.service_config(cache_path=tmp_path)) as images:
        did = pds.create_account()
        profile = {"avatar": {"cid": pds.add_blob(did, photo.data), "mimeType": photo.content_type}}
        assert avatar_of(images, did, profile).startswith(b"\xff\xd8"), "a JPEG"
        pds.set_account_status(did, "takendown")
        images.purge(did)
        assert avatar_of(images, did, profile) == PLACEHOLDER
