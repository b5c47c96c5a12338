"""DIDs and CIDs, checked against the protocol's own vectors."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from imageproxy import InvalidCIDError, InvalidDIDError
from imageproxy.identifiers import Cid, canonical_cid, canonical_did, cid_of, compute_cid

HELLO = b"hello world"
HELLO_CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
DATA = Path(__file__).parent.parent / "data"


def vectors(name: str) -> list[str]:
    lines = (DATA / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("did", vectors("did_syntax_valid.txt"))
def test_valid_dids_of_the_protocol_pass_unchanged(did: str) -> None:
    assert canonical_did(did) == did


@pytest.mark.parametrize("did", vectors("did_syntax_invalid.txt"))
def test_invalid_dids_of_the_protocol_are_refused(did: str) -> None:
    with pytest.raises(InvalidDIDError):
        canonical_did(did)


@pytest.mark.parametrize(
    "did", ["", "did:plc:abc\n", " did:plc:abc", "did:plc:a b", "did:plc:\x00", "did:plc:ä", "did:plc:../x/"]
)
def test_text_around_a_did_is_refused(did: str) -> None:
    with pytest.raises(InvalidDIDError):
        canonical_did(did)


def test_a_did_of_2048_characters_is_the_longest() -> None:
    longest = "did:plc:" + "a" * 2040
    assert canonical_did(longest) == longest
    with pytest.raises(InvalidDIDError, match="2048"):
        canonical_did(longest + "a")


@pytest.mark.parametrize("value", [None, 5, b"did:plc:abc", ["did:plc:abc"]])
def test_what_is_no_text_is_no_identifier(value: object) -> None:
    with pytest.raises(InvalidDIDError, match="str"):
        canonical_did(value)  # type: ignore[arg-type]
    with pytest.raises(InvalidCIDError, match="str"):
        canonical_cid(value)  # type: ignore[arg-type]


def test_a_did_web_has_one_spelling() -> None:
    assert canonical_did("did:web:Example.COM") == "did:web:example.com"
    assert canonical_did("did:web:localhost%3a2583") == "did:web:localhost%3A2583"


def test_other_methods_keep_their_case() -> None:
    assert canonical_did("did:key:zQ3shZc2Q") == "did:key:zQ3shZc2Q"


def test_the_cid_of_bytes_is_the_one_a_pds_gives_them() -> None:
    assert compute_cid(HELLO) == HELLO_CID


def test_a_blob_cid_proves_its_bytes() -> None:
    cid = Cid.parse(HELLO_CID)
    assert cid.is_verifiable
    assert cid.verify(HELLO)
    assert not cid.verify(HELLO + b"!")
    assert str(cid) == HELLO_CID


def test_an_old_dag_cbor_cid_proves_its_bytes() -> None:
    binary = bytes([1, 0x71, 0x12, 32]) + hashlib.sha256(HELLO).digest()
    text = "b" + base64.b32encode(binary).decode().rstrip("=").lower()
    assert text.startswith("bafyrei")
    assert Cid.parse(text).verify(HELLO)


@pytest.mark.parametrize(
    "text",
    [
        "bafkreimadeup",
        "zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA",
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKuVKH",
        "12345678",
        "b" + "a" * 58,
    ],
)
def test_a_cid_that_proves_nothing_is_carried_as_text(text: str) -> None:
    cid = Cid.parse(text)
    assert cid.text == text
    assert not cid.is_verifiable
    assert not cid.verify(HELLO)


@pytest.mark.parametrize("text", ["", "short", "Qmb" + "a" * 43, "a" * 257, "bafkrei\n12", "bafk rei12", "b/../../etc"])
def test_what_the_syntax_does_not_allow_is_no_cid(text: str) -> None:
    with pytest.raises(InvalidCIDError):
        canonical_cid(text)


def test_a_second_spelling_of_a_cid_is_refused_with_the_first() -> None:
    stray_bits = HELLO_CID[:-1] + "f"
    for twin in (HELLO_CID.upper(), "B" + HELLO_CID[1:], stray_bits):
        with pytest.raises(InvalidCIDError, match=HELLO_CID):
            canonical_cid(twin)


def test_long_nonsense_is_cut_in_messages() -> None:
    with pytest.raises(InvalidCIDError) as caught:
        canonical_cid("/" * 5000)
    assert len(str(caught.value)) < 200


@dataclass
class SDKLink:
    link: str


@dataclass
class SDKBlobRef:
    mime_type: str
    ref: object


@dataclass
class TwoFacedBlobRef:
    """As an SDK gives it whose ``ref`` may be anything, and that has a ``cid`` beside it."""

    ref: object
    cid: str


HELLO_BYTES = bytes([1, 0x55, 0x12, 32]) + hashlib.sha256(b"hello world").digest()


class CidObject:
    def __str__(self) -> str:
        return HELLO_CID


@pytest.mark.parametrize(
    "reference",
    [
        {"$type": "blob", "ref": {"$link": HELLO_CID}, "mimeType": "image/png", "size": 11},
        {"$type": "blob", "ref": CidObject(), "mimeType": "image/png", "size": 11},
        {"$type": "blob", "ref": HELLO_CID, "mimeType": "image/png"},
        {"cid": HELLO_CID, "mimeType": "image/png"},
        SDKBlobRef("image/png", SDKLink(HELLO_CID)),
        SDKBlobRef("image/png", CidObject()),
        {"$type": "blob", "ref": HELLO_BYTES, "mimeType": "image/png"},
        {"$type": "blob", "ref": b"\0" + HELLO_BYTES, "mimeType": "image/png"},
        SDKBlobRef("image/png", HELLO_BYTES),
        TwoFacedBlobRef(object(), HELLO_CID),
        HELLO_CID,
        HELLO_BYTES,
        CidObject(),
    ],
)
def test_the_cid_is_found_in_every_kind_of_reference(reference: object) -> None:
    assert cid_of(reference) == HELLO_CID


def test_no_reference_has_no_cid() -> None:
    assert cid_of(None) == ""


def test_a_reference_that_holds_itself_is_refused() -> None:
    loop: dict[str, object] = {}
    loop["ref"] = loop
    with pytest.raises(InvalidCIDError):
        cid_of(loop)


@pytest.mark.parametrize(
    "reference", [{}, {"ref": {}}, 5, object(), [], {"cid": "nope"}, {"ref": {"$link": 5}}, b"", b"\0" * 36]
)
def test_a_reference_without_a_cid_is_refused(reference: object) -> None:
    with pytest.raises(InvalidCIDError):
        cid_of(reference)
