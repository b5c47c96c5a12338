"""DIDs and CIDs: syntax, canonical form, and the proof that bytes are the ones a CID stands for. No I/O.

Sources of the rules: atproto.com/specs/did, atproto.com/specs/data-model (CIDs), atproto.com/specs/blob.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from .errors import InvalidCIDError, InvalidDIDError

__all__ = ["Cid", "canonical_cid", "canonical_did", "cid_of", "compute_cid"]

_DID = re.compile(r"did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]")
_MAX_DID_LENGTH = 2048
_CID = re.compile(r"[a-zA-Z0-9+=]{8,256}")
_PERCENT = re.compile(r"%[0-9a-f]{2}")

RAW = 0x55
DAG_CBOR = 0x71
_SHA2_256 = 0x12
# A CIDv1 header: version, codec and multihash code, each one byte for every code that the protocol uses; the length.
_HEADER_LENGTH = 4
_MAX_DEPTH = 3  # a reference, its ref, its link: nothing is nested deeper
_DIGEST_LENGTH = 32


def canonical_did(text: str) -> str:
    """The one text of a DID that this library uses in keys, URLs and requests.

    A ``did:web`` is a host name and so has no case: it is lower-cased, its percent escapes upper-cased. Otherwise one
    account would have as many cache entries, and as many ways around a takedown, as there are spellings of its name.
    Every other method is taken as it stands.

    Raises InvalidDIDError. Pure and safe to call from threads; recent answers are remembered.
    """
    try:
        return _canonical_did(text)
    except TypeError:  # an unhashable argument
        raise _not_text("DID", text, InvalidDIDError) from None


@lru_cache(maxsize=4096)
def _canonical_did(text: str) -> str:
    if not isinstance(text, str):
        raise _not_text("DID", text, InvalidDIDError)
    if len(text) > _MAX_DID_LENGTH:
        raise InvalidDIDError(f"a DID has at most {_MAX_DID_LENGTH} characters; this one has {len(text)}")
    if not _DID.fullmatch(text):
        raise InvalidDIDError(
            f"not a DID: {_shown(text)}; a DID looks like did:plc:ewvi7nxzyoun6zhxrhs64oiz or did:web:example.com",
            did=text,
        )
    if text.startswith("did:web:"):
        return _PERCENT.sub(lambda escape: escape[0].upper(), text.lower())
    return text


@dataclass(frozen=True, slots=True)
class Cid:
    """A content identifier. ``text`` is its canonical text.

    ``codec`` and ``digest`` are set when the CID is one whose bytes can be proved: CIDv1, base32 lower case, with a
    sha2-256 hash (``bafkrei...``, or ``bafyrei...`` in old records). The syntax allows many others; those are carried
    as text and have ``None`` in both.
    """

    text: str
    codec: int | None = None
    digest: bytes | None = None

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Read a CID, whether it can be proved or not.

        Raises InvalidCIDError for what the syntax does not allow, and for a second spelling of a provable CID (upper
        case, or stray bits in its last character), naming the canonical one.
        """
        if not isinstance(text, str):
            raise _not_text("CID", text, InvalidCIDError)
        if not _CID.fullmatch(text) or text.startswith("Qmb"):
            raise InvalidCIDError(
                f"not a CID: {_shown(text)}; a blob's CID looks like bafkrei... and has 59 characters", cid=text
            )
        binary = _from_base32(text)
        if binary is None or binary[0] != 1 or binary[2:_HEADER_LENGTH] != bytes([_SHA2_256, _DIGEST_LENGTH]):
            return cls(text)
        canonical = _to_base32(binary)
        if canonical != text:
            raise InvalidCIDError(f"not the canonical text of a CID: {_shown(text)}; write {canonical}", cid=text)
        return cls(text, codec=binary[1], digest=binary[_HEADER_LENGTH:])

    @property
    def is_verifiable(self) -> bool:
        """Whether ``verify`` can tell anything: the codec is one that blobs have, and the hash is sha2-256."""
        return self.digest is not None and self.codec in (RAW, DAG_CBOR)

    def verify(self, data: bytes) -> bool:
        """Whether ``data`` are the bytes that this CID stands for. ``False`` for a CID that cannot be verified."""
        return self.is_verifiable and hashlib.sha256(data).digest() == self.digest

    def __str__(self) -> str:
        return self.text


def canonical_cid(text: str) -> str:
    """The text of a CID, checked (see ``Cid.parse``). Raises InvalidCIDError. Recent answers are remembered."""
    try:
        return _canonical_cid(text)
    except TypeError:  # an unhashable argument
        raise _not_text("CID", text, InvalidCIDError) from None


@lru_cache(maxsize=4096)
def _canonical_cid(text: str) -> str:
    return Cid.parse(text).text


def compute_cid(data: bytes) -> str:
    """The CID that a PDS gives these bytes when they are uploaded as a blob: CIDv1, raw, sha2-256, base32.

    >>> compute_cid(b"hello world")
    'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'
    """
    return _to_base32(bytes([1, RAW, _SHA2_256, _DIGEST_LENGTH]) + hashlib.sha256(data).digest())


def cid_of(blob_ref: object) -> str:
    """The CID in a blob reference as records hold it, or ``""`` for ``None`` (an account without an avatar).

    Takes ``{"$type": "blob", "ref": {"$link": cid}, ...}``, the same with a CID object for ``ref`` or with the bytes of
    one, as records from a repository or the event stream have it; the legacy ``{"cid": cid, "mimeType": ...}``; a
    BlobRef object of an SDK (with an attribute ``ref`` or ``cid``); or a CID itself, as text, bytes or object.

    Raises InvalidCIDError when no CID is found there, or when it is none.

    >>> cid_of({"cid": "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", "mimeType": "image/png"})
    'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'
    """
    if blob_ref is None:
        return ""
    found = _find_cid(blob_ref)
    if found is None:
        raise InvalidCIDError(
            f"no CID in this {type(blob_ref).__name__}; a blob reference looks like "
            '{"$type": "blob", "ref": {"$link": "bafkrei..."}, ...}'
        )
    return canonical_cid(found)


def _find_cid(value: object, depth: int = 0) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return _text_of(value)
    for name in ("ref", "$link", "link", "cid") if depth < _MAX_DEPTH else ():
        inner = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        if inner is not None and not callable(inner) and (found := _find_cid(inner, depth + 1)) is not None:
            return found
    # A CID object of another library: its text is the CID.
    text = "" if isinstance(value, Mapping) else str(value)
    return text if _CID.fullmatch(text) and (depth > 0 or _from_base32(text) is not None) else None


def _text_of(binary: bytes) -> str | None:
    """The text of a CID in its binary form, as it stands in DAG-CBOR: there with a zero byte before it."""
    binary = binary[1:] if binary[:1] == b"\0" else binary
    return _to_base32(binary) if len(binary) == _HEADER_LENGTH + _DIGEST_LENGTH and binary[0] == 1 else None


def _from_base32(text: str) -> bytes | None:
    """The bytes of a multibase base32 text in either case, or None. Stray bits at the end are let through."""
    if text[0] not in "bB":
        return None
    digits = text[1:].upper()
    try:
        binary = base64.b32decode(digits + "=" * (-len(digits) % 8))
    except (binascii.Error, ValueError):
        return None
    return binary if len(binary) == _HEADER_LENGTH + _DIGEST_LENGTH else None


def _to_base32(binary: bytes) -> str:
    return "b" + base64.b32encode(binary).decode("ascii").rstrip("=").lower()


def _shown(text: str) -> str:
    """The text for an error message: escaped, and cut where it is long."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _not_text(
    what: str, value: object, error: type[InvalidDIDError | InvalidCIDError]
) -> InvalidDIDError | InvalidCIDError:
    return error(f"a {what} is a str, not {type(value).__name__}")
