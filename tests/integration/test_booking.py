"""Booking: whatever the messages hold, whoever else books, in whatever order answers arrive."""

import hashlib
import json
import time
from datetime import date
from decimal import Decimal
from threading import Event, Thread

import msgspec
import pytest
from sqlalchemy import event, text

from etl.domain.fields import Reading
from etl.domain.payload import Number
from etl.domain.reconciliation import Key, Position
from etl.errors import TransientError
from etl.pipeline.book import Booker
from etl.store.unit_of_work import work_on
from tests.booking import Booking
from tests.builders import ABSENT, a_page, a_raw_message, a_swap_message, an_ndf_message, as_bytes
from tests.clocks import START
from tests.databases import change, rows, value
from tests.feeds import Feed, a_feed, a_landing, an_open_poll
from tests.polling import KilledError, interrupted


def with_raw(field: str, raw: str, **overrides: object) -> bytes:
    """Return a message in which one value is written just so, be it JSON or not."""
    return a_raw_message(**overrides, **{field: "@@"}).replace(b'"@@"', raw.encode("utf-8", "surrogatepass"))


# Each spoils its page in its own way: what is in the array, and the fields that the exception item must name.
HORRORS = {
    "NUL in the id": (with_raw("tradeId", r'"a\u0000b"'), ["tradeId"]),
    "lone surrogate in the id": (with_raw("tradeId", r'"a\ud800b"'), ["tradeId"]),
    "number of 400 digits": (with_raw("dealtAmount", "7" * 400), ["dealtAmount"]),
    "NaN": (with_raw("dealtAmount", "NaN"), ["dealtAmount"]),
    "Infinity": (with_raw("rate", "-Infinity"), ["rate"]),
    "1e999": (with_raw("settledAmount", "1e999"), ["settledAmount"]),
    "1e-999999999": (with_raw("settledAmount", "1e-999999999"), ["settledAmount"]),
    "number with an endless exponent": (with_raw("rate", "1e" + "9" * 300), ["rate"]),
    "negative amount": (with_raw("dealtAmount", "-1"), ["dealtAmount"]),
    "a key twice": (a_raw_message().replace(b'"side"', b'"side":"Sell","side"'), ["side"]),
    "a key twice, deep inside": (with_raw("more", '{"x":{"y":1,"y":2}}'), ["y"]),
    "nesting of 5,000": (with_raw("more", "[" * 5000 + "]" * 5000), ["(message)"]),
    "no object": (b"17", ["(message)"]),
    "null": (b"null", ["(message)"]),
    "an array": (b"[[]]", ["(message)"]),
    "a text": (b'"FXI1"', ["(message)"]),
    "nothing in it": (b"{}", ["tradeId", "tradeType", "tradeDate", "valueDate", "side", "symbol", "currency"]),
    "no such day": (with_raw("valueDate", '"2023-02-30"'), ["valueDate"]),
    "year 0": (with_raw("tradeDate", '"0000-01-01"'), ["tradeDate"]),
    "unknown type": (with_raw("tradeType", '"Perpetual"'), ["tradeType"]),
    "unknown side": (with_raw("side", '"Both"'), ["side"]),
    "amount as text": (with_raw("dealtAmount", '"1000"'), ["dealtAmount"]),
    "id as number": (with_raw("tradeId", "12"), ["tradeId"]),
    "invalid UTF-8 in the id": (a_raw_message(tradeId="@@").replace(b"@@", b"\xff\xfe"), ["tradeId"]),
    "three faults": (
        as_bytes({"tradeId": "X", "side": "?", "symbol": "EURUSD", "dealtAmount": None}),
        ["side", "symbol", "dealtAmount"],
    ),
}
# These look bad and are trades all the same.
ODDITIES = {
    "no event": a_raw_message(tradeId="O1", event=ABSENT),
    "note of 5 MB": a_raw_message(tradeId="O2", note="n" * 5_000_000),
    "NUL in a note": with_raw("note", r'"a\u0000b"', tradeId="O3"),
    "NUL in an unknown field": with_raw("brandNew", r'"a\u0000b"', tradeId="O4"),
    "lone surrogate in an unknown field": with_raw("brandNew", r'{"x":["\udc00"]}', tradeId="O5"),
    "400 digits in an unknown field": with_raw("brandNew", "7" * 400, tradeId="O6"),
    "unknown event": a_raw_message(tradeId="O7", event={"x": 1}),
    "every other field null": a_raw_message(tradeId="O8", user=None, orderId=None, note=None, maker=None),
    "unknown names of all kinds": a_raw_message(tradeId="O9", **{"": 1, "a b": 2, "select": 3, "ü": 4, "\t": 5}),
    "the largest digits": with_raw("dealtAmount", "9" * 38, tradeId="O10"),
    "line breaks inside": a_raw_message(tradeId="O11").replace(b',"', b'\r\n ,\t "'),
    "invalid UTF-8 in a note": a_raw_message(tradeId="O12", note="@@").replace(b"@@", b"\xff\xfe"),
}


def test_everything_bad_in_one_page_stays_alone_and_the_rest_is_booked(booking):
    good = [a_raw_message(tradeId=f"G{number}") for number in range(3)]
    page = [good[0], *(bad for bad, _ in HORRORS.values()), good[1], *ODDITIES.values(), good[2], good[0]]
    booking.land(*page)

    counts = booking.book()

    assert counts == {"booked": 3 + len(ODDITIES), "excepted": len(HORRORS), "duplicate": 1}
    assert len(booking.rows("*", "message")) == len(page)
    wanted = dict(zip(HORRORS, ([*fields] for _, fields in HORRORS.values()), strict=True))
    found = dict(zip(HORRORS, ([field for field, _ in faults] for faults in booking.faults()), strict=True))
    assert {name: set(fields) - set(found[name]) for name, fields in wanted.items()} == {name: set() for name in wanted}
    booking.check_positions()


@pytest.mark.parametrize("name", HORRORS)
def test_each_horror_alone_is_an_exception_item_with_its_own_bytes(booking, name):
    bad, fields = HORRORS[name]
    poll = booking.land(bad)

    assert booking.book() == {"excepted": 1}
    assert set(fields) <= {field for field, _ in booking.faults()[0]}
    start, length, sha256 = rows(booking.database, "SELECT start, length, sha256 FROM stp.message")[0]
    body = bytes(value(booking.database, "SELECT body FROM stp.answer WHERE poll_id = :p", p=poll.poll_id))
    assert body[start : start + length] == bad
    assert bytes(sha256) == hashlib.sha256(bad).digest()


@pytest.mark.parametrize("name", ODDITIES)
def test_what_only_looks_bad_is_booked(booking, name):
    assert booking.book(ODDITIES[name], a_raw_message(tradeId="G")) == {"booked": 2}
    assert booking.book(ODDITIES[name]) == {"duplicate": 1}


def test_what_the_database_cannot_hold_is_named(booking):
    booking.book(ODDITIES["NUL in an unknown field"], ODDITIES["NUL in a note"])

    assert booking.rows("trade_id, attributes_omitted, note", "trade", "ORDER BY 1") == [
        ("O3", ["note"], None),
        ("O4", ["brandNew"], None),
    ]


def test_the_same_bad_bytes_again_are_counted_and_not_a_second_item(booking):
    bad = a_raw_message(side="?")

    booking.book(bad, bad)
    booking.book(bad)

    assert len(booking.faults()) == 1
    assert value(booking.database, "SELECT seen FROM stp.exception_item") == 3


def test_an_exception_item_shows_what_the_message_says(booking):
    booking.book(a_raw_message(dealtAmount="many", valueDate="soon"))

    columns = "trade_id, state, symbol, side, dealt_amount, trade_date, value_date, legal_entity, counterparty"
    assert booking.rows(columns, "exception_item") == [
        ("FXI9369258100", "open", "EUR/USD", "Buy", "many", "2023-06-02", "soon", "CustomerOrgle1", "BrokerOrg1")
    ]


def test_a_new_field_is_remembered_once(booking):
    booking.book(a_raw_message(brandNew=1), a_raw_message(tradeId="T2", brandNew=2))
    booking.book(a_raw_message(tradeId="T3", brandNew=3, another=4))

    names = "SELECT name, message_id % 100000000 FROM stp.known_field ORDER BY name"
    assert [name for name, _ in rows(booking.database, names)] == ["another", "brandNew"]


def test_any_number_of_exception_items_may_stand_in_one_batch(booking):
    bad = [a_raw_message(tradeId=f"T{number}", side="?") for number in range(30)]

    assert booking.book(*bad) == {"excepted": 30}
    assert booking.book(*bad) == {"excepted": 30}
    assert len(booking.faults()) == 30


def test_a_new_field_in_a_batch_that_was_halved_is_remembered_too(booking):
    change(booking.database, "ALTER TABLE stp.trade_version ADD CHECK (note IS DISTINCT FROM 'poison')")

    booking.book(a_raw_message(brandNew=1), a_raw_message(tradeId="T2", note="poison"))

    assert rows(booking.database, "SELECT name FROM stp.known_field") == [("brandNew",)]


@pytest.mark.parametrize("batch_bytes", [1, 1_000_000])
def test_a_message_that_the_database_refuses_stands_alone(database, batch_bytes):
    change(database, "ALTER TABLE stp.trade_version ADD CONSTRAINT no_poison CHECK (note IS DISTINCT FROM 'poison')")
    booking = Booking(database, batch_bytes=batch_bytes)
    notes = ["fine", "poison", "fine", "fine", "poison", "poison", "fine"]
    for page in range(3):
        booking.land(*(a_raw_message(tradeId=f"T{page}-{n}", note=note) for n, note in enumerate(notes)))

    counts = booking.book()

    assert counts == {"booked": 12, "excepted": 9}
    assert {rule.split(":")[0] for ((_, rule),) in booking.faults()} == {"the database refuses the content (23514)"}
    assert all("no_poison" in rule for ((_, rule),) in booking.faults())
    assert sorted(row[0] for row in booking.rows("trade_id", "trade")) == sorted(
        f"T{page}-{n}" for page in range(3) for n, note in enumerate(notes) if note == "fine"
    )
    assert booking.waiting() == 0
    booking.check_positions()


def test_a_refused_message_between_two_versions_of_its_trade_leaves_both(database):
    change(database, "ALTER TABLE stp.trade_version ADD CONSTRAINT no_poison CHECK (note IS DISTINCT FROM 'poison')")
    booking = Booking(database)

    counts = booking.book(*(a_raw_message(note=note) for note in ("first", "poison", "third")))

    assert counts == {"booked": 1, "excepted": 1, "enriched": 1}
    assert booking.rows("version, note", "trade_version", "ORDER BY 1") == [(1, "first"), (2, "third")]
    booking.check_positions()


def test_an_answer_that_is_no_page_is_booked_as_nothing(booking):
    booking.land(body=b"<html>", at=START)
    poll = an_open_poll(booking.open_work, booking.feed)
    change(
        booking.database,
        "INSERT INTO stp.unbooked VALUES (:feed_id, :poll_id, now(), :poll_id, 3)",
        feed_id=booking.feed.feed_id,
        poll_id=poll.poll_id,
    )

    assert booking.waiting() == 1
    assert booking.book() == {}


def test_booking_that_is_killed_before_its_commit_books_the_same_later(database):
    def die():
        raise KilledError

    booking = Booking(database, open_work=work_on(database), batch_bytes=1)
    booking.land(a_raw_message(), a_raw_message(tradeId="T2"))
    booking.land(a_raw_message(rate=Number("1.5")))
    booking.booker._here._open_work = interrupted(booking.open_work, die, skip=1)
    with pytest.raises(KilledError):
        booking.book()
    between = booking.waiting()

    counts = booking.book()

    assert (between, counts) == (1, {"conflict": 1})
    assert len(booking.rows("*", "message")) == 3
    booking.check_positions()


def test_a_page_whose_every_message_has_a_new_field_costs_a_page_and_not_a_page_a_message(database):
    """As after an upgrade of the vendor's: the trades are known, their content is not the one that was hashed."""
    booking = Booking(database)
    booking.book(*(a_raw_message(tradeId=f"T{number}") for number in range(300)))
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *said: statements.append(said[2]))

    enriched = booking.book(*(a_raw_message(tradeId=f"T{number}", field_of_tomorrow="x") for number in range(300)))
    ignoring = Booking(database, reading=Reading(ignored_in_comparison=frozenset({"field_of_tomorrow"})))
    again = Booker(
        msgspec.structs.replace(ignoring.booked_feed, feed_id=booking.feed.feed_id), ignoring.open_work, booking.clock
    )
    booking.land(*(a_raw_message(tradeId=f"T{number}", field_of_tomorrow="y") for number in range(300)))

    assert enriched == {"enriched": 300}
    assert again.book() == {"duplicate": 300}
    assert len(statements) < 120


def test_two_bookers_of_a_feed_book_everything_once(database):
    booking = Booking(database, batch_bytes=1)
    other = type(booking.booker)(booking.booked_feed, work_on(database), booking.clock)
    for page in range(12):
        booking.land(*(a_raw_message(tradeId=f"T{page}-{n}") for n in range(5)))
    counts = []
    threads = [Thread(target=lambda booker=b: counts.append(booker.book())) for b in (booking.booker, other)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum((each for each in counts), start=type(counts[0])()) == {"booked": 60}
    assert len(booking.rows("*", "message")) == 60
    booking.check_positions()


def test_booking_stops_after_the_present_batch_when_told_to(booking):
    told = Event()
    told.set()
    booking.land(a_raw_message())

    assert booking.booker.book(told) == {}
    assert booking.waiting() == 1


def test_booking_takes_no_lock_that_landing_needs(booking, database):
    with database.connect() as connection:
        connection.execute(text("SELECT FROM stp.booker FOR UPDATE"))
        connection.execute(text("UPDATE stp.change_counter SET change_seq = change_seq"))

        booking.land(a_raw_message())

    assert booking.book() == {"booked": 1}


def test_a_reader_of_all_feeds_misses_nothing_while_two_feeds_are_booked(database):
    slow = [
        Booking(database, batch_bytes=1, open_work=interrupted(work_on(database), lambda: time.sleep(0.004), times=999))
        for _ in range(2)
    ]
    for booking in slow:
        for page in range(20):
            booking.land(*(a_raw_message(tradeId=f"T{page}-{n}") for n in range(3)))
    threads = [Thread(target=booking.booker.book) for booking in slow]
    read: list[int] = []

    for thread in threads:
        thread.start()
    while len(read) < 120 and (any(thread.is_alive() for thread in threads) or len(read) == 0):
        query = "SELECT change_seq FROM reporting.trade WHERE change_seq > :last ORDER BY 1"
        read += [row[0] for row in rows(database, query, last=read[-1] if read else 0)]
    for thread in threads:
        thread.join()
    read += [row[0] for row in rows(database, query, last=read[-1])]

    assert read == list(range(1, 121))


def test_an_older_poll_that_is_landed_late_is_booked_too(booking):
    older = an_open_poll(booking.open_work, booking.feed)
    newer = a_feed(booking.open_work, booking.feed.name)
    with booking.open_work() as work:
        work.polls.close_stale(newer.feed_id, newer.epoch, START)
        work.commit()
    booking.feed = Feed(newer.feed_id, newer.name, newer.identity, newer.epoch)
    assert booking.book(a_raw_message(tradeId="new")) == {"booked": 1}

    with booking.open_work() as work:
        work.polls.land(older, a_landing(a_page(a_raw_message(tradeId="late"))), START)
        work.commit()

    assert booking.book() == {"booked": 1}
    assert sorted(row[0] for row in booking.rows("trade_id", "trade")) == ["late", "new"]


def test_answers_are_booked_in_the_order_of_their_polls(booking):
    for rate in ("1.1", "1.2", "1.3"):
        booking.land(a_raw_message(rate=Number(rate)))

    booking.book()

    assert [str(row[0]) for row in booking.rows("rate", "trade_leg_version", "ORDER BY version")] == [
        "1.1",
        "1.2",
        "1.3",
    ]


def test_a_database_that_goes_away_in_mid_booking_leaves_all_of_it_for_later(booking):
    booking.land(a_raw_message())
    pid = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"

    def cut():
        change(booking.database, f"{pid} AND datname = current_database() AND state = 'idle in transaction'")

    whole = booking.open_work
    booking.booker._here._open_work = interrupted(whole, cut)
    with pytest.raises(TransientError):
        booking.book()

    booking.booker._here._open_work = whole
    assert booking.book() == {"booked": 1}


def test_the_ladder_shows_no_cash_that_never_moves(database):
    booking = Booking(database, reading=Reading(non_deliverable_assets=frozenset({"XAU"})))
    ndf_swap = a_swap_message(tradeId="N2", tradeType="NDFSwap", fixingDate="2023-06-02", farFixingDate="2023-07-04")
    gold = {"symbol": "XAU/USD", "currency": "XAU"}
    booking.book(
        as_bytes(an_ndf_message(tradeId="N1")), as_bytes(ndf_swap), a_raw_message(tradeId="G1", **gold),
        as_bytes(an_ndf_message(tradeId="N3", symbol="EUR/USD", currency="EUR")),
    )  # fmt: skip
    assert booking.rows("*", "cash_ladder") == []

    cancelled = a_raw_message(tradeId="S3", status="Cancelled")
    booking.book(a_raw_message(tradeId="S1"), as_bytes(a_swap_message(tradeId="S2")), cancelled)

    columns = "currency, value_date::text, receive, pay, amount, trade_count"
    assert booking.rows(columns, "cash_ladder", "ORDER BY value_date, currency") == [
        ("EUR", "2023-06-06", 2000000, 0, 2000000, 2),
        ("USD", "2023-06-06", 0, Decimal("-2168500.00"), Decimal("-2168500.00"), 2),
        ("EUR", "2023-07-06", 0, -1000000, -1000000, 1),
        ("USD", "2023-07-06", Decimal("1085900.50"), 0, Decimal("1085900.50"), 1),
    ]
    assert booking.rows("trade_id, leg_no, state", "fixing", "ORDER BY 1, 2") == [
        ("N1", 1, "past_fixing"), ("N2", 1, "past_fixing"), ("N2", 2, "past_fixing"), ("N3", 1, "past_fixing"),
    ]  # fmt: skip


def test_an_internal_trade_counts_on_both_sides(database):
    booking = Booking(database, reading=Reading(own_orgs=frozenset({"CustomerOrg", "BrokerOrg1"})))

    booking.book(a_raw_message())

    columns = "organisation, legal_entity, base_amount, term_amount, trade_count"
    assert booking.rows(columns, "position", "ORDER BY 1") == [
        ("BrokerOrg1", "BrokerOrg1LE5", -1000000, Decimal("1084250.00"), 1),
        ("CustomerOrg", "CustomerOrgle1", 1000000, Decimal("-1084250.00"), 1),
    ]
    columns = "organisation, counterparty, currency, amount"
    assert booking.rows(columns, "cash_ladder", "ORDER BY 1, 3") == [
        ("BrokerOrg1", "CustomerOrg", "EUR", -1000000),
        ("BrokerOrg1", "CustomerOrg", "USD", Decimal("1084250.00")),
        ("CustomerOrg", "BrokerOrg1", "EUR", 1000000),
        ("CustomerOrg", "BrokerOrg1", "USD", Decimal("-1084250.00")),
    ]
    assert booking.rows("internal, our_side", "trade") == [(True, "both")]


def test_where_the_counterparty_is_us_all_signs_are_turned(database):
    booking = Booking(database, reading=Reading(own_orgs=frozenset({"BrokerOrg1"})))

    booking.book(a_raw_message())

    columns = "organisation, base_amount, term_amount"
    assert booking.rows(columns, "position") == [("BrokerOrg1", -1000000, Decimal("1084250.00"))]
    assert booking.rows("side, our_side, counterparty", "trade") == [("sell", "counterparty", "CustomerOrg")]


@pytest.mark.parametrize(("own_org", "legs"), [("CustomerOrg", 1), ("BrokerOrg1", 0)])
def test_what_is_past_its_fixing_belongs_to_whom_the_position_is_booked_for(database, own_org, legs):
    booking = Booking(database, reading=Reading(own_orgs=frozenset({own_org})))
    booking.book(as_bytes(an_ndf_message()))
    at_user = (booking.feed.feed_id, "USER", "userName@CustomerOrg")
    key, trade_day = Key("USD/KRW", date(2023, 6, 6)), date(2023, 6, 2)

    with booking.open_work() as work:
        fixed = work.reconciling.fixed(*at_user, key, trade_day)
        held = work.reconciling.positions(*at_user, trade_day)

    assert fixed[1] == len(held) == legs
    assert fixed[0] == (held[key].position if legs else Position(Decimal(0), Decimal(0)))


def test_a_trade_of_neither_party_is_a_case_for_a_person(database):
    booking = Booking(database, reading=Reading(own_orgs=frozenset({"Nobody"})))

    assert booking.book(a_raw_message()) == {"excepted": 1}
    assert "not_our_trade" in booking.faults()[0][0][1]


def test_a_flat_position_is_not_shown(booking):
    booking.book(a_raw_message())
    booking.book(a_raw_message(status="Cancelled"))

    assert booking.rows("*", "position") == []
    booking.check_positions()


def test_attributes_are_json_that_any_reader_understands(booking):
    booking.book(a_raw_message(brandNew={"quote": '"', "back": "\\", "tab": "\t", "ü": "\U0001f600"}))

    found = value(booking.database, "SELECT attributes::text FROM reporting.trade")
    assert json.loads(found) == {"brandNew": {"quote": '"', "back": "\\", "tab": "\t", "ü": "\U0001f600"}}
