"""A server on loopback that answers as an input says, and a network that ends there.

Whatever name or port a stranger's URL holds, it leads to this server; a connection to anywhere else is a finding.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from .target import FindingError

__all__ = ["Answer", "LoopbackServer", "Surroundings", "confine"]

_DRIP_SECONDS = 0.02
_KEEP_SECONDS = 0.02
_SEND_TIMEOUT_SECONDS = 2.0
_EVIL = ("169.254.169.254", "fe80::1%1", "0.0.0.0", "::ffff:169.254.169.254", "not an address", "224.0.0.1")


@dataclass(frozen=True)
class Answer:
    """What one request is answered with.

    data: the bytes, sent ``times`` times.
    end: ``"close"``; ``"reset"``; ``"keep"`` to wait a moment for the next request, ``"hold"`` to wait for as long as
        the client does; ``"drip"`` to send a byte at a time, and then hold.
    """

    data: bytes
    times: int = 1
    end: str = "close"


class LoopbackServer:
    """Answers request after request with the next of ``answers``, over however many connections; on one thread."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._answers: list[Answer] = []
        self._heads: dict[socket.socket, bytes] = {}
        self._held: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._serve, name="fuzz-server", daemon=True)
        self._thread.start()

    def set(self, answers: Sequence[Answer]) -> None:
        """What is answered from now on; after the last of them, connections are closed unanswered."""
        self._answers = list(reversed(answers))

    def close(self) -> None:
        self._wake.close()
        self._thread.join()
        for sock in (self._listener, self._woken, *self._heads):
            sock.close()
        self._selector.close()

    def _serve(self) -> None:
        while True:
            ready = self._selector.select(_KEEP_SECONDS if len(self._heads) > len(self._held) else None)
            if not ready:
                for sock in set(self._heads) - self._held:
                    self._drop(sock)
            for key, _ in ready:
                sock = key.fileobj  # type: ignore[assignment]
                if sock is self._woken:
                    return
                if sock is self._listener:
                    self._accept()
                elif isinstance(sock, socket.socket):
                    self._read(sock)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            sock.settimeout(_SEND_TIMEOUT_SECONDS)
            self._heads[sock] = b""
            self._selector.register(sock, selectors.EVENT_READ)

    def _read(self, sock: socket.socket) -> None:
        try:
            got = sock.recv(65536)
        except OSError:
            got = b""
        head = self._heads[sock] + got
        self._heads[sock] = head
        # A TLS handshake is answered as if it were a request.
        if got and not (head.endswith(b"\r\n\r\n") or head.startswith(b"\x16")):
            return
        self._heads[sock] = b""
        if not (got and self._answers and self._answer(sock, self._answers.pop())):
            self._drop(sock)

    def _answer(self, sock: socket.socket, answer: Answer) -> bool:
        """Returns whether the connection is kept."""
        try:
            for _ in range(answer.times):
                if answer.end != "drip":
                    sock.sendall(answer.data)
                    continue
                for byte in answer.data:
                    sock.sendall(bytes((byte,)))
                    time.sleep(_DRIP_SECONDS)
        except OSError:
            return False
        if answer.end == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if answer.end in ("hold", "drip"):
            self._held.add(sock)
        return answer.end in ("keep", "hold", "drip")

    def _drop(self, sock: socket.socket) -> None:
        del self._heads[sock]
        self._held.discard(sock)
        self._selector.unregister(sock)
        sock.close()


class Surroundings:
    """What a client may not leave behind: descriptors, and threads of the library's."""

    def __init__(self) -> None:
        self._before = _descriptors()
        self._running = set(threading.enumerate())

    def check(self) -> None:
        """Raises FindingError for what is more than when this was made."""
        for thread in threading.enumerate():
            if thread.name == "imageproxy-lookup":  # has answered, and may need a moment to end
                thread.join(5)
        begun = set(threading.enumerate()) - self._running
        threads = [thread.name for thread in begun if thread.name.startswith("imageproxy-")]
        if threads:
            raise FindingError("threads left", ", ".join(threads))
        more = [link for number, link in _descriptors().items() if self._before.get(number) != link]
        if len(more) > 0:
            raise FindingError("descriptors left", ", ".join(more))


def _descriptors() -> dict[str, str]:
    """The open ones, and what each is, as far as the system tells."""
    found = {}
    for number in os.listdir("/dev/fd"):  # noqa: PTH208 - a path object would open one more
        with contextlib.suppress(OSError):  # the one that listed them
            found[number] = os.readlink(f"/dev/fd/{number}") if sys.platform == "linux" else ""  # noqa: PTH115
    return found


def confine(port_of_server: Sequence[int]) -> None:
    """From now on, this process reaches ``port_of_server[0]`` on loopback under every name, and nothing else.

    Some names have addresses that are to be refused; which, their own letters choose.
    """

    def getaddrinfo(host: str, port: int, *_: Any) -> list[tuple[Any, ...]]:
        addresses = ["127.0.0.1"]
        choice = zlib.crc32(host.encode("utf-8", "replace"))
        if not _is_address(host) and host != "localhost":
            if choice % 23 == 0:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            if choice % 7 == 0:
                addresses.insert(choice & 1, _EVIL[choice % len(_EVIL)])
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port_of_server[0]))
            for each in addresses
        ]

    def on_audit(event: str, arguments: tuple[Any, ...]) -> None:
        # A raise here keeps the connection from being made, whoever makes it.
        if event == "socket.connect" and arguments[1][0] != "127.0.0.1":
            raise FindingError("connected elsewhere", repr(arguments[1]))
        if event == "socket.getaddrinfo":
            raise FindingError("looked up elsewhere", repr(arguments))

    # Client and server are two threads of one process, which take turns.
    sys.setswitchinterval(0.0002)
    socket.getaddrinfo = getaddrinfo  # type: ignore[assignment]  # in a process that is the fuzzer's own
    sys.addaudithook(on_audit)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
