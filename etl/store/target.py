"""Tables of the reporting contract in another Postgres: how far they are, and what is added to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection, CursorResult, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from etl.errors import CommitUnknownError, OperatorError
from etl.store.book_feed import EXACT_TEXT, Change, lent
from etl.store.copying import driver_of
from etl.store.database import OLDEST_POSTGRES, Database, commit, translated
from etl.store.day_sums import DayKey, Looked, RowKey, day_sums, rows_of
from etl.store.repositories.contract import ContractColumn
from etl.store.target_tables import MARK, OURS, POSITION, TABLES, making

STANDING = text("""
SELECT c.relname, coalesce(obj_description(c.oid, 'pg_class'), '') FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relname = ANY (:names)
""")
COLUMNS = text("""
SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
""")
POSITION_OF = "SELECT change_seq, feed, trade_id, version, content_hash FROM {schema}.published"
ADVANCE = """
UPDATE {schema}.published SET change_seq = {change_seq}, feed = {feed}, trade_id = {trade_id}, version = {version},
    content_hash = {content_hash}, published_at = {at}
"""
# The next version ends the one before it. Neither hash nor merge joins: it is always a few rows of a large table, also
# before anybody has counted them.
END_EARLIER = """
SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
UPDATE {schema}.{table} o SET valid_to = n.booked_at FROM {schema}.trade_version n
WHERE n.change_seq > {after} AND n.change_seq <= {up_to} AND n.version > 1
  AND (o.feed, o.trade_id, o.version) = (n.feed, n.trade_id, n.version - 1)
"""


class Target:
    """The other database, in one transaction: what is not committed was never there."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection, self._schema = connection, schema

    def check(self) -> bool:
        """Return whether publish has been here before.

        Raises OperatorError where the server is too old, or something that publish did not make stands in the way.
        """
        standing = self._standing()
        version = driver_of(self._connection).info.server_version
        if version < OLDEST_POSTGRES:
            raise OperatorError(f"the target is Postgres {version // 10_000}; 14 or newer is needed")
        foreign = sorted(name for name, said in standing.items() if not said.startswith(MARK))
        if foreign:
            names = ", ".join(f"{self._schema}.{name}" for name in foreign)
            raise OperatorError(
                f"the target has {names} that publish did not make; nothing was written. Name another schema "
                "(publish.schema_name), or move what is there out of the way"
            )
        return POSITION in standing

    def make(self, contract: Mapping[str, Sequence[ContractColumn]]) -> None:
        """Make tables and views as the contract of the source has them; of what is there only what is new."""
        for statement, named in making(contract):
            self._run(statement, **named)

    def other_columns(self, contract: Mapping[str, Sequence[ContractColumn]]) -> list[str]:
        """Return a sentence for each table whose columns are not those of the contract of the source."""
        faults = []
        for table in TABLES:
            found = self._connection.execute(COLUMNS, {"table": f'"{self._schema}".{table}'}).scalars().all()
            wanted = [f"{each.column} {each.type}" for each in contract[table]]
            if found != wanted:
                missing = ", ".join(each for each in wanted if each not in found)
                faults.append(f"{table} lacks {missing}" if missing else f"{table} has other columns")
        return faults

    def position(self) -> Change:
        """Return how far the copy is; number 0 where it is empty."""
        return _change(self._run(POSITION_OF))

    def lock(self) -> Change:
        """Return how far the copy is, and keep other publishers away until the transaction ends.

        Raises DatabaseAwayError where another publisher is at work.
        """
        return _change(self._run(f"{POSITION_OF} FOR UPDATE NOWAIT"))

    def advance(self, to: Change, at: datetime) -> None:
        """Keep how far the copy is, in the transaction of what was copied."""
        self._run(
            ADVANCE, change_seq=to.change_seq, feed=to.feed, trade_id=to.trade_id, version=to.version,
            content_hash=to.content_hash, at=at,
        )  # fmt: skip

    def add(self, table: str, columns: Sequence[str], rows: Iterable[bytes]) -> int:
        """Add rows, written as COPY writes them; return how many."""
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(self._schema, table), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        with said_by_the_target(), driver_of(self._connection).cursor() as cursor:
            with cursor.copy(statement) as copy:
                for piece in rows:
                    copy.write(piece)
            return cursor.rowcount

    def end_earlier(self, after: int, up_to: int) -> None:
        """Let the versions of these changes end those before them."""
        for table in TABLES:
            self._run(END_EARLIER, table=sql.Identifier(table), after=after, up_to=up_to)

    def empty(self) -> None:
        """Take everything out, to be filled anew."""
        self._run("TRUNCATE {schema}.trade_version, {schema}.trade_leg_version")
        self._run("DELETE FROM {schema}.published; INSERT INTO {schema}.published (id, change_seq) VALUES (1, 0)")

    def day_sums(self, looked: Looked) -> dict[DayKey, tuple[int, Any]]:
        """Return for each feed and day the number of rows and the sum of their hashes."""
        with said_by_the_target():
            return day_sums(self._connection, self._schema, looked)

    def rows_of(self, looked: Looked, feed: str) -> dict[RowKey, Any]:
        """Return the hash of every row of the feed on that day."""
        with said_by_the_target():
            return rows_of(self._connection, self._schema, looked, feed)

    def commit(self) -> None:
        """Keep the work; raise CommitUnknownError where nobody can know whether it was kept."""
        try:
            commit(self._connection)
        except CommitUnknownError as error:
            raise CommitUnknownError(f"the target: {error}; the next run sees what was kept") from error

    def _standing(self) -> dict[str, str]:
        values = {"schema": self._schema, "names": list(OURS)}
        with said_by_the_target():
            return {row[0]: row[1] for row in self._connection.execute(STANDING, values)}

    def _run(self, statement: str, **values: object) -> CursorResult[Any]:
        """Run statements in which {schema} is ours, and every other {name} a value or what is given for it."""
        given = {name: each if isinstance(each, sql.Composable) else sql.Literal(each) for name, each in values.items()}
        template = sql.SQL(statement)  # ours, never what somebody else wrote
        written = template.format(schema=sql.Identifier(self._schema), **given).as_string(driver_of(self._connection))
        with said_by_the_target():
            return self._connection.exec_driver_sql(written, execution_options={"no_parameters": True})


@contextmanager
def target_of(database: Database, schema: str) -> Iterator[Target]:
    """Lend the other database for one transaction; its errors name it."""
    with said_by_the_target():
        connection = database.engine.connect()
    with lent(connection):
        with said_by_the_target():
            connection.exec_driver_sql(EXACT_TEXT)
        yield Target(connection, schema)


@contextmanager
def said_by_the_target() -> Iterator[None]:
    """Raise our errors in place of the target's, so that they can be told from those of the book's database."""
    try:
        yield
    except (DBAPIError, psycopg.Error, PoolTimeoutError, UnicodeEncodeError) as error:
        ours = translated(error, "publish.url")
        raise type(ours)(f"the target: {ours}") from error


def _change(found: CursorResult[Any]) -> Change:
    row = found.one()
    return Change(row.change_seq, row.feed or "", row.trade_id or "", row.version or 0, bytes(row.content_hash or b""))
