"""Sweeps, widening and budgets where no story tells of them: what is written down, refused and said."""

from datetime import date, timedelta

import pytest

from etl.controls.widening import Widened, approve, widen
from etl.domain.sweeps import SweepState, SweepTimes
from etl.domain.window import Window
from etl.errors import FenceLostError, OperatorError
from tests.databases import change, rows, value
from tests.feeds import a_feed
from tests.scenarios.stage import Stage
from tests.scenarios.steps import close_of, play

CLOSED = "2024-03-13"


@pytest.fixture
def stage(database, clock):
    """A feed whose queue was proven empty, with sweeps switched on."""
    stage = Stage(database, clock)
    stage.poll()
    yield stage
    stage.close()


def played(stage, *lines):
    for line in lines:
        play(stage, line)


def test_the_proof_of_a_sweep_is_cited(stage):
    played(stage, "4 trades are booked", f"it is {CLOSED} 17:31 in New York", "all sweeps are over")

    with stage.open_work() as work:
        found = work.sweeps.sweep_of(stage.feed.feed_id, date.fromisoformat(CLOSED), close_of(CLOSED))

    assert (found.state, found.received, found.duplicates, found.absent) == (SweepState.EQUAL, 4, 4, 0)
    assert found.resend_ids == (1,)
    assert (found.proof_poll_id, found.proven_at) == tuple(
        rows(stage.database, "SELECT proof_poll_id, ended_at FROM stp.resend")[0]
    )


def test_a_sweep_that_is_closed_by_hand_proves_nothing(stage):
    played(stage, "4 trades are booked", f"it is {CLOSED} 17:31 in New York", "the operator closes gap 1")

    played(stage, f"the sweep of {CLOSED} is short")


def test_each_closed_day_is_swept_once_even_by_two_sweepers(stage):
    played(stage, "1 trade is booked", f"it is {CLOSED} 17:31 in New York", "all sweeps are over")
    stage.poller = stage.new_poller()  # as after a restart

    stage.sweeper.step()

    assert stage.gaps("cause, from_date::text") == [("sweep", CLOSED)]


def test_an_old_leader_opens_no_sweep(stage):
    stage.virtual.advance(12 * 3600)
    stage.take_over()

    with pytest.raises(FenceLostError):
        stage.sweeper.step()

    assert stage.gaps() == []


def test_switched_off_nothing_is_swept(database, clock):
    stage = Stage(database, clock, times=SweepTimes(daily=False))
    played(stage, "1 trade is booked", f"it is {CLOSED} 18:31 in New York", "1 day passes")

    assert stage.gaps() == []
    stage.close()


@pytest.fixture
def unswept(database, clock):
    """A feed with two booked trades, on which nothing is swept by itself."""
    stage = Stage(database, clock, times=SweepTimes(daily=False))
    stage.poll()
    played(stage, "2 trades are booked")
    yield stage
    stage.close()


def test_a_day_asked_for_by_hand_after_its_close_and_healed_is_as_good_as_swept(unswept):
    played(unswept, f"it is {CLOSED} 17:31 in New York", f"the sweep of {CLOSED} is none")

    played(unswept, f"the operator asks for {CLOSED} again", f"the sweep of {CLOSED} is running", "all has healed")

    played(unswept, f"the sweep of {CLOSED} is equal")
    with unswept.open_work() as work:
        found = work.sweeps.sweep_of(unswept.feed.feed_id, date.fromisoformat(CLOSED), close_of(CLOSED))
    assert (found.gap_ids, found.received, found.proof_poll_id is not None) == ((1,), 2, True)


def test_a_day_asked_for_by_hand_before_its_close_is_not_swept(unswept):
    played(unswept, f"the operator asks for {CLOSED} again", "all has healed", f"it is {CLOSED} 17:31 in New York")

    played(unswept, f"the sweep of {CLOSED} is none")


def test_another_day_asked_for_by_hand_says_nothing(unswept):
    played(unswept, f"it is {CLOSED} 17:31 in New York", "the operator asks for 2024-03-12 again", "all has healed")

    played(unswept, f"the sweep of {CLOSED} is none")


def test_what_a_person_asked_for_and_closed_says_nothing(unswept):
    played(unswept, f"it is {CLOSED} 17:31 in New York", f"the operator asks for {CLOSED} again")
    played(unswept, "the operator closes gap 1")

    played(unswept, f"the sweep of {CLOSED} is none")


def test_a_sweep_that_ended_badly_needs_a_resend_by_hand_of_after_it(stage):
    played(stage, "2 trades are booked", f"it is {CLOSED} 17:01 in New York", f"the operator asks for {CLOSED} again")
    played(stage, "all has healed", f"it is {CLOSED} 17:31 in New York", "the operator closes gap 2")
    played(stage, f"the sweep of {CLOSED} is short")

    played(stage, f"the operator asks for {CLOSED} again", "all has healed")

    played(stage, f"the sweep of {CLOSED} is equal")


def test_a_sweep_of_the_history_leaves_half_of_the_budget(stage):
    stage.healed_feed["budget_per_day"] = 4
    stage.poller = stage.new_poller()
    played(stage, "2 trades are booked", "the next answer meets close_before", "the queue is polled")
    change(stage.database, "UPDATE stp.gap SET state = 'closed'")

    played(stage, f"it is {CLOSED} 18:31 in New York", *["30 seconds pass"] * 20)

    ((spent, why),) = rows(
        stage.database,
        "SELECT (SELECT sum(tries) FROM stp.resend r WHERE r.gap_id = g.id), why FROM stp.gap g"
        " WHERE cause = 'history_sweep'",
    )
    daily = value(stage.database, "SELECT sum(tries) FROM stp.resend JOIN stp.gap g ON g.id = gap_id"
                  " WHERE cause = 'sweep'")  # fmt: skip
    assert "the budget of 2 resends" in why
    assert spent + daily == 2


def test_asking_again_after_no_answer_is_part_of_the_budget(stage):
    stage.healed_feed["budget_per_day"] = 3
    stage.poller = stage.new_poller()
    played(stage, "2 trades are booked", "the next answer meets close_before", "the queue is polled")
    played(stage, "the next 20 resends meet 503_before", *["1 minute passes"] * 30)

    asked = len(stage.vendor.resends)
    played(stage, "gap 1 is resending", 'gap 1 says "the budget of 3 resends a day is used up"')
    assert asked == 3
    stage.vendor.world.plan.clear()
    played(stage, "1 day passes", "1 hour passes", "1 minute passes")
    assert len(stage.vendor.resends) > asked


def test_a_known_status_opens_no_break_again(stage):
    played(stage, "3 trades are booked", "the first trade is cancelled", f"it is {CLOSED} 17:31 in New York")
    played(stage, "all sweeps are over")
    change(stage.database, "UPDATE stp.recon_break SET state = 'accepted'")

    played(stage, f"the operator asks for {CLOSED} again", "all has healed")

    assert rows(stage.database, "SELECT state, reopened FROM stp.recon_break") == [("accepted", 0)]


def test_the_suspicion_of_a_second_consumer_is_told_once(stage):
    day = date.fromisoformat(CLOSED)
    for number in range(3):
        played(stage, f"it is {day + timedelta(number)} 10:00 in New York", "1 trade is done")
        played(stage, "somebody else takes 1 trade", f"it is {day + timedelta(number)} 17:31 in New York")
        played(stage, "all sweeps are over")

    found = rows(stage.database, "SELECT fields FROM stp.alert WHERE kind = 'second_consumer_suspected'")
    assert found == [({"sweeps": 2},)]
    assert stage.gaps("recovered") == [(1,)] * 3


@pytest.fixture
def healed_gap(stage):
    """A gap of one day that has healed."""
    played(stage, "2 trades are booked", f"the operator asks for {CLOSED} again", "all has healed")
    return stage


def widened(stage):
    with stage.open_work() as work:
        found = widen(work, 1, {"break": "EUR/USD"}, at=stage.clock.now())
        work.commit()
    return found


def approved(stage, number=1):
    with stage.open_work() as work:
        window = approve(work, number, feed="main", operator="olga", reason="br 17", at=stage.clock.now())
        work.commit()
    return window


def test_a_gap_is_widened_step_by_step_and_asked_twice_it_changes_nothing(healed_gap):
    first = [widened(healed_gap), widened(healed_gap)]
    played(healed_gap, "all has healed")
    second = [widened(healed_gap), widened(healed_gap)]
    window = approved(healed_gap)
    third = widened(healed_gap)
    played(healed_gap, "all has healed")

    assert third is Widened.UNDER_WAY
    assert first == [Widened.ASKING, Widened.UNDER_WAY]
    assert second == [Widened.WAITS, Widened.WAITS]
    assert (window.days, widened(healed_gap)) == (31, Widened.EXHAUSTED)
    assert window == Window.of(date(2024, 2, 12), date(2024, 3, 13))
    assert rows(healed_gap.database, "SELECT operator, deed, reason FROM stp.audit WHERE deed = 'gaps approve'") == [
        ("olga", "gaps approve", "br 17")
    ]
    assert healed_gap.gaps("state, why") == [(
        "healed",
        "every day from 2024-02-12 to 2024-03-13 came again in full: 7 resends complete, 0 trades recovered, "
        "6 known already",
    )]  # fmt: skip


def test_what_waits_for_no_approval_is_not_approved(healed_gap):
    with pytest.raises(OperatorError, match="waits for no approval"):
        approved(healed_gap)


@pytest.mark.parametrize("state", ["closed", "escalated"])
def test_a_gap_that_a_person_closed_or_has_to_look_at_is_not_widened(healed_gap, state):
    change(healed_gap.database, "UPDATE stp.gap SET state = :state", state=state)

    assert widened(healed_gap) is Widened.EXHAUSTED


def test_nobody_widens_a_gap_that_does_not_exist(stage):
    with pytest.raises(KeyError), stage.open_work() as work:
        widen(work, 77, {}, at=stage.clock.now())


def test_the_command_approves_on_the_record(open_work, stp_etl, database):
    feed = a_feed(open_work)
    with open_work() as work:
        change(
            database,
            "INSERT INTO stp.gap (feed_id, cause, from_date, to_date, opened_at, doubted_at, not_before, state,"
            " evidence, recovered, already_known, wanted_from) VALUES (:feed, 'position', '2024-03-07', '2024-03-13',"
            " now(), now(), now(), 'escalated', '[]', 0, 0, '2024-02-12')",
            feed=feed.feed_id,
        )
        del work

    refused = stp_etl("gaps", "approve", "1")
    done = stp_etl("gaps", "approve", "1", "--reason", "br 17")
    again = stp_etl("gaps", "approve", "1", "--reason", "br 17")

    assert refused.code != 0
    assert (done.code, "asks for 2024-02-12 to 2024-03-13" in done.err) == (0, True)
    assert (again.code, "waits for no approval" in again.err) == (1, True)
    assert rows(database, "SELECT state, from_date::text FROM reporting.gap") == [("open", "2024-02-12")]


def test_status_says_what_to_do_about_a_second_consumer(open_work, stp_etl, database):
    a_feed(open_work)
    change(database, "UPDATE stp.feed SET second_consumer_since = now()")

    shown = stp_etl("status")

    assert shown.code == 3
    assert "second_consumer_suspected" in shown.out
    assert "does somebody else use the download user" in shown.err
