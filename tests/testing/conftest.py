from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from imageproxy.testing import LocalPDS


@pytest.fixture
def pds() -> Iterator[LocalPDS]:
    with LocalPDS() as server:
        yield server


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as http:
        http.trust_env = False
        http.headers["accept-encoding"] = "identity"
        yield http
