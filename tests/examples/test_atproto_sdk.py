from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import libipld
import pytest
from atproto import DidInMemoryCache, IdResolver, models

from imageproxy import DIDNotFoundError, DIDResolutionError, DIDResolver, Resolver, cid_of, compute_cid, create_service
from imageproxy.testing import DrawnPhoto, LocalPDS, ResolverContract

CID = compute_cid(b"blob")


class Sdk:
    """Makes resolvers over the SDK's own, and closes what the SDK has no way to close."""

    def __init__(self, example: ModuleType) -> None:
        self._example = example
        self._made: list[IdResolver] = []
        self._web = DIDResolver(allow_private_networks=True)

    def resolver(self, plc_url: str) -> Any:
        documents = DidInMemoryCache()
        self._made.append(IdResolver(plc_url=plc_url, cache=documents))
        return self._example.SdkResolver(self._made[-1], documents, self._web)

    def close(self) -> None:
        self._web.close()
        for made in self._made:
            methods: dict[str, Any] = dict(made.did._methods)
            for method in methods.values():
                method._client.close()


@pytest.fixture
def example(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("atproto_sdk")


@pytest.fixture
def sdk(example: ModuleType) -> Iterator[Sdk]:
    sdk = Sdk(example)
    yield sdk
    sdk.close()


@pytest.fixture
def deaf_url() -> Iterator[str]:
    """A directory that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


class TestSdkResolver(ResolverContract):
    @pytest.fixture(autouse=True)
    def _directory(self, sdk: Sdk, pds: LocalPDS, deaf_url: str) -> None:
        self.sdk, self.pds, self.deaf_url = sdk, pds, deaf_url

    def make_resolver(self, known: Mapping[str, str]) -> Resolver:
        for did, pds_url in known.items():
            self.pds.create_account(did, pds_url=pds_url)
        resolver: Resolver = self.sdk.resolver(self.pds.plc_url)
        return resolver

    def make_stalled_resolver(self) -> Resolver:
        resolver: Resolver = self.sdk.resolver(self.deaf_url)
        return resolver

    def make_failing_resolver(self) -> Resolver:
        self.pds.fail_next(503, 1, on="directory")
        resolver: Resolver = self.sdk.resolver(self.pds.plc_url)
        return resolver

    def move_account(self, did: str, pds_url: str) -> bool:
        self.pds.move_account(did, pds_url)
        return True


def test_what_the_sdk_has_found_is_not_asked_for_again(sdk: Sdk, pds: LocalPDS) -> None:
    did = pds.create_account()
    resolver = sdk.resolver(pds.plc_url)
    resolver._sdk.did.resolve(did)
    assert resolver.resolve(did) == pds.url
    assert len(pds.requests) == 1


def test_a_tombstone_is_no_failure_of_the_directory(sdk: Sdk, pds: LocalPDS) -> None:
    did = pds.create_account()
    pds.tombstone(did)
    with pytest.raises(DIDNotFoundError) as caught:
        sdk.resolver(pds.plc_url).resolve(did)
    assert caught.value.status == 410


def test_a_did_web_is_not_left_to_the_sdk(sdk: Sdk, pds: LocalPDS) -> None:
    did = pds.create_account(method="web")
    resolver = sdk.resolver(pds.plc_url)
    assert resolver.resolve(did) == pds.url
    resolver.invalidate(did)
    assert resolver.resolve(did) == pds.url
    assert len(pds.requests) == 2
    with pytest.raises(DIDResolutionError):
        resolver.resolve("did:web:10.0.0.1")


def test_a_document_that_names_no_pds_is_an_error_of_its_own(sdk: Sdk, pds: LocalPDS) -> None:
    did = pds.create_account(pds_url="gopher://example.com")
    with pytest.raises(DIDResolutionError, match="no PDS") as caught:
        sdk.resolver(pds.plc_url).resolve(did)
    assert not isinstance(caught.value, DIDNotFoundError)


def test_images_come_by_way_of_the_sdk(sdk: Sdk, pds: LocalPDS, photo: DrawnPhoto, tmp_path: Path) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, photo.data, content_type=photo.content_type)
    resolver = sdk.resolver(pds.plc_url)
    with create_service(pds.service_config(cache_path=tmp_path), resolver=resolver) as images:
        assert images.get("avatar", did, cid).content_type == "image/jpeg"


def test_the_cid_is_found_in_each_of_the_sdks_blobs(example: ModuleType) -> None:
    # As JSON has it, and as the event stream and CAR files do: a DAG-CBOR link, tag 42 (ipld.io/specs/codecs/dag-cbor).
    as_json = {"$type": "blob", "ref": {"$link": CID}, "mimeType": "image/png", "size": 1}
    binary = base64.b32decode(CID[1:].upper() + "=" * (-len(CID[1:]) % 8))
    link = b"\xd8\x2a\x58\x25\x00" + binary
    as_cbor = libipld.decode_dag_cbor(b"\xa4\x63ref" + link + b"\x64size\x01\x65$type\x64blob\x68mimeType\x69image/png")
    for blob in (as_json, as_cbor):
        profile = {"$type": "app.bsky.actor.profile", "avatar": blob}
        record: Any = models.get_or_create(profile, models.AppBskyActorProfile.Record)
        assert cid_of(record.avatar) == CID
    assert cid_of(None) == ""


def test_the_example_runs(run_example: Callable[..., str]) -> None:
    assert run_example("atproto_sdk").startswith("avatar: ")
