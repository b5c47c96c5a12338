"""HTTP answers that strangers could send: whole ones, broken by a grammar and then by the byte.

An input is JSON, so that it can be read and edited: how many ``fetches`` of which ``blob``, and the ``answers``, each
with its ``data`` as text of Latin-1, its ``times`` and its ``end``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from .loopback import Answer
from .mutation import mutate
from .target import Corpus
from .urls import a_reference

__all__ = ["BLOBS", "an_answer", "from_input", "mutant_of", "seeds", "to_input"]

BLOBS = (b"\x89PNG\r\n\x1a\n a blob", bytes(range(256)) * 200, b"")
_MAX_DATA = 200_000

_STATUS_LINES = (
    *("HTTP/1.1 200 OK",) * 12,
    "HTTP/1.0 200 OK",
    "HTTP/1.1 200",
    "HTTP/1.1 200 ",
    "HTTP/2 200",
    "HTTP/0.9 200 OK",
    "HTTP/1.9 200 OK",
    "http/1.1 200",
    "HTTP/1.1  200 OK",
    "HTTP/1.1 0200 OK",
    "HTTP/1.1 99 x",
    "HTTP/1.1 1000 x",
    "HTTP/1.1 -1 x",
    "HTTP/1.1 2e2 x",
    "ICY 200",
    "HTTP/1.1 \u00b2\u00b200 x",
    "HTTP/1.1 200 \x00\x7f",
    "HTTP/1.1",
    "",
    "garbage",
    "HTTP/1.1 200 " + "x" * 70_000,
    *(
        f"HTTP/1.1 {status} x"
        for status in (201, 204, 205, 206, 226, 304, 400, 401, 403, 404, 410, 416, 429, 500, 502, 503, 999)
    ),
    *(f"HTTP/1.1 {status} x" for status in (300, 301, 302, 303, 305, 307, 308) * 2),
)
_INTERIM = (
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 102 x\r\n\r\n",
    "HTTP/1.1 103 x\r\nLink: </x>\r\n\r\n",
    "HTTP/1.1 101 x\r\n\r\n",
)
_HEADERS = (
    "Content-Type: image/png",
    "Content-Type: video/mp4",
    "content-type: VIDEO/x\x0b",
    "Content-Type:",
    "Content-Type: \u00e9",
    "Content-Encoding: gzip",
    "Content-Encoding: br",
    "Content-Encoding: identity",
    "Content-Encoding: ",
    "Content-Encoding: x, gzip",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: identity",
    "transfer-encoding: CHUNKED",
    "Transfer-Encoding:\x0bchunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: chunked, chunked",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: Upgrade",
    "Upgrade: h2c",
    "Retry-After: 1",
    "Retry-After: x",
    "Set-Cookie: a=b",
    "Set-Cookie: " + "a" * 5000,
    "Trailer: x",
    "Accept-Ranges: bytes",
    "Content-Range: bytes 0-1/2",
    "Alt-Svc: h3",
    "X" * 70_000 + ": y",
    "X: " + "y" * 70_000,
    ": empty",
    "no colon",
    " folded: x",
    "\tfolded",
    "X: \x00",
    "X\x00: y",
    "X: \u00ff",
    "X:y\rZ: w",
    "WWW-Authenticate: Basic",
    "Proxy-Authenticate: Basic",
    "Content-Disposition: attachment",
    "HTTP/1.1 200 OK",
    "\r",
    "",
)
_LENGTHS = (
    "0",
    "1",
    "-1",
    "+5",
    "99999999999999999999",
    "1e3",
    "0x10",
    "5, 5",
    "5, 6",
    "",
    " ",
    "\u0665",
    "1_0",
    "5;",
    "00",
    "2147483648",
)
_ERRORS = (
    '{"error":"InvalidRequest","message":"Blob not found"}',
    '{"error":"RepoTakendown"}',
    '{"error":null,"message":[]}',
    "{}",
    "[]",
    '{"error":"' + "x" * 9000 + '"}',
    "[" * 9000,
    '"\\ud800"',
    '{"error":"RepoNotFound","error":5}',
    "\u00ff\u00fe",
    "NaN",
    "1" * 8000,
    '{"message":"BLOB NOT FOUND\\u0000\\r\\n"}',
    '{"error":"\\ud800\\r\\n","message":"\\u202e"}',
    "<html>",
    "\u00ef\u00bb\u00bf{}",
)
_ENDS = ("close",) * 12 + ("keep",) * 6 + ("reset",)
_SLOW_ENDS = ("hold", "drip")


def seeds() -> list[bytes]:
    """Fetches as they should go, and as they do now and then."""
    blob = BLOBS[0].decode("latin-1")
    whole = f"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {len(blob)}\r\n\r\n{blob}"
    chunked = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{len(blob):x}\r\n{blob}\r\n0\r\n\r\n"
    error = '{"error":"InvalidRequest","message":"Blob not found"}'
    refused = f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(error)}\r\n\r\n{error}"
    moved = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    until_closed = f"HTTP/1.1 200 OK\r\n\r\n{blob}"
    inputs = [
        *([whole], [chunked], [refused], [moved, whole], [moved, moved, chunked], [until_closed], [moved] * 7),
        ["HTTP/1.1 100 Continue\r\n\r\n" + whole],
    ]
    return [
        to_input([{"data": data, "times": 1, "end": end} for data in answers], fetches=2)
        for answers in inputs
        for end in ("close", "keep")
        if end == "close" or answers != [until_closed]
    ]


def to_input(answers: list[dict[str, Any]], *, blob: int = 0, fetches: int = 1) -> bytes:
    return json.dumps({"fetches": fetches, "blob": blob, "answers": answers}).encode()


def from_input(data: bytes) -> tuple[list[Answer], int, int]:
    """The answers, which blob is asked for, and how often. Forgives what is missing or of another type."""
    try:
        parsed = json.loads(data)
        answers = [
            Answer(str(each["data"]).encode("latin-1", "replace")[:_MAX_DATA], int(each["times"]), str(each["end"]))
            for each in parsed["answers"][:20]
        ]
        return answers, int(parsed["blob"]) % len(BLOBS), min(int(parsed["fetches"]), 3)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return [], 0, 1


def mutant_of(rng: random.Random, data: bytes, corpus: Corpus) -> bytes:
    """A change in one of the answers, or new answers altogether."""
    parsed = json.loads(data)
    answers: list[dict[str, Any]] = parsed["answers"]
    if rng.random() < 0.4 or not answers:
        parsed["blob"] = rng.choice((0, 0, 0, 1, 2))
        blob = BLOBS[parsed["blob"]].decode("latin-1")
        answers = [an_answer(rng, blob, a_reference) for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 7)))]
    else:
        at = rng.randrange(len(answers))
        what = rng.random()
        if what < 0.75:
            pieces = [str(answers[at]["data"]).encode("latin-1", "replace")]
            answers[at]["data"] = mutate(rng, pieces[0], [*pieces, b"\r\n", b"HTTP/1.1 200 OK\r\n"]).decode("latin-1")
        elif what < 0.85:
            donor = json.loads(rng.choice(corpus))["answers"]
            answers[at : at + rng.randrange(2)] = donor[:3]
        else:
            answers[at]["end"] = rng.choice(_ENDS)
    # What waits costs a deadline each, so there is little of it.
    if rng.random() < 0.003 and answers:
        answers[-1]["end"] = rng.choice(_SLOW_ENDS)
        answers[-1]["times"] = rng.choice((1, 1, 1000))
    return to_input(answers[:10], blob=parsed["blob"], fetches=rng.choice((1, 1, 2)))


def an_answer(rng: random.Random, body: str, a_location: Callable[[random.Random], str]) -> dict[str, Any]:
    """One answer, of which most parts are right most of the time."""
    status = rng.choice(_STATUS_LINES)
    headers = [rng.choice(_HEADERS) for _ in range(rng.choice((0, 0, 1, 1, 2, 5)))]
    is_redirect = status[9:10] == "3"
    if is_redirect or rng.random() < 0.05:
        headers += [
            f"{rng.choice(('Location', 'location'))}: {a_location(rng)}" for _ in range(rng.choice((1, 1, 1, 2)))
        ]
    if rng.random() < 0.15:
        body = rng.choice(_ERRORS) if rng.random() < 0.6 else body[: len(body) // 2] + body
    elif "200" not in status and not is_redirect:
        body = rng.choice(_ERRORS)
    what = rng.random()
    if what < 0.5:
        headers.append(f"Content-Length: {len(body)}")
    elif what < 0.65:
        headers += [f"Content-Length: {rng.choice(_LENGTHS)}" for _ in range(rng.choice((1, 1, 2)))]
    elif what < 0.85:
        headers.append("Transfer-Encoding: chunked")
        body = _chunked(rng, body)
    if rng.random() < 0.02:
        headers += [f"X-{number}: y" for number in range(rng.choice((90, 100, 120, 5000)))]
    rng.shuffle(headers)
    line_end = "\r\n" if rng.random() < 0.95 else rng.choice(("\n", "\r", "\n\r", "\r\r\n"))
    interim = "".join(rng.choice(_INTERIM) for _ in range(rng.choice((1, 1, 2, 50)))) if rng.random() < 0.06 else ""
    data = interim + line_end.join((status, *headers, "", "")) + body
    return {"data": data, "times": rng.choice((1,) * 30 + (2, 500)), "end": rng.choice(_ENDS)}


def _chunked(rng: random.Random, body: str) -> str:
    pieces = []
    while body:
        length = rng.choice((1, 5, len(body), len(body)))
        size = f"{min(length, len(body)):x}"
        if rng.random() < 0.1:
            size = rng.choice(
                (
                    f"{size};ext=1",
                    f"0{size}",
                    f"0x{size}",
                    f" {size}",
                    f"-{size}",
                    "",
                    "ffffffffffffffff",
                    "g",
                    "9" * 5000,
                )
            )
        end = rng.choice(("\r\n",) * 20 + ("", "\n", "xx"))
        pieces.append(f"{size}\r\n{body[:length]}{end}")
        body = body[length:]
        if len(pieces) > 300:
            break
    return "".join(pieces) + rng.choice(
        ("0\r\n\r\n",) * 10 + ("", "0\r\n", "0\r\nX: y\r\n\r\n", "0\r\n" + "X: y\r\n" * 500 + "\r\n", "00000\r\n\r\n")
    )
