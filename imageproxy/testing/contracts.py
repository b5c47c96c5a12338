"""What every backend must do, as pytest classes to subclass::

    class TestMyCache(CacheContract):
        def make_cache(self, tmp_path):
            return MyCache(...)

Each test makes a backend of its own. pytest itself is not imported here.
"""
# ruff: noqa: S101, D102 - assertions are what these classes are for, and the tests' names say what is asked

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from PIL import Image

from imageproxy.errors import (
    DIDNotFoundError,
    ImageProxyError,
    PDSNotFoundError,
    ProcessingError,
    UnsupportedFormatError,
)
from imageproxy.identifiers import compute_cid
from imageproxy.presets import FitMode, ImageFormat, Preset
from imageproxy.protocols import (
    Cache,
    CacheKey,
    Fetcher,
    Processor,
    Resolver,
    SupportsCleanup,
    SupportsClose,
    SupportsFences,
    SupportsInvalidate,
)

__all__ = ["CacheContract", "FetcherContract", "ProcessorContract", "ResolverContract"]

_DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
_OTHER_DID = "did:plc:z72i7hdynmk6r22z27h6tvur"
_CID = compute_cid(b"one blob")
_OTHER_CID = compute_cid(b"another blob")
_Error = TypeVar("_Error", bound=ImageProxyError)


def _key(did: str = _DID, cid: str = _CID, preset: str = "avatar-0f1e2d3c4b5a") -> CacheKey:
    return CacheKey(preset, did, cid, "image/jpeg")


class CacheContract:
    """What a Cache must do, and a cache with fences or cleanup beyond that. Override ``make_cache``."""

    def make_cache(self, tmp_path: Path) -> Cache:
        """A new, empty cache; ``tmp_path`` is a folder for it alone. It is closed after the test if it can be."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _cache(self, tmp_path: Path) -> Iterator[Cache]:
        cache = self.make_cache(tmp_path)
        try:
            yield cache
        finally:
            if isinstance(cache, SupportsClose):
                cache.close()

    def test_what_was_not_stored_is_a_miss(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            assert cache.get(_key()) is None

    def test_get_gives_the_bytes_that_set_stored(self, tmp_path: Path) -> None:
        data = bytes(range(256)) * 300
        with self._cache(tmp_path) as cache:
            cache.set(_key(), data)
            for _ in range(10):
                stored = cache.get(_key())
                assert type(stored) is bytes, f"get() gave {type(stored).__name__}"
                assert stored == data, "get() gave other bytes than set() was given"

    def test_set_replaces_what_was_there(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            cache.set(_key(), b"a longer old image")
            assert cache.get(_key()) == b"a longer old image"
            cache.set(_key(), b"a new image")
            assert cache.get(_key()) == b"a new image"

    def test_every_part_of_the_key_counts(self, tmp_path: Path) -> None:
        keys = [
            _key(),
            _key(preset="avatar-000000000000"),
            _key(did=_OTHER_DID),
            _key(cid=_OTHER_CID),
            _key()._replace(content_type="image/webp"),
        ]
        with self._cache(tmp_path) as cache:
            self._each_keeps_its_own(cache, keys)

    def test_keys_are_taken_literally(self, tmp_path: Path) -> None:
        hostile = [
            "did:plc:../../../../etc/passwd",
            "did:plc:/etc/passwd",
            "did:plc:nul\0byte",
            "did:plc:new\nline",
            "did:plc:*",
            "did:plc:[a-z]?%s{}",
            "did:plc:Case",
            "did:plc:case",
            "did:plc:a:b",
            "did:plc:a_b",
            "did:plc:a",
            "did:plc:" + "x" * 2000,
            "did:plc:" + "x" * 1999 + "y",
        ]
        with self._cache(tmp_path) as cache:
            self._each_keeps_its_own(cache, [_key(did=did) for did in hostile])
            for gone, did in enumerate(hostile, start=1):
                assert cache.purge(did) == 1, f"purge({did[:40]!r}) must remove one entry"
                left = sum(cache.get(_key(did=did)) is not None for did in hostile)
                assert left == len(hostile) - gone, f"purge({did[:40]!r}) took entries of others"

    def _each_keeps_its_own(self, cache: Cache, keys: list[CacheKey]) -> None:
        for number, key in enumerate(keys):
            cache.set(key, b"image %d" % number)
        for number, key in enumerate(keys):
            assert cache.get(key) == b"image %d" % number, f"{key} met the entry of another key"

    def test_purge_of_a_blob_takes_every_variant_and_nothing_else(self, tmp_path: Path) -> None:
        variants = [_key(), _key(preset="banner-0f1e2d3c4b5a"), _key()._replace(content_type="image/webp")]
        others = [_key(cid=_OTHER_CID), _key(did=_OTHER_DID)]
        with self._cache(tmp_path) as cache:
            for key in variants + others:
                cache.set(key, b"image")
            assert cache.purge(_DID, _CID) == len(variants)
            assert [cache.get(key) for key in variants] == [None] * len(variants)
            assert [cache.get(key) for key in others] == [b"image"] * len(others)

    def test_purge_of_an_owner_takes_all_of_it_and_nothing_else(self, tmp_path: Path) -> None:
        keys = [_key(cid=compute_cid(b"%d" % number)) for number in range(30)]
        others = [_key(did=_OTHER_DID), _key(did=_DID + "x"), _key(did=_DID[:-1])]
        with self._cache(tmp_path) as cache:
            for key in keys + others:
                cache.set(key, b"image")
            assert cache.purge(_DID) == len(keys)
            assert all(cache.get(key) is None for key in keys)
            assert [cache.get(key) for key in others] == [b"image"] * len(others)

    def test_purge_of_what_is_not_there_removes_nothing(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            assert cache.purge(_DID) == 0
            assert cache.purge(_DID, _CID) == 0

    def test_what_was_purged_can_be_stored_again(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            cache.set(_key(), b"old")
            cache.purge(_DID)
            cache.set(_key(), b"new")
            assert cache.get(_key()) == b"new"

    def test_readers_see_the_old_or_the_new_and_never_a_part(self, tmp_path: Path) -> None:
        versions = [b"%d" % number * size for number, size in enumerate((90_000, 10, 200_000, 5_000))]
        with self._cache(tmp_path) as cache:
            cache.set(_key(), versions[0])
            is_over = threading.Event()

            def read() -> int:
                reads = 0
                while not (is_over.is_set() and reads):
                    assert cache.get(_key()) in versions, "a reader saw a part of an image, or none"
                    reads += 1
                return reads

            with ThreadPoolExecutor(4) as pool:
                readers = [pool.submit(read) for _ in range(3)]
                try:
                    for number in range(60):
                        cache.set(_key(), versions[number % len(versions)])
                finally:
                    is_over.set()
                assert all(reader.result() > 0 for reader in readers)

    def test_writers_of_many_threads_lose_nothing(self, tmp_path: Path) -> None:
        keys = [_key(cid=compute_cid(b"%d" % number)) for number in range(80)]
        with self._cache(tmp_path) as cache, ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: cache.set(key, key.cid.encode() * 100), keys))
            assert all(cache.get(key) == key.cid.encode() * 100 for key in keys)
            assert cache.purge(_DID) == len(keys)

    def test_nothing_is_seen_after_a_purge_that_ran_beside_readers(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache, ThreadPoolExecutor(4) as pool:
            for _ in range(20):
                cache.set(_key(), b"image" * 1000)
                readers = [pool.submit(cache.get, _key()) for _ in range(8)]
                cache.purge(_DID, _CID)
                assert cache.get(_key()) is None
                assert all(reader.result() in (None, b"image" * 1000) for reader in readers)

    def test_a_fenced_write_is_stored_unless_a_purge_came_first(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            if not isinstance(cache, SupportsFences):
                return  # a power that not every cache has
            fence = cache.fence(_DID, _CID)
            assert cache.set_fenced(_key(), b"image", fence) is True
            assert cache.get(_key()) == b"image"
            for purge in (partial(cache.purge, _DID, _CID), partial(cache.purge, _DID)):
                fence = cache.fence(_DID, _CID)
                purge()
                assert cache.set_fenced(_key(), b"image", fence) is False
                assert cache.get(_key()) is None, "a write that began before a purge undid it"
            fence = cache.fence(_DID, _CID)
            cache.purge(_OTHER_DID)
            cache.purge(_DID, _OTHER_CID)
            assert cache.set_fenced(_key(), b"image", fence) is True, "the purge was of another blob"

    def test_cleanup_leaves_what_is_fresh(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            if not isinstance(cache, SupportsCleanup):
                return  # a power that not every cache has
            cache.set(_key(), b"image")
            assert cache.cleanup() == 0
            assert cache.get(_key()) == b"image"


class FetcherContract:
    """What a Fetcher must do. Override ``make_fetcher``, and ``pds_url`` where it matters (a property will do)."""

    pds_url: str = "https://pds.example.com"

    def make_fetcher(self, blobs: Mapping[tuple[str, str], bytes]) -> Fetcher:
        """A fetcher for a PDS that has these blobs, by DID and CID, and no others. Closed after the test if it can be.

        ``pds_url`` is read after this was called.
        """
        raise NotImplementedError

    @contextlib.contextmanager
    def _fetcher(self, *blobs: bytes) -> Iterator[Fetcher]:
        fetcher = self.make_fetcher({(_DID, compute_cid(blob)): blob for blob in blobs})
        try:
            yield fetcher
        finally:
            if isinstance(fetcher, SupportsClose):
                fetcher.close()

    def test_fetch_gives_the_bytes_of_the_blob(self) -> None:
        blobs = [b"small", bytes(range(256)) * 1000]
        with self._fetcher(*blobs) as fetcher:
            for blob in blobs:
                assert fetcher.fetch(self.pds_url, _DID, compute_cid(blob)) == blob
                assert fetcher.fetch(self.pds_url, _DID, compute_cid(blob), timeout=30) == blob

    def test_a_blob_that_is_not_there_is_an_error_of_its_own(self) -> None:
        with self._fetcher(b"blob") as fetcher:
            for did, cid in ((_DID, compute_cid(b"other")), (_OTHER_DID, compute_cid(b"blob"))):
                error = _raised(PDSNotFoundError, partial(fetcher.fetch, self.pds_url, did, cid))
                assert (error.did, error.cid) == (did, cid), "the error must name the blob"

    def test_threads_fetch_at_once(self) -> None:
        blobs = [b"blob %d" % number for number in range(12)]
        with self._fetcher(*blobs) as fetcher, ThreadPoolExecutor(6) as pool:
            fetched = pool.map(lambda blob: fetcher.fetch(self.pds_url, _DID, compute_cid(blob)), blobs)
            assert list(fetched) == blobs


class ResolverContract:
    """What a Resolver must do. Override ``make_resolver``."""

    def make_resolver(self, known: Mapping[str, str]) -> Resolver:
        """A resolver that finds these PDS URLs, by DID, and no others. Closed after the test if it can be."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _resolver(self) -> Iterator[Resolver]:
        resolver = self.make_resolver({_DID: "https://pds.example.com"})
        try:
            yield resolver
        finally:
            if isinstance(resolver, SupportsClose):
                resolver.close()

    def test_a_known_did_has_its_pds(self) -> None:
        with self._resolver() as resolver:
            assert resolver.resolve(_DID) == "https://pds.example.com"
            assert resolver.resolve(_DID, timeout=30) == "https://pds.example.com"

    def test_an_unknown_did_is_an_error_of_its_own(self) -> None:
        with self._resolver() as resolver:
            assert _raised(DIDNotFoundError, partial(resolver.resolve, _OTHER_DID)).did == _OTHER_DID

    def test_a_did_that_was_forgotten_is_found_again(self) -> None:
        with self._resolver() as resolver:
            if not isinstance(resolver, SupportsInvalidate):
                return  # a power that not every resolver has
            resolver.invalidate(_DID)
            assert resolver.resolve(_DID) == "https://pds.example.com"
            resolver.invalidate(_DID)
            resolver.invalidate(_OTHER_DID)
            assert resolver.resolve(_DID) == "https://pds.example.com"


class ProcessorContract:
    """What a Processor must do. Override ``make_processor``."""

    def make_processor(self) -> Processor:
        """A processor that reads JPEG and PNG at least. Closed after the test if it can be."""
        raise NotImplementedError

    def _process(self, data: bytes, preset: Preset) -> Image.Image:
        processor = self.make_processor()
        try:
            result = processor.process(data, preset)
        finally:
            if isinstance(processor, SupportsClose):
                processor.close()
        assert type(result) is bytes, f"process() gave {type(result).__name__}"
        image = Image.open(io.BytesIO(result))
        image.load()
        return image

    def test_cover_is_exactly_the_box(self) -> None:
        for size in ((300, 200), (20, 90), (64, 48)):
            preset = Preset("cover", 64, 48, FitMode.COVER, 80)
            assert self._process(_picture(size), preset).size == (64, 48), f"of {size}"

    def test_contain_fits_inside_and_keeps_the_proportions(self) -> None:
        preset = Preset("contain", 100, 100, FitMode.CONTAIN, 80)
        assert self._process(_picture((400, 200)), preset).size == (100, 50)
        assert self._process(_picture((200, 400)), preset).size == (50, 100)
        proportional = Preset("proportional", 100, 0, FitMode.CONTAIN, 80)
        assert self._process(_picture((200, 800)), proportional).size == (100, 400)

    def test_contain_enlarges_only_when_told_to(self) -> None:
        small = _picture((40, 20))
        assert self._process(small, Preset("contain", 100, 100, FitMode.CONTAIN, 80)).size == (40, 20)
        enlarging = Preset("enlarging", 100, 100, FitMode.CONTAIN, 80, enlarge=True)
        assert self._process(small, enlarging).size == (100, 50)

    def test_the_result_is_in_the_format_of_the_preset(self) -> None:
        formats: tuple[ImageFormat, ...] = ("jpeg", "png", "webp", "avif")
        for format_ in formats:
            preset = Preset("any", 32, 32, FitMode.COVER, 80, format=format_)
            assert self._process(_picture((64, 64)), preset).format == format_.upper()

    def test_the_picture_stands_upright(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # Orientation: to be turned a quarter to the right
        preset = Preset("upright", 100, 0, FitMode.CONTAIN, 80)
        assert self._process(_picture((80, 40), "JPEG", exif=exif.tobytes()), preset).size == (40, 80)

    def test_the_background_shows_through_where_there_is_no_transparency(self) -> None:
        clear = io.BytesIO()
        Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(clear, "PNG")
        preset = Preset("background", 40, 40, FitMode.COVER, 90, background="#ff0000")
        colour = self._process(clear.getvalue(), preset).convert("RGB").getpixel((20, 20))
        assert isinstance(colour, tuple)
        red, green, blue = colour
        assert (red > 245, green < 10, blue < 10) == (True, True, True), f"{colour} is not red"

    def test_what_is_no_image_is_refused(self) -> None:
        preset = Preset("any", 32, 32, FitMode.COVER, 80)
        processor = self.make_processor()
        picture = _picture((64, 64))
        for data in (b"", b"no image at all", b"<html></html>", b"\0" * 1000, picture[:20]):
            _raised((UnsupportedFormatError, ProcessingError), partial(processor.process, data, preset))
        assert processor.process(picture, preset), "one broken image must not spoil the next"
        if isinstance(processor, SupportsClose):
            processor.close()


def _picture(size: tuple[int, int], format_: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(file, format_, **options)
    return file.getvalue()


def _raised(expected: type[_Error] | tuple[type[_Error], ...], call: Callable[[], object]) -> _Error:
    """What ``call`` raises, which must be of these types."""
    try:
        result = call()
    except expected as error:
        return error
    raise AssertionError(f"{expected} was not raised; the call gave {result!r:.80}")
