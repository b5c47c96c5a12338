"""The steps of the pipeline, one by one, with fakes for the backends: what the Go original's service does, and more."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from imageproxy import (
    DEFAULT,
    BlobBlockedError,
    CacheKey,
    Config,
    ConfigError,
    DIDNotFoundError,
    DIDResolutionError,
    Event,
    FitMode,
    ImageTooLargeError,
    InvalidCIDError,
    InvalidDIDError,
    InvalidPresetError,
    InvalidRequestError,
    NilDependencyError,
    PDSFetchError,
    PDSNotFoundError,
    PolicyError,
    Preset,
    PresetRegistry,
    ProcessingError,
    PurgeReport,
    Service,
    ServiceClosedError,
    UnsupportedFormatError,
    cache_write_error_count,
    compute_cid,
)
from imageproxy.testing import (
    FAKE_IMAGE,
    FAKE_PDS_URL,
    FakeCache,
    FakeFetcher,
    FakePolicy,
    FakeProcessor,
    FakeResolver,
    RecordingObserver,
    fake_service,
)

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = compute_cid(FAKE_IMAGE)
AVATAR = b"avatar:" + FAKE_IMAGE
AVATAR_KEY = CacheKey(DEFAULT.get("avatar").key + "+fake", DID, CID, "image/jpeg")


# Made


@pytest.mark.parametrize("missing", ["cache", "processor", "fetcher"])
def test_a_missing_dependency_is_named(missing: str) -> None:
    backends: dict[str, Any] = {"cache": FakeCache(), "processor": FakeProcessor(), "fetcher": FakeFetcher()}
    with pytest.raises(NilDependencyError, match=missing) as caught:
        Service(**{**backends, missing: None})
    assert caught.value.dependency == missing


def test_presets_that_are_no_registry_are_refused_where_the_service_is_made() -> None:
    with pytest.raises(ConfigError, match="presets"):
        fake_service(presets=[DEFAULT.get("avatar")])  # type: ignore[arg-type]


def test_a_processor_version_that_cannot_be_in_a_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="version"):
        fake_service(processor=FakeProcessor(version="a/b"))


# Validation


@pytest.mark.parametrize("preset", ["", "nope", "AVATAR", None, 5, ["avatar"]])
def test_an_unknown_preset_is_refused_before_any_backend_is_asked(preset: Any) -> None:
    cache, fetcher = FakeCache(), FakeFetcher()
    with fake_service(cache=cache, fetcher=fetcher) as images, pytest.raises(InvalidPresetError):
        images.get_image(preset, DID, CID)
    assert not cache.reads
    assert not fetcher.calls


@pytest.mark.parametrize(
    ("did", "cid", "error"),
    [
        ("", CID, InvalidDIDError),
        ("alice.example.com", CID, InvalidDIDError),
        (None, CID, InvalidDIDError),
        (DID, "", InvalidCIDError),
        (DID, "../../etc/passwd", InvalidCIDError),
        (DID, CID.upper(), InvalidCIDError),
        (DID, None, InvalidCIDError),
    ],
)
def test_a_bad_identifier_is_refused_before_any_backend_is_asked(did: Any, cid: Any, error: type[Exception]) -> None:
    cache, fetcher, policy = FakeCache(), FakeFetcher(), FakePolicy()
    with fake_service(cache=cache, fetcher=fetcher, policy=policy) as images:
        for call in (images.get_image, images.get, images.get_cached):
            with pytest.raises(error):
                call("avatar", did, cid)
    assert not cache.reads
    assert not fetcher.calls
    assert not policy.calls


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5"])
def test_a_timeout_that_is_none_is_refused(timeout: Any) -> None:
    with fake_service() as images, pytest.raises(InvalidRequestError, match="timeout"):
        images.get_image("avatar", DID, CID, timeout=timeout)


@pytest.mark.parametrize("timeout", [float("inf"), 1e300])
def test_the_longest_timeouts_are_as_good_as_none(timeout: float) -> None:
    with fake_service() as images:
        assert images.get_image("avatar", DID, CID, timeout=timeout) == AVATAR
        assert images.flush(timeout)
        assert images.close(timeout)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5"])
def test_a_wrong_timeout_of_flush_and_close_is_refused_before_anything_is_done(timeout: Any) -> None:
    with fake_service() as images:
        for call in (images.flush, images.close):
            with pytest.raises(InvalidRequestError, match="timeout"):
                call(timeout)
        assert images.get_image("avatar", DID, CID) == AVATAR


def test_a_pds_url_that_is_no_text_is_refused() -> None:
    with fake_service() as images, pytest.raises(InvalidRequestError, match="pds_url"):
        images.get_image("avatar", DID, CID, 5)  # type: ignore[arg-type]


# Hit and miss


def test_a_miss_is_fetched_processed_and_stored() -> None:
    cache, fetcher, processor = FakeCache(), FakeFetcher(), FakeProcessor()
    with fake_service(cache=cache, fetcher=fetcher, processor=processor) as images:
        assert images.get_image("avatar", DID, CID, "https://pds.example") == AVATAR
        assert images.flush(10)
    assert [(call.pds_url, call.did, call.cid) for call in fetcher.calls] == [("https://pds.example", DID, CID)]
    assert [(call.data, call.preset) for call in processor.calls] == [(FAKE_IMAGE, DEFAULT.get("avatar"))]
    assert cache.entries == {AVATAR_KEY: AVATAR}


def test_a_hit_asks_the_cache_alone() -> None:
    cache, fetcher, resolver = FakeCache(), FakeFetcher(), FakeResolver()
    cache.entries[AVATAR_KEY] = b"cached"
    threads = threading.active_count()
    with fake_service(cache=cache, fetcher=fetcher, resolver=resolver) as images:
        assert images.get_image("avatar", DID, CID) == b"cached"
        assert threading.active_count() == threads
    assert not fetcher.calls
    assert not resolver.calls
    assert not cache.writes


def test_a_second_request_is_a_hit() -> None:
    fetcher = FakeFetcher()
    with fake_service(fetcher=fetcher) as images:
        first, second = images.get("avatar", DID, CID), images.get("avatar", DID, CID)
    assert (first.source, second.source) == ("fetch", "cache")
    assert first.data == second.data == AVATAR
    assert first.etag == second.etag
    assert first.content_type == "image/jpeg"
    assert len(fetcher.calls) == 1


def test_all_presets_are_answered_with_their_own_image() -> None:
    with fake_service() as images:
        for preset in DEFAULT:
            assert images.get_image(preset.name, DID, CID) == preset.name.encode() + b":" + FAKE_IMAGE


def test_a_preset_object_needs_no_registry() -> None:
    square = Preset("square", 10, 10, FitMode.COVER, 80, format="webp")
    with fake_service() as images:
        image = images.get(square, DID, CID)
    assert image.data == b"square@webp:" + FAKE_IMAGE
    assert image.content_type == "image/webp"


def test_two_services_have_their_own_presets() -> None:
    square = Preset("square", 10, 10, FitMode.COVER, 80)
    with fake_service(presets=PresetRegistry([square])) as mine, fake_service() as other:
        assert mine.get_image("square", DID, CID)
        with pytest.raises(InvalidPresetError):
            other.get_image("square", DID, CID)
        with pytest.raises(InvalidPresetError):
            mine.get_image("avatar", DID, CID)


def test_an_edited_preset_and_another_engine_meet_no_old_bytes() -> None:
    cache = FakeCache()
    edited = Preset("avatar", 999, 999, FitMode.COVER, 85)
    with (
        fake_service(cache=cache) as one,
        fake_service(cache=cache, presets=PresetRegistry([edited])) as two,
        fake_service(cache=cache, processor=FakeProcessor(version="next")) as three,
    ):
        etags = {service.get("avatar", DID, CID).etag for service in (one, two, three)}
        assert all(service.flush(10) for service in (one, two, three))
    assert len(cache.entries) == 3
    assert len(etags) == 3


def test_get_cached_never_fetches() -> None:
    fetcher = FakeFetcher()
    with fake_service(fetcher=fetcher) as images:
        assert images.get_cached("avatar", DID, CID) is None
        assert not fetcher.calls
        images.get_image("avatar", DID, CID)
        cached = images.get_cached("avatar", DID, CID)
        assert cached is not None
        assert cached.data == AVATAR
        assert cached.source == "cache"


# A broken cache


def test_a_failing_cache_read_is_a_miss(caplog: pytest.LogCaptureFixture) -> None:
    cache = FakeCache()
    cache.fail_reads = OSError("disk on fire")
    with fake_service(cache=cache) as images, caplog.at_level(logging.WARNING, "imageproxy"):
        assert images.get_image("avatar", DID, CID) == AVATAR
        assert images.stats().cache_read_errors == 1
    (record,) = caplog.records
    assert "disk on fire" in record.getMessage()
    assert (record.did, record.cid, record.preset) == (DID, CID, "avatar")  # type: ignore[attr-defined]


@pytest.mark.parametrize("garbage", [b"", "text", bytearray(b"x"), 5])
def test_a_cache_that_gives_no_image_is_a_miss(garbage: Any) -> None:
    cache = FakeCache()
    cache.entries[AVATAR_KEY] = garbage
    with fake_service(cache=cache) as images:
        assert images.get_image("avatar", DID, CID) == AVATAR
        assert images.stats().cache_read_errors == 1


def test_a_failed_cache_write_still_serves_the_image(caplog: pytest.LogCaptureFixture) -> None:
    cache, observer = FakeCache(), RecordingObserver()
    cache.fail_writes = OSError("disk full")
    before = cache_write_error_count()
    with (
        fake_service(cache=cache, observers=[observer]) as images,
        fake_service() as other,
        caplog.at_level(logging.WARNING, "imageproxy"),
    ):
        assert images.get_image("avatar", DID, CID) == AVATAR
        assert images.flush(10)
        assert images.stats().cache_write_errors == 1
        assert other.stats().cache_write_errors == 0
    assert cache_write_error_count() == before + 1
    (record,) = caplog.records
    assert "disk full" in record.getMessage()
    assert (record.did, record.cid, record.preset) == (DID, CID, "avatar")  # type: ignore[attr-defined]
    assert "cache_write_failed" in observer.names


def test_the_answer_never_waits_for_the_cache_write() -> None:
    class SlowCache(FakeCache):
        def __init__(self) -> None:
            super().__init__()
            self.may_write = threading.Event()

        def set(self, key: CacheKey, data: bytes) -> None:
            assert self.may_write.wait(10)
            super().set(key, data)

    cache, fetcher = SlowCache(), FakeFetcher()
    with fake_service(cache=cache, fetcher=fetcher) as images:
        assert images.get_image("avatar", DID, CID) == AVATAR
        assert not cache.entries
        assert images.get("avatar", DID, CID).source == "cache", "a queued write is readable"
        assert not images.flush(0)
        cache.may_write.set()
        assert images.flush(10)
        assert cache.entries
    assert len(fetcher.calls) == 1


# Errors on the way


def test_an_error_of_the_fetcher_reaches_the_caller_with_its_evidence() -> None:
    fetcher = FakeFetcher(error=PDSNotFoundError("gone", reason="blob_not_found", status=400))
    cache = FakeCache()
    with fake_service(cache=cache, fetcher=fetcher) as images, pytest.raises(PDSNotFoundError, match="gone") as caught:
        images.get_image("avatar", DID, CID)
    assert (caught.value.preset, caught.value.did, caught.value.cid) == ("avatar", DID, CID)
    assert caught.value.status == 400
    assert not cache.writes


def test_an_error_of_the_processor_reaches_the_caller() -> None:
    cache = FakeCache()
    with (
        fake_service(cache=cache, processor=FakeProcessor(error=UnsupportedFormatError("svg", format="svg"))) as images,
        pytest.raises(UnsupportedFormatError) as caught,
    ):
        images.get_image("avatar", DID, CID)
    assert caught.value.format == "svg"
    assert not cache.writes


class ForeignError(Exception):
    """An exception that is none of ours."""


@pytest.mark.parametrize(
    ("backends", "error"),
    [
        ({"fetcher": FakeFetcher(error=ForeignError("boom"))}, PDSFetchError),
        ({"processor": FakeProcessor(error=ForeignError("boom"))}, ProcessingError),
        ({"resolver": FakeResolver(error=ForeignError("boom"))}, DIDResolutionError),
        ({"policy": FakePolicy(error=ForeignError("boom"))}, PolicyError),
    ],
)
def test_no_foreign_exception_crosses_the_surface(backends: dict[str, Any], error: type[Exception]) -> None:
    with fake_service(**backends) as images, pytest.raises(error, match="boom") as caught:
        images.get_image("avatar", DID, CID)
    assert isinstance(caught.value.__cause__, ForeignError)


def test_even_a_backend_that_wants_to_exit_fails_its_caller_alone() -> None:
    class Exiting(FakeProcessor):
        def process(self, data: bytes, preset: Preset) -> bytes:
            raise SystemExit(3)

    with fake_service(processor=Exiting()) as images, pytest.raises(ProcessingError):
        images.get_image("avatar", DID, CID)


@pytest.mark.parametrize("answer", [None, "text", b"", bytearray(b"x")])
def test_a_processor_that_gives_no_image_is_an_error(answer: Any) -> None:
    class Odd(FakeProcessor):
        def process(self, data: bytes, preset: Preset) -> bytes:
            return answer  # type: ignore[no-any-return]

    with fake_service(processor=Odd()) as images, pytest.raises(ProcessingError):
        images.get_image("avatar", DID, CID)


@pytest.mark.parametrize("answer", [None, "text"])
def test_a_fetcher_that_gives_no_bytes_is_an_error(answer: Any) -> None:
    class Odd(FakeFetcher):
        def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
            return answer  # type: ignore[no-any-return]

    with fake_service(fetcher=Odd()) as images, pytest.raises(PDSFetchError, match="for bytes"):
        images.get_image("avatar", DID, CID)


def test_a_backend_without_ancestry_is_a_backend() -> None:
    class Plain:
        def process(self, data: bytes, preset: Preset) -> bytes:
            return b"plain"

    with fake_service(processor=Plain()) as images:
        assert images.get_image("avatar", DID, CID) == b"plain"


# Finding the PDS


def test_the_resolver_is_asked_unless_the_caller_knows_the_pds() -> None:
    fetcher, resolver = FakeFetcher(), FakeResolver({DID: "https://home.example"})
    with fake_service(fetcher=fetcher, resolver=resolver) as images:
        images.get_image("avatar", DID, CID, "https://given.example")
        images.get_image("banner", DID, CID)
        images.get_image("content_full", DID, CID, "")
    assert [call.pds_url for call in fetcher.calls] == [
        "https://given.example", "https://home.example", "https://home.example",
    ]  # fmt: skip
    assert [call.did for call in resolver.calls] == [DID, DID]


def test_the_resolver_and_the_fetcher_share_one_deadline() -> None:
    fetcher, resolver = FakeFetcher(), FakeResolver()
    with fake_service(fetcher=fetcher, resolver=resolver, config=Config(fetch_timeout_seconds=7)) as images:
        images.get_image("avatar", DID, CID)
    (resolved,), (fetched,) = resolver.calls, fetcher.calls
    assert resolved.timeout is not None
    assert fetched.timeout is not None
    assert 0 < fetched.timeout <= resolved.timeout <= 7


def test_without_resolver_and_pds_url_the_error_says_what_would_do() -> None:
    service = Service(FakeCache(), FakeProcessor(), FakeFetcher())
    with service as images, pytest.raises(DIDResolutionError, match="pds_url"):
        images.get_image("avatar", DID, CID)


def test_a_did_that_is_not_there_is_an_error() -> None:
    with fake_service(resolver=FakeResolver({})) as images, pytest.raises(DIDNotFoundError):
        images.get_image("avatar", DID, CID)


def test_a_fetcher_that_gives_more_than_the_limit_is_refused_once_for_all_presets() -> None:
    fetcher = FakeFetcher({CID: b"x" * 101})
    with fake_service(fetcher=fetcher, config=Config(max_source_bytes=100)) as images:
        for preset in ("avatar", "banner"):
            with pytest.raises(ImageTooLargeError) as caught:
                images.get_image(preset, DID, CID)
            assert (caught.value.limit, caught.value.actual) == (100, 101)
    assert len(fetcher.calls) == 1


@pytest.mark.parametrize("answer", ["", None, 5])
def test_a_resolver_that_gives_no_url_is_an_error(answer: Any) -> None:
    with fake_service(resolver=FakeResolver({DID: answer})) as images, pytest.raises(DIDResolutionError):
        images.get_image("avatar", DID, CID)


class MovingResolver(FakeResolver):
    """Knows the old PDS until it is told to forget."""

    def __init__(self, new: str) -> None:
        super().__init__({DID: "https://old.example"})
        self.new = new

    def invalidate(self, did: str) -> None:
        super().invalidate(did)
        self.urls[did] = self.new


class TwoServers(FakeFetcher):
    """The account is at the new server alone."""

    def __init__(self, reason: str = "repo_not_found") -> None:
        super().__init__()
        self.reason = reason

    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
        data = super().fetch(pds_url, did, cid, timeout=timeout)
        if pds_url == "https://new.example":
            return data
        raise PDSNotFoundError("not here", reason=self.reason, pds_url=pds_url)


@pytest.mark.parametrize("reason", ["repo_not_found", "repo_deactivated"])
def test_an_account_that_moved_is_found_at_its_new_pds(reason: str) -> None:
    fetcher, resolver = TwoServers(reason), MovingResolver("https://new.example")
    with fake_service(fetcher=fetcher, resolver=resolver) as images:
        assert images.get_image("avatar", DID, CID) == AVATAR
    assert resolver.invalidated == [DID]
    assert [call.pds_url for call in fetcher.calls] == ["https://old.example", "https://new.example"]


def test_an_account_that_did_not_move_is_not_asked_for_twice() -> None:
    fetcher, resolver = TwoServers(), MovingResolver("https://old.example")
    with fake_service(fetcher=fetcher, resolver=resolver) as images, pytest.raises(PDSNotFoundError):
        images.get_image("avatar", DID, CID)
    assert len(fetcher.calls) == 1


@pytest.mark.parametrize(("reason", "pds_url"), [("blob_not_found", None), ("repo_not_found", "https://given.example")])
def test_a_missing_blob_and_a_given_pds_are_final(reason: str, pds_url: str | None) -> None:
    fetcher, resolver = TwoServers(reason), MovingResolver("https://new.example")
    with fake_service(fetcher=fetcher, resolver=resolver) as images, pytest.raises(PDSNotFoundError):
        images.get_image("avatar", DID, CID, pds_url)
    assert len(fetcher.calls) == 1
    assert not resolver.invalidated


def test_when_asking_afresh_fails_the_first_error_stands() -> None:
    class Down(MovingResolver):
        def invalidate(self, did: str) -> None:
            raise ForeignError("down")

    with fake_service(fetcher=TwoServers(), resolver=Down("")) as images:
        with pytest.raises(PDSNotFoundError, match="not here"):
            images.get_image("avatar", DID, CID)
        with pytest.raises(DIDResolutionError, match="down"):
            images.forget_identity(DID)


def test_forget_identity_tells_the_resolver() -> None:
    resolver = FakeResolver()
    with fake_service(resolver=resolver) as images:
        images.forget_identity(DID)
        with pytest.raises(InvalidDIDError):
            images.forget_identity("nope")
    assert resolver.invalidated == [DID]
    with Service(FakeCache(), FakeProcessor(), FakeFetcher()) as bare:
        bare.forget_identity(DID)


# Policy


def test_a_blocked_blob_is_refused_before_the_cache() -> None:
    cache, fetcher, observer = FakeCache(), FakeFetcher(), RecordingObserver()
    cache.entries[AVATAR_KEY] = b"cached"
    policy = FakePolicy({(DID, CID)})
    with fake_service(cache=cache, fetcher=fetcher, policy=policy, observers=[observer]) as images:
        for call in (images.get_image, images.get, images.get_cached):
            with pytest.raises(BlobBlockedError) as caught:
                call("avatar", DID, CID)
            assert (caught.value.did, caught.value.cid, caught.value.status) == (DID, CID, 410)
        assert images.stats().blocked == 3
    assert not cache.reads
    assert not fetcher.calls
    assert observer.names == ["blocked"] * 3


def test_a_policy_gives_its_own_reason_and_status() -> None:
    policy = FakePolicy(error=BlobBlockedError(reason="court order", status=451))
    with fake_service(policy=policy) as images, pytest.raises(BlobBlockedError) as caught:
        images.get_image("avatar", DID, CID)
    assert (caught.value.reason, caught.value.status) == ("court order", 451)


@pytest.mark.parametrize("answer", [None, 0, 1, "no", []])
def test_an_unclear_answer_of_the_policy_fails_closed(answer: Any) -> None:
    class Unclear(FakePolicy):
        def is_blocked(self, did: str, cid: str) -> bool:
            return answer  # type: ignore[no-any-return]

    cache = FakeCache()
    with fake_service(cache=cache, policy=Unclear()) as images, pytest.raises(PolicyError, match="neither"):
        images.get_image("avatar", DID, CID)
    assert not cache.reads


def test_the_policy_is_asked_again_before_publishing() -> None:
    cache, policy, gate = FakeCache(), FakePolicy(), threading.Event()
    fetcher = FakeFetcher(gate=gate)
    with fake_service(cache=cache, fetcher=fetcher, policy=policy) as images, ThreadPoolExecutor() as pool:
        call = pool.submit(images.get_image, "avatar", DID, CID)
        fetcher.wait_for_calls(1)
        policy.blocked.add(DID)
        gate.set()
        with pytest.raises(BlobBlockedError):
            call.result(10)
        policy.blocked.clear()
        assert images.get_cached("avatar", DID, CID) is None
        assert images.flush(10)
    assert not cache.entries


def test_did_web_twins_are_one_to_the_policy() -> None:
    policy = FakePolicy({"did:web:example.com"})
    with fake_service(policy=policy) as images, pytest.raises(BlobBlockedError):
        images.get_image("avatar", "did:web:EXAMPLE.com", CID)


# Around


def test_urls_follow_the_config_and_the_presets_of_the_service() -> None:
    square = Preset("square", 10, 10, FitMode.COVER, 80)
    config = Config(base_url="https://a.example")
    with fake_service(presets=PresetRegistry([square]), config=config) as images:
        url = images.url_for("square", DID, CID, format="webp")
    assert url == f"https://a.example/img/square/plain/{DID}/{CID}@webp?v={square.with_format('webp').key}"
    with fake_service(config=Config(enabled=False)) as images:
        assert images.url_for("avatar", DID, CID) == ""
        assert images.get_image("avatar", DID, CID) == AVATAR, "the service answers all the same"


def test_events_and_counters_tell_the_whole_story() -> None:
    observer = RecordingObserver()
    with fake_service(observers=[observer]) as images:
        images.get_image("avatar", DID, CID)
        assert images.flush(10)
        images.get_image("avatar", DID, CID)
        images.purge(DID)
        stats = images.stats()
    names = [name for name in observer.names if name != "landed"]  # which another thread tells beside the write
    assert names == ["miss", "resolved", "fetched", "processed", "cache_written", "hit", "purged"]
    told = {event.name: event for event in observer.events}
    assert len(told) == len(observer.events)
    miss, resolved, fetched, processed, landed = (
        told[name] for name in ("miss", "resolved", "fetched", "processed", "landed")
    )
    written, hit, purged = told["cache_written"], told["hit"], told["purged"]
    assert {event.did for event in observer.events} == {DID}
    assert fetched.size_bytes == len(FAKE_IMAGE)
    assert all(event.seconds is not None for event in (miss, resolved, fetched, processed, landed, written, hit))
    assert fetched.preset is None
    assert processed.size_bytes == written.size_bytes == hit.size_bytes == len(AVATAR)
    assert miss.preset == hit.preset == "avatar"
    assert purged.cid is None
    assert (stats.hits, stats.misses, stats.fetches, stats.processed, stats.cache_writes) == (1, 1, 1, 1, 1)
    assert (stats.failures, stats.blocked, stats.flights, stats.queued_writes, stats.queued_write_bytes) == (0,) * 5
    assert stats.hit_bytes == stats.processed_bytes == stats.cache_written_bytes == len(AVATAR)
    assert stats.fetched_bytes == len(FAKE_IMAGE)
    assert stats.cache == {}, "this cache counts nothing"


def test_what_the_cache_counts_is_part_of_the_counters(caplog: pytest.LogCaptureFixture) -> None:
    class Counting(FakeCache):
        def stats(self) -> dict[str, int]:
            if self.fail_reads is not None:
                raise self.fail_reads
            return {"entries": len(self.entries)}

    cache = Counting()
    with fake_service(cache=cache) as images:
        images.get_image("avatar", DID, CID)
        assert images.flush(10)
        assert images.stats().cache == {"entries": 1}
        cache.fail_reads = ConnectionError("away")
        assert images.stats().cache == {}
    assert "away" in caplog.text


def test_a_failure_is_told_once_however_many_waited() -> None:
    observer, gate = RecordingObserver(), threading.Event()
    fetcher = FakeFetcher({}, gate=gate)
    with fake_service(fetcher=fetcher, observers=[observer]) as images, ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(images.get_image, "avatar", DID, CID) for _ in range(8)]
        observer.wait_for("miss", 8)
        gate.set()
        assert all(isinstance(call.exception(10), PDSNotFoundError) for call in calls)
        assert images.stats().failures == observer.names.count("failed")
    assert observer.names.count("failed") == len(fetcher.calls)


def test_a_failing_observer_is_logged_once_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def on_event(self, event: object) -> None:
            raise ForeignError("observer down")

    observer = RecordingObserver()
    with fake_service(observers=[Broken(), observer]) as images, caplog.at_level(logging.ERROR, "imageproxy"):
        assert images.get_image("avatar", DID, CID) == AVATAR
        assert images.get_image("avatar", DID, CID) == AVATAR
    assert len(caplog.records) == 1
    assert "hit" in observer.names


class LeavingError(BaseException):
    """What test runners and green threads raise: no Exception."""


def test_an_observer_that_raises_what_is_no_exception_leaves_nobody_waiting() -> None:
    class Leaving:
        def on_event(self, event: Event) -> None:
            if event.name in ("failed", "cache_written"):
                raise LeavingError

    fetcher = FakeFetcher({CID: FAKE_IMAGE})
    with fake_service(fetcher=fetcher, observers=[Leaving()]) as images:
        assert images.get_image("avatar", DID, CID) == AVATAR
        assert images.flush(10)
        with pytest.raises(PDSNotFoundError):
            images.get_image("avatar", DID, "bafkreimadeup1")


def test_an_observer_may_purge() -> None:
    class Purging:
        def on_event(self, event: Event) -> None:
            if event.name == "cache_written":
                reports.append(images.purge(DID))

    reports: list[PurgeReport] = []
    with fake_service(observers=[Purging()]) as images:
        images.get_image("avatar", DID, CID)
        assert images.flush(10)
    assert reports == [PurgeReport(1)]


def test_a_closed_service_refuses_every_call() -> None:
    images = fake_service()
    images.get_image("avatar", DID, CID)
    assert images.close()
    assert images.close(), "closing again does no harm"
    for call in (
        lambda: images.get_image("avatar", DID, CID),
        lambda: images.get("avatar", DID, CID),
        lambda: images.get_cached("avatar", DID, CID),
        lambda: images.purge(DID),
    ):
        with pytest.raises(ServiceClosedError):
            call()
    assert images.stats().misses == 1


def test_closing_writes_what_is_queued() -> None:
    cache = FakeCache()
    with fake_service(cache=cache) as images:
        images.get_image("avatar", DID, CID)
    assert cache.entries == {AVATAR_KEY: AVATAR}


def test_the_fake_pds_is_a_name_that_never_resolves() -> None:
    fetcher = FakeFetcher()
    with fake_service(fetcher=fetcher) as images:
        images.get_image("avatar", DID, CID)
    assert fetcher.calls[0].pds_url == FAKE_PDS_URL
