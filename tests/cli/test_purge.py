"""``imageproxy purge``; that ``cache purge`` is the same, ``test_cache.py`` holds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imageproxy.cli import main
from imageproxy.testing import LocalPDS
from imageproxy.urls import ImageURLs


@pytest.fixture
def cached(pds: LocalPDS, make_photo: Callable[..., bytes], tmp_path: Path) -> tuple[str, list[str]]:
    """An account and two blobs of it, each in the cache in two presets."""
    did = pds.create_account()
    cids = [pds.add_blob(did, make_photo(width)) for width in (30, 60)]
    (tmp_path / "list.txt").write_text("".join(f"{did} {cid}\n" for cid in cids))
    assert main(["warm", str(tmp_path / "list.txt"), "--presets", "avatar,banner"]) == 0
    return did, cids


@pytest.mark.parametrize("command", [["purge"], ["cache", "purge"]])
def test_purge_empties_the_cache_that_the_variables_name(
    cached: tuple[str, list[str]], command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    did, cids = cached
    capsys.readouterr()

    assert main([*command, did, cids[0]]) == 0
    assert main([*command, did]) == 0

    assert capsys.readouterr() == ("Removed 2 entries.\nRemoved 2 entries.\n", "")


def test_urls_to_purge_at_a_cdn_stand_alone_on_stdout(
    cached: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    did, (cid, _) = cached
    monkeypatch.setenv("IMAGE_PROXY_CDN_URL", "https://cdn.example.com")
    monkeypatch.setenv("IMAGE_PROXY_URL_SIGNING_KEY", "secret")
    capsys.readouterr()

    assert main(["purge", did, cid, "--urls"]) == 0

    out, err = capsys.readouterr()
    urls = ImageURLs(cdn_url="https://cdn.example.com", signing_key="secret").purge_urls(did, cid)
    assert out.splitlines() == urls
    assert err == "Removed 2 entries.\n"


def test_urls_as_json(cached: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    did, (cid, _) = cached
    capsys.readouterr()

    assert main(["purge", did, cid, "--urls", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["did"], told["cid"], told["removed_entries"]) == (did, cid, 2)
    assert told["urls"] == ImageURLs().purge_urls(did, cid)


def test_urls_of_a_whole_account_are_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["purge", "did:web:example.com", "--urls"])

    assert ended.value.code == 2
    assert "--urls needs a CID" in capsys.readouterr().err


def test_process_purges(cached: tuple[str, list[str]]) -> None:
    did, _ = cached

    done = subprocess.run(
        [sys.executable, "-m", "imageproxy", "purge", did], capture_output=True, timeout=60, check=False, text=True
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "Removed 4 entries.\n", "")
