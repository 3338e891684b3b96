"""What once went wrong when somebody tried to break it."""

from __future__ import annotations

import json

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from etl.errors import ContentRefusedError, DatabaseAwayError, DatabaseRefusedError
from etl.store.database import Database, translated
from etl.vendor.feed import Cause, PollOutcome, QueueAnswer
from tests.builders import a_message, a_raw_message, as_bytes
from tests.databases import change, value
from tests.polling import Polling
from tests.vendors import page_of


def test_law_4_nothing_is_asked_while_no_answer_could_be_stored(database, database_url):
    change(database, "CREATE ROLE half LOGIN")
    change(database, "GRANT USAGE ON SCHEMA stp TO half")
    change(database, "GRANT ALL ON ALL TABLES IN SCHEMA stp TO half")
    change(database, "GRANT ALL ON ALL SEQUENCES IN SCHEMA stp TO half")
    change(database, "REVOKE INSERT ON stp.answer FROM half")
    half = Database(database_url.replace("postgres@", "half@"))
    polling = Polling(half)
    try:
        with pytest.raises(DatabaseRefusedError, match=r"no right to insert into stp\.answer"):
            polling.drain(page_of(a_raw_message()))

        assert polling.vendor.asked == []
    finally:
        polling.lease.leave()
        half.close()
        change(database, "DROP OWNED BY half")
        change(database, "DROP ROLE half")


def test_law_10_a_page_that_does_not_read_as_one_where_it_lands_is_in_doubt(polling):
    body = b"[" + a_raw_message() + b"]"
    answer = QueueAnswer(
        PollOutcome.PAGE, Cause.PAGE, status=200, body=body, complete=True, content_encoding="identity,?identity"
    )

    drained = polling.drain(answer)

    assert (drained.outcome, drained.cause) == (PollOutcome.IN_DOUBT, Cause.UNREADABLE)
    assert polling.bodies() == [body]


@pytest.mark.nightly
def test_a_message_with_very_many_new_fields_is_booked(booking):
    many = {f"field{number}": number for number in range(20_000)}

    counts = booking.book(as_bytes(a_message(**many)), a_raw_message(tradeId="T2"))

    assert counts == {"booked": 2}
    assert value(booking.database, "SELECT count(*) FROM stp.known_field") == 20_000


def test_a_very_long_name_of_a_new_field_does_not_keep_a_trade_out(booking):
    name = "".join(chr(ord("a") + number * 7919 % 26) for number in range(3_500))

    counts = booking.book(as_bytes(a_message(**{name: "x", name + "y": "z"})))

    assert counts == {"booked": 1}
    assert value(booking.database, "SELECT count(*) FROM stp.known_field") == 2


def test_many_exception_items_in_one_page_are_counted_each_once(booking):
    counts = booking.book(*[json.dumps(number).encode() for number in range(3_000)], b"7", b"7")

    assert counts == {"excepted": 3_002}
    assert value(booking.database, "SELECT count(*) FROM stp.exception_item") == 3_000
    assert value(booking.database, "SELECT max(seen) FROM stp.exception_item") == 3


def test_a_key_that_stands_twice_does_not_hide_the_other_faults(booking):
    raw = as_bytes(a_message(tradeDate="2023-02-30"))[:-1] + b',"note":"a","note":"b"}'

    booking.book(raw)

    ((faults, trade_id),) = booking.rows("faults, trade_id", "exception_item")
    assert [fault["field"] for fault in faults] == ["note", "tradeDate"]
    assert trade_id == a_message()["tradeId"]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("SSL SYSCALL error: EOF detected", DatabaseAwayError),
        ("server closed the connection unexpectedly", DatabaseAwayError),
        ("sending query failed: number of parameters must be between 0 and 65535", ContentRefusedError),
        ("certificate verify failed", DatabaseRefusedError),
    ],
)
def test_words_of_the_driver_without_a_code_are_understood(words, kind):
    error = OperationalError("SELECT 1", {}, psycopg.OperationalError(words))

    assert type(translated(error)) is kind
