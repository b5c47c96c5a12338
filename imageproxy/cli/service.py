"""The service and the reader that a command works with, for as long as it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from imageproxy.config import Config
from imageproxy.factory import create_service
from imageproxy.protocols import Resolver
from imageproxy.records import RecordReader
from imageproxy.service import Service

__all__ = ["open_reader", "open_service"]


@contextmanager
def open_service(config: Config, *, pds_url: str | None = None) -> Iterator[Service]:
    """A service of the default backends.

    pds_url: the PDS of every account; ``None``: they are looked up.

    After Ctrl-C it is closed without patience: what is under way is broken off.
    """
    resolver: Resolver | None = None if pds_url is None else _KnownPDS(pds_url)
    service = create_service(config, resolver=resolver)
    patience = None
    try:
        yield service
    except KeyboardInterrupt:
        patience = 0.0
        raise
    finally:
        service.close(patience)


def open_reader(config: Config) -> RecordReader:
    """A reader with the options of ``config``."""
    return RecordReader(
        plc_url=config.plc_url,
        timeout_seconds=config.fetch_timeout_seconds,
        allow_private_networks=config.allow_private_networks,
        user_agent=config.user_agent,
    )


class _KnownPDS:
    """The Resolver for accounts of one PDS."""

    def __init__(self, pds_url: str) -> None:
        self._pds_url = pds_url

    def resolve(self, did: str, *, timeout: float | None = None) -> str:  # noqa: ARG002 - as the Protocol has it
        """The PDS."""
        return self._pds_url
