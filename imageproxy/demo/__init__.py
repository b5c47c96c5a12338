"""``imageproxy demo``: photos through the whole pipeline over real HTTP, timed, and shown on one page."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from imageproxy._terminal import ProgressBar
from imageproxy.demo.contact_sheet import contact_sheet
from imageproxy.demo.measure import PhotoReport, measure
from imageproxy.demo.output import OutputFolder
from imageproxy.demo.photos import Photo
from imageproxy.factory import create_service
from imageproxy.presets import DEFAULT
from imageproxy.testing.local_pds import LocalPDS

__all__ = ["DemoResult", "run_demo"]


class DemoResult(NamedTuple):
    """What came of each photo, and where the contact sheet is."""

    reports: Sequence[PhotoReport]
    page: Path


def run_demo(photos: Sequence[Photo], output: Path, *, progress: TextIO) -> DemoResult:
    """Put every photo on a LocalPDS, ask a service of the default backends for every preset, write a contact sheet.

    output: the folder for the sheet, see ``OutputFolder``.
    progress: where a progress bar is drawn if it is a terminal.

    A photo that cannot be shown is told of in its report. Raises ConfigError for a folder that is not to be written
    to, and OSError.
    """
    folder = OutputFolder(output)
    reports = []
    with (
        ProgressBar(progress, len(photos) * len(DEFAULT)) as bar,
        # On Windows a folder goes only when its files are closed; so it is the outermost.
        tempfile.TemporaryDirectory(prefix="imageproxy-demo-") as cache_path,
        LocalPDS() as pds,
        create_service(pds.service_config(cache_path=cache_path, cleanup_interval_seconds=None)) as service,
    ):
        for number, photo in enumerate(photos, 1):
            reports.append(measure(photo, number, pds, service, folder.write, bar.advance))
    return DemoResult(reports, folder.write("index.html", contact_sheet(reports).encode()))
