"""DID documents that strangers could publish, and what else stands for an account or a blob.

An input is JSON: a ``kind``, with ``did`` and ``answer`` for a document, and with a ``value`` for a URL, an address, a
redirect, a DID, a CID and a reference to a blob.
"""

from __future__ import annotations

import json
import random
from typing import Any

from .answers import an_answer
from .mutation import mutate
from .urls import a_reference, a_url, an_address

__all__ = ["PLC_DID", "mutant_of", "seeds"]

PLC_DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
_DIDS = (PLC_DID, PLC_DID, PLC_DID, "did:web:localhost%3A1", "did:web:localhost", "did:web:pds.host.example.com")
_CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
_SOME_DIDS = (
    *_DIDS,
    "did:web:EXAMPLE.com%3a443",
    "did:web:a%2Fb",
    "did:key:zQ3sh",
    "did:plc:",
    "did:plc:" + "a" * 2041,
    "did::x",
    "did:a:",
    "did:web:\u0130.com",
    "did:web:\u212aelvin.com",
    "did:plc:\u0665",
    "did:web:a%zz",
    "did:web:%e2%84%aa",
    "DID:plc:a",
    "did:a:b\n",
    "did:a:%",
)
_SOME_CIDS = (
    _CID,
    _CID.upper(),
    "b" + _CID[1:].upper(),
    _CID[:-1],
    _CID + "a",
    _CID[:-1] + "f",
    "Qmb" + "a" * 43,
    "z" + _CID,
    "bafyrei" + _CID[7:],
    "b" * 59,
    "B" * 256,
    "b========",
    "b" + "=" * 40,
    "f0155",
    "b" + "a" * 58,
    "b1",
    "b" + "\u0131" * 58,
    "++++++++",
    "a" * 257,
    _CID + "\n",
)
_SCALARS: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    1e308,
    10**400,
    -(10**30),
    0.5,
    "",
    "a",
    "\0",
    "\ud800",
    "\u202e",
    "\U0001f600",
    "x" * 5000,
    [],
    {},
    [[]],
    [{}],
    {"": None},
    "#atproto_pds",
    "AtprotoPersonalDataServer",
    PLC_DID,
    PLC_DID + "#atproto_pds",
    "https://a.example.net",
)
_RAW = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1" * 5000,
    "1e999999",
    "[" * 50_000,
    '{"a":' * 20_000,
    '"\\ud800"',
    "1.",
    "01",
    "nul",
    "'a'",
    "/**/1",
    "",
)
# More than the longest document that is read.
_MAX_BYTES = 600_000
_WRAPPINGS = ("utf-8",) * 20 + ("utf-8-sig", "utf-16", "utf-32", "utf-16-le", "latin-1")


def seeds() -> list[bytes]:
    """A good document of each method, and one good value of each kind."""
    inputs: list[dict[str, Any]] = [
        _document_input(did, json.dumps(_document(did, _ENDPOINT))) for did in dict.fromkeys(_DIDS)
    ]
    inputs += [
        {"kind": "url", "value": _ENDPOINT},
        {"kind": "follow", "value": [_ENDPOINT + "/a/b?c", "../d"]},
        {"kind": "address", "value": "1.1.1.1"},
        {"kind": "did", "value": PLC_DID},
        {"kind": "cid", "value": _CID},
        {"kind": "ref", "value": {"$type": "blob", "ref": {"$link": _CID}, "mimeType": "image/png", "size": 5}},
        {"kind": "ref", "value": {"cid": _CID, "mimeType": "image/png"}},
    ]
    return [json.dumps(each).encode() for each in inputs]


_ENDPOINT = "https://pds.host.example.com"


def mutant_of(rng: random.Random, data: bytes) -> bytes:
    """A new input, unless it grew too long; then the old one."""
    mutant = _mutant_of(rng, data)
    return mutant if len(mutant) <= _MAX_BYTES else data


def _mutant_of(rng: random.Random, data: bytes) -> bytes:
    """About half are new values of a grammar, the others changes of ``data``: of its structure or its characters."""
    what = rng.random()
    if what < 0.12:
        return _dumped({"kind": "url", "value": a_url(rng)})
    if what < 0.2:
        return _dumped({"kind": "follow", "value": [rng.choice((_ENDPOINT + "/a/b?c", a_url(rng))), a_reference(rng)]})
    if what < 0.26:
        return _dumped({"kind": "address", "value": an_address(rng)})
    if what < 0.4:
        did = rng.choice(_DIDS)
        document = json.dumps(_document(did, a_url(rng)))
        return _dumped(_document_input(did, document))
    parsed = json.loads(data)
    kind = parsed["kind"]
    if kind == "document":
        return _dumped(_changed_document(rng, parsed))
    if kind == "did" and rng.random() < 0.5:
        parsed["value"] = rng.choice(_SOME_DIDS)
    elif kind == "cid" and rng.random() < 0.5:
        parsed["value"] = rng.choice(_SOME_CIDS)
    value = parsed["value"]
    if isinstance(value, str) and rng.random() < 0.85:
        others = [json.dumps(other)[1:-1].encode() for other in (*_SOME_DIDS, *_SOME_CIDS)]
        parsed["value"] = mutate(rng, value.encode("utf-8", "surrogatepass"), others).decode("utf-8", "replace")
    else:
        parsed["value"] = _changed(rng, value)
    return _dumped(parsed)


def _dumped(parsed: dict[str, Any]) -> bytes:
    return json.dumps(parsed).encode()


def _document(did: str, endpoint: str) -> dict[str, Any]:
    return {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": did,
        "alsoKnownAs": ["at://someone.example.com"],
        "verificationMethod": [{"id": f"{did}#atproto", "type": "Multikey", "publicKeyMultibase": "zQ3sh"}],
        "service": [
            {"id": "#other", "type": "Other", "serviceEndpoint": "https://other.example.com"},
            {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": endpoint},
        ],
    }


def _document_input(did: str, document: str, *, encoding: str = "utf-8") -> dict[str, Any]:
    body = document.encode(encoding, "replace").decode("latin-1")
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return {"kind": "document", "did": did, "answer": {"data": head + body, "times": 1, "end": "close"}}


def _changed_document(rng: random.Random, parsed: dict[str, Any]) -> dict[str, Any]:
    did, data = parsed["did"], parsed["answer"]["data"]
    what = rng.random()
    if what < 0.1:
        return {**parsed, "answer": an_answer(rng, json.dumps(_document(did, _ENDPOINT)), a_reference)}
    if what < 0.2:
        answer = {
            **parsed["answer"],
            "data": mutate(rng, data.encode("latin-1", "replace"), [b"\r\n"]).decode("latin-1"),
        }
        return {**parsed, "answer": answer}
    did = rng.choice(_DIDS)
    document: Any = _document(did, _ENDPOINT if rng.random() < 0.5 else a_url(rng))
    for _ in range(rng.choice((1, 1, 2, 4))):
        document = _changed(rng, document)
    text = json.dumps(document, ensure_ascii=rng.random() < 0.8)
    if rng.random() < 0.2:
        text = _with_raw(rng, text)
    if rng.random() < 0.1:
        text = mutate(rng, text.encode("utf-8", "surrogatepass"), [text.encode("utf-8", "surrogatepass")]).decode(
            "latin-1"
        )
    return _document_input(did, text, encoding=rng.choice(_WRAPPINGS))


def _with_raw(rng: random.Random, text: str) -> str:
    """What a JSON library does not write: constants, long numbers, depth, a key twice."""
    at = rng.choice([at for at, char in enumerate(text) if char in "[{,:"] or [0])
    if text[at : at + 1] == "{" and rng.random() < 0.5:
        key = rng.choice(("id", "service", "type", "serviceEndpoint"))
        return f"{text[: at + 1]}{json.dumps(key)}:{json.dumps(rng.choice(_SCALARS))},{text[at + 1 :]}"
    return text[: at + 1] + rng.choice(_RAW) + rng.choice(("", ",")) + text[at + 1 :]


def _changed(rng: random.Random, value: Any) -> Any:
    """The same tree with one node changed, a copy along the way."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {name: each for name, each in value.items() if name != key}
        return {**value, key: _changed(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        if rng.random() < 0.15:
            return value * rng.choice((0, 2, 50))
        return [*value[:at], _changed(rng, value[at]), *value[at + 1 :]]
    what = rng.random()
    if what < 0.15:
        return [value] if rng.random() < 0.5 else {rng.choice(("id", "ref", "$link", "cid")): value}
    if what < 0.2:
        return _deep(rng, value)
    return rng.choice(_SCALARS)


def _deep(rng: random.Random, value: Any) -> Any:
    for _ in range(rng.choice((1, 5, 100))):
        value = [value] if rng.random() < 0.5 else {"ref": value}
    return value
