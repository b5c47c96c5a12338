"""A running PDS and PLC directory, and what tests do to them: plain calls of their own XRPC API."""

from __future__ import annotations

import json
import os
import secrets
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import requests
from typing_extensions import Self

from .install import Installation

__all__ = ["Account", "Network", "running"]

BlobRef = dict[str, Any]

_SERVER = Path(__file__).resolve().with_name("server.mjs")
# A collection that no lexicon describes: its records may refer to blobs of any type and size.
_COLLECTION = "com.example.attachment"
_ANSWER_TIMEOUT_SECONDS = 60
_STOP_TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Account:
    """An account on the PDS, logged in."""

    did: str
    handle: str
    access_jwt: str = field(repr=False)


class Network:
    """One PDS with its PLC directory.

    ``pds_url`` is what the DID documents name, ``plc_url`` is for a resolver, and ``http`` is the session for requests
    of a test's own: it ignores proxies of the environment. For one thread. What the servers refuse raises
    ``requests.HTTPError``.
    """

    def __init__(self, process: subprocess.Popen[str], admin_password: str, log: Path) -> None:
        self._process = process
        self._log = log
        self._admin = ("admin", admin_password)
        self._numbers = count(1)
        self.http = requests.Session()
        self.http.trust_env = False
        urls = self._answer()
        self.pds_url: str = urls["pds_url"]
        self.plc_url: str = urls["plc_url"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.http.close()

    # Reading, as a stranger does.

    def get_blob(self, did: str, cid: str, **options: Any) -> requests.Response:
        """The PDS's answer to getBlob, whatever it is; ``options`` are those of ``requests``."""
        return self.http.get(
            f"{self.pds_url}/xrpc/com.atproto.sync.getBlob", params={"did": did, "cid": cid}, **options
        )

    def get_did_document(self, did: str) -> requests.Response:
        """The directory's answer, whatever it is."""
        return self.http.get(f"{self.plc_url}/{did}")

    # What an account's owner does.

    def create_account(self, handle: str | None = None) -> Account:
        """A new account; without a ``handle`` (which ends in ``.test``) it gets one that no other has."""
        handle = handle or f"account-{next(self._numbers)}.test"
        made = self._call(
            "com.atproto.server.createAccount",
            json={"handle": handle, "email": f"{handle}@example.com", "password": secrets.token_urlsafe()},
        )
        return Account(did=made["did"], handle=handle, access_jwt=made["accessJwt"])

    def upload_blob(self, account: Account, data: bytes, mime: str) -> BlobRef:
        """Upload, and no more: the PDS does not serve the blob before a record refers to it."""
        answer = self._call("com.atproto.repo.uploadBlob", account, data=data, headers={"Content-Type": mime})
        blob: BlobRef = answer["blob"]
        return blob

    def publish(self, account: Account, blob_ref: BlobRef) -> str:
        """Make a record that refers to the blob; its URI, for ``delete_record``."""
        return self.publish_record(account, {"attachment": blob_ref})

    def publish_record(self, account: Account, fields: dict[str, Any]) -> str:
        """Make a record with these fields; its URI."""
        made = self._call(
            "com.atproto.repo.createRecord",
            account,
            json={
                "repo": account.did,
                "collection": _COLLECTION,
                "validate": False,
                "record": {"$type": _COLLECTION, **fields},
            },
        )
        return str(made["uri"])

    def put_blob(self, account: Account, data: bytes, mime: str) -> str:
        """Upload and publish; the blob's CID."""
        blob_ref = self.upload_blob(account, data, mime)
        self.publish(account, blob_ref)
        return str(blob_ref["ref"]["$link"])

    def delete_record(self, account: Account, uri: str) -> None:
        """Delete a record; the PDS drops its blobs when no other record refers to them."""
        collection, key = uri.split("/")[-2:]
        self._call(
            "com.atproto.repo.deleteRecord",
            account,
            json={"repo": account.did, "collection": collection, "rkey": key},
        )

    def deactivate_account(self, account: Account) -> None:
        self._call("com.atproto.server.deactivateAccount", account, json={})

    def activate_account(self, account: Account) -> None:
        self._call("com.atproto.server.activateAccount", account)

    # What the PDS's administrator does.

    def take_down_blob(self, did: str, cid: str, *, applied: bool = True) -> None:
        """``applied=False`` takes the takedown back."""
        self._take_down({"$type": "com.atproto.admin.defs#repoBlobRef", "did": did, "cid": cid}, applied=applied)

    def take_down_account(self, did: str, *, applied: bool = True) -> None:
        """``applied=False`` takes the takedown back."""
        self._take_down({"$type": "com.atproto.admin.defs#repoRef", "did": did}, applied=applied)

    def delete_account(self, did: str) -> None:
        """Delete the account from the PDS; its DID and document stay in the directory."""
        self._call("com.atproto.admin.deleteAccount", auth=self._admin, json={"did": did})

    # What the directory is told.

    def tombstone(self, did: str) -> None:
        """End the DID for good."""
        self._command({"tombstone": did})

    def move(self, did: str, pds_url: str) -> None:
        """Let the DID's document name another PDS, as after a migration. No data is moved."""
        self._command({"move": did, "to": pds_url})

    def _take_down(self, subject: dict[str, str], *, applied: bool) -> None:
        self._call(
            "com.atproto.admin.updateSubjectStatus",
            auth=self._admin,
            json={"subject": subject, "takedown": {"applied": applied}},
        )

    def _call(
        self, method: str, account: Account | None = None, *, headers: dict[str, str] | None = None, **options: Any
    ) -> Any:
        headers = dict(headers or {})
        if account is not None:
            headers["Authorization"] = f"Bearer {account.access_jwt}"
        response = self.http.post(f"{self.pds_url}/xrpc/{method}", headers=headers, **options)
        if not response.ok:
            raise requests.HTTPError(f"{method}: {response.status_code} {response.text}", response=response)
        return response.json() if response.content else None

    def _command(self, command: dict[str, str]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if not answer["ok"]:
            raise RuntimeError(f"{command}: {answer['message']}")

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], _ANSWER_TIMEOUT_SECONDS)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            state = "ended" if ready else f"did not answer in {_ANSWER_TIMEOUT_SECONDS} seconds"
            raise RuntimeError(f"The reference servers {state}; their log:\n{self._log.read_text(errors='replace')}")
        return json.loads(line)


@contextmanager
def running(installation: Installation, data: Path) -> Iterator[Network]:
    """The servers, until the block ends. ``data`` is an empty folder for what they store and for ``server.log``.

    They live as long as their standard input is open, so that they end with this process however it ends.
    """
    password = secrets.token_urlsafe()
    log = data / "server.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [installation.node, _SERVER, installation.folder, data, password],
            env={**os.environ, "LOG_ENABLED": "false", "NO_PROXY": "localhost", "no_proxy": "localhost"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            with Network(process, password, log) as network:
                yield network
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(_STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
