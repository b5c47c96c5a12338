"""The Flask extension, through Flask's own client."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, render_template_string
from markupsafe import Markup
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from imageproxy import (
    BLUESKY,
    DEFAULT,
    ConfigError,
    FitMode,
    ImageURLs,
    InvalidPresetError,
    Preset,
    PresetRegistry,
    Service,
    compute_cid,
)
from imageproxy.testing import FakeFetcher, FakePolicy, LocalPDS, drawn_photos, fake_service
from imageproxy.web import Options
from imageproxy.web.flask import ImageProxy

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = compute_cid(b"blob")
BLOB = {"$type": "blob", "ref": {"$link": CID}, "mimeType": "image/jpeg", "size": 4}
PATH = f"/img/avatar/plain/{DID}/{CID}"


@pytest.fixture
def service() -> Iterator[Service]:
    with fake_service(fetcher=FakeFetcher({CID: b"blob"})) as service:
        yield service


@pytest.fixture
def app(service: Service) -> Flask:
    app = Flask("test")
    ImageProxy(app, service)
    return app


def rendered(app: Flask, template: str, **context: object) -> str:
    with app.test_request_context():
        return render_template_string(template, did=DID, cid=CID, **{"blob": BLOB, **context})


def test_images_are_answered_through_the_app(app: Flask) -> None:
    client = app.test_client()
    found = client.get(PATH)
    assert (found.status_code, found.data, found.content_type) == (200, b"avatar:blob", "image/jpeg")
    assert found.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    unchanged = client.get(PATH, headers={"If-None-Match": found.headers["ETag"]})
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    assert "Content-Type" not in unchanged.headers
    head = client.head(PATH)
    assert (head.status_code, head.data, head.content_length) == (200, b"", len(b"avatar:blob"))
    assert client.options(PATH, headers={"Access-Control-Request-Method": "GET"}).status_code == 204


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{PATH}@bmp", 400),
        ("GET", f"/img/nope/plain/{DID}/{CID}", 400),
        ("GET", f"/img/avatar/plain/{DID}/{compute_cid(b'other')}", 404),
        ("GET", "/img/avatar", 404),
        ("POST", PATH, 405),
        ("DELETE", PATH, 405),
    ],
)
def test_errors_are_the_short_lived_plain_text_of_all_adapters(app: Flask, method: str, path: str, status: int) -> None:
    refused = app.test_client().open(path, method=method)
    assert (refused.status_code, refused.content_type) == (status, "text/plain; charset=utf-8")
    assert refused.headers["Cache-Control"] == "max-age=10"


def test_the_rest_of_the_app_is_its_own(app: Flask) -> None:
    app.add_url_rule("/", view_func=lambda: "home", endpoint="home")
    client = app.test_client()
    assert client.get("/").data == b"home"
    assert "text/html" in client.get("/nowhere").headers["Content-Type"]


@pytest.mark.parametrize("mount", ["", "/deep/down"])
@pytest.mark.parametrize("prefix", ["/img", "/media/pictures"])
def test_links_lead_to_the_images_wherever_they_are(service: Service, mount: str, prefix: str) -> None:
    app = Flask("test")
    ImageProxy(app, service, options=Options(prefix=prefix))
    app.add_url_rule(
        "/", view_func=lambda: render_template_string("{{ blob_image_url('avatar', d, c) }}", d=DID, c=CID)
    )
    client = Client(DispatcherMiddleware(Flask("nothing"), {mount: app}) if mount else app)
    url = client.get(f"{mount}/").text.replace("&amp;", "&")
    assert url.startswith(f"{mount}{prefix}/avatar/plain/{DID}/{CID}?v=avatar-")
    found = client.get(url)
    assert (found.status_code, found.data) == (200, b"avatar:blob")
    assert "immutable" in found.headers["Cache-Control"]


def test_the_port_of_a_did_web_survives(app: Flask) -> None:
    did = "did:web:localhost%3A8080"
    with app.test_request_context():
        url = ImageProxy().blob_image_url("avatar", did, CID)
    found = app.test_client().get(url)
    assert (found.status_code, found.headers["Surrogate-Key"]) == (200, f"{did} {CID}")


def test_an_image_tag_has_what_a_browser_wants_to_know(app: Flask) -> None:
    tag = rendered(
        app,
        "{{ blob_image('avatar', did, blob, alt=name, srcset='avatar_small', class_='round', data_x=1) }}",
        name='A "friend" & <me>',
    )
    url = f"/img/avatar/plain/{DID}/{CID}?v={DEFAULT.get('avatar').key}"
    small = f"/img/avatar_small/plain/{DID}/{CID}?v={DEFAULT.get('avatar_small').key}"
    assert tag == (
        f'<img src="{url}" srcset="{url} 1000w, {small} 360w" sizes="1000px" width="1000" height="1000" '
        'alt="A &#34;friend&#34; &amp; &lt;me&gt;" loading="lazy" decoding="async" class="round" data-x="1">'
    )


@pytest.mark.parametrize("nothing", [None, "", {}, {"ref": "junk"}, "junk", 7, {"$type": "blob", "ref": {"$link": 9}}])
def test_what_names_no_image_is_no_tag_and_no_error(app: Flask, nothing: object) -> None:
    template = "[{{ blob_image('avatar', did, blob) }}{{ blob | blob_image_url('avatar', did) }}]"
    assert rendered(app, template, blob=nothing) == "[]"


def test_a_did_that_is_none_is_no_tag_and_no_error(app: Flask) -> None:
    assert rendered(app, "[{{ blob_image('avatar', '\"><script>', blob) }}]") == "[]"


def test_a_preset_that_is_not_there_is_a_mistake_that_shows(app: Flask) -> None:
    with pytest.raises(InvalidPresetError, match="avatr"):
        rendered(app, "{{ blob_image('avatr', did, blob) }}")
    with pytest.raises(ConfigError, match="loading is 'never'"):
        rendered(app, "{{ blob_image('avatar', did, blob, loading='never') }}")


@pytest.mark.parametrize(
    ("preset", "ratio", "size"),
    [
        ("content_preview", None, None),
        ("content_preview", {"width": 4, "height": 3}, (800, 600)),
        ("content_preview", {"width": 0, "height": 3}, None),
        ("content_preview", {"width": "4", "height": 3}, None),
        (BLUESKY.get("feed_fullsize"), {"width": 1, "height": 4}, (250, 1000)),
        (BLUESKY.get("feed_fullsize"), {"width": 10_000, "height": 1}, (1000, 1)),
        ("banner", {"width": 4, "height": 3}, (640, 300)),
    ],
)
def test_a_tag_tells_the_size_where_it_is_known(
    app: Flask, preset: str | Preset, ratio: object, size: tuple[int, int] | None
) -> None:
    if isinstance(preset, Preset):
        app = Flask("test")
        ImageProxy(app, presets=BLUESKY)
        preset = preset.name
    tag = rendered(app, "{{ blob_image(preset, did, blob, aspect_ratio=ratio) }}", preset=preset, ratio=ratio)
    assert (f'width="{size[0]}" height="{size[1]}"' in tag) if size else ("width=" not in tag)


def test_an_aspect_ratio_may_be_an_object_of_an_sdk(app: Flask) -> None:
    class AspectRatio:
        width, height = 2, 1

    tag = rendered(app, "{{ blob_image('content_full', did, blob, aspect_ratio=ratio) }}", ratio=AspectRatio())
    assert 'width="1600" height="800"' in tag


def test_links_are_those_of_the_config(service: Service) -> None:
    app = Flask("test")
    app.config.update(
        IMAGE_PROXY_CDN_URL="https://cdn.example.com/",
        IMAGE_PROXY_URL_SIGNING_KEY="secret",
        IMAGE_PROXY_PREFIX="/pictures",
        IMAGE_PROXY_MAX_AGE_SECONDS=60,
        IMAGE_PROXY_CACHE_TTL_DAYS=0,
        IMAGE_PROXY_CACHE_PATH=Path("cache"),
        IMAGE_PROXY_NEGOTIATE="yes",
    )
    images = ImageProxy(app)
    with app.app_context():
        url = images.blob_image_url("avatar", DID, BLOB)
    signed = ImageURLs(signing_key="secret").url_for("avatar", DID, CID)
    assert url == "https://cdn.example.com/pictures" + signed.removeprefix("/img")


def test_without_the_proxy_links_lead_to_the_pds(service: Service) -> None:
    app = Flask("test")
    app.config["IMAGE_PROXY_ENABLED"] = False
    ImageProxy(app)
    tag = rendered(
        app, "{{ blob_image('avatar', did, blob, srcset='avatar_small', pds_url='https://pds.example.com') }}"
    )
    assert tag.startswith(f'<img src="https://pds.example.com/xrpc/com.atproto.sync.getBlob?did={DID}&amp;cid={CID}"')
    assert "srcset" not in tag
    assert rendered(app, "{{ blob_image('avatar', did, blob) }}") == ""


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("CACHE_MAX_GB", "much", "IMAGE_PROXY_CACHE_MAX_GB is 'much'; it must be a number above 0"),
        ("CACHE_MAX_GIG", 1, "IMAGE_PROXY_CACHE_MAX_GIG is no option; did you mean IMAGE_PROXY_CACHE_MAX_GB?"),
        ("ZZZ", 1, "IMAGE_PROXY_ZZZ is no option; there are: IMAGE_PROXY_"),
        ("PREFIX", "img", "IMAGE_PROXY_PREFIX is 'img'; it must be a path"),
        ("MAX_AGE_SECONDS", "soon", "IMAGE_PROXY_MAX_AGE_SECONDS is 'soon'; it must be a whole number of seconds"),
        ("CACHE_PATH", ["a"], "IMAGE_PROXY_CACHE_PATH is a list; it must be text"),
        ("SIGNING_KEYS", "secret", "IMAGE_PROXY_SIGNING_KEYS is hidden; it must be a list of secrets"),
    ],
)
def test_an_option_that_is_wrong_is_told_when_the_app_is_made(option: str, value: object, told: str) -> None:
    app = Flask("test")
    app.config[f"IMAGE_PROXY_{option}"] = value
    with pytest.raises(ConfigError) as raised:
        ImageProxy(app)
    assert str(raised.value).startswith(told)
    assert raised.value.option == f"IMAGE_PROXY_{option}"


def test_what_the_config_does_not_say_the_environment_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_PROXY_BASE_URL", "https://env.example.com")
    monkeypatch.setenv("IMAGE_PROXY_TIMEOUT_SECONDS", "2.5")
    monkeypatch.setenv("IMAGE_PROXY_SOMETHING_ELSE", "of another program")
    app = Flask("test")
    images = ImageProxy(app)
    with app.app_context():
        assert images.blob_image_url("avatar", DID, CID).startswith("https://env.example.com/img/")
    assert app.extensions["imageproxy"].options.timeout_seconds == 2.5


def test_one_extension_serves_several_apps_each_with_its_own_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = ImageProxy()
    apps = [Flask("one"), Flask("two")]
    with LocalPDS() as pds:
        did = pds.create_account()
        cid = pds.add_blob(did, drawn_photos()[0].data)
        for app in apps:
            app.config.update(
                IMAGE_PROXY_PLC_URL=pds.plc_url,
                IMAGE_PROXY_ALLOW_PRIVATE_NETWORKS=True,
                IMAGE_PROXY_CACHE_PATH=tmp_path / app.name,
            )
            images.init_app(app)
            assert app.test_client().get(f"/img/avatar_small/plain/{did}/{cid}").status_code == 200
        assert len(pds.blob_requests) == 2
        with apps[0].app_context():
            one = images.service
        with apps[1].app_context():
            assert images.service is not one
            assert images.close()
        assert (images.close(apps[0]), images.close(apps[0])) == (True, True)
        assert apps[0].test_client().get(f"/img/avatar_small/plain/{did}/{cid}").status_code == 200, "made anew"
        assert len(pds.blob_requests) == 2, "what was written is there"
        images.close(apps[0])


def test_no_service_is_made_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = threading.Semaphore(0)

    def make(*_: object, **backends: object) -> Service:
        made.release()
        return fake_service(fetcher=FakeFetcher({CID: b"blob"}), policy=backends["policy"])  # type: ignore[arg-type]

    monkeypatch.setattr("imageproxy.web.flask.create_service", make)
    app = Flask("test")
    images = ImageProxy(app, policy=FakePolicy([DID]))
    assert rendered(app, "{{ blob_image('avatar', did, blob) }}")
    assert not made.acquire(blocking=False)
    threads = [threading.Thread(target=app.test_client().get, args=(PATH,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert app.test_client().get(PATH).status_code == 410
    assert made.acquire(blocking=False)
    assert not made.acquire(blocking=False), "one is enough"
    images.close(app)


def test_a_service_that_was_given_is_left_open(app: Flask, service: Service) -> None:
    images = ImageProxy()
    assert images.close(app)
    assert app.test_client().get(PATH).status_code == 200
    with app.app_context():
        assert images.service is service


def test_mistakes_in_setting_it_up_are_told(app: Flask, service: Service) -> None:
    with pytest.raises(ConfigError, match="has images already"):
        ImageProxy(app)
    with pytest.raises(ConfigError, match="policy cannot be given beside a service"):
        ImageProxy(service=service, policy=FakePolicy())
    with Flask("other").app_context(), pytest.raises(ConfigError, match="call init_app"):
        ImageProxy().blob_image("avatar", DID, CID)


def test_a_set_of_presets_of_ones_own_is_what_links_are_made_of() -> None:
    app = Flask("test")
    images = ImageProxy(app, presets=PresetRegistry([Preset("dot", 8, 8, FitMode.COVER, 50)]))
    with app.app_context():
        tag = images.blob_image("dot", DID, CID, srcset=[Preset("dash", 16, 8, FitMode.COVER, 50)])
    assert isinstance(tag, Markup)
    assert "dash" in tag
    assert 'width="8"' in tag


def test_what_is_queued_is_written_when_the_process_exits(tmp_path: Path) -> None:
    script = (
        "import sys, threading; from flask import Flask; from imageproxy import DiskCache\n"
        "from imageproxy.web.flask import ImageProxy\n"
        "class Slow(DiskCache):\n"
        "    def set(self, key, data):\n"
        "        threading.Event().wait(0.5)\n"
        "        return super().set(key, data)\n"
        "    def set_fenced(self, key, data, fence):\n"
        "        threading.Event().wait(0.5)\n"
        "        return super().set_fenced(key, data, fence)\n"
        "app = Flask('test'); ImageProxy(app, cache=Slow(sys.argv[2]))\n"
        "assert app.test_client().get(sys.argv[1]).status_code == 200\n"
    )
    with LocalPDS() as pds:
        did = pds.create_account()
        cid = pds.add_blob(did, drawn_photos()[0].data)
        environ = {
            **os.environ,
            "IMAGE_PROXY_PLC_URL": pds.plc_url,
            "IMAGE_PROXY_ALLOW_PRIVATE_NETWORKS": "1",
        }
        command = [sys.executable, "-W", "error", "-c", script, f"/img/avatar_small/plain/{did}/{cid}", str(tmp_path)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len([path for path in (tmp_path / "v1").rglob("*") if path.is_file() and path.name != "ledger"]) == 1


def test_without_its_extra_it_says_what_to_install() -> None:
    script = "import sys; sys.modules['flask'] = None; import imageproxy.web.flask"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert 'pip install "atproto-imageproxy[flask]"' in done.stderr.splitlines()[-1]
