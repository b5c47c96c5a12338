"""What every backend must do, as pytest classes to subclass::

    class TestMyCache(CacheContract):
        def make_cache(self, tmp_path):
            return MyCache(...)

Each test makes a backend of its own, and closes it if it can be. A test of a power that the backend has not, or of
trouble that it was given no way to make, passes at once. pytest itself is not imported here.
"""

from __future__ import annotations

from .cache import CacheContract
from .fetcher import FetcherContract
from .processor import ProcessorContract
from .resolver import ResolverContract

__all__ = ["CacheContract", "FetcherContract", "ProcessorContract", "ResolverContract"]
