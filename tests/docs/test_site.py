"""The site is built as `make docs` does, with warnings as errors, and looked through."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

import imageproxy
from imageproxy import aio, caches, protocols, records, testing, web
from imageproxy.observers import prometheus
from imageproxy.web import flask

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PUBLIC = [imageproxy, protocols, caches, records, testing, web, flask, aio, prometheus]


class Page(HTMLParser):
    """The anchors and links of a page, and what a browser loads for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if not value:
                continue
            if name == "id":
                self.anchors.add(value)
            elif name == "href" and tag == "a":
                self.links.add(value)
            elif name in ("src", "srcset", "data") or (name == "href" and tag == "link"):
                self.loaded.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", f"{folder}/.doctrees"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(folder)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


@pytest.fixture(scope="module")
def documented(site: Path) -> set[str]:
    """The names that the reference has, by its inventory."""
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    entries = zlib.decompress(inventory).decode().splitlines()
    return {entry.split(" ", 1)[0] for entry in entries if " py:" in entry}


def places(module: ModuleType, name: str) -> Iterator[str]:
    """Where the reference may have a name: where it is imported from, and where it is defined."""
    yield f"{module.__name__}.{name}"
    yield f"{getattr(module, name).__module__}.{name}" if hasattr(getattr(module, name), "__module__") else ""
    for home in ("imageproxy.presets", "imageproxy.testing.fakes"):  # values do not know where they come from
        yield f"{home}.{name}"


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_the_reference_has_every_public_name(documented: set[str], module: ModuleType) -> None:
    names = set(module.__all__) - {"__version__"}
    assert not {name for name in names if documented.isdisjoint(places(module, name))}


def test_the_reference_has_the_options_of_everything(documented: set[str]) -> None:
    assert {f"imageproxy.Config.{name}" for name in imageproxy.Config.__dataclass_fields__} <= documented
    assert {f"imageproxy.Stats.{name}" for name in ("hits", "cache_writes_dropped")} <= documented


def test_links_and_anchors_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(url.fragment)
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].anchors):
                broken.append((path.name, link))
    assert not broken


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    elsewhere = re.compile(r"(?:https?:)?//")
    assert not {url for page in pages.values() for url in page.loaded if elsewhere.match(url)}
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//[^)'\"]*", sheet.read_text(encoding="utf-8"))


def test_the_site_names_no_path_of_the_machine_that_built_it(site: Path) -> None:
    for path in [*site.rglob("*.html"), *site.rglob("*.js")]:
        assert str(ROOT) not in path.read_text(encoding="utf-8"), path.name


def test_every_example_is_on_its_page(pages: dict[Path, Page], site: Path) -> None:
    examples = [path.relative_to(ROOT / "examples").as_posix() for path in (ROOT / "examples").rglob("*.py")]
    assert {re.sub("[^a-z0-9]+", "-", name) for name in examples} <= pages[site / "examples.html"].anchors
