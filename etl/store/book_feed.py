"""The book as another database takes it over: by the number of the change, through the reporting views only."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from psycopg import sql
from sqlalchemy import Connection, Row, text

from etl.store.copying import driver_of
from etl.store.database import Database, translating
from etl.store.day_sums import DayKey, Looked, RowKey, day_sums, rows_of
from etl.store.repositories.contract import ContractColumn, ContractRepository

EXACT_TEXT = (
    "SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL client_encoding = 'UTF8'; SET LOCAL timezone = 'UTC'; "
    "SET LOCAL bytea_output = 'hex'; SET LOCAL statement_timeout = '1h'"
)
"""So that a value is written alike at both servers, and a look at a whole book may take its time."""

_CHANGE = "SELECT change_seq, feed, trade_id, version, content_hash FROM reporting.trade_version"
AT = text(f"{_CHANGE} WHERE change_seq = :at")
LAST_OF = text(f"{_CHANGE} WHERE change_seq > :after AND change_seq <= :up_to ORDER BY change_seq DESC LIMIT 1")
FIRST_AFTER = text(f"{_CHANGE} WHERE change_seq > :after ORDER BY change_seq LIMIT 1")
LAST = text(f"{_CHANGE} ORDER BY change_seq DESC LIMIT 1")


class Change(msgspec.Struct, frozen=True):
    """One version of a trade by the number of its change; enough to know it again in another database."""

    change_seq: int
    feed: str
    trade_id: str
    version: int
    content_hash: bytes


class BookFeed:
    """One look at the book, in a transaction that sees no later changes. Reads only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def columns(self) -> dict[str, list[ContractColumn]]:
        """Return the columns of each reporting view, in order."""
        found: dict[str, list[ContractColumn]] = {}
        for column in ContractRepository(self._connection).columns():
            found.setdefault(column.view, []).append(column)
        return found

    def at(self, change_seq: int) -> Change | None:
        """Return the change of this number, or None."""
        return _change(self._connection.execute(AT, {"at": change_seq}).one_or_none())

    def last(self) -> int:
        """Return the number of the last change; 0 where the book is empty."""
        found = _change(self._connection.execute(LAST).one_or_none())
        return found.change_seq if found else 0

    def end_of_batch(self, after: int, size: int) -> Change | None:
        """Return the last change among the `size` numbers from the next one on; None where nothing is newer.

        Numbers may jump (design §5), so the next one may be far away.
        """
        first = _change(self._connection.execute(FIRST_AFTER, {"after": after}).one_or_none())
        if first is None:
            return None
        values = {"after": after, "up_to": first.change_seq + size - 1}
        return _change(self._connection.execute(LAST_OF, values).one())

    def rows(self, view: str, columns: Sequence[str], after: int, up_to: int) -> Generator[bytes, None, None]:
        """Yield the rows of these changes as COPY writes them, in pieces; to be read to the end."""
        question = sql.SQL("COPY (SELECT {} FROM {} WHERE change_seq > {} AND change_seq <= {}) TO STDOUT").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier("reporting", view), after, up_to
        )
        with translating(), driver_of(self._connection).cursor() as cursor, cursor.copy(question) as copy:
            for piece in copy:
                yield bytes(piece)

    def day_sums(self, looked: Looked) -> dict[DayKey, tuple[int, Any]]:
        """Return for each feed and day the number of rows and the sum of their hashes."""
        return day_sums(self._connection, "reporting", looked)

    def rows_of(self, looked: Looked, feed: str) -> dict[RowKey, Any]:
        """Return the hash of every row of the feed on that day."""
        return rows_of(self._connection, "reporting", looked, feed)


@contextmanager
def book_feed(database: Database) -> Iterator[BookFeed]:
    """Lend one look at the book."""
    with database.connect() as connection, lent(connection):
        connection.exec_driver_sql(f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; {EXACT_TEXT}")
        yield BookFeed(connection)


@contextmanager
def lent(connection: Connection) -> Iterator[None]:
    """Give the connection back when the block ends; one that is broken is not used again."""
    try:
        yield
    finally:
        if not connection.invalidated and driver_of(connection).broken:
            connection.invalidate()
        connection.close()


def _change(row: Row[Any] | None) -> Change | None:
    return None if row is None else Change(row.change_seq, row.feed, row.trade_id, row.version, bytes(row.content_hash))
