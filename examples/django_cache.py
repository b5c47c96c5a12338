"""Images in Django's cache framework: any backend that ``CACHES`` names, such as Redis, Memcached or a folder.

    pip install atproto-imageproxy django
    python examples/django_cache.py

In a project, make the service once, where the app starts::

    images = create_service(Config.from_env(), cache=DjangoCache("images"))

Give images an alias of their own, with room: ``MAX_ENTRIES`` of Django's own backends is 300 unless it is set, and each
blob takes two entries more than it has images. The database backend is a poor choice: it keeps a connection for each
thread of the service.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
import zlib
from collections.abc import Hashable
from typing import Any

from django.conf import settings
from django.core.cache import caches

from imageproxy import CacheKey, create_service
from imageproxy.testing import LocalPDS, drawn_photos

TOKEN_BYTES = 16
FENCE_BYTES = 2 * TOKEN_BYTES
PAGES = 16
UNFENCED = object()


class DjangoCache:
    """A Cache over one of Django's, with fences. Safe to use from threads, processes and machines that share it.

    alias: of ``CACHES``.
    ttl_seconds: how long an image is kept, if the backend has room for it.

    The cache framework cannot list keys, so a purge has nothing to go through. Instead, each owner and each blob has a
    token, every image is stored behind the two that held when it was fetched, and a purge changes one of them: what was
    stored before, or comes late, is never seen again, wherever it was written. That the tokens are random and not
    counted matters: a backend may drop a counter when it is full, and it would come back as what it was before a purge.

    What a purge frees and counts comes from an index, which is exact within a process. Of two processes that store
    images of one owner in the same moment, one entry may be missing there: it is as invisible, and goes with its TTL.
    """

    def __init__(self, alias: str = "default", *, ttl_seconds: float = 30 * 86400) -> None:
        self._alias = alias
        self._ttl_seconds = ttl_seconds
        # By process: the child of a fork must not wait for a lock that a thread of its parent held.
        self._locks: dict[int, threading.Lock] = {}

    def get(self, key: CacheKey) -> bytes | None:
        name = _name("image", *key)
        owner, blob = _tokens(key.did, key.cid)
        found = self._backend.get_many([owner, blob, name])  # one round trip
        stored: bytes | None = found.get(name)
        if stored is None or stored[:FENCE_BYTES] != found.get(owner, b"") + found.get(blob, b""):
            return None
        return stored[FENCE_BYTES:]

    def set(self, key: CacheKey, data: bytes) -> None:
        self._store(key, data, UNFENCED)

    def fence(self, did: str, cid: str) -> bytes:
        # A token that is not there, or no more, becomes another one: what was stored behind an old one stays unseen.
        # It outlives what is stored behind it, but for images that were stored late in its life: those go early.
        backend = self._backend
        return b"".join(
            backend.get_or_set(token, secrets.token_bytes(TOKEN_BYTES), timeout=2 * self._ttl_seconds)
            for token in _tokens(did, cid)
        )

    def set_fenced(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        return self._store(key, data, fence)

    def purge(self, did: str, cid: str | None = None) -> int:
        backend = self._backend
        owner, blob = _tokens(did, cid or "")
        token = owner if cid is None else blob
        with self._lock:
            old = backend.get(token)
            backend.set(token, secrets.token_bytes(TOKEN_BYTES), timeout=2 * self._ttl_seconds)
            if old is not None and backend.get(token) == old:
                raise OSError(f"the cache {self._alias!r} does not take a new token, so {did} is not purged")
            removed = 0
            for page in _all_pages(did) if cid is None else [_page(did, cid)]:
                index: dict[str, tuple[str, float]] = backend.get(page, {})
                doomed = [name for name, (of, _) in index.items() if cid in (None, of)]
                if doomed:
                    removed += sum(bool(backend.delete(name)) for name in doomed)
                    kept = {name: entry for name, entry in index.items() if name not in doomed}
                    backend.set(page, kept, timeout=2 * self._ttl_seconds)
            return removed

    def _store(self, key: CacheKey, data: bytes, fence: Hashable) -> bool:
        backend = self._backend
        with self._lock:
            present = self.fence(key.did, key.cid)
            if fence not in (UNFENCED, present):
                return False
            name = _name("image", *key)
            now = time.time()
            # A purge by another process between the look at the fence and this write makes it one that nobody sees.
            backend.set(name, present + data, timeout=self._ttl_seconds)
            page = _page(key.did, key.cid)
            index = {known: entry for known, entry in backend.get(page, {}).items() if entry[1] > now}
            index[name] = (key.cid, now + self._ttl_seconds)
            backend.set(page, index, timeout=2 * self._ttl_seconds)
        return True

    @property
    def _backend(self) -> Any:
        # Not kept: Django gives each thread a backend of its own, since they need not be safe to share.
        return caches[self._alias]

    @property
    def _lock(self) -> threading.Lock:
        return self._locks.setdefault(os.getpid(), threading.Lock())


def _name(*parts: str) -> str:
    """A key that every backend takes: Memcached allows 250 characters, and no blanks."""
    return "imageproxy-" + hashlib.sha256(ascii(parts).encode()).hexdigest()


def _tokens(did: str, cid: str) -> tuple[str, str]:
    return _name("owner", did), _name("blob", did, cid)


def _page(did: str, cid: str) -> str:
    """Where a blob is indexed. In pages, so that an owner of thousands does not make one huge value."""
    return _name("page", did, str(zlib.crc32(cid.encode()) % PAGES))


def _all_pages(did: str) -> list[str]:
    return [_name("page", did, str(number)) for number in range(PAGES)]


def main() -> None:
    backend = {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": "django-cache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
    settings.configure(CACHES={"default": backend})
    photo = drawn_photos()[0]
    with LocalPDS() as pds, create_service(pds.service_config(), cache=DjangoCache()) as images:
        did = pds.create_account()
        cid = pds.add_blob(did, photo.data, content_type=photo.content_type)
        print("first:", images.get("avatar", did, cid).source)
        images.flush()  # what was fetched is written behind the answer; here we want to see it written
        print("again:", images.get("avatar", did, cid).source)
        print("purged:", images.purge(did).entries)
        print("and then:", images.get("avatar", did, cid).source)


if __name__ == "__main__":
    main()
