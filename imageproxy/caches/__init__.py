"""Caches: where finished images are kept. The default is ``DiskCache``; the seam is ``imageproxy.protocols.Cache``."""

from __future__ import annotations

from ._cleanup import CleanupHandle
from ._entry import EntryInfo
from .disk import DiskCache
from .memory import MemoryCache
from .tiered import TieredCache

__all__ = ["CleanupHandle", "DiskCache", "EntryInfo", "MemoryCache", "TieredCache"]
