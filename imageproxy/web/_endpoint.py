"""Deciding: what a request comes to, before anything is done for it. The adapters do what is decided.

::

    decide(WebRequest) ──> Response       send it
                       └─> Question       ask the service:
                             is_known       may it be shown?  ──> unchanged()
                             otherwise      the image         ──> found(data)
                             any error                        ──> failed(error)
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from imageproxy.service import Service

from ._accept import choose_format
from ._conditions import Condition, condition
from ._options import Options
from ._plan import Plan, Planner
from ._refusals import method_not_allowed, no_content, not_found, refusal
from ._response import Response

__all__ = ["Endpoint", "Question", "WebRequest"]

_MAX_REMEMBERED_LENGTH = 1024
_REMEMBERED = 4096


class WebRequest(NamedTuple):
    """What there is in a request that matters here.

    path: decoded once. query: as it stands.
    mount: where the app is mounted (SCRIPT_NAME, root_path), whether the path has it or not.
    if_none_match, accept: the values of these fields, ``""`` where there are none.
    is_preflight: whether there is an ``Access-Control-Request-Method``, whatever it says.
    """

    method: str
    path: str
    query: str = ""
    mount: str = ""
    if_none_match: str = ""
    accept: str = ""
    is_preflight: bool = False


class Question(NamedTuple):
    """What to ask the service.

    is_known: only the policy is left to ask, the client has the image.
    is_plain: the answer is the image, with all of its bytes.
    """

    plan: Plan
    is_head: bool
    is_known: bool
    is_plain: bool

    def found(self, data: bytes) -> Response:
        """The answer where there is the image."""
        if self.is_plain:
            return self.plan.found(data)
        return self.plan.found(data).without_body() if self.is_head else self.plan.unchanged()

    def unchanged(self) -> Response:
        """The answer where it may be shown, and the client has it."""
        return self.plan.unchanged()


class Endpoint:
    """All that adapters share. Safe to call from threads; remembers what it decided, so keep it.

    service: whose presets and keys hold. options: ``None`` for the defaults.
    """

    def __init__(self, service: Service, options: Options | None = None) -> None:
        self.service = service
        self.options = Options() if options is None else options
        self._planner = Planner(service, self.options)
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._decide)

    def decide(self, asked: WebRequest) -> Response | Question:
        """What a request comes to. Looks nothing up and asks nobody; raises nothing."""
        if len(asked.path) + len(asked.query) + len(asked.if_none_match) + len(asked.accept) > _MAX_REMEMBERED_LENGTH:
            return self._decide(asked)
        return self._remembered(asked)

    def _decide(self, asked: WebRequest) -> Response | Question:
        method, path, query, mount, if_none_match, accept, is_preflight = asked
        is_head = method == "HEAD"
        try:
            if method != "GET" and not is_head:
                if not self._planner.is_image(mount, path):
                    return not_found(self.options)
                if method == "OPTIONS":
                    return no_content(is_preflight=is_preflight)
                return method_not_allowed(self.options)
            plan = self._planner.plan(mount, path, query)
        except Exception as error:  # noqa: BLE001 - every request is answered
            return self.failed(error, is_head=is_head)
        if plan is None:
            missing = not_found(self.options)
            return missing.without_body() if is_head else missing
        if plan.alternatives is not None:
            plan = plan.alternatives[choose_format(accept, plan.request.preset.format)]
        has = condition(if_none_match, plan.etag)
        return Question(
            plan,
            is_head=is_head and has is Condition.NONE,
            is_known=has is Condition.HAS_THIS,
            is_plain=not is_head and has is Condition.NONE,
        )

    def failed(self, error: Exception, *, is_head: bool) -> Response:
        """The answer for an error."""
        refused = refusal(error, self.options)
        return refused.without_body() if is_head else refused

    def respond(self, asked: WebRequest) -> Response:
        """Decide, and do it: blocks until there is an answer, and raises nothing."""
        decided = self.decide(asked)
        if isinstance(decided, Response):
            return decided
        preset, key = decided.plan.request
        try:
            if decided.is_known:
                self.service._vet(decided.plan.request)
                return decided.unchanged()
            return decided.found(self.service.get_image(preset, key.did, key.cid, timeout=self.options.timeout_seconds))
        except Exception as error:  # noqa: BLE001 - every request is answered
            return self.failed(error, is_head=asked.method == "HEAD")
