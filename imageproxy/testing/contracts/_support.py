"""What the contracts have in common."""
# ruff: noqa: S101 - assertions are what contracts are made of

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from imageproxy.errors import ImageProxyError
from imageproxy.identifiers import compute_cid
from imageproxy.protocols import SupportsClose

__all__ = ["CID", "DID", "OTHER_CID", "OTHER_DID", "at_once", "check_own_errors", "closed_twice", "opened", "raised"]

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
OTHER_DID = "did:plc:z72i7hdynmk6r22z27h6tvur"
CID = compute_cid(b"one blob")
OTHER_CID = compute_cid(b"another blob")

T = TypeVar("T")
ErrorT = TypeVar("ErrorT", bound=ImageProxyError)


@contextlib.contextmanager
def opened(backend: T) -> Iterator[T]:
    """The backend, closed in the end if it can be."""
    try:
        yield backend
    finally:
        if isinstance(backend, SupportsClose):
            backend.close()


def closed_twice(backend: object) -> bool:
    """Close it, and once more; ``False`` if it has no ``close``."""
    if not isinstance(backend, SupportsClose):
        return False
    backend.close()
    backend.close()
    return True


def at_once(calls: Iterable[Callable[[], T]]) -> list[T]:
    """The results of the calls, each on a thread of its own, all begun together. Raises what the first one raises."""
    waiting = list(calls)
    barrier = threading.Barrier(len(waiting))

    def run(call: Callable[[], T]) -> T:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(waiting)) as pool:
        return list(pool.map(run, waiting))


def raised(expected: type[ErrorT] | tuple[type[ErrorT], ...], call: Callable[[], object]) -> ErrorT:
    """What the call raises, which must be of these types."""
    names = _names(expected)
    try:
        result = call()
    except expected as error:
        return error
    except Exception as error:
        raise AssertionError(f"{names} was to be raised; it was {type(error).__name__}: {error}") from error
    raise AssertionError(f"{names} was to be raised; the call gave {result!r:.80}")


def check_own_errors(errors: Sequence[ImageProxyError]) -> None:
    """Fail where two threads were given one and the same exception: each adds its frames to the other's traceback."""
    assert len({id(error) for error in errors}) == len(errors), "threads must not share an exception"


def _names(expected: type[Any] | tuple[type[Any], ...]) -> str:
    return " or ".join(each.__name__ for each in (expected if isinstance(expected, tuple) else (expected,)))
