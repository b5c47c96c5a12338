"""``imageproxy serve`` inside this process: what it answers at which port."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from imageproxy.cli import main
from imageproxy.testing import LocalPDS

from .conftest import Answer, At, Records, Serve


def metrics_port() -> At:
    """Where the running server tells its metrics, as its log says."""
    records = next(handler for handler in logging.getLogger("imageproxy").handlers if isinstance(handler, Records)).seen
    return At(next(vars(record)["port"] for record in records if record.getMessage().startswith("metrics at")))


def test_it_says_that_it_lives_and_can_serve(serve: Serve) -> None:
    def scenario(at: At) -> None:
        assert at.ask("/healthz")[::2] == (200, b"alive\n")
        ready = at.ask("/readyz")
        assert ready[::2] == (200, b"ready\n")
        assert ready.headers["cache-control"] == "no-store"
        assert at.ask("/readyz", "HEAD").status == 200
        assert at.ask("/readyz", "POST").status == 405
        assert at.ask("/metrics")[::2] == (
            404,
            b"metrics are told on a port of their own; see imageproxy serve --metrics-port\n",
        )

    serve(scenario)


@pytest.mark.parametrize("below", [".", "deeper"])
def test_a_cache_that_cannot_be_written_to_makes_it_unready(
    serve: Serve, path: str, cache_path: Path, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_path.write_bytes(b"where the folder should be")
    monkeypatch.setenv("IMAGE_PROXY_CACHE_PATH", str(cache_path / below))

    def scenario(at: At) -> None:
        assert at.ask("/readyz")[::2] == (503, b"the cache cannot be written to\n")
        assert at.ask("/healthz").status == 200
        assert at.ask(path).status == 200, "images are answered all the same"

    records = serve(scenario)
    assert [record.getMessage() for record in records if record.getMessage().startswith("not ready")]


def test_the_state_of_the_cache_is_looked_at_anew(
    serve: Serve, cache_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imageproxy._server.health._REMEMBERED_SECONDS", 0.0)
    cache_path.write_bytes(b"where the folder should be")

    def scenario(at: At) -> None:
        assert at.ask("/readyz").status == 503
        cache_path.unlink()
        assert at.ask("/readyz").status == 200
        cache_path.mkdir()
        assert at.ask("/readyz").status == 200
        assert list(cache_path.iterdir()) == []

    records = serve(scenario)
    assert any(record.getMessage().endswith("can be written to again") for record in records)


def test_it_is_not_ready_any_more_once_it_closes(serve: Serve, pds: LocalPDS, path: str) -> None:
    seen: list[Answer] = []

    def scenario(at: At) -> None:
        status = metrics_port()
        pds.hold()
        thread = threading.Thread(target=at.ask, args=(path,))
        thread.start()
        pds.wait_for_requests(2)

        def watch() -> None:
            while (ready := status.ask("/readyz")).status == 200:
                pass
            seen.extend((ready, status.ask("/healthz")))
            pds.release()
            thread.join()

        threading.Thread(target=watch).start()

    serve(scenario, "--metrics-port", "0")
    assert [answer[::2] for answer in seen] == [(503, b"closing down\n"), (200, b"alive\n")]


def test_metrics_are_on_a_port_of_their_own(serve: Serve, path: str) -> None:
    def scenario(at: At) -> None:
        assert [at.ask(path).status, at.ask(path).status, at.ask("/img/nope").status] == [200, 200, 404]
        assert at.ask("/metrics").status == 404
        status = metrics_port()
        told = status.ask("/metrics")
        assert told.status == 200
        assert told.headers["content-type"].startswith("text/plain; version=")
        assert 'imageproxy_http_requests_total{status="200"} 2.0' in told.text
        assert 'imageproxy_http_requests_total{status="404"} 1.0' in told.text
        assert "imageproxy_http_request_seconds_count 3.0" in told.text
        assert 'imageproxy_events_total{event="hit",preset="avatar_small"} 1.0' in told.text
        assert "imageproxy_flights 0.0" in told.text
        assert re.search(r"^python_info", told.text, re.MULTILINE)
        assert [status.ask(each).status for each in ("/healthz", "/readyz", path)] == [200, 200, 404]

    serve(scenario, "--metrics-port", "0")


def test_metrics_without_the_extra_are_a_404_that_says_what_is_missing(
    serve: Serve, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageproxy._server.metrics", None)
    seen: list[At] = []

    def scenario(at: At) -> None:
        assert at.ask(path).status == 200
        told = metrics_port().ask("/metrics")
        assert told.status == 404
        assert told.text.endswith('pip install "atproto-imageproxy[prometheus]"\n')
        seen.append(at)

    serve(scenario, "--metrics-port", "0")
    assert seen


def test_formats_are_negotiated_if_it_is_told_to(serve: Serve, path: str) -> None:
    def scenario(at: At) -> None:
        answer = at.ask(path, Accept="image/avif,image/webp,*/*")
        assert (answer.headers["content-type"], answer.headers["vary"]) == ("image/avif", "Accept")

    serve(scenario, "--negotiate")

    def plain(at: At) -> None:
        answer = at.ask(path, Accept="image/avif,image/webp,*/*")
        assert (answer.headers["content-type"], "vary" in answer.headers) == ("image/jpeg", False)

    serve(plain)


def test_options_of_the_answers_come_from_the_environment(
    serve: Serve, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGE_PROXY_MAX_AGE_SECONDS", "77")
    monkeypatch.setenv("IMAGE_PROXY_PREFIX", "/pictures")

    def scenario(at: At) -> None:
        answer = at.ask(path.replace("/img/", "/pictures/"))
        assert (answer.status, answer.headers["cache-control"]) == (200, "public, max-age=77")

    serve(scenario)


def test_what_takes_too_long_to_finish_is_given_up(serve: Serve, pds: LocalPDS, path: str) -> None:
    answers: list[Answer] = []
    asking: list[threading.Thread] = []

    def scenario(at: At) -> None:
        pds.hold()
        asking.append(threading.Thread(target=lambda: answers.append(at.ask(path))))
        asking[0].start()
        pds.wait_for_requests(2)
        threading.Timer(2.5, pds.release).start()  # within the time that queued writes get, and after that of answers

    records = serve(scenario, "--shutdown-timeout", "1")
    asking[0].join()
    assert [answer.status for answer in answers] == [503]
    assert records[-1].getMessage() == "closed"


def test_no_request_is_logged_if_it_is_told_so(serve: Serve, path: str) -> None:
    def scenario(at: At) -> None:
        assert at.ask(path).status == 200

    assert any(record.name == "imageproxy.access" for record in serve(scenario))
    assert not any(record.name == "imageproxy.access" for record in serve(scenario, "--no-access-log"))


def test_a_client_that_leaves_is_logged_as_such(serve: Serve, pds: LocalPDS, path: str) -> None:
    def scenario(at: At) -> None:
        pds.hold()
        with at.connect() as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            pds.wait_for_requests(2)
        pds.release()

    records = serve(scenario)
    assert [vars(record)["status"] for record in records if record.name == "imageproxy.access"] == [499]


@pytest.mark.parametrize("option", ["--port", "--metrics-port"])
def test_a_port_in_use_is_an_error_that_says_so(serve: Serve, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    def scenario(at: At) -> None:
        taken.append(at.port)
        taken.append(main(["serve", "--port", "0", option, str(at.port)]))

    taken: list[int] = []
    serve(scenario)
    assert taken[1] == 1
    assert f":{taken[0]}: Address already in use; is another server running there? choose another {option}" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("host", ["::1", "localhost"])
def test_it_listens_where_it_is_told_to(serve: Serve, host: str) -> None:
    try:
        records = serve(lambda _: None, "--host", host)
    except OSError:
        pytest.fail(f"{host} is no address of this machine")
    (told,) = (record.getMessage() for record in records if record.getMessage().startswith("images at"))
    assert re.fullmatch(r"images at http://(\[::1]|127\.0\.0\.1):[0-9]+", told)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "65536"],
        ["--port", "x"],
        ["--metrics-port", "-1"],
        ["--max-connections", "0"],
        ["--log-format", "xml"],
    ],
)
def test_an_option_that_cannot_be_meant_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", *arguments])
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["uvicorn", "httptools"])
def test_without_its_extra_it_says_what_to_install(missing: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from imageproxy.cli import main; sys.exit(main(['serve']))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert 'pip install "atproto-imageproxy[server]"' in done.stderr


def test_it_runs_without_uvloop(serve: Serve, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)

    def scenario(at: At) -> None:
        assert at.ask(path).status == 200

    serve(scenario)


def test_too_few_open_files_are_told(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 500))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    records = serve(lambda _: None)
    assert limits == [(500, 500)]
    assert any("lower --max-connections" in record.getMessage() for record in records)


def test_the_help_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    text = capsys.readouterr().out
    for named in ("--metrics-port", "--negotiate", "IMAGE_PROXY_URL_SIGNING_KEY", "/healthz"):
        assert named in text
