"""Which URLs are asked at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageproxy._addresses import check_base_url, check_url, follow
from imageproxy.errors import UnsafeURLError

REFUSED = [
    # rule, URL
    ("characters", ""),
    ("characters", " https://pds.example.com"),
    ("characters", "https://pds.example.com "),
    ("characters", "https://pds.example.com/\n"),
    ("characters", "https://pds.example.com\r\nHost: evil"),
    ("characters", "https://pds.exa\tmple.com"),
    ("characters", "https://pds.example.com/a b"),
    ("characters", "https://pds.example.com\x00.evil.com"),
    ("characters", "https://pds.example.com/\x7f"),
    ("characters", "https:\\\\pds.example.com"),
    ("characters", "https://pds.example.com\\@evil.com"),
    ("characters", "https://bücher.example.com"),
    ("characters", "https://pds。example.com"),
    ("characters", "https://①②⑦.⓪.⓪.①"),
    ("characters", "https://pds.example.com/\udc80"),
    ("length", "https://pds.example.com/" + "a" * 8192),
    ("syntax", "pds.example.com"),
    ("syntax", "//pds.example.com"),
    ("syntax", "/xrpc"),
    ("syntax", "https:pds.example.com"),
    ("syntax", "https:/pds.example.com"),
    ("syntax", "https://"),
    ("syntax", "https:///path"),
    ("syntax", "https://:443"),
    ("syntax", "https://pds.example.com:"),
    ("syntax", "https://pds.example.com:abc"),
    ("syntax", "https://pds.example.com:443:443"),
    ("syntax", "https://pds.example.com:-1"),
    ("syntax", "https://pds.example.com:123456"),
    ("syntax", "https://[::1"),
    ("syntax", "https://::1/"),
    ("syntax", "https://[dead.beef]/"),
    ("syntax", "https://[127.0.0.1]/"),
    ("syntax", "https://[fe80::1%25eth0]/"),
    ("syntax", "https://a[::1]/"),
    ("syntax", "https://[::1]a/"),
    ("syntax", "javascript:alert(1)"),
    ("syntax", "data:text/plain,hello"),
    ("scheme", "http://pds.example.com"),
    ("scheme", "HTTP://pds.example.com"),
    ("scheme", "ftp://pds.example.com"),
    ("scheme", "file:///etc/passwd"),
    ("scheme", "gopher://pds.example.com"),
    ("scheme", "ws://pds.example.com"),
    ("scheme", "httpss://pds.example.com"),
    ("userinfo", "https://user@pds.example.com"),
    ("userinfo", "https://user:pass@pds.example.com"),
    ("userinfo", "https://@pds.example.com"),
    ("userinfo", "https://pds.example.com@127.0.0.1"),
    ("userinfo", "https://pds.example.com:443@evil.com"),
    ("port", "https://pds.example.com:80"),
    ("port", "https://pds.example.com:0"),
    ("port", "https://pds.example.com:22"),
    ("port", "https://pds.example.com:8443"),
    ("port", "https://pds.example.com:65536"),
    ("port", "https://pds.example.com:99999"),
    ("host", "https://pds..example.com"),
    ("host", "https://.example.com"),
    ("host", "https://pds.example.com.."),
    ("host", "https://-pds.example.com"),
    ("host", "https://pds-.example.com"),
    ("host", "https://pds.exam%70le.com"),
    ("host", "https://%31%32%37.0.0.1"),
    ("host", "https://pds.example.com%2f@evil.com".replace("@", "")),
    ("host", "https://*.example.com"),
    ("host", "https://pds,example.com"),
    ("host", "https://pds;.example.com"),
    ("host", "https://" + "a" * 64 + ".example.com"),
    ("host", "https://" + "a." * 130 + "com"),
    ("host", "https://[1::2::3]/"),
    ("host", "https://."),
    ("numeric_host", "https://2130706433"),
    ("numeric_host", "https://0x7f000001"),
    ("numeric_host", "https://017700000001"),
    ("numeric_host", "https://127.1"),
    ("numeric_host", "https://127.0.1"),
    ("numeric_host", "https://0177.0.0.1"),
    ("numeric_host", "https://0x7f.0.0.1"),
    ("numeric_host", "https://0x7f.0x0.0x0.0x1"),
    ("numeric_host", "https://127.0.0.0x1"),
    ("numeric_host", "https://127.0.0.01"),
    ("numeric_host", "https://127.0.0.256"),
    ("numeric_host", "https://1.2.3.4.5"),
    ("numeric_host", "https://pds.example.1"),
    ("numeric_host", "https://pds.example.0x"),
    ("numeric_host", "https://0"),
    ("single_label", "https://pds"),
    ("single_label", "https://localhost"),
    ("single_label", "https://localhost."),
    ("single_label", "https://LOCALHOST/"),
    ("single_label", "https://metadata"),
    ("single_label", "https://com"),
    ("local_name", "https://pds.localhost"),
    ("local_name", "https://pds.LocalHost."),
    ("local_name", "https://printer.local"),
    ("local_name", "https://metadata.google.internal"),
    ("local_name", "https://host.docker.internal"),
    ("local_name", "https://router.home.arpa"),
    ("local_name", "https://1.0.0.127.in-addr.arpa"),
    ("local_name", "https://pds.test"),
    ("local_name", "https://pds.example"),
    ("local_name", "https://pds.invalid"),
    ("local_name", "https://facebookwkhpilnemxj7asaniu7vnjjbiltxjqhye3mhbshg7kx5tfyd.onion"),
    ("local_name", "https://pds.alt"),
    ("local_name", "https://nas.lan"),
    ("local_name", "https://wiki.corp"),
    ("local_name", "https://nas.home"),
    ("local_name", "https://wiki.intranet"),
    ("local_name", "https://db.private"),
    ("local_name", "https://localhost.localdomain"),
    ("loopback", "https://127.0.0.1"),
    ("loopback", "https://127.0.0.1.:443/"),
    ("private", "https://10.0.0.1/xrpc"),
    ("link_local", "https://169.254.169.254/latest/meta-data"),
    ("loopback", "https://[::1]/"),
    ("loopback", "https://[::ffff:127.0.0.1]/"),
    ("loopback", "https://[0:0:0:0:0:ffff:7f00:1]/"),
    ("not_global", "https://[::7f00:1]/"),
    ("private", "https://[fd00::1]/"),
    ("ip_literal", "https://8.8.8.8"),
    ("ip_literal", "https://[2606:4700:4700::1111]/"),
]

ALLOWED = [
    # URL, host, port, path
    ("https://pds.example.com", "pds.example.com", 443, "/"),
    ("https://pds.example.com/", "pds.example.com", 443, "/"),
    ("HTTPS://PDS.Example.COM/A", "pds.example.com", 443, "/A"),
    ("https://pds.example.com:443/a", "pds.example.com", 443, "/a"),
    ("https://pds.example.com:00443/a", "pds.example.com", 443, "/a"),
    ("https://pds.example.com./a", "pds.example.com", 443, "/a"),
    ("https://pds.example.com?x=1", "pds.example.com", 443, "/?x=1"),
    ("https://pds.example.com/a?x=http://[::1]/", "pds.example.com", 443, "/a?x=http://[::1]/"),
    ("https://pds.example.com/a#fragment", "pds.example.com", 443, "/a"),
    ("https://pds.example.com#@evil.com/", "pds.example.com", 443, "/"),
    ("https://pds.example.com/@user:pass", "pds.example.com", 443, "/@user:pass"),
    ("https://xn--bcher-kva.example.com", "xn--bcher-kva.example.com", 443, "/"),
    ("https://morel.us-east.host.bsky.network", "morel.us-east.host.bsky.network", 443, "/"),
    ("https://1.example.com", "1.example.com", 443, "/"),
    ("https://0x7f.example.com", "0x7f.example.com", 443, "/"),
    ("https://localhost.example.com", "localhost.example.com", 443, "/"),
    ("https://local.social", "local.social", 443, "/"),
    ("https://a_b.example.com", "a_b.example.com", 443, "/"),
    ("https://" + "a" * 63 + ".example.com", "a" * 63 + ".example.com", 443, "/"),
    ("https://example.1a", "example.1a", 443, "/"),
]

PRIVATE = [
    ("http://localhost:2583", "http", "localhost", 2583),
    ("http://localhost", "http", "localhost", 80),
    ("http://pds:3000/", "http", "pds", 3000),
    ("http://host.docker.internal:3000", "http", "host.docker.internal", 3000),
    ("http://pds.test", "http", "pds.test", 80),
    ("https://pds.example.com:8443", "https", "pds.example.com", 8443),
    ("http://127.0.0.1:1", "http", "127.0.0.1", 1),
    ("http://10.0.0.1:65535", "http", "10.0.0.1", 65535),
    ("http://[::1]:2583/", "http", "::1", 2583),
    ("https://8.8.8.8", "https", "8.8.8.8", 443),
]

SHUT_ALL_THE_SAME = [
    ("userinfo", "http://user@localhost"),
    ("scheme", "ftp://localhost"),
    ("port", "http://localhost:0"),
    ("port", "http://localhost:65536"),
    ("numeric_host", "http://127.1"),
    ("numeric_host", "http://2130706433"),
    ("link_local", "http://169.254.169.254"),
    ("cloud_metadata", "http://168.63.129.16"),
    ("this_network", "http://0.0.0.0"),
    ("link_local", "http://[fe80::1]"),
    ("cloud_metadata", "http://[fd00:ec2::254]"),
    ("characters", "http://local host"),
    ("syntax", "localhost:2583"),
]


@pytest.mark.parametrize(("rule", "url"), REFUSED)
def test_url_that_no_pds_has_is_refused(rule: str, url: str) -> None:
    with pytest.raises(UnsafeURLError) as caught:
        check_url(url)
    assert caught.value.rule == rule
    assert caught.value.url == url
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("url", [None, 1, b"https://pds.example.com"])
def test_what_is_no_text_is_refused(url: object) -> None:
    with pytest.raises(UnsafeURLError):
        check_url(url)  # type: ignore[arg-type]


@pytest.mark.parametrize(("url", "host", "port", "path"), ALLOWED)
def test_url_on_the_internet_is_taken_apart(url: str, host: str, port: int, path: str) -> None:
    target = check_url(url)
    assert (target.scheme, target.host, target.port, target.path) == ("https", host, port, path)


@pytest.mark.parametrize(("url", "scheme", "host", "port"), PRIVATE)
def test_allowing_private_networks_opens_http_ports_and_local_names(
    url: str, scheme: str, host: str, port: int
) -> None:
    with pytest.raises(UnsafeURLError):
        check_url(url)
    target = check_url(url, allow_private_networks=True)
    assert (target.scheme, target.host, target.port) == (scheme, host, port)


@pytest.mark.parametrize(("rule", "url"), SHUT_ALL_THE_SAME)
def test_allowing_private_networks_opens_nothing_else(rule: str, url: str) -> None:
    with pytest.raises(UnsafeURLError) as caught:
        check_url(url, allow_private_networks=True)
    assert caught.value.rule == rule


def test_refusal_says_what_would_open_it() -> None:
    with pytest.raises(UnsafeURLError, match="allow_private_networks=True"):
        check_url("http://localhost:2583")


def test_refusal_of_what_cannot_be_opened_does_not_hint() -> None:
    with pytest.raises(UnsafeURLError) as caught:
        check_url("https://user@pds.example.com")
    assert "allow_private_networks" not in str(caught.value)


def test_long_url_is_cut_in_the_message() -> None:
    with pytest.raises(UnsafeURLError) as caught:
        check_url("https://" + "x" * 5000 + "!")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://pds.example.com", "https://pds.example.com"),
        ("https://pds.example.com/", "https://pds.example.com"),
        ("https://pds.example.com//", "https://pds.example.com"),
        ("https://example.com/pds/", "https://example.com/pds"),
    ],
)
def test_base_url_loses_the_slashes_at_its_end(url: str, base: str) -> None:
    assert check_base_url(url) == base


@pytest.mark.parametrize("tail", ["?", "?a=1", "#", "#a", "/?a=1", "/path#a"])
def test_base_url_has_no_query_and_no_fragment(tail: str) -> None:
    with pytest.raises(UnsafeURLError) as caught:
        check_base_url("https://pds.example.com" + tail)
    assert caught.value.rule == "query"


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("https://cdn.example.org/x", "https://cdn.example.org/x"),
        ("//cdn.example.org/x", "https://cdn.example.org/x"),
        ("/other", "https://pds.example.com/other"),
        ("other?y=2", "https://pds.example.com/a/other?y=2"),
        ("http://127.0.0.1/", "http://127.0.0.1/"),
    ],
)
def test_redirect_is_resolved_against_what_was_asked(location: str, leads_to: str) -> None:
    assert follow("https://pds.example.com/a/b?x=1", location) == leads_to


@pytest.mark.parametrize("location", ["", "https://exa mple.com", "\thttps://x.com", "https://[", "https://[v1.x]y/"])
def test_redirect_that_cannot_be_read_is_refused(location: str) -> None:
    with pytest.raises(UnsafeURLError):
        check_url(follow("https://pds.example.com/a", location))


@given(st.text(max_size=80), st.booleans())
def test_every_text_is_a_target_or_refused(text: str, opened: bool) -> None:
    for url in (text, "https://" + text, "https://pds.example.com" + text):
        try:
            target = check_url(url, allow_private_networks=opened)
        except UnsafeURLError:
            continue
        assert target.path.startswith("/")
        assert target.host.isascii()


@given(st.text(alphabet="0123456789abcdefx.:[]@%-_", max_size=30))
def test_strict_host_is_always_a_public_looking_name(text: str) -> None:
    try:
        target = check_url("https://" + text + "/")
    except UnsafeURLError:
        return
    assert "." in target.host
    assert not target.host.rsplit(".", 1)[1].isdigit()
