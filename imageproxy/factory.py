"""The one place that picks the default backends and puts them together."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from .caches.disk import DiskCache
from .config import Config
from .fetchers.pds import PDSFetcher
from .presets import PresetRegistry
from .protocols import BlobPolicy, Cache, Fetcher, Observer, Processor, Resolver
from .resolver import DIDResolver
from .service import Service

__all__ = ["create_service"]


_log = logging.getLogger(__name__)


class _OwningService(Service):
    """A service that closes, after itself, the backends that were made for it."""

    owned: ExitStack

    def close(self, timeout: float | None = None) -> bool:
        try:
            return super().close(timeout)
        finally:
            self.owned.close()


def create_service(
    config: Config | None = None,
    *,
    cache: Cache | None = None,
    processor: Processor | None = None,
    fetcher: Fetcher | None = None,
    resolver: Resolver | None = None,
    policy: BlobPolicy | None = None,
    presets: PresetRegistry | None = None,
    observers: Iterable[Observer] = (),
) -> Service:
    """A service with the default backend for each one that is not given, by the options of ``config``.

    The defaults are DiskCache, tidied by a thread of its own every ``cleanup_interval_seconds``, PillowProcessor,
    PDSFetcher and DIDResolver. Closing the service closes what was made here and leaves alone what was given; a cache
    that is given is the app's to tidy, too.

    Raises ConfigError.
    """
    config = Config() if config is None else config
    with ExitStack() as owned:
        if cache is None:
            cache = DiskCache(config.cache_path, max_bytes=config.cache_max_bytes, ttl_seconds=config.cache_ttl_seconds)
            _warn_if_unusable(cache.root)
            if config.cleanup_interval_seconds is not None:
                owned.callback(cache.start_cleanup(config.cleanup_interval_seconds).stop)
        if processor is None:
            from .processors.pillow import PillowProcessor  # see the package's __getattr__

            processor = PillowProcessor(max_pixels=config.max_source_pixels)
        if fetcher is None:
            fetcher = owned.enter_context(
                PDSFetcher(
                    timeout_seconds=config.fetch_timeout_seconds,
                    max_bytes=config.max_source_bytes,
                    allow_private_networks=config.allow_private_networks,
                    user_agent=config.user_agent,
                )
            )
        if resolver is None:
            resolver = owned.enter_context(
                DIDResolver(
                    plc_url=config.plc_url,
                    ttl_seconds=config.identity_ttl_seconds,
                    allow_private_networks=config.allow_private_networks,
                    user_agent=config.user_agent,
                )
            )
        service = _OwningService(
            cache, processor, fetcher, config, presets=presets, resolver=resolver, policy=policy, observers=observers
        )
        service.owned = owned.pop_all()
    return service


def _warn_if_unusable(root: Path) -> None:
    """Say at the start what would otherwise show with the first write. Makes nothing: the cache does, when needed."""
    folder = next((folder for folder in (root, *root.parents) if os.path.lexists(folder)), root)
    if not (os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)):  # noqa: PTH112 - never raises
        _log.warning(
            "images will be served uncached: %s cannot be written to; make it writable for this user, or set "
            "cache_path (IMAGE_PROXY_CACHE_PATH)",
            folder,
        )
