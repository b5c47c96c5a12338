"""Beside the ``atproto`` SDK: its identity resolver finds the accounts, and its records name the blobs.

    pip install atproto-imageproxy atproto
    python examples/atproto_sdk.py

An app that uses the SDK's ``IdResolver`` knows already where its accounts are, and ``SdkResolver`` lets the images
share what it remembers. Without one there is no need for this: the library's own ``DIDResolver`` is the default.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Any

import httpx
from atproto import DidInMemoryCache, IdResolver, models

from imageproxy import DIDNotFoundError, DIDResolutionError, DIDResolver, cid_of, create_service
from imageproxy.testing import LocalPDS, drawn_photos


class SdkResolver:
    """A Resolver over the SDK's, for ``did:plc``. Safe to use from threads.

    sdk: the app's own. Make it after a fork: its connections cannot be shared by processes.
    documents: the cache that it was made with.
    web: finds ``did:web``. The SDK would connect to any host that a stranger's DID names, one inside the app's own
        network included; the library's DIDResolver does not.
    timeout_seconds: for a whole answer. The SDK's own timeout is for each step of it, and begins anew with each byte.
    """

    def __init__(
        self, sdk: IdResolver, documents: DidInMemoryCache, web: DIDResolver, *, timeout_seconds: float = 10.0
    ) -> None:
        self._sdk = sdk
        self._documents = documents
        self._web = web
        self._timeout_seconds = timeout_seconds

    def resolve(self, did: str, *, timeout: float | None = None) -> str:
        if not did.startswith("did:plc:"):
            return self._web.resolve(did, timeout=timeout)
        seconds = self._timeout_seconds if timeout is None else min(timeout, self._timeout_seconds)
        answer: Future[Any] = Future()
        # A thread for each question: the SDK cannot be told to stop, but one can stop waiting for it. Questions are
        # few, since answers are remembered, and the SDK's own timeout ends those that nobody waits for.
        threading.Thread(target=self._ask, args=(did, answer), name="sdk-resolver", daemon=True).start()
        try:
            document = answer.result(seconds)
        except FutureTimeoutError as error:
            raise DIDResolutionError(f"no document within {seconds:g} seconds", did=did) from error
        except Exception as error:
            status = _status_of(error)
            if status == 410:  # tombstoned
                raise DIDNotFoundError("the directory says that this DID is no more", did=did, status=410) from error
            raise DIDResolutionError(f"the SDK found no document: {error}", did=did, status=status) from error
        if document is None:
            raise DIDNotFoundError("the directory does not know this DID", did=did, status=404)
        pds_url: str | None = document.get_pds_endpoint()
        if pds_url is None:
            raise DIDResolutionError("the document names no PDS", did=did)
        return pds_url

    def invalidate(self, did: str) -> None:
        with suppress(KeyError):
            self._documents.delete(did)
        self._web.invalidate(did)

    def _ask(self, did: str, answer: Future[Any]) -> None:
        try:
            answer.set_result(self._sdk.did.resolve(did))
        except KeyError:  # its memory, told to delete a DID that does not exist, and that it therefore does not have
            answer.set_result(None)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            answer.set_exception(error)


def _status_of(error: BaseException) -> int | None:
    cause = error.__cause__
    return cause.response.status_code if isinstance(cause, httpx.HTTPStatusError) else None


def main() -> None:
    photo = drawn_photos()[0]
    documents = DidInMemoryCache()
    with LocalPDS() as pds:
        did = pds.create_account()
        cid = pds.add_blob(did, photo.data, content_type=photo.content_type)
        # As the SDK gives it for ``client.app.bsky.actor.profile.get(did, "self").value``.
        profile: Any = models.get_or_create(
            {
                "$type": "app.bsky.actor.profile",
                "avatar": {"$type": "blob", "ref": {"$link": cid}, "mimeType": photo.content_type, "size": 1},
            },
            models.AppBskyActorProfile.Record,
        )
        sdk = IdResolver(plc_url=pds.plc_url, cache=documents)
        with (
            DIDResolver() as web,
            create_service(pds.service_config(cache_path="cache"), resolver=SdkResolver(sdk, documents, web)) as images,
        ):
            print("avatar:", len(images.get_image("avatar", did, cid_of(profile.avatar))), "bytes")


if __name__ == "__main__":
    main()
