"""Takedowns in a database: a policy with reasons and statuses, and the calls that change it.

    pip install atproto-imageproxy
    python examples/moderation.py

SQLite stands for whatever database the app has.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from imageproxy import BlobBlockedError, CachedPolicy, PurgeReport, Service, canonical_did, create_service
from imageproxy.testing import LocalPDS, drawn_photos

WHOLE_ACCOUNT = ""
LEGAL, GONE = 451, 410  # HTTP: unavailable for legal reasons, gone


class TakedownTable:
    """A BlobPolicy that asks a database. Safe to use from threads and processes.

    A database that cannot be asked raises sqlite3.Error. The service makes that a PolicyError and shows nothing.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        with closing(self._connect()) as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS takedowns (did TEXT, cid TEXT, reason TEXT NOT NULL,"
                " status INTEGER NOT NULL, PRIMARY KEY (did, cid))"
            )

    def is_blocked(self, did: str, cid: str) -> bool:
        with closing(self._connect()) as database:
            row = database.execute(
                # Where both are there, the reason for the blob itself is the one to give.
                "SELECT reason, status FROM takedowns WHERE did = ? AND cid IN (?, ?) ORDER BY cid DESC",
                (did, cid, WHOLE_ACCOUNT),
            ).fetchone()
        if row is None:
            return False
        reason, status = row
        raise BlobBlockedError(f"taken down: {reason}", reason=reason, status=status, did=did, cid=cid)

    def add(self, did: str, cid: str | None, reason: str, status: int) -> None:
        with closing(self._connect()) as database:
            database.execute(
                "REPLACE INTO takedowns VALUES (?, ?, ?, ?)", (canonical_did(did), cid or WHOLE_ACCOUNT, reason, status)
            )

    def remove(self, did: str, cid: str | None) -> None:
        with closing(self._connect()) as database:
            database.execute(
                "DELETE FROM takedowns WHERE did = ? AND cid = ?", (canonical_did(did), cid or WHOLE_ACCOUNT)
            )

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=5, isolation_level=None)


class Moderation:
    """What a moderator does. ``policy`` and ``images`` are those of this process."""

    def __init__(self, table: TakedownTable, policy: CachedPolicy, images: Service) -> None:
        self._table = table
        self._policy = policy
        self._images = images

    def take_down(self, did: str, cid: str | None, reason: str, *, status: int = GONE) -> PurgeReport:
        """Show a blob no more, or with ``cid=None`` nothing of an account, and erase what is stored of it.

        Where the report is not complete, a cache may still hold it: call this again. Nobody is shown it meanwhile.

        Other processes believe what their CachedPolicy remembers for as long as its TTL, and may show, fetch and store
        the blob until then: where it must be gone from the disk, call this again after that time. What browsers and a
        CDN hold is out of reach; ``ImageURLs.purge_urls`` tells what to purge there.
        """
        # The row first: whoever asks the table from now on is refused. Then what this process remembers of its answers,
        # or it would go on allowing. The purge last: while anybody may still be allowed, the next request would fetch
        # what was erased, and store it anew.
        self._table.add(did, cid, reason, status)
        self._policy.forget(did, cid)
        return self._images.purge(did, cid)

    def reinstate(self, did: str, cid: str | None) -> None:
        """Show it again. It is fetched anew with the next request."""
        self._table.remove(did, cid)
        self._policy.forget(did, cid)


def main() -> None:
    table = TakedownTable("takedowns.sqlite")
    policy = CachedPolicy(table, ttl_seconds=30)
    photo = drawn_photos()[0]
    with LocalPDS() as pds, create_service(pds.service_config(cache_path="cache"), policy=policy) as images:
        moderation = Moderation(table, policy, images)
        did = pds.create_account()
        cid = pds.add_blob(did, photo.data, content_type=photo.content_type)
        print("shown:", images.get("avatar", did, cid).source)
        print("erased:", moderation.take_down(did, cid, "court order 12/26", status=LEGAL).entries)
        try:
            images.get("avatar", did, cid)
        except BlobBlockedError as error:
            print("refused:", error.status, error.reason)
        moderation.reinstate(did, cid)
        print("shown again:", images.get("avatar", did, cid).source)


if __name__ == "__main__":
    main()
