"""What the pages of the site show is done as a reader would: files are written, commands typed, tests run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageproxy import Config
from imageproxy.cli import _parser
from imageproxy.config import _VARIABLES
from imageproxy.testing import LocalPDS, drawn_photos

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"

CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^```\{code-block\} \S+\n:caption: (\S+)\n\n(.*?)^```", re.MULTILINE | re.DOTALL)
OTHERS = ("pip install ", "pytest", "flask --app dev run", "IMAGE_PROXY_CACHE_PATH=/var/cache/images gunicorn ")
"""Commands that are not ours: what they do is tried in other ways."""


def commands(page: Path) -> list[str]:
    """What the page has a reader type."""
    lines = "".join(CONSOLE.findall(page.read_text())).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An operator's, whose network is this machine, with a photo under the CID that the pages speak of."""
    with LocalPDS() as pds:
        pds.create_account(DID)
        photo = drawn_photos()[0].data
        cid = pds.add_blob(DID, photo)
        avatar = {"$type": "blob", "ref": {"$link": cid}, "mimeType": "image/jpeg", "size": len(photo)}
        pds.add_record(DID, "app.bsky.actor.profile", {"avatar": avatar}, key="self")
        (tmp_path / "photo.jpg").write_bytes(photo)
        (tmp_path / "blobs.txt").write_text(f"{DID} {cid}")
        yield {
            **os.environ,
            "IMAGE_PROXY_PLC_URL": pds.plc_url,
            "IMAGE_PROXY_ALLOW_PRIVATE_NETWORKS": "true",
            "IMAGE_PROXY_CACHE_PATH": str(tmp_path / "cache"),
            "PYTHONWARNINGS": "error",
            "PHOTO": cid,
        }


def run(arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_commands_do_what_the_page_says(page: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    for command in commands(page):
        typed = shlex.split(command.replace(CID, environment["PHOTO"]))
        if typed[:2] == ["imageproxy", "serve"]:
            _parser().parse_args(typed[1:])  # it would not end
        elif typed[0] == "imageproxy":
            run(["-m", *typed], tmp_path, environment)
        else:
            assert command.startswith(OTHERS), command


def test_the_command_of_the_first_page_gets_an_image(tmp_path: Path, environment: dict[str, str]) -> None:
    (get,) = (command for command in commands(DOCS / "start.md") if " get " in command)
    run(["-m", *shlex.split(get)], tmp_path, environment)
    assert (tmp_path / "avatar.jpg").read_bytes().startswith(b"\xff\xd8")


LOOK_AT_DEV = """
import re, dev
browser = dev.app.test_client()
page = browser.get(f"/profile/{dev.did}/{dev.cid}")
image = browser.get(re.search('src="([^"]+)"', page.text)[1].replace("&amp;", "&"))
print(page.status_code, image.status_code, image.content_type)
assert image.data.startswith(b"\\xff\\xd8")
dev.pds.close()
"""


def test_the_first_five_minutes_end_well(tmp_path: Path, environment: dict[str, str]) -> None:
    files = dict(FILE.findall((DOCS / "start.md").read_text()))
    assert list(files) == ["app.py", "dev.py", "test_app.py", "wsgi.py"]
    for name, code in files.items():
        (tmp_path / name).write_text(code)
    tested = run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "."], tmp_path, environment)
    assert "1 passed" in tested
    looked = run(["-c", LOOK_AT_DEV], tmp_path, environment).splitlines()
    assert looked[0].startswith("Look at http://127.0.0.1:5000/profile/did:plc:")
    assert looked[1] == "200 200 image/jpeg"
    run(["-c", "import wsgi; assert wsgi.app"], tmp_path, environment)


DJANGO_PROJECT = """
ROOT_URLCONF = "urls"
ALLOWED_HOSTS = ["*"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": ["."]}]
"""
ASK_DJANGO = """
import os, re, sys, django
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()
from django.core.management import call_command
from django.template.loader import render_to_string
from django.test import Client
call_command("check", fail_level="WARNING")
profile = {"avatar": sys.argv[2], "displayName": "Alice & Bob"}
html = render_to_string("profile.html", {"did": sys.argv[1], "profile": profile})
assert 'alt="Alice &amp; Bob"' in html and 'class="round"' in html, html
answer = Client().get(re.search('src="([^"]+)"', html)[1].replace("&amp;", "&"))
assert (answer.status_code, answer["Content-Type"]) == (200, "image/jpeg"), answer
"""


def test_the_django_project_of_the_page_shows_an_image(tmp_path: Path, environment: dict[str, str]) -> None:
    files = dict(FILE.findall((DOCS / "how-to" / "serve.md").read_text()))
    assert list(files) == ["settings.py", "urls.py", "profile.html"]
    files["settings.py"] += DJANGO_PROJECT
    for name, code in files.items():
        (tmp_path / name).write_text(code)
    run(["-c", ASK_DJANGO, DID, environment["PHOTO"]], tmp_path, environment)


def test_the_settings_for_gunicorn_are_settings() -> None:
    ((name, code),) = FILE.findall((DOCS / "how-to" / "tuning.md").read_text())
    assert name == "gunicorn.conf.py"
    settings: dict[str, list[str]] = {}
    exec(code, settings)
    config = Config.from_env(dict(line.split("=", 1) for line in settings["raw_env"]))
    assert config.memory_budget_bytes == 256 * 1024**2


def test_the_backends_of_the_page_pass_the_suites(tmp_path: Path, environment: dict[str, str]) -> None:
    page = (DOCS / "how-to" / "backends.md").read_text()
    code = "".join(re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    (tmp_path / "test_backends.py").write_text(code)
    told = run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "."], tmp_path, environment)
    passed = re.search(r"(\d+) passed", told)
    assert passed is not None
    assert int(passed[1]) > 20


OPTIONS = re.findall(
    r"^\| `IMAGE_PROXY_(\w+)` \| (?:`(\S+)`)? *\| `(\w+)` \|",
    (DOCS / "how-to" / "options.md").read_text(),
    re.MULTILINE,
)


def test_the_options_page_has_every_variable() -> None:
    assert {variable: field for variable, _, field in OPTIONS} == {
        variable: field for variable, (field, _, _) in _VARIABLES.items()
    }


@pytest.mark.parametrize(("variable", "default"), [(variable, default) for variable, default, _ in OPTIONS])
def test_the_defaults_of_the_options_page_are_right(variable: str, default: str) -> None:
    assert Config.from_env({f"IMAGE_PROXY_{variable}": default}) == Config()
