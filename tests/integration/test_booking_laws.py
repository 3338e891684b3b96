"""The laws of booking (design.md §2): 6, 7 and 8, on real Postgres."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.domain.fields import Reading
from etl.domain.payload import Number
from etl.domain.reconciliation import BreakKind, Finding
from etl.errors import BookingHeldError
from etl.pipeline.batch import BookedFeed
from etl.pipeline.book import Booker
from tests.acceptance.program import until
from tests.booking import Booking
from tests.builders import ABSENT, a_message, a_raw_message, a_swap_message, an_ndf_message, as_bytes
from tests.databases import change, rows, value

on_a_real_database = settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # one database for all examples; each has a feed of its own

# The contents that the vendor may give one trade in the course of time, by what changes.
CONTENTS = {
    "first": {},
    "note": {"note": "now with a note"},
    "amount": {"settledAmount": Number("1084260.01")},
    "cancelled": {"status": "Cancelled"},
    "other day": {"valueDate": "2023-06-07", "dealtAmount": 999},
    "swap": a_swap_message(),
    "extra": {"brandNew": [Number("1.50"), {"deep": None}]},
}
SPELLINGS = ("plain", "resend", "numbers", "order")
IDS = ("T1", "T2", "T3")
deliveries = st.lists(
    st.tuples(st.sampled_from(IDS), st.sampled_from(sorted(CONTENTS)), st.sampled_from(SPELLINGS)), max_size=14
)


def spelled(trade_id: str, content: str, spelling: str) -> bytes:
    """Return the message of one delivery: the same content may be written in several ways."""
    message = a_message(**(CONTENTS[content] | {"tradeId": trade_id, "customerAccount": f"{trade_id}LE"}))
    match spelling:
        case "resend":
            message["event"] = "RESEND"
        case "numbers":
            message["settledAmount"] = Number(f"{Decimal(message['settledAmount'])}00")
            message["rate"] = Number(f"{message['rate']}0e0")
        case "order":
            message = dict(reversed(message.items()))
    return as_bytes(message)


def test_law_6_a_trade_whose_first_delivery_is_labelled_a_resend_is_booked(booking):
    counts = booking.book(a_raw_message(event="RESEND"))

    assert counts == {"booked": 1}
    assert booking.rows("trade_id, version", "trade") == [("FXI9369258100", 1)]
    assert booking.rows("event, state", "message") == [("RESEND", "booked")]


@pytest.mark.parametrize("event", ["NEW", "RESEND", "AMEND", "", None, 7, {"a": 1}, ABSENT])
def test_law_6_the_label_decides_nothing(booking, event):
    assert booking.book(a_raw_message(event=event)) == {"booked": 1}
    assert booking.book(a_raw_message(event="NEW")) == {"duplicate": 1}


def test_law_6_the_same_id_at_two_feeds_is_two_trades(database):
    feeds = [Booking(database), Booking(database)]

    assert [each.book(a_raw_message()) for each in feeds] == [{"booked": 1}] * 2
    assert [len(each.rows("*", "trade")) for each in feeds] == [1, 1]


@on_a_real_database
@given(deliveries, st.randoms(use_true_random=False))
def test_law_7_any_repetition_books_each_content_once(database, delivered, chance):
    booking = Booking(database)
    counts: Counter[str] = Counter()
    rest = [spelled(*each) for each in delivered]
    while rest:
        size = chance.randint(1, 5)
        booking.land(*rest[:size])
        rest = rest[size:]
        if chance.random() < 0.5:
            counts += booking.book()
    counts += booking.book()

    contents = {(trade_id, content) for trade_id, content, _ in delivered}
    assert len(booking.contents()) == len(contents)
    assert counts.total() == len(delivered) == len(booking.rows("*", "message"))
    assert counts["duplicate"] == len(delivered) - len(contents)
    assert counts["booked"] == len({trade_id for trade_id, _ in contents})
    assert counts["excepted"] == 0
    booking.check_positions()


@on_a_real_database
@given(deliveries, st.randoms(use_true_random=False))
def test_law_7_any_order_gives_the_same_contents(database, delivered, chance):
    first, second = Booking(database), Booking(database)
    messages = [spelled(*each) for each in delivered]
    first.book(*messages)
    chance.shuffle(messages)

    second.book(*messages, *messages[: len(messages) // 2])

    assert second.contents() == first.contents()
    second.check_positions()


@on_a_real_database
@given(deliveries, st.lists(st.booleans(), min_size=14, max_size=14))
def test_law_7_a_dropped_message_changes_its_own_trade_alone_and_nothing_once_it_has_come(database, delivered, dropped):
    messages = [spelled(*each) for each in delivered]
    lost = [message for message, is_lost in zip(messages, dropped, strict=False) if is_lost]
    kept = [message for message, is_lost in zip(messages, dropped, strict=False) if not is_lost]
    hit = {trade_id for (trade_id, _, _), is_lost in zip(delivered, dropped, strict=False) if is_lost}
    whole, holed = Booking(database), Booking(database)
    whole.book(*messages)

    holed.book(*kept)

    known = {(trade_id, content) for (trade_id, content, _), lost in zip(delivered, dropped, strict=False) if not lost}
    assert holed.contents() <= whole.contents()
    assert len(holed.contents()) == len(known)
    assert of_others(holed, hit) == of_others(whole, hit)
    holed.check_positions()
    holed.book(*lost)
    assert holed.contents() == whole.contents()
    holed.check_positions()


def of_others(booking: Booking, hit: set[str]) -> list[list[tuple[object, ...]]]:
    """Return the book without these trades: trades, their versions and breaks, and positions of their entities."""
    trades = "trade_id, version, symbol, side, legal_entity, note, attributes, flags, live, changed_fields"
    legs = "trade_id, version, leg_no, value_date, base_amount, term_amount, rate"
    positions = "legal_entity, symbol, value_date, deliverable, base_amount, term_amount, trade_count"
    return [
        sorted(each for each in booking.rows(columns, view) if each[0].removesuffix("LE") not in hit)
        for columns, view in (
            (trades, "trade_version"), (legs, "trade_leg_version"), ("key, comment, reopened", "break"),
            (positions, "position"),
        )
    ]  # fmt: skip


@on_a_real_database
@given(st.lists(st.sampled_from(IDS), max_size=12), st.randoms(use_true_random=False))
def test_law_7_any_order_gives_the_same_book_where_contents_do_not_change(database, ids, chance):
    columns = "trade_id, version, symbol, side, note, attributes, flags, live"
    legs = "trade_id, leg_no, value_date, base_amount::text, term_amount::text, rate::text"
    books = []
    for _ in range(2):
        booking = Booking(database)
        chance.shuffle(ids)
        booking.book(*(spelled(each, "swap", chance.choice(["plain", "resend", "order"])) for each in ids))
        books.append([booking.rows(columns, "trade", "ORDER BY 1"), booking.rows(legs, "trade_leg", "ORDER BY 1, 2")])

    assert books[0] == books[1]
    assert len(books[0][0]) == len(set(ids))


def test_law_7_content_equal_to_any_version_is_a_duplicate(booking):
    first, second = a_raw_message(), a_raw_message(rate=Number("1.09"))
    booking.book(first)
    booking.book(second)

    counts = booking.book(first, second, first)

    assert counts == {"duplicate": 3}
    assert booking.rows("version", "trade") == [(2,)]
    assert booking.rows("rate", "trade_leg") == [(Decimal("1.09"),)]


def test_law_7_a_field_that_is_ignored_makes_no_version_even_of_what_was_booked_before(database):
    booking = Booking(database)
    booking.book(a_raw_message(lastSeen="Monday"))
    ignoring = Booking(database, reading=Reading(ignored_in_comparison=frozenset({"lastSeen"})))
    ignoring.feed = booking.feed
    ignoring.booker = Booker(
        BookedFeed(booking.feed.feed_id, booking.feed.name, ignoring.booked_feed.reading),
        ignoring.open_work,
        booking.clock,
    )

    assert ignoring.book(a_raw_message(lastSeen="Tuesday")) == {"duplicate": 1}


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"settledAmount": Number("1084260.5")}, ["leg1.settled_amount"]),
        ({"rate": Number("1.084251")}, ["leg1.rate"]),
        ({"valueDate": "2023-06-07"}, ["leg1.value_date"]),
        ({"tradeDate": "2023-06-03"}, ["trade_date"]),
        ({"side": "Sell"}, ["side", "leg1.dealt_amount", "leg1.settled_amount"]),
        ({"status": "Cancelled"}, ["status"]),
        ({"status": ABSENT}, ["status"]),
        ({"counterparty": "OtherBroker"}, ["counterparty"]),
        ({"customerAccount": "OtherLE"}, ["legal_entity"]),
        (a_swap_message(), ["trade_type", "leg2"]),
    ],
)
def test_law_7_changed_economics_make_a_version_and_a_break_that_names_them(booking, changed, fields):
    booking.book(a_raw_message())

    counts = booking.book(a_raw_message(**changed))

    assert counts == {"conflict": 1}
    assert booking.rows("version", "trade") == [(2,)]
    assert booking.rows("kind, key, trade_id, state, comment, reopened", "break") == [
        ("conflict", "FXI9369258100", "FXI9369258100", "open", f"economics changed: {', '.join(fields)}", 0)
    ]
    assert booking.rows("version, changed_fields", "trade_version", "ORDER BY 1") == [(1, []), (2, fields)]
    assert booking.rows("state", "message", "ORDER BY message_id") == [("booked",), ("conflict",)]
    booking.check_positions()


def test_law_7_a_second_conflict_opens_the_same_break_again(booking):
    booking.book(a_raw_message())
    booking.book(a_raw_message(rate=Number("1.1")))
    change(
        booking.database, "UPDATE stp.recon_break SET state = 'resolved', closed_at = now(), closed_by = 'alice',"
        " reason = 'settled', accepted_until = now(), explained_by = 'adopted'",
    )  # fmt: skip

    booking.book(a_raw_message(rate=Number("1.2")), a_raw_message(rate=Number("1.3"), note="x"))

    assert booking.rows("state, reopened", "break") == [("open", 2)]
    said = rows(
        booking.database, "SELECT closed_at, closed_by, reason, accepted_until, explained_by FROM stp.recon_break"
    )
    assert said == [(None,) * 5]
    evidence = value(booking.database, "SELECT evidence FROM stp.recon_break")
    assert [each["versions"] for each in evidence] == [[1, 2], [2, 3], [3, 4]]


def test_a_break_that_a_run_and_booking_find_at_the_same_time_is_one_break(booking):
    booking.book(a_raw_message())
    feed_id, now = booking.feed.feed_id, booking.clock.now()
    finding = Finding(BreakKind.STATUS, "FXI9369258100", "the vendor says Cancelled", trade_id="FXI9369258100")

    def run() -> str:
        with booking.open_work() as work:
            change = work.breaks.found(feed_id, finding, at=now, run_id=None).change
            work.commit()
        return change

    with booking.open_work() as booker, ThreadPoolExecutor() as threads:
        booker.attention.found(feed_id, "status", finding.key, comment=finding.comment, evidence={}, at=now)
        seen = threads.submit(run)
        until(
            lambda: seen.done() or value(booking.database, "SELECT count(*) FROM pg_locks WHERE NOT granted"),
            what="the run to wait",
        )  # fmt: skip
        booker.commit()

        assert seen.result(60) == "same"
    assert booking.rows("kind, state, reopened", "break") == [("status", "open", 0)]


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"note": "hello"}, ["note"]),
        ({"note": "hello", "uti": "U1"}, ["uti", "note"]),
        ({"counterpartyLongName": ABSENT}, ["counterparty_name"]),
        ({"brandNew": Number("1.50")}, ["attributes.brandNew"]),
        ({"executionTime": "2023-06-02 18:31:01,302 +0000"}, ["executed_at"]),
    ],
)
def test_law_7_other_changes_make_a_version_and_no_break(booking, changed, fields):
    booking.book(a_raw_message())

    counts = booking.book(a_raw_message(**changed))

    assert counts == {"enriched": 1}
    assert booking.rows("version, changed_fields", "trade_version", "ORDER BY 1") == [(1, []), (2, fields)]
    assert booking.rows("*", "break") == []
    booking.check_positions()


@pytest.mark.parametrize("changed", [{"maker": True}, {"customerOrg": "Another"}, {"symbol": "EUR/CHF"}])
def test_law_7_another_trade_under_the_same_id_is_a_case_for_a_person(booking, changed):
    booking.book(a_raw_message())

    counts = booking.book(a_raw_message(**changed))

    assert counts == {"excepted": 1}
    assert booking.rows("version", "trade_version") == [(1,)]
    (((field, rule),),) = booking.faults()
    assert field == "tradeId"
    assert rule.startswith("same_id_other_trade: the trade in the book differs in ")
    assert booking.book(a_raw_message()) == {"duplicate": 1}


def many(count: int, **changed: object) -> list[bytes]:
    return [a_raw_message(tradeId=f"T{number}", **changed) for number in range(count)]


@pytest.mark.parametrize("batch_bytes", [1, 1_000_000])
def test_law_7_more_than_twenty_conflicts_in_a_drain_hold_booking_until_a_person_lets_them_pass(database, batch_bytes):
    booking = Booking(database, batch_bytes=batch_bytes)
    booking.book(*many(30))
    amended = many(30, rate=Number("1.5"))
    drain = booking.land(*amended[:20]).poll_id
    booking.land(*amended[20:25], drain_id=drain)
    booking.land(*amended[25:], drain_id=drain)

    with pytest.raises(BookingHeldError, match=rf"2\d|30 trades of drain {drain} .*Landing goes on.*feeds resume"):
        booking.book()

    held = len(booking.rows("*", "break"))
    assert held == (20 if batch_bytes == 1 else 0)
    assert booking.rows("state, landed_unbooked", "feed_status") == [("booking_held", 2 if batch_bytes == 1 else 3)]
    booking.land(a_raw_message(tradeId="new"))
    with pytest.raises(BookingHeldError):
        booking.book()
    booking.check_positions()
    assert booking.resume()
    assert booking.book() == {"conflict": 30 - held, "booked": 1}
    assert booking.waiting() == 0
    booking.check_positions()


def test_law_7_twenty_conflicts_in_a_drain_pass(booking):
    booking.book(*many(20))

    assert booking.book(*many(20, rate=Number("1.5"))) == {"conflict": 20}
    assert booking.book(*many(20, rate=Number("1.6"))) == {"conflict": 20}


def test_law_7_what_a_person_let_pass_lets_no_later_drain_pass(booking):
    booking.book(*many(21))
    booking.land(*many(21, rate=Number("1.5")))
    with pytest.raises(BookingHeldError):
        booking.book()
    booking.resume()
    booking.book()

    with pytest.raises(BookingHeldError):
        booking.book(*many(21, rate=Number("1.6")))


DIGITS = [
    "1", "0.1", "0.10", "1000000.50", "1.0000000000000000000000000000000000000", "9" * 38,
    "12345678901234567890.123456789012345678", "0.00000000000000000000000000000000000001",
    "9007199254740993", "0.30000000000000000000000000000000000001",
]  # fmt: skip


@pytest.mark.parametrize("digits", DIGITS)
def test_law_8_every_digit_arrives(booking, digits):
    booking.book(a_raw_message(dealtAmount=Number(digits), settledAmount=Number(digits), rate=Number(digits)))

    columns = "dealt_amount::text, settled_amount::text, base_amount::text, term_amount::text, rate::text"
    assert booking.rows(columns, "trade_leg") == [(digits, f"-{digits}", digits, f"-{digits}", digits)]


@on_a_real_database
@given(
    st.lists(
        st.tuples(st.integers(1, 10**38 - 1), st.integers(0, 30), st.sampled_from(["Buy", "Sell"])),
        min_size=1,
        max_size=8,
    )
)
def test_law_8_positions_are_exact_to_the_last_digit(database, amounts):
    booking = Booking(database)
    exact = [Decimal((0, tuple(map(int, str(digits))), -places)) for digits, places, _ in amounts]
    messages = [
        a_raw_message(tradeId=f"T{number}", side=side, dealtAmount=Number(f"{amount:f}"))
        for number, (amount, (_, _, side)) in enumerate(zip(exact, amounts, strict=True))
    ]

    assert booking.book(*messages) == {"booked": len(amounts)}

    total = sum(digits * 10 ** (30 - places) * (1 if side == "Buy" else -1) for digits, places, side in amounts)
    found = booking.rows("(base_amount * 1e30)::numeric(100, 0)::text", "position")
    assert [int(text) for (text,) in found] == [total]


def test_law_8_numbers_of_unknown_fields_keep_their_digits(booking):
    booking.book(a_raw_message(margin=Number("0.10"), nested={"a": [Number("1.10"), Number("1E6"), 7]}))

    assert booking.rows("attributes", "trade") == [({"margin": "0.10", "nested": {"a": ["1.10", "1E6", "7"]}},)]


def test_law_8_an_amount_that_is_not_there_is_not_computed(booking):
    assert booking.book(a_raw_message(settledAmount=ABSENT)) == {"excepted": 1}
    assert booking.rows("*", "trade") == []


OF_NUMBER = (a_message, a_swap_message, an_ndf_message)
READINGS = (
    Reading(own_orgs=frozenset({"CustomerOrg", "Sister"})),
    Reading(own_orgs=frozenset({"CustomerOrg"}), aliases={"settled_amount": ("settledAmt",)}),
    Reading(own_orgs=frozenset({"CustomerOrg", "Sister"}), non_deliverable_assets=frozenset({"EUR"})),
)
DEEDS = ("wait", "book", "rebook", "adopt")


def any_message(chance: random.Random, number: int, **more: object) -> dict[str, object]:
    """Return what the vendor may say of trade `number` some day."""
    settled = Number(f"{chance.randint(1, 10**9)}.{chance.randint(0, 99):02}")
    changed = {
        "dealtAmount": Number(f"{chance.randint(1, 10**9)}.{chance.randint(0, 99):02}"),
        "settledAmount": settled,
        "valueDate": f"2023-06-0{chance.randint(6, 9)}",
        "side": chance.choice(["Buy", "Sell"]),
        "status": chance.choice(["Verified", "verified", "Cancelled", ABSENT]),
        "counterparty": "Sister" if number % 3 == 0 else "BrokerOrg1",
        "user": chance.choice(["ann", "bob", ABSENT]),
    }
    if chance.random() < 0.2:  # by a name that not every reading knows
        changed |= {"settledAmount": ABSENT, "settledAmt": settled}
    return OF_NUMBER[number % 3](tradeId=f"T{number}", **changed | more)


@pytest.mark.parametrize("seed", range(3))
def test_positions_are_the_sum_over_the_legs_of_live_trades_after_any_history(database, seed):
    """Of new trades, duplicates and conflicts, of exception items and booked messages read again, and of adoption."""
    chance = random.Random(seed)
    booking = Booking(database, reading=READINGS[0], batch_bytes=3_000, conflicts_before_hold=10_000)
    counts, adopted, told = Counter[str](), Counter[str](), [any_message(chance, number) for number in range(15)]
    for deed in chance.sample(DEEDS * 5, 5 * len(DEEDS)):
        told += [any_message(chance, chance.randrange(15)) for _ in range(chance.randint(1, 6))]
        booking.land(*(as_bytes(each) for each in chance.sample(told, 8)))
        if deed == "book":
            counts += booking.book()
        elif deed == "rebook":
            counts += booking.book() + booking.rebook(chance.choice(READINGS))
        elif deed == "adopt":
            number = chance.randrange(17)
            ended = chance.choice(told) | {"status": "Cancelled"}
            for answer in (ended, any_message(chance, number, status="Verified")):
                adopted[booking.adopt(str(answer["tradeId"]), as_bytes(answer)).effect] += 1
        booking.check_positions()

    counts += booking.book(*map(as_bytes, told))

    booking.check_positions()
    assert len(booking.rows("*", "trade")) >= 15
    assert counts.keys() >= {"booked", "duplicate", "conflict", "excepted", "corrected"}, counts
    assert adopted.keys() >= {"new", "status", "economics"}, adopted
