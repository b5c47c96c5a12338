"""PDSFetcher: gets a blob from the account's PDS, trusting nothing that the server says.

Sources: atproto.com/specs/blob, and the lexicon com.atproto.sync.getBlob.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Mapping
from types import TracebackType

from imageproxy._addresses import check_base_url
from imageproxy._client import GuardedClient, Reply, one_line
from imageproxy._deadline import Deadline
from imageproxy._guard import NetworkBusy, NetworkError, NetworkTimeout
from imageproxy._typing import Self
from imageproxy._xrpc import Missing, ask, refuse_encoded, xrpc_url
from imageproxy.errors import (
    BusyError,
    CIDMismatchError,
    ConfigError,
    ImageTooLargeError,
    InvalidCIDError,
    PDSFetchError,
    PDSTimeoutError,
    UnsupportedFormatError,
)
from imageproxy.identifiers import Cid, canonical_did, compute_cid

__all__ = ["PDSFetcher"]

_BLOB = Missing("BlobNotFound", "blob not found", "blob_not_found")
# ISO media files name their kind after "ftyp"; images (AVIF, HEIC) are such files too, with brands of their own.
_VIDEO_BRANDS = (b"isom", b"iso", b"mp4", b"M4V", b"avc1", b"qt  ", b"3gp", b"3g2", b"dash", b"mmp4")
_MATROSKA = bytes.fromhex("1a45dfa3")


class PDSFetcher:
    """The Fetcher that asks the account's PDS.

    timeout_seconds: for a whole fetch: waiting for its turn, looking the name up, connecting, TLS, redirects, headers
        and body, and asking again.
    max_bytes: the largest blob that is read.
    allow_private_networks: for a PDS on this machine: opens private addresses, http and any port. Never in production.
    user_agent: ``None`` for the library's name and version.

    What comes back is proved to be the blob that was asked for: its bytes match the CID. Only public addresses are
    asked, also in redirects. Proxies of the environment are not used, since what they connect to cannot be judged;
    ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE`` and ``SSL_CERT_FILE`` are, as requests does, when the first fetch begins.

    It has manners: one server is sent 6 requests at once. Where a failure may pass (a connection that fails or breaks,
    429, 502, 503, 504), it asks again, up to twice: after a random wait of up to half a second, then of up to one, or
    after what ``Retry-After`` says. Where that is later than the deadline, the error carries it as ``retry_after``.

    Safe to call from threads, which share its connections; works in the children of a fork. ``close()`` it, or use it
    in a ``with``. Raises ConfigError for an option that cannot be meant.

    To subclass: ``blob_url`` and ``request_headers`` are made to be overridden.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float = 30.0,
        max_bytes: int = 10 * 1024**2,
        allow_private_networks: bool = False,
        user_agent: str | None = None,
    ) -> None:
        if not (isinstance(timeout_seconds, (int, float)) and 0 < timeout_seconds < math.inf):
            raise _wrong_option("timeout_seconds", timeout_seconds, "a number above 0")
        if not (isinstance(max_bytes, int) and max_bytes > 0):
            raise _wrong_option("max_bytes", max_bytes, "a whole number above 0")
        self.timeout_seconds = timeout_seconds
        self.max_bytes = max_bytes
        self.allow_private_networks = allow_private_networks
        self._client = GuardedClient(allow_private_networks=allow_private_networks, user_agent=user_agent)
        self._random = random.random
        self._pause: Callable[[Deadline, float], None] = Deadline.pause

    def fetch(self, pds_url: str, did: str, cid: str, *, timeout: float | None = None) -> bytes:
        """The blob's bytes.

        pds_url: the base URL of the PDS, with or without a slash at its end.
        timeout: seconds for the whole fetch; shortens ``timeout_seconds``, never extends it.

        Raises InvalidDIDError or InvalidCIDError before anything is asked, the latter also for a CID whose bytes could
        not be proved; PDSNotFoundError; PDSTimeoutError; UnsafeURLError; CIDMismatchError; ImageTooLargeError;
        UnsupportedFormatError for a video; BusyError where too many others asked the same server; PDSFetchError for
        everything else.
        """
        did = canonical_did(did)
        wanted = _provable(cid)
        seconds = self.timeout_seconds if timeout is None else min(self.timeout_seconds, timeout)
        try:
            base_url = check_base_url(pds_url, allow_private_networks=self.allow_private_networks)
            url = self.blob_url(base_url, did, cid)
            data = ask(
                self._client,
                url,
                self._read,
                seconds=seconds,
                headers=self.request_headers,
                missing=_BLOB,
                random=self._random,
                pause=self._pause,
            )
            if not wanted.verify(data):
                raise CIDMismatchError(
                    f"the PDS gave {len(data)} bytes that are not those of {cid}", actual_cid=compute_cid(data)
                )
        except NetworkBusy as error:
            raise BusyError(f"no blob within {seconds:g} seconds: {error}", did=did, cid=cid) from error
        except NetworkTimeout as error:
            raise PDSTimeoutError(
                f"no blob within {seconds:g} seconds: {error}", timeout=seconds, pds_url=pds_url, did=did, cid=cid
            ) from error
        except NetworkError as error:
            raise PDSFetchError(f"no blob from the PDS: {error}", pds_url=pds_url, did=did, cid=cid) from error
        except (PDSFetchError, ImageTooLargeError, UnsupportedFormatError) as error:
            error.did, error.cid = did, cid
            if isinstance(error, PDSFetchError):
                error.pds_url = pds_url
            raise
        return data

    def blob_url(self, pds_url: str, did: str, cid: str) -> str:
        """The URL that is asked first. Override it to ask a mirror; it is judged like any other.

        pds_url: without a slash at its end.
        """
        return xrpc_url(pds_url, "com.atproto.sync.getBlob", {"did": did, "cid": cid})

    def request_headers(self, url: str) -> Mapping[str, str]:  # noqa: ARG002 - for overriding methods
        """The headers of a request, beyond User-Agent, Host and Accept-Encoding. Override it to add some.

        url: what is asked. It may be where a stranger's redirect leads: give secrets to hosts that you know.
        """
        return {"Accept": "*/*"}

    def close(self) -> None:
        """Close the connections. Fetches under way end at once with a PDSFetchError; so do later ones."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, reply: Reply) -> bytes:
        """The body, not yet proved. What the head of the answer calls for is raised before any of it is read."""
        content_type = reply.headers.get("Content-Type", "").strip().lower()
        if content_type.startswith("video/"):
            raise UnsupportedFormatError(f"the blob is a video ({one_line(content_type)})", format="video")
        refuse_encoded(reply)
        if reply.content_length is not None and reply.content_length > self.max_bytes:
            raise self._too_large(reply.content_length)
        return self._read_blob(reply)

    def _read_blob(self, reply: Reply) -> bytes:
        # A BytesIO gives its buffer away without a copy, which keeps the peak near the size of the blob.
        body = io.BytesIO()
        for chunk in reply.chunks():
            if body.tell() == 0 and _is_video(chunk):
                raise UnsupportedFormatError("the blob is a video by its first bytes", format="video")
            body.write(chunk)
            if body.tell() > self.max_bytes:
                raise self._too_large(None)
        return body.getvalue()

    def _too_large(self, actual: int | None) -> ImageTooLargeError:
        size = "more" if actual is None else f"{actual} bytes"
        return ImageTooLargeError(
            f"a blob may have {self.max_bytes} bytes; this one has {size}",
            unit="bytes",
            limit=self.max_bytes,
            actual=actual,
        )


def _provable(cid: str) -> Cid:
    parsed = Cid.parse(cid)
    if not parsed.is_verifiable:
        raise InvalidCIDError(
            f"the bytes of {one_line(cid)} could not be proved, so it is not fetched: "
            "the CID of a blob is CIDv1, raw or dag-cbor, sha2-256, in base32 (bafkrei... or bafyrei...)",
            cid=cid,
        )
    return parsed


def _is_video(head: bytes) -> bool:
    return head.startswith(_MATROSKA) or (head[4:8] == b"ftyp" and head[8:12].startswith(_VIDEO_BRANDS))


def _wrong_option(option: str, value: object, wanted: str) -> ConfigError:
    return ConfigError(f"{option} is {value!r}; it must be {wanted}", option=option, value=value)
