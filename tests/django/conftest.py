"""A Django project in this process, whose settings a test may change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.test.utils import override_settings

from imageproxy.testing import LocalPDS, drawn_photos

TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]


@pytest.fixture(scope="session", autouse=True)
def _django() -> None:
    if not settings.configured:
        settings.configure(USE_TZ=True)
    apps.populate(settings.INSTALLED_APPS)


@pytest.fixture
def pds() -> Iterator[LocalPDS]:
    with LocalPDS() as pds:
        yield pds


@pytest.fixture(scope="session")
def photo() -> bytes:
    return drawn_photos()[0].data


@pytest.fixture
def blob(pds: LocalPDS, photo: bytes) -> tuple[str, str]:
    """A DID and a CID that are there."""
    did = pds.create_account()
    return did, pds.add_blob(did, photo)


@pytest.fixture
def options(pds: LocalPDS, tmp_path: Path) -> dict[str, Any]:
    """What points the project at the PDS, and at a cache of the test's own."""
    return {"PLC_URL": pds.plc_url, "ALLOW_PRIVATE_NETWORKS": True, "CACHE_PATH": tmp_path / "cache"}


@pytest.fixture
def project(options: dict[str, Any]) -> Iterator[Callable[..., None]]:
    """Sets the project up; ``IMAGE_PROXY`` is what is given, and what points at the PDS."""
    with ExitStack() as stack:

        def set_up(*, urls: str = "imageproxy_test_urls", image_proxy: Any = None, **more: Any) -> None:
            stack.enter_context(
                override_settings(
                    INSTALLED_APPS=["imageproxy.web.django"],
                    ROOT_URLCONF=urls,
                    TEMPLATES=TEMPLATES,
                    ALLOWED_HOSTS=["testserver"],
                    MIDDLEWARE=[
                        "django.middleware.csrf.CsrfViewMiddleware",
                        "django.middleware.common.CommonMiddleware",
                    ],
                    IMAGE_PROXY={**options, **(image_proxy or {})}
                    if isinstance(image_proxy, (dict, type(None)))
                    else image_proxy,
                    **more,
                )
            )

        yield set_up
