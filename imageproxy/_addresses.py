"""Which URLs and which addresses this library connects to. Pure: nothing is resolved or opened here.

The URL of a PDS comes from a document that anyone can publish, so it may point at the app's own network. Two questions
are asked of it: whether the URL is one that a PDS on the internet can have (``check_url``), and, for each address that
its name turns out to have, whether that address is on the internet (``refusal_of_address``).

Sources: IANA's special-purpose address registries (RFC 6890, RFC 8190), RFC 4291 (IPv6), RFC 5214 (ISATAP), the
special-use domain names (RFC 6761, RFC 6762 with its appendix G, RFC 7686, RFC 8375, RFC 9476) and ``.internal``, which
ICANN keeps for private use. ``ipaddress.is_global`` follows an older registry and lets several of these through.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin

from .errors import UnsafeURLError

__all__ = ["Target", "check_base_url", "check_url", "follow", "refusal_of_address"]

# The first network that holds an address names the rule; so the metadata services of cloud providers, which give
# credentials to whoever asks, come before the wider networks that they are in.
_REFUSED_V4 = (
    ("168.63.129.16/32", "cloud_metadata"),  # Azure: a public address, answered inside
    ("100.100.100.200/32", "cloud_metadata"),  # Alibaba
    ("169.254.0.0/16", "link_local"),  # and the metadata service of most others
    ("0.0.0.0/8", "this_network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared"),
    ("127.0.0.0/8", "loopback"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol_assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "as112"),
    ("192.52.193.0/24", "amt"),
    ("192.88.99.0/24", "6to4"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "as112"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
)
_REFUSED_V6 = (
    ("fd00:ec2::/32", "cloud_metadata"),  # AWS
    ("fd20:ce::254/128", "cloud_metadata"),  # Google
    ("::1/128", "loopback"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link_local"),
    ("ff00::/8", "multicast"),
    ("64:ff9b::/96", "nat64"),
    ("2001::/23", "protocol_assignments"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "documentation"),
    ("2620:4f:8000::/48", "as112"),
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# The interface identifiers of ISATAP, which are followed by an IPv4 address.
_ISATAP = (bytes.fromhex("00005efe"), bytes.fromhex("02005efe"))

# What ``allow_private_networks`` opens. Link-local stays shut: no PDS is there, and metadata services are.
_OPENED = frozenset({"loopback", "private", "shared"})

_LOCAL_NAMES = frozenset(
    {
        *("localhost", "test", "example", "invalid", "local", "onion", "alt", "arpa", "internal"),
        *("intranet", "private", "corp", "home", "lan", "localdomain"),
    }
)

# ASCII without control characters, space and backslash, on which parsers of URLs disagree.
_PRINTABLE = re.compile(r"[!-\[\]-~]+")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(?:#.*)?")
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# What a lax parser takes for the end of an IPv4 address: 1, 0177, 0x7f (url.spec.whatwg.org, "ends in a number").
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
# A DID has at most 2048 characters, which may triple when they are escaped.
_MAX_URL_LENGTH = 8192
_MAX_HOST_LENGTH = 253
_MAX_PORT = 65535
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads, taken apart once: what was judged is what is connected to.

    scheme: ``"https"``, or ``"http"`` where private networks are allowed.
    host: a name in lower case without a dot at its end, or an address without brackets.
    path: with the query; begins with a slash.
    """

    scheme: str
    host: str
    port: int
    path: str


@cache
def _networks_v4() -> tuple[tuple[IPv4Network, str], ...]:
    return tuple((IPv4Network(network), rule) for network, rule in _REFUSED_V4)


@cache
def _networks_v6() -> tuple[tuple[IPv6Network, str], ...]:
    return tuple((IPv6Network(network), rule) for network, rule in _REFUSED_V6)


def check_url(url: str, *, allow_private_networks: bool = False) -> Target:
    """Take a URL apart, if it is one that this library asks.

    It must be https on port 443, with the name of a host on the internet; with ``allow_private_networks`` http, other
    ports, addresses, and names of the local network pass too. A fragment is dropped.

    Raises UnsafeURLError, whose ``rule`` is ``"characters"``, ``"length"``, ``"syntax"``, ``"scheme"``,
    ``"userinfo"``, ``"port"``, ``"host"``, ``"numeric_host"``, ``"single_label"``, ``"local_name"``, ``"ip_literal"``,
    or that of a refused address. The addresses behind a name are not looked up here.
    """
    _check_characters(url)
    parts = _URL.fullmatch(url)
    if parts is None:
        raise _unsafe(url, "syntax", "it is no absolute URL such as https://pds.example.com")
    scheme, authority, path = parts[1].lower(), parts[2], parts[3]
    if scheme != "https" and not (scheme == "http" and allow_private_networks):
        raise _unsafe(url, "scheme", "it is not https", opens=scheme == "http")
    if "@" in authority:
        raise _unsafe(url, "userinfo", "it holds a user name")
    where = _AUTHORITY.fullmatch(authority)
    if where is None:
        raise _unsafe(url, "syntax", "its host and port cannot be read")
    port = int(where[3]) if where[3] else _PORTS[scheme]
    if not 0 < port <= _MAX_PORT or not (allow_private_networks or port == _PORTS[scheme]):
        raise _unsafe(url, "port", f"its port is {port}", opens=0 < port <= _MAX_PORT)
    host = where[1] or where[2].lower().removesuffix(".")
    _check_host(url, host, allow_private_networks)
    return Target(scheme, host, port, path if path.startswith("/") else "/" + path)


def check_base_url(url: str, *, allow_private_networks: bool = False) -> str:
    """The URL without slashes at its end, to put a path behind. It may have a path of its own, but no query.

    Raises UnsafeURLError as ``check_url`` does, and with the rule ``"query"``.
    """
    check_url(url, allow_private_networks=allow_private_networks)
    if "?" in url or "#" in url:
        raise _unsafe(url, "query", "a base URL has no query and no fragment")
    return url.rstrip("/")


def follow(url: str, location: str) -> str:
    """Where a redirect from ``url`` leads, not yet judged. Raises UnsafeURLError for what is no reference at all."""
    _check_characters(location)
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise _unsafe(location, "syntax", "it cannot be read") from error


def refusal_of_address(address: str, *, allow_private_networks: bool = False) -> str | None:
    """The rule that refuses to connect to this address, or ``None`` for an address on the internet.

    address: as ``getaddrinfo`` and ``getpeername`` tell it; an IPv6 address may have a zone.

    An IPv4 address inside an IPv6 one (mapped, ISATAP) is judged as the IPv4 address that it reaches.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return "not_an_address"
    rule = _rule_v4(ip) if isinstance(ip, IPv4Address) else _rule_v6(ip)
    return None if allow_private_networks and rule in _OPENED else rule


def _rule_v4(ip: IPv4Address) -> str | None:
    return next((rule for network, rule in _networks_v4() if ip in network), None)


def _rule_v6(ip: IPv6Address) -> str | None:
    if ip.ipv4_mapped is not None:
        return _rule_v4(ip.ipv4_mapped)
    for network, rule in _networks_v6():
        if ip in network:
            return rule
    if ip not in _GLOBAL_UNICAST:
        return "not_global"
    if ip.packed[8:12] in _ISATAP:
        return _rule_v4(IPv4Address(ip.packed[12:]))
    return None


def _check_characters(url: str) -> None:
    if not isinstance(url, str) or not _PRINTABLE.fullmatch(url):
        raise _unsafe(url, "characters", "a URL is text of printable ASCII without spaces and backslashes")
    if len(url) > _MAX_URL_LENGTH:
        raise _unsafe(url, "length", f"it has more than {_MAX_URL_LENGTH} characters")


def _check_host(url: str, host: str, allow_private_networks: bool) -> None:
    try:
        ip_address(host)
    except ValueError:
        _check_name(url, host, allow_private_networks)
        return
    rule = refusal_of_address(host, allow_private_networks=allow_private_networks)
    if rule is not None:
        raise _unsafe(url, rule, f"{host} is no address on the internet", opens=rule in _OPENED)
    if not allow_private_networks:
        raise _unsafe(url, "ip_literal", "a PDS has a name, not an address", opens=True)


def _check_name(url: str, host: str, allow_private_networks: bool) -> None:
    labels = host.split(".")
    if len(host) > _MAX_HOST_LENGTH or not all(_LABEL.fullmatch(label) for label in labels):
        raise _unsafe(url, "host", "its host is no name of the domain name system")
    if _NUMERIC.fullmatch(labels[-1]):
        raise _unsafe(url, "numeric_host", "its host could be read as an address")
    if allow_private_networks:
        return
    if len(labels) == 1:
        raise _unsafe(url, "single_label", "its host has one label, as names of a local network do", opens=True)
    if labels[-1] in _LOCAL_NAMES:
        raise _unsafe(url, "local_name", f"names under .{labels[-1]} are not on the internet", opens=True)


def _unsafe(url: object, rule: str, why: str, *, opens: bool = False) -> UnsafeURLError:
    text = url if isinstance(url, str) else repr(url)
    shown = ascii(text if len(text) <= 200 else text[:197] + "...")
    hint = "; allow_private_networks=True opens it for development" if opens else ""
    return UnsafeURLError(f"not asked: {shown}: {why}{hint}", url=text, rule=rule)
