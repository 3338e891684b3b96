"""A break that a person accepted opens again: when its date passes, seen or not, or when its difference changes."""

from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from etl.controls.overdue import OverdueControl
from etl.controls.questions import ReconciledFeed
from etl.domain.reconciliation import BreakKind, Finding
from tests.clocks import START
from tests.databases import rows, value
from tests.feeds import a_feed

STATUS = Finding(BreakKind.STATUS, "FXI1", "the vendor says Cancelled", trade_id="FXI1")
POSITION = Finding(
    BreakKind.POSITION, "ORG pfOrg EUR/USD 2024-03-20", "the vendor's position differs", ours=Decimal(0),
    theirs=Decimal(5), difference=Decimal(5), currency="EUR", symbol="EUR/USD",
)  # fmt: skip
UNTIL = "2024-03-15T12:00Z"
TOLD = "SELECT sum(count) FROM stp.alert WHERE topic LIKE 'break.opened/%'"


@pytest.fixture
def look(desk, clock):
    """Look at what is overdue, as the daemon does every few seconds; return the breaks that changed."""
    feed = ReconciledFeed(desk.feed.feed_id, desk.feed.name, ("pfOrg",))
    return OverdueControl(feed, desk.open_work, clock, stale_after_s=3600.0).look


@pytest.fixture
def accept(desk, stp_etl, monkeypatch):
    """Find differences, and accept their breaks until a date; return their numbers."""
    monkeypatch.setattr("etl.clock.SystemClock.now", lambda _: START)

    def accepted(*findings, until=UNTIL):
        numbers = [str(found(desk, each).id) for each in findings]
        done = stp_etl("breaks", "accept", *numbers, "--until", until, "--ticket", "V-12", "--reason", "known there")
        assert done.code == 0, done.err
        return [int(each) for each in numbers]

    return accepted


def found(desk, finding):
    with desk.open_work() as work:
        noted = work.breaks.found(desk.feed.feed_id, finding, at=desk.clock.now(), run_id=None)
        work.commit()
    return noted


def states(desk):
    return rows(desk.database, "SELECT kind, state, reopened FROM stp.recon_break ORDER BY id")


def until(clock, instant):
    clock.advance((datetime.fromisoformat(instant) - clock.now()).total_seconds())


def test_an_accepted_break_opens_again_at_its_date_though_no_run_sees_it(desk, clock, look, accept):
    (number,) = accept(STATUS)
    until(clock, "2024-03-15T11:59:59Z")
    before = (look(), states(desk))
    clock.advance(1)

    changed = look()

    assert before == ([], [("status", "accepted", 0)])
    assert (changed, states(desk)) == ([number], [("status", "open", 1)])
    assert look() == []


def test_what_was_accepted_and_why_stays_in_the_events_and_people_are_told_again(desk, clock, look, accept):
    accept(STATUS)
    told = value(desk.database, TOLD)
    clock.advance(timedelta(days=3).total_seconds())

    look()

    events = rows(desk.database, "SELECT deed, by, note FROM stp.break_event ORDER BY id")
    assert [each[:2] for each in events] == [("opened", "stp-etl"), ("accepted", "olga"), ("reopened", "stp-etl")]
    assert events[-1][2] == "it was accepted until 2024-03-15 12:00Z, ticket V-12: known there"
    assert (told, value(desk.database, TOLD)) == (1, 2)
    shown = rows(desk.database, "SELECT accepted_until, reason, reopened_at, vendor_ticket FROM stp.recon_break")
    assert shown == [(None, None, clock.now(), "V-12")]


def test_only_those_whose_date_has_passed_open_again(desk, clock, look, accept):
    accept(STATUS)
    accept(POSITION, until="2024-04-01T12:00Z")
    clock.advance(timedelta(days=3).total_seconds())

    assert len(look()) == 1

    assert states(desk) == [("status", "open", 1), ("position", "accepted", 0)]


def test_a_break_of_another_feed_or_one_that_is_over_stays_as_it_is(desk, clock, look, accept, stp_etl):
    numbers = accept(STATUS, POSITION)
    assert stp_etl("breaks", "resolve", str(numbers[0]), "--reason", "done").code == 0
    other = a_feed(desk.open_work, "other")
    with desk.open_work() as work:
        work.breaks.change(numbers[1], feed_id=other.feed_id)
        work.commit()
    clock.advance(timedelta(days=3).total_seconds())

    assert look() == []
    assert states(desk) == [("status", "resolved", 0), ("position", "accepted", 0)]


def test_the_same_difference_stays_accepted_and_another_one_opens_it_again(desk, clock, accept):
    accept(POSITION)
    clock.advance(60)
    moved = msgspec.structs.replace(POSITION, ours=Decimal(2), theirs=Decimal(7))
    larger = msgspec.structs.replace(POSITION, theirs=Decimal(6), difference=Decimal(6))

    changes = [found(desk, each).change for each in (POSITION, moved, larger)]

    assert changes == ["same", "changed", "reopened"]
    assert states(desk) == [("position", "open", 1)]
