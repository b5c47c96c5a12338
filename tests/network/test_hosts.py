"""Few connections to one host, and few over thousands of hosts."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from imageproxy.errors import BusyError, ImageProxyError
from imageproxy.fetchers import PDSFetcher


def _note_sockets(fetcher: PDSFetcher) -> list[socket.socket]:
    """All sockets that the fetcher opens from now on."""
    opened: list[socket.socket] = []
    dial = fetcher._client._dialer.dial

    def noted(*args: Any) -> socket.socket:
        opened.append(dial(*args))
        return opened[-1]

    fetcher._client._dialer.dial = noted  # type: ignore[method-assign, assignment]
    return opened


def _open_of(sockets: list[socket.socket]) -> int:
    return sum(each.fileno() != -1 for each in sockets)


def test_connections_are_bounded_over_many_hosts_and_kept_for_each(
    serve_bytes: Any, answer: Any, open_named_fetcher: Any, did: str, cid: str, blob: bytes, left_behind: Any
) -> None:
    hosts, threads = 400, 8
    server, fetcher = serve_bytes(answer(blob)), open_named_fetcher(timeout_seconds=60)
    sockets = _note_sockets(fetcher)
    most = 0

    def fetch(number: int) -> None:
        nonlocal most
        for _ in range(3):
            assert fetcher.fetch(server.url(f"pds{number}.test"), did, cid) == blob
        most = max(most, _open_of(sockets))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fetch, range(hosts)))
    # Of three fetches two used the connection again, but where a thread slept while 32 other hosts were asked.
    assert hosts <= len(sockets) == server.connections < 1.1 * hosts
    assert most <= 32 + 2 * threads  # those kept, those in use, and those that are just being closed
    assert _open_of(sockets) <= 32
    assert len(fetcher._client._hosts) == 0
    fetcher.close()
    assert _open_of(sockets) == 0
    server.close()
    extra, names = left_behind()
    assert extra <= 0
    assert names == []


def test_connection_in_use_survives_that_its_host_is_forgotten(
    serve_bytes: Any, answer: Any, open_named_fetcher: Any, did: str, cid: str, blob: bytes
) -> None:
    server, fetcher = serve_bytes(answer(blob)), open_named_fetcher(timeout_seconds=60)
    sockets = _note_sockets(fetcher)

    def read_slowly() -> None:
        client = fetcher._client
        with client.deadline(60) as deadline, client.get(server.url("slow.test"), {}, deadline) as reply:
            chunks = reply.chunks()
            first = next(chunks)
            for number in range(40):
                assert fetcher.fetch(server.url(f"pds{number}.test"), did, cid) == blob
            assert first + b"".join(chunks) == blob

    read_slowly()
    assert sockets[0].fileno() == -1
    assert _open_of(sockets) == 32


def _holds(asked: threading.Semaphore, go_on: threading.Event, reply: bytes) -> Any:
    def handler(peer: Any) -> None:
        while peer.read_head():
            asked.release()
            go_on.wait(20)
            peer.send(reply)

    return handler


def test_one_host_is_sent_six_requests_at_once(
    serve: Any, answer: Any, open_fetcher: Any, run: Any, until: Any, did: str, cid: str, blob: bytes
) -> None:
    asked, go_on = threading.Semaphore(0), threading.Event()
    server, fetcher = serve(_holds(asked, go_on, answer(blob))), open_fetcher(timeout_seconds=60)
    fetches = [run(lambda: fetcher.fetch(server.url(), did, cid)) for _ in range(20)]
    for _ in range(6):
        assert asked.acquire(timeout=20)
    until(lambda: sum(len(line.waiting) for line in fetcher._client._hosts._lines.values()) == 14)
    assert len(server.heads) == 6
    with pytest.raises(BusyError, match="busy: 6 requests"):
        fetcher.fetch(server.url(), did, cid, timeout=0.05)
    go_on.set()
    assert [each.outcome() for each in fetches] == [blob] * 20
    assert server.connections == 6
    assert len(fetcher._client._hosts) == 0


def test_busy_host_does_not_hold_up_another(
    serve: Any, serve_bytes: Any, answer: Any, open_fetcher: Any, run: Any, did: str, cid: str, blob: bytes
) -> None:
    asked, go_on = threading.Semaphore(0), threading.Event()
    busy, free = serve(_holds(asked, go_on, answer(blob))), serve_bytes(answer(blob))
    fetcher = open_fetcher(timeout_seconds=60)
    for _ in range(8):
        run(lambda: fetcher.fetch(busy.url(), did, cid))
    for _ in range(6):
        assert asked.acquire(timeout=20)
    assert fetcher.fetch(free.url(), did, cid) == blob
    go_on.set()


def test_redirects_that_cross_do_not_wait_for_each_other(
    serve: Any, answer: Any, open_fetcher: Any, run: Any, monkeypatch: Any, did: str, cid: str, blob: bytes
) -> None:
    """A redirect gives its host's slot back before it takes the next; also where that is the same host."""
    monkeypatch.setattr("imageproxy._client._MAX_PER_HOST", 1)
    both = threading.Barrier(2)
    servers: list[Any] = []

    def handler(peer: Any) -> None:
        while head := peer.read_head():
            if b"/again" in head:
                peer.send(answer(b"", "302 Found", ("Location: /blob",)))
            elif b"/blob" in head:
                peer.send(answer(blob))
            else:
                both.wait(20)
                other = next(each for each in servers if str(each.port).encode() not in head)
                peer.send(answer(b"", "302 Found", (f"Location: {other.url()}/again",)))

    servers += [serve(handler), serve(handler)]
    fetcher = open_fetcher()
    fetches = [run(lambda server=server: fetcher.fetch(server.url(), did, cid)) for server in servers]
    assert [each.outcome() for each in fetches] == [blob] * 2


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut",
        b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n",
    ],
)
def test_failed_fetch_gives_its_slot_back(
    reply: bytes, serve_bytes: Any, open_fetcher: Any, did: str, cid: str
) -> None:
    server, fetcher = serve_bytes(reply, hang_up=True), open_fetcher()
    with pytest.raises(ImageProxyError):
        fetcher.fetch(server.url(), did, cid)
    assert len(fetcher._client._hosts) == 0


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork here")
def test_children_of_a_fork_have_slots_of_their_own() -> None:
    script = textwrap.dedent(
        """
        import os, socket, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads is what is tested
        from imageproxy.fetchers import PDSFetcher
        from imageproxy.identifiers import compute_cid

        listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        did, cid = "did:plc:ewvi7nxzyoun6zhxrhs64oiz", compute_cid(b"ok")
        asked, go_on = threading.Semaphore(0), threading.Event()

        def serve(sock, number):
            with sock:
                while sock.recv(65536):
                    if number < 6:
                        asked.release()
                        go_on.wait()
                    sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")

        def accept():
            for number in range(100):
                sock, _ = listener.accept()
                threading.Thread(target=serve, args=(sock, number), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        fetcher = PDSFetcher(allow_private_networks=True)
        threads = [threading.Thread(target=fetcher.fetch, args=(url, did, cid)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(6):
            asked.acquire()
        pid = os.fork()
        if pid == 0:
            assert fetcher.fetch(url, did, cid) == b"ok"
            fetcher.close()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        go_on.set()
        for thread in threads:
            thread.join()
        fetcher.close()
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
