"""Whatever comes in, something sane comes out."""

import re
import string
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imageproxy import Config, Service, compute_cid
from imageproxy.testing import FakeFetcher, FakePolicy, fake_service
from imageproxy.web import Options, Response, respond
from imageproxy.web._endpoint import Endpoint, WebRequest

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = compute_cid(b"blob")
TOKEN = re.compile(r"[A-Za-z0-9-]+")
VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

# Parts of good URLs and of bad ones, and anything between.
PARTS = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                "/",
                "/img",
                "img",
                "avatar",
                "plain",
                "..",
                ".",
                "%2e%2e",
                "%2F",
                "%252F",
                "%00",
                "\x00",
                "\r\n",
                "%0d%0a",
            ),
            *(
                DID,
                CID,
                f"{CID}@webp",
                "@avif",
                "@",
                "did:web:localhost%3A80",
                "did:web:a:1",
                "?",
                "v=",
                "&s=",
                "#",
                "%",
                "%ff",
            ),
            *("/img/avatar/plain/", f"/img/avatar/plain/{DID}/{CID}", "é", "\ud800", "\u2028", "a" * 5000),
        ]
    ),
    st.text(max_size=20),
    st.text(string.printable, max_size=20),
)
PATHS = st.lists(PARTS, max_size=8).map("".join) | st.lists(PARTS, max_size=8).map("/".join)
METHODS = st.sampled_from(["GET", "GET", "HEAD", "OPTIONS", "POST"]) | st.text(max_size=8)
VALUES = st.text(max_size=50) | st.sampled_from(
    ["*", 'W/"a"', '"' * 999, "image/avif,image/webp;q=0", ";q=" * 300, "a/b" + ";q=1" * 200, "," * 2000, "\r\nX: y"]
)
HEADERS = st.lists(
    st.tuples(st.sampled_from(["If-None-Match", "accept", "Range", "", "é"]) | st.text(max_size=9), VALUES)
)

fuzz = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", params=["open", "signed"])
def fuzzed(request: pytest.FixtureRequest) -> Iterator[Service]:
    key = "secret" if request.param == "signed" else None
    policy = FakePolicy(["did:plc:blocked"])
    with fake_service(
        fetcher=FakeFetcher({CID: b"blob"}), policy=policy, config=Config(url_signing_key=key)
    ) as service:
        yield service


def check(method: str, response: Response) -> None:
    names = [name.lower() for name, _ in response.headers]
    headers = {name.lower(): value for name, value in response.headers}
    assert response.status in {200, 204, 304, 400, 404, 405, 410}
    assert len(names) == len(set(names))
    for name, value in response.headers:
        assert TOKEN.fullmatch(name)
        assert VALUE.fullmatch(value), (name, value)
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    if response.status in {204, 304}:
        assert response.body == b""
        assert "content-length" not in headers
    elif method == "HEAD":
        assert response.body == b""
        assert int(headers["content-length"]) > 0
    else:
        assert int(headers["content-length"]) == len(response.body) > 0
    assert response.status != 405 or headers["allow"]
    assert (response.status in {200, 304}) == ("etag" in headers)


@fuzz
@given(method=METHODS, path=PATHS, headers=HEADERS, negotiate=st.booleans())
@example(method="GET", path=f"/img/avatar/plain/{DID}/{CID}", headers=[("Accept", "image/avif")], negotiate=True)
@example(method="HEAD", path=f"/img/avatar/plain/{DID}/{CID}", headers=[("If-None-Match", "*")], negotiate=False)
def test_every_request_has_a_sane_answer(
    fuzzed: Service, method: str, path: str, headers: list[tuple[str, str]], negotiate: bool
) -> None:
    check(method, respond(fuzzed, method, path, headers, Options(negotiate=negotiate)))


@fuzz
@given(path=PATHS, query=PATHS, mount=PATHS, prefix=st.sampled_from(["", "/img", "/a/b"]))
def test_a_mount_may_be_anything(fuzzed: Service, path: str, query: str, mount: str, prefix: str) -> None:
    check("GET", Endpoint(fuzzed, Options(prefix=prefix)).respond(WebRequest("GET", path, query, mount)))
