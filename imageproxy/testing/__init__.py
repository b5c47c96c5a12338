"""For the tests of apps that use this library.

Fakes of every backend, a PDS on this machine, and what a backend of one's own must do, as pytest classes to subclass.
"""

from .contracts import CacheContract, FetcherContract, ProcessorContract, ResolverContract
from .fakes import (
    FAKE_IMAGE,
    FAKE_PDS_URL,
    FakeCache,
    FakeFetcher,
    FakePolicy,
    FakeProcessor,
    FakeResolver,
    FetchCall,
    PolicyCall,
    ProcessCall,
    PurgeCall,
    RecordingObserver,
    ResolveCall,
    fake_service,
)
from .local_pds import AccountStatus, LocalPDS, Request
from .photos import DrawnPhoto, drawn_photos

__all__ = [
    "FAKE_IMAGE",
    "FAKE_PDS_URL",
    "AccountStatus",
    "CacheContract",
    "DrawnPhoto",
    "FakeCache",
    "FakeFetcher",
    "FakePolicy",
    "FakeProcessor",
    "FakeResolver",
    "FetchCall",
    "FetcherContract",
    "LocalPDS",
    "PolicyCall",
    "ProcessCall",
    "ProcessorContract",
    "PurgeCall",
    "RecordingObserver",
    "Request",
    "ResolveCall",
    "ResolverContract",
    "drawn_photos",
    "fake_service",
]
