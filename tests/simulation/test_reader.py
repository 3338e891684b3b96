"""A reader who remembers the last `change_seq` never misses or repeats a change (design §3)."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from tests.booking import Booking
from tests.builders import a_raw_message
from tests.databases import folder, rows
from tests.simulation.reader import Reader, faults, read_through_kills


def judged(database_url: str, *, kills: int) -> None:
    with folder() as place:
        reader, desk, found = read_through_kills(place, database_url, kills=kills, seed=7)

    assert found == []
    assert desk.corrected > 0
    assert {feed for _, feed, _, _ in reader.seen} == {"north", "south", "west"}
    assert max(version for *_, version in reader.seen) > 1
    print(f"{kills} kills, {len(reader.seen)} changes, {desk.corrected} by reading again, {reader.looks} looks")


def test_a_reader_misses_nothing_while_the_daemon_is_killed_and_messages_are_read_again(database_url):
    judged(database_url, kills=3)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_a_reader_misses_nothing_through_fifty_kills(database_url):
    judged(database_url, kills=50)


def test_the_judge_notices_what_a_reader_missed_or_saw_twice(booking):
    booking.book(a_raw_message(), a_raw_message(tradeId="T2"), a_raw_message(tradeId="T3"))
    reader = Reader(booking.database)
    reader.start()
    reader.catch_up()
    whole = faults(reader, booking.database)
    reader.seen.pop(1)
    missed = faults(reader, booking.database)
    reader.seen.append(reader.seen[0])
    twice = faults(reader, booking.database)

    assert whole == []
    assert missed[0].startswith("missed 1 of 3")
    assert twice[0] == "numbers were seen twice or out of order"


def test_nobody_sees_a_change_before_one_with_a_lower_number(booking):
    """While one writer has a number and has not committed, another does not even get one."""
    other = Booking(booking.database)
    other.land(a_raw_message(tradeId="T2"))
    with booking.database.connect() as holding:
        holding.execute(text("UPDATE stp.change_counter SET change_seq = change_seq + 1"))
        with ThreadPoolExecutor(1) as threads:
            booked = threads.submit(other.book)
            with pytest.raises(TimeoutError):
                booked.result(timeout=1)
            waiting = rows(booking.database, "SELECT FROM reporting.trade_version")
            holding.commit()
            booked.result(timeout=120)

    assert waiting == []
    assert rows(booking.database, "SELECT change_seq, trade_id FROM reporting.trade_version") == [(2, "T2")]


def test_a_batch_of_booked_trades_is_told_to_listeners_once_and_landing_is_not(booking):
    with booking.database.connect() as connection:
        driver = connection.connection.driver_connection
        driver.autocommit = True
        driver.execute("LISTEN stp_trade_change")
        booking.land(a_raw_message(), a_raw_message(tradeId="T2"))
        landed = [each.payload for each in driver.notifies(timeout=0.2)]
        booking.book()
        booked = [each.payload for each in driver.notifies(timeout=60, stop_after=1)]
        booking.book(a_raw_message())
        again = [each.payload for each in driver.notifies(timeout=0.2)]
        driver.autocommit = False

    assert (landed, booked, again) == ([], ["2"], [])
