from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from imageproxy import BlobBlockedError, PolicyError, Service, create_service
from imageproxy.policies import CachedPolicy
from imageproxy.testing import DrawnPhoto, FakeFetcher, LocalPDS, fake_service

DID = "did:web:example.com"
CID = "bafkreimadeupcid"


class App(NamedTuple):
    images: Service
    moderation: Any
    did: str
    cid: str


@pytest.fixture
def example(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("moderation")


@pytest.fixture
def table(example: ModuleType, tmp_path: Path) -> Any:
    return example.TakedownTable(tmp_path / "takedowns.sqlite")


@pytest.fixture
def app(example: ModuleType, table: Any, pds: LocalPDS, photo: DrawnPhoto, tmp_path: Path) -> Iterator[App]:
    policy = CachedPolicy(table, ttl_seconds=3600)
    with create_service(pds.service_config(cache_path=tmp_path / "cache"), policy=policy) as images:
        did = pds.create_account()
        cid = pds.add_blob(did, photo.data, content_type=photo.content_type)
        yield App(images, example.Moderation(table, policy, images), did, cid)


def test_what_is_taken_down_is_refused_and_erased_at_once(app: App, pds: LocalPDS) -> None:
    app.images.get_image("avatar", app.did, app.cid)
    report = app.moderation.take_down(app.did, app.cid, "court order", status=451)
    assert (report.entries, report.is_complete) == (1, True)
    with pytest.raises(BlobBlockedError) as caught:
        app.images.get_image("avatar", app.did, app.cid)
    assert (caught.value.reason, caught.value.status) == ("court order", 451)
    assert len(pds.blob_requests) == 1


def test_what_is_reinstated_is_shown_at_once(app: App) -> None:
    app.moderation.take_down(app.did, app.cid, "a mistake")
    app.moderation.reinstate(app.did, app.cid)
    assert app.images.get("avatar", app.did, app.cid).source == "fetch"


def test_a_takedown_that_comes_during_the_fetch_wins(app: App, pds: LocalPDS) -> None:
    failures: list[BaseException] = []

    def ask() -> None:
        with pytest.raises(BlobBlockedError) as caught:
            app.images.get_image("avatar", app.did, app.cid)
        failures.append(caught.value)

    pds.hold()
    waiting = threading.Thread(target=ask)
    waiting.start()
    pds.wait_for_requests(2)  # of the DID, and of the blob
    app.moderation.take_down(app.did, app.cid, "spam")
    pds.release()
    waiting.join()
    assert len(failures) == 1
    app.moderation.reinstate(app.did, app.cid)
    assert app.images.get_cached("avatar", app.did, app.cid) is None


def test_an_account_is_taken_down_whole_and_a_blob_has_its_own_reason(app: App, table: Any) -> None:
    app.moderation.take_down(app.did, None, "spam")
    with pytest.raises(BlobBlockedError) as caught:
        app.images.get_image("avatar", app.did, app.cid)
    assert (caught.value.reason, caught.value.status) == ("spam", 410)
    app.moderation.take_down(app.did, app.cid, "court order", status=451)
    with pytest.raises(BlobBlockedError) as caught:
        app.images.get_image("avatar", app.did, app.cid)
    assert caught.value.reason == "court order"
    app.moderation.reinstate(app.did, None)
    assert table.is_blocked(app.did, CID) is False


def test_the_spelling_of_a_did_web_is_no_way_around(example: ModuleType, table: Any) -> None:
    policy = CachedPolicy(table, ttl_seconds=3600)
    with fake_service(fetcher=FakeFetcher({CID: b"blob"}), policy=policy) as images:
        images.get_image("avatar", "did:web:Example.com", CID)
        example.Moderation(table, policy, images).take_down("did:web:EXAMPLE.com", CID, "spam")
        for did in (DID, "did:web:Example.com", "did:web:EXAMPLE.com"):
            with pytest.raises(BlobBlockedError):
                images.get_image("avatar", did, CID)


def test_a_database_that_is_gone_shows_nothing(table: Any, tmp_path: Path) -> None:
    (tmp_path / "takedowns.sqlite").write_bytes(b"no database" * 1000)
    with fake_service(policy=CachedPolicy(table, ttl_seconds=3600)) as images:
        with pytest.raises(PolicyError) as caught:
            images.get_image("avatar", DID, CID)
        assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)


def test_the_example_runs(run_example: Callable[[str], str]) -> None:
    assert run_example("moderation").splitlines() == [
        "shown: fetch",
        "erased: 1",
        "refused: 451 court order 12/26",
        "shown again: fetch",
    ]
