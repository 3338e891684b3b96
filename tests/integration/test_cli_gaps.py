"""`stp-etl resend`, `gaps` and `resends`: what they say, what they refuse, and what they leave behind."""

from datetime import date, timedelta

import pytest

from etl.clock import SystemClock
from tests.builders import a_raw_message
from tests.databases import change, rows, value
from tests.feeds import a_feed

MARCH = ["--from", "2024-03-12", "--to", "2024-03-13"]
WHY = ["--reason", "br 17"]
LEDGER = ("gap", "resend", "audit")
LATE = "2024-03-20T12:00:00+00:00"


@pytest.fixture
def held(desk):
    """A feed that holds two trades of March, whose leader is somebody else."""
    days = {"tradeDate": "2024-03-13", "valueDate": "2024-03-15"}
    desk.land(a_raw_message(tradeId="A", **days), a_raw_message(tradeId="B", **days))
    return desk


@pytest.fixture
def led(held, database):
    """The same, with the lease taken, as by a daemon."""
    lock_key = value(database, "SELECT lock_key FROM stp.feed")
    with database.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({lock_key})")
        connection.commit()
        yield held


def written(database):
    return {table: value(database, f"SELECT count(*) FROM stp.{table}") for table in LEDGER}


def day_from_now(days):
    return (SystemClock().now().date() + timedelta(days=days)).isoformat()


def test_a_dry_run_says_what_would_come_again_and_asks_for_nothing(held, stp_etl, database):
    done = stp_etl.process("resend", *MARCH, *WHY, "--dry-run")

    assert (done.code, done.out) == (0, "")
    assert "2 booked trades of 2024-03-12 to 2024-03-13 would come again; nothing was asked" in done.err
    assert written(database) == {"gap": 0, "resend": 0, "audit": 0}


def test_a_dry_run_of_many_days_needs_no_yes(held, stp_etl):
    assert stp_etl("resend", "--from", "2024-03-01", "--to", "2024-03-31", *WHY, "--dry-run").code == 0


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--from", "2024-03-13", "--to", "2024-03-12", *WHY], 2, "--to 2024-03-12 is before --from 2024-03-13"),
        (["--from", day_from_now(5), "--to", day_from_now(5), *WHY], 2, "is in the future"),
        (["--from", "2024-03-01", "--to", "2024-03-31", *WHY], 2, "31 days make 2 booked trades come again; add --yes"),
        (["--from", "2020-03-01", "--to", "2024-03-31", *WHY, "--yes"], 2, "days are too many at once; at most 366"),
        (["--to", "2024-03-12", *WHY], 2, "Missing option '--from'"),
        (["--from", "2024-03-12", *WHY], 2, "Missing option '--to'"),
        (["--from", "13.3.2024", "--to", "2024-03-13", *WHY], 2, "is no day; write it as"),
        ([*MARCH], 2, "--reason"),
        ([*MARCH, "--reason", " "], 2, "say why"),
        ([*MARCH, *WHY, "--feed", "other"], 2, "other"),
    ],
)
def test_a_request_that_makes_no_sense_changes_nothing(held, stp_etl, database, words, code, sentence):
    done = stp_etl("resend", *words)

    assert (done.code, done.out) == (code, "")
    assert sentence in done.err
    assert written(database) == {"gap": 0, "resend": 0, "audit": 0}


def test_a_paused_feed_is_not_asked(held, stp_etl, database):
    stp_etl("feeds", "pause", "main", "--reason", "maintenance")

    done = stp_etl.process("resend", *MARCH, *WHY)

    assert done.code == 1
    assert "feed main is paused: maintenance; resume it first: stp-etl feeds resume main --reason TEXT" in done.err
    assert value(database, "SELECT count(*) FROM stp.gap") == 0


def test_where_a_daemon_leads_the_request_is_left_to_it(led, stp_etl, database):
    done = stp_etl.process("resend", *MARCH, *WHY)

    assert done.code == 0
    assert "gap 1 asks for 2024-03-12 to 2024-03-13, 2 trades held" in done.err
    assert "test leads the feed and does it; follow it with: stp-etl gaps show 1" in done.err
    assert rows(database, "SELECT cause, state, from_date, to_date FROM stp.gap") == [
        ("operator", "open", date(2024, 3, 12), date(2024, 3, 13))
    ]
    assert rows(database, "SELECT operator, deed, feed, subject, reason FROM reporting.audit") == [
        ("olga", "resend", "main", "gap 1", "br 17")
    ]


def test_many_days_are_asked_for_after_yes(led, stp_etl, database):
    assert stp_etl("resend", "--from", "2024-03-01", "--to", "2024-03-31", *WHY, "--yes").code == 0
    assert value(database, "SELECT count(*) FROM stp.gap") == 1


def test_the_same_request_id_is_one_request(led, stp_etl, database):
    first = stp_etl("resend", *MARCH, *WHY, "--request-id", "job-7")
    again = stp_etl.process("resend", *MARCH, *WHY, "--request-id", "job-7")
    other = stp_etl.process("resend", "--from", "2024-03-01", "--to", "2024-03-02", *WHY, "--request-id", "job-7")

    assert (first.code, again.code, other.code) == (0, 0, 1)
    assert "gap 1 asked before for" in again.err
    assert "request id job-7 was used before, for 2024-03-12 to 2024-03-13 (gap 1); choose another one" in other.err
    assert written(database) == {"gap": 1, "resend": 0, "audit": 1}


def test_a_request_without_an_id_follows_the_gap_that_is_open_over_its_days_and_is_kept(led, stp_etl, database):
    stp_etl("resend", *MARCH, *WHY)
    again = stp_etl.process("resend", *MARCH, "--reason", "br 18")

    assert again.code == 0
    assert (
        "gap 1 asked before for 2024-03-12 to 2024-03-13, 2 trades held; this call follows it and opens no" in again.err
    )
    assert written(database) == {"gap": 1, "resend": 0, "audit": 2}
    assert rows(database, "SELECT subject, reason FROM reporting.audit ORDER BY audit_id") == [
        ("gap 1", "br 17"), ("gap 1", "br 18"),
    ]  # fmt: skip


@pytest.mark.parametrize("state", ["healed", "escalated", "closed"])
def test_a_gap_that_is_not_asked_for_any_more_is_not_followed(led, stp_etl, database, state):
    stp_etl("resend", *MARCH, *WHY)
    change(database, "UPDATE stp.gap SET state = :state", state=state)

    stp_etl("resend", *MARCH, *WHY)

    assert value(database, "SELECT count(*) FROM stp.gap") == 2


def test_other_days_another_id_and_gaps_open_have_gaps_of_their_own(led, stp_etl, database):
    stp_etl("resend", *MARCH, *WHY)
    stp_etl("resend", "--from", "2024-03-12", "--to", "2024-03-12", *WHY)
    stp_etl("resend", *MARCH, *WHY, "--request-id", "job-7")
    stp_etl("gaps", "open", *MARCH, *WHY)

    assert value(database, "SELECT count(*) FROM stp.gap") == 4


def test_a_gap_is_opened_shown_and_closed_on_the_record(led, stp_etl, database):
    opened = stp_etl.process("gaps", "open", *MARCH, *WHY)
    (listed,) = stp_etl("gaps", "list", "--format", "json").json
    shown = stp_etl.process("gaps", "show", "1")
    closed = stp_etl.process("gaps", "close", "1", "--reason", "the vendor confirmed")
    again = stp_etl.process("gaps", "close", "1", "--reason", "once more")

    assert (opened.code, shown.code, closed.code, again.code) == (0, 0, 0, 1)
    assert "gap 1 is open; follow it with: stp-etl gaps show 1" in opened.err
    assert (listed["gap_id"], listed["cause"], listed["state"]) == (1, "operator", "open")
    assert "What made us doubt" in shown.out
    assert "olga asks for these days: br 17" in shown.out
    assert "What was asked, and what came back" in shown.out
    assert "gap 1 is closed since" in again.err
    assert rows(database, "SELECT state, closed_by, reason FROM reporting.gap") == [
        ("closed", "olga", "the vendor confirmed")
    ]
    deeds = "SELECT deed, reason FROM reporting.audit ORDER BY audit_id"
    assert rows(database, deeds) == [("gaps open", "br 17"), ("gaps close", "the vendor confirmed")]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["gaps", "close", "1"], 2, "--reason"),
        (["gaps", "close", "1", "--reason", ""], 2, "say why"),
        (["gaps", "close", "9", *WHY], 1, "there is no gap 9; see: stp-etl gaps list"),
        (["gaps", "show", "9"], 1, "there is no gap 9"),
        (["gaps", "list", "--state", "odd"], 2, "odd"),
        (["gaps", "open", "--from", "2024-03-13", "--to", "2024-03-12", *WHY], 2, "is before"),
        (["gaps", "open", *MARCH, "--reason", ""], 2, "say why"),
        (["resends", "show", "9"], 1, "there is no resend 9; see: stp-etl resends list"),
    ],
)
def test_what_cannot_be_done_with_a_gap_changes_nothing(led, stp_etl, database, words, code, sentence):
    stp_etl("gaps", "open", *MARCH, *WHY)
    before = written(database)

    done = stp_etl(*words)

    assert done.code == code
    assert sentence in done.err
    assert written(database) == before
    assert value(database, "SELECT state FROM stp.gap") == "open"


def test_a_healed_gap_is_not_closed(led, stp_etl, database):
    stp_etl("gaps", "open", *MARCH, *WHY)
    change(database, "UPDATE stp.gap SET state = 'healed', closed_at = :at", at=LATE)

    done = stp_etl("gaps", "close", "1", *WHY)

    assert done.code == 1
    assert "gap 1 is healed since 2024-03-20T12:00:00Z" in done.err


def test_closing_a_gap_ends_its_resend(led, stp_etl, database):
    stp_etl("gaps", "open", *MARCH, *WHY)
    change(
        database,
        "INSERT INTO stp.resend (feed_id, gap_id, from_date, to_date, requested_by, reason, requested_at, state, tries,"
        " received, recovered, duplicates, absent, excused, request_id)"
        " SELECT feed_id, id, from_date, to_date, 'olga', 'br 17', opened_at, 'accepted', 1, 0, 0, 0, 0, 0, 'x-7'"
        " FROM stp.gap",
    )

    stp_etl("gaps", "close", "1", "--reason", "told")

    (listed,) = stp_etl("resends", "list", "--feed", "main", "--format", "json").json
    shown = stp_etl("resends", "show", "1", "--format", "json").json
    assert (listed["state"], listed["detail"]) == ("short", "gap closed by olga")
    assert (shown["gap_id"], shown["requested_by"], shown["reason"]) == (1, "olga", "br 17")
    assert (listed["request_id"], shown["request_id"]) == ("x-7", "x-7")
    assert "request_id    x-7" in stp_etl("resends", "show", "1").out
    (gap,) = [stp_etl("gaps", "show", "1", "--format", "json").json]
    assert [each["resend_id"] for each in gap["resends"]] == [1]


@pytest.mark.parametrize(
    ("state", "code", "shown"),
    [("open", 3, "healing"), ("escalated", 3, "gap_escalated"), ("healed", 0, "polling"), ("closed", 0, "polling")],
)
def test_a_gap_that_is_not_over_needs_a_hand(held, stp_etl, database, state, code, shown):
    now = SystemClock().now()
    stp_etl.configure()
    with held.open_work() as work:
        feed = a_feed(held.open_work, at=now)
        work.commit()
    change(
        database,
        "INSERT INTO stp.gap (feed_id, cause, from_date, to_date, opened_at, doubted_at, not_before, state, evidence,"
        " recovered, already_known) VALUES (:id, 'in_doubt', :day, :day, :at, :at, :at, :state, '[]', 0, 0)",
        id=feed.feed_id, day=now.date(), at=now, state=state,
    )  # fmt: skip
    change(database, "UPDATE stp.current_poll SET opened_at = :at, last_empty_at = :at", at=now)

    done = stp_etl("status", "--format", "json")

    assert (done.code, done.json["feeds"][0]["state"]) == (code, shown)
    assert ("feed main: 1 gap not healed; see: stp-etl gaps list --feed main" in done.err) is (code == 3)
