"""CacheContract: a right cache passes, and each wrong one is found out by the test that is meant for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pytest

from imageproxy.protocols import Cache, CacheKey
from imageproxy.testing.contracts import CacheContract

Failures = Callable[..., dict[str, Exception]]


def pause() -> None:
    """Let the other threads run."""
    threading.Event().wait(0.001)


class ToyCache:
    """A dictionary with a lock, and every power that the contract asks for."""

    def __init__(self) -> None:
        self.entries: dict[CacheKey, Any] = {}
        self.purges: list[tuple[str, str | None]] = []
        self.lock = threading.RLock()
        self.is_closed = False
        self.is_nonblocking: Any = True

    def get(self, key: CacheKey) -> Any:
        return self.entries.get(key)

    def set(self, key: CacheKey, data: bytes) -> None:
        with self.lock:
            self.entries[key] = data

    def purge(self, did: str, cid: str | None = None) -> int:
        with self.lock:
            self.purges.append((did, cid))
            gone = [key for key in self.entries if key.did == did and cid in (None, key.cid)]
            for key in gone:
                del self.entries[key]
            return len(gone)

    def fence(self, did: str, cid: str) -> Hashable:
        with self.lock:
            return sum(purge in ((did, cid), (did, None)) for purge in self.purges)

    def set_fenced(self, key: CacheKey, data: bytes, fence: Any) -> bool:
        with self.lock:
            if self.fence(key.did, key.cid) != fence:
                return False
            self.set(key, data)
            return True

    def cleanup(self) -> int:
        return 0

    def stats(self) -> Any:
        return {"entries": len(self.entries)}

    def close(self) -> None:
        self.is_closed = True


class HasSomethingForAll(ToyCache):
    def get(self, key: CacheKey) -> Any:
        return super().get(key) or b""


class LeavesThePresetOut(ToyCache):
    def get(self, key: CacheKey) -> Any:
        return super().get(key._replace(preset=""))

    def set(self, key: CacheKey, data: bytes) -> None:
        super().set(key._replace(preset=""), data)


class TakesColonsForUnderscores(ToyCache):
    def get(self, key: CacheKey) -> Any:
        return super().get(key._replace(did=key.did.replace(":", "_")))

    def set(self, key: CacheKey, data: bytes) -> None:
        super().set(key._replace(did=key.did.replace(":", "_")), data)

    def purge(self, did: str, cid: str | None = None) -> int:
        return super().purge(did.replace(":", "_"), cid)


class LowersCIDs(ToyCache):
    def get(self, key: CacheKey) -> Any:
        return super().get(key._replace(cid=key.cid.lower()))

    def set(self, key: CacheKey, data: bytes) -> None:
        super().set(key._replace(cid=key.cid.lower()), data)

    def purge(self, did: str, cid: str | None = None) -> int:
        return super().purge(did, cid and cid.lower())


class JoinsTheParts(ToyCache):
    def get(self, key: CacheKey) -> Any:
        return super().get(key._replace(did="", cid=key.did + key.cid))

    def set(self, key: CacheKey, data: bytes) -> None:
        super().set(key._replace(did="", cid=key.did + key.cid), data)


class PurgesByPrefix(ToyCache):
    def purge(self, did: str, cid: str | None = None) -> int:
        gone = [key for key in self.entries if key.did.startswith(did) and key.cid.startswith(cid or "")]
        for key in gone:
            del self.entries[key]
        return len(gone)


class KeepsTheFirst(ToyCache):
    def set(self, key: CacheKey, data: bytes) -> None:
        self.entries.setdefault(key, data)


class TakesNoBytesForNothing(ToyCache):
    def set(self, key: CacheKey, data: bytes) -> None:
        if data:
            super().set(key, data)


class CutsAtAMegabyte(ToyCache):
    def set(self, key: CacheKey, data: bytes) -> None:
        super().set(key, data[: 1024**2])


class LeavesLargeOnesOut(ToyCache):
    def set(self, key: CacheKey, data: bytes) -> None:
        if len(data) < 1024**2:
            super().set(key, data)


class WritesInPlace(ToyCache):
    """A reader may come between the two halves."""

    def set(self, key: CacheKey, data: bytes) -> None:
        self.entries[key] = data[: len(data) // 2]
        pause()
        self.entries[key] = data


class LosesWrites(ToyCache):
    """Each writer copies what it found, and puts its copy in the place of what others made meanwhile."""

    def set(self, key: CacheKey, data: bytes) -> None:
        entries = dict(self.entries)
        pause()
        entries[key] = data
        self.entries = entries


class HasItTwice(ToyCache):
    """Rows without a unique key: two writers both find nothing, and both insert."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[CacheKey, bytes]] = []

    def get(self, key: CacheKey) -> Any:
        return next((data for stored, data in self.rows if stored == key), None)

    def set(self, key: CacheKey, data: bytes) -> None:
        found = [row for row in self.rows if row[0] == key]
        pause()
        self.rows = [row for row in self.rows if row not in found] + [(key, data)]

    def purge(self, did: str, cid: str | None = None) -> int:
        super().purge(did, cid)
        gone = [row for row in self.rows if row[0].did == did and cid in (None, row[0].cid)]
        self.rows = [row for row in self.rows if row not in gone]
        return len(gone)


class GivesAnotherType(ToyCache):
    def get(self, key: CacheKey) -> Any:
        data = super().get(key)
        return None if data is None else bytearray(data)


class PurgesNothing(ToyCache):
    def purge(self, did: str, cid: str | None = None) -> int:
        return 0


class PurgesLater(ToyCache):
    def purge(self, did: str, cid: str | None = None) -> int:
        count = sum(key.did == did and cid in (None, key.cid) for key in list(self.entries))
        timer = threading.Timer(0.01, super().purge, (did, cid))
        timer.daemon = True
        timer.start()
        return count


class PurgesOnce(ToyCache):
    """Keeps a list of what is gone, and forgets to strike what is stored again."""

    def get(self, key: CacheKey) -> Any:
        is_gone = any(key.did == did and cid in (None, key.cid) for did, cid in self.purges)
        return None if is_gone else super().get(key)


class CountsWrongly(ToyCache):
    def purge(self, did: str, cid: str | None = None) -> int:
        return super().purge(did, cid) + 1


class LooksWhileOthersWrite(ToyCache):
    def purge(self, did: str, cid: str | None = None) -> int:
        gone = []
        for key in self.entries:
            if key.did == did and cid in (None, key.cid):
                gone.append(key)
                pause()
        return sum(self.entries.pop(key, None) is not None for key in gone)


class BreaksDownTheFence(ToyCache):
    def set_fenced(self, key: CacheKey, data: bytes, fence: Any) -> bool:
        self.set(key, data)
        return True


class LooksAtTheFenceTooEarly(ToyCache):
    def set_fenced(self, key: CacheKey, data: bytes, fence: Any) -> bool:
        if self.fence(key.did, key.cid) != fence:
            return False
        pause()
        self.set(key, data)
        return True


class FencesEverything(ToyCache):
    def fence(self, did: str, cid: str) -> Hashable:
        return len(self.purges)


class HasANewFenceEachTime(ToyCache):
    def fence(self, did: str, cid: str) -> Hashable:
        return object()


class HasTheOldFenceAgain(ToyCache):
    def fence(self, did: str, cid: str) -> Hashable:
        return hash(super().fence(did, cid)) % 2


class TakesAnyFence(ToyCache):
    def set_fenced(self, key: CacheKey, data: bytes, fence: Any) -> bool:
        if isinstance(fence, int):
            return super().set_fenced(key, data, fence)
        self.set(key, data)
        return True


class CleansTooWell(ToyCache):
    def cleanup(self) -> int:
        self.entries.clear()
        return 1


class CountsInFractions(ToyCache):
    def stats(self) -> Any:
        return {"entries": 1.0}


class CountsInAList(ToyCache):
    def stats(self) -> Any:
        return [("entries", 1)]


class PromisesNothingClear(ToyCache):
    def __init__(self) -> None:
        super().__init__()
        self.is_nonblocking = "sometimes"


class ClosesOnce(ToyCache):
    def close(self) -> None:
        if self.is_closed:
            raise ValueError("closed already")
        super().close()


def contract_of(make: Callable[[], Cache]) -> CacheContract:
    class Contract(CacheContract):
        def make_cache(self, tmp_path: Path) -> Cache:
            return make()

    return Contract()


def test_a_right_cache_passes_and_is_closed(failures: Failures) -> None:
    made: list[ToyCache] = []

    def make() -> ToyCache:
        made.append(ToyCache())
        return made[-1]

    assert failures(contract_of(make)) == {}
    assert len(made) > 20
    assert all(cache.is_closed for cache in made)


def test_a_cache_without_extra_powers_passes(failures: Failures) -> None:
    class Plain:
        def __init__(self) -> None:
            toy = ToyCache()
            self.get, self.set, self.purge = toy.get, toy.set, toy.purge

    assert failures(contract_of(Plain)) == {}


FOUND_OUT: list[tuple[type[ToyCache], str]] = [
    (HasSomethingForAll, "test_what_was_not_stored_is_a_miss"),
    (GivesAnotherType, "test_get_gives_the_bytes_that_set_stored"),
    (CutsAtAMegabyte, "test_a_large_image_comes_back_whole"),
    (LeavesLargeOnesOut, "test_a_large_image_comes_back_whole"),
    (TakesNoBytesForNothing, "test_a_value_without_bytes_is_kept_or_left_out"),
    (KeepsTheFirst, "test_set_replaces_what_was_there"),
    (LeavesThePresetOut, "test_every_part_of_the_key_counts"),
    (TakesColonsForUnderscores, "test_keys_are_taken_literally"),
    (LowersCIDs, "test_cids_are_taken_literally"),
    (PurgesByPrefix, "test_cids_are_taken_literally"),
    (JoinsTheParts, "test_parts_of_keys_do_not_run_together"),
    (PurgesNothing, "test_purge_of_a_blob_takes_every_variant_and_nothing_else"),
    (PurgesByPrefix, "test_purge_of_an_owner_takes_all_of_it_and_nothing_else"),
    (CountsWrongly, "test_purge_of_what_is_not_there_removes_nothing"),
    (PurgesOnce, "test_what_was_purged_can_be_stored_again"),
    (WritesInPlace, "test_readers_see_the_old_or_the_new_and_never_a_part"),
    (LosesWrites, "test_writers_of_many_threads_lose_nothing"),
    (HasItTwice, "test_writers_of_one_image_leave_one_of_theirs"),
    (PurgesLater, "test_nothing_is_seen_after_a_purge_that_ran_beside_readers"),
    (LooksWhileOthersWrite, "test_purges_run_beside_writers"),
    (BreaksDownTheFence, "test_a_fenced_write_is_stored_unless_a_purge_came_first"),
    (FencesEverything, "test_a_fenced_write_is_stored_unless_a_purge_came_first"),
    (HasANewFenceEachTime, "test_a_fence_changes_with_every_purge_and_with_nothing_else"),
    (HasTheOldFenceAgain, "test_a_fence_changes_with_every_purge_and_with_nothing_else"),
    (TakesAnyFence, "test_a_fence_of_something_else_stores_nothing"),
    (LooksAtTheFenceTooEarly, "test_no_write_of_before_a_purge_is_seen_after_it"),
    (CleansTooWell, "test_cleanup_leaves_what_is_fresh"),
    (CountsInFractions, "test_stats_are_whole_numbers_by_name"),
    (CountsInAList, "test_stats_are_whole_numbers_by_name"),
    (PromisesNothingClear, "test_whether_it_blocks_is_yes_or_no"),
    (ClosesOnce, "test_closing_twice_is_harmless"),
]


@pytest.mark.parametrize(("broken", "found_by"), FOUND_OUT)
def test_a_wrong_cache_is_found_out(broken: type[ToyCache], found_by: str, failures: Failures) -> None:
    assert failures(contract_of(broken), found_by)


@pytest.mark.parametrize("says_so", [True, False])
def test_a_purge_that_fails_in_silence_is_found_out(says_so: bool, failures: Failures) -> None:
    class Unreachable(ToyCache):
        def purge(self, did: str, cid: str | None = None) -> int:
            if says_so:
                raise ConnectionRefusedError
            return 0

    class Contract(CacheContract):
        def make_cache(self, tmp_path: Path) -> Cache:
            return ToyCache()

        def make_unreachable_cache(self, tmp_path: Path) -> Cache:
            return Unreachable()

    found = set(failures(Contract()))
    assert found == (set() if says_so else {"test_a_purge_that_cannot_be_done_says_so"})


def test_every_test_of_the_contract_can_fail() -> None:
    shown = {found_by for _, found_by in FOUND_OUT} | {"test_a_purge_that_cannot_be_done_says_so"}
    assert {name for name in dir(CacheContract) if name.startswith("test_")} == shown
