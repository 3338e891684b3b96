"""A real Postgres that fails while an answer is in hand or being booked: cut off, locked, read-only, full."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import event, text

from etl.clock import SystemClock
from etl.errors import DatabaseAwayError, TransientError
from etl.pipeline.book import Booker
from etl.store.copying import driver_of
from etl.store.database import Database
from etl.store.unit_of_work import work_on
from etl.vendor.feed import QueueAnswer
from tests.booking import Booking
from tests.builders import a_raw_message
from tests.databases import change, rows, value
from tests.polling import Polling
from tests.vendors import page_of

TERMINATE = "SELECT pg_terminate_backend(:pid, 5000)"


@contextmanager
def cut_at(statement: int, victim: Database, looking: Database) -> Iterator[Callable[[], int]]:
    """End the server process behind `victim` right before its statement of this number; tell how many there were."""
    seen = count(1)
    last = 0

    def before(connection: Any, *_: Any) -> None:
        nonlocal last
        last = next(seen)
        if last == statement:
            pid = connection.connection.dbapi_connection.info.backend_pid
            change(looking, TERMINATE, pid=pid)

    event.listen(victim.engine, "before_cursor_execute", before)
    try:
        yield lambda: last
    finally:
        event.remove(victim.engine, "before_cursor_execute", before)


@pytest.fixture
def victim(database_url: str) -> Iterator[Database]:
    """A second way to the same database, which is the one that fails."""
    database = Database(database_url)
    yield database
    database.close()


def a_page_about(trade_id: str) -> QueueAnswer:
    return page_of(a_raw_message(tradeId=trade_id))


def drained(polling: Polling, answer: QueueAnswer) -> None:
    """Drain until the answer was handed out and the queue is proven empty, however often the database fails."""
    left = [answer]
    for _ in range(5):
        polling.rest()
        polling.vendor.answers[:] = left
        try:
            if polling.poller.drain().proven_empty and not polling.vendor.answers:
                return
        except DatabaseAwayError:
            left = list(polling.vendor.answers)
    raise AssertionError("five drains came to no end")


def test_law_1_a_server_process_ended_at_any_statement_of_a_drain_loses_and_doubles_nothing(database, victim):
    polling = Polling(database, open_work=work_on(victim))
    handed_out = []
    for number in count(1):
        answer = a_page_about(f"T{number}")
        with cut_at(number, victim, database) as seen:
            drained(polling, answer)
            handed_out.append(answer.body)
            if seen() < number:
                break

    assert number > 4  # may it land, intent, landing with the next intent, outcome
    assert polling.bodies() == handed_out
    assert polling.pages_without_answer() == 0
    assert [entry for entry in polling.ledger() if entry[0] == "in_doubt"] == []
    polling.close()


def test_law_1_a_server_process_ended_at_any_statement_of_booking_loses_and_doubles_nothing(database, victim):
    booking = Booking(database)
    booker = Booker(booking.booked_feed, work_on(victim), booking.clock)
    for number in count(1):
        booking.land(a_raw_message(tradeId=f"T{number}"))
        with cut_at(number, victim, database) as seen:
            while booking.waiting():
                try:
                    booker.book()
                except TransientError:
                    assert number > 0
            if seen() < number:
                break

    assert number > 8
    assert len(booking.rows("trade_id", "trade")) == number
    assert value(database, "SELECT count(*) FROM stp.message") == number
    assert rows(database, "SELECT trade_id FROM stp.trade GROUP BY trade_id HAVING count(*) > 1") == []
    booking.check_positions()


def test_an_answer_in_hand_waits_for_a_database_that_became_read_only(database, database_url, victim):
    polling = Polling(database, open_work=work_on(victim), clock=SystemClock())
    name = value(database, "SELECT current_database()")

    def set_to(how: str) -> None:
        another = Database(database_url)
        with another.connect() as connection:
            connection.execute(text("SET TRANSACTION READ WRITE"))
            connection.execute(text(f'ALTER DATABASE "{name}" {how}'))
            connection.commit()
        another.close()
        polling.end_connections()  # those of before do not know of it

    def failed_over(_ticket: Any, _count: int) -> QueueAnswer:
        set_to("SET default_transaction_read_only = on")
        Thread(target=lambda: (time.sleep(1), set_to("RESET default_transaction_read_only")), daemon=True).start()
        return a_page_about("T1")

    polling.drain(failed_over)
    database.engine.dispose()  # its connections were ended, too

    assert polling.bodies() == [a_page_about("T1").body]
    assert polling.ledger()[0] == ("page", "page")
    polling.close()


@contextmanager
def locked_for(database: Database, table: str, seconds: float) -> Iterator[None]:
    """Hold the lock of a change of the schema on a table for a while."""
    with database.connect() as connection:
        connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        release = Thread(target=lambda: (time.sleep(seconds), connection.rollback()))
        release.start()
        try:
            yield
        finally:
            release.join()


def test_an_answer_in_hand_waits_for_a_lock_longer_than_a_statement_may_take(database, database_url):
    impatient = Database(database_url, statement_timeout_s=1)
    polling = Polling(database, open_work=work_on(impatient), clock=SystemClock())
    holds: list[Any] = []

    def locked(_ticket: Any, _count: int) -> QueueAnswer:
        holds.append(locked_for(database, "stp.answer", 2.5))
        holds[0].__enter__()
        return a_page_about("T1")

    polling.drain(locked)
    holds[0].__exit__(None, None, None)

    assert polling.bodies() == [a_page_about("T1").body]
    assert [entry for entry in polling.ledger() if entry[0] == "page"] == [("page", "page")]
    polling.close()
    impatient.close()


def test_booking_that_waits_too_long_for_a_lock_is_undone_and_done_later(database, database_url):
    impatient = Database(database_url, statement_timeout_s=1)
    booking = Booking(database, open_work=work_on(impatient))
    booking.land(a_raw_message(tradeId="T1"))
    with locked_for(database, "stp.trade_version", 2.0), pytest.raises(TransientError):
        booking.book()

    assert booking.book() == {"booked": 1}
    booking.check_positions()
    impatient.close()


FULL = """
CREATE FUNCTION public.full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$
"""


def fill(database: Database, table: str) -> None:
    """Let the server say of each insert and update of a table what it says when its disk is full."""
    change(database, FULL)
    change(
        database,
        f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table} FOR EACH STATEMENT"
        " EXECUTE FUNCTION public.full_disk()",
    )


def make_room(database: Database) -> None:
    """End what `fill` began."""
    change(database, "DROP FUNCTION public.full_disk() CASCADE")


def test_law_4_a_full_disk_means_no_request(database, victim):
    polling = Polling(database, open_work=work_on(victim))
    fill(database, "stp.current_poll")

    with pytest.raises(DatabaseAwayError, match="No space left on device"):
        polling.drain(a_page_about("T1"))

    assert polling.vendor.asked == []
    polling.close()


def test_an_answer_in_hand_waits_for_room_on_the_disk(database, victim):
    polling = Polling(database, open_work=work_on(victim), clock=SystemClock())

    def full(_ticket: Any, _count: int) -> QueueAnswer:
        fill(database, "stp.answer")
        Thread(target=lambda: (time.sleep(1), make_room(database)), daemon=True).start()
        return a_page_about("T1")

    polling.drain(full)

    assert polling.bodies() == [a_page_about("T1").body]
    assert polling.ledger()[0] == ("page", "page")
    polling.close()


def test_booking_on_a_full_disk_is_undone_and_done_later(database):
    booking = Booking(database)
    booking.land(a_raw_message(tradeId="T1"))
    fill(database, "stp.trade_version")
    with pytest.raises(TransientError, match="No space left on device"):
        booking.book()
    make_room(database)

    assert booking.book() == {"booked": 1}
    booking.check_positions()


def test_a_lost_connection_is_no_error_of_the_pool_and_is_not_used_again(database, victim, caplog):
    with victim.engine.connect() as connection:  # used beside SQLAlchemy, which therefore does not know that it is lost
        driver = driver_of(connection)
        driver.execute("SELECT 1")
        change(database, TERMINATE, pid=driver.info.backend_pid)

    assert value(victim, "SELECT 1") == 1
    assert caplog.records == []


def test_what_a_connection_had_begun_is_undone_before_it_is_lent_again(database, victim):
    with victim.engine.connect() as connection:
        driver_of(connection).execute("CREATE TABLE stp.begun ()")
        pid = driver_of(connection).info.backend_pid

    assert rows(victim, "SELECT pg_backend_pid(), to_regclass('stp.begun')") == [(pid, None)]


def test_a_connection_that_cannot_be_undone_is_still_an_error_in_the_log(victim, caplog):
    with victim.engine.connect() as connection:
        driver = driver_of(connection)
        driver.execute("SELECT 1")
        driver.rollback = lambda: driver.execute("SELECT 1/0")  # whatever nobody has thought of

    (said,) = caplog.records
    assert (said.levelname, said.message) == ("ERROR", "Exception during reset or similar")
