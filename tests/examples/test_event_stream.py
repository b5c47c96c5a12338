"""Over a real websocket: frames as the specification writes them (atproto.com/specs/event-stream), in DAG-CBOR."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import libipld
import pytest
from atproto import models
from websockets.sync.server import ServerConnection, serve

from imageproxy import Config, DiskCache, PDSNotFoundError, create_service
from imageproxy.testing import DrawnPhoto, FakeCache, FakeResolver, LocalPDS, fake_service

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
OTHER_DID = "did:plc:z72i7hdynmk6r22z27h6tvur"
CID = "bafkreimadeupcid"
TIME = "2026-01-01T00:00:00.000Z"
Run = Callable[..., str]


@pytest.fixture
def example(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("event_stream")


def frame(kind: str, **body: Any) -> bytes:
    return bytes(libipld.encode_dag_cbor({"op": 1, "t": kind}) + libipld.encode_dag_cbor({"time": TIME, **body}))


@contextmanager
def relay(*frames: bytes) -> Iterator[tuple[str, list[str]]]:
    """A relay that sends these and says goodbye. Gives its URL, and the paths that it was asked for."""
    paths: list[str] = []

    def answer(connection: ServerConnection) -> None:
        assert connection.request is not None
        paths.append(connection.request.path)
        for each in frames:
            connection.send(each)

    with serve(answer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}", paths
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", ["takendown", "suspended", "deleted", "deactivated", "one of next year", None])
def test_an_account_that_is_gone_is_erased(example: ModuleType, status: str | None) -> None:
    with fake_service() as images:
        for did in (DID, OTHER_DID):
            images.get_image("avatar", did, CID)
        example.StreamHandler(images).on_event("#account", {"did": DID, "active": False, "status": status})
        assert images.get_cached("avatar", DID, CID) is None
        assert images.get_cached("avatar", OTHER_DID, CID) is not None


@pytest.mark.parametrize(
    ("active", "status"), [(True, None), (False, "desynchronized"), (False, "throttled"), (True, "throttled")]
)
def test_an_account_that_is_not_gone_is_left_alone(example: ModuleType, active: bool, status: str | None) -> None:
    with fake_service() as images:
        images.get_image("avatar", DID, CID)
        example.StreamHandler(images).on_event("#account", {"did": DID, "active": active, "status": status})
        assert images.get_cached("avatar", DID, CID) is not None


def test_an_account_that_moved_is_looked_up_afresh(
    example: ModuleType, pds: LocalPDS, photos: tuple[DrawnPhoto, ...], tmp_path: Path
) -> None:
    before, after = photos[0], photos[-1]
    with create_service(pds.service_config(cache_path=tmp_path)) as images, LocalPDS() as new_pds:
        did = pds.create_account()
        images.get_image("avatar", did, pds.add_blob(did, before.data))
        new_pds.create_account(did)
        cid = new_pds.add_blob(did, after.data)  # which the old PDS has not
        pds.move_account(did, new_pds.url)
        example.StreamHandler(images).on_event("#identity", {"did": did})
        assert images.get("avatar", did, cid).source == "fetch"


def test_an_account_that_is_back_is_shown_at_once(
    example: ModuleType, pds: LocalPDS, photo: DrawnPhoto, tmp_path: Path
) -> None:
    with create_service(pds.service_config(cache_path=tmp_path)) as images:
        did = pds.create_account()
        cid = pds.add_blob(did, photo.data)
        pds.set_account_status(did, "deactivated")
        for _ in range(2):  # the second time as remembered
            with pytest.raises(PDSNotFoundError):
                images.get_image("avatar", did, cid)
        pds.set_account_status(did, "active")
        example.StreamHandler(images).on_event("#account", {"did": did, "active": True})
        assert images.get("avatar", did, cid).source == "fetch"


def test_a_purge_that_failed_is_tried_again(example: ModuleType) -> None:
    cache = FakeCache()
    with fake_service(cache=cache) as images:
        images.get_image("avatar", DID, CID)
        images.flush()
        cache.fail_purges = OSError("the disk is away")
        handler = example.StreamHandler(images)
        handler.on_event("#account", {"did": DID, "active": False, "status": "deleted"})
        handler.retry()
        assert handler.unfinished == {DID}
        cache.fail_purges = None
        handler.retry()
        assert handler.unfinished == set()
        assert images.get_cached("avatar", DID, CID) is None


def test_the_models_of_the_sdk_will_do_too(example: ModuleType) -> None:
    resolver = FakeResolver()
    event = models.ComAtprotoSyncSubscribeRepos.Identity(did=DID, seq=1, time=TIME)
    with fake_service(resolver=resolver) as images:
        example.StreamHandler(images).on_event("#identity", event.model_dump())
    assert resolver.invalidated == [DID]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("#account", {"did": "nobody", "active": False}),
        ("#account", {"did": DID}),
        ("#identity", {}),
        ("#info", {"name": "OutdatedCursor", "message": "some events are missing"}),
    ],
)
def test_what_makes_no_sense_is_told_and_stops_nothing(
    example: ModuleType, kind: str, body: Mapping[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with fake_service() as images, caplog.at_level(logging.WARNING, "event_stream"):
        example.StreamHandler(images).on_event(kind, body)
    assert len(caplog.records) == 1


def test_the_example_follows_a_relay(run_example: Run, pds: LocalPDS, photo: DrawnPhoto, tmp_path: Path) -> None:
    gone, active = pds.create_account(), pds.create_account()
    config = pds.service_config(cache_path=tmp_path / "cache")
    with create_service(config) as images:
        for did in (gone, active):
            images.get_image("avatar", did, pds.add_blob(did, photo.data))
    frames = [
        frame("#identity", did=active, seq=11),
        frame("#account", did=gone, seq=12, active=False, status="deleted"),
        frame("#something-new", seq=13),
        frame("#account", did=active, seq=14, active=True),
    ]
    (tmp_path / "cursor").write_text("10")
    with relay(*frames) as (url, paths):
        run_example("event_stream", url, IMAGE_PROXY_CACHE_PATH=str(config.cache_path))
    assert paths == ["/xrpc/com.atproto.sync.subscribeRepos?cursor=10"]
    assert (tmp_path / "cursor").read_text() == "14"
    assert DiskCache(config.cache_path).purge(gone) == 0
    assert DiskCache(config.cache_path).purge(active) == 1


def test_a_first_run_begins_with_what_is_new(example: ModuleType, tmp_path: Path) -> None:
    with fake_service(config=Config()) as images, relay(frame("#account", did=DID, seq=3, active=True)) as (url, paths):
        example.follow(url, images, tmp_path / "cursor")
    assert paths == ["/xrpc/com.atproto.sync.subscribeRepos"]
    assert (tmp_path / "cursor").read_text() == "3"


def test_a_relay_that_says_nothing_leaves_no_cursor(example: ModuleType, tmp_path: Path) -> None:
    with fake_service() as images, relay() as (url, _):
        example.follow(url, images, tmp_path / "cursor")
    assert not (tmp_path / "cursor").exists()
