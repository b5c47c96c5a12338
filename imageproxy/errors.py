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

from typing import Literal

__all__ = [
    "BlobBlockedError",
    "BusyError",
    "CIDMismatchError",
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

    ``preset``, ``did`` and ``cid`` name the image that was asked for, as far as the place that failed knew them.
    """

    def __init__(
        self, message: str, *, preset: str | None = None, did: str | None = None, cid: str | None = None
    ) -> None:
        super().__init__(message)
        self.preset = preset
        self.did = did
        self.cid = cid


class ConfigError(ImageProxyError, ValueError):
    """An option has a value that cannot be meant. ``option`` names it, ``value`` is what was given."""

    def __init__(self, message: str, *, option: str | None = None, value: object = None) -> None:
        super().__init__(message)
        self.option = option
        self.value = value


class NilDependencyError(ImageProxyError, TypeError):
    """A Service was made without one of the three backends that it cannot do without; ``dependency`` names it."""

    def __init__(self, message: str, *, dependency: str | None = None) -> None:
        super().__init__(message)
        self.dependency = dependency


class ServiceClosedError(ImageProxyError):
    """The service was closed before the call, or before the work for it began."""


class InvalidRequestError(ImageProxyError, ValueError):
    """What was asked for is wrong in itself; the same request will fail again."""


class InvalidPresetError(InvalidRequestError):
    """There is no preset of this name, or a preset's own values are wrong; then ``field`` names the value."""

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        preset: str | None = None,
        did: str | None = None,
        cid: str | None = None,
    ) -> None:
        super().__init__(message, preset=preset, did=did, cid=cid)
        self.field = field


class InvalidDIDError(InvalidRequestError):
    """The text is no DID (atproto.com/specs/did)."""


class InvalidCIDError(InvalidRequestError):
    """The text is no CID, or not the canonical text of one (atproto.com/specs/data-model)."""


class BlobBlockedError(ImageProxyError):
    """The policy says that this blob is not to be shown.

    ``reason`` is for people; ``status`` is the HTTP status that a web adapter should answer with (410 by default,
    451 for a legal takedown). A policy may raise this error itself to set both.
    """

    def __init__(
        self,
        message: str = "this blob is blocked by the app's policy",
        *,
        reason: str | None = None,
        status: int = 410,
        preset: str | None = None,
        did: str | None = None,
        cid: str | None = None,
    ) -> None:
        super().__init__(message, preset=preset, did=did, cid=cid)
        self.reason = reason
        self.status = status


class PolicyError(ImageProxyError):
    """The policy failed or gave no clear answer, so the blob is not shown (the service fails closed)."""


class BusyError(ImageProxyError):
    """More is under way than the service allows; ``retry_after`` seconds is when to ask again."""

    def __init__(
        self,
        message: str,
        *,
        retry_after: float = 1.0,
        preset: str | None = None,
        did: str | None = None,
        cid: str | None = None,
    ) -> None:
        super().__init__(message, preset=preset, did=did, cid=cid)
        self.retry_after = retry_after


class DeadlineExceededError(ImageProxyError, TimeoutError):
    """The answer did not come in ``timeout`` seconds: the caller's own, or the service's where the caller set none."""

    def __init__(
        self,
        message: str,
        *,
        timeout: float | None = None,
        preset: str | None = None,
        did: str | None = None,
        cid: str | None = None,
    ) -> None:
        super().__init__(message, preset=preset, did=did, cid=cid)
        self.timeout = timeout


class DIDResolutionError(ImageProxyError):
    """The DID's document could not be read, or names no PDS. ``url`` was asked, ``status`` is its HTTP status."""

    def __init__(
        self,
        message: str,
        *,
        url: str | None = None,
        status: int | None = None,
        preset: str | None = None,
        did: str | None = None,
        cid: str | None = None,
    ) -> None:
        super().__init__(message, preset=preset, did=did, cid=cid)
        self.url = url
        self.status = status


class DIDNotFoundError(DIDResolutionError):
    """The directory or the host says that there is no such DID, or that it was tombstoned."""


class PDSFetchError(ImageProxyError):
    """The PDS did not give the blob. ``pds_url`` is the server asked, ``status`` its HTTP status if it answered."""

    def __init__(
        self,
        message: str,
        *,
        pds_url: str | None = None,
        status: int | None = None,
        preset: str | None = None,
        did: str | None = None,
        cid: str | None = None,
    ) -> None:
        super().__init__(message, preset=preset, did=did, cid=cid)
        self.pds_url = pds_url
        self.status = status


NotFoundReason = Literal[
    "blob_not_found", "repo_not_found", "repo_taken_down", "repo_suspended", "repo_deactivated", "not_found"
]


class PDSNotFoundError(PDSFetchError):
    """The PDS says that it has no such blob, or that the account's repo is not there to be read.

    ``reason`` is ``"blob_not_found"``, ``"repo_not_found"``, ``"repo_taken_down"``, ``"repo_suspended"``,
    ``"repo_deactivated"``, or ``"not_found"`` for a bare 404 that does not say.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: NotFoundReason = "not_found",
        pds_url: str | None = None,
        status: int | None = None,
        preset: str | None = None,
        did: str | None = None,
        cid: str | None = None,
    ) -> None:
        super().__init__(message, pds_url=pds_url, status=status, preset=preset, did=did, cid=cid)
        self.reason: NotFoundReason = reason


class PDSTimeoutError(PDSFetchError):
    """The PDS did not answer, or did not finish its answer, in ``timeout`` seconds."""

    def __init__(
        self,
        message: str,
        *,
        timeout: float | None = None,
        pds_url: str | None = None,
        status: int | None = None,
        preset: str | None = None,
        did: str | None = None,
        cid: str | None = None,
    ) -> None:
        super().__init__(message, pds_url=pds_url, status=status, preset=preset, did=did, cid=cid)
        self.timeout = timeout


class UnsafeURLError(PDSFetchError):
    """A URL or the address behind it is one that this library does not connect to; ``rule`` names the rule.

    ``url`` is the URL that was refused: the PDS's own, or one that it redirected to.
    """

    def __init__(
        self,
        message: str,
        *,
        url: str | None = None,
        rule: str | None = None,
        pds_url: str | None = None,
        preset: str | None = None,
        did: str | None = None,
        cid: str | None = None,
    ) -> None:
        super().__init__(message, pds_url=pds_url, preset=preset, did=did, cid=cid)
        self.url = url
        self.rule = rule


class CIDMismatchError(PDSFetchError):
    """The bytes are not those that the CID stands for; ``actual_cid`` is the CID that they have."""

    def __init__(
        self,
        message: str,
        *,
        actual_cid: str | None = None,
        pds_url: str | None = None,
        status: int | None = None,
        preset: str | None = None,
        did: str | None = None,
        cid: str | None = None,
    ) -> None:
        super().__init__(message, pds_url=pds_url, status=status, preset=preset, did=did, cid=cid)
        self.actual_cid = actual_cid


class UnsupportedFormatError(ImageProxyError):
    """The bytes are no image, or an image of a format that the processor does not read.

    ``format`` names what they look like, where that is known (``"svg"``, ``"html"``, ``"heic"``, ...).
    """

    def __init__(
        self,
        message: str,
        *,
        format: str | None = None,  # noqa: A002 - the field's own name for it
        preset: str | None = None,
        did: str | None = None,
        cid: str | None = None,
    ) -> None:
        super().__init__(message, preset=preset, did=did, cid=cid)
        self.format = format


class ImageTooLargeError(ImageProxyError):
    """More than the limit: ``unit`` says of what, ``limit`` how much is allowed, ``actual`` how much there was.

    ``actual`` is ``None`` where the reading stopped at the limit.
    """

    def __init__(
        self,
        message: str,
        *,
        unit: Literal["bytes", "pixels"] = "bytes",
        limit: int | None = None,
        actual: int | None = None,
        preset: str | None = None,
        did: str | None = None,
        cid: str | None = None,
    ) -> None:
        super().__init__(message, preset=preset, did=did, cid=cid)
        self.unit: Literal["bytes", "pixels"] = unit
        self.limit = limit
        self.actual = actual


class ProcessingError(ImageProxyError):
    """The image is broken, or it could not be turned into what the preset asks for."""
