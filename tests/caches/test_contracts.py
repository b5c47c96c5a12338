"""The contracts of ``imageproxy.testing.contracts``: a right backend passes, and each wrong one is found out."""

from __future__ import annotations

import inspect
import io
import itertools
import subprocess
import sys
import threading
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from imageproxy.errors import DIDNotFoundError, PDSNotFoundError, UnsupportedFormatError
from imageproxy.presets import FitMode, Preset
from imageproxy.protocols import Cache, CacheKey, Fetcher, Processor, Resolver
from imageproxy.testing.contracts import CacheContract, FetcherContract, ProcessorContract, ResolverContract


def failures(contract: object, tmp_path: Path) -> set[str]:
    """The names of the tests of a contract that fail, run as plain methods."""
    failed = set()
    for number, (name, test) in enumerate(inspect.getmembers(contract, inspect.ismethod)):
        if name.startswith("test_"):
            folder = tmp_path / str(number)
            folder.mkdir()
            try:
                test(folder) if "tmp_path" in inspect.signature(test).parameters else test()
            except AssertionError:
                failed.add(name)
    return failed


def test_pytest_is_not_loaded_with_the_contracts() -> None:
    code = "import sys, imageproxy.testing.contracts; print('pytest' in sys.modules, '_pytest' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]


class ToyCache:
    """A dictionary with a lock, fences and a close: all that the contract asks for."""

    def __init__(self) -> None:
        self.entries: dict[CacheKey, Any] = {}
        self.purges: list[tuple[str, str | None]] = []
        self.lock = threading.Lock()
        self.is_closed = False

    def get(self, key: CacheKey) -> Any:
        return self.entries.get(key)

    def set(self, key: CacheKey, data: bytes) -> None:
        self.entries[key] = data

    def purge(self, did: str, cid: str | None = None) -> int:
        with self.lock:
            self.purges.append((did, cid))
            gone = [key for key in list(self.entries) if key.did == did and cid in (None, key.cid)]
            for key in gone:
                del self.entries[key]
            return len(gone)

    def fence(self, did: str, cid: str) -> Hashable:
        with self.lock:
            return sum(purge in ((did, cid), (did, None)) for purge in self.purges)

    def set_fenced(self, key: CacheKey, data: bytes, fence: Any) -> bool:
        if self.fence(key.did, key.cid) != fence:
            return False
        self.set(key, data)
        return True

    def cleanup(self) -> int:
        return 0

    def close(self) -> None:
        self.is_closed = True


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


class TakesADIDForAPrefix(ToyCache):
    def purge(self, did: str, cid: str | None = None) -> int:
        gone = [key for key in self.entries if key.did.startswith(did) and cid in (None, key.cid)]
        for key in gone:
            del self.entries[key]
        return len(gone)


class KeepsTheFirst(ToyCache):
    def set(self, key: CacheKey, data: bytes) -> None:
        self.entries.setdefault(key, data)


class WritesInPlace(ToyCache):
    """A reader may come between the two halves."""

    def set(self, key: CacheKey, data: bytes) -> None:
        self.entries[key] = data[: len(data) // 2]
        threading.Event().wait(0.001)
        self.entries[key] = data


class GivesAnotherType(ToyCache):
    def get(self, key: CacheKey) -> Any:
        data = super().get(key)
        return None if data is None else bytearray(data)


class PurgesNothing(ToyCache):
    def purge(self, did: str, cid: str | None = None) -> int:
        return 0


class CountsWrongly(ToyCache):
    def purge(self, did: str, cid: str | None = None) -> int:
        return super().purge(did, cid) + 1


class BreaksDownTheFence(ToyCache):
    def set_fenced(self, key: CacheKey, data: bytes, fence: Any) -> bool:
        self.set(key, data)
        return True


class FencesEverything(ToyCache):
    def fence(self, did: str, cid: str) -> Hashable:
        return len(self.purges)


class CleansTooWell(ToyCache):
    def cleanup(self) -> int:
        self.entries.clear()
        return 1


def test_a_right_cache_passes_and_is_closed(tmp_path: Path) -> None:
    made = []

    class Contract(CacheContract):
        def make_cache(self, tmp_path: Path) -> Cache:
            made.append(ToyCache())
            return made[-1]

    assert failures(Contract(), tmp_path) == set()
    assert len(made) > 10
    assert all(cache.is_closed for cache in made)


def test_a_cache_without_extra_powers_passes(tmp_path: Path) -> None:
    class Plain:
        def __init__(self) -> None:
            toy = ToyCache()
            self.get, self.set, self.purge = toy.get, toy.set, toy.purge

    class Contract(CacheContract):
        def make_cache(self, tmp_path: Path) -> Cache:
            return Plain()

    assert failures(Contract(), tmp_path) == set()


@pytest.mark.parametrize(
    ("broken", "found_by"),
    [
        (LeavesThePresetOut, "test_every_part_of_the_key_counts"),
        (TakesColonsForUnderscores, "test_keys_are_taken_literally"),
        (TakesADIDForAPrefix, "test_purge_of_an_owner_takes_all_of_it_and_nothing_else"),
        (KeepsTheFirst, "test_set_replaces_what_was_there"),
        (WritesInPlace, "test_readers_see_the_old_or_the_new_and_never_a_part"),
        (GivesAnotherType, "test_get_gives_the_bytes_that_set_stored"),
        (PurgesNothing, "test_purge_of_a_blob_takes_every_variant_and_nothing_else"),
        (CountsWrongly, "test_purge_of_what_is_not_there_removes_nothing"),
        (BreaksDownTheFence, "test_a_fenced_write_is_stored_unless_a_purge_came_first"),
        (FencesEverything, "test_a_fenced_write_is_stored_unless_a_purge_came_first"),
        (CleansTooWell, "test_cleanup_leaves_what_is_fresh"),
    ],
)
def test_a_wrong_cache_is_found_out(broken: type[ToyCache], found_by: str, tmp_path: Path) -> None:
    class Contract(CacheContract):
        def make_cache(self, tmp_path: Path) -> Cache:
            return broken()

    assert found_by in failures(Contract(), tmp_path)


class ToyFetcher:
    def __init__(self, blobs: Mapping[tuple[str, str], bytes]) -> None:
        self.blobs = dict(blobs)

    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
        try:
            return self.blobs[did, cid]
        except KeyError:
            raise PDSNotFoundError("no such blob", did=did, cid=cid, pds_url=pds_url) from None

    def close(self) -> None:
        self.blobs.clear()


class NamesNoBlob(ToyFetcher):
    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
        try:
            return super().fetch(pds_url, did, cid)
        except PDSNotFoundError:
            raise PDSNotFoundError("no such blob") from None


class LooksAtTheCIDAlone(ToyFetcher):
    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
        return next(blob for (_, known), blob in self.blobs.items() if known == cid or len(self.blobs) == 1)


class GivesTheFirst(ToyFetcher):
    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
        return next(iter(self.blobs.values()))


@pytest.mark.parametrize(
    ("fetcher", "found"),
    [
        (ToyFetcher, set()),
        (NamesNoBlob, {"test_a_blob_that_is_not_there_is_an_error_of_its_own"}),
        (LooksAtTheCIDAlone, {"test_a_blob_that_is_not_there_is_an_error_of_its_own"}),
        (
            GivesTheFirst,
            {
                "test_a_blob_that_is_not_there_is_an_error_of_its_own",
                "test_fetch_gives_the_bytes_of_the_blob",
                "test_threads_fetch_at_once",
            },
        ),
    ],
)
def test_a_wrong_fetcher_is_found_out(fetcher: type[ToyFetcher], found: set[str], tmp_path: Path) -> None:
    class Contract(FetcherContract):
        def make_fetcher(self, blobs: Mapping[tuple[str, str], bytes]) -> Fetcher:
            return fetcher(blobs)

    assert failures(Contract(), tmp_path) == found


class ToyResolver:
    def __init__(self, known: Mapping[str, str]) -> None:
        self.known = dict(known)

    def resolve(self, did: str, *, timeout: float | None = None) -> str:
        try:
            return self.known[did]
        except KeyError:
            raise DIDNotFoundError("no such DID", did=did) from None

    def invalidate(self, did: str) -> None:
        pass

    def close(self) -> None:
        pass


class ForgetsForGood(ToyResolver):
    def invalidate(self, did: str) -> None:
        self.known[did] = ""


class KnowsEverybody(ToyResolver):
    def resolve(self, did: str, *, timeout: float | None = None) -> str:
        return "https://pds.example.com"


class NamesNobody(ToyResolver):
    invalidate: Any = None

    def resolve(self, did: str, *, timeout: float | None = None) -> str:
        if did not in self.known:
            raise DIDNotFoundError("no such DID")
        return "https://elsewhere.example.com"


@pytest.mark.parametrize(
    ("resolver", "found"),
    [
        (ToyResolver, set()),
        (ForgetsForGood, {"test_a_did_that_was_forgotten_is_found_again"}),
        (KnowsEverybody, {"test_an_unknown_did_is_an_error_of_its_own"}),
        (NamesNobody, {"test_an_unknown_did_is_an_error_of_its_own", "test_a_known_did_has_its_pds"}),
    ],
)
def test_a_wrong_resolver_is_found_out(resolver: type[ToyResolver], found: set[str], tmp_path: Path) -> None:
    class Contract(ResolverContract):
        def make_resolver(self, known: Mapping[str, str]) -> Resolver:
            return resolver(known)

    assert failures(Contract(), tmp_path) == found


class ToyProcessor:
    """The least that does it with Pillow."""

    def process(self, data: bytes, preset: Preset) -> Any:
        try:
            image = Image.open(io.BytesIO(data))
            image.load()
        except OSError as error:
            raise UnsupportedFormatError("no image") from error
        image = self.background(self.upright(image), preset)
        image = self.fit(image, preset)
        result = io.BytesIO()
        image.save(result, preset.format)
        return result.getvalue()

    def upright(self, image: Any) -> Any:
        return ImageOps.exif_transpose(image)

    def background(self, image: Any, preset: Preset) -> Any:
        flat = Image.new("RGBA", image.size, preset.background)
        flat.alpha_composite(image.convert("RGBA"))
        return flat.convert("RGB")

    def fit(self, image: Any, preset: Preset) -> Any:
        if preset.fit is FitMode.COVER:
            return ImageOps.fit(image, (preset.width, preset.height))
        scale = preset.width / image.width
        if preset.height:
            scale = min(scale, preset.height / image.height)
        if not preset.enlarges:
            scale = min(scale, 1)
        return image.resize((round(image.width * scale), round(image.height * scale)))

    def close(self) -> None:
        pass


class NeverTurns(ToyProcessor):
    def upright(self, image: Any) -> Any:
        return image


class PaintsItBlack(ToyProcessor):
    def background(self, image: Any, preset: Preset) -> Any:
        return image.convert("RGB")


class Stretches(ToyProcessor):
    def fit(self, image: Any, preset: Preset) -> Any:
        return image.resize((preset.width, preset.height or 100))


class AlwaysSavesPNG(ToyProcessor):
    def process(self, data: bytes, preset: Preset) -> Any:
        return super().process(data, preset.with_format("png"))


class TakesAnything(ToyProcessor):
    def process(self, data: bytes, preset: Preset) -> Any:
        try:
            return super().process(data, preset)
        except UnsupportedFormatError:
            return b"\xff\xd8\xff"


class GivesABuffer(ToyProcessor):
    def process(self, data: bytes, preset: Preset) -> Any:
        return bytearray(super().process(data, preset))


@pytest.mark.parametrize(
    ("processor", "found_by"),
    [
        (NeverTurns, "test_the_picture_stands_upright"),
        (PaintsItBlack, "test_the_background_shows_through_where_there_is_no_transparency"),
        (Stretches, "test_contain_enlarges_only_when_told_to"),
        (AlwaysSavesPNG, "test_the_result_is_in_the_format_of_the_preset"),
        (TakesAnything, "test_what_is_no_image_is_refused"),
        (GivesABuffer, "test_cover_is_exactly_the_box"),
    ],
)
def test_a_wrong_processor_is_found_out(processor: type[ToyProcessor], found_by: str, tmp_path: Path) -> None:
    class Contract(ProcessorContract):
        def make_processor(self) -> Processor:
            return processor()

    assert found_by in failures(Contract(), tmp_path)


def test_a_right_processor_passes(tmp_path: Path) -> None:
    class Contract(ProcessorContract):
        def make_processor(self) -> Processor:
            return ToyProcessor()

    assert failures(Contract(), tmp_path) == set()


@pytest.mark.parametrize(
    ("contract", "make"),
    [
        (CacheContract, "make_cache"),
        (FetcherContract, "make_fetcher"),
        (ResolverContract, "make_resolver"),
        (ProcessorContract, "make_processor"),
    ],
)
def test_a_contract_must_be_told_what_to_make(contract: Any, make: str) -> None:
    method = getattr(contract(), make)
    with pytest.raises(NotImplementedError):
        method(*itertools.repeat(None, len(inspect.signature(method).parameters)))
