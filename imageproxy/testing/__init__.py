"""For the tests of apps that use this library: fakes of every backend, and a PDS on this machine."""

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

__all__ = [
    "FAKE_IMAGE",
    "FAKE_PDS_URL",
    "AccountStatus",
    "FakeCache",
    "FakeFetcher",
    "FakePolicy",
    "FakeProcessor",
    "FakeResolver",
    "FetchCall",
    "LocalPDS",
    "PolicyCall",
    "ProcessCall",
    "PurgeCall",
    "RecordingObserver",
    "Request",
    "ResolveCall",
    "fake_service",
]
