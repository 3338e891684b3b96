"""What the tables themselves hold to: partitions, rows that are only ever inserted, and any version of Postgres."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from etl.domain.fields import Reading
from etl.errors import ContentRefusedError, DatabaseRefusedError
from etl.pipeline.batch import BookedFeed
from etl.pipeline.book import Booker
from etl.store import grants
from etl.store.database import Database
from etl.store.repositories.attention import Deed
from etl.store.unit_of_work import work_on
from tests.builders import a_raw_message, a_swap_message, as_bytes
from tests.clocks import START, FakeClock
from tests.databases import DEBIAN, Server, change, debian, embedded, migrated, rows, value
from tests.feeds import a_feed, landed

INSERT_ONLY = ("answer", "trade_version", "trade_leg", "audit")
PARTITION = "SELECT tableoid::regclass::text FROM stp.answer WHERE poll_id = :poll_id"


def book_one(database: Database, *, at: datetime = START) -> int:
    """Land and book one trade, and record a deed; return the poll."""
    open_work = work_on(database)
    feed = a_feed(open_work)
    poll = landed(open_work, feed, a_raw_message(), at=at)
    Booker(BookedFeed(feed.feed_id, feed.name, Reading()), open_work, FakeClock(at)).book()
    with open_work() as work:
        work.attention.record(Deed(at, "ann", "gaps close", "told so by the vendor"))
        work.commit()
    return poll.poll_id


@pytest.mark.parametrize("table", INSERT_ONLY)
@pytest.mark.parametrize("deed", ["UPDATE stp.{0} SET {1} = {1}", "DELETE FROM stp.{0}", "TRUNCATE stp.{0}"])
def test_law_5_landed_and_booked_rows_are_never_changed(database, table, deed):
    book_one(database)
    before = rows(database, f"SELECT * FROM stp.{table}")
    column = "operator" if table == "audit" else "feed_id"

    with pytest.raises(
        DatabaseRefusedError, match=f"{deed.split()[0]} on stp.*{table}.* refused: .*only ever inserted"
    ):
        change(database, deed.format(table, column))

    assert rows(database, f"SELECT * FROM stp.{table}") == before != []


@pytest.mark.parametrize("at", [START, datetime.now(UTC)])
def test_law_5_the_way_around_through_a_partition_is_closed(database, at):
    poll_id = book_one(database, at=at)
    partition = value(database, PARTITION, poll_id=poll_id)

    for deed in (f"UPDATE {partition} SET body = ''", f"DELETE FROM {partition}", f"TRUNCATE {partition}"):
        with pytest.raises(DatabaseRefusedError, match="only ever inserted"):
            change(database, deed)


def test_partitions_are_there_for_this_month_and_three_more(database):
    made = rows(
        database,
        "SELECT to_char(m, 'YYYYMM') FROM generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),"
        " now() AT TIME ZONE 'UTC' + interval '3 months', interval '1 month') m"
        " WHERE to_regclass('stp.answer_p' || to_char(m, 'YYYYMM')) IS NOT NULL"
        " AND to_regclass('stp.message_p' || to_char(m, 'YYYYMM')) IS NOT NULL",
    )

    assert len(made) == 4


def test_making_partitions_again_makes_only_what_is_missing(open_work):
    with open_work() as work:
        counts = [work.feeds.make_partitions(3), work.feeds.make_partitions(5), work.feeds.make_partitions(5)]

    assert counts == [0, 4, 0]


def test_an_answer_lies_in_the_partition_of_its_month(database, connection):
    connection.execute(text("SELECT stp.make_partitions('2024-03-31', 1)"))
    connection.commit()
    open_work = work_on(database)
    feed = a_feed(open_work)
    moments = {
        datetime(2024, 2, 29, 23, 59, 59, 999999, UTC): "stp.answer_default",
        datetime(2024, 3, 1, tzinfo=UTC): "stp.answer_p202403",
        datetime(2024, 3, 31, 23, 59, 59, 999999, UTC): "stp.answer_p202403",
        datetime(2024, 4, 1, tzinfo=UTC): "stp.answer_p202404",
    }

    polls = {at: landed(open_work, feed, a_raw_message(), at=at) for at in moments}

    assert {at: value(database, PARTITION, poll_id=poll.poll_id) for at, poll in polls.items()} == moments


def test_a_month_whose_answers_lie_in_the_default_partition_stays_there_and_stops_no_other(database, connection):
    open_work = work_on(database)
    landed(open_work, a_feed(open_work), a_raw_message(), at=START)

    connection.execute(text("SELECT stp.make_partitions('2024-02-01', 3)"))
    connection.commit()

    made = rows(database, "SELECT relname FROM pg_class WHERE relname ~ '^answer_p2024' AND relkind = 'r' ORDER BY 1")
    assert made == [("answer_p202402",), ("answer_p202404",), ("answer_p202405",)]


def test_a_leg_that_only_pays_is_refused_by_the_table_itself(database):
    with pytest.raises(ContentRefusedError, match="one_paid_one_received"):
        change(
            database,
            "INSERT INTO stp.trade_leg (feed_id, trade_id, version, leg_no, value_date, deliverable, dealt_currency,"
            " dealt_amount, settled_currency, settled_amount, base_amount, term_amount)"
            " VALUES (1, 'T', 1, 1, '2024-03-15', true, 'EUR', -1, 'USD', -1, -1, -1)",
        )


@pytest.fixture(scope="module", params=["embedded 18", "embedded 16", "debian 15"])
def some_postgres(request: pytest.FixtureRequest) -> Iterator[tuple[int, Server]]:
    """A server of each version that we say is tested."""
    kind, version = request.param.split()
    if kind == "debian" and not (DEBIAN / "initdb").exists():
        pytest.skip(f"{DEBIAN} is not installed")
    with debian() if kind == "debian" else embedded(int(version)) as own, migrated(own.url) as server:
        yield int(version), server


def test_every_version_of_postgres_lands_and_books_the_same(some_postgres):
    version, server = some_postgres
    with server.database() as url:
        database = Database(url)
        open_work = work_on(database)
        feed = a_feed(open_work)
        landed(open_work, feed, a_raw_message(), as_bytes(a_swap_message(tradeId="S1")), b"[]", a_raw_message())
        database.check_server()

        counts = Booker(BookedFeed(feed.feed_id, feed.name, Reading()), open_work, FakeClock()).book()

        assert value(database, "SELECT current_setting('server_version_num')::int / 10000") == version
        assert counts == {"booked": 2, "duplicate": 1, "excepted": 1}
        assert value(database, "SELECT count(*) FROM reporting.blotter") == 2
        assert rows(database, "SELECT value_date::text, base_amount FROM reporting.position ORDER BY 1") == [
            ("2023-06-06", 2000000),
            ("2023-07-06", -1000000),
        ]
        assert value(database, "SELECT state FROM reporting.feed_status") == "polling"
        database.close()


def test_every_version_of_postgres_refuses_to_change_what_was_landed(some_postgres):
    _, server = some_postgres
    with server.database() as url:
        database = Database(url)
        book_one(database, at=datetime.now(UTC))

        for table in INSERT_ONLY:
            with pytest.raises(DatabaseRefusedError, match="only ever inserted"):
                change(database, f"DELETE FROM stp.{table}")

        database.close()


@pytest.mark.parametrize("table", sorted(set(grants.INSERT_ONLY) - set(INSERT_ONLY)))
def test_what_reconciliation_is_based_on_is_never_changed(database, table):
    """The trigger is asked by the statement itself, so that no row need be there."""
    with pytest.raises(DatabaseRefusedError, match=f"TRUNCATE on stp.{table} refused"):
        change(database, f"TRUNCATE stp.{table} CASCADE")
    triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = CAST(:name AS regclass) AND tgname = 'insert_only'"
    assert value(database, triggers, name=f"stp.{table}") == 1
