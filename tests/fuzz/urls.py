"""URLs that strangers could publish: a grammar of those that parsers disagree on."""

from __future__ import annotations

import random

__all__ = ["a_reference", "a_url", "an_address"]

_SCHEMES: tuple[str, ...] = (
    "https://",
    "https://",
    "https://",
    "http://",
    "HTTPS://",
    "hTTp://",
    "//",
    "https:/",
    "https:",
    "https:\\\\",
    "",
)
_SCHEMES += (
    "ftp://",
    "file://",
    "javascript:",
    "data:",
    "https+unix://",
    "https:///",
    "https:////",
    "://",
    " https://",
)
_USERS = ("",) * 12 + ("user@", "user:pw@", "@", ":@", "a%40b@", "pds.example.com@", "[@", "user@user@", "https://x@")
_NAMES = (
    "pds.host.example.com",
    "bsky.network",
    "a.b",
    "xn--bcher-kva.ch",
    "a_b.example.com",
    "pds.example.com.",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "intranet",
    "x.local",
    "x.internal",
    "metadata.google.internal",
    "b\u00fccher.ch",
    "\u24d4xample.com",
    "ex\u3002com",
    "\uff11\uff12\uff17.0.0.1",
    "\u0131.com",
    "a\u00adb.com",
    "127.1",
    "0x7f.1",
    "0177.0.0.1",
    "2130706433",
    "0x7f000001",
    "1.2.3",
    "a.1",
    "a.0x",
    "a.0xg",
    "a.08",
    "1.1.1.1.",
    "127.0.0.1.nip.io",
    "169.254.169.254",
    "10.0.0.1",
    "1.1.1.1",
    "255.255.255.255",
    "0",
    "0.0.0.0",
    "256.1.1.1",
    "",
    ".",
    "..",
    "a..b",
    ".a.b",
    "-a.b",
    "a-.b",
    "a.-b",
    "*.a.b",
    "a b.c",
    "a%2eb.c",
    "%31%32%37.0.0.1",
    "a" * 64 + ".b",
    "a." * 126 + "b",
    "a." * 130 + "b",
    "a.b\x00.c",
    "a.b\t",
    "a.b\n",
    "a\r\nX: y",
    "a.b\x7f",
    "a.b\u2028",
    "a.b\ud800",
)
_V6 = (
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "fe80::1",
    "fe80::1%25eth0",
    "fe80::1%eth0",
    "2606:4700::1111",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:db8::1",
    "fd00:ec2::254",
    "fec0::1",
    "2606::5efe:127.0.0.1",
    "v1.a",
    "1",
    "g::",
    ":::",
    "1:2:3:4:5:6:7:8:9",
    "::1]",
    "[::1",
    "::1%",
    "::1%0",
    "127.0.0.1",
    "100:0:0:1::1",
    "ff02::1",
)
_PORTS: tuple[str, ...] = ("",) * 8 + (
    ":443",
    ":80",
    ":0",
    ":8443",
    ":65535",
    ":65536",
    ":99999",
    ":-1",
    ":+443",
    ":0443",
    ":000443",
    ":",
)
_PORTS += (":443:443", ":a", ":\u0664\u0664\u0663", ": 443", ":443@x.com", ":4_4_3", ":0x1bb")
_PATHS: tuple[str, ...] = ("",) * 4 + (
    "/",
    "/a/b",
    "?q",
    "#f",
    "/..;/",
    "\\@evil.com",
    "/\\evil",
    "/%00",
    "/%zz",
    "/a b",
    "/\u00e9",
    "/a?b#c",
)
_PATHS += (
    "//evil.com",
    "/@",
    "/:443",
    "/\r\n\r\nGET / HTTP/1.1",
    "/" + "a" * 9000,
    ";p",
    "/?" + "&a=b" * 100,
    "/[",
    "/]",
)
_NOISE = "/\\@:#?[]%.-_ \t\r\n\0\x7f\u00e9\u3002\ud83d\ude00\ud800aA0"


def a_url(rng: random.Random) -> str:
    """A URL, or something that could be taken for one."""
    host = f"[{rng.choice(_V6)}]" if rng.random() < 0.25 else rng.choice(_NAMES)
    if rng.random() < 0.15:
        host = _number_host(rng)
    url = rng.choice(_SCHEMES) + rng.choice(_USERS) + host + rng.choice(_PORTS) + rng.choice(_PATHS)
    return _garbled(rng, url) if rng.random() < 0.4 else url


def a_reference(rng: random.Random) -> str:
    """What may stand in a Location header."""
    what = rng.random()
    if what < 0.4:
        return a_url(rng)
    path = rng.choice(
        ("/", "", "?", "../", "./", "../../../", "//", "///", "/\\", "\\\\", ";", "a/../b", "#", "?q=/../")
    )
    return _garbled(rng, path + rng.choice(("", "x", *_NAMES, *_PATHS))) if what < 0.7 else path + rng.choice(_PATHS)


def an_address(rng: random.Random) -> str:
    """An IP address as the system could tell it, or something like one."""
    what = rng.random()
    if what < 0.3:
        return ".".join(str(rng.choice((0, 1, 10, 100, 127, 168, 169, 172, 192, 198, 224, 255, rng.getrandbits(8))))
                        for _ in range(4))  # fmt: skip
    if what < 0.7:
        words = [rng.choice((0, 0, 0, 1, 0xFFFF, 0x5EFE, 0x200, 0x7F00, rng.getrandbits(16))) for _ in range(8)]
        words[0] = rng.choice((0x2001, 0x2002, 0x2606, 0x2620, 0x3FFF, 0x64, 0x100, 0xFE80, 0xFD00, 0xFF02, words[0]))
        return ":".join(f"{word:x}" for word in words) + rng.choice(("", "", "", "%1", "%eth0", "%"))
    return _garbled(rng, rng.choice((*_V6, *_NAMES)))


def _number_host(rng: random.Random) -> str:
    count = rng.randint(1, 5)
    numbers = [rng.choice((0, 1, 8, 127, 255, 256, rng.getrandbits(8), rng.getrandbits(32))) for _ in range(count)]
    return ".".join(rng.choice(("{}", "0x{:x}", "0{:o}", "{:04d}", "0X{:X}")).format(number) for number in numbers)


def _garbled(rng: random.Random, text: str) -> str:
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(text))
        what = rng.random()
        if what < 0.5:
            text = text[:at] + rng.choice(_NOISE) + text[at:]
        elif what < 0.75:
            text = text[:at] + text[at + rng.randint(1, 4) :]
        else:
            text = text[:at] + text[at:].swapcase()
    return text
