"""The negative cache: what failed lately is not tried again, until time or a purge clears it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from imageproxy import (
    BusyError,
    CIDMismatchError,
    Config,
    DIDNotFoundError,
    DIDResolutionError,
    ImageProxyError,
    ImageTooLargeError,
    PDSFetchError,
    PDSNotFoundError,
    PDSTimeoutError,
    ProcessingError,
    Service,
    UnsafeURLError,
    UnsupportedFormatError,
)
from imageproxy._failures import _MAX_ENTRIES, Failures, Subject
from imageproxy.testing import FakeFetcher, FakeProcessor, FakeResolver, RecordingObserver, fake_service

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
OTHER_DID = "did:plc:44ybard66vv44zksje25o7dz"
CID = "bafkreimadeup0"
OTHER_CID = "bafkreimadeup1"
SERVER = "https://pds.example"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def known(failures: Failures, subject: Subject) -> bool:
    return failures.recall(subject) is not None


@pytest.mark.parametrize(
    ("error", "subject", "seconds"),
    [
        (PDSNotFoundError("x", reason="blob_not_found"), Subject(DID, CID), 30),
        (PDSNotFoundError("x"), Subject(DID, CID), 30),
        (PDSNotFoundError("x", reason="repo_taken_down"), Subject(DID), 60),
        (PDSNotFoundError("x", reason="repo_deactivated"), Subject(DID), 60),
        (DIDNotFoundError("x"), Subject(DID), 60),
        (DIDResolutionError("x"), Subject(DID), 5),
        (UnsafeURLError("x"), Subject(DID), 60),
        (CIDMismatchError("x"), Subject(DID, CID), 60),
        (PDSFetchError("x", status=500, pds_url=SERVER), Subject(DID, CID), 10),
        (PDSTimeoutError("x"), Subject(DID, CID), 10),
        (UnsupportedFormatError("x"), Subject(DID, CID, image="avatar"), 600),
        (ImageTooLargeError("x"), Subject(DID, CID, image="avatar"), 600),
        (ProcessingError("x"), Subject(DID, CID, image="avatar"), 600),
    ],
)
def test_each_kind_is_remembered_of_what_it_is_true_of_for_its_own_time(
    error: ImageProxyError, subject: Subject, seconds: float
) -> None:
    clock = Clock()
    failures = Failures(clock=clock)
    failures.note(error, did=DID, cid=CID, pds_url=None, image="avatar")
    assert list(failures._seen) == [subject]
    clock.now = seconds - 0.1
    assert known(failures, subject)
    clock.now = seconds
    assert not known(failures, subject)
    assert not failures._seen


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (PDSFetchError("x", status=503, pds_url=SERVER), 10),
        (PDSFetchError("x", status=429, pds_url=SERVER, retry_after=60), 60),
        (PDSFetchError("x", status=429, pds_url=SERVER, retry_after=86400), 120),
        (PDSFetchError("x", pds_url=SERVER), 10),
        (PDSTimeoutError("x", pds_url=SERVER), 10),
    ],
)
def test_a_server_that_is_down_is_remembered_where_it_was_asked(error: PDSFetchError, seconds: float) -> None:
    clock = Clock()
    failures = Failures(clock=clock)
    failures.note(error, did=DID, cid=CID, pds_url=None, image="avatar")
    assert not failures._seen
    failures.note_server(error, SERVER)
    clock.now = seconds - 0.1
    assert known(failures, Subject(pds_url=SERVER))
    clock.now = seconds
    assert not known(failures, Subject(pds_url=SERVER))


@pytest.mark.parametrize(
    "error",
    [
        PDSNotFoundError("x", pds_url=SERVER, status=404),
        CIDMismatchError("x", pds_url=SERVER),
        UnsafeURLError("x", pds_url=SERVER),
        PDSFetchError("x", pds_url=SERVER, status=500),
    ],
)
def test_a_server_that_answered_is_not_down(error: PDSFetchError) -> None:
    failures = Failures()
    failures.note_server(error, SERVER)
    assert not failures._seen


@pytest.mark.parametrize("error", [BusyError("x"), ImageProxyError("x")])
def test_what_may_pass_at_once_is_not_remembered(error: ImageProxyError) -> None:
    failures = Failures()
    failures.note(error, did=DID, cid=CID, pds_url=None, image="avatar")
    assert not failures._seen


def test_a_given_pds_has_failures_of_its_own() -> None:
    failures = Failures()
    failures.note(PDSNotFoundError("x"), did=DID, cid=CID, pds_url=SERVER, image="avatar")
    assert known(failures, Subject(DID, CID, SERVER))
    assert not known(failures, Subject(DID, CID))


def test_what_is_remembered_is_bounded_and_the_newest_stays() -> None:
    failures = Failures()
    for number in range(_MAX_ENTRIES + 5):
        failures.note(PDSNotFoundError("x"), did=DID, cid=f"cid{number}", pds_url=None, image="avatar")
    assert len(failures._seen) == _MAX_ENTRIES
    assert not known(failures, Subject(DID, "cid4"))
    assert known(failures, Subject(DID, "cid5"))


def test_forgetting_a_blob_spares_the_others_and_an_owner_takes_all() -> None:
    failures = Failures()
    for did, cid in ((DID, CID), (DID, OTHER_CID), (OTHER_DID, CID)):
        failures.note(PDSNotFoundError("x"), did=did, cid=cid, pds_url=None, image="avatar")
    failures.note(DIDNotFoundError("x"), did=DID, cid=CID, pds_url=None, image="avatar")
    failures.forget(DID, CID)
    assert set(failures._seen) == {Subject(DID, OTHER_CID), Subject(OTHER_DID, CID)}
    failures.forget(DID)
    assert set(failures._seen) == {Subject(OTHER_DID, CID)}


# Through the service


def fails(images: Service, preset: str = "avatar", did: str = DID, cid: str = CID) -> ImageProxyError:
    with pytest.raises(ImageProxyError) as caught:
        images.get_image(preset, did, cid)
    return caught.value


def test_a_viral_404_costs_one_request() -> None:
    fetcher, observer = FakeFetcher({}), RecordingObserver()
    with fake_service(fetcher=fetcher, observers=[observer]) as images:
        errors = [fails(images, preset) for preset in ("avatar", "banner", "avatar", "content_full")]
        stats = images.stats()
    assert len(fetcher.calls) == 1
    assert all(isinstance(error, PDSNotFoundError) for error in errors)
    assert len({id(error) for error in errors}) == 4
    assert [error.preset for error in errors] == ["avatar", "banner", "avatar", "content_full"]
    assert (stats.failures, stats.failures_remembered) == (1, 3)
    assert observer.names.count("failure_remembered") == 3


def test_a_dead_pds_costs_one_request_whoever_is_asked_for() -> None:
    fetcher = FakeFetcher(error=PDSTimeoutError("down", pds_url=SERVER))
    with fake_service(fetcher=fetcher, resolver=FakeResolver(default=SERVER)) as images:
        first = fails(images)
        second = fails(images, did=OTHER_DID, cid=OTHER_CID)
    assert len(fetcher.calls) == 1
    assert isinstance(second, PDSTimeoutError)
    assert (first.did, first.cid) == (DID, CID)
    assert (second.did, second.cid) == (OTHER_DID, OTHER_CID)


def test_a_server_that_is_back_is_asked_again_however_often_it_was_asked_for_meanwhile() -> None:
    clock = Clock()
    fetcher = FakeFetcher(error=PDSFetchError("unavailable", pds_url=SERVER, status=503))
    with fake_service(fetcher=fetcher, resolver=FakeResolver(default=SERVER)) as images:
        images._failures._clock = clock
        fails(images)
        fetcher.error = None
        for seconds in (3, 6, 9):
            clock.now = seconds
            fails(images, cid=f"bafkreimadeup{seconds}")
        clock.now = 10
        images.get_image("avatar", DID, OTHER_CID)
    assert len(fetcher.calls) == 2


def test_a_server_is_not_blamed_for_a_did_document_that_comes_slowly() -> None:
    """Anyone can publish a DID whose document takes nearly all the time and names somebody else's PDS."""

    class Slow(FakeResolver):
        def resolve(self, did: str, *, timeout: float | None = None) -> str:
            clock.now += 5.9 if did == DID else 0
            return super().resolve(did, timeout=timeout)

    class Strict(FakeFetcher):
        def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
            data = super().fetch(pds_url, did, cid, timeout=timeout)
            if timeout is not None and timeout < 1:
                raise PDSTimeoutError("too slow", pds_url=pds_url)
            return data

    clock = Clock()
    with fake_service(fetcher=Strict(), resolver=Slow(), config=Config(fetch_timeout_seconds=6)) as images:
        images._origin._clock = clock
        assert isinstance(fails(images), PDSTimeoutError)
        assert images.get_image("avatar", OTHER_DID, OTHER_CID)


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(24, "Too many open files"), ConnectionError("a remote engine is away")]
)
def test_a_passing_fault_of_the_processor_is_not_remembered(error: Exception) -> None:
    processor = FakeProcessor(error=error)
    with fake_service(processor=processor) as images:
        assert isinstance(fails(images), ProcessingError)
        processor.error = None
        assert images.get_image("avatar", DID, CID)


def test_what_a_processor_calls_broken_for_want_of_memory_is_not_remembered() -> None:
    broken = ProcessingError("broken")
    broken.__cause__ = MemoryError()
    failures = Failures()
    failures.note(broken, did=DID, cid=CID, pds_url=None, image="avatar")
    assert not failures._seen


def test_a_passing_fault_of_the_fetcher_does_not_take_its_server_down() -> None:
    fetcher = FakeFetcher(error=OSError(24, "Too many open files"))
    with fake_service(fetcher=fetcher) as images:
        fails(images)
        fetcher.error = None
        assert images.get_image("avatar", OTHER_DID, OTHER_CID)


def test_a_broken_image_is_decoded_once() -> None:
    fetcher, processor = FakeFetcher(), FakeProcessor(error=ProcessingError("broken"))
    with fake_service(fetcher=fetcher, processor=processor) as images:
        fails(images)
        fails(images)
        fails(images, "banner")
    assert len(processor.calls) == 2, "one for each preset"


@pytest.mark.parametrize(
    "clear", [lambda s: s.purge(DID), lambda s: s.purge(DID, CID), lambda s: s.forget_identity(DID)]
)
def test_a_purge_and_a_forgotten_identity_clear_it(clear: "object") -> None:
    fetcher = FakeFetcher({})
    with fake_service(fetcher=fetcher) as images:
        fails(images)
        fetcher.blobs = {CID: b"blob"}
        fails(images)
        clear(images)  # type: ignore[operator]
        assert images.get_image("avatar", DID, CID) == b"avatar:blob"


def test_a_failure_in_flight_when_a_purge_comes_is_not_remembered() -> None:
    gate = threading.Event()
    fetcher = FakeFetcher({}, gate=gate)
    with fake_service(fetcher=fetcher) as images, ThreadPoolExecutor(1) as pool:
        early = pool.submit(images.get_image, "avatar", DID, CID)
        fetcher.wait_for_calls(1)
        images.purge(DID)
        gate.set()
        assert isinstance(early.exception(20), PDSNotFoundError)
        fetcher.blobs = {CID: b"blob"}
        assert images.get_image("avatar", DID, CID) == b"avatar:blob"


def test_a_hit_is_never_refused_by_a_failure() -> None:
    fetcher = FakeFetcher({CID: b"blob"})
    with fake_service(fetcher=fetcher) as images:
        images.get_image("avatar", DID, CID)
        fetcher.blobs = {}
        fails(images, "banner")
        assert images.get_image("avatar", DID, CID) == b"avatar:blob"


def test_warming_does_not_try_what_failed_lately() -> None:
    fetcher = FakeFetcher({})
    with fake_service(fetcher=fetcher) as images:
        fails(images)
        report = images.warm([(DID, CID)])
    assert len(fetcher.calls) == 1
    assert len(report.failures) == 6
