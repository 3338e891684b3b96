"""What the book says about a trade day: each fact that a certificate rests on, alone and as small as it can be."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from etl.domain.evidence import NOT_ASKED_YET
from etl.domain.gaps import GapCause
from etl.domain.reconciliation import FLAT, BreakKind, BreakState, Finding, Key
from etl.domain.window import Window
from etl.store.repositories.polls import Ending
from etl.store.repositories.reconciling import Reply
from tests.builders import a_raw_message
from tests.databases import change, value
from tests.feeds import an_open_poll, landed

DAY, CLOSE = datetime(2024, 3, 13, tzinfo=UTC).date(), datetime(2024, 3, 13, 21, tzinfo=UTC)
IN_THE_DAY, HOUR = datetime(2024, 3, 13, 15, tzinfo=UTC), timedelta(hours=1)
NOTHING_COMPARED = "\n[reconciliation]\npositions_every_s = 0\nfills_every_s = 0\n"
SWEPT = """
INSERT INTO stp.gap (feed_id, cause, from_date, to_date, opened_at, doubted_at, not_before, state, evidence,
    recovered, already_known)
SELECT id, 'sweep', '2024-03-13', '2024-03-13', now(), now(), now(), 'healed', '[]', 0, 1 FROM stp.feed
"""


class Book:
    """The book of one feed, and what a certificate says about the day."""

    def __init__(self, desk, stp_etl) -> None:
        self.desk, self.database, self.feed_id, self.stp_etl = desk, desk.database, desk.feed.feed_id, stp_etl

    def certify(self):
        return self.stp_etl("certify", "--trade-date", str(DAY), "--format", "json").json

    def reasons(self):
        return [(each["reason"], each["detail"]) for each in self.certify()["reasons"]]

    def break_of(self, trade_id, kind=BreakKind.STATUS):
        """Find a break about a trade; return its number."""
        with self.desk.open_work() as work:
            finding = Finding(kind, trade_id, "a test", trade_id=trade_id)
            number = work.breaks.found(self.feed_id, finding, at=CLOSE, run_id=None).id
            work.commit()
        return number

    def doubt(self, at):
        """Let a poll end in doubt, without the gap that the poller would open; return its number."""
        poll = an_open_poll(self.desk.open_work, self.desk.feed, at=at)
        with self.desk.open_work() as work:
            work.polls.close(poll, Ending("in_doubt", "time_out"), at)
            work.commit()
        drained(self.database)
        return poll.poll_id

    def gap(self, first, last):
        """Open a gap over trade dates; return its number."""
        with self.desk.open_work() as work:
            number = work.gaps.open(
                self.feed_id, GapCause.OPERATOR, Window.of(first, last), at=CLOSE, not_before=CLOSE, evidence={},
                alone=True,
            )  # fmt: skip
            work.commit()
        return number

    def run(self, control, result, at, *, breaks=0, detail="", basis=None, cited=(), **rules):
        """Keep a run of a control that ended so; return its number."""
        with self.desk.open_work() as work:
            number = work.reconciling.begin(
                self.feed_id, control, at=at, cause="daily", by="stp-etl", reason=None, trade_day=DAY, rules=rules
            )  # fmt: skip
            state, as_of = ("failed", None) if result in ("query_failed", "not_drained") else ("done", at)
            work.reconciling.end(
                number, state=state, result=result, as_of=as_of, ended_at=at, breaks=breaks, detail=detail,
                basis=basis or {}, cited=list(cited),
            )  # fmt: skip
            work.commit()
        return number


def drained(database):
    """Let the queue be proven empty long after the close."""
    change(database, "UPDATE stp.current_poll SET outcome = 'empty', last_empty_at = '2024-03-14T12:00:00Z'")


@pytest.fixture
def book(desk, stp_etl):
    """A day with one trade: swept, drained and complete; and a trade of the next day."""
    stp_etl.configure(NOTHING_COMPARED)
    desk.land(
        a_raw_message(tradeId="TODAY", tradeDate="2024-03-13"),
        a_raw_message(tradeId="NEXT", tradeDate="2024-03-14"), at=IN_THE_DAY,
    )  # fmt: skip
    drained(desk.database)
    change(desk.database, SWEPT)
    return Book(desk, stp_etl)


@pytest.fixture
def compared(book, stp_etl):
    """The same, where the settings ask for positions and fills, as they do by default."""
    stp_etl.configure()
    return book


def agreed(book, *, but=""):
    for control in {"positions", "fills"} - {but}:
        book.run(control, "agreed", CLOSE + HOUR, level="ORG", value="pfOrg")


def test_the_day_is_complete_without_any_of_what_follows(book):
    assert book.certify()["state"] == "COMPLETE"


def test_the_empty_answer_that_ends_a_drain_begun_after_the_close_is_the_proof(book):
    def drain(begun):
        (message,) = book.desk.land(a_raw_message(tradeId="NEXT", tradeDate="2024-03-14"), at=begun)
        last = an_open_poll(book.desk.open_work, book.desk.feed, at=CLOSE, drain_id=message // 100_000_000)
        with book.desk.open_work() as work:
            work.polls.close(last, Ending("empty", "empty", proof=True), CLOSE + timedelta(seconds=3))
            work.commit()
        return book.certify()

    # idle empties of within the time-outs after the close prove nothing: their request may be of before it
    before, after = drain(CLOSE - timedelta(seconds=1)), drain(CLOSE)

    assert (before["state"], before["basis"]["proven_empty_at"]) == ("PRELIMINARY", None)
    assert (after["state"], after["basis"]["proven_empty_at"]) == ("COMPLETE", "2024-03-13T21:00:03+00:00")


def test_a_gap_over_the_day_is_a_reason_until_it_has_healed(book):
    day = timedelta(days=1)
    number = book.gap(DAY - day, DAY)
    book.gap(DAY - 3 * day, DAY - 2 * day)
    book.gap(DAY + 2 * day, DAY + 3 * day)
    found = book.reasons()
    change(book.database, "UPDATE stp.gap SET state = 'escalated', why = 'refused' WHERE id = :id", id=number)
    escalated = book.reasons()
    change(book.database, "UPDATE stp.gap SET state = 'healed' WHERE id = :id", id=number)

    assert found == [("gap", f"gap {number} is open: {NOT_ASKED_YET}")]
    assert escalated == [("gap", f"gap {number} is escalated: refused")]
    assert book.reasons() == []


def test_a_gap_that_a_person_closed_is_a_limit_that_names_who_and_why(book):
    number = book.gap(DAY, DAY)
    change(book.database, "UPDATE stp.gap SET state = 'closed', closed_by = 'olga', reason = 'vendor mail'")
    change(book.database, SWEPT)

    found = book.certify()

    assert found["state"] == "COMPLETE"
    limit = next(each for each in found["basis"]["closed_by_hand"] if each["gap_id"] == number)
    assert limit == {
        "gap_id": number, "from_date": "2024-03-13", "to_date": "2024-03-13", "closed_by": "olga",
        "reason": "vendor mail",
    }  # fmt: skip


def test_a_poll_in_doubt_without_a_gap_is_a_reason_where_it_ended_since_the_day_began(book):
    poll = book.doubt(CLOSE - HOUR)
    book.doubt(CLOSE - timedelta(hours=25))  # before the day began

    found = book.reasons()
    change(book.database, "UPDATE stp.poll SET gap_id = :gap", gap=book.gap(DAY + HOUR * 48, DAY + HOUR * 48))

    assert found == [("poll_in_doubt", f"poll {poll} may have carried trades of the day, and no gap covers it")]
    assert book.reasons() == []


def test_landed_answers_that_nobody_has_booked_yet_are_a_reason(book):
    landed(book.desk.open_work, book.desk.feed, a_raw_message(tradeId="UNREAD"), at=IN_THE_DAY)
    drained(book.database)

    assert book.reasons() == [("not_booked", "1 landed answer waits for booking")]


def test_a_break_that_names_a_trade_of_the_day_is_a_reason_while_it_is_not_over(book):
    number, told = book.break_of("TODAY"), {}
    for state in BreakState:
        change(book.database, "UPDATE stp.recon_break SET state = :state", state=state)
        told[state] = book.reasons()

    for state in ("open", "investigating", "accepted"):
        assert told[state] == [("break", f"status break {number} is {state} and names trade TODAY")]
    assert told["cleared"] == told["resolved"] == []


def test_a_break_of_a_trade_of_another_day_is_no_reason(book):
    book.break_of("NEXT")

    assert book.reasons() == []


def test_a_trade_that_the_book_lacks_may_be_of_any_day(book):
    number = book.break_of("NOBODY-KNOWS", BreakKind.MISSING_IN_BOOK)

    assert book.reasons() == [("break", f"missing_in_book break {number} is open and names trade NOBODY-KNOWS")]


def test_a_trade_that_moved_to_another_day_counts_for_both(book):
    book.desk.land(a_raw_message(tradeId="TODAY", tradeDate="2024-03-14"), at=IN_THE_DAY)
    drained(book.database)

    ((reason, detail),) = book.reasons()

    assert reason == "break"
    assert "conflict" in detail
    assert book.certify()["counts"]["trades"] == 0


def test_a_message_without_a_readable_day_is_a_reason_where_it_came_since_the_day_began(book):
    unreadable = {"tradeDate": "soon", "dealtAmount": "x"}
    book.desk.land(a_raw_message(tradeId="OLD", **unreadable), at=CLOSE - timedelta(hours=25))
    (number,) = book.desk.land(a_raw_message(tradeId="NEW", **unreadable), at=CLOSE + HOUR)
    drained(book.database)
    change(book.database, "UPDATE stp.exception_item SET last_seen_at = '2024-03-12T20:59Z' WHERE trade_id = 'OLD'")

    found = book.reasons()
    change(book.database, "UPDATE stp.exception_item SET state = 'booked' WHERE trade_id = 'NEW'")

    assert found == [("exception", f"message {number} became no trade, and is of the day or of an unreadable one")]
    assert book.reasons() == []


def test_trades_that_came_after_the_close_are_counted_as_late(book):
    late = [a_raw_message(tradeId=f"LATE{number}", tradeDate="2024-03-13") for number in range(2)]
    book.desk.land(*late, at=CLOSE + HOUR)
    drained(book.database)

    counts = book.certify()["counts"]

    assert (counts["trades"], counts["late"]) == (3, 2)


def test_each_answer_that_it_rests_on_is_cited_by_request_id_and_hash(compared):
    reply = Reply("positions", "ORG pfOrg", CLOSE, CLOSE, "request-7", 200, b"[]", {}, None)
    with compared.desk.open_work() as work:
        cited = work.reconciling.cited([work.reconciling.keep(compared.feed_id, None, reply)])
        work.commit()
    agreed(compared, but="positions")
    compared.run("positions", "agreed", CLOSE + HOUR, cited=cited, level="ORG", value="pfOrg")

    found = compared.certify()

    assert found["state"] == "COMPLETE"
    assert [(each["request_id"], each["sha256"]) for each in found["cited"]] == [
        ("request-7", hashlib.sha256(b"[]").hexdigest())
    ]
    assert value(compared.database, "SELECT count(*) FROM stp.vendor_body WHERE encode(sha256, 'hex') = :it",
                 it=found["cited"][0]["sha256"]) == 1  # fmt: skip


def test_a_run_that_was_broken_off_proves_nothing(compared):
    agreed(compared, but="positions")
    with compared.desk.open_work() as work:
        number = work.reconciling.begin(
            compared.feed_id, "positions", at=CLOSE + HOUR, cause="daily", by="stp-etl", reason=None, trade_day=DAY,
            rules={"level": "ORG", "value": "pfOrg"},
        )  # fmt: skip
        work.commit()
    running = compared.reasons()
    with compared.desk.open_work() as work:
        work.reconciling.end_broken_off(compared.feed_id, CLOSE + HOUR)
        work.commit()

    words = f"run {number} of positions ended as broken_off: broken off: the process that ran it ended"
    assert running == [("positions", "positions were not compared since the day closed")]
    assert compared.reasons() == [("positions", words)]


def test_a_run_that_ended_otherwise_than_agreed_is_told_in_its_own_words(compared):
    agreed(compared, but="fills")
    for result in ("unconfirmed", "query_failed", "not_drained", "gap", "timing"):
        number = compared.run("fills", result, CLOSE + HOUR, detail="what it lacks")

        assert compared.reasons() == [("fills", f"run {number} of fills ended as {result}: what it lacks")]


def test_one_organisation_that_agreed_does_not_speak_for_another(compared):
    agreed(compared)
    number = compared.run("positions", "query_failed", CLOSE + HOUR, detail="no answer", level="ORG", value="other")
    found = compared.reasons()
    compared.run("positions", "agreed", CLOSE + 2 * HOUR, level="ORG", value="other")

    certificate = compared.certify()

    assert found == [("positions", f"run {number} of positions ended as query_failed: no answer")]
    told = certificate["basis"]["controls"]["positions"]
    assert certificate["state"] == "COMPLETE"
    assert [each["rules"]["value"] for each in (told, *told["others"])] == ["pfOrg", "other"]


def test_a_level_of_once_a_day_can_contradict_but_not_prove(compared):
    agreed(compared, but="positions")
    compared.run("positions", "agreed", CLOSE + HOUR, level="LE", value="pfOrgLE1")
    unproven = compared.reasons()
    compared.run("positions", "agreed", CLOSE + 2 * HOUR, level="ORG", value="pfOrg")
    proven = compared.reasons()
    contradicting = compared.run("positions", "breaks", CLOSE + 2 * HOUR, breaks=1, level="LE", value="pfOrgLE1")

    assert unproven == [("positions", "positions were not compared since the day closed")]
    assert proven == []
    assert contradicting
    assert [reason for reason, _ in compared.reasons()] == ["positions"]


def test_what_agreed_again_right_after_its_break_was_over_is_proven(compared):
    agreed(compared, but="positions")
    for minutes, result, breaks in ((10, "breaks", 1), (12, "agreed", 0)):
        at = CLOSE + timedelta(minutes=minutes)
        compared.run("positions", result, at, breaks=breaks, level="ORG", value="pfOrg")

    assert compared.certify()["state"] == "COMPLETE"


def test_what_agreed_while_another_level_did_not_is_told_with_the_run_that_contradicts_it(compared):
    agreed(compared, but="positions")
    bad = compared.run("positions", "breaks", CLOSE + HOUR, breaks=1, level="LE", value="pfOrgLE1")
    good = compared.run("positions", "agreed", CLOSE + HOUR, level="ORG", value="pfOrg")
    until = f"{CLOSE + 1.5 * HOUR:%Y-%m-%d %H:%M}Z"

    words = f"but run {bad} found breaks of LE pfOrgLE1 near it; one after {until} counts"
    assert compared.reasons() == [("positions", f"run {good} of positions ended as agreed: {words}")]


def test_fills_that_look_back_less_far_than_the_day_do_not_speak_for_it(compared):
    agreed(compared, but="fills")
    compared.run("fills", "agreed", CLOSE + 72 * HOUR, basis={"since": "2024-03-14"})

    short = compared.reasons()
    compared.run("fills", "agreed", CLOSE + 72 * HOUR, basis={"since": "2024-03-13"})

    assert short == [(
        "fills",
        "fills were not compared since the day closed: runs since then look back to 2024-03-14 only; raise "
        "reconciliation.fills_history_days to reach the day",
    )]  # fmt: skip
    assert compared.reasons() == []


def test_it_says_how_many_orders_were_asked_of_how_many(compared):
    agreed(compared, but="fills")
    compared.run("fills", "agreed", CLOSE + HOUR, basis={"orders_asked": 200, "orders": 731, "since": "2024-03-11"})

    shown = compared.stp_etl("certify", "--trade-date", str(DAY))

    assert compared.certify()["basis"]["controls"]["fills"]["basis"]["orders"] == 731
    assert "orders_asked     200 of 731" in shown.out


def test_it_lists_the_openings_that_comparisons_start_from(compared):
    agreed(compared, but="positions")
    with compared.desk.open_work() as work:
        keys = [Key("EUR/USD", DAY), Key("EUR/USD", DAY + timedelta(days=1))]
        opening = work.reconciling.open_positions(
            compared.feed_id, 1, level="ORG", value="pfOrg", at=CLOSE - 20 * HOUR, vendor_date=None, by="olga",
            reason="go-live", figures=dict.fromkeys(keys, (FLAT, FLAT)),
        )  # fmt: skip
        work.commit()
    compared.run("positions", "agreed", CLOSE + HOUR, basis={"opening": opening}, level="ORG", value="pfOrg")

    shown = compared.stp_etl("certify", "--trade-date", str(DAY))

    assert compared.certify()["basis"]["openings"] == [{
        "opening": opening, "control": "positions", "level": "ORG", "value": "pfOrg",
        "as_of": "2024-03-13T01:00:00+00:00", "by": "olga", "reason": "go-live", "keys": 2,
    }]  # fmt: skip
    assert "Where the comparisons start from" in shown.out
    assert "go-live" in shown.out
