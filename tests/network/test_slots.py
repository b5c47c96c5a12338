"""So many at once and no more, in the order of arrival."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from imageproxy._deadline import Deadline
from imageproxy._slots import Slots


def test_only_so_many_are_given_for_each_key() -> None:
    slots = Slots(2)
    assert all(slots.take(key, Deadline(60)) for key in "aabb")
    assert not slots.take("a", Deadline(0.01))
    slots.give_back("a")
    assert slots.take("a", Deadline(0.01))
    assert not slots.take("b", Deadline(0))


def test_key_that_nobody_uses_takes_no_memory() -> None:
    slots = Slots(1)
    for key in range(1000):
        assert slots.take(key, Deadline(60))
        assert not slots.take(key, Deadline(0))
        assert len(slots) == 1
        slots.give_back(key)
    assert len(slots) == 0


def test_slot_goes_to_the_one_that_waited_longest(run: Any, until: Any) -> None:
    slots = Slots(1)
    assert slots.take("a", Deadline(60))
    order: list[int] = []

    def work(number: int) -> None:
        assert slots.take("a", Deadline(60))
        order.append(number)
        slots.give_back("a")

    for number in range(5):
        run(lambda number=number: work(number))
        until(lambda number=number: len(slots._lines["a"].waiting) == number + 1)
    slots.give_back("a")
    until(lambda: len(slots) == 0)
    assert order == [0, 1, 2, 3, 4]


def test_one_that_left_is_passed_over(run: Any, until: Any) -> None:
    slots = Slots(1)
    assert slots.take("a", Deadline(60))
    closed = Deadline(60)
    leaves, stays = run(lambda: slots.take("a", closed)), None
    until(lambda: slots._lines["a"].waiting)
    stays = run(lambda: slots.take("a", Deadline(60)))
    until(lambda: len(slots._lines["a"].waiting) == 2)
    closed.close()
    assert leaves.outcome() is False
    slots.give_back("a")
    assert stays.outcome() is True
    slots.give_back("a")
    assert len(slots) == 0


@pytest.mark.parametrize("end", ["over", "interrupted"])
def test_slot_given_to_one_that_cannot_use_it_is_handed_on(end: str, monkeypatch: Any) -> None:
    """Its turn came in the same moment as its end, or as a KeyboardInterrupt."""
    slots = Slots(1)
    assert slots.take("a", Deadline(60))
    deadline = Deadline(60)

    def wait(turn: threading.Event) -> None:
        slots.give_back("a")
        assert turn.is_set()
        deadline.close()
        if end == "interrupted":
            raise KeyboardInterrupt

    monkeypatch.setattr(deadline, "wait", wait)
    if end == "interrupted":
        with pytest.raises(KeyboardInterrupt):
            slots.take("a", deadline)
    else:
        assert not slots.take("a", deadline)
    assert len(slots) == 0
