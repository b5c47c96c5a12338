"""The URLs of images."""

import dataclasses
from typing import Any
from urllib.parse import unquote

import pytest

from imageproxy import (
    DEFAULT,
    ConfigError,
    FitMode,
    ImageURLs,
    InvalidCIDError,
    InvalidDIDError,
    InvalidPresetError,
    Preset,
    PresetRegistry,
    compute_cid,
)
from imageproxy.urls import ImagePath, SigningKeys

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = compute_cid(b"")
KEY = DEFAULT.get("avatar").key


def test_a_url_names_preset_did_cid_and_the_presets_key() -> None:
    assert ImageURLs().url_for("avatar", DID, CID) == f"/img/avatar/plain/{DID}/{CID}?v={KEY}"


def test_the_base_url_comes_first_and_the_cdn_before_it() -> None:
    path = f"/img/avatar/plain/{DID}/{CID}?v={KEY}"
    assert ImageURLs(base_url="https://a.example/").url_for("avatar", DID, CID) == "https://a.example" + path
    both = ImageURLs(base_url="https://a.example", cdn_url="https://cdn.example/x")
    assert both.url_for("avatar", DID, CID) == "https://cdn.example/x" + path


def test_another_format_is_in_the_path_and_in_the_key() -> None:
    key = DEFAULT.get("avatar").with_format("webp").key
    assert key != KEY
    assert ImageURLs().url_for("avatar", DID, CID, format="webp") == f"/img/avatar/plain/{DID}/{CID}@webp?v={key}"


def test_the_port_of_a_did_web_is_escaped() -> None:
    assert "/did:web:localhost%253A2583/" in ImageURLs().url_for("avatar", "did:web:localhost%3A2583", CID)


def test_an_edited_preset_has_another_url() -> None:
    edited = PresetRegistry([dataclasses.replace(DEFAULT.get("avatar"), quality=50)])
    assert ImageURLs(presets=edited).url_for("avatar", DID, CID) != ImageURLs().url_for("avatar", DID, CID)


def test_a_preset_object_needs_no_registry() -> None:
    square = Preset("square", 10, 10, FitMode.COVER, 80)
    assert ImageURLs().url_for(square, DID, CID) == f"/img/square/plain/{DID}/{CID}?v={square.key}"


def test_an_empty_cid_has_no_url() -> None:
    urls = ImageURLs()
    assert urls.url_for("avatar", DID, "") == ""
    assert urls.srcset(["avatar"], DID, "") == ""
    assert urls.purge_urls(DID, "") == []


def test_bad_arguments_are_refused() -> None:
    urls = ImageURLs()
    with pytest.raises(InvalidPresetError):
        urls.url_for("nope", DID, CID)
    with pytest.raises(InvalidPresetError):
        urls.url_for(None, DID, CID)  # type: ignore[arg-type]
    with pytest.raises(InvalidDIDError):
        urls.url_for("avatar", "nope", CID)
    with pytest.raises(InvalidCIDError):
        urls.url_for("avatar", DID, "no")
    with pytest.raises(InvalidPresetError, match="format"):
        urls.url_for("avatar", DID, CID, format="bmp")


def test_switched_off_the_url_is_that_of_the_pds_or_none() -> None:
    urls = ImageURLs(enabled=False, base_url="https://a.example")
    assert urls.url_for("avatar", DID, CID) == ""
    assert urls.url_for("avatar", DID, CID, pds_url="https://pds.example/") == (
        f"https://pds.example/xrpc/com.atproto.sync.getBlob?did={DID}&cid={CID}"
    )
    assert urls.srcset(["avatar"], DID, CID) == ""
    assert urls.purge_urls(DID, CID) == []


def test_a_srcset_describes_each_preset_by_its_width() -> None:
    urls = ImageURLs()
    assert urls.srcset(["avatar_small", DEFAULT.get("avatar")], DID, CID) == (
        f"{urls.url_for('avatar_small', DID, CID)} 360w, {urls.url_for('avatar', DID, CID)} 1000w"
    )


def test_purge_urls_are_all_that_can_have_been_written() -> None:
    urls = ImageURLs(cdn_url="https://cdn.example", signing_key="k")
    purged = urls.purge_urls(DID, CID)
    assert len(purged) == len(set(purged)) == len(DEFAULT) * 5
    assert urls.url_for("banner", DID, CID) in purged
    assert urls.url_for("banner", DID, CID, format="avif") in purged


def test_a_signed_url_is_told_from_a_forged_one() -> None:
    urls = ImageURLs(signing_key="secret")
    path = urls.url_for("avatar", DID, CID)
    assert "&s=" in path
    assert urls.is_signed(path)
    assert not urls.is_signed(path.replace("avatar", "banner"))
    assert not urls.is_signed(path[:-1] + ("A" if path[-1] != "A" else "B"))
    assert not urls.is_signed(path.partition("&s=")[0])
    assert not urls.is_signed("é&s=é")
    assert not urls.is_signed("\ud800&s=\ud800")
    assert not ImageURLs(signing_key=b"other").is_signed(path)
    assert ImageURLs().is_signed("/anything")


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (f"/avatar/plain/{DID}/{CID}", ("avatar", DID, CID, None)),
        (f"/avatar/plain/{DID}/{CID}@webp", ("avatar", DID, CID, "webp")),
        ("/a/plain/b/c@", ("a", "b", "c", "")),
        ("/a/plain/b/c@d@e", ("a", "b", "c", "d@e")),
        ("//plain//", ("", "", "", None)),
        ("/a/plain/did:web:localhost%3A80/c", ("a", "did:web:localhost%3A80", "c", None)),
        ("/a/plain/did:web:localhost:80/c", ("a", "did:web:localhost%3A80", "c", None)),
        ("/a/plain/did:web:localhost:path/c", ("a", "did:web:localhost:path", "c", None)),
        ("/a/plain/did:plc:a:80/c", ("a", "did:plc:a:80", "c", None)),
        ("/a/plain/\x00/\ud800", ("a", "\x00", "\ud800", None)),
    ],
)
def test_the_path_of_an_image_is_read_as_it_stands(path: str, parts: tuple[str | None, ...]) -> None:
    assert ImagePath.parse(path) == parts


@pytest.mark.parametrize(
    "path", ["", "/", "a/plain/b/c", "/a/plain/b", "/a/plain/b/c/", "/a/plain/b/c/d", "/a/fancy/b/c", "//a/plain/b/c"]
)
def test_a_path_of_another_form_is_no_images(path: str) -> None:
    assert ImagePath.parse(path) is None


@pytest.mark.parametrize("did", [DID, "did:web:localhost%3A80", "did:web:example.com"])
@pytest.mark.parametrize("format_", [None, "webp"])
def test_what_is_written_is_read(did: str, format_: str | None) -> None:
    url = ImageURLs().url_for("avatar", did, CID, format=format_)
    path = ImagePath.parse(unquote(url.partition("?")[0].removeprefix("/img")))
    assert path == ("avatar", did, CID, format_)
    assert f"/img{path}" == url.partition("?")[0]


def test_the_first_key_signs_and_all_are_known() -> None:
    old, new = SigningKeys(["old"]), SigningKeys([b"new", "old"])
    assert new.made(old.sign("/a"), "/a")
    assert new.made(new.sign("/a"), "/a")
    assert not old.made(new.sign("/a"), "/a")
    assert not new.made(old.sign("/a"), "/b")
    assert not new.made("", "/a")


@pytest.mark.parametrize("keys", [[], [""], [b""], ["a", None], [5]])
def test_keys_are_secrets(keys: Any) -> None:
    with pytest.raises(ConfigError, match="signing_key"):
        SigningKeys(keys)


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "example.com"},
        {"cdn_url": 5},
        {"base_url": None},
        {"signing_key": ""},
        {"signing_key": 5},
        {"presets": []},
    ],
)
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    (option,) = options
    with pytest.raises(ConfigError, match=option) as caught:
        ImageURLs(**options)
    assert caught.value.option == option
