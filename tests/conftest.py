"""Fixtures for every test that needs a database: a real Postgres, and a migrated database for each test."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings
from sqlalchemy import Connection
from structlog.contextvars import clear_contextvars

from etl.store.database import Database
from etl.store.unit_of_work import OpenWork, work_on
from tests.booking import Booking
from tests.clocks import FakeClock
from tests.databases import EMPTY, Server, change, embedded, migrated
from tests.polling import Polling

# A shell's background ignores SIGINT, and whoever is started here would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example takes is the machine's affair. By day the same code meets the same examples; new ones by night.
settings.register_profile("patient", deadline=None, derandomize=True)
settings.register_profile("searching", deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _nothing_bound() -> None:
    """Begin without what a poll of an earlier test has left for the lines of the log."""
    clear_contextvars()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server: embedded, one a worker; or the one at STP_ETL_TEST_DATABASE_URL, as a superuser of it."""
    given = os.environ.get("STP_ETL_TEST_DATABASE_URL")
    if given:
        with migrated(given) as server:
            yield server
    else:
        with embedded() as own, migrated(own.url) as server:
            yield server


@pytest.fixture
def database_url(postgres: Server) -> Iterator[str]:
    """The address of a new, migrated database."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def empty_database(postgres: Server) -> Iterator[Database]:
    """A new database without a schema."""
    with postgres.database(EMPTY) as url:
        database = Database(url)
        yield database
        database.close()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A new, migrated database."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def open_work(database: Database) -> OpenWork:
    """Open a unit of work on a new, migrated database."""
    return work_on(database)


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A connection to a new, migrated database."""
    with database.connect() as connection:
        yield connection


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves only when told, or waited on."""
    return FakeClock()


@pytest.fixture
def polling(database: Database, clock: FakeClock) -> Iterator[Polling]:
    """A feed that this process leads, with a poller at work on it."""
    polling = Polling(database, clock=clock)
    yield polling
    polling.close()


@pytest.fixture
def booking(database: Database) -> Booking:
    """A feed whose answers a test lands and books."""
    return Booking(database)


@pytest.fixture
def role(postgres: Server, database: Database) -> Iterator[str]:
    """A role of the cluster that has no right yet."""
    name = f"stp_role_{os.getpid()}"
    postgres.run(f"CREATE ROLE {name} LOGIN")
    yield name
    change(database, f"DROP OWNED BY {name}")
    postgres.run(f"DROP ROLE {name}")
