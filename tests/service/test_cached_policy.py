"""CachedPolicy: a policy that asks a database, asked less often."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from imageproxy import BlobBlockedError, ConfigError, PolicyError
from imageproxy.policies import CachedPolicy
from imageproxy.testing import fake_service

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
OTHER_DID = "did:plc:z72i7hdynmk6r22z27h6tvur"
CID = "bafkreimadeup0"
OTHER_CID = "bafkreimadeup1"


class Database:
    """A policy that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answer: Any = False
        self.gate: threading.Event | None = None
        self.is_asked = threading.Event()

    def is_blocked(self, did: str, cid: str) -> bool:
        self.asked.append((did, cid))
        answer = self.answer
        self.is_asked.set()
        if self.gate is not None:
            assert self.gate.wait(10)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def policy(database: Database, clock: Clock) -> CachedPolicy:
    return CachedPolicy(database, 60, max_entries=3, clock=clock)


@pytest.mark.parametrize("answer", [True, False])
def test_an_answer_is_believed_for_its_time(
    policy: CachedPolicy, database: Database, clock: Clock, answer: bool
) -> None:
    database.answer = answer
    assert [policy.is_blocked(DID, CID) for _ in range(3)] == [answer] * 3
    assert len(database.asked) == 1
    clock.now += 60.1
    database.answer = not answer
    assert policy.is_blocked(DID, CID) is not answer
    assert len(database.asked) == 2


def test_a_refusal_with_a_reason_is_remembered_with_it(policy: CachedPolicy, database: Database) -> None:
    database.answer = BlobBlockedError("court order", reason="court order", status=451)
    raised = []
    for _ in range(2):
        with pytest.raises(BlobBlockedError) as caught:
            policy.is_blocked(DID, CID)
        raised.append(caught.value)
        assert (caught.value.reason, caught.value.status) == ("court order", 451)
    assert raised[0] is not raised[1], "each caller has an exception of its own"
    assert len(database.asked) == 1


@pytest.mark.parametrize("answer", [ConnectionError("away"), None, 1])
def test_what_is_no_answer_is_asked_for_again(policy: CachedPolicy, database: Database, answer: Any) -> None:
    database.answer = answer
    with fake_service(policy=policy) as images:
        for _ in range(2):
            with pytest.raises(PolicyError):
                images.get_image("avatar", DID, CID)
    assert len(database.asked) == 2


@pytest.mark.parametrize(
    ("forgotten", "asked"),
    [
        ((DID, CID), {(DID, CID)}),
        ((DID,), {(DID, CID), (DID, OTHER_CID)}),
        ((), {(DID, CID), (DID, OTHER_CID), (OTHER_DID, CID)}),
    ],
)
def test_what_is_forgotten_is_asked_for_afresh(
    policy: CachedPolicy, database: Database, forgotten: Any, asked: set[tuple[str, str]]
) -> None:
    blobs = [(DID, CID), (DID, OTHER_CID), (OTHER_DID, CID)]
    for blob in blobs:
        policy.is_blocked(*blob)
    database.asked.clear()
    policy.forget(*forgotten)
    for blob in blobs:
        policy.is_blocked(*blob)
    assert set(database.asked) == asked


def test_an_answer_from_before_a_takedown_is_not_kept(policy: CachedPolicy, database: Database) -> None:
    database.gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(policy.is_blocked, DID, CID)
        assert database.is_asked.wait(10)
        database.answer = True
        policy.forget(DID)
        database.gate.set()
        assert early.result(10) is False
    assert policy.is_blocked(DID, CID) is True


def test_the_answers_least_recently_used_go(policy: CachedPolicy, database: Database) -> None:
    for number in range(3):
        policy.is_blocked(DID, f"{number}")
    policy.is_blocked(DID, "0")
    policy.is_blocked(DID, "3")
    database.asked.clear()
    for number in (0, 2, 3):
        policy.is_blocked(DID, f"{number}")
    assert not database.asked
    policy.is_blocked(DID, "1")
    assert database.asked == [(DID, "1")]


@pytest.mark.parametrize(
    ("options", "option"), [({"ttl_seconds": 0}, "ttl_seconds"), ({"ttl_seconds": 1, "max_entries": 0}, "max_entries")]
)
def test_an_option_that_cannot_be_meant_is_named(options: Any, option: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CachedPolicy(Database(), **options)
    assert caught.value.option == option
