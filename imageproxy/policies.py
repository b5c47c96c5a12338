"""Policies around policies; the seam is ``imageproxy.protocols.BlobPolicy``."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from ._fork import reset_after_fork
from .errors import BlobBlockedError, ConfigError
from .identifiers import canonical_cid, canonical_did
from .protocols import BlobPolicy

__all__ = ["CachedPolicy"]


class _Answer(NamedTuple):
    """What the policy said, and until when that is believed."""

    verdict: bool | BlobBlockedError
    expires_at: float


class CachedPolicy:
    """Remembers what another policy says: for one that asks a database. Safe to use from threads, and after a fork.

    policy: the one that knows. It is asked without a lock held, by several threads at once, and for the same blob more
        than once where they come at the same time.
    ttl_seconds: how long its answers are believed: how long a takedown may take to reach this process, if ``forget`` is
        not called.
    max_entries: how many answers are kept; the ones least recently used go.

    Answers are ``True``, ``False`` and BlobBlockedError. All else that the policy says or raises is passed on and not
    remembered.

    Raises ConfigError for options that cannot be meant.
    """

    def __init__(
        self,
        policy: BlobPolicy,
        ttl_seconds: float,
        *,
        max_entries: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not ttl_seconds > 0:
            raise ConfigError(
                f"ttl_seconds is {ttl_seconds!r}; it must be a number above 0", option="ttl_seconds", value=ttl_seconds
            )
        if not max_entries >= 1:
            raise ConfigError(
                f"max_entries is {max_entries!r}; it must be a whole number above 0",
                option="max_entries",
                value=max_entries,
            )
        self._policy = policy
        self._ttl_seconds = ttl_seconds
        self._max_entries = max_entries
        self._clock = clock
        self._answers: OrderedDict[tuple[str, str], _Answer] = OrderedDict()
        self._forgotten = 0  # how often; an answer that was asked for before must not be kept after
        self._lock = threading.Lock()
        reset_after_fork(self)

    def _reset_after_fork(self) -> None:
        self._lock = threading.Lock()
        self._answers = OrderedDict()  # the parent may have been in the middle of a change

    def is_blocked(self, did: str, cid: str) -> bool:
        """What the policy says, or said not longer than ``ttl_seconds`` ago. Raises what it raises."""
        blob = did, cid
        with self._lock:
            answer = self._answers.get(blob)
            if answer is not None and self._clock() < answer.expires_at:
                self._answers.move_to_end(blob)
            else:
                answer = None
            forgotten = self._forgotten
        if answer is None:
            expires_at = self._clock() + self._ttl_seconds  # from before it is asked
            answer = _Answer(self._ask(did, cid), expires_at)
            if isinstance(answer.verdict, (bool, BlobBlockedError)):
                self._remember(blob, answer, forgotten)
        if isinstance(answer.verdict, BlobBlockedError):
            raise answer.verdict.afresh()
        return answer.verdict

    def forget(self, did: str | None = None, cid: str | None = None) -> None:
        """Ask the policy afresh: about one blob, about all of an owner, or with no arguments about everything.

        Call it when something was blocked or allowed; it holds for every call of ``is_blocked`` that begins after it
        returns, in this process. Others go on to believe what they know for up to ``ttl_seconds``; what they fetch
        meanwhile and store in a cache that is shared, another purge after that time erases.

        Raises InvalidDIDError or InvalidCIDError.
        """
        did = None if did is None else canonical_did(did)
        cid = None if cid is None else canonical_cid(cid)
        with self._lock:
            self._forgotten += 1
            if did is not None and cid is not None:
                self._answers.pop((did, cid), None)
                return
            for blob in [blob for blob in self._answers if did in (None, blob[0]) and cid in (None, blob[1])]:
                del self._answers[blob]

    def _ask(self, did: str, cid: str) -> bool | BlobBlockedError:
        try:
            return self._policy.is_blocked(did, cid)
        except BlobBlockedError as error:
            return error

    def _remember(self, blob: tuple[str, str], answer: _Answer, forgotten: int) -> None:
        with self._lock:
            if self._forgotten != forgotten:
                return
            self._answers[blob] = answer
            self._answers.move_to_end(blob)
            if len(self._answers) > self._max_entries:
                self._answers.popitem(last=False)
