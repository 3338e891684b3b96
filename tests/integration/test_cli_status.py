"""`stp-etl status`, `feeds`, `incidents`, `audit`: how things stand, and what persons did about it."""

from datetime import UTC, datetime, timedelta

import pytest

from etl.clock import SystemClock
from etl.store.repositories.polls import Ending
from tests.builders import a_raw_message
from tests.databases import change, rows
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
    assert "feed main: 1 polls in doubt" in shown.err
    table = stp_etl("status")
    assert "Polls in doubt: trades may have been handed out and lost" in table.out
    assert poll.request_id in table.out


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
    assert shown.err == "feed main: 1 open exception items; see: stp-etl exceptions list --feed main\n"


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
