"""Making images ahead of the first request."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from imageproxy import (
    DEFAULT,
    Config,
    InvalidCIDError,
    InvalidPresetError,
    PDSNotFoundError,
    ServiceClosedError,
    WarmReport,
)
from imageproxy.testing import FakeCache, FakeFetcher, FakePolicy, fake_service

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CIDS = [f"bafkreimadeup{number}" for number in range(100)]


def test_warming_fetches_each_blob_once_for_all_presets() -> None:
    cache, fetcher = FakeCache(), FakeFetcher()
    with fake_service(cache=cache, fetcher=fetcher) as images:
        report = images.warm((DID, cid) for cid in CIDS)
        assert images.flush(20)
    assert report == WarmReport(made=600)
    assert report.done == 600
    assert len(fetcher.calls) == 100
    assert len(cache.entries) == 600


def test_what_is_cached_is_not_made_again() -> None:
    fetcher = FakeFetcher()
    with fake_service(fetcher=fetcher) as images:
        images.get_image("avatar", DID, CIDS[0])
        report = images.warm([(DID, CIDS[0])], presets=["avatar", DEFAULT.get("banner")])
    assert report == WarmReport(made=1, cached=1)


def test_errors_are_collected_with_the_image_that_they_belong_to() -> None:
    fetcher = FakeFetcher({CIDS[0]: b"blob"})
    policy = FakePolicy({(DID, CIDS[3])})
    with fake_service(fetcher=fetcher, policy=policy) as images:
        report = images.warm([(DID, cid) for cid in (CIDS[0], CIDS[1], "bad", CIDS[3])], presets=["avatar"])
    assert report.made == 1
    assert {(failure.preset, failure.cid, type(failure.error).__name__) for failure in report.failures} == {
        ("avatar", CIDS[1], "PDSNotFoundError"),
        ("avatar", "bad", "InvalidCIDError"),
        ("avatar", CIDS[3], "BlobBlockedError"),
    }
    by_cid = {failure.cid: failure.error for failure in report.failures}
    assert isinstance(by_cid[CIDS[1]], PDSNotFoundError)
    assert isinstance(by_cid["bad"], InvalidCIDError)


def test_progress_is_told_after_each_image() -> None:
    seen: list[int] = []
    with fake_service() as images:
        images.warm([(DID, cid) for cid in CIDS[:10]], on_progress=lambda report: seen.append(report.done))
    assert seen == list(range(1, 61))


def test_a_wrong_preset_is_refused_before_anything_is_done() -> None:
    fetcher = FakeFetcher()
    with fake_service(fetcher=fetcher) as images, pytest.raises(InvalidPresetError):
        images.warm([(DID, CIDS[0])], presets=["nope"])
    assert not fetcher.calls


def test_warming_waits_for_room_instead_of_failing() -> None:
    with fake_service(config=Config(max_flights=6)) as images:
        assert images.warm((DID, cid) for cid in CIDS[:20]) == WarmReport(made=120)


def test_where_there_is_never_room_for_all_presets_at_once_they_take_turns() -> None:
    with fake_service(config=Config(max_flights=2)) as images:
        assert images.warm([(DID, CIDS[0])]) == WarmReport(made=6)


def test_where_there_is_no_room_at_all_it_says_so() -> None:
    gate = threading.Event()
    fetcher = FakeFetcher(gate=gate)
    with fake_service(fetcher=fetcher, config=Config(max_flights=1)) as images, ThreadPoolExecutor(1) as pool:
        other = pool.submit(images.get_image, "avatar", DID, CIDS[1])
        fetcher.wait_for_calls(1)
        report = images.warm([(DID, CIDS[0])])
        gate.set()
        other.result(20)
    assert len(report.failures) == 6
    assert all("images are under way" in str(failure.error) for failure in report.failures)


def test_one_preset_may_be_named_alone() -> None:
    with fake_service() as images:
        assert images.warm([(DID, CIDS[0])], presets="avatar") == WarmReport(made=1)


def test_a_closed_service_warms_nothing() -> None:
    images = fake_service()
    images.close()
    with pytest.raises(ServiceClosedError):
        images.warm([(DID, CIDS[0])])


def test_an_error_of_the_items_leaves_nothing_behind() -> None:
    def items() -> Iterator[tuple[str, str]]:
        yield DID, CIDS[0]
        raise RuntimeError("the database went away")

    with fake_service() as images:
        with pytest.raises(RuntimeError, match="database"):
            images.warm(items())
        assert images.flush(20)
    assert images.stats().flights == 0
