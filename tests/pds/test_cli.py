"""The command line against the reference PDS and directory."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from imageproxy.testing import drawn_photos

from .servers import Account, Network

pytestmark = pytest.mark.pds

Command = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def imageproxy(network: Network, tmp_path: Path) -> Command:
    """``imageproxy(argument, ...)``: the command as a process, pointed at the servers."""

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "imageproxy", *arguments],
            env={
                **os.environ,
                "IMAGE_PROXY_PLC_URL": network.plc_url,
                "IMAGE_PROXY_ALLOW_PRIVATE_NETWORKS": "true",
                "IMAGE_PROXY_CACHE_PATH": str(tmp_path / "cache"),
            },
            capture_output=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.mark.parametrize("authority", ["did", "handle"])
def test_image_of_a_record_is_got_by_its_uri(
    network: Network, account: Account, imageproxy: Command, authority: str
) -> None:
    photo = drawn_photos()[0]
    video = network.upload_blob(account, b"\0\0\0\x20ftypisom" + bytes(100), "video/mp4")
    image = network.upload_blob(account, photo.data, photo.content_type)
    uri = network.publish_record(account, {"embed": {"video": video, "images": [{"alt": "", "image": image}]}})
    options = [] if authority == "did" else ["--pds", network.pds_url]

    done = imageproxy("get", uri.replace(account.did, getattr(account, authority)), "-p", "avatar", *options)

    assert (done.returncode, done.stderr) == (0, b"")
    with Image.open(io.BytesIO(done.stdout)) as made:
        assert (made.format, made.size) == ("JPEG", (1000, 1000))


def test_record_that_is_not_there_is_one_line(account: Account, imageproxy: Command) -> None:
    done = imageproxy("get", f"at://{account.did}/com.example.attachment/none")

    assert (done.returncode, done.stdout) == (1, b"")
    assert b"RecordNotFound: Could not locate record: at://" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_handle_that_nobody_has_is_one_line(network: Network, imageproxy: Command) -> None:
    done = imageproxy("get", "at://nobody.test/com.example.attachment/none", "--pds", network.pds_url)

    assert (done.returncode, done.stdout) == (1, b"")
    assert b"no DID for the handle nobody.test" in done.stderr


def test_account_is_warmed_and_purged(network: Network, account: Account, imageproxy: Command) -> None:
    for photo in drawn_photos()[:3]:
        network.put_blob(account, photo.data, photo.content_type)
    network.put_blob(account, b"\0\0\0\x20ftypisom" + bytes(100), "video/mp4")

    done = imageproxy("warm", "--account", account.did, "--presets", "avatar_small,banner", "--json")

    assert (done.returncode, done.stderr) == (0, b"")
    told = json.loads(done.stdout)
    assert (told["blobs"], told["made"], told["failed"], told["skipped_blobs"]) == (4, 6, 0, {"video": 1})
    again = imageproxy(
        "warm", "--account", account.handle, "--pds", network.pds_url, "--presets", "avatar_small,banner"
    )
    assert again.stdout.startswith(b"4 blobs: 0 images made, 6 cached already, 0 failed.")
    assert imageproxy("purge", account.did).stdout == b"Removed 6 entries.\n"
