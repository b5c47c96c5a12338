"""Which addresses are connected to. The networks are written out a second time here, from the registries."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageproxy._addresses import refusal_of_address

V4_REFUSED = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.31.196.0/24
192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4
240.0.0.0/4 168.63.129.16/32
"""
V6_REFUSED = """
2001::/23 2001:db8::/32 2002::/16 3fff::/20 2620:4f:8000::/48 ::/3 4000::/2 8000::/1 64:ff9b::/96 64:ff9b:1::/48
100::/64 100:0:0:1::/64 5f00::/16 fc00::/7 fd00::/8 fe80::/10 fec0::/10 ff00::/8 ::/96
"""
V4_NETWORKS: list[IPv4Network] = [IPv4Network(each) for each in V4_REFUSED.split()]
V6_NETWORKS: list[IPv6Network] = [IPv6Network(each) for each in V6_REFUSED.split()]


def _spots(network: IPv4Network | IPv6Network) -> list[str]:
    first, last = int(network.network_address), int(network.broadcast_address)
    kind = type(network.network_address)
    return [str(kind(value)) for value in sorted({first, min(first + 1, last), (first + last) // 2, last})]


REFUSED = [
    *sorted({spot for network in V4_NETWORKS for spot in _spots(network)}),
    *sorted({spot for network in V6_NETWORKS for spot in _spots(network)}),
    "127.0.0.1",
    "127.1.2.3",
    "10.1.2.3",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "255.255.255.255",
    "224.0.0.251",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "::ffff:0:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "100::1",
    "100:0:0:1::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2a00:1450:4001::5efe:10.0.0.1",
    "2a00:1450:4001::200:5efe:127.0.0.1",
    "2a00:1450:4001:0:0:5efe:a9fe:a9fe",
    "",
    "localhost",
    "127.1",
    "0177.0.0.1",
    "2130706433",
    "1.2.3.4.5",
    "[::1]",
]
ALLOWED = """
1.0.0.1 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15
168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0 192.31.195.255
192.31.197.0 192.52.192.255 192.52.194.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 192.175.47.255
192.175.49.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255
2000::1 2001:200::1 2001:4860:4860::8888 2001:db7:ffff::1 2001:db9::1 2003::1 2400:cb00::1 2606:4700:4700::1111
2620:4f:7fff::1 2620:4f:8001::1 2a00:1450:4001:81b::200e 2a01:4f8::1 3ffe:ffff::1 3fff:1000::1
::ffff:8.8.8.8 ::ffff:1.1.1.1 2a00:1450:4001::5efe:8.8.8.8 2a00:1450:4001::200:5efe:8.8.8.8
"""


@pytest.mark.parametrize("address", REFUSED)
def test_address_that_is_not_on_the_internet_is_refused(address: str) -> None:
    assert refusal_of_address(address) is not None


@pytest.mark.parametrize("address", ALLOWED.split())
def test_address_on_the_internet_is_allowed(address: str) -> None:
    assert refusal_of_address(address) is None
    assert refusal_of_address(address, allow_private_networks=True) is None


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "172.31.0.1", "192.168.0.1", "100.64.0.1"),
        *("::1", "fd12:3456::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:192.168.0.1"),
    ],
)
def test_allowing_private_networks_opens_them(address: str) -> None:
    assert refusal_of_address(address) is not None
    assert refusal_of_address(address, allow_private_networks=True) is None


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "169.254.169.254", "169.254.0.1", "168.63.129.16", "100.100.100.200", "192.0.0.192", "192.0.2.1"),
        *("198.18.0.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.88.99.1"),
        *("::", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fd20:ce::254", "ff02::1", "2002:7f00:1::", "::127.0.0.1"),
        *("::ffff:169.254.169.254", "2001:db8::1", "64:ff9b::7f00:1", "fec0::1", "not an address"),
    ],
)
def test_allowing_private_networks_opens_nothing_else(address: str) -> None:
    assert refusal_of_address(address, allow_private_networks=True) is not None


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("127.0.0.1", "loopback"),
        ("10.0.0.1", "private"),
        ("169.254.169.254", "link_local"),
        ("168.63.129.16", "cloud_metadata"),
        ("fd00:ec2::254", "cloud_metadata"),
        ("64:ff9b::1", "nat64"),
        ("::2", "not_global"),
        ("::ffff:224.0.0.1", "multicast"),
        ("nonsense", "not_an_address"),
    ],
)
def test_refusal_names_its_rule(address: str, rule: str) -> None:
    assert refusal_of_address(address) == rule


@given(st.ip_addresses(v=4))
def test_v4_address_is_refused_where_a_registered_network_holds_it(address: IPv4Address) -> None:
    assert (refusal_of_address(str(address)) is not None) == any(address in network for network in V4_NETWORKS)


@given(st.ip_addresses(v=6))
def test_v6_address_outside_of_global_unicast_is_refused(address: IPv6Address) -> None:
    if address not in IPv6Network("2000::/3") and address.ipv4_mapped is None:
        assert refusal_of_address(str(address)) is not None


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:{}", "2a00:1450:4001::5efe:{}", "2606:4700::200:5efe:{}"]))
def test_embedded_v4_address_is_judged_like_itself(address: IPv4Address, around: str) -> None:
    inside = str(ip_address(around.format(address)))
    for opened in (False, True):
        assert refusal_of_address(inside, allow_private_networks=opened) == refusal_of_address(
            str(address), allow_private_networks=opened
        )


@given(st.text(max_size=60))
def test_no_text_breaks_the_judgement(text: str) -> None:
    refusal_of_address(text)
