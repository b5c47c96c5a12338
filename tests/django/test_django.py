"""The Django app, through Django's own clients, checks and commands."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import registry, run_checks
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.core.management.base import CommandError
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.test import AsyncClient
from django.test import Client as DjangoClient
from django.urls import include, path, set_script_prefix
from werkzeug.test import Client as ServedClient

from imageproxy import BLUESKY, DEFAULT, ImageURLs, InvalidPresetError, MemoryCache, compute_cid
from imageproxy.testing import FakeCache, LocalPDS, RecordingObserver

Project = Callable[..., None]

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = compute_cid(b"blob")
BLOB = {"$type": "blob", "ref": {"$link": CID}, "mimeType": "image/jpeg", "size": 4}


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(rendered("{% blob_image_url 'avatar' did blob %}").encode())


def make_client(**options: Any) -> Any:
    """Django's own, whose answers no type checker understands."""
    return DjangoClient(**options)


def rendered(template: str, **context: object) -> str:
    text: str = Template("{% load imageproxy %}" + template).render(Context({"did": DID, "blob": BLOB, **context}))
    return text


def at(place: str, urls: str = "imageproxy.web.django.urls") -> list[Any]:
    return [path(place, include(urls)), path("page", page)]


@pytest.fixture(autouse=True)
def _urls(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, patterns in {
        "imageproxy_test_urls": at("img/"),
        "imageproxy_test_deep": at("media/pictures/"),
        "imageproxy_test_async": at("img/", "imageproxy.web.django.async_urls"),
        "imageproxy_test_none": [path("page", page)],
    }.items():
        module = ModuleType(name)
        module.urlpatterns = patterns  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)


def image_path(blob: tuple[str, str], preset: str = "avatar_small") -> str:
    return f"/img/{preset}/plain/{blob[0]}/{blob[1]}"


def test_images_are_answered_through_the_project(project: Project, blob: tuple[str, str]) -> None:
    project()
    client = make_client(enforce_csrf_checks=True)
    found = client.get(image_path(blob))
    assert (found.status_code, found["Content-Type"]) == (200, "image/jpeg")
    assert found.content[:2] == b"\xff\xd8"
    assert found["Content-Security-Policy"] == "default-src 'none'; sandbox"
    unchanged = client.get(image_path(blob), headers={"If-None-Match": found["ETag"]})
    assert (unchanged.status_code, unchanged.content, unchanged.has_header("Content-Type")) == (304, b"", False)
    head = client.head(image_path(blob))
    assert (head.status_code, head.content, head["Content-Length"]) == (200, b"", str(len(found.content)))


REFUSED = [
    ("GET", "/img/nope/plain/{did}/{cid}", 400),
    ("GET", "/img/avatar/plain/{did}/{cid}@bmp", 400),
    ("GET", "/img/avatar/plain/{did}/" + CID, 404),
    ("HEAD", "/img/avatar/plain/{did}/" + CID, 404),
    ("GET", "/img/avatar", 404),
    ("POST", "/img/avatar/plain/{did}/{cid}", 405),
]


@pytest.mark.parametrize(("method", "asked", "status"), REFUSED)
def test_errors_are_the_short_lived_plain_text_of_all_adapters(
    project: Project, blob: tuple[str, str], method: str, asked: str, status: int
) -> None:
    project()
    refused = make_client(enforce_csrf_checks=True).generic(method, asked.format(did=blob[0], cid=blob[1]))
    assert (refused.status_code, refused["Content-Type"]) == (status, "text/plain; charset=utf-8")
    assert refused["Cache-Control"] == "max-age=10"
    assert (refused.content == b"") == (method == "HEAD")


def test_coroutines_are_answered_alike(project: Project, blob: tuple[str, str]) -> None:
    async def scenario() -> None:
        client: Any = AsyncClient()
        found = await client.get(image_path(blob))
        assert (found.status_code, found["Content-Type"]) == (200, "image/jpeg")
        unchanged = await client.get(image_path(blob), headers={"If-None-Match": found["ETag"]})
        assert (unchanged.status_code, unchanged.has_header("Content-Type")) == (304, False)
        again = await client.get(image_path(blob))
        assert again.content == found.content
        for method, asked, status in REFUSED:
            refused = await client.generic(method, asked.format(did=blob[0], cid=blob[1]))
            assert (refused.status_code, refused["Content-Type"]) == (status, "text/plain; charset=utf-8")

    project(urls="imageproxy_test_async")
    asyncio.run(scenario())
    assert make_client().get(image_path(blob)).status_code == 200, "and under WSGI, too"


@pytest.mark.parametrize("script", ["/", "/app/"])
@pytest.mark.parametrize(
    ("urls", "place"), [("imageproxy_test_urls", "img"), ("imageproxy_test_deep", "media/pictures")]
)
def test_links_lead_to_the_images_wherever_they_are(
    project: Project, blob: tuple[str, str], urls: str, place: str, script: str
) -> None:
    project(urls=urls)
    try:
        handler: Any = WSGIHandler()
        client = ServedClient(handler)
        base_url = f"http://testserver{script}"
        url = client.get("/page", base_url=base_url).text.replace("&amp;", "&")
        assert url == f"{script}{place}/avatar/plain/{DID}/{CID}?v={DEFAULT.get('avatar').key}"
        its_own = url.replace(DID, blob[0]).replace(CID, blob[1])
        found = client.get(its_own.removeprefix(script.rstrip("/")), base_url=base_url)
        assert found.status_code == 200
        assert "immutable" in found.headers["Cache-Control"]
    finally:
        set_script_prefix("/")


def test_an_image_tag_has_what_a_browser_wants_to_know(project: Project) -> None:
    project(image_proxy={"URL_SIGNING_KEY": "secret"})
    tag = rendered(
        '{% blob_image "avatar" did blob alt=name srcset="avatar_small avatar" class="round" data_x=1 sizes="10vw" %}',
        name='A "friend" & <me>',
    )
    urls = ImageURLs(signing_key="secret")
    big, small = (urls.url_for(preset, DID, CID).replace("&", "&amp;") for preset in ("avatar", "avatar_small"))
    assert tag == (
        f'<img src="{big}" srcset="{big} 1000w, {small} 360w" sizes="10vw" width="1000" height="1000" '
        'alt="A &quot;friend&quot; &amp; &lt;me&gt;" loading="lazy" decoding="async" class="round" data-x="1">'
    )


def test_a_url_is_escaped_where_the_template_is(project: Project) -> None:
    project(image_proxy={"URL_SIGNING_KEY": "secret"})
    url = ImageURLs(signing_key="secret").url_for("avatar", DID, CID, format="webp")
    template = '{% blob_image_url "avatar" did blob format="webp" %}'
    assert rendered(template) == url.replace("&", "&amp;")
    assert rendered("{% autoescape off %}" + template + "{% endautoescape %}") == url
    assert rendered('{% blob_image_url "avatar" did blob format="webp" as url %}{{ url|length }}') == str(len(url))


@pytest.mark.parametrize("nothing", [None, "", {}, {"ref": "junk"}, "junk", 7])
def test_what_names_no_image_is_no_tag_and_no_error(project: Project, nothing: object) -> None:
    project()
    assert rendered('[{% blob_image "avatar" did blob %}{% blob_image_url "avatar" did blob %}]', blob=nothing) == "[]"
    assert rendered('[{% blob_image "avatar" "x y" blob %}]') == "[]"


def test_a_preset_that_is_not_there_is_a_mistake_that_shows(project: Project) -> None:
    project()
    with pytest.raises(InvalidPresetError, match="avatr"):
        rendered('{% blob_image "avatr" did blob %}')


def test_links_alone_need_no_view_here(project: Project) -> None:
    project(urls="imageproxy_test_none", image_proxy={"CDN_URL": "https://cdn.example.com"})
    assert rendered('{% blob_image_url "avatar" did blob %}').startswith("https://cdn.example.com/img/avatar/plain/")
    assert run_checks() == []


def test_without_the_proxy_links_lead_to_the_pds(project: Project) -> None:
    project(image_proxy={"ENABLED": False})
    tag = rendered('{% blob_image "avatar" did blob srcset="avatar_small" pds_url="https://pds.example.com" %}')
    assert tag.startswith('<img src="https://pds.example.com/xrpc/com.atproto.sync.getBlob?')


cache = FakeCache()
observer = RecordingObserver()


class BlocksAll:
    def is_blocked(self, did: str, cid: str) -> bool:
        return True


def test_backends_are_named_by_their_paths(
    project: Project, blob: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("imageproxy_test_backends")
    module.cache, module.observer, module.Policy = cache, observer, BlocksAll  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    project(
        image_proxy={
            "CACHE": "imageproxy_test_backends.cache",
            "OBSERVERS": ["imageproxy_test_backends.observer"],
            "POLICY": "imageproxy_test_backends.Policy",
            "PRESETS": "imageproxy.BLUESKY",
        }
    )
    assert make_client().get(image_path(blob, "feed_fullsize")).status_code == 410
    assert [event.name for event in observer.events] == ["blocked"]
    assert BLUESKY.get("feed_thumbnail").key in rendered('{% blob_image_url "feed_thumbnail" did blob %}')


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"CACHE_MAX_GB": "much"}, "IMAGE_PROXY[\"CACHE_MAX_GB\"] is 'much'; it must be a number above 0"),
        ({"CACHE_MAX": 3}, 'IMAGE_PROXY["CACHE_MAX"] is no option; did you mean CACHE_MAX_GB?'),
        ({"NEGOTIATE": "perhaps"}, "IMAGE_PROXY[\"NEGOTIATE\"] is 'perhaps'; it must be True or False"),
        ({"POLICY": "no.such.Policy"}, "IMAGE_PROXY[\"POLICY\"] is 'no.such.Policy', which cannot be had: "),
        ({"OBSERVERS": "one"}, 'IMAGE_PROXY["OBSERVERS"] is a str; it must be a list'),
        ({"URL_SIGNING_KEY": "two\nlines"}, 'IMAGE_PROXY["URL_SIGNING_KEY"] is hidden; it must be a line of text'),
        ([], "IMAGE_PROXY is a list; it must be a dictionary of options"),
    ],
)
def test_checks_name_the_option_that_is_wrong(project: Project, wrong: object, told: str) -> None:
    project(image_proxy=wrong)
    (error,) = run_checks()
    assert error.id == "imageproxy.E001"
    assert error.msg.startswith(told)


def test_checks_name_the_variable_that_is_wrong(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_PROXY_CACHE_MAX_GB", "much")
    project()
    (error,) = run_checks()
    assert error.msg == "IMAGE_PROXY_CACHE_MAX_GB is 'much'; it must be a number above 0"


def test_checks_tell_of_urls_that_lead_nowhere(project: Project) -> None:
    project(urls="imageproxy_test_none")
    assert [found.id for found in run_checks()] == ["imageproxy.W001"]


def test_deployment_checks_tell_of_what_is_not_for_production(project: Project) -> None:
    project()
    own = [found.id for found in run_checks(include_deployment_checks=True) if str(found.id).startswith("imageproxy")]
    assert own == ["imageproxy.W002", "imageproxy.W003"]
    project(image_proxy={"ALLOW_PRIVATE_NETWORKS": False, "URL_SIGNING_KEY": "secret"})
    assert [
        found for found in run_checks(include_deployment_checks=True) if str(found.id).startswith("imageproxy")
    ] == []


def test_getting_ready_registers_checks_and_no_more(project: Project) -> None:
    before = set(registry.registry.get_checks(include_deployment_checks=True))
    project()
    assert apps.get_app_config("imageproxy").name == "imageproxy.web.django"
    new = set(registry.registry.get_checks(include_deployment_checks=True)) - before
    assert {check.__name__ for check in new} <= {"check_settings", "check_urls", "check_deployment"}


def call(*arguments: str, stdin: bytes = b"", monkeypatch: pytest.MonkeyPatch | None = None) -> str:
    output = io.StringIO()
    if monkeypatch is not None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    call_command("imageproxy", *arguments, stdout=output, stderr=output)
    return output.getvalue()


def test_the_command_warms_tells_and_purges(
    project: Project, pds: LocalPDS, blob: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    did, cid = blob
    listed = tmp_path / "blobs"
    listed.write_text(f"{did} {cid}\n")
    assert "1 " in call("warm", str(listed), "--preset", "avatar", "--preset", "banner")
    assert "2" in call(
        "warm", "-", "--preset", "avatar", "--preset", "banner", stdin=listed.read_bytes(), monkeypatch=monkeypatch
    )
    assert len(pds.blob_requests) == 1
    assert "entries  2 of 1 account" in call("stats")
    assert call("cleanup") == "Removed 0 entries.\n"
    assert make_client().get(image_path(blob, "banner")).status_code == 200
    assert len(pds.blob_requests) == 1
    assert call("purge", did, cid) == "Removed 2 entries.\n"
    assert call("purge", did) == "Removed 0 entries.\n"


def test_the_command_fails_where_not_all_is_done(
    project: Project, blob: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    for lines in (b"junk\n", f"{blob[0]} {CID}\n".encode()):
        with pytest.raises(CommandError, match="not all images are made"):
            call("warm", "-", "--preset", "avatar", stdin=lines, monkeypatch=monkeypatch)
    with pytest.raises(CommandError, match="No such file"):
        call("warm", "/no/such/file")
    with pytest.raises(CommandError, match="DID"):
        call("purge", "junk")


class Unpurgeable(FakeCache):
    def purge(self, did: str, cid: str | None = None) -> int:
        raise OSError("away")


def test_the_command_knows_caches_of_other_kinds(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project(image_proxy={"CACHE": Unpurgeable()})
    with pytest.raises(CommandError, match="may still have it: Unpurgeable"):
        call("purge", DID)
    with pytest.raises(CommandError, match="a Unpurgeable looks after itself"):
        call("cleanup")
    assert call("stats") == "a Unpurgeable does not tell what is in it\n"
    project(image_proxy={"CACHE": MemoryCache(1000)})
    assert call("stats").startswith("entries      0\nbytes        0\n")


def test_without_its_extra_it_says_what_to_install() -> None:
    script = "import sys; sys.modules['django'] = None; import imageproxy.web.django"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert 'pip install "atproto-imageproxy[django]"' in done.stderr.splitlines()[-1]
