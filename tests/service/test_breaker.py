"""The circuit breaker, and warnings that are told now and then."""

import logging

from imageproxy._breaker import Breaker
from imageproxy._seldom import Seldom


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_after_enough_failures_in_a_row() -> None:
    breaker = Breaker(patience=2, clock=Clock())
    assert breaker.failed(), "the first in a row"
    assert breaker.allows()
    assert not breaker.failed()
    assert not breaker.allows()


def test_a_success_in_between_begins_a_new_row() -> None:
    breaker = Breaker(patience=2, clock=Clock())
    breaker.failed()
    assert breaker.succeeded()
    assert not breaker.succeeded(), "there was nothing to recover from"
    assert breaker.failed()
    assert breaker.allows()


def test_one_attempt_is_allowed_when_the_pause_is_over_and_the_pauses_grow() -> None:
    clock = Clock()
    breaker = Breaker(first_seconds=1.0, longest_seconds=3.0, clock=clock)
    breaker.failed()
    for pause in (1.0, 2.0, 3.0, 3.0):
        clock.now += pause - 0.1
        assert not breaker.allows()
        clock.now += 0.2
        assert breaker.allows()
        assert not breaker.allows(), "one at a time"
        breaker.failed()


def test_an_attempt_that_never_tells_does_not_keep_it_open_for_ever() -> None:
    clock = Clock()
    breaker = Breaker(first_seconds=1.0, clock=clock)
    breaker.failed()
    clock.now += 1.1
    assert breaker.allows()
    clock.now += 1.1
    assert breaker.allows()


def test_after_a_success_the_pauses_begin_short_again() -> None:
    clock = Clock()
    breaker = Breaker(first_seconds=1.0, clock=clock)
    for _ in range(4):
        breaker.failed()
    assert breaker.succeeded()
    assert breaker.allows()
    breaker.failed()
    clock.now += 1.1
    assert breaker.allows()


def test_a_warning_comes_once_in_an_interval() -> None:
    clock = Clock()
    seldom = Seldom(60, clock=clock)
    assert [seldom.level, seldom.level] == [logging.WARNING, logging.DEBUG]
    clock.now += 61
    assert [seldom.level, seldom.level] == [logging.WARNING, logging.DEBUG]
