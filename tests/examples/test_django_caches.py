from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.files.storage import FileSystemStorage
from django.test.utils import override_settings

from imageproxy import Cache, CacheKey, compute_cid, create_service
from imageproxy.testing import CacheContract, DrawnPhoto, LocalPDS

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = compute_cid(b"blob")
KEY = CacheKey("avatar-0f1e2d3c4b5a", DID, CID, "image/jpeg")


@pytest.fixture(scope="session", autouse=True)
def _django() -> None:
    if not settings.configured:
        settings.configure(USE_TZ=True)


@pytest.fixture
def django_cache(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("django_cache")


@pytest.fixture
def django_storage(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("django_storage")


def backend_in(backend: str, place: Path) -> AbstractContextManager[object]:
    """``CACHES`` with one backend, which begins empty."""
    options = {"MAX_ENTRIES": 100_000}
    path = f"django.core.cache.backends.{backend}"
    context: AbstractContextManager[object] = override_settings(
        CACHES={"default": {"BACKEND": path, "LOCATION": str(place), "OPTIONS": options}}
    )
    return context


class DjangoCacheContract(CacheContract):
    backend: str

    @pytest.fixture(autouse=True)
    def _backend(self, django_cache: ModuleType, tmp_path: Path) -> Iterator[None]:
        self.example = django_cache
        with backend_in(self.backend, tmp_path / "django"):
            yield

    def make_cache(self, tmp_path: Path) -> Cache:
        cache: Cache = self.example.DjangoCache()
        return cache


class TestDjangoCacheInMemory(DjangoCacheContract):
    backend = "locmem.LocMemCache"


class TestDjangoCacheInFiles(DjangoCacheContract):
    backend = "filebased.FileBasedCache"

    def make_unreachable_cache(self, tmp_path: Path) -> Cache:
        (tmp_path / "django").write_bytes(b"where the folder should be")
        return self.make_cache(tmp_path)


class TestStorageCache(CacheContract):
    @pytest.fixture(autouse=True)
    def _example(self, django_storage: ModuleType) -> None:
        self.example = django_storage

    def make_cache(self, tmp_path: Path) -> Cache:
        cache: Cache = self.example.StorageCache(FileSystemStorage(tmp_path / "storage"))
        return cache

    def make_unreachable_cache(self, tmp_path: Path) -> Cache:
        (tmp_path / "storage").write_bytes(b"where the folder should be")
        return self.make_cache(tmp_path)


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[None]:
    with backend_in("locmem.LocMemCache", tmp_path):
        yield


@pytest.mark.usefixtures("in_memory")
def test_a_backend_that_drops_the_tokens_brings_nothing_back(django_cache: ModuleType) -> None:
    cache = django_cache.DjangoCache()
    cache.set(KEY, b"image")
    name = django_cache._name("image", *KEY)
    stored = caches["default"].get(name)
    cache.purge(DID, CID)
    caches["default"].set(name, stored)  # as a write that was under way in another process
    assert cache.get(KEY) is None
    for token in django_cache._tokens(DID, CID):
        caches["default"].delete(token)
    assert cache.get(KEY) is None
    cache.set(KEY._replace(preset="banner"), b"banner")
    assert cache.get(KEY) is None
    assert cache.get(KEY._replace(preset="banner")) == b"banner"


@pytest.mark.usefixtures("in_memory")
def test_a_purge_by_one_service_holds_for_the_flights_of_another(
    django_cache: ModuleType, pds: LocalPDS, photo: DrawnPhoto
) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, photo.data, content_type=photo.content_type)
    with (
        create_service(pds.service_config(), cache=django_cache.DjangoCache()) as one,
        create_service(pds.service_config(), cache=django_cache.DjangoCache()) as other,
    ):
        pds.hold()
        waiting = threading.Thread(target=one.get_image, args=("avatar", did, cid))
        waiting.start()
        pds.wait_for_requests(2)  # of the DID, and of the blob
        other.purge(did, cid)
        pds.release()
        waiting.join()
        assert one.flush()
        assert one.get_cached("avatar", did, cid) is None


@pytest.mark.usefixtures("in_memory")
def test_a_purge_that_the_backend_swallows_is_told(django_cache: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = django_cache.DjangoCache()
    cache.set(KEY, b"image")
    monkeypatch.setattr(caches["default"], "set", lambda *arguments, **options: None)  # as DatabaseCache may
    with pytest.raises(OSError, match="not purged"):
        cache.purge(DID)


@pytest.mark.usefixtures("in_memory")
def test_nothing_is_stored_without_a_fence_where_one_is_asked_for(django_cache: ModuleType) -> None:
    cache = django_cache.DjangoCache()
    assert cache.set_fenced(KEY, b"image", None) is False
    assert cache.get(KEY) is None


@pytest.mark.usefixtures("in_memory")
def test_the_index_forgets_what_has_expired(django_cache: ModuleType) -> None:
    cache = django_cache.DjangoCache(ttl_seconds=30)
    page = django_cache._page(DID, CID)
    caches["default"].set(page, {"an old one": (CID, 1.0)})
    cache.set(KEY, b"image")
    assert list(caches["default"].get(page)) == [django_cache._name("image", *KEY)]


def test_a_file_that_is_half_written_is_not_served(django_storage: ModuleType, tmp_path: Path) -> None:
    cache = django_storage.StorageCache(FileSystemStorage(tmp_path))
    cache.set(KEY, b"an image")
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    file.with_suffix(".2").write_bytes(file.read_bytes()[:-3])
    assert cache.get(KEY) == b"an image", "the version before is there until the new one is"
    file.unlink()
    assert cache.get(KEY) is None
    cache.set(KEY, b"another")
    assert cache.get(KEY) == b"another"
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".3"]


def test_two_processes_that_write_the_same_image_leave_it_readable(django_storage: ModuleType, tmp_path: Path) -> None:
    one, other = (django_storage.StorageCache(FileSystemStorage(tmp_path)) for _ in range(2))
    one.set(KEY, b"an image")
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    (file.parent / f"{file.stem}_Ab12xYz.1").write_bytes(file.read_bytes())  # the name that Django makes of a taken one
    assert other.get(KEY) == b"an image"
    assert one.purge(DID, CID) == 1


def test_cleanup_deletes_what_is_old(django_storage: ModuleType, tmp_path: Path) -> None:
    cache = django_storage.StorageCache(FileSystemStorage(tmp_path))
    cache.set(KEY, b"image")
    assert cache.cleanup() == 0
    assert cache.cleanup(timedelta(seconds=-60)) == 1
    assert cache.get(KEY) is None


@pytest.mark.parametrize("name", ["django_cache", "django_storage"])
def test_the_example_runs(run_example: Callable[[str], str], name: str) -> None:
    assert run_example(name).splitlines() == ["first: fetch", "again: cache", "purged: 1", "and then: fetch"]
