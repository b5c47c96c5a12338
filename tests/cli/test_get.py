from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imageproxy.cli import main
from imageproxy.identifiers import compute_cid
from imageproxy.testing import LocalPDS

CID = compute_cid(b"nobody has this")
POST = "app.bsky.feed.post"


def blob(cid: str, content_type: str = "image/jpeg") -> dict[str, Any]:
    return {"$type": "blob", "ref": {"$link": cid}, "mimeType": content_type, "size": 5}


@pytest.fixture
def post(pds: LocalPDS, make_photo: Callable[..., bytes]) -> str:
    """The URI of a post by alice.test with a video and two photos, 90 and 60 pixels wide."""
    did = pds.create_account(handle="alice.test")
    photos = [pds.add_blob(did, make_photo(width, 60)) for width in (90, 60)]
    video = pds.add_blob(did, b"\0\0\0\x20ftypisom", content_type="video/mp4")
    images = [{"image": blob(cid)} for cid in photos]
    return pds.add_record(did, POST, {"embed": {"video": blob(video, "video/mp4"), "images": images}})


def size_of(file: Path) -> tuple[str | None, tuple[int, int]]:
    with Image.open(file) as image:
        return image.format, image.size


def test_blob_is_written_to_a_file(
    pds: LocalPDS, make_photo: Callable[..., bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, make_photo())

    assert main(["get", did, cid, "-p", "banner", "-o", str(tmp_path / "banner.jpg")]) == 0

    assert size_of(tmp_path / "banner.jpg") == ("JPEG", (640, 300))
    assert capsys.readouterr() == ("", "")


def test_image_goes_to_stdout_and_comes_from_the_cache_next_time(
    pds: LocalPDS, make_photo: Callable[..., bytes], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, make_photo())

    assert main(["get", did, cid, "--preset", "avatar"]) == 0
    first = capfdbinary.readouterr().out
    pds.close()
    assert main(["get", did, cid, "--preset", "avatar"]) == 0

    assert capfdbinary.readouterr().out == first
    with Image.open(io.BytesIO(first)) as image:
        assert image.size == (1000, 1000)


@pytest.mark.parametrize(
    ("options", "made"),
    [
        ([], ("JPEG", (240, 160))),
        (["-f", "webp"], ("WEBP", (240, 160))),
        (["-p", "bluesky:avatar"], ("WEBP", (1000, 1000))),
        (["-p", "default:avatar_small", "-f", "png"], ("PNG", (360, 360))),
    ],
)
def test_preset_and_format_are_as_asked(
    pds: LocalPDS,
    make_photo: Callable[..., bytes],
    tmp_path: Path,
    options: list[str],
    made: tuple[str, tuple[int, int]],
) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, make_photo())

    assert main(["get", did, cid, "-o", str(tmp_path / "image"), *options]) == 0

    assert size_of(tmp_path / "image") == made


def test_pds_that_is_given_is_asked_alone(pds: LocalPDS, make_photo: Callable[..., bytes], tmp_path: Path) -> None:
    did = pds.create_account(pds_url="https://elsewhere.test")
    cid = pds.add_blob(did, make_photo())

    assert main(["get", did, cid, "--pds", pds.url, "-o", str(tmp_path / "a.jpg")]) == 0

    assert pds.requests == pds.blob_requests


def test_account_may_be_a_handle(pds: LocalPDS, make_photo: Callable[..., bytes], tmp_path: Path) -> None:
    did = pds.create_account(handle="alice.test")
    cid = pds.add_blob(did, make_photo())

    assert main(["get", "Alice.test", cid, "--pds", pds.url, "-o", str(tmp_path / "a.jpg")]) == 0

    assert (tmp_path / "a.jpg").exists()


@pytest.mark.parametrize(("options", "width"), [([], 90), (["--image", "1"], 90), (["-i", "2"], 60)])
def test_record_gives_its_images_by_their_number(
    pds: LocalPDS, post: str, tmp_path: Path, options: list[str], width: int
) -> None:
    assert main(["get", post, "-o", str(tmp_path / "a.jpg"), *options]) == 0

    assert size_of(tmp_path / "a.jpg") == ("JPEG", (width, 60))


def test_record_may_be_named_by_the_handle(pds: LocalPDS, post: str, tmp_path: Path) -> None:
    uri = f"at://alice.test/{post.split('/', 3)[3]}"

    assert main(["get", uri, "--pds", pds.url, "-o", str(tmp_path / "a.jpg")]) == 0

    assert size_of(tmp_path / "a.jpg")[1] == (90, 60)


def test_all_images_of_a_record_go_to_numbered_files(
    post: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["get", post, "--image", "all", "-o", str(tmp_path / "photo-{n}.jpg"), "--json"]) == 0

    assert [size_of(tmp_path / f"photo-{number}.jpg")[1][0] for number in (1, 2)] == [90, 60]
    told = json.loads(capsys.readouterr().out)
    assert [each["file"] for each in told] == [str(tmp_path / f"photo-{number}.jpg") for number in (1, 2)]
    assert told[0]["bytes"] == (tmp_path / "photo-1.jpg").stat().st_size
    assert {name: told[0][name] for name in ("did", "preset", "content_type", "source")} == {
        "did": post.split("/")[2],
        "preset": "content_full",
        "content_type": "image/jpeg",
        "source": "fetch",
    }


def test_number_of_the_one_image_stands_in_its_file(post: str, tmp_path: Path) -> None:
    assert main(["get", post, "--image", "2", "-o", str(tmp_path / "{n}.jpg")]) == 0

    assert (tmp_path / "2.jpg").exists()


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"text": "hello"}, "there is no image in {uri}; it has no blobs at all"),
        ({"video": blob(CID, "video/mp4"), "cc": blob(compute_cid(b""), "text/vtt")}, "it has text/vtt, video/mp4"),
        ({"image": blob(CID)}, "there is no image 2 in {uri}; it has 1 image\n"),
    ],
)
def test_record_without_such_an_image_is_told(
    pds: LocalPDS, record: dict[str, Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = pds.add_record(pds.create_account(), POST, record)

    assert main(["get", uri, "--image", "2", "-o", str(tmp_path / "a.jpg")]) == 1

    assert told.format(uri=uri) in capsys.readouterr().err
    assert not (tmp_path / "a.jpg").exists()


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (["at://alice.test/post"], "not the URI of a record"),
        (["at://alice/app.bsky.feed.post/1"], "neither a DID nor a handle: 'alice'"),
        (["alice", CID], "neither a DID nor a handle: 'alice'"),
        (["{did}", "x"], "not a CID: 'x'"),
        (["{did}", CID], "Blob not found"),
        (["at://{did}/app.bsky.feed.post/1"], "RecordNotFound"),
        (["at://did:web:localhost%3A1/app.bsky.feed.post/1"], "no PDS for did:web:localhost%3A1"),
    ],
)
def test_error_is_one_line_and_exits_with_1(
    pds: LocalPDS, what: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    did = pds.create_account()

    assert main(["get", *(each.format(did=did) for each in what), "-o", str(tmp_path / "no.jpg")]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("imageproxy: ")
    assert err.count("\n") == 1
    assert told in err
    assert not (tmp_path / "no.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["did:web:a.example"], "give a record (at://...) alone, or an account and a CID"),
        (["at://a.example/b.c.d/1", CID], "give a record (at://...) alone, or an account and a CID"),
        (["at://a.example/b.c.d/1", "-i", "all", "-o", "a.jpg"], "write {n} where its number goes"),
        (["at://a.example/b.c.d/1", "-i", "all"], "write {n} where its number goes"),
        (["at://a.example/b.c.d/1", "-i", "0", "-o", "a.jpg"], "'0' is no number of an image"),
        (["at://a.example/b.c.d/1", "-i", "one", "-o", "a.jpg"], "'one' is no number of an image"),
        (["did:web:a.example", CID, "--json"], "name a file for the image with -o"),
        (["did:web:a.example", CID, "-p", "poster"], "no preset 'poster'; there are: avatar, "),
        (
            ["did:web:a.example", CID, "-p", "mastodon:avatar"],
            "no set of presets 'mastodon'; there are: default, bluesky",
        ),
        (["did:web:a.example", CID, "-f", "gif"], "invalid choice: 'gif'"),
    ],
)
def test_what_does_not_go_together_exits_with_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["get", *arguments])

    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_terminal_is_not_filled_with_an_image(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    with pytest.raises(SystemExit) as ended:
        main(["get", "did:web:example.com", CID])

    assert ended.value.code == 2
    assert "name a file with -o" in capsys.readouterr().err


def test_file_that_cannot_be_written_is_one_line(
    pds: LocalPDS, make_photo: Callable[..., bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    did = pds.create_account()
    cid = pds.add_blob(did, make_photo())

    assert main(["get", did, cid, "-o", str(tmp_path / "nowhere" / "a.jpg")]) == 1

    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "nowhere" in err


@pytest.mark.usefixtures("pds")
def test_process_gets_the_image_of_a_record(post: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "imageproxy", "get", post, "-p", "avatar_small"],
        capture_output=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )

    assert (done.returncode, done.stderr) == (0, b"")
    with Image.open(io.BytesIO(done.stdout)) as image:
        assert (image.format, image.size) == ("JPEG", (360, 360))
