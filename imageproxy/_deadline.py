"""One time limit over all that a request does.

The timeouts of sockets bound one read each: a server that sends a byte now and then is never late. A ``Deadline`` is
total. While a request is under way it holds the request's socket, and a ``Watchdog`` shuts that down when the time is
over; whatever waits for it (a TLS handshake, a line of a header, a chunk) then ends at once, as if the server had hung
up. So the end of a stream proves nothing once ``is_over`` is true. Closing the watchdog ends the time of all requests.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Iterator

__all__ = ["Deadline", "Watchdog"]

# The timeout of a socket is milliseconds in a C int; a day is more than any request is meant to take.
_MAX_SECONDS = 86_400.0


class Deadline:
    """The end of one request's time, and what the request waits for. Made by ``Watchdog.deadline``.

    was_closed: the time is over because the watchdog was closed.
    """

    def __init__(self, seconds: float) -> None:
        self.expires_at = time.monotonic() + min(seconds, _MAX_SECONDS)
        self.was_closed = False
        self._lock = threading.Lock()
        self._held: socket.socket | None = None
        self._awaited: threading.Event | None = None

    def remaining(self) -> float:
        """Seconds that are left; 0 or less when the time is over."""
        return 0.0 if self.was_closed else self.expires_at - time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return self.remaining() <= 0

    def hold(self, sock: socket.socket) -> None:
        """Have ``sock`` shut down when the time is over, in place of the one held before. Raises OSError."""
        # A copy, since TLS takes the descriptor out of a socket, and a closed descriptor's number is soon another's.
        held = socket.fromfd(sock.fileno(), sock.family, sock.type)
        with self._lock:
            before, self._held = self._held, held
        if before is not None:
            before.close()
        if self.is_over:
            self.shut_down()

    def shut_down(self) -> None:
        """Shut down the socket that is held."""
        with self._lock, contextlib.suppress(OSError):  # the server may have hung up before
            if self._held is not None:
                self._held.shutdown(socket.SHUT_RDWR)

    def wait(self, event: threading.Event, seconds: float = math.inf) -> None:
        """Wait for ``event``, for ``seconds`` at most and never beyond the end, which may set the event too."""
        with self._lock:
            self._awaited = event
        try:
            left = min(seconds, self.remaining())
            if left > 0:
                event.wait(left)
        finally:
            with self._lock:
                self._awaited = None

    def pause(self, seconds: float) -> None:
        """Wait for ``seconds``, and never beyond the end."""
        self.wait(threading.Event(), seconds)

    def close(self) -> None:
        """End the time now: shut the socket down, and wake what waits."""
        self.was_closed = True
        self.shut_down()
        with self._lock:
            if self._awaited is not None:
                self._awaited.set()

    def release(self) -> None:
        """Let go of the socket, which stays open."""
        with self._lock:
            held, self._held = self._held, None
        if held is not None:
            held.close()


class Watchdog:
    """Shuts down the sockets of requests whose time is over. Safe to call from threads.

    One daemon thread watches over all requests. It starts with the first, and ends with ``close()``, which ends the
    requests too, or when there has been nothing to watch for ``linger_seconds``. After a fork, make a new one.
    """

    def __init__(self, *, linger_seconds: float = 5.0) -> None:
        self._linger_seconds = linger_seconds
        self._changed = threading.Condition()
        self._watched: set[Deadline] = set()
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0
        self._is_closed = False

    @contextlib.contextmanager
    def deadline(self, seconds: float) -> Iterator[Deadline]:
        """A deadline that is watched while the block runs. Raises RuntimeError where no thread can be started."""
        deadline = Deadline(seconds)
        with self._changed:
            if self._is_closed:
                deadline.close()
            else:
                self._start()
                self._watched.add(deadline)
                if deadline.expires_at < self._wakes_at:
                    self._changed.notify()
        try:
            yield deadline
        finally:
            with self._changed:
                self._watched.discard(deadline)
            deadline.release()

    def close(self) -> None:
        """End the time of all that is watched, and the thread. Later deadlines are over when they are made."""
        with self._changed:
            self._is_closed = True
            watched, self._watched = self._watched, set()
            thread = self._thread
            self._changed.notify()
        for deadline in watched:
            deadline.close()
        if thread is not None:
            thread.join()

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._watch, name="imageproxy-deadlines", daemon=True)
            thread.start()
            self._thread = thread

    def _watch(self) -> None:
        with self._changed:
            while not self._is_closed:
                now = time.monotonic()
                for deadline in [each for each in self._watched if each.expires_at <= now]:
                    self._watched.discard(deadline)
                    deadline.shut_down()
                self._wakes_at = min((each.expires_at for each in self._watched), default=now + self._linger_seconds)
                was_told = self._changed.wait(self._wakes_at - now)
                if not (was_told or self._watched):
                    break
            self._thread = None
