"""Requests that the vendor executes after their senders gave them up: before, during and after the resend (A22)."""

import pytest

from etl.domain.sweeps import SweepTimes
from tests.clocks import FakeClock
from tests.scenarios.stage import GHOST_S, Stage
from tests.scenarios.steps import play

OFF = SweepTimes(daily=False)
HITS_S = 17.0
"""With this delay the ghost of `a_ghost_takes_what_was_lost` acts while the lost trades wait for our next request."""


@pytest.fixture
def staged(database):
    """Make a stage on which the queue was proven empty."""
    stages = []

    def make(**settings):
        stage = Stage(database, FakeClock(), times=OFF, **settings)
        stages.append(stage)
        stage.poll()
        return stage

    yield make
    for stage in stages:
        stage.close()


def played(stage, *lines):
    for line in lines:
        play(stage, line)


def lose_two(stage):
    played(stage, "2 trades are done", "the answer with trades meets close_after", "the queue is polled")


@pytest.mark.parametrize("seconds", [1, 10, 19])
def test_a_ghost_before_the_resend_takes_live_trades_and_they_come_back(staged, seconds):
    stage = staged()
    played(stage, "3 trades are booked", f"a ghost of the next request acts {seconds} seconds later")
    played(stage, "the queue is polled", f"{seconds - 1} seconds pass without us", "2 trades are done")
    played(stage, "1 second pass without us", "all has healed")

    assert stage.findings().lost == []
    assert stage.gaps("recovered") == [(2,)]


@pytest.mark.parametrize("seconds", [1, 5, 19])
def test_a_ghost_during_the_resend_takes_what_was_sent_again_and_it_is_asked_for_again(staged, seconds):
    stage = staged()
    played(stage, "3 trades are booked")
    lose_two(stage)
    played(stage, "the resend of 2024-03-13 is under way")
    played(stage, f"a ghost of the next request acts {seconds} seconds later", "the queue is polled", "all has healed")

    assert stage.findings().lost == []
    assert [state for (state,) in stage.gaps("state")] == ["healed", "healed"]


@pytest.mark.parametrize("seconds", [1, 10, 19])
def test_a_ghost_after_the_resend_takes_live_trades_and_they_come_back(staged, seconds):
    stage = staged()
    played(stage, "3 trades are booked")
    lose_two(stage)
    played(stage, "all has healed", f"a ghost of the next request acts {seconds} seconds later", "the queue is polled")
    played(stage, f"{seconds - 1} seconds pass without us", "2 trades are done", "1 second pass without us")
    played(stage, "all has healed")

    assert stage.findings().lost == []
    assert stage.findings().booked == 7


def test_a_leader_stopped_between_intent_and_request_sends_nothing_when_it_wakes_under_another(staged):
    stage = staged()
    played(stage, "2 trades are booked", "2 trades are done")
    asked = stage.vendor.asked
    ask, woken = stage.vendor.next_page, []

    def stopped(ticket, count):
        stage.take_over()
        stage.virtual.advance(60)
        woken.append(ask(ticket, count).cause)
        return ask(ticket, count)

    stage.vendor.next_page = stopped
    stage.poll()
    del stage.vendor.next_page

    assert woken == ["ticket_expired"]
    assert stage.vendor.asked == asked
    stage.restart()
    played(stage, "all has healed")
    assert stage.findings().lost == []
    assert stage.findings().booked == 4


def a_ghost_takes_what_was_lost(stage, seconds):
    """Two trades are lost, and the next request is executed late, by when they are in the queue again, or are not yet.

    The ghost takes a page of two: the trades that were lost, and none of those that we hold and would miss.
    """
    lose_two(stage)
    played(stage, f"a ghost of the next request acts {int(seconds)} seconds later", "the queue is polled")
    played(stage, "3 trades are booked", "all has healed")
    return len(stage.findings().lost)


def test_law_1_the_ghost_rule_keeps_what_would_be_lost_without_it(staged):
    """The same schedule twice; only the wait differs."""
    stage = staged(page_size=2)

    assert a_ghost_takes_what_was_lost(stage, HITS_S) == 0


def test_without_the_ghost_rule_trades_are_lost_in_the_same_schedule(staged):
    """No count shows it: all that we held came again."""
    stage = staged(page_size=2, ghost_s=0.0)

    assert a_ghost_takes_what_was_lost(stage, HITS_S) == 2
    assert {state for (state,) in stage.gaps("state")} == {"healed"}


def test_the_delay_is_one_that_the_rule_allows():
    assert HITS_S < GHOST_S
