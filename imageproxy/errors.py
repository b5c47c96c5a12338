"""Every error that this library raises: one root, so that one ``except`` is enough.

::

    ImageProxyError
    ├── ConfigError (ValueError)              an option with a value that cannot be meant
    ├── NilDependencyError (TypeError)        a Service made without a cache, processor or fetcher
    ├── ServiceClosedError                    a call after close()
    ├── InvalidRequestError (ValueError)      the request itself is wrong; asking again will not help
    │   ├── InvalidPresetError
    │   ├── InvalidDIDError
    │   └── InvalidCIDError
    ├── BlobBlockedError                      the app's policy says no
    ├── PolicyError                           the app's policy could not be asked: treated as a no
    ├── CachePurgeError                       some part of a cache could not be purged
    ├── BusyError                             too much under way; ask again after ``retry_after`` seconds
    ├── DeadlineExceededError (TimeoutError)  the caller's time, or the service's, is over
    ├── DIDResolutionError                    the DID's document could not be read or names no PDS
    │   └── DIDNotFoundError                  there is no such DID, or no more
    ├── PDSFetchError                         the PDS did not give the blob
    │   ├── PDSNotFoundError                  it says that it has none; ``reason`` tells why
    │   ├── PDSTimeoutError                   it took too long
    │   ├── UnsafeURLError                    its address is one that this library does not connect to
    │   └── CIDMismatchError                  it gave other bytes than the CID stands for
    ├── UnsupportedFormatError                the bytes are no image that the processor reads
    ├── ImageTooLargeError                    more bytes or pixels than allowed
    └── ProcessingError                       the image is broken, or could not be encoded

Each error carries its evidence as attributes (``None`` where it is not known), can be pickled, and is raised ``from``
its cause where there is one. No exception of requests, urllib3, Pillow or a cache client leaves the library.
"""

from __future__ import annotations

from typing import Any, Literal

from ._typing import Self

__all__ = [
    "BlobBlockedError",
    "BusyError",
    "CIDMismatchError",
    "CachePurgeError",
    "ConfigError",
    "DIDNotFoundError",
    "DIDResolutionError",
    "DeadlineExceededError",
    "ImageProxyError",
    "ImageTooLargeError",
    "InvalidCIDError",
    "InvalidDIDError",
    "InvalidPresetError",
    "InvalidRequestError",
    "NilDependencyError",
    "PDSFetchError",
    "PDSNotFoundError",
    "PDSTimeoutError",
    "PolicyError",
    "ProcessingError",
    "ServiceClosedError",
    "UnsafeURLError",
    "UnsupportedFormatError",
]


class ImageProxyError(Exception):
    """The root of every error of this library.

    evidence: values for the attributes that the class documents, by name; a TypeError for a name that it has not.

    ``preset``, ``did`` and ``cid`` name the image that was asked for, as far as the place that failed knew them.
    """

    preset: str | None = None
    did: str | None = None
    cid: str | None = None

    def __init__(self, message: str, **evidence: Any) -> None:
        super().__init__(message)
        for name, value in evidence.items():
            if name.startswith("_") or not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no attribute {name!r}")
            setattr(self, name, value)

    def afresh(self) -> Self:
        """A copy to raise somewhere else: with the same evidence and cause, and a traceback of its own."""
        # Not through its constructor: a class of the app's own may take other arguments than it hands on.
        fresh = type(self).__new__(type(self), *self.args)
        fresh.args = self.args
        vars(fresh).update(vars(self))
        fresh.__cause__ = self.__cause__
        return fresh


class ConfigError(ImageProxyError, ValueError):
    """An option has a value that cannot be meant. ``option`` names it, ``value`` is what was given."""

    option: str | None = None
    value: object = None


class NilDependencyError(ImageProxyError, TypeError):
    """A Service was made without one of the three backends that it cannot do without; ``dependency`` names it."""

    dependency: str | None = None


class ServiceClosedError(ImageProxyError):
    """The service was closed before the call, or before the work for it began."""


class InvalidRequestError(ImageProxyError, ValueError):
    """What was asked for is wrong in itself; the same request will fail again."""


class InvalidPresetError(InvalidRequestError):
    """There is no preset of this name, or a preset's own values are wrong; then ``field`` names the value."""

    field: str | None = None


class InvalidDIDError(InvalidRequestError):
    """The text is no DID (atproto.com/specs/did)."""


class InvalidCIDError(InvalidRequestError):
    """The text is no CID, or not the canonical text of one (atproto.com/specs/data-model)."""


class BlobBlockedError(ImageProxyError):
    """The policy says that this blob is not to be shown.

    ``reason`` is for people; ``status`` is the HTTP status that a web adapter should answer with (410 by default,
    451 for a legal takedown). A policy may raise this error itself to set both.
    """

    reason: str | None = None
    status: int = 410

    def __init__(self, message: str = "this blob is blocked by the app's policy", **evidence: Any) -> None:
        super().__init__(message, **evidence)


class PolicyError(ImageProxyError):
    """The policy failed or gave no clear answer, so the blob is not shown (the service fails closed)."""


class CachePurgeError(ImageProxyError):
    """Some parts of a cache could not be purged, and may still hold the blob; purge again.

    ``removed``: how many entries went from the other parts. ``failed``: the names of the parts that failed.
    Raised by caches that could do only a part; ``Service.purge`` makes it a part of its report.
    """

    removed: int = 0
    failed: tuple[str, ...] = ()


class BusyError(ImageProxyError):
    """More is under way than the service allows; ``retry_after`` seconds is when to ask again."""

    retry_after: float = 1.0


class DeadlineExceededError(ImageProxyError, TimeoutError):
    """The answer did not come in ``timeout`` seconds: the caller's own, or the service's where the caller set none."""

    timeout: float | None = None


class DIDResolutionError(ImageProxyError):
    """The DID's document could not be read, or names no PDS. ``url`` was asked, ``status`` is its HTTP status."""

    url: str | None = None
    status: int | None = None


class DIDNotFoundError(DIDResolutionError):
    """The directory or the host says that there is no such DID, or that it was tombstoned."""


class PDSFetchError(ImageProxyError):
    """The PDS did not give the blob. ``pds_url`` is the server asked, ``status`` its HTTP status if it answered.

    ``retry_after`` is how many seconds the server wants to be left alone, where it said so.
    """

    pds_url: str | None = None
    status: int | None = None
    retry_after: float | None = None


NotFoundReason = Literal[
    "blob_not_found",
    "record_not_found",
    "repo_not_found",
    "repo_taken_down",
    "repo_suspended",
    "repo_deactivated",
    "not_found",
]


class PDSNotFoundError(PDSFetchError):
    """The PDS says that it has no such blob or record, or that the account's repo is not there to be read.

    ``reason`` is ``"blob_not_found"``, ``"record_not_found"``, ``"repo_not_found"``, ``"repo_taken_down"``,
    ``"repo_suspended"``, ``"repo_deactivated"``, or ``"not_found"`` for a bare 404 that does not say.
    """

    reason: NotFoundReason = "not_found"


class PDSTimeoutError(PDSFetchError):
    """The PDS did not answer, or did not finish its answer, in ``timeout`` seconds."""

    timeout: float | None = None


class UnsafeURLError(PDSFetchError):
    """A URL or the address behind it is one that this library does not connect to; ``rule`` names the rule.

    ``url`` is the URL that was refused: the PDS's own, or one that it redirected to.
    """

    url: str | None = None
    rule: str | None = None


class CIDMismatchError(PDSFetchError):
    """The bytes are not those that the CID stands for; ``actual_cid`` is the CID that they have."""

    actual_cid: str | None = None


class UnsupportedFormatError(ImageProxyError):
    """The bytes are no image, or an image of a format that the processor does not read.

    ``format`` names what they look like, where that is known (``"svg"``, ``"html"``, ``"heic"``, ...).
    """

    format: str | None = None


class ImageTooLargeError(ImageProxyError):
    """More than the limit: ``unit`` says of what, ``limit`` how much is allowed, ``actual`` how much there was.

    ``actual`` is ``None`` where the reading stopped at the limit.
    """

    unit: Literal["bytes", "pixels"] = "bytes"
    limit: int | None = None
    actual: int | None = None


class ProcessingError(ImageProxyError):
    """The image is broken, or it could not be turned into what the preset asks for."""
