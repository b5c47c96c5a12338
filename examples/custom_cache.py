"""Two caches of one's own: a subclass of the default, and a plain class.

    pip install atproto-imageproxy cryptography
    python examples/custom_cache.py

``EncryptedDiskCache`` is DiskCache with files that nobody reads or forges without the key, for a disk that others can
see. ``SqliteCache`` inherits nothing: it is a cache because it has the methods of ``imageproxy.Cache``. Try a cache of
yours with ``imageproxy.testing.CacheContract``, as ``tests/examples/test_custom_cache.py`` does with these.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Hashable
from contextlib import closing
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from imageproxy import CacheKey, DiskCache, create_service
from imageproxy.testing import LocalPDS, drawn_photos

NONCE_BYTES = 12


class EncryptedDiskCache(DiskCache):
    """DiskCache with files encrypted by AES-GCM. Who knows a blob can still tell by their names whether it is there.

    secret: 16, 24 or 32 bytes, from wherever the app keeps its secrets. With another one, every entry is a miss.
    options: those of DiskCache.
    """

    def __init__(self, root: Path | str, *, secret: bytes, **options: Any) -> None:
        super().__init__(root, **options)
        self._cipher = AESGCM(secret)

    def get(self, key: CacheKey) -> bytes | None:
        sealed = super().get(key)
        if sealed is None:
            return None
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _label(key))
        except (InvalidTag, ValueError):  # written with another secret, or not by us
            return None

    # What both ``set`` and ``set_fenced`` go through.
    def store(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        return super().store(key, self._seal(key, data), fence)

    def _seal(self, key: CacheKey, data: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        # The key is signed too: a file that is given another's name does not open.
        return nonce + self._cipher.encrypt(nonce, data, _label(key))


def _label(key: CacheKey) -> bytes:
    return ascii(tuple(key)).encode()


class SqliteCache:
    """A cache in one file, without a limit. Safe to use from threads and processes, also after a fork.

    ttl_seconds: how old an image may become. ``cleanup`` removes the older ones: call it now and then.
    """

    def __init__(self, path: Path | str, *, ttl_seconds: float = 30 * 86400) -> None:
        self._path = path
        self._ttl_seconds = ttl_seconds
        with closing(self._connect()) as database:
            database.execute("PRAGMA journal_mode = WAL")  # readers do not wait for writers
            # The primary key begins as a purge asks: by owner, then by blob.
            database.execute(
                "CREATE TABLE IF NOT EXISTS images (did TEXT, cid TEXT, preset TEXT, content_type TEXT,"
                " data BLOB NOT NULL, written REAL NOT NULL, PRIMARY KEY (did, cid, preset, content_type))"
            )

    def get(self, key: CacheKey) -> bytes | None:
        with closing(self._connect()) as database:
            row = database.execute(
                "SELECT data FROM images WHERE preset = ? AND did = ? AND cid = ? AND content_type = ? AND written > ?",
                (*key, time.time() - self._ttl_seconds),
            ).fetchone()
        return None if row is None else row[0]

    def set(self, key: CacheKey, data: bytes) -> None:
        with closing(self._connect()) as database:
            database.execute(
                "REPLACE INTO images (preset, did, cid, content_type, data, written) VALUES (?, ?, ?, ?, ?, ?)",
                (*key, data, time.time()),
            )

    def purge(self, did: str, cid: str | None = None) -> int:
        with closing(self._connect()) as database:
            if cid is None:
                return database.execute("DELETE FROM images WHERE did = ?", (did,)).rowcount
            return database.execute("DELETE FROM images WHERE did = ? AND cid = ?", (did, cid)).rowcount

    def cleanup(self) -> int:
        """Remove what is too old; how many entries that were."""
        with closing(self._connect()) as database:
            return database.execute(
                "DELETE FROM images WHERE written <= ?", (time.time() - self._ttl_seconds,)
            ).rowcount

    def _connect(self) -> sqlite3.Connection:
        # A connection for each call: none is shared by threads, and none is carried over a fork.
        return sqlite3.connect(self._path, timeout=30, isolation_level=None)


def main() -> None:
    photo = drawn_photos()[0]
    with LocalPDS() as pds:
        did = pds.create_account()
        cid = pds.add_blob(did, photo.data, content_type=photo.content_type)
        for cache in (EncryptedDiskCache("encrypted", secret=os.urandom(32)), SqliteCache("images.sqlite")):
            with create_service(pds.service_config(), cache=cache) as images:
                fetched = images.get("avatar", did, cid)
                images.flush()  # what was fetched is written behind the answer; here we want to see it written
                cached = images.get("avatar", did, cid)
                purged = images.purge(did)
            print(
                type(cache).__name__, fetched.source, cached.source, len(cached.data), "bytes; purged", purged.entries
            )


if __name__ == "__main__":
    main()
