"""Landed messages read again: exception items become trades, corrected readings newer versions, and twice is once."""

from datetime import date
from decimal import Decimal

import pytest
from sqlalchemy import event

from etl.domain.fields import Reading
from etl.domain.payload import Number
from tests.booking import check_positions
from tests.builders import ABSENT, a_raw_message
from tests.clocks import START
from tests.databases import change, rows, value
from tests.desk import Desk

RENAMED = Reading(aliases={"settled_amount": ("settledAmt",)})
"""Reads the settled amount under a name that the vendor began to use."""
BOOK = (
    "SELECT trade_id, version, message_id, source, changed_fields, note, change_seq FROM stp.trade_version"
    " ORDER BY trade_id, version"
)


@pytest.fixture(autouse=True)
def positions_stay_the_sum_over_the_legs(desk):
    """Whatever a test does."""
    yield
    check_positions(desk.database, desk.feed.feed_id)


def renamed(**overrides: object) -> bytes:
    return a_raw_message(**({"settledAmount": ABSENT, "settledAmt": Number("1084250.00")} | overrides))


def test_an_exception_item_that_reads_now_becomes_a_trade(desk):
    (number,) = desk.land(renamed())

    done = desk.rebook(desk.excepted(), RENAMED)

    assert done.counts == {"booked": 1}
    assert rows(desk.database, BOOK) == [("FXI9369258100", 1, number, "queue", [], None, 1)]
    assert rows(desk.database, "SELECT state, version, trade_id FROM stp.message") == [("booked", 1, "FXI9369258100")]
    assert rows(desk.database, "SELECT state, closed_by, reason FROM stp.exception_item") == [
        ("booked", "olga", "booked again: FX-12")
    ]
    assert rows(desk.database, "SELECT base_amount, term_amount, trade_count FROM stp.position") == [
        (Decimal(1000000), Decimal("-1084250.00"), 1)
    ]


def test_what_is_still_rejected_gets_the_faults_of_today(desk):
    desk.land(renamed(side="Hold"))
    before = value(desk.database, "SELECT faults FROM stp.exception_item")

    done = desk.rebook(desk.excepted(), RENAMED)

    after = value(desk.database, "SELECT faults FROM stp.exception_item")
    assert ([fault["field"] for fault in before], [fault["field"] for fault in after]) == (
        ["side", "settledAmount"], ["side"]
    )  # fmt: skip
    assert done.counts == {"excepted": 1}
    assert value(desk.database, "SELECT state FROM stp.exception_item") == "open"


def test_a_dry_run_over_many_trades_takes_few_statements_and_says_what_the_real_one_does(desk):
    pages = [[a_raw_message(tradeId=f"T{page}-{number}", remark="x") for number in range(10)] for page in range(25)]
    ids = [number for page in pages for number in desk.land(*page)]
    statements: list[str] = []
    event.listen(desk.database.engine, "before_cursor_execute", lambda *said: statements.append(said[2]))

    told = desk.preview(ids, Reading(aliases={"note": ("remark",)}))

    assert len(statements) < 80, "two batches of up to 20 answers"
    done = desk.rebook(ids, Reading(aliases={"note": ("remark",)}))
    assert told.counts == done.counts == {"corrected": 250}
    assert told.changes == done.changes


def test_a_booked_trade_that_reads_differently_becomes_a_newer_version(desk):
    (number,) = desk.land(a_raw_message(remark="early"))

    done = desk.rebook([number], Reading(aliases={"note": ("remark",)}))

    assert done.counts == {"corrected": 1}
    assert rows(desk.database, BOOK) == [
        ("FXI9369258100", 1, number, "queue", [], None, 1),
        ("FXI9369258100", 2, number, "queue", ["note", "attributes.remark"], "early", 2),
    ]
    assert value(desk.database, "SELECT version FROM stp.trade") == 2
    assert rows(desk.database, "SELECT state, version FROM stp.message") == [("booked", 2)]
    assert rows(desk.database, "SELECT kind FROM stp.recon_break") == []


def test_positions_follow_a_reading_that_turns_the_trade(desk):
    (number,) = desk.land(a_raw_message())

    done = desk.rebook([number], Reading(own_orgs=frozenset({"BrokerOrg1"})))

    assert done.counts == {"corrected": 1}
    found = rows(
        desk.database,
        "SELECT organisation, base_amount, term_amount FROM reporting.position",
    )
    assert found == [("BrokerOrg1", Decimal(-1000000), Decimal("1084250.00"))]
    assert rows(desk.database, "SELECT kind FROM stp.recon_break") == []


def test_a_currency_that_becomes_non_deliverable_leaves_the_cash_ladder(desk):
    (number,) = desk.land(a_raw_message())

    desk.rebook([number], Reading(non_deliverable_assets=frozenset({"EUR"})))

    assert rows(desk.database, "SELECT * FROM reporting.cash_ladder") == []
    assert rows(desk.database, "SELECT deliverable, trade_count FROM reporting.position") == [(False, 1)]


@pytest.mark.parametrize("reading", [Reading(), RENAMED, Reading(own_orgs=frozenset({"BrokerOrg1"}))])
def test_twice_changes_nothing_more(desk, reading):
    ids = [
        *desk.land(renamed(), a_raw_message(tradeId="B", remark="x"), a_raw_message(tradeId="C", side="?")),
        *desk.land(a_raw_message(tradeId="B", remark="x"), renamed(), a_raw_message(tradeId="C", side="?")),
    ]
    desk.rebook(ids, reading)
    once = desk.whole()

    again = desk.rebook(ids, reading)

    assert desk.whole() == once
    assert again.changes == [change for change in again.changes if change.outcome == "refused"]


def test_a_preview_writes_nothing_and_says_what_would_change(desk):
    ids = desk.land(renamed(), a_raw_message(tradeId="B", settledAmt=Number("9.90")))
    before = desk.whole()
    reading = Reading(aliases={"settled_amount": ("settledAmt",), "note": ("channel",)})

    preview = desk.preview(ids, reading)

    assert desk.whole() == before
    assert preview.counts == {"booked": 1, "corrected": 1}
    assert [(c.trade_id, c.outcome, c.field, c.before, c.after) for c in preview.changes] == [
        ("FXI9369258100", "booked", "(message)", _fault(desk), "booked, version 1"),
        ("B", "corrected", "note", None, "API/REST/ESP"),
    ]


def _fault(desk: Desk) -> str:
    (fault,) = value(desk.database, "SELECT faults FROM stp.exception_item")
    return f"{fault['field']} {fault['rule']}"


def test_a_preview_foretells_the_deed_over_many_polls(desk):
    ids = [number for _ in range(25) for number in desk.land(renamed(), renamed(event="RESEND"))]

    preview = desk.preview(ids, RENAMED)
    done = desk.rebook(ids, RENAMED)

    foretold, kept = ([(c.message_id, c.outcome, c.after) for c in each.changes] for each in (preview, done))
    assert foretold == kept
    assert preview.counts == done.counts == {"booked": 1, "duplicate": 49}


def test_the_same_bytes_again_are_closed_with_their_item(desk):
    desk.land(renamed())
    desk.land(renamed(), a_raw_message(tradeId="B"))

    done = desk.rebook(desk.excepted(), RENAMED)

    assert done.counts == {"booked": 1, "duplicate": 1}
    assert rows(desk.database, "SELECT state FROM stp.message ORDER BY poll_id, place") == [
        ("booked",), ("duplicate",), ("booked",),
    ]  # fmt: skip
    assert value(desk.database, "SELECT state FROM stp.exception_item") == "booked"


def test_only_the_items_asked_for_are_read_again(desk):
    first, second = desk.land(renamed(), renamed(tradeId="B"))

    assert desk.excepted([second]) == [second]
    assert desk.excepted() == [first, second]


def test_other_economics_than_booked_are_a_conflict_as_in_booking(desk):
    desk.land(renamed())
    desk.land(a_raw_message(dealtAmount=2000000))

    done = desk.rebook(desk.excepted(), RENAMED)

    assert done.counts == {"conflict": 1}
    assert rows(desk.database, "SELECT kind, trade_id, state FROM stp.recon_break") == [
        ("conflict", "FXI9369258100", "open")
    ]


def test_duplicates_and_superseded_messages_are_left_alone(desk):
    ids = [
        *desk.land(a_raw_message(remark="a")),
        *desk.land(a_raw_message(remark="a")),
        *desk.land(a_raw_message(remark="b")),
    ]

    done = desk.rebook(ids, Reading(aliases={"note": ("remark",)}))

    assert done.counts == {"untouched": 2, "corrected": 1}
    assert rows(desk.database, "SELECT state, version FROM stp.message ORDER BY poll_id") == [
        ("booked", 1), ("duplicate", 1), ("enriched", 3),
    ]  # fmt: skip


def test_a_booked_message_that_would_be_refused_today_stays_booked(desk):
    (number,) = desk.land(a_raw_message())
    before = desk.whole()

    done = desk.rebook([number], Reading(own_orgs=frozenset({"Nobody"})))

    assert desk.whole() == before
    assert done.counts == {"refused": 1}
    assert done.changes[0].outcome == "refused"


def test_the_same_content_delivered_once_more_repeats_the_corrected_version(desk):
    (number,) = desk.land(a_raw_message(remark="early"))
    reading = Reading(aliases={"note": ("remark",)})
    desk.rebook([number], reading)

    desk.land(a_raw_message(remark="early", event="RESEND"), reading=reading)
    desk.land(a_raw_message(remark="late"), reading=reading)

    assert rows(desk.database, "SELECT state, version FROM stp.message ORDER BY poll_id") == [
        ("booked", 2), ("duplicate", 2), ("enriched", 3),
    ]  # fmt: skip


def test_each_batch_that_changes_something_is_in_the_audit(desk):
    (number,) = desk.land(renamed())

    desk.rebook([number], RENAMED)

    assert rows(desk.database, "SELECT operator, deed, reason, feed, details FROM stp.audit") == [
        ("olga", "messages rebook", "FX-12", "main", {"counts": {"booked": 1}, "message_ids": [number]})
    ]


def test_messages_are_chosen_by_trade_date(desk):
    ids = desk.land(
        a_raw_message(tradeId="A", tradeDate="2023-06-01"),
        a_raw_message(tradeId="B", tradeDate="2023-06-02"),
        a_raw_message(tradeId="C", tradeDate="2023-06-03", side="?"),
        a_raw_message(tradeId="D", tradeDate="soon"),
    )

    with desk.open_work() as work:
        chosen = work.rebooking.of_trade_days(desk.feed.feed_id, date(2023, 6, 2), date(2023, 6, 3))
        lately = work.rebooking.of_trade_days(desk.feed.feed_id, START.date(), START.date())

    assert chosen == ids[1:3]
    assert lately == [ids[3]]


def test_content_that_the_database_refuses_stands_alone(desk):
    ids = desk.land(renamed(), renamed(tradeId="B"), renamed(tradeId="C"))
    change(desk.database, "ALTER TABLE stp.trade_version ADD CONSTRAINT no_b CHECK (trade_id <> 'B')")

    done = desk.rebook(ids, RENAMED)

    assert done.counts == {"booked": 2, "excepted": 1}
    assert rows(desk.database, "SELECT trade_id FROM stp.trade ORDER BY 1") == [("C",), ("FXI9369258100",)]
    (fault,) = value(desk.database, "SELECT faults FROM stp.exception_item WHERE state = 'open'")
    assert "no_b" in fault["rule"]


def test_a_correction_that_the_database_refuses_leaves_the_trade_as_it_is(desk):
    (number,) = desk.land(a_raw_message(remark="early"))
    change(desk.database, "ALTER TABLE stp.trade_version ADD CONSTRAINT one CHECK (version = 1)")
    before = desk.whole()

    done = desk.rebook([number], Reading(aliases={"note": ("remark",)}))

    assert done.counts == {"refused": 1}
    assert desk.whole() == before
