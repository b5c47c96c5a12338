"""The circuit breaker, and warnings that are told now and then."""

import logging

from imageproxy._breaker import Breaker
from imageproxy._seldom import Seldom


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def fail(breaker: Breaker) -> bool:
    ticket = breaker.enter()
    assert ticket is not None
    return breaker.failed(ticket)


def succeed(breaker: Breaker) -> bool:
    ticket = breaker.enter()
    assert ticket is not None
    return breaker.succeeded(ticket)


def test_it_gives_up_after_enough_failures_in_a_row() -> None:
    breaker = Breaker(Clock(), patience=2)
    assert fail(breaker), "the first in a row"
    assert not breaker.is_failing
    assert not fail(breaker)
    assert breaker.is_failing
    assert breaker.enter() is None


def test_a_success_in_between_begins_a_new_row() -> None:
    breaker = Breaker(Clock(), patience=2)
    fail(breaker)
    assert succeed(breaker)
    assert not succeed(breaker), "there was nothing to recover from"
    assert fail(breaker)
    assert not breaker.is_failing


def test_the_pauses_grow_up_to_a_minute_and_begin_short_again() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    fail(breaker)
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        clock.now += pause - 0.1
        assert breaker.enter() is None
        clock.now += 0.2
        assert not fail(breaker)
    clock.now += 61
    assert succeed(breaker)
    fail(breaker)
    clock.now += 1.1
    assert breaker.enter() is not None


def test_while_one_call_probes_the_others_go_on_without() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    first = breaker.enter()
    assert first is not None
    assert breaker.failed(first)
    assert breaker.enter() is None
    clock.now += 1
    probe = breaker.enter()
    assert probe is not None
    clock.now += 30
    assert breaker.enter() is None
    clock.now += 30
    assert breaker.enter() is not None  # the probe is lost; another one
    assert not breaker.succeeded(probe)
    assert breaker.is_failing


def test_calls_that_began_in_good_times_and_fail_late_count_once() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    tickets = [breaker.enter() for _ in range(50)]
    assert [breaker.failed(ticket) for ticket in tickets if ticket is not None] == [True] + [False] * 49
    clock.now += 1
    probe = breaker.enter()  # the pause was not doubled
    assert probe is not None
    assert breaker.succeeded(probe)
    assert not breaker.failed(probe)
    assert not breaker.succeeded(probe)
    assert not breaker.is_failing


def test_a_warning_comes_once_in_an_interval() -> None:
    clock = Clock()
    seldom = Seldom(60, clock=clock)
    assert [seldom.level, seldom.level] == [logging.WARNING, logging.DEBUG]
    clock.now += 61
    assert [seldom.level, seldom.level] == [logging.WARNING, logging.DEBUG]
