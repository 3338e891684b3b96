"""`stp-etl status`, `feeds`, `incidents`, `audit`: how things stand, and what persons did about it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from etl.clock import SystemClock
from etl.store.leases import Lease, holder
from etl.store.repositories.polls import Ending
from tests.builders import a_raw_message
from tests.databases import change, rows, value
from tests.feeds import a_feed, an_open_poll


@pytest.fixture
def just_now() -> datetime:
    return SystemClock().now()


@pytest.fixture
def polled(open_work, just_now):
    """A feed whose queue was proven empty just now."""
    feed = a_feed(open_work, at=just_now)
    end_poll(open_work, feed, Ending("empty", "empty", status=204), just_now)
    return feed


def end_poll(open_work, feed, ending, at):
    poll = an_open_poll(open_work, feed, at=at)
    with open_work() as work:
        work.polls.close(poll, ending, at)
        work.commit()
    return poll


def test_all_is_well(polled, stp_etl):
    shown = stp_etl.process("status")

    assert (shown.code, shown.err) == (0, "")
    assert "main" in shown.out


def test_a_poll_in_doubt_needs_a_hand(polled, open_work, stp_etl, just_now):
    ending = Ending("in_doubt", "timeout", "no answer within 30 s")
    poll = end_poll(open_work, polled, ending, just_now)

    shown = stp_etl("status", "--format", "json")

    assert shown.code == 3
    (doubt,) = shown.json["polls_in_doubt"]
    assert (doubt["poll_id"], doubt["request_id"], doubt["cause"]) == (poll.poll_id, poll.request_id, "timeout")
    assert shown.json["feeds"][0]["state"] == "in_doubt"
    assert "feed main: 1 poll in doubt" in shown.err
    table = stp_etl("status")
    assert "Polls in doubt: trades may have been handed out and lost" in table.out
    assert poll.request_id in table.out


@pytest.fixture
def leader(polled, open_work, database):
    """The leadership of the feed, in the database that it is pulled into; whoever took it over before is gone."""
    with open_work() as work:
        work.incarnations.adopt(polled.feed_id, work.incarnations.here())
        work.commit()
    lease = Lease(database, SystemClock(), polled.feed_id, polled.identity.lock_key)
    yield lease
    lease.leave()


def test_a_feed_polls_as_long_as_its_leader_holds_the_lock(leader, stp_etl):
    assert leader.take()
    led = stp_etl("status", "--format", "json")
    leader.leave()
    stopped = stp_etl("status", "--format", "json")

    assert (led.code, led.err, led.json["feeds"][0]["state"]) == (0, "", "polling")
    assert led.json["feeds"][0]["leader"] == holder()
    assert (stopped.code, stopped.json["feeds"][0]["state"], stopped.json["feeds"][0]["leader"]) == (3, "stopped", None)
    assert "feed main: stopped, last polled " in stopped.err
    assert stopped.err.endswith("; trades wait in the vendor's queue; start the daemon: stp-etl run\n")


def test_a_leader_that_is_gone_without_a_word_leads_no_more_and_is_named(leader, stp_etl, database):
    leader.take()
    change(database, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")

    gone = stp_etl("status", "--format", "json")

    (row,) = gone.json["feeds"]
    assert (gone.code, row["state"], row["leader"], row["open_poll_since"]) == (3, "stopped", None, None)
    assert gone.err.startswith(f"feed main: {holder()} led it since ")
    assert gone.err.endswith(" and is gone without a word; start the daemon: stp-etl run\n")


def test_a_poll_that_was_left_open_is_in_doubt_when_its_leader_is_gone(leader, polled, open_work, stp_etl, just_now):
    an_open_poll(open_work, polled, at=just_now)

    (row,) = (gone := stp_etl("status", "--format", "json")).json["feeds"]

    assert (gone.code, row["state"], row["in_doubt_polls"]) == (3, "in_doubt", 1)
    assert datetime.fromisoformat(row["open_poll_since"]) == just_now
    assert "feed main: test led it since " in gone.err
    assert "feed main: a poll was left open at " in gone.err
    assert "in doubt" not in gone.err


def test_the_ladder_is_incomplete_from_the_death_of_a_leader_that_left_a_poll_open(booking, open_work, just_now):
    def complete():
        return value(booking.database, "SELECT bool_and(complete) FROM reporting.cash_ladder")

    feed = booking.feed
    with open_work() as work:
        work.incarnations.adopt(feed.feed_id, work.incarnations.here())
        work.commit()
    lease = Lease(booking.database, SystemClock(), feed.feed_id, feed.identity.lock_key)
    booking.book(a_raw_message())
    idle = complete()
    lease.take()
    an_open_poll(open_work, replace(feed, epoch=lease.epoch), at=just_now)
    under_way = complete()
    change(booking.database, "SELECT pg_terminate_backend(pid, 9000) FROM pg_locks WHERE locktype = 'advisory'")
    left_open = complete()
    lease.leave()

    assert (idle, under_way, left_open) == (True, True, False)


def test_readers_of_the_reports_see_whether_somebody_leads(leader, database):
    reads = (
        "GRANT USAGE ON SCHEMA reporting TO a_reader;"
        "GRANT SELECT ON reporting.feed_status, reporting.cash_ladder TO a_reader"
    )
    states = []
    with database.connect() as connection:
        for deed in (leader.leave, leader.take):
            deed()
            connection.execute(text(f"CREATE ROLE a_reader; {reads}; SET LOCAL ROLE a_reader"))
            states.append(connection.execute(text("SELECT state FROM reporting.feed_status")).scalar_one())
            assert connection.execute(text("SELECT count(*) FROM reporting.cash_ladder")).scalar_one() == 0
            connection.rollback()

    assert states == ["stopped", "polling"]


def test_open_breaks_need_a_hand_until_somebody_accepts_them(polled, open_work, stp_etl, database, just_now):
    with open_work() as work:
        work.attention.found(polled.feed_id, "status", "T1", comment="c", evidence={}, at=just_now)
        work.commit()

    found = stp_etl("status")
    change(database, "UPDATE stp.recon_break SET state = 'accepted'")

    assert (found.code, stp_etl("status").code) == (3, 0)
    assert found.err == "feed main: 1 open break that nobody accepted; see: stp-etl breaks list --feed main\n"


@pytest.mark.parametrize(
    ("why", "wanted_from", "do"),
    [
        (
            "the vendor refused the resend", None,
            "look: stp-etl gaps show 1; when the reason is gone: stp-etl resend --feed main --from {day} --to {day} "
            "--reason TEXT, then: stp-etl gaps close 1 --reason TEXT",
        ),
        (
            "31 days wait for approval: stp-etl gaps approve 1 --reason TEXT", "2026-01-01",
            "or close it: stp-etl gaps close 1 --reason TEXT",
        ),
    ],
    ids=["refused", "waits for approval"],
)  # fmt: skip
def test_an_escalated_gap_is_named_with_what_to_do(polled, stp_etl, database, just_now, why, wanted_from, do):
    change(
        database,
        "INSERT INTO stp.gap (feed_id, cause, from_date, to_date, opened_at, doubted_at, not_before, state, evidence,"
        " recovered, already_known, why, wanted_from) VALUES (:id, 'in_doubt', :day, :day, :at, :at, :at, 'escalated',"
        " '[]', 0, 0, :why, :wanted_from)",
        id=polled.feed_id, day=just_now.date(), at=just_now, why=why, wanted_from=wanted_from,
    )  # fmt: skip

    shown = stp_etl("status")

    assert shown.code == 3
    assert f"feed main: gap 1 is escalated: {why}; {do.format(day=just_now.date())}\n" in shown.err


def test_a_feed_that_was_not_polled_for_long_needs_a_hand(open_work, stp_etl, just_now):
    feed = a_feed(open_work, at=just_now)
    end_poll(open_work, feed, Ending("empty", "empty"), just_now - timedelta(minutes=3))

    shown = stp_etl("status")

    assert shown.code == 3
    assert "feed main: no good poll since" in shown.err


def test_a_feed_of_the_settings_that_was_never_polled_needs_a_hand(database, stp_etl):
    shown = stp_etl("status")

    assert shown.code == 3
    assert "feed main: never polled; start it: stp-etl run" in shown.err


def test_open_exception_items_need_a_hand(desk, stp_etl, just_now):
    desk.land(a_raw_message(side="Hold"))
    end_poll(desk.open_work, desk.feed, Ending("empty", "empty"), just_now)

    shown = stp_etl("status", "--feed", "main")

    assert shown.code == 3
    assert shown.err == "feed main: 1 open exception item; see: stp-etl exceptions list --feed main\n"


def test_booking_that_waits_for_a_person_needs_a_hand_until_it_is_resumed(polled, stp_etl, database, just_now):
    change(database, "UPDATE stp.booker SET drain_id = 1, held_at = :at, held_reason = '21 trades'", at=just_now)

    held = stp_etl("status")
    resumed = stp_etl("feeds", "resume", "main", "--reason", "the vendor confirmed")

    assert (held.code, resumed.code, stp_etl("status").code) == (3, 0, 0)
    assert "21 trades" in held.err
    assert rows(database, "SELECT released_drain_id, held_at FROM stp.booker") == [(1, None)]


def test_a_feed_is_paused_and_resumed_on_the_record(polled, stp_etl):
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()

    paused = stp_etl.process("feeds", "pause", "main", "--reason", "maintenance", "--until", until)
    (row,) = stp_etl("feeds", "list", "--format", "json").json
    resumed = stp_etl("feeds", "resume", "main", "--reason", "over")

    assert (paused.code, resumed.code) == (0, 0)
    assert (row["state"], row["paused_by"], row["paused_reason"]) == ("paused", "olga", "maintenance")
    assert stp_etl("feeds", "list", "--format", "json").json[0]["paused_at"] is None
    deeds = stp_etl.process("audit", "list", "--feed", "main", "--format", "json").json
    assert [(deed["operator"], deed["deed"], deed["reason"]) for deed in deeds] == [
        ("olga", "feeds resume", "over"), ("olga", "feeds pause", "maintenance"),
    ]  # fmt: skip
    assert stp_etl("audit", "list", "--operator", "otto", "--format", "json").json == []
    assert stp_etl("audit", "list", "--since", "2100-01-01T00:00Z", "--format", "json").json == []


def test_a_pause_that_lasts_longer_than_planned_needs_a_hand(polled, stp_etl, database, just_now):
    stp_etl("feeds", "pause", "main", "--reason", "maintenance")
    calm = stp_etl("status")
    change(database, "UPDATE stp.feed SET paused_until = :at", at=just_now - timedelta(seconds=1))

    overdue = stp_etl("status")

    assert (calm.code, overdue.code) == (0, 3)
    assert "feed main: paused longer than planned" in overdue.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["pause", "main"], 2),
        (["pause", "main", "--reason", "x", "--until", "2020-01-01T00:00Z"], 2),
        (["pause", "other", "--reason", "x"], 1),
        (["resume", "main", "--reason", "x"], 1),
    ],
)
def test_what_cannot_be_done_leaves_no_record(polled, stp_etl, database, words, code):
    assert stp_etl("feeds", *words).code == code
    assert rows(database, "SELECT * FROM stp.audit") == []


def test_an_incident_is_shown_with_the_full_exchange(polled, open_work, stp_etl, just_now):
    exchange = "GET /v2/trades/stp/messages HTTP/1.1\r\nX-Request-ID: abc\r\n\r\nHTTP/1.1 500\r\n\r\n{}\x1b[31m"
    values = {
        "poll_id": 7, "request_id": "abc", "occurred_at": just_now, "status": 500, "reason_code": "E1",
        "exchange": exchange,
    }  # fmt: skip
    with open_work() as work:
        number = work.attention.add_incident(polled.feed_id, values)
        work.commit()

    (row,) = stp_etl("incidents", "list", "--format", "json").json
    shown = stp_etl.process("incidents", "show", str(number))

    assert (row["incident_id"], row["request_id"], "exchange" in row) == (number, "abc", False)
    assert "GET /v2/trades/stp/messages HTTP/1.1\nX-Request-ID: abc\n\nHTTP/1.1 500\n\n{}\\u001b[31m\n" in shown.out
    assert stp_etl("incidents", "show", "99").code == 1
