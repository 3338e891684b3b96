"""Rows of two databases compared without moving them: per day their number and the sum of a hash of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import msgspec
from psycopg import sql
from sqlalchemy import Connection

from etl.store.copying import driver_of

VERSIONS, LEGS = "trade_version", "trade_leg_version"
LATER = "valid_to"
"""The one column that changes after its row was written; whoever copies rows takes it from the next version."""
DAYS = {VERSIONS: "trade_date", LEGS: "value_date"}
"""The day that each table is summed by."""
# The first 64 bits of a hash as a number; sums of them are NUMERIC and never overflow.
OF_HEX = "('x' || {hex})::bit(64)::bigint"
STORED = {
    VERSIONS: sql.SQL(OF_HEX.format(hex="encode(substr(content_hash, 1, 8), 'hex')")),
    LEGS: sql.SQL("base_amount + term_amount + leg_no"),
}
"""What is there already: the hash that was stored when the version was booked; of a leg its amounts."""
SUMS = """
SELECT feed, {day}, count(*), sum({worth}) FROM {table}
WHERE change_seq <= {up_to} AND {day} BETWEEN {first} AND {last} GROUP BY feed, {day}
"""
ROWS = """
SELECT feed, trade_id, version, {leg}, {worth} FROM {table}
WHERE change_seq <= {up_to} AND feed = {feed} AND {day} = {first}
"""
DayKey = tuple[str, date]
RowKey = tuple[str, str, int, int]
"""Feed, trade_id, version, leg_no; 0 where the row is no leg."""


class Looked(msgspec.Struct, frozen=True):
    """What is compared: changes up to a number, days from the first to the last; `columns`: every value of each row."""

    table: str
    up_to: int
    first: date = date.min
    last: date = date.max
    columns: Sequence[str] = ()


def day_sums(connection: Connection, schema: str, looked: Looked) -> dict[DayKey, tuple[int, Any]]:
    """Return for each feed and day the number of rows, and the sum of their hashes."""
    return {(row[0], row[1]): (row[2], row[3]) for row in _ask(connection, SUMS, schema, looked)}


def rows_of(connection: Connection, schema: str, looked: Looked, feed: str) -> dict[RowKey, Any]:
    """Return the hash of every row of a feed on `looked.first`."""
    found = _ask(connection, ROWS, schema, looked, feed=sql.Literal(feed))
    return {(row[0], row[1], row[2], row[3]): row[4] for row in found}


def _ask(connection: Connection, question: str, schema: str, looked: Looked, **more: sql.Composable) -> list[Any]:
    worth: sql.Composable = STORED[looked.table]
    if looked.columns:
        columns = sql.SQL(", ").join(sql.Identifier(each) for each in looked.columns if each != LATER)
        worth = sql.SQL(OF_HEX.format(hex="substr(md5(ROW({})::text), 1, 16)")).format(columns)
    statement = sql.SQL(question).format(
        table=sql.Identifier(schema, looked.table), day=sql.Identifier(DAYS[looked.table]), worth=worth,
        leg=sql.SQL("leg_no" if looked.table == LEGS else "0"), up_to=sql.Literal(looked.up_to),
        first=_day(looked.first, date.min, "-infinity"), last=_day(looked.last, date.max, "infinity"), **more,
    )  # fmt: skip
    written = statement.as_string(driver_of(connection))
    return list(connection.exec_driver_sql(written, execution_options={"no_parameters": True}))


def _day(day: date, end: date, name: str) -> sql.Literal:
    return sql.Literal(name if day == end else day)
