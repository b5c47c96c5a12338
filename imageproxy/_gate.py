"""Asking the app's policy, and failing closed."""

from __future__ import annotations

from .errors import BlobBlockedError, PolicyError
from .protocols import BlobPolicy

__all__ = ["Gate"]


class Gate:
    """Lets through what the policy allows, and everything where there is no policy."""

    def __init__(self, policy: BlobPolicy | None) -> None:
        self._policy = policy
        self.is_open = policy is None
        """Whether there is nothing to ask; spares a hit the call."""

    def check(self, did: str, cid: str, preset: str) -> None:
        """Raises BlobBlockedError, or PolicyError when the policy fails or gives neither True nor False."""
        if self._policy is None:
            return
        try:
            verdict = self._policy.is_blocked(did, cid)
        except BlobBlockedError:
            raise
        except Exception as error:
            raise PolicyError(
                f"the policy could not be asked, so nothing is shown: {error!r}", preset=preset, did=did, cid=cid
            ) from error
        if verdict is False:
            return
        if verdict is True:
            raise BlobBlockedError(preset=preset, did=did, cid=cid)
        raise PolicyError(
            f"the policy answered {verdict!r}, neither True nor False, so nothing is shown",
            preset=preset,
            did=did,
            cid=cid,
        )
