"""What names an account or a blob under attack: DID documents, URLs, addresses, DIDs, CIDs and references to blobs."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from urllib3.util import parse_url

from imageproxy._addresses import check_base_url, check_url, follow, refusal_of_address
from imageproxy.errors import DIDResolutionError, InvalidCIDError, InvalidDIDError, UnsafeURLError
from imageproxy.identifiers import Cid, canonical_cid, canonical_did, cid_of
from imageproxy.resolver import DIDResolver

from .documents import mutant_of, seeds
from .fetching import in_time
from .loopback import Answer, LoopbackServer, Surroundings, confine
from .mutation import pick
from .target import Corpus, FindingError, shape_of

__all__ = ["IdentityTarget"]

_TIMEOUT_SECONDS = 0.15
_TRIES = 3
_MAX_DATA = 600_000


class IdentityTarget:
    """Each ends in a value that a second opinion agrees with, or in the error that is documented for it."""

    name = "identity"

    def __init__(self) -> None:
        self._port = [0]
        confine(self._port)
        self._begin()
        self.run(seeds()[0])
        self.settle()

    def _begin(self) -> None:
        self._surroundings = Surroundings()
        self._server = LoopbackServer()
        self._port[0] = self._server.port
        url = f"http://127.0.0.1:{self._server.port}"
        self._resolver = DIDResolver(plc_url=url, allow_private_networks=True, timeout_seconds=_TIMEOUT_SECONDS)

    def seeds(self) -> list[bytes]:
        return seeds()

    def mutant(self, rng: random.Random, corpus: Corpus) -> bytes:
        return mutant_of(rng, pick(rng, corpus))

    def run(self, data: bytes, *, in_all_ways: bool = False) -> str:
        try:
            parsed = json.loads(data)
            kind = parsed["kind"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return "no input"
        if kind == "document":
            try:
                each = parsed["answer"]
                answer = Answer(each["data"].encode("latin-1", "replace")[:_MAX_DATA], each["times"], each["end"])
                did = str(parsed["did"])
            except (KeyError, TypeError, AttributeError):
                return "no input"
            return self._resolve(did, answer, in_all_ways=in_all_ways)
        check = _CHECKS.get(kind)
        return f"{kind} {check(parsed.get('value'))}" if check else "no input"

    def settle(self) -> None:
        self._resolver.close()
        self._server.close()
        try:
            self._surroundings.check()
        finally:
            self._begin()

    def _resolve(self, did: str, answer: Answer, *, in_all_ways: bool) -> str:
        """Both with and without private endpoints; the server itself is on loopback either way."""
        outcomes = []
        for allow in (True, False) if in_all_ways else (len(answer.data) % 3 == 0,):
            outcome = ""
            for tries_left in reversed(range(_TRIES)):
                self._resolver.allow_private_networks = allow or "localhost" in did
                self._resolver.invalidate(did)
                self._server.set([answer])
                began = time.monotonic()
                outcome = self._resolve_once(did)
                if in_time(began, _TIMEOUT_SECONDS, is_last_try=not tries_left):
                    break
            outcomes.append(outcome)
        return ", ".join(outcomes)

    def _resolve_once(self, did: str) -> str:
        try:
            url = self._resolver.resolve(did)
        except DIDResolutionError as error:
            if not str(error).isprintable() or len(str(error)) > 2000:
                raise FindingError(
                    "a message with control characters, or a long one", repr(str(error))[:500]
                ) from error
            if error.did != did:
                raise FindingError("an error without its evidence", repr(vars(error))) from error
            return _outcome(error)
        if not self._resolver.allow_private_networks:
            _agree(url)
        if check_base_url(url, allow_private_networks=True) != url:
            raise FindingError("a base URL that is not its own", url)
        return "a PDS"


def _outcome(error: DIDResolutionError) -> str:
    """Without the DID and what the server said, of which there is no end."""
    cause = error.__cause__
    why = getattr(cause, "rule", None) or (
        shape_of(cause).partition(": ")[2][:36] if cause is not None else error.status
    )
    return f"{shape_of(error).partition(': ')[0]}: {why}"


def _check_url(value: Any) -> str:
    url = value if isinstance(value, str) else None
    outcomes = []
    for allow in (True, False):
        for check in (check_url, check_base_url):
            try:
                check(value, allow_private_networks=allow)
            except UnsafeURLError as error:
                _check_refusal(error)
                outcomes.append(str(error.rule))
            else:
                outcomes.append("taken")
                if not allow:
                    _agree(str(url))
    return " ".join(outcomes)


def _check_refusal(error: UnsafeURLError) -> None:
    if not error.rule or not str(error).isprintable() or len(str(error)) > 2000:
        raise FindingError("an error that says too little or too much", repr(str(error))[:500]) from error


def _agree(url: str) -> None:
    """A second opinion on a URL that was taken for one of the internet; three parsers have to see the same in it."""
    target = check_url(url)
    one, other = urlsplit(url), parse_url(url)
    problems = {
        "scheme": target.scheme != "https" or one.scheme != "https" or other.scheme != "https",
        "user": "@" in one.netloc or one.username is not None or other.auth is not None,
        "port": target.port != 443 or (one.port or 443) != 443 or (other.port or 443) != 443,
        "host": not one.hostname
        == (other.host or "").lower()
        == target.host + "." * one.netloc.split(":")[0].endswith("."),
        "one label": "." not in target.host,
        "a number": target.host.rpartition(".")[2].isdigit() or _is_taken_for_address(target.host),
        "characters": not (url.isascii() and url.isprintable()) or " " in url or "\\" in url,
        "an address": _is_address(target.host),
    }
    if found := [name for name, is_wrong in problems.items() if is_wrong]:
        raise FindingError(f"a URL that was taken: {', '.join(found)}", f"{url!r}: {target}, {one}, {other}")


def _is_taken_for_address(host: str) -> bool:
    """By the C library, which takes ``127.1`` and ``0x7f.1`` for one."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _check_follow(value: Any) -> str:
    base: Any
    location: Any
    base, location = value if isinstance(value, list) and len(value) == 2 else ("https://a.b", value)
    try:
        check_url(base)
    except UnsafeURLError:
        base = "https://pds.host.example.com/a/b?c"
    try:
        url = follow(base, location)
    except UnsafeURLError as error:
        _check_refusal(error)
        return f"refused {error.rule}"
    return _check_url(url)


def _check_address(value: object) -> str:
    text = str(value)
    rule = refusal_of_address(text)
    opened = refusal_of_address(text, allow_private_networks=True)
    if rule is None:
        address = ip_address(text)
        address = getattr(address, "ipv4_mapped", None) or address  # the one that it reaches
        if not address.is_global or address.is_multicast or address.is_reserved or address.is_link_local:
            raise FindingError("an address that is not on the internet", text)
        if opened is not None:
            raise FindingError("an address that is refused only where more is allowed", f"{text}: {opened}")
    return f"{rule} {opened}"


def _check_did(value: object) -> str:
    return _check_canonical(canonical_did, InvalidDIDError, value)


def _check_cid(value: object) -> str:
    outcome = _check_canonical(canonical_cid, InvalidCIDError, value)
    if outcome == "canonical":
        cid = Cid.parse(str(value))
        if cid.verify(b"other bytes"):
            raise FindingError("bytes that do not match", str(value))
        outcome += " verifiable" if cid.is_verifiable else ""
    return outcome


def _check_canonical(function: Callable[[Any], str], error_type: type[Exception], value: object) -> str:
    try:
        canonical = function(value)
    except error_type as error:
        if not str(error).isprintable() or len(str(error)) > 500:
            raise FindingError("an error that says too little or too much", repr(str(error))[:500]) from error
        return shape_of(error)[:35]
    if function(canonical) != canonical:
        raise FindingError("a canonical text that has another", f"{value!r} {canonical!r}")
    return "canonical"


def _check_ref(value: object) -> str:
    try:
        cid = cid_of(value)
    except InvalidCIDError as error:
        return shape_of(error)[:40]
    if cid and canonical_cid(cid) != cid:
        raise FindingError("a CID that is not canonical", cid)
    if not cid and value is not None:
        raise FindingError("no CID and no error", repr(value))
    return "a CID"


_CHECKS: dict[str, Callable[[Any], str]] = {
    "url": _check_url,
    "follow": _check_follow,
    "address": _check_address,
    "did": _check_did,
    "cid": _check_cid,
    "ref": _check_ref,
}
