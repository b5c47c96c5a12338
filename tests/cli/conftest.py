from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from imageproxy.testing import LocalPDS


@pytest.fixture
def pds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalPDS]:
    """A PDS that the commands are pointed at, with a cache in the test's own folder."""
    with LocalPDS() as server:
        monkeypatch.setenv("IMAGE_PROXY_PLC_URL", server.plc_url)
        monkeypatch.setenv("IMAGE_PROXY_ALLOW_PRIVATE_NETWORKS", "true")
        monkeypatch.setenv("IMAGE_PROXY_CACHE_PATH", str(tmp_path / "cache"))
        yield server


@pytest.fixture
def make_photo() -> Callable[..., bytes]:
    """A photo of a few colours, as JPEG unless told otherwise."""

    def make(
        width: int = 240, height: int = 160, file_format: str = "JPEG", *, orientation: int | None = None
    ) -> bytes:
        photo = Image.linear_gradient("L").resize((width, height)).convert("RGB")
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        file = io.BytesIO()
        photo.save(file, file_format, exif=exif)
        return file.getvalue()

    return make
