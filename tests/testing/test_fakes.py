from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image as PILImage

from imageproxy.config import Config
from imageproxy.errors import (
    BlobBlockedError,
    DIDNotFoundError,
    DIDResolutionError,
    PDSFetchError,
    PDSNotFoundError,
    PDSTimeoutError,
    ProcessingError,
)
from imageproxy.events import Event
from imageproxy.presets import FitMode, Preset, PresetRegistry, get_preset
from imageproxy.protocols import (
    BlobPolicy,
    Cache,
    CacheKey,
    Fetcher,
    Observer,
    Processor,
    Resolver,
    SupportsInvalidate,
    SupportsVersion,
)
from imageproxy.testing import (
    FAKE_IMAGE,
    FAKE_PDS_URL,
    FakeCache,
    FakeFetcher,
    FakePolicy,
    FakeProcessor,
    FakeResolver,
    FetchCall,
    PolicyCall,
    ProcessCall,
    PurgeCall,
    RecordingObserver,
    ResolveCall,
    fake_service,
)

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
OTHER = "did:web:example.com"
CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
KEY = CacheKey("avatar-1", DID, CID, "image/jpeg")
AVATAR = get_preset("avatar")


def opened_gate() -> threading.Event:
    gate = threading.Event()
    gate.set()
    return gate


def test_each_fake_is_the_backend_it_stands_for() -> None:
    assert isinstance(FakeCache(), Cache)
    assert isinstance(FakeFetcher(), Fetcher)
    assert isinstance(FakeProcessor(), Processor)
    assert isinstance(FakeProcessor(), SupportsVersion)
    assert isinstance(FakeResolver(), Resolver)
    assert isinstance(FakeResolver(), SupportsInvalidate)
    assert isinstance(FakePolicy(), BlobPolicy)
    assert isinstance(RecordingObserver(), Observer)


# FakeCache


def test_cache_gives_back_what_was_set_and_tells_the_calls() -> None:
    cache = FakeCache()
    assert cache.get(KEY) is None

    cache.set(KEY, b"1")
    cache.set(KEY, b"2")

    assert cache.get(KEY) == b"2"
    assert cache.entries == {KEY: b"2"}
    assert cache.reads == [KEY, KEY]
    assert cache.writes == [KEY, KEY]


def test_cache_purges_a_blob_in_every_variant_or_an_owner() -> None:
    cache = FakeCache()
    small, other_blob, other_owner = KEY._replace(preset="x-2"), KEY._replace(cid="otherblob"), KEY._replace(did=OTHER)
    cache.entries.update(dict.fromkeys([KEY, small, other_blob, other_owner], b""))

    assert cache.purge(DID, CID) == 2
    assert list(cache.entries) == [other_blob, other_owner]
    assert cache.purge(DID) == 1
    assert list(cache.entries) == [other_owner]
    assert cache.purges == [PurgeCall(DID, CID), PurgeCall(DID, None)]


def test_cache_fails_as_told_until_told_otherwise() -> None:
    cache = FakeCache()
    cache.set(KEY, b"1")
    cache.fail_reads, cache.fail_writes, cache.fail_purges = OSError(5, "read"), OSError(28, "full"), OSError("purge")

    with pytest.raises(OSError, match="read") as failed:
        cache.get(KEY)
    assert failed.value.errno == 5
    with pytest.raises(OSError, match="full"):
        cache.set(KEY, b"2")
    with pytest.raises(OSError, match="purge"):
        cache.purge(DID)

    cache.fail_reads = None
    assert cache.get(KEY) == b"1"


# FakeFetcher


def test_fetcher_without_a_table_answers_every_blob_with_a_real_image() -> None:
    fetcher = FakeFetcher()

    data = fetcher.fetch(FAKE_PDS_URL, DID, CID, timeout=3.0)

    assert data == FAKE_IMAGE
    assert PILImage.open(io.BytesIO(data)).size == (4, 3)
    assert fetcher.calls == [FetchCall(FAKE_PDS_URL, DID, CID, 3.0)]


def test_fetcher_answers_by_owner_and_cid_before_cid_alone() -> None:
    fetcher = FakeFetcher({(DID, CID): b"mine", CID: b"anyone's"})

    assert fetcher.fetch("", DID, CID) == b"mine"
    assert fetcher.fetch("", OTHER, CID) == b"anyone's"


def test_fetcher_with_a_table_has_no_other_blob() -> None:
    with pytest.raises(PDSNotFoundError) as failed:
        FakeFetcher({}).fetch("https://pds.test", DID, CID)

    error = failed.value
    assert (error.reason, error.pds_url, error.did, error.cid) == ("blob_not_found", "https://pds.test", DID, CID)


def test_fetcher_raises_the_error_in_its_table_anew_each_time() -> None:
    planned = PDSFetchError("bad gateway", pds_url="https://pds.test", status=502)
    fetcher = FakeFetcher({CID: planned})
    raised = []
    for _ in range(2):
        with pytest.raises(PDSFetchError, match="bad gateway") as failed:
            fetcher.fetch("", DID, CID)
        raised.append(failed.value)

    assert [error.status for error in raised] == [502, 502]
    assert raised[0] is not raised[1]
    assert planned.__traceback__ is None


def test_error_that_cannot_be_copied_is_raised_itself() -> None:
    class OddError(Exception):
        def __init__(self, one: str, two: str) -> None:
            super().__init__(one + two)

    planned = OddError("1", "2")
    with pytest.raises(OddError) as failed:
        FakeFetcher(error=planned).fetch("", DID, CID)
    assert failed.value is planned


def test_gate_that_stays_shut_is_a_timeout() -> None:
    with pytest.raises(PDSTimeoutError) as failed:
        FakeFetcher(gate=threading.Event()).fetch("", DID, CID, timeout=0.001)
    assert failed.value.timeout == 0.001

    with pytest.raises(DIDResolutionError, match="gate"):
        FakeResolver(gate=threading.Event()).resolve(DID, timeout=0.001)


def test_gate_of_a_processor_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imageproxy.testing.fakes._GATE_SECONDS", 0.001)

    with pytest.raises(ProcessingError, match="gate"):
        FakeProcessor(gate=threading.Event()).process(b"", AVATAR)


def test_test_can_wait_for_a_call_and_then_let_it_go() -> None:
    gate = threading.Event()
    fetcher = FakeFetcher(gate=gate)
    with ThreadPoolExecutor(1) as pool:
        fetch = pool.submit(fetcher.fetch, "", DID, CID)
        fetcher.wait_for_calls(1)
        assert not fetch.done()
        gate.set()
        assert fetch.result(timeout=10) == FAKE_IMAGE


def test_waiting_for_a_call_that_does_not_come_fails() -> None:
    with pytest.raises(AssertionError, match="call 1 did not come"):
        FakeFetcher().wait_for_calls(timeout=0.001)


def test_calls_from_many_threads_are_all_told() -> None:
    fetcher = FakeFetcher()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: fetcher.fetch("", DID, f"blob{number:04}"), range(400)))

    assert sorted(call.cid for call in fetcher.calls) == [f"blob{number:04}" for number in range(400)]


# FakeProcessor


def test_processor_tells_preset_and_input() -> None:
    processor = FakeProcessor()

    assert processor.process(b"data", AVATAR) == b"avatar:data"
    assert processor.process(b"data", AVATAR.with_format("webp")) == b"avatar@webp:data"
    assert processor.calls[0] == ProcessCall(b"data", AVATAR)


def test_processor_fails_as_told() -> None:
    processor = FakeProcessor(error=ProcessingError("broken"), gate=opened_gate())
    with pytest.raises(ProcessingError, match="broken"):
        processor.process(b"", AVATAR)

    processor.error = None
    assert processor.process(b"", AVATAR) == b"avatar:"


# FakeResolver


def test_resolver_without_a_table_has_every_account_at_one_place() -> None:
    resolver = FakeResolver()

    assert resolver.resolve(DID, timeout=2.0) == FAKE_PDS_URL
    assert FakeResolver(default="https://other.test").resolve(DID) == "https://other.test"
    assert resolver.calls == [ResolveCall(DID, 2.0)]


def test_resolver_with_a_table_knows_no_other_did() -> None:
    resolver = FakeResolver({DID: "https://a.test", OTHER: DIDResolutionError("down")})

    assert resolver.resolve(DID) == "https://a.test"
    with pytest.raises(DIDResolutionError, match="down"):
        resolver.resolve(OTHER)
    with pytest.raises(DIDNotFoundError):
        resolver.resolve("did:web:nobody.test")


def test_resolver_with_a_table_and_a_default_knows_all() -> None:
    resolver = FakeResolver({DID: "https://a.test"}, default="https://b.test")

    assert (resolver.resolve(DID), resolver.resolve(OTHER)) == ("https://a.test", "https://b.test")


def test_resolver_fails_as_told_and_notes_what_to_forget() -> None:
    resolver = FakeResolver(error=DIDResolutionError("down"))
    with pytest.raises(DIDResolutionError, match="down"):
        resolver.resolve(DID)

    resolver.invalidate(DID)

    assert resolver.invalidated == [DID]


# FakePolicy, RecordingObserver


def test_policy_blocks_accounts_and_single_blobs() -> None:
    policy = FakePolicy({OTHER, (DID, CID)})

    assert policy.is_blocked(DID, CID)
    assert not policy.is_blocked(DID, "otherblob")
    assert policy.is_blocked(OTHER, "otherblob")
    assert policy.calls[0] == PolicyCall(DID, CID)

    policy.blocked.clear()
    assert not policy.is_blocked(OTHER, CID)


def test_policy_fails_as_told() -> None:
    with pytest.raises(BlobBlockedError) as failed:
        FakePolicy(error=BlobBlockedError(reason="court order", status=451)).is_blocked(DID, CID)
    assert (failed.value.reason, failed.value.status) == ("court order", 451)


def test_observer_keeps_events_and_can_be_waited_for() -> None:
    observer = RecordingObserver()
    hit, written = Event(name="hit", did=DID), Event(name="cache_written", did=DID)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(observer.wait_for, "cache_written")
        observer.on_event(hit)
        observer.on_event(written)
        waiting.result(timeout=10)

    assert observer.events == [hit, written]
    assert observer.names == ["hit", "cache_written"]
    with pytest.raises(AssertionError, match="'hit' number 2"):
        observer.wait_for("hit", 2, timeout=0.001)


# fake_service


def test_fake_service_works_out_of_the_box() -> None:
    with fake_service() as images:
        assert images.get_image("avatar", DID, CID) == b"avatar:" + FAKE_IMAGE
        assert images.get("avatar", DID, CID).source == "cache"


def test_fake_service_takes_any_part_of_the_tests_own() -> None:
    cache, fetcher, observer = FakeCache(), FakeFetcher({CID: b"blob"}), RecordingObserver()
    processor, resolver = FakeProcessor(version="7"), FakeResolver(default="https://elsewhere.test")
    policy = FakePolicy([(OTHER, CID)])
    presets = PresetRegistry([Preset("tiny", 16, 16, FitMode.COVER, 80)])
    with fake_service(
        cache=cache,
        processor=processor,
        fetcher=fetcher,
        resolver=resolver,
        policy=policy,
        presets=presets,
        observers=[observer],
        config=Config(base_url="https://app.test"),
    ) as images:
        assert images.get_image("tiny", DID, CID) == b"tiny:blob"
        with pytest.raises(BlobBlockedError):
            images.get_image("tiny", OTHER, CID)
        assert images.flush(10)
        assert images.url_for("tiny", DID, CID).startswith("https://app.test/img/tiny/")

    assert fetcher.calls[0].pds_url == "https://elsewhere.test"
    assert list(cache.entries.values()) == [b"tiny:blob"]
    observer.wait_for("cache_written")
    assert "7" in cache.writes[0].preset


def test_fake_service_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with fake_service() as images:
        images.get_image("avatar", DID, CID)

    assert set(threading.enumerate()) == before


def test_example_of_the_module_joins_ten_callers() -> None:
    gate = threading.Event()
    fetcher = FakeFetcher(gate=gate)
    with fake_service(fetcher=fetcher) as images, ThreadPoolExecutor(10) as pool:
        calls = [pool.submit(images.get_image, "avatar", DID, CID) for _ in range(10)]
        fetcher.wait_for_calls(1)
        gate.set()
        assert {call.result(timeout=10) for call in calls} == {b"avatar:" + FAKE_IMAGE}

    assert len(fetcher.calls) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_fake_in_a_child_does_not_wait_for_a_lock_of_the_parent() -> None:
    script = """
import os, threading
from imageproxy.testing import FakeFetcher
fetcher = FakeFetcher()
with fetcher._changed:
    child = os.fork()
    if child == 0:
        taken = threading.Thread(target=fetcher.fetch, args=("", "did:web:a.test", "blob0001"), daemon=True)
        taken.start()
        taken.join(10)
        os._exit(len(fetcher.calls))
_, status = os.waitpid(child, 0)
raise SystemExit(os.waitstatus_to_exitcode(status))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 1
