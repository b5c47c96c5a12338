"""What a Cache must do."""
# ruff: noqa: S101, D102 - assertions are what these classes are for, and the tests' names say what is asked

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from imageproxy.identifiers import compute_cid
from imageproxy.protocols import Cache, CacheKey

from ._cache_powers import CachePowers, key_of
from ._support import CID, DID, OTHER_CID, OTHER_DID, at_once, opened

__all__ = ["CacheContract"]


class CacheContract(CachePowers):
    """What a Cache must do, and one with fences, cleanup, counts or a close beyond that.

    Override ``make_cache``, and ``make_unreachable_cache`` where there is something that can be out of reach.

    largest_bytes: the largest image that is stored. Lower it for a store that cannot hold 4 MiB.
    """

    largest_bytes: int = 4 * 1024**2

    def make_unreachable_cache(self, tmp_path: Path) -> Cache | None:  # noqa: ARG002 - for those who override it
        """A cache whose store does not answer, such as one at a port where nobody listens; ``None``: not tested."""
        return None

    # Storing

    def test_what_was_not_stored_is_a_miss(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            assert cache.get(key_of()) is None

    def test_get_gives_the_bytes_that_set_stored(self, tmp_path: Path) -> None:
        data = bytes(range(256)) * 300
        with self._cache(tmp_path) as cache:
            cache.set(key_of(), data)
            for _ in range(10):
                stored = cache.get(key_of())
                assert type(stored) is bytes, f"get() gave {type(stored).__name__}"
                assert stored == data, "get() gave other bytes than set() was given"

    def test_a_large_image_comes_back_whole(self, tmp_path: Path) -> None:
        data = (bytes(range(256)) * (self.largest_bytes // 256 + 1))[: self.largest_bytes]
        with self._cache(tmp_path) as cache:
            cache.set(key_of(), data)
            stored = cache.get(key_of())
            assert stored is not None, f"an image of {len(data):,} bytes was not stored"
            assert stored == data, f"of {len(data):,} bytes, others came back, {len(stored):,} in all"

    def test_a_value_without_bytes_is_kept_or_left_out(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            cache.set(key_of(), b"image")
            cache.set(key_of(), b"")
            assert cache.get(key_of()) in (b"", None), "the old image must not stay"

    def test_set_replaces_what_was_there(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            cache.set(key_of(), b"a longer old image")
            assert cache.get(key_of()) == b"a longer old image"
            cache.set(key_of(), b"a new image")
            assert cache.get(key_of()) == b"a new image"

    # Keys

    def test_every_part_of_the_key_counts(self, tmp_path: Path) -> None:
        keys = [
            key_of(),
            key_of(preset="avatar-000000000000"),
            key_of(did=OTHER_DID),
            key_of(cid=OTHER_CID),
            key_of()._replace(content_type="image/webp"),
        ]
        with self._cache(tmp_path) as cache:
            _each_keeps_its_own(cache, keys)

    def test_keys_are_taken_literally(self, tmp_path: Path) -> None:
        hostile = [
            "did:plc:../../../../etc/passwd",
            "did:plc:/etc/passwd",
            "did:plc:nul\0byte",
            "did:plc:new\nline",
            "did:plc:*",
            "did:plc:%",
            "did:plc:[a-z]?%s{}",
            "did:plc:'; DROP TABLE images; --",
            "did:plc:Case",
            "did:plc:case",
            "did:plc:a:b",
            "did:plc:a_b",
            "did:plc:a",
            "did:plc:" + "x" * 2000,
            "did:plc:" + "x" * 1999 + "y",
        ]
        with self._cache(tmp_path) as cache:
            _each_keeps_its_own(cache, [key_of(did=did) for did in hostile])
            for gone, did in enumerate(hostile, start=1):
                assert cache.purge(did) == 1, f"purge({did[:40]!r}) must remove one entry"
                left = sum(cache.get(key_of(did=did)) is not None for did in hostile)
                assert left == len(hostile) - gone, f"purge({did[:40]!r}) took entries of others"

    def test_cids_are_taken_literally(self, tmp_path: Path) -> None:
        # As texts that the syntax allows (atproto.com/specs/data-model): most have case, and some are parts of others.
        cids = ["QmWords", "qmwords", "QmWord", "zb2rh+/=", "zb2rh+/", CID, CID[:-1], CID + "a"]
        with self._cache(tmp_path) as cache:
            _each_keeps_its_own(cache, [key_of(cid=cid) for cid in cids])
            for gone, cid in enumerate(cids, start=1):
                assert cache.purge(DID, cid) == 1, f"purge(did, {cid!r}) must remove one entry"
                left = sum(cache.get(key_of(cid=cid)) is not None for cid in cids)
                assert left == len(cids) - gone, f"purge(did, {cid!r}) took entries of other blobs"

    def test_parts_of_keys_do_not_run_together(self, tmp_path: Path) -> None:
        keys = [
            key_of(did="did:web:ab", cid="cdefghijkl"),
            key_of(did="did:web:abc", cid="defghijkl"),
            key_of(did="did:web:abcd", cid="efghijkl"),
        ]
        with self._cache(tmp_path) as cache:
            _each_keeps_its_own(cache, keys)
            assert cache.purge("did:web:abc", "defghijkl") == 1
            assert [cache.get(key) is None for key in keys] == [False, True, False]

    # Purging

    def test_purge_of_a_blob_takes_every_variant_and_nothing_else(self, tmp_path: Path) -> None:
        variants = [key_of(), key_of(preset="banner-0f1e2d3c4b5a"), key_of()._replace(content_type="image/webp")]
        others = [key_of(cid=OTHER_CID), key_of(did=OTHER_DID)]
        with self._cache(tmp_path) as cache:
            for key in variants + others:
                cache.set(key, b"image")
            assert cache.purge(DID, CID) == len(variants)
            assert [cache.get(key) for key in variants] == [None] * len(variants)
            assert [cache.get(key) for key in others] == [b"image"] * len(others)

    def test_purge_of_an_owner_takes_all_of_it_and_nothing_else(self, tmp_path: Path) -> None:
        keys = [key_of(cid=compute_cid(b"%d" % number)) for number in range(30)]
        others = [key_of(did=OTHER_DID), key_of(did=DID + "x"), key_of(did=DID[:-1])]
        with self._cache(tmp_path) as cache:
            for key in keys + others:
                cache.set(key, b"image")
            assert cache.purge(DID) == len(keys)
            assert all(cache.get(key) is None for key in keys)
            assert [cache.get(key) for key in others] == [b"image"] * len(others)

    def test_purge_of_what_is_not_there_removes_nothing(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            for removed in (cache.purge(DID), cache.purge(DID, CID)):
                assert type(removed) is int, f"purge() gave {type(removed).__name__}"
                assert removed == 0

    def test_what_was_purged_can_be_stored_again(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache:
            cache.set(key_of(), b"old")
            cache.purge(DID)
            cache.set(key_of(), b"new")
            assert cache.get(key_of()) == b"new"

    def test_a_purge_that_cannot_be_done_says_so(self, tmp_path: Path) -> None:
        cache = self.make_unreachable_cache(tmp_path)
        if cache is None:
            return  # nothing of it can be out of reach
        with opened(cache):
            for purge in (partial(cache.purge, DID, CID), partial(cache.purge, DID)):
                assert _fails(purge), "purge() must raise: otherwise the app believes that the image is gone"

    # Threads

    def test_readers_see_the_old_or_the_new_and_never_a_part(self, tmp_path: Path) -> None:
        versions = [b"%d" % number * size for number, size in enumerate((90_000, 10, 200_000, 5_000))]
        with self._cache(tmp_path) as cache:
            cache.set(key_of(), versions[0])
            is_over = threading.Event()

            def read() -> int:
                reads = 0
                while not (is_over.is_set() and reads):
                    assert cache.get(key_of()) in versions, "a reader saw a part of an image, or none"
                    reads += 1
                return reads

            with ThreadPoolExecutor(4) as pool:
                readers = [pool.submit(read) for _ in range(3)]
                try:
                    for number in range(60):
                        cache.set(key_of(), versions[number % len(versions)])
                finally:
                    is_over.set()
                assert all(reader.result() > 0 for reader in readers)

    def test_writers_of_many_threads_lose_nothing(self, tmp_path: Path) -> None:
        keys = [key_of(cid=compute_cid(b"%d" % number)) for number in range(80)]
        with self._cache(tmp_path) as cache, ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: cache.set(key, key.cid.encode() * 100), keys))
            assert all(cache.get(key) == key.cid.encode() * 100 for key in keys)
            assert cache.purge(DID) == len(keys)

    def test_writers_of_one_image_leave_one_of_theirs(self, tmp_path: Path) -> None:
        versions = [b"%d" % number * 10_000 for number in range(8)]
        with self._cache(tmp_path) as cache:
            for _ in range(5):
                at_once(partial(cache.set, key_of(), version) for version in versions)
                assert cache.get(key_of()) in versions
                assert cache.purge(DID, CID) == 1, "the image must be there once"

    def test_nothing_is_seen_after_a_purge_that_ran_beside_readers(self, tmp_path: Path) -> None:
        with self._cache(tmp_path) as cache, ThreadPoolExecutor(4) as pool:
            for _ in range(20):
                cache.set(key_of(), b"image" * 1000)
                readers = [pool.submit(cache.get, key_of()) for _ in range(8)]
                cache.purge(DID, CID)
                assert cache.get(key_of()) is None
                assert all(reader.result() in (None, b"image" * 1000) for reader in readers)

    def test_purges_run_beside_writers(self, tmp_path: Path) -> None:
        kept = key_of(did=OTHER_DID)
        with self._cache(tmp_path) as cache:
            cache.set(kept, b"kept")
            has_begun, is_over = threading.Event(), threading.Event()

            def write(name: str) -> list[CacheKey]:
                keys: list[CacheKey] = []
                try:
                    while not is_over.is_set():
                        keys.append(key_of(preset=f"{name}-{len(keys):012x}"))
                        cache.set(keys[-1], b"image")
                        assert cache.get(keys[-1]) in (b"image", None)
                        has_begun.set()
                finally:
                    has_begun.set()  # or there would be no end to the waiting for it
                return keys

            with ThreadPoolExecutor(2) as pool:
                writers = [pool.submit(write, name) for name in ("avatar", "banner")]
                has_begun.wait()
                try:
                    at_once([partial(_purge_often, cache, cid) for cid in (None, CID)])
                finally:
                    is_over.set()
                keys = [key for writer in writers for key in writer.result()]
            left = sum(cache.get(key) is not None for key in keys)
            assert cache.purge(DID) == left, "purge() must count what was there, and what was there must be seen"
            assert all(cache.get(key) is None for key in keys)
            assert cache.get(kept) == b"kept", "the purges were of another owner"


def _each_keeps_its_own(cache: Cache, keys: Iterable[CacheKey]) -> None:
    stored = {key: b"image %d" % number for number, key in enumerate(keys)}
    for key, data in stored.items():
        cache.set(key, data)
    for key, data in stored.items():
        assert cache.get(key) == data, f"{key} met the entry of another key"


def _purge_often(cache: Cache, cid: str | None) -> None:
    for _ in range(10):
        cache.purge(DID, cid)


def _fails(call: Callable[[], object]) -> bool:
    try:
        call()
    except Exception:  # noqa: BLE001 - a cache may raise what it likes
        return True
    return False
