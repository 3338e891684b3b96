"""`stp-etl exceptions`: look, read again, or close with a reason."""

import pytest

from tests.builders import ABSENT, a_raw_message
from tests.databases import rows

ALIAS = """
[feeds.main.field_aliases]
settled_amount = ["settledAmt"]
"""
RENAMED = a_raw_message(settledAmount=ABSENT, settledAmt=1084250)
BROKEN = a_raw_message(tradeId="B", side="Hold", symbol="EURUSD")


def test_open_items_are_listed_with_every_fault(desk, stp_etl):
    number = desk.land(BROKEN)[0]

    listed = stp_etl("exceptions", "list", "--format", "json").json

    assert [(row["message_id"], row["trade_id"], row["side"], row["state"]) for row in listed] == [
        (number, "B", "Hold", "open")
    ]
    assert [fault["field"] for fault in listed[0]["faults"]] == ["side", "symbol"]
    assert "side must be Buy or Sell" in stp_etl("exceptions", "list").out


def test_an_item_is_shown_with_faults_text_and_whether_it_was_booked_since(desk, stp_etl):
    (number,) = desk.land(BROKEN)

    alone = stp_etl.process("exceptions", "show", str(number))
    desk.land(a_raw_message(tradeId="B"))
    since = stp_etl("exceptions", "show", str(number), "--format", "json").json

    assert alone.code == 0
    assert "trade booked  no" in alone.out
    assert "EURUSD" in alone.out
    assert BROKEN.decode() in alone.out
    assert since["trade booked"] == "yes, version 1"
    assert [(fault["field"], fault["value"]) for fault in since["faults"]] == [("side", "Hold"), ("symbol", "EURUSD")]
    assert since["original"] == BROKEN.decode()


def test_retry_books_what_reads_now_and_keeps_the_rest(desk, stp_etl):
    first, second = desk.land(RENAMED, BROKEN)
    stp_etl.configure(ALIAS)

    done = stp_etl.process("exceptions", "retry", "--reason", "alias added")

    assert done.code == 0
    said = "1 exception item is a new trade\n1 exception item stays open, with the faults of today\n"
    assert (said in done.err, "nothing to show" in done.err) == (True, False)
    again = stp_etl("exceptions", "retry")
    assert (again.out, again.err) == ("", "1 exception item stays open, with the faults of today\n")
    assert rows(desk.database, "SELECT message_id, state, closed_by FROM stp.exception_item ORDER BY 1") == [
        (first, "booked", "olga"), (second, "open", None),
    ]  # fmt: skip
    assert [row["message_id"] for row in stp_etl("exceptions", "list", "--state", "all", "--format", "json").json] == [
        second, first,
    ]  # fmt: skip


def test_retry_takes_only_the_items_named(desk, stp_etl):
    first, second = desk.land(RENAMED, RENAMED.replace(b"FXI9369258100", b"C"))
    stp_etl.configure(ALIAS)

    stp_etl("exceptions", "retry", str(second))

    assert rows(desk.database, "SELECT message_id, state FROM stp.exception_item ORDER BY 1") == [
        (first, "open"), (second, "booked"),
    ]  # fmt: skip


def test_retry_as_a_dry_run_writes_nothing(desk, stp_etl):
    desk.land(RENAMED)
    stp_etl.configure(ALIAS)
    before = desk.whole()

    done = stp_etl("exceptions", "retry", "--dry-run")

    assert (done.code, desk.whole()) == (0, before)
    assert "booked, version 1" in done.out


def test_many_are_resolved_at_once_with_a_reason(desk, stp_etl):
    numbers = desk.land(BROKEN, RENAMED)

    done = stp_etl("exceptions", "resolve", *map(str, numbers), "--reason", "not ours")

    assert (done.code, done.err) == (0, "2 exception items are resolved\n")
    assert rows(desk.database, "SELECT DISTINCT state, closed_by, reason FROM stp.exception_item") == [
        ("resolved", "olga", "not ours")
    ]
    (deed,) = stp_etl("audit", "list", "--format", "json").json
    assert (deed["operator"], deed["deed"], deed["reason"], deed["details"]) == (
        "olga", "exceptions resolve", "not ours", {"message_ids": numbers},
    )  # fmt: skip


@pytest.mark.parametrize("words", [["--reason", " "], []])
def test_resolving_needs_a_reason(desk, stp_etl, words):
    (number,) = desk.land(BROKEN)

    assert stp_etl("exceptions", "resolve", str(number), *words).code == 2


@pytest.mark.parametrize("verb", [["resolve", "--reason", "x"], ["retry"]])
def test_one_wrong_number_and_nothing_is_done(desk, stp_etl, verb):
    (number,) = desk.land(BROKEN)

    done = stp_etl("exceptions", *verb, str(number), "77")

    assert (done.code, rows(desk.database, "SELECT state FROM stp.exception_item")) == (1, [("open",)])
    assert "message 77: no exception item of that number" in done.err


def test_what_is_closed_stays_closed(desk, stp_etl):
    (number,) = desk.land(BROKEN)
    stp_etl("exceptions", "resolve", str(number), "--reason", "x")

    again = stp_etl("exceptions", "resolve", str(number), "--reason", "y")

    assert again.code == 1
    assert "closed already" in again.err
