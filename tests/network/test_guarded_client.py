"""What is connected to, and with which name: rebinding, mixed answers, TLS, the environment."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imageproxy._client import GuardedClient, Reply, one_line
from imageproxy._guard import NetworkClosed, NetworkError, NetworkTimeout
from imageproxy.errors import ConfigError, UnsafeURLError


def _answers(*addresses: str, port: int = 443) -> list[Any]:
    return [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
        if ":" in address
        else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
        for address in addresses
    ]


@contextmanager
def _get(client: GuardedClient, url: str, seconds: float = 5.0) -> Iterator[Reply]:
    with ExitStack() as stack:
        stack.callback(client.close)
        deadline = stack.enter_context(client.deadline(seconds))
        yield stack.enter_context(client.get(url, {}, deadline))


@pytest.mark.parametrize(
    ("addresses", "rule"),
    [
        (["127.0.0.1"], "loopback"),
        (["::1"], "loopback"),
        (["169.254.169.254"], "link_local"),
        (["8.8.8.8", "10.0.0.1"], "private"),
        (["10.0.0.1", "8.8.8.8"], "private"),
        (["2606:4700:4700::1111", "::ffff:127.0.0.1"], "loopback"),
        (["2606:4700:4700::1111"] * 20 + ["fd00::1"], "private"),
        (["fe80::1%eth0"], "link_local"),
    ],
)
def test_name_is_refused_when_any_of_its_addresses_is(addresses: list[str], rule: str) -> None:
    client = GuardedClient(getaddrinfo=lambda *_: _answers(*addresses))
    with pytest.raises(UnsafeURLError) as caught, _get(client, "https://pds.example.com/x"):
        pass
    assert caught.value.rule == rule
    assert caught.value.url == "https://pds.example.com/x"
    assert "pds.example.com" in str(caught.value)


def test_name_that_changes_its_mind_finds_no_gap(serve_bytes: Any, answer: Any) -> None:
    """Looked up once per connection, and what was judged is what is connected to."""
    server = serve_bytes(answer(b"inside"))
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, *_: Any) -> list[Any]:
        asked.append(host)
        return _answers("127.0.0.1" if len(asked) == 1 else "169.254.169.254", port=port)

    client = GuardedClient(allow_private_networks=True, getaddrinfo=getaddrinfo)
    url = f"http://pds.example.com:{server.port}/"
    with client.deadline(5) as deadline, client.get(url, {}, deadline) as reply:
        assert reply.read_up_to(100) == b"inside"
    assert asked == ["pds.example.com"]
    with client.deadline(5) as deadline, client.get(url, {}, deadline) as reply:  # kept alive: not asked again
        assert reply.read_up_to(3) == b"ins"
    assert asked == ["pds.example.com"]
    client._pools.clear()  # type: ignore[union-attr]
    with pytest.raises(UnsafeURLError), client.deadline(5) as deadline:
        client.get(url, {}, deadline)
    client.close()
    assert server.connections == 1


def test_address_at_the_other_end_is_judged_too(serve_bytes: Any, answer: Any) -> None:
    """An answer whose text is public and whose connection is not, as a rewriting network could make it."""
    server = serve_bytes(answer(b"inside"))

    client = GuardedClient(getaddrinfo=lambda *_: _answers("8.8.8.8", port=server.port))
    connect = socket.socket.connect

    class Redirected(socket.socket):
        def connect(self, address: Any) -> None:
            connect(self, ("127.0.0.1", server.port))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", Redirected)
        with pytest.raises(UnsafeURLError) as caught, _get(client, "https://pds.example.com/"):
            pass
    assert caught.value.rule == "loopback"
    assert server.heads == []


def test_all_addresses_are_tried_in_turn(serve_bytes: Any, answer: Any) -> None:
    server = serve_bytes(answer(b"here"))
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed_port = unused.getsockname()[1]
    both = _answers("127.0.0.1", port=closed_port) + _answers("127.0.0.1", port=server.port)
    client = GuardedClient(allow_private_networks=True, getaddrinfo=lambda *_: both)
    with _get(client, "http://pds.test/") as reply:
        assert reply.read_up_to(100) == b"here"


@pytest.mark.parametrize(
    ("getaddrinfo", "said"),
    [
        (lambda *_: [], "no address"),
        (lambda *_: (_ for _ in ()).throw(socket.gaierror(socket.EAI_NONAME, "Name or service not known")), "service"),
        (lambda *_: (_ for _ in ()).throw(UnicodeError("label too long")), "label"),
        (lambda *_: (_ for _ in ()).throw(TypeError("broken")), None),
    ],
)
def test_failed_lookup_is_an_error_of_ours(getaddrinfo: Any, said: str | None) -> None:
    client = GuardedClient(getaddrinfo=getaddrinfo)
    expected: Any = NetworkError if said else TypeError  # a mistake in a test's own function is not hidden
    with pytest.raises(expected, match=said), _get(client, "https://pds.example.com/"):
        pass


def test_refused_connection_is_an_error_of_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with (
        pytest.raises(NetworkError, match="Connection refused") as caught,
        _get(GuardedClient(allow_private_networks=True), f"http://127.0.0.1:{port}/"),
    ):
        pass
    assert not isinstance(caught.value, NetworkTimeout)


def test_host_header_keeps_the_name_and_port(serve_bytes: Any, answer: Any) -> None:
    server = serve_bytes(answer(b""))
    client = GuardedClient(
        allow_private_networks=True, getaddrinfo=lambda _, port, *__: _answers("127.0.0.1", port=port)
    )
    with _get(client, f"http://PDS.Test:{server.port}/a?b=c#d"):
        pass
    lines = server.heads[0].decode().split("\r\n")
    assert lines[0] == "GET /a?b=c HTTP/1.1"
    assert f"Host: pds.test:{server.port}" in lines
    assert "Accept-Encoding: identity" in lines
    assert any(line.startswith("User-Agent: atproto-imageproxy/") for line in lines)


def test_own_user_agent_is_sent(serve_bytes: Any, answer: Any) -> None:
    server = serve_bytes(answer(b""))
    with _get(GuardedClient(allow_private_networks=True, user_agent="my-app/1.0 (+https://example.com)"), server.url()):
        pass
    assert b"User-Agent: my-app/1.0 (+https://example.com)\r\n" in server.heads[0]


def test_default_user_agent_of_a_checkout_has_no_version(monkeypatch: Any, serve_bytes: Any, answer: Any) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    server = serve_bytes(answer(b""))
    with _get(GuardedClient(allow_private_networks=True), server.url()):
        pass
    assert b"User-Agent: atproto-imageproxy\r\n" in server.heads[0]


@pytest.mark.parametrize("user_agent", ["", "a\r\nX: y", "naïve", "a\x00"])
def test_user_agent_that_is_no_line_of_ascii_is_refused(user_agent: str) -> None:
    with pytest.raises(ConfigError) as caught:
        GuardedClient(user_agent=user_agent)
    assert caught.value.option == "user_agent"


class TestTLS:
    def test_certificate_is_checked_against_the_name(self, serve_bytes: Any, answer: Any, trusted: Any) -> None:
        context = trusted("pds.test")
        names: list[str | None] = []
        context.sni_callback = lambda _sock, name, _context: names.append(name)
        server = serve_bytes(answer(b"proved"), context)
        client = GuardedClient(
            allow_private_networks=True, getaddrinfo=lambda _, port, *__: _answers("127.0.0.1", port=port)
        )
        with _get(client, f"https://pds.test:{server.port}/") as reply:
            assert reply.read_up_to(100) == b"proved"
        assert names == ["pds.test"]

    def test_certificate_of_another_name_is_refused(self, serve_bytes: Any, answer: Any, trusted: Any) -> None:
        server = serve_bytes(answer(b"stolen"), trusted("other.test"))
        client = GuardedClient(
            allow_private_networks=True, getaddrinfo=lambda _, port, *__: _answers("127.0.0.1", port=port)
        )
        with pytest.raises(NetworkError, match=r"certificate|match"), _get(client, f"https://pds.test:{server.port}/"):
            pass
        assert server.heads == []

    def test_certificate_of_an_unknown_authority_is_refused(self, serve_bytes: Any, answer: Any, trusted: Any) -> None:
        server = serve_bytes(answer(b""), trusted("127.0.0.1"))
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("REQUESTS_CA_BUNDLE")
            with (
                pytest.raises(NetworkError, match="certificate"),
                _get(GuardedClient(allow_private_networks=True), server.url()),
            ):
                pass

    @pytest.mark.parametrize("variable", ["CURL_CA_BUNDLE", "SSL_CERT_FILE"])
    def test_other_variables_name_a_bundle_too(
        self, variable: str, serve_bytes: Any, answer: Any, trusted: Any, authority: Any, monkeypatch: Any
    ) -> None:
        server = serve_bytes(answer(b"proved"), trusted("127.0.0.1"))
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        with authority.cert_pem.tempfile() as bundle:
            monkeypatch.setenv(variable, bundle)
            with _get(GuardedClient(allow_private_networks=True), server.url()) as reply:
                assert reply.read_up_to(100) == b"proved"

    def test_bundle_may_be_a_folder(
        self, serve_bytes: Any, answer: Any, trusted: Any, monkeypatch: Any, tmp_path: Any
    ) -> None:
        server = serve_bytes(answer(b""), trusted("127.0.0.1"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))  # without any certificate
        with (
            pytest.raises(NetworkError, match="certificate"),
            _get(GuardedClient(allow_private_networks=True), server.url()),
        ):
            pass

    @pytest.mark.parametrize("content", [None, "no certificate"])
    def test_bundle_that_cannot_be_read_is_named(self, content: str | None, monkeypatch: Any, tmp_path: Any) -> None:
        bundle = tmp_path / "bundle.pem"
        if content is not None:
            bundle.write_text(content)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        with pytest.raises(NetworkError, match="REQUESTS_CA_BUNDLE"), _get(GuardedClient(), "https://pds.example.com"):
            pass

    def test_plain_server_behind_https_is_an_error_of_ours(self, serve: Any) -> None:
        server = serve(lambda peer: (peer.sock.recv(100), peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
        with (
            pytest.raises(NetworkError),
            _get(GuardedClient(allow_private_networks=True), f"https://127.0.0.1:{server.port}"),
        ):
            pass

    def test_old_protocol_is_refused(self, serve_bytes: Any, answer: Any, trusted: Any) -> None:
        context: ssl.SSLContext = trusted("127.0.0.1")
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLS"):
            context.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="TLS"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        server = serve_bytes(answer(b""), context)
        with pytest.raises(NetworkError), _get(GuardedClient(allow_private_networks=True), server.url()):
            pass


def test_proxies_and_passwords_of_the_environment_are_not_used(
    serve_bytes: Any, answer: Any, monkeypatch: Any, tmp_path: Any
) -> None:
    server = serve_bytes(answer(b"direct"))
    proxy = serve_bytes(answer(b"proxied"))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url())
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with _get(GuardedClient(allow_private_networks=True), server.url()) as reply:
        assert reply.read_up_to(100) == b"direct"
    assert proxy.connections == 0
    assert b"authorization" not in server.heads[0].lower()


def test_cookies_are_not_kept(serve_bytes: Any, answer: Any) -> None:
    server = serve_bytes(answer(b"x", headers=("Set-Cookie: a=b; Path=/",)))
    client = GuardedClient(allow_private_networks=True)
    for _ in range(2):
        with client.deadline(5) as deadline, client.get(server.url(), {}, deadline) as reply:
            reply.read_up_to(10)
    client.close()
    assert b"cookie" not in server.heads[1].lower()


def test_connection_is_kept_alive_after_a_body_was_read(serve_bytes: Any, answer: Any) -> None:
    server = serve_bytes(answer(b"x" * 100_000))
    client = GuardedClient(allow_private_networks=True)
    for _ in range(3):
        with client.deadline(5) as deadline, client.get(server.url(), {}, deadline) as reply:
            assert len(b"".join(reply.chunks())) == 100_000
    client.close()
    assert server.connections == 1


def test_connection_is_closed_when_a_body_was_not_read(serve_bytes: Any, answer: Any) -> None:
    server = serve_bytes(answer(b"x" * 100_000))
    client = GuardedClient(allow_private_networks=True)
    for _ in range(2):
        with client.deadline(5) as deadline, client.get(server.url(), {}, deadline) as reply:
            assert len(reply.read_up_to(10)) == 10
    client.close()
    assert server.connections == 2


def test_closed_client_asks_no_more() -> None:
    client = GuardedClient(allow_private_networks=True)
    client.close()
    client.close()
    with pytest.raises(NetworkError, match="closed"), client.deadline(5) as deadline:
        client.get("http://127.0.0.1:9/", {}, deadline)
    client.close()


def test_client_closed_after_its_time_began_makes_no_connection(serve_bytes: Any, answer: Any) -> None:
    server, client = serve_bytes(answer(b"")), GuardedClient(allow_private_networks=True)
    with client.deadline(5) as deadline, client.get(server.url(), {}, deadline):
        pass
    with client.deadline(5) as deadline:
        client.close()
        with pytest.raises(NetworkClosed):
            client.get(server.url(), {}, deadline)
    assert server.connections == 1


def test_lookup_that_no_thread_can_be_started_for_is_an_error_of_ours(monkeypatch: Any) -> None:
    client = GuardedClient(getaddrinfo=lambda *_: [])
    start = threading.Thread.start

    def no_lookups(thread: threading.Thread) -> None:
        if thread.name == "imageproxy-lookup":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_lookups)
    with pytest.raises(NetworkError, match="can't start new thread"), _get(client, "https://pds.example.com/"):
        pass
    assert len(client._dialer._lookups) == len(client._hosts) == 0


def test_slots_and_connections_are_made_anew_in_a_child(serve_bytes: Any, answer: Any) -> None:
    """As the hook of a fork does it, here without one: what was under way stays the parent's."""
    server, client = serve_bytes(answer(b"x")), GuardedClient(allow_private_networks=True)
    with client.deadline(5) as deadline, client.get(server.url(), {}, deadline) as reply:
        parents = client._watchdog
        client._reset_after_fork()
        assert len(client._hosts) == 0
        assert reply.read_up_to(10) == b"x"
    with client.deadline(5) as deadline, client.get(server.url(), {}, deadline) as reply:
        assert reply.read_up_to(10) == b"x"
    assert server.connections == 2
    client.close()
    parents.close()
    client._parents_pools.clear()


def test_making_a_client_starts_and_reads_nothing(monkeypatch: Any, left_behind: Any) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/does/not/exist")
    GuardedClient()
    assert left_behind() == (0, [])


def test_strangers_text_is_one_printable_line() -> None:
    assert one_line("a\r\nb\x1b[31m\udc80\N{RIGHT-TO-LEFT OVERRIDE}") == "a\ufffd\ufffdb\ufffd[31m\ufffd\ufffd"
    assert len(one_line("x" * 10_000)) == 300


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork here")
def test_client_works_in_the_children_of_a_fork() -> None:
    """Parent and child both fetch over connections of their own, also when a request was under way at the fork."""
    script = textwrap.dedent(
        """
        import os, socket, sys, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads is what is tested
        from imageproxy._client import GuardedClient
        from imageproxy._guard import NetworkTimeout

        listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        port = listener.getsockname()[1]
        asked, go_on = threading.Semaphore(0), threading.Event()
        ends = []

        def serve(sock):
            with sock:
                while head := sock.recv(65536):
                    ends.append(sock.getpeername())
                    if b"/slow" in head:
                        asked.release()
                        go_on.wait()
                    while b"/drip" in head and not go_on.wait(0.02):
                        sock.sendall(b"H")
                    sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")

        def accept():
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=serve, args=(sock,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        client = GuardedClient(allow_private_networks=True)

        def get(path, seconds=10):
            with client.deadline(seconds) as deadline:
                with client.get(f"http://127.0.0.1:{port}{path}", {}, deadline) as reply:
                    assert reply.read_up_to(10) == b"ok"

        get("/first")
        slow = threading.Thread(target=get, args=("/slow",))
        slow.start()
        asked.acquire()
        children = []
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                get("/child")
                try:
                    get("/drip", 0.3)
                except NetworkTimeout:
                    client.close()
                    os._exit(0)
            children.append(pid)
        for pid in children:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        go_on.set()
        slow.join()
        get("/last")
        client.close()
        assert len(set(ends)) == 4, ends  # the parent kept one alive; each child has its own
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=200).map(lambda data: b"HTTP/1.1 200 OK\r\n" + data),
        st.binary(max_size=200).map(lambda data: b"HTTP/1.1 200 OK\r\nContent-Length: " + data + b"\r\n\r\nbody"),
        st.binary(max_size=200).map(lambda data: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data),
        st.binary(max_size=200).map(lambda data: b"HTTP/1.1 302 Found\r\nLocation: " + data + b"\r\n\r\n"),
        st.binary(max_size=50).map(lambda data: b"HTTP/1.1 " + data + b"\r\n\r\n"),
    )
)
def test_whatever_a_server_says_only_our_errors_come_out(serve: Any, said: bytes) -> None:
    def handler(peer: Any) -> None:
        peer.read_head()
        peer.send(said)

    server = serve(handler)
    try:
        with _get(GuardedClient(allow_private_networks=True), server.url(), 2.0) as reply:
            reply.headers.get("Location")
            b"".join(reply.chunks())
    except (NetworkError, UnsafeURLError):
        pass
    finally:
        server.close()
