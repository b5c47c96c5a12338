"""Small, safe, cached images from the blobs of AT Protocol accounts.

::

    from imageproxy import create_service

    with create_service() as images:
        jpeg = images.get_image("avatar", "did:plc:...", "bafkrei...")

Importing this package starts nothing, makes no folder and changes no global.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._write_behind import cache_write_error_count
from .caches import DiskCache, MemoryCache, TieredCache
from .config import Config
from .errors import (
    BlobBlockedError,
    BusyError,
    CachePurgeError,
    CIDMismatchError,
    ConfigError,
    DeadlineExceededError,
    DIDNotFoundError,
    DIDResolutionError,
    ImageProxyError,
    ImageTooLargeError,
    InvalidCIDError,
    InvalidDIDError,
    InvalidPresetError,
    InvalidRequestError,
    NilDependencyError,
    PDSFetchError,
    PDSNotFoundError,
    PDSTimeoutError,
    PolicyError,
    ProcessingError,
    ServiceClosedError,
    UnsafeURLError,
    UnsupportedFormatError,
)
from .events import Event, Stats
from .factory import create_service
from .fetchers.pds import PDSFetcher
from .identifiers import Cid, canonical_cid, canonical_did, cid_of, compute_cid
from .policies import CachedPolicy
from .presets import BLUESKY, DEFAULT, FitMode, ImageFormat, Preset, PresetRegistry, get_preset, list_presets
from .protocols import BlobPolicy, Cache, CacheKey, Fetcher, Observer, Processor, Resolver
from .resolver import DIDResolver
from .results import Image, PurgeReport, WarmFailure, WarmReport
from .service import Service
from .urls import ImageURLs

if TYPE_CHECKING:
    from .processors.pillow import PillowProcessor

__version__ = "0.1.0"

__all__ = [
    "BLUESKY",
    "DEFAULT",
    "BlobBlockedError",
    "BlobPolicy",
    "BusyError",
    "CIDMismatchError",
    "Cache",
    "CacheKey",
    "CachePurgeError",
    "CachedPolicy",
    "Cid",
    "Config",
    "ConfigError",
    "DIDNotFoundError",
    "DIDResolutionError",
    "DIDResolver",
    "DeadlineExceededError",
    "DiskCache",
    "Event",
    "Fetcher",
    "FitMode",
    "Image",
    "ImageFormat",
    "ImageProxyError",
    "ImageTooLargeError",
    "ImageURLs",
    "InvalidCIDError",
    "InvalidDIDError",
    "InvalidPresetError",
    "InvalidRequestError",
    "MemoryCache",
    "NilDependencyError",
    "Observer",
    "PDSFetchError",
    "PDSFetcher",
    "PDSNotFoundError",
    "PDSTimeoutError",
    "PillowProcessor",
    "PolicyError",
    "Preset",
    "PresetRegistry",
    "ProcessingError",
    "Processor",
    "PurgeReport",
    "Resolver",
    "Service",
    "ServiceClosedError",
    "Stats",
    "TieredCache",
    "UnsafeURLError",
    "UnsupportedFormatError",
    "WarmFailure",
    "WarmReport",
    "__version__",
    "cache_write_error_count",
    "canonical_cid",
    "canonical_did",
    "cid_of",
    "compute_cid",
    "create_service",
    "get_preset",
    "list_presets",
]


def __getattr__(name: str) -> object:
    # The one part that takes as long to load as all others together, and that an app with an engine of its own never
    # needs: loaded when it is asked for (PEP 562).
    if name == "PillowProcessor":
        from .processors.pillow import PillowProcessor

        return PillowProcessor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
