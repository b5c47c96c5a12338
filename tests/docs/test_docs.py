"""The code in the documentation runs, against a real server on loopback."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imageproxy import Config, compute_cid
from imageproxy.testing import LocalPDS, drawn_photos
from imageproxy.web.flask import ImageProxy

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = {page: re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL) for page in PAGES}
README, *_ = PAGES
README_PROGRAM = BLOCKS[README][0]
# A block of the README stands for itself; those of another page are one program, from top to bottom.
PROGRAMS = {f"README.md-{number}": block for number, block in enumerate(BLOCKS[README])} | {
    str(page.relative_to(ROOT)): "".join(blocks) for page, blocks in BLOCKS.items() if page != README and blocks
}


@pytest.fixture
def pds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalPDS]:
    """A PDS that the environment points every service at, and an empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    with LocalPDS() as pds:
        monkeypatch.setenv("IMAGE_PROXY_PLC_URL", pds.plc_url)
        monkeypatch.setenv("IMAGE_PROXY_ALLOW_PRIVATE_NETWORKS", "true")
        monkeypatch.setenv("IMAGE_PROXY_CACHE_PATH", str(tmp_path / "cache"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))
        yield pds


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "documentation"}
    exec(compile(code, "documentation", "exec"), names)
    return names


@pytest.mark.usefixtures("pds")
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_the_code_of_the_documentation_runs(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Services without a config would ask the public directory: let them read the environment as an operator's would.
    monkeypatch.setattr("imageproxy.factory.Config", Config.from_env)
    names = run(program)
    images = names.get("images")
    if isinstance(images, ImageProxy):
        images.close(names["app"])
    elif images is not None:
        images.close()


def test_the_readme_program_serves_a_real_image(pds: LocalPDS) -> None:
    photo = drawn_photos()[0]
    did = pds.create_account()
    cid = pds.add_blob(did, photo.data, content_type=photo.content_type)
    names = run(README_PROGRAM)
    with names["images"]:
        answer = names["app"].test_client().get(f"/img/avatar/plain/{did}/{cid}")
    assert answer.status_code == 200
    assert answer.content_type == "image/jpeg"
    assert answer.headers["ETag"].startswith('"avatar-')
    assert answer.data.startswith(b"\xff\xd8")


def test_the_readme_program_has_ten_lines() -> None:
    lines = [line for line in README_PROGRAM.splitlines() if line.strip()]
    assert len(lines) <= 10
    assert README_PROGRAM.count("create_service") == 2


def test_the_readme_names_every_command_it_promises() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert f"\n{command}:" in makefile


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_example_app_answers_images_and_errors(pds: LocalPDS) -> None:
    photo = drawn_photos()[0]
    did = pds.create_account()
    cid = pds.add_blob(did, photo.data, content_type=photo.content_type)
    svg = pds.add_blob(did, b"<svg xmlns='http://www.w3.org/2000/svg'/>", content_type="image/png")
    names = run((ROOT / "examples" / "flask_app.py").read_text())
    client = names["app"].test_client()
    good = client.get(f"/img/avatar/plain/{did}/{cid}")
    again = client.get(f"/img/avatar/plain/{did}/{cid}", headers={"If-None-Match": good.headers["ETag"]})
    statuses = {
        path: client.get(f"/img/{path}").status_code
        for path in (f"nope/plain/{did}/{cid}", f"avatar/plain/{did}/{photo_cid()}", f"avatar/plain/{did}/{svg}")
    }
    names["images"].close(names["app"])
    assert good.status_code == 200
    assert again.status_code == 304
    assert list(statuses.values()) == [400, 404, 422]


def photo_cid() -> str:
    """The CID of a photo that no account here has."""
    return compute_cid(drawn_photos()[1].data)
