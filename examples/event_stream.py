"""Keep up with the network: accounts that move are looked up afresh, and those that are gone are erased.

    pip install atproto-imageproxy atproto
    python examples/event_stream.py wss://bsky.network

Run it beside an app, with the same options in the environment (see ``Config.from_env``): its purges reach the cache
folder that both share. Where an account is, the app remembers in its own memory, for up to an hour
(``Config.identity_ttl_seconds``). Where that is too long, run ``follow`` on a thread of the app, with its own service.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atproto import FirehoseSubscribeReposClient

from imageproxy import Config, InvalidRequestError, Service, create_service

log = logging.getLogger("event_stream")

# Statuses that speak of the relay's trouble with a host, and not of the account: to erase everything because a large
# host is throttled would only make everybody's next request a fetch.
NOT_GONE = {"desynchronized", "throttled"}
SAVE_EVERY_SECONDS = 1.0


class StreamHandler:
    """Acts upon the events of com.atproto.sync.subscribeRepos. Events may come twice, and from any thread."""

    def __init__(self, images: Service) -> None:
        self._images = images
        self.unfinished: set[str] = set()
        """Accounts of which some cache may still hold something; ``retry`` purges them again."""

    def on_event(self, kind: str, body: Mapping[str, Any]) -> None:
        """Act upon one event.

        kind: the ``t`` of the frame's header: ``"#account"``, ``"#identity"``; all others are ignored.
        body: the frame's body, decoded. Of an SDK's model, ``model_dump()``.
        """
        try:
            if kind == "#identity":  # handle, key or PDS changed; which of them, the event does not say
                self._images.forget_identity(body["did"])
            elif kind == "#account":
                # Also for one that is back: until now its blobs may have been remembered as not there.
                self._images.forget_identity(body["did"])
                # By ``active``, not by a list of statuses: the status may be left out, or be a new one, and content of
                # an account that is not active is not to be redistributed (atproto.com/specs/account).
                if not body["active"] and body.get("status") not in NOT_GONE:
                    self._purge(body["did"])
            elif kind == "#info":
                log.warning("the stream says: %s %s", body.get("name"), body.get("message"))
        except (InvalidRequestError, KeyError) as error:
            log.warning("an event that makes no sense, %s %r: %r", kind, body, error)

    def retry(self) -> None:
        """Purge once more what could not be purged."""
        for did in list(self.unfinished):
            self._purge(did)

    def _purge(self, did: str) -> None:
        # This erases, and forbids nothing: the next request asks the account's PDS, which says itself that the account
        # is not there. It does not where a relay alone took the account down; add a policy to follow it in that, see
        # examples/moderation.py.
        if self._images.purge(did).is_complete:
            self.unfinished.discard(did)
        else:
            self.unfinished.add(did)


def follow(relay: str, images: Service, cursor_file: Path) -> None:
    """Hand the events of a relay to a StreamHandler, from where the cursor file says, until the relay says goodbye."""
    handler = StreamHandler(images)
    cursor = int(cursor_file.read_text()) if cursor_file.exists() else None
    client = FirehoseSubscribeReposClient({"cursor": cursor} if cursor else None, base_uri=f"{relay}/xrpc")
    saved_at = time.monotonic()

    def save() -> None:
        # After the event was acted upon: after a crash, the last ones come again, which does no harm.
        if cursor is not None:
            cursor_file.write_text(str(cursor))
            client.update_params({"cursor": cursor})  # where a reconnection goes on

    def on_message(frame: Any) -> None:
        nonlocal cursor, saved_at
        handler.on_event(frame.type, frame.body)
        cursor = frame.body.get("seq", cursor)
        if time.monotonic() - saved_at >= SAVE_EVERY_SECONDS:
            handler.retry()
            save()
            saved_at = time.monotonic()

    try:
        client.start(on_message, lambda error: log.error("an event could not be handled: %r", error))
    finally:
        save()


def main() -> None:
    options = argparse.ArgumentParser(description="Keep the cache up with the network.")
    options.add_argument("relay", help="such as wss://bsky.network")
    options.add_argument("--cursor-file", type=Path, default=Path("cursor"))
    chosen = options.parse_args()
    logging.basicConfig(level=logging.INFO)
    with create_service(Config.from_env()) as images:
        follow(chosen.relay, images, chosen.cursor_file)


if __name__ == "__main__":
    main()
