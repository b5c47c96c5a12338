"""Fetchers: get a blob from a PDS."""

from .pds import PDSFetcher

__all__ = ["PDSFetcher"]
