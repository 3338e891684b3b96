"""deploy/REPLICATION.md, run word for word: every report on a second server by logical replication."""

import re
import time
from pathlib import Path

import pytest

from etl.store import schema
from etl.store.database import Database
from tests.booking import Booking
from tests.builders import a_raw_message, a_swap_message, as_bytes
from tests.databases import EMPTY, SETTINGS, embedded, migrated, rows, value

PAGE = (Path(__file__).resolve().parents[2] / "deploy" / "REPLICATION.md").read_text()
BLOCKS = dict(re.findall(r"<!-- (\w+) -->\n```sql\n(.*?)```", PAGE, re.DOTALL))
LOGICAL = f"{SETTINGS} -c wal_level=logical"
VIEWS = (
    "trade", "trade_leg", "trade_version", "trade_leg_version", "blotter", "position", "cash_ladder", "break", "gap",
    "exception_item", "feed_status", "audit",
)  # fmt: skip


def run(database: Database, statements: str) -> None:
    """Run a block of the page as psql does: each statement for itself."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for each in re.findall(r"(?:DO \$\$.*?\$\$|[^;])+;", statements, re.DOTALL):
            connection.exec_driver_sql(each, execution_options={"no_parameters": True})


def seen(database: Database) -> dict[str, list[str]]:
    return {view: sorted(str(row) for row in rows(database, f'SELECT * FROM reporting."{view}"')) for view in VIEWS}


@pytest.fixture(scope="module")
def servers():
    """Two servers; the first writes a log that can be replicated."""
    with embedded(settings=LOGICAL) as one, embedded() as other, migrated(one.url) as book, migrated(other.url) as copy:
        plugin = Path(str(one.binary("pg_config"))).parents[1]
        if not list(plugin.rglob("libpqwalreceiver*")):
            pytest.skip("this Postgres is packaged without what a subscription needs")
        yield book, copy


@pytest.mark.nightly
def test_every_report_of_the_copy_becomes_that_of_the_book(servers):
    book, copy = servers
    with book.database() as source_url, copy.database(EMPTY) as copy_url:
        source, target = Database(source_url), Database(copy_url)
        with target.connect() as connection:
            schema.upgrade(connection)
        booking = Booking(source)
        booking.book(a_raw_message(), as_bytes(a_swap_message(tradeId="S1")), a_raw_message(side="?"))
        run(source, BLOCKS["source"])
        address = f"host={source.url.query['host']} dbname={source.url.database} user=stp_replication"
        run(target, BLOCKS["copy"].replace("host=book.example dbname=stp user=stp_replication", address))
        try:
            until_equal(source, target)
            booking.book(a_raw_message(note="later"), a_raw_message(tradeId="T2", dealtAmount=5, settledAmount=6))
            booking.book(a_raw_message(dealtAmount=2000000, settledAmount=2168500))
            run(source, BLOCKS["source"].split("DO $$", 1)[1].join(["DO $$", ""]))  # again, as after an upgrade
            run(target, BLOCKS["refresh"])

            until_equal(source, target)
            numbers = [row[0] for row in rows(target, "SELECT change_seq FROM reporting.trade_version ORDER BY 1")]
            assert numbers == [1, 2, 3, 4, 5]
        finally:
            run(target, "DROP SUBSCRIPTION stp_reports;")
            run(source, "DROP PUBLICATION stp_reports; DROP OWNED BY stp_replication; DROP ROLE stp_replication;")
            source.close()
            target.close()


def test_every_table_that_is_replicated_has_a_key_so_that_the_daemon_can_go_on_changing_it(database):
    without = rows(
        database,
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'stp'::regnamespace AND c.relkind = 'r'"
        " AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)"
        " AND c.relname !~ '^(answer|message)_'",
    )

    assert without == []


def until_equal(source: Database, target: Database) -> None:
    """Wait until every report is the same on both servers; say which is not."""
    for _ in range(600):
        if seen(source) == seen(target):
            assert value(target, "SELECT count(*) FROM reporting.trade") > 0
            return
        time.sleep(0.1)
    ours, theirs = seen(source), seen(target)
    raise AssertionError({view: (ours[view], theirs[view]) for view in VIEWS if ours[view] != theirs[view]})
