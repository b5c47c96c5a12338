"""The error tree."""

import inspect
import pickle

import pytest

import imageproxy.errors as module
from imageproxy.errors import ImageProxyError, PDSNotFoundError, UnsafeURLError

ERRORS = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, Exception)]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_has_the_one_root_and_is_public(error: type[Exception]) -> None:
    assert issubclass(error, ImageProxyError)
    assert error.__name__ in module.__all__
    assert error.__name__ in (module.__doc__ or "")


def evidence_of(error: type[ImageProxyError]) -> dict[str, object]:
    names = {
        name for base in error.__mro__ if issubclass(base, ImageProxyError) for name in inspect.get_annotations(base)
    }
    return {name: f"evidence of {name}" for name in names}


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_takes_its_evidence_by_name(error: type[ImageProxyError]) -> None:
    assert {"preset", "did", "cid"} <= set(evidence_of(error))
    made = error("what happened", **evidence_of(error))
    assert {name: getattr(made, name) for name in evidence_of(error)} == evidence_of(error)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", ["pds", "args_", "__doc__"])
def test_evidence_of_an_unknown_name_is_refused(error: type[ImageProxyError], name: str) -> None:
    with pytest.raises(TypeError, match=name):
        error("what happened", **{name: 1})


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_pickles_with_its_evidence(error: type[ImageProxyError]) -> None:
    original = error("what happened", **evidence_of(error))
    twin = pickle.loads(pickle.dumps(original))
    assert type(twin) is error
    assert str(twin) == "what happened"
    assert vars(twin) == vars(original)


def test_a_copy_is_made_without_running_the_constructor_of_an_apps_own_class() -> None:
    class TakedownError(module.BlobBlockedError):
        def __init__(self, ticket: int) -> None:
            super().__init__(f"taken down, see ticket {ticket}", status=451)

    original = TakedownError(7)
    original.__cause__ = KeyError("x")
    copy = original.afresh()
    assert copy is not original
    assert type(copy) is TakedownError
    assert (str(copy), copy.status, copy.__cause__) == (str(original), 451, original.__cause__)


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_can_be_made_afresh(error: type[ImageProxyError]) -> None:
    copy = error("what happened", **evidence_of(error)).afresh()
    assert str(copy) == "what happened"
    assert {name: getattr(copy, name) for name in evidence_of(error)} == evidence_of(error)


def test_errors_are_what_python_calls_them_too() -> None:
    assert issubclass(module.ConfigError, ValueError)
    assert issubclass(module.InvalidRequestError, ValueError)
    assert issubclass(module.NilDependencyError, TypeError)
    assert issubclass(module.DeadlineExceededError, TimeoutError)


def test_evidence_is_where_it_is_looked_for() -> None:
    error = PDSNotFoundError("gone", reason="repo_taken_down", pds_url="https://pds.example", status=400, did="did:x:y")
    assert (error.reason, error.pds_url, error.status, error.did) == (
        "repo_taken_down", "https://pds.example", 400, "did:x:y",
    )  # fmt: skip
    assert UnsafeURLError("no", url="http://x", rule="https only").rule == "https only"
