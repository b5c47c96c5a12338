"""The default backends, put together."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imageproxy import Config, create_service
from imageproxy.testing import FakeFetcher, FakeProcessor

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = "bafkreimadeup0"


def test_a_cache_folder_that_cannot_be_one_is_told_at_the_start_and_images_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    config = Config(cache_path=tmp_path / "file" / "cache")
    with create_service(config, fetcher=FakeFetcher(), processor=FakeProcessor()) as images:
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert f"{tmp_path / 'file'} cannot be written to" in record.getMessage()
        assert images.get_image("avatar", DID, CID, "https://pds.example")
        assert images.flush(10)
        assert images.stats().cache_write_errors == 1


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of files are another matter on this system")
def test_a_forbidden_cache_folder_is_told_at_the_start_and_images_are_served(tmp_path: Path) -> None:
    script = """
import json, logging, os, sys
from imageproxy import Config, create_service
from imageproxy.testing import FakeFetcher, FakeProcessor
if os.geteuid() == 0:  # whom nothing is forbidden
    os.setuid(65534)
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stderr)
with create_service(Config(cache_path=sys.argv[1]), fetcher=FakeFetcher(), processor=FakeProcessor()) as images:
    for number in range(20):
        images.get_image("avatar", "did:plc:ewvi7nxzyoun6zhxrhs64oiz", f"bafkreimadeup{number}", "https://pds.example")
    images.flush(10)
    stats = images.stats()
    print(json.dumps([stats.cache_write_errors, stats.cache_writes_dropped, stats.processed]))
"""
    forbidden = tmp_path / "cache"
    forbidden.mkdir()
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    forbidden.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", script, str(forbidden)], capture_output=True, text=True, timeout=60, check=True
    )
    errors, dropped, processed = json.loads(done.stdout)
    assert errors + dropped == processed == 20
    warnings = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    assert [f"{forbidden} cannot be written to" in line for line in warnings].count(True) == 1
    assert len(warnings) <= 4, f"one at the start and one of each kind, not one for each image:\\n{done.stderr}"


def test_a_cache_folder_that_is_not_there_yet_is_no_cause_for_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with create_service(Config(cache_path=tmp_path / "a" / "b"), fetcher=FakeFetcher(), processor=FakeProcessor()):
        assert not caplog.records
        assert not (tmp_path / "a").exists()
