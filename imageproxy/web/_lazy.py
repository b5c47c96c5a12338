"""An endpoint whose service is made when the first image is asked for, and closed when the process exits."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable

from imageproxy._fork import reset_after_fork
from imageproxy.service import Service

from ._endpoint import Endpoint
from ._options import Options

__all__ = ["LazyEndpoint"]

_EXIT_SECONDS = 10.0
"""How long the exit of the process waits for images that are being made or written."""


class LazyEndpoint:
    """Makes the service late. Safe to use from threads, and in the children of a fork.

    owns: whether the service is closed here.
    """

    def __init__(self, make: Callable[[], Service], options: Options, *, owns: bool = True) -> None:
        self.options = options
        self._make = make
        self._owns = owns
        self._endpoint: Endpoint | None = None
        self._reset_after_fork()
        reset_after_fork(self)

    def _reset_after_fork(self) -> None:
        self._making = threading.Lock()

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint, made now if it was not yet."""
        endpoint = self._endpoint
        if endpoint is None:
            with self._making:
                endpoint = self._endpoint
                if endpoint is None:
                    endpoint = Endpoint(self._make(), self.options)
                    if self._owns:
                        atexit.register(self.close, _EXIT_SECONDS)
                    self._endpoint = endpoint
        return endpoint

    def close(self, timeout: float | None = None) -> bool:
        """Close the service that was made; see ``Service.close``. The next use makes another one."""
        with self._making:
            endpoint = self._endpoint
            if endpoint is None or not self._owns:
                return True
            self._endpoint = None
        atexit.unregister(self.close)
        return endpoint.service.close(timeout)
