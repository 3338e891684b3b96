"""From doubt to gap: in the same commit, with the window, once for doubts that follow each other."""

import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from etl import metrics
from etl.app import App
from etl.config import load
from etl.domain.fields import CANONICAL_NAMES
from etl.domain.gaps import GapState
from etl.errors import DatabaseAwayError, EtlError, FenceLostError
from etl.ops.gauges import GaugeJob
from etl.pipeline import doubt
from etl.schedule import HealJob, RequestJob
from etl.store.repositories.polls import Ending
from etl.vendor.feed import Cause
from tests.databases import change, rows, value
from tests.feeds import a_feed, an_open_poll
from tests.healing import MAINTENANCE, POISON, WINDOW, Healing
from tests.polling import interrupted
from tests.vendors import a_body, in_doubt, page_of

COVERED = "SELECT count(*) FROM stp.poll WHERE outcome = 'in_doubt' AND gap_id IS NOT NULL"
DOUBTS = "SELECT count(*) FROM stp.poll WHERE outcome = 'in_doubt'"


@pytest.fixture
def healing(database, clock):
    healing = Healing(database, clock=clock)
    yield healing
    healing.close()


def test_a_doubt_opens_its_gap(healing):
    healing.drain(in_doubt())

    assert healing.gaps("cause, state, from_date::text, to_date::text") == [("in_doubt", "open", *WINDOW)]
    ((evidence, why),) = healing.gaps("evidence, why")
    request_id = healing.vendor.asked[-1].request_id
    assert why.startswith(f"the request {request_id} was given up on and may still be executed until 2024-03-13T15:")
    assert (evidence[0]["max_count"], evidence[0]["from"], evidence[0]["to"]) == (50, *WINDOW)
    assert [each["cause"] for each in evidence] == ["timeout"]
    assert evidence[0]["request_id"] == healing.vendor.asked[-1].request_id
    assert value(healing.database, COVERED) == 1


def test_the_gap_opens_in_the_commit_that_marks_the_doubt(database, clock, open_work):
    """A commit that is undone leaves neither; there is no instant with one of them alone."""
    seen = []

    def look():
        seen.append((value(database, DOUBTS), value(database, "SELECT count(*) FROM stp.gap")))
        if len(seen) == 1:
            raise DatabaseAwayError("full disk")

    healing = Healing(database, clock=clock)
    healing.open_work = interrupted(open_work, look, skip=1, times=2)
    healing.poller = healing.new_poller()
    healing.drain(in_doubt())
    healing.close()

    assert seen == [(0, 0), (0, 0)]
    assert (value(database, DOUBTS), len(healing.gaps())) == (1, 1)


def test_doubts_that_follow_each_other_are_one_gap(healing):
    for cause in (Cause.TIMEOUT, Cause.RESET, Cause.HTTP_503):
        healing.drain(in_doubt(cause))
        healing.rest()

    ((window, evidence),) = [(row[:2], row[2]) for row in healing.gaps("from_date::text, to_date::text, evidence")]
    assert window == WINDOW
    assert [each["cause"] for each in evidence] == ["timeout", "reset", "http_503"]
    assert value(healing.database, COVERED) == 3


def test_the_first_doubt_ever_reaches_back_over_the_history(database, clock):
    healing = Healing(database, clock=clock, emptied=False)
    healing.drain(in_doubt())
    healing.close()

    assert healing.gaps() == [("2024-02-10", "2024-03-17")]


def test_old_trades_that_landed_in_the_same_drain_widen_the_gap(healing):
    healing.vendor.deal("OLD", day="2024-03-01")
    page = page_of(*healing.vendor.hand_out(1))
    healing.clock.advance(1)
    healing.drain(page, in_doubt())
    before = healing.gaps()

    healing.turn_until(lambda: healing.vendor.resends)

    assert (before, healing.gaps()) == ([WINDOW], [("2024-02-29", "2024-03-17")])
    assert healing.vendor.resends == [("2024-02-29", "2024-02-29")]


def test_the_vendors_clock_counts_where_ours_is_slow(healing):
    healing.vendor.deal("A")
    page = page_of(*healing.vendor.hand_out(1))
    late = healing.clock.now().replace(day=16)
    healing.drain(msgspec.structs.replace(page, vendor_date=late), in_doubt())

    assert healing.gaps() == [("2024-03-12", "2024-03-20")]


def test_a_doubt_while_a_resend_is_under_way_covers_the_days_asked_for_too(healing):
    healing.lose("A", day="2024-03-13")
    healing.turn_until(lambda: healing.state() == "resending")
    change(healing.database, "UPDATE stp.resend SET from_date = '2024-02-01', to_date = '2024-02-01'")

    healing.drain(in_doubt())

    assert healing.gaps() == [WINDOW, ("2024-01-31", "2024-03-17")]


def test_a_drain_that_breaks_off_opens_its_gap_with_the_next_poll(healing):
    healing.drain_until_killed()

    healing.drain()

    assert healing.ledger()[1] == ("in_doubt", "killed")
    assert healing.gaps() == [WINDOW]


def test_an_answer_that_nobody_can_read_twice_waits_for_a_person(healing):
    healing.turn(1, a_body(POISON))
    first = healing.state()
    healing.turn_until(lambda: healing.resends() != [])

    healing.turn(1, a_body(POISON))

    assert first in ("open", "waiting")
    assert [state for (state,) in healing.gaps("state")] == ["escalated", "escalated"]
    assert "same unreadable bytes" in healing.why(2)
    asked = len(healing.vendor.resends)
    for _ in range(30):
        healing.turn()
    assert len(healing.vendor.resends) == asked


def test_the_page_of_an_error_that_comes_twice_is_no_poison(healing):
    """It stands where messages should be, and holds none: another resend may well bring them."""
    healing.turn(1, a_body(MAINTENANCE))
    healing.turn_until(lambda: healing.resends() != [])

    healing.turn(1, a_body(MAINTENANCE))

    assert "escalated" not in [state for (state,) in healing.gaps("state")]
    healing.heal(1)


def test_the_same_unreadable_bytes_in_a_row_are_no_reason_to_give_up(healing):
    """A page of the vendor's maintenance, each minute the same; the gap heals, and a week later it says so again."""
    for _ in range(3):
        healing.turn(60, a_body(POISON))
    healing.heal()
    healing.turn(60, a_body(POISON))

    assert [state for (state,) in healing.gaps("state")] in (["healed", "open"], ["healed", "waiting"])


@pytest.fixture
def app(database_url, tmp_path):
    file = tmp_path / "stp-etl.toml"
    file.write_text(
        f'[database]\nurl = "{database_url}"\n[feeds.main]\nbase_url = "https://vendor.test"\norg = "pfOrg"\n'
        'user = "mainUser"\npassword = "x"\n'
    )
    with App(load(file, {}, field_names=CANONICAL_NAMES)) as app:
        yield app


def test_a_new_leader_covers_what_the_one_before_left_open(app, open_work, database, clock, monkeypatch):
    feed = a_feed(open_work)
    killed = an_open_poll(open_work, feed)
    monkeypatch.setattr(doubt, "log", structlog.get_logger())  # one that was used under other settings keeps those

    with capture_logs() as said:
        assert app.feed("main").lead()

    assert rows(database, "SELECT id, outcome, cause, gap_id FROM stp.poll") == [
        (killed.poll_id, "in_doubt", "killed", 1)
    ]
    assert rows(database, "SELECT cause, state FROM stp.gap") == [("in_doubt", "open")]
    (line,) = [each for each in said if each["event"] == "poll.in_doubt"]
    assert (line["cause"], line["request_id"], line["doubt_from"]) == (
        "killed", killed.request_id, killed.doubt_from.isoformat(),
    )  # fmt: skip


def test_a_leader_whose_epoch_is_over_although_the_lock_is_its_own_leads_anew(app, database):
    """The job that serves finds out within a second, also while the feed is paused and nothing is drained."""
    feed = app.feed("main")
    assert feed.lead()
    serve = RequestJob(app, feed, {})
    change(database, "UPDATE stp.lease SET epoch = epoch + 1")

    with pytest.raises(FenceLostError):
        serve()
    assert not feed.leads
    assert feed.lead()

    assert serve() == {"requests_done": 0, "requests_failed": 0}


def test_who_led_anew_while_an_answer_was_out_keeps_the_new_lease(app, database):
    feed = app.feed("main")
    assert feed.lead()

    def led_anew_meanwhile():
        with feed.fenced():
            feed.lease.leave()
            assert feed.lead()
            raise FenceLostError("epoch 1 is over")

    with pytest.raises(FenceLostError):
        led_anew_meanwhile()

    assert feed.leads
    assert value(database, "SELECT epoch FROM stp.lease") == 2


def test_a_new_leader_covers_older_doubts_without_a_gap_by_one(app, open_work, database):
    """As an earlier release of this program left them."""
    feed = a_feed(open_work)
    for _ in range(2):
        poll = an_open_poll(open_work, feed)
        with open_work() as work:
            work.polls.close(poll, Ending("in_doubt", "timeout"), poll.opened_at)
            work.commit()

    app.feed("main").lead()
    app.feed("main").lead()

    assert value(database, "SELECT count(*) FROM stp.gap") == 1
    assert value(database, COVERED) == 2


def test_a_leader_that_could_not_cover_the_doubts_tries_again_before_it_leads(app, open_work, database):
    an_open_poll(open_work, a_feed(open_work))
    feed = app.feed("main")
    change(database, "ALTER TABLE stp.gap RENAME TO hidden")
    with pytest.raises(Exception, match="gap"):
        feed.lead()
    leads = feed.leads
    change(database, "ALTER TABLE stp.hidden RENAME TO gap")

    assert feed.lead()

    assert (leads, feed.leads) == (False, True)
    assert value(database, COVERED) == 1


def test_a_gauge_tells_how_many_gaps_are_in_each_state(app, open_work, database):
    an_open_poll(open_work, a_feed(open_work))
    feed = app.feed("main")
    HealJob(feed)()
    not_led = value(database, "SELECT count(*) FROM stp.gap")
    feed.lead()

    HealJob(feed)()
    GaugeJob(open_work, lambda: {"main": True}, lambda: True, lambda _: 0.0)()

    states = ("open", "waiting", "resending", "escalated")
    gauge = [
        metrics.REGISTRY.get_sample_value("stp_etl_gaps", {"feed": "main", "state": state}) or 0 for state in states
    ]
    assert (not_led, gauge) == (0, [0, 1, 0, 0])


def test_healing_that_failed_is_not_well_again_only_because_the_lead_is_lost_too(app, database):
    """Else it would say that it has recovered while the database is still away."""
    feed = app.feed("main")
    assert feed.lead()
    heal = HealJob(feed)
    change(database, "ALTER TABLE stp.feed RENAME TO hidden")
    with pytest.raises(EtlError):
        heal()
    feed.lease.leave()
    with pytest.raises(EtlError):
        heal()
    change(database, "ALTER TABLE stp.hidden RENAME TO feed")

    assert heal() == {}


def test_an_old_leader_opens_no_gap(healing):
    def overtaken(ticket, count):
        healing.take_over()
        return in_doubt()

    healing.drain(overtaken)

    assert healing.gaps() == []
    assert value(healing.database, "SELECT outcome FROM stp.current_poll") is None


def test_the_ladder_and_the_status_say_that_trades_may_be_missing(healing):
    def told():
        ((gaps, state),) = rows(healing.database, "SELECT open_gaps, state FROM reporting.feed_status")
        return value(healing.database, "SELECT bool_and(complete) FROM reporting.cash_ladder"), gaps, state

    healing.vendor.deal("A")
    healing.turn()
    whole = told()
    healing.drain(in_doubt())
    said = []
    for state in GapState:
        change(healing.database, "UPDATE stp.gap SET state = :state", state=state)
        said.append((state, *told()))

    assert whole == (True, 0, "polling")
    assert said == [
        ("open", False, 1, "healing"), ("waiting", False, 1, "healing"), ("resending", False, 1, "healing"),
        ("healed", True, 0, "polling"), ("escalated", False, 1, "gap_escalated"), ("closed", True, 0, "polling"),
    ]  # fmt: skip
