"""The ASGI app, message by message."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from typing import Any

import pytest

from imageproxy import BlobBlockedError, Service, ServiceClosedError
from imageproxy.aio import AsyncService
from imageproxy.testing import FakeCache, FakeFetcher, FakePolicy, fake_service
from imageproxy.web import ASGIApp, Options, WSGIApp, respond

Message = MutableMapping[str, Any]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("imageproxy"):
            thread.join(10)
            assert not thread.is_alive(), thread


@pytest.fixture(params=["nonblocking", "blocking"])
def any_service(request: pytest.FixtureRequest, cache: FakeCache, fetcher: FakeFetcher) -> Iterator[Service]:
    with fake_service(fetcher=fetcher, cache=cache if request.param == "nonblocking" else FakeCache()) as service:
        yield service


def scope(path: str, method: str = "GET", query: bytes = b"", root_path: str = "", **headers: str) -> Message:
    fields = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": root_path,
        "headers": fields,
    }


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(main, 60))


class Client:
    """The server's side of one request; ``leave`` is the client going away."""

    def __init__(self, app: Any, scope: Message) -> None:
        self.sent: list[Message] = []
        self._gone = asyncio.Event()
        self._has_sent_body = False
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        if not self._has_sent_body:
            self._has_sent_body = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    def leave(self) -> None:
        self._gone.set()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        await self.task
        start, body = self.sent
        assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
        assert all(name == name.lower() for name, _ in start["headers"])
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return start["status"], headers, body["body"]


def ask(app: Any, scope: Message) -> tuple[int, dict[str, str], bytes]:
    async def main() -> tuple[int, dict[str, str], bytes]:
        return await Client(app, scope).answer()

    answer: tuple[int, dict[str, str], bytes] = run(main())
    return answer


async def until(is_so: Callable[[], bool]) -> None:
    """Let others go on until something is so; there is no event for what these tests look at."""
    for _ in range(2000):
        if is_so():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never was so")


def test_it_answers_as_respond_does(any_service: Service, path: str, did: str, cid: str) -> None:
    async_images = AsyncService(any_service)
    app = ASGIApp(async_images)
    etag = respond(any_service, "GET", path).headers[3][1]
    version = any_service.url_for("avatar", did, cid)
    missing = path[:-59] + "bafkreimadeup"
    for method in ("GET", "HEAD", "OPTIONS", "POST"):
        for url in (path, version, missing, path + "@bmp", "/img", f"{path}@webp"):
            for headers in (
                {},
                {"If-None-Match": etag},
                {"If-None-Match": "*"},
                {"Access-Control-Request-Method": "GET"},
            ):
                bare, _, query = url.partition("?")
                fields = {name.lower(): value for name, value in headers.items()}
                status, names, body = ask(app, scope(bare, method, query.encode(), **fields))
                expected = respond(any_service, method, url, headers)
                assert (status, body) == (expected.status, expected.body)
                assert names == {name.lower(): value for name, value in expected.headers}
    async_images.release()


def test_fields_that_come_twice_are_one(service: Service, path: str) -> None:
    app = ASGIApp(service, Options(negotiate=True))
    request = scope(path)
    request["headers"] = [(b"accept", b"image/jpeg;q=0.1"), (b"host", b"a"), (b"accept", b"image/webp")]
    status, headers, _ = ask(app, request)
    assert (status, headers["content-type"]) == (200, "image/webp")
    request["headers"] += [(b"if-none-match", b'"x"'), (b"if-none-match", headers["etag"].encode())]
    assert ask(app, request)[0] == 304


def test_a_scope_may_lack_what_it_may_lack(service: Service, path: str) -> None:
    request = scope(path)
    del request["query_string"], request["root_path"], request["raw_path"]
    assert ask(ASGIApp(service), request)[0] == 200


@pytest.mark.parametrize(
    ("root_path", "prefix", "path"),
    [
        ("", "/img", "/img"),
        (
            "/img",
            "/img",
            "/img",
        ),  # mounted where the URLs of the service begin; the path with the mount, as it should be
        ("/img", "/img", ""),  # and without it, as older frameworks have it
        ("/img", "", "/img"),
        ("/img", "", ""),
        ("/mount/img", "/img", "/mount/img"),
        ("/mount/img", "/img", ""),
        ("/mount/a", "/a/b", "/mount/a/b"),
        ("/media", "/img", "/media/img"),
        ("/media", "/img", "/img"),
        ("/media/", "/img", "/media/img"),
        ("/img", "/img", "/img/img"),
        ("/api", "/img", "/api/img"),
        ("/im", "/img", "/img"),
    ],
)
def test_it_may_be_mounted_anywhere(
    service: Service, did: str, cid: str, root_path: str, prefix: str, path: str
) -> None:
    app = ASGIApp(service, Options(prefix=prefix))
    assert ask(app, scope(f"{path}/avatar/plain/{did}/{cid}", root_path=root_path))[0] == 200


def test_a_client_that_goes_away_frees_its_place(any_service: Service, fetcher: FakeFetcher, path: str) -> None:
    fetcher.gate = threading.Event()

    async def main() -> None:
        app = ASGIApp(any_service, closes_service=True)
        leaving, staying = (Client(app, scope(path)) for _ in range(2))
        await until(lambda: [flight.waiters for flight in any_service._flights._flights.values()] == [2])
        leaving.leave()
        await leaving.task
        assert leaving.sent == []
        assert [flight.waiters for flight in any_service._flights._flights.values()] == [1]
        assert fetcher.gate is not None
        fetcher.gate.set()
        assert (await staying.answer())[0] == 200
        await app._end()

    run(main())


def test_a_server_that_cannot_tell_of_leaving_is_answered(service: Service, fetcher: FakeFetcher, path: str) -> None:
    fetcher.gate = gate = threading.Event()

    class Deaf(Client):
        async def _receive(self) -> Message:
            raise RuntimeError("no more messages")

    async def main() -> None:
        client = Deaf(ASGIApp(service), scope(path))
        await until(lambda: len(service._flights) == 1)
        gate.set()
        assert (await client.answer())[0] == 200

    run(main())


def test_a_server_that_gives_up_a_request_frees_its_place(service: Service, fetcher: FakeFetcher, path: str) -> None:
    fetcher.gate = gate = threading.Event()

    async def main() -> None:
        client = Client(ASGIApp(service), scope(path))
        await until(lambda: len(service._flights) == 1)
        client.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client.task
        assert not any(flight.waiters for flight in service._flights._flights.values())
        gate.set()

    run(main())


def test_the_body_is_sent_when_the_flight_is_over(service: Service, path: str) -> None:
    flights: list[int] = []

    class Slow(Client):
        async def _send(self, message: Message) -> None:
            flights.append(len(service._flights))
            await super()._send(message)

    async def main() -> None:
        await Slow(ASGIApp(service), scope(path)).answer()

    run(main())
    assert flights == [0, 0]


def test_a_hit_neither_waits_nor_takes_a_thread(service: Service, path: str, did: str, cid: str) -> None:
    service.get_image("avatar", did, cid)
    before = threading.active_count()
    sent: list[Message] = []

    async def never() -> Message:
        raise AssertionError("a hit has nothing to receive")

    async def send(message: Message) -> None:
        sent.append(message)

    coroutine = ASGIApp(service)(scope(path), never, send)
    with pytest.raises(StopIteration):  # at the first step: it gave the loop no reason to go elsewhere
        coroutine.send(None)
    assert [message.get("status") for message in sent] == [200, None]
    assert threading.active_count() == before


def test_the_timeout_of_the_options_holds(any_service: Service, fetcher: FakeFetcher, path: str) -> None:
    fetcher.gate = threading.Event()
    images = AsyncService(any_service)
    assert ask(ASGIApp(images, Options(timeout_seconds=0.05)), scope(path))[0] == 504
    fetcher.gate.set()
    images.release()


def test_the_policy_is_asked_first(path: str) -> None:
    policy = FakePolicy(error=BlobBlockedError("", status=451))
    with fake_service(policy=policy) as service:
        images = AsyncService(service)
        for request in (scope(path), scope(path, if_none_match="*")):
            assert ask(ASGIApp(images), request)[0] == 451
        images.release()


def test_what_goes_wrong_is_a_500(service: Service, path: str, caplog: pytest.LogCaptureFixture) -> None:
    class Strange(AsyncService):
        async def _begin(self, *args: Any, **options: Any) -> Any:
            raise ZeroDivisionError

    assert ask(ASGIApp(Strange(service)), scope(path))[0] == 500
    assert ask(ASGIApp(Strange(service)), scope(path, "HEAD"))[2] == b""
    assert len(caplog.records) == 2


class Lifespan:
    """The server's side of a life."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self._received = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive(self) -> Message:
        return {"type": next(self._received)}

    async def send(self, message: Message) -> None:
        self.sent.append(message["type"])


def live(app: ASGIApp) -> list[str]:
    server = Lifespan()
    run(app({"type": "lifespan"}, server.receive, server.send))
    return server.sent


def test_the_service_outlives_the_server(any_service: Service, path: str, did: str, cid: str) -> None:
    app = ASGIApp(any_service)
    for _ in range(2):
        assert ask(app, scope(path))[0] == 200
        assert live(app) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert any_service.get_image("avatar", did, cid)


def test_an_async_service_is_left_to_whoever_made_it(service: Service) -> None:
    images = AsyncService(service)
    lookups = images._lookups
    live(ASGIApp(images))
    assert images._lookups is lookups


def test_the_service_is_closed_with_the_server_if_so_told(path: str, did: str, cid: str) -> None:
    service = fake_service()
    app = ASGIApp(service, closes_service=True)
    assert live(app)[-1] == "lifespan.shutdown.complete"
    with pytest.raises(ServiceClosedError):
        service.get_image("avatar", did, cid)
    assert ask(app, scope(path))[0] == 503
    live(app)


def test_a_close_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    service = fake_service()

    def fail(timeout: float | None = None) -> bool:
        raise OSError("boom")

    service.close = fail  # type: ignore[method-assign]
    assert live(ASGIApp(service, closes_service=True))[-1] == "lifespan.shutdown.failed"
    assert caplog.records


def test_a_web_socket_is_refused_and_another_protocol_is_an_error(service: Service) -> None:
    server = Lifespan()
    run(ASGIApp(service)({"type": "websocket"}, server.receive, server.send))
    assert server.sent == ["websocket.close"]
    with pytest.raises(ValueError, match="carrier pigeon"):
        run(ASGIApp(service)({"type": "carrier pigeon"}, server.receive, server.send))


def test_an_app_is_an_app(service: Service) -> None:
    assert callable(WSGIApp(service))
    assert callable(ASGIApp(service))
