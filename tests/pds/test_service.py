"""``create_service`` against the reference PDS and directory: every case ends in an image or in an error of ours."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image as PillowImage
from PIL import ImageOps

from imageproxy import (
    BLUESKY,
    DEFAULT,
    Config,
    DIDNotFoundError,
    DIDResolutionError,
    FitMode,
    ImageProxyError,
    ImageTooLargeError,
    InvalidCIDError,
    PDSFetchError,
    PDSNotFoundError,
    Preset,
    ProcessingError,
    Service,
    UnsafeURLError,
    UnsupportedFormatError,
    cid_of,
    compute_cid,
    create_service,
)
from imageproxy.testing import drawn_photos

from .servers import Account, Network

pytestmark = pytest.mark.pds

SHARED_PHOTOS = Path(__file__).parents[3] / "shared" / "photos"


class Upload(NamedTuple):
    name: str
    data: bytes
    content_type: str


def photos() -> list[Upload]:
    """The photos that the project draws, and those that lie beside it where there are any."""
    types = {
        ".jpg": "image/jpeg",
        ".png": "image/png",
        ".webp": "image/webp",
        ".avif": "image/avif",
        ".gif": "image/gif",
    }
    drawn = [Upload(photo.name, photo.data, photo.content_type) for photo in drawn_photos()]
    found = sorted(SHARED_PHOTOS.iterdir()) if SHARED_PHOTOS.is_dir() else []
    return drawn + [Upload(path.name, path.read_bytes(), types[path.suffix]) for path in found if path.suffix in types]


PHOTOS = photos()


@pytest.fixture(scope="module")
def images(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of default backends that looks up and fetches for real."""
    config = Config(
        plc_url=network.plc_url,
        allow_private_networks=True,
        cache_path=tmp_path_factory.mktemp("cache"),
        identity_ttl_seconds=3600,
    )
    with create_service(config) as service:
        yield service


@pytest.fixture(scope="module")
def photographer(network: Network) -> Account:
    """An account that has all photos."""
    return network.create_account()


@pytest.fixture(scope="module")
def uploaded(network: Network, photographer: Account) -> dict[str, str]:
    """The CID of each photo, by its name."""
    return {photo.name: network.put_blob(photographer, photo.data, photo.content_type) for photo in PHOTOS}


def expected_size(photo: Upload, preset: Preset) -> tuple[int, int]:
    with PillowImage.open(BytesIO(photo.data)) as source:
        width, height = ImageOps.exif_transpose(source).size
    if preset.fit is FitMode.COVER:
        return preset.width, preset.height
    scale = min(preset.width / width, (preset.height or 10**9) / height)
    if not preset.enlarges:
        scale = min(scale, 1.0)
    return max(1, round(width * scale)), max(1, round(height * scale))


@pytest.mark.parametrize("preset", [*DEFAULT, *BLUESKY], ids=lambda preset: f"{preset.name}-{preset.format}")
@pytest.mark.parametrize("photo", PHOTOS, ids=lambda photo: photo.name)
def test_every_photo_comes_out_in_every_preset(
    photo: Upload, preset: Preset, images: Service, photographer: Account, uploaded: dict[str, str]
) -> None:
    cid = uploaded[photo.name]
    image = images.get(preset, photographer.did, cid)
    assert image.content_type == preset.content_type
    with PillowImage.open(BytesIO(image.data)) as made:
        assert made.format is not None
        assert made.format.lower() == preset.format
        assert made.size == pytest.approx(expected_size(photo, preset), abs=1)
        assert not made.getexif()
        made.load()
    assert images.flush(30)
    again = images.get(preset, photographer.did, cid)
    assert again.source == "cache"
    assert again.data == image.data


def test_the_pds_gives_bytes_the_cid_that_we_compute(
    network: Network, account: Account, uploaded: dict[str, str]
) -> None:
    for photo in PHOTOS:
        assert uploaded[photo.name] == compute_cid(photo.data)
    reference = network.upload_blob(account, PHOTOS[0].data, PHOTOS[0].content_type)
    assert cid_of(reference) == compute_cid(PHOTOS[0].data)


# What is not there


def fails_with(
    error: type[ImageProxyError], images: Service, did: str, cid: str, preset: str = "avatar_small"
) -> ImageProxyError:
    with pytest.raises(error) as caught:
        images.get_image(preset, did, cid)
    assert (caught.value.did, caught.value.cid, caught.value.preset) == (did, cid, preset)
    return caught.value


def is_gone(error: ImageProxyError, reason: str) -> bool:
    return isinstance(error, PDSNotFoundError) and error.reason == reason and error.status == 400


def test_a_blob_that_was_never_there(images: Service, account: Account) -> None:
    error = fails_with(PDSNotFoundError, images, account.did, compute_cid(b"never uploaded"))
    assert is_gone(error, "blob_not_found")


def test_a_blob_that_no_record_refers_to(network: Network, images: Service, account: Account) -> None:
    reference = network.upload_blob(account, PHOTOS[0].data, PHOTOS[0].content_type)
    assert is_gone(fails_with(PDSNotFoundError, images, account.did, cid_of(reference)), "blob_not_found")


def test_a_blob_of_somebody_else(images: Service, account: Account, uploaded: dict[str, str]) -> None:
    assert is_gone(
        fails_with(PDSNotFoundError, images, account.did, uploaded[PHOTOS[0].name], "banner"), "blob_not_found"
    )


def test_a_blob_that_was_taken_down_and_comes_back(network: Network, images: Service, account: Account) -> None:
    cid = network.put_blob(account, PHOTOS[0].data, PHOTOS[0].content_type)
    network.take_down_blob(account.did, cid)
    assert is_gone(fails_with(PDSNotFoundError, images, account.did, cid), "blob_not_found")
    network.take_down_blob(account.did, cid, applied=False)
    images.purge(account.did, cid)  # or wait until the failure is forgotten
    assert images.get("avatar_small", account.did, cid).source == "fetch"


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (lambda network, account: network.take_down_account(account.did), "repo_taken_down"),
        (lambda network, account: network.deactivate_account(account), "repo_deactivated"),
        (lambda network, account: network.delete_account(account.did), "repo_not_found"),
    ],
    ids=["taken down", "deactivated", "deleted"],
)
def test_an_account_that_is_not_to_be_read(
    happens: Callable[[Network, Account], None], reason: str, network: Network, images: Service, account: Account
) -> None:
    cid = network.put_blob(account, PHOTOS[0].data, PHOTOS[0].content_type)
    happens(network, account)
    assert is_gone(fails_with(PDSNotFoundError, images, account.did, cid), reason)


def test_an_account_taken_down_after_its_image_was_cached_is_erased_by_a_purge(
    network: Network, images: Service, account: Account
) -> None:
    cid = network.put_blob(account, PHOTOS[0].data, PHOTOS[0].content_type)
    images.get_image("avatar_small", account.did, cid)
    network.take_down_account(account.did)
    assert images.get("avatar_small", account.did, cid).source == "cache"
    assert images.purge(account.did).entries == 1
    assert is_gone(fails_with(PDSNotFoundError, images, account.did, cid), "repo_taken_down")


# Who is not there


def test_a_did_that_the_directory_does_not_know(images: Service) -> None:
    fails_with(DIDNotFoundError, images, "did:plc:" + "z" * 24, compute_cid(b""))


def test_a_did_that_was_tombstoned(network: Network, images: Service, account: Account) -> None:
    cid = network.put_blob(account, PHOTOS[0].data, PHOTOS[0].content_type)
    network.tombstone(account.did)
    fails_with(DIDNotFoundError, images, account.did, cid)


@pytest.mark.parametrize(
    "did", ["did:plc:short", "did:key:zQ3shZc2QzApp2oymGvQbzP8eKheVshBHbU4ZYjeXqwSKEn6N", "did:web:a.example%3A80"]
)
def test_a_did_that_cannot_be_resolved(did: str, images: Service) -> None:
    fails_with(DIDResolutionError, images, did, compute_cid(b""))


def test_a_did_web_where_nobody_is(images: Service) -> None:
    fails_with(DIDResolutionError, images, "did:web:nobody.invalid", compute_cid(b""))


def test_an_account_that_moved_away_is_looked_up_afresh(network: Network, images: Service, account: Account) -> None:
    cid = network.put_blob(account, PHOTOS[0].data, PHOTOS[0].content_type)
    images.get_image("avatar_small", account.did, cid)
    network.move(account.did, "http://127.0.0.1:9")  # nobody answers there
    network.deactivate_account(account)
    error = fails_with(PDSFetchError, images, account.did, cid, "banner")
    assert isinstance(error, PDSFetchError)
    assert error.pds_url == "http://127.0.0.1:9"


def test_a_pds_that_is_given_is_asked_and_not_looked_up(network: Network, images: Service, account: Account) -> None:
    cid = network.put_blob(account, PHOTOS[0].data, PHOTOS[0].content_type)
    network.tombstone(account.did)
    assert images.get("avatar_small", account.did, cid, network.pds_url).source == "fetch"


# What is no image


@pytest.mark.parametrize(
    ("data", "declared", "looks_like"),
    [
        (b"<!doctype html><html><body><script>alert(1)</script></body></html>", "image/png", "html"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "image/png", "svg"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml", "svg"),
        (b"<!doctype html>" + b"<p>" * 5000, "text/html", "html"),
        (b"just text", "image/jpeg", None),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + b"\x00" * 100, "image/heic", "heic"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42" + b"\x00" * 100, "image/jpeg", "video"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42" + b"\x01" * 100, "video/mp4", "video"),
    ],
)
def test_what_poses_as_an_image_is_refused(
    data: bytes, declared: str, looks_like: str | None, network: Network, images: Service, account: Account
) -> None:
    cid = network.put_blob(account, data, declared)
    error = fails_with(UnsupportedFormatError, images, account.did, cid)
    assert isinstance(error, UnsupportedFormatError)
    if looks_like is not None:
        assert error.format == looks_like


def test_an_empty_blob_is_refused(network: Network, images: Service, account: Account) -> None:
    cid = network.put_blob(account, b"", "image/png")
    with pytest.raises((UnsupportedFormatError, ProcessingError)):
        images.get_image("avatar_small", account.did, cid)


def test_half_a_photo_is_refused(network: Network, images: Service, account: Account) -> None:
    half = PHOTOS[0].data[: len(PHOTOS[0].data) // 2]
    fails_with(ProcessingError, images, account.did, network.put_blob(account, half, "image/jpeg"))


def test_a_blob_over_the_limit_is_refused_by_its_announced_size(
    network: Network, images: Service, account: Account
) -> None:
    data = PHOTOS[0].data + b"\x00" * (10 * 1024**2)
    error = fails_with(ImageTooLargeError, images, account.did, network.put_blob(account, data, "image/jpeg"))
    assert isinstance(error, ImageTooLargeError)
    assert (error.unit, error.limit, error.actual) == ("bytes", 10 * 1024**2, len(data))


def test_a_cid_that_proves_nothing_is_never_asked_for(images: Service, account: Account) -> None:
    with pytest.raises(InvalidCIDError):
        images.get_image("avatar_small", account.did, "bafkreimadeupcid")


def test_in_production_the_same_pds_is_not_connected_to(network: Network, account: Account, tmp_path: Path) -> None:
    cid = network.put_blob(account, PHOTOS[0].data, PHOTOS[0].content_type)
    with create_service(Config(cache_path=tmp_path)) as images:
        for url in (network.pds_url, network.pds_url.replace("http:", "https:"), "https://127.0.0.1"):
            with pytest.raises(UnsafeURLError) as caught:
                images.get_image("avatar_small", account.did, cid, url)
            assert caught.value.rule
