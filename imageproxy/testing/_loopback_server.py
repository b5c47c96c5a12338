"""An HTTP/1.1 server on the loopback interface that leaves nothing behind when it is closed."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, NamedTuple

__all__ = ["Answer", "LoopbackServer", "Request"]

_POLL_SECONDS = 0.02  # how long closing waits for the thread that accepts connections to notice


class Request(NamedTuple):
    """What a client asked.

    path: with the query, as it came.
    headers: their names in lower case.
    """

    method: str
    path: str
    headers: Mapping[str, str]


class Answer(NamedTuple):
    """What a client is told.

    is_chunked: the body is sent in chunks, with no ``content-length``.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    is_chunked: bool = False


class LoopbackServer:
    """Answers GET and HEAD with what ``answer`` returns, on a free port of 127.0.0.1, from the moment it is made.

    ``answer`` is called on a thread of each connection; connections are kept alive. Once ``close`` has returned,
    connections, threads and the port are gone.
    """

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        handler = type("_Handler", (_Handler,), {"answer": staticmethod(answer)})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="loopback-server", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """``"http://127.0.0.1:port"``."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop, and break off what is under way. Calling it again does nothing. Waits for ``answer`` to return."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.break_off()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A test that opens a hundred connections at once should not lose one.
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: dict[threading.Thread, socket.socket] = {}
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the resolver for the name of the address, and may wait for it.
        TCPServer.server_bind(self)
        self.server_name = "localhost"
        self.server_port = self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="loopback-connection", daemon=True
        )
        self._connections[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.pop(threading.current_thread(), None)

    def break_off(self) -> None:
        """End every connection and its thread. Called when no new ones come."""
        for thread, connection in list(self._connections.items()):
            with contextlib.suppress(OSError):  # it was closed meanwhile
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # clients may go as they please
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    answer: Callable[[Request], Answer]

    protocol_version = "HTTP/1.1"
    # The head and the body are two writes; with the algorithm, the second would wait for the client's delayed ACK.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.answer(Request(self.command, self.path, headers))
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.is_chunked:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if answer.is_chunked:
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(answer.body), answer.body))
        else:
            self.wfile.write(answer.body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has in the standard library
        pass
