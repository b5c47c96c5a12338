"""The entries of the disk cache: what they are called and what stands at their end. Pure; no I/O.

An entry is a file: the image's bytes as they are served, and then a trailer. The trailer tells a whole entry from one
that a power loss cut short or left empty, at the price of reading 20 bytes.

Its name is three digests, of the owner, of the blob and of the variant: hex in lower case, whatever the DID holds and
however the file system treats case. All that a purge needs to know is in the name.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from imageproxy.protocols import CacheKey

__all__ = [
    "FORMAT",
    "SHARDS",
    "TRAILER_SIZE",
    "EntryInfo",
    "EntryName",
    "blob_digest",
    "is_entry_name",
    "is_trailer",
    "is_undamaged",
    "locate",
    "owner_digest",
    "shard_name",
    "shards_of_owner",
    "trailer",
]

FORMAT = "v1"
"""Part of the path: raised with every change of names, trailer, ledger or number of shards."""

# 4 bits of the owner's digest, then 8 of the blob's: three hex digits. Four thousand folders hold a million entries at
# some 250 each, which takes less than 1 ms to scan; an owner is in 256 of them, so that purging one account does not
# read the whole cache, and one that owns everything is still spread well.
_SHARDS_PER_OWNER = 256
SHARDS = 16 * _SHARDS_PER_OWNER

_DIGEST_LENGTH = 32  # hex digits: 128 bits, which nobody can hit twice on purpose
_NAME = re.compile(f"[0-9a-f]{{{3 * _DIGEST_LENGTH}}}")

_TRAILER = struct.Struct("<8sQI")
_MAGIC = b"imgprxy\x01"
TRAILER_SIZE = _TRAILER.size


@dataclass(frozen=True, slots=True)
class EntryInfo:
    """What the disk tells of one entry.

    size_bytes: of its file, which has a trailer of 20 bytes after the image.
    written, used: when it was written, and last read to within an hour; in seconds since the epoch.
    owner: a digest of the owner's DID, the same for all of its entries. Which image it is cannot be told from a file.
    shard: the name of the folder that it is in.
    """

    size_bytes: int
    written: float
    used: float
    owner: str
    shard: str


class EntryName(NamedTuple):
    """Where an entry is: the number of its shard, the name of the shard's folder, and the name of the file there."""

    shard: int
    folder: str
    file: str

    @property
    def owner(self) -> str:
        """The owner's digest."""
        return self.file[:_DIGEST_LENGTH]

    @property
    def blob(self) -> str:
        """The blob's digest."""
        return self.file[_DIGEST_LENGTH : 2 * _DIGEST_LENGTH]


@lru_cache(maxsize=8192)
def locate(key: CacheKey) -> EntryName:
    """Where the entry of ``key`` is."""
    owner = owner_digest(key.did)
    blob = blob_digest(key.did, key.cid)
    variant = _variant_digest(key.preset, key.content_type)
    folder = owner[0] + blob[:2]
    return EntryName(int(folder, 16), folder, owner + blob + variant)


def owner_digest(did: str) -> str:
    """What the names of all entries of this owner begin with."""
    return _digest(did)


def blob_digest(did: str, cid: str) -> str:
    """What the names of all variants of this blob have in their middle."""
    # The length keeps two pairs apart whose texts run together the same way.
    return _digest(f"{len(did)}:{did}{cid}")


def shards_of_owner(owner: str) -> range:
    """The numbers of the shards that an owner's entries are in."""
    first = int(owner[0], 16) * _SHARDS_PER_OWNER
    return range(first, first + _SHARDS_PER_OWNER)


def shard_name(shard: int) -> str:
    """The name of a shard's folder."""
    return f"{shard:03x}"


def is_entry_name(name: str) -> bool:
    """Whether a file of this name is an entry; what else lies in the folder is left alone."""
    return _NAME.fullmatch(name) is not None


def trailer(file: str, data: bytes) -> bytes:
    """What follows ``data`` in the file of this name: a mark, the length, and a checksum of name and data."""
    return _TRAILER.pack(_MAGIC, len(data), _checksum(file, data))


def is_trailer(read: bytes, size: int) -> bool:
    """Whether these bytes are the trailer of ``size`` bytes of data. The checksum is not looked at."""
    if len(read) != TRAILER_SIZE:
        return False
    magic, length, _ = _TRAILER.unpack(read)
    return bool(magic == _MAGIC and length == size)


def is_undamaged(read: bytes, file: str, data: bytes) -> bool:
    """Whether a trailer's checksum holds: no bit flipped, and the file is still under its own name."""
    return read == trailer(file, data)


@lru_cache(maxsize=256)
def _variant_digest(preset: str, content_type: str) -> str:
    return _digest(f"{len(preset)}:{preset}{content_type}")


def _checksum(file: str, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(file.encode("ascii")))


def _digest(text: str) -> str:
    # surrogatepass: a key is any str, and no str may fail here.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
