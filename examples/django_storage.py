"""Images in a Django storage: a folder, or whatever ``STORAGES`` names.

    pip install atproto-imageproxy django
    python examples/django_storage.py

In a project, make the service once, where the app starts::

    from django.core.files.storage import storages

    images = create_service(Config.from_env(), cache=StorageCache(storages["images"]))

A storage has no limit and no TTL: let a management command call ``cleanup`` each day.
"""

from __future__ import annotations

import hashlib
import os
import threading
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage
from django.utils import timezone

from imageproxy import CacheKey, create_service
from imageproxy.testing import LocalPDS, drawn_photos

LENGTH_BYTES = 8
TRIES = 100


class StorageCache:
    """A Cache over a Django storage. Safe to use from threads, and from processes that share the storage.

    storage: an instance, whose files several threads may read at once: not InMemoryStorage, where all share a position.
    prefix: a folder in it, for this cache alone.

    A storage promises neither to replace a file in one step nor to hide one that is half written. So nothing is ever
    replaced: a new version is a new file, with a number in its name and its length at the start, and the one before is
    deleted when it is there in full. A hit costs a listing of a small folder and a read.

    Without fences (see ``SupportsFences``), a purge holds on the service that it is called on: a write that another
    process had under way may come after it.
    """

    def __init__(self, storage: Storage, *, prefix: str = "imageproxy") -> None:
        self._storage: Any = storage
        self._prefix = prefix
        # By process: the child of a fork must not wait for a lock that a thread of its parent held.
        self._locks: dict[int, threading.Lock] = {}

    def get(self, key: CacheKey) -> bytes | None:
        for _ in range(TRIES):
            is_outdated = False
            for path in self._versions(key):
                try:
                    with self._storage.open(path) as file:
                        stored: bytes = file.read()
                except FileNotFoundError:  # replaced or purged since it was listed
                    is_outdated = True
                    continue
                data = stored[LENGTH_BYTES:]
                if stored[:LENGTH_BYTES] == _length(data):
                    return data
            if not is_outdated:
                return None
        return None

    def set(self, key: CacheKey, data: bytes) -> None:
        with self._lock:
            older = self._versions(key)
            number = _number(older[0]) + 1 if older else 1
            # Should another process take the same number, the storage makes another name of it.
            self._storage.save(f"{self._folder(key.did, key.cid)}/{_variant(key)}.{number}", _file(data))
            for path in older:
                self._storage.delete(path)

    def purge(self, did: str, cid: str | None = None) -> int:
        with self._lock:
            if cid is not None:
                return self._empty(self._folder(did, cid))
            owner = self._folder(did)
            return sum(self._empty(f"{owner}/{blob}") for blob in self._list(owner)[0])

    def cleanup(self, max_age: timedelta = timedelta(days=30)) -> int:
        """Delete what was written longer ago than that; how many files that were."""
        oldest = timezone.now() - max_age
        removed = 0
        for owner in self._list(self._prefix)[0]:
            for blob in self._list(f"{self._prefix}/{owner}")[0]:
                folder = f"{self._prefix}/{owner}/{blob}"
                for file in self._list(folder)[1]:
                    try:
                        if self._storage.get_modified_time(f"{folder}/{file}") >= oldest:
                            continue
                    except FileNotFoundError:  # purged since it was listed
                        continue
                    self._storage.delete(f"{folder}/{file}")
                    removed += 1
        return removed

    def _empty(self, folder: str) -> int:
        files = self._list(folder)[1]
        for file in files:
            self._storage.delete(f"{folder}/{file}")
        return len({file[:VARIANT_CHARACTERS] for file in files})  # an image may be there in two versions

    def _versions(self, key: CacheKey) -> list[str]:
        """The files of an image, the newest first."""
        folder, variant = self._folder(key.did, key.cid), _variant(key)
        files = [file for file in self._list(folder)[1] if file.startswith(variant)]
        return [f"{folder}/{file}" for file in sorted(files, key=lambda file: (_number(file), file), reverse=True)]

    def _list(self, folder: str) -> tuple[list[str], list[str]]:
        """The folders and the files in a folder."""
        try:
            folders, files = self._storage.listdir(folder)
        except FileNotFoundError:
            return [], []
        return folders, files

    def _folder(self, *parts: str) -> str:
        return "/".join([self._prefix, *map(_digest, parts)])

    @property
    def _lock(self) -> threading.Lock:
        return self._locks.setdefault(os.getpid(), threading.Lock())


VARIANT_CHARACTERS = 40


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:VARIANT_CHARACTERS]


def _variant(key: CacheKey) -> str:
    return _digest(f"{key.preset} {key.content_type}")


def _number(file: str) -> int:
    return int(file.rpartition(".")[2])


def _length(data: bytes) -> bytes:
    return len(data).to_bytes(LENGTH_BYTES, "big")


def _file(data: bytes) -> ContentFile:
    return ContentFile(_length(data) + data)


def main() -> None:
    settings.configure()
    cache = StorageCache(FileSystemStorage("django-storage"))
    photo = drawn_photos()[0]
    with LocalPDS() as pds, create_service(pds.service_config(), cache=cache) as images:
        did = pds.create_account()
        cid = pds.add_blob(did, photo.data, content_type=photo.content_type)
        print("first:", images.get("avatar", did, cid).source)
        images.flush()  # what was fetched is written behind the answer; here we want to see it written
        print("again:", images.get("avatar", did, cid).source)
        print("purged:", images.purge(did).entries)
        print("and then:", images.get("avatar", did, cid).source)


if __name__ == "__main__":
    main()
