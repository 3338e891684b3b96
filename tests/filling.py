"""Rows for every table of a schema that no model describes: made from the catalogue's columns, keys and checks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

from sqlalchemy import Connection, Result, text

VALUES: Mapping[str, str] = {
    "boolean": "true",
    "bytea": r"'\x{n:08x}'",
    "date": "date '2026-01-01' + {n}",
    "double precision": "{n}.5",
    "integer": "{n}",
    "bigint": "{n}",
    "smallint": "{n}",
    "jsonb": "'[]'",
    "numeric": "{n}.10",
    "text": "'{name} {n}'",
    "text[]": "ARRAY['{n}']",
    "timestamp with time zone": "timestamptz '2026-01-01 00:00Z' + {n} * interval '1 minute'",
    "uuid": "'00000000-0000-0000-0000-{n:012x}'",
}
"""SQL of a value of each type; `n` is the number of the row."""
COLUMNS = """
SELECT a.attname, format_type(a.atttypid, NULL), a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS needed,
    a.attidentity = 'a' OR a.attgenerated <> ''
FROM pg_attribute a
WHERE a.attrelid = cast(:table AS regclass) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
TABLES = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'stp' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND c.relname <> 'alembic_version' ORDER BY 1
"""
PARENTS = """
SELECT confrelid::regclass::text FROM pg_constraint
WHERE contype = 'f' AND conrelid = cast(:table AS regclass) AND confrelid <> conrelid
"""
CHECKS = (
    "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' AND conrelid = cast(:table AS regclass)"
)
ONE_OF = re.compile(r"\(?(\w+) = ANY \(ARRAY\['([^']*)'::text")


class Column(NamedTuple):
    """A column, and whether a row must say it, or must not."""

    name: str
    kind: str
    needed: bool
    made: bool


class Filler:
    """Adds rows to each table; those of one number belong together, as they have all keys in common."""

    def __init__(self, connection: Connection, by_hand: Mapping[tuple[str, str], str]) -> None:
        """`by_hand`: SQL of a value for what a check of several columns, or a table of one row, asks for."""
        self._connection, self._by_hand, self._numbers = connection, by_hand, count(1)

    def fill(self) -> None:
        """Add a row with all its columns and one with as few as may be to every table, those it refers to first."""
        for whole in (True, False):
            number = next(self._numbers)
            for table in self._in_order():
                self._add(table, number, whole=whole)
        self._connection.commit()

    def tables(self) -> list[str]:
        """Return the tables, partitions with their parent."""
        return list(self._connection.execute(text(TABLES)).scalars())

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Return every row of every table by its columns, numbers digit for digit."""
        return {table: list(self._rows_of(table)) for table in self.tables()}

    def _rows_of(self, table: str) -> Iterator[dict[str, Any]]:
        for (row,) in self._connection.exec_driver_sql(f"SELECT to_jsonb(t)::text FROM {table} t"):
            yield json.loads(row, parse_float=str, parse_int=str)

    def _in_order(self) -> list[str]:
        parents = {each: set(self._asked(PARENTS, each).scalars()) for each in self.tables()}
        done: list[str] = []
        while ready := [each for each in parents if each not in done and parents[each] <= set(done)]:
            done += ready
        assert len(done) == len(parents), "tables refer to each other in a circle"
        return done

    def _add(self, table: str, number: int, *, whole: bool) -> None:
        columns = [Column(*row) for row in self._asked(COLUMNS, table)]
        allowed = dict(reversed(ONE_OF.findall(" ".join(self._asked(CHECKS, table).scalars()))))
        values = {
            each.name: self._value(table, each, number, allowed.get(each.name))
            for each in columns if not each.made and (whole or each.needed or each.name == "id")
        }  # fmt: skip
        self._connection.exec_driver_sql(
            f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(values.values())}) ON CONFLICT DO NOTHING"
        )

    def _value(self, table: str, column: Column, number: int, allowed: str | None) -> str:
        """Return SQL of a value: said by hand, the first that a check allows, or one of its type."""
        if by_hand := self._by_hand.get((table, column.name)):
            return by_hand
        return f"'{allowed}'" if allowed else VALUES[column.kind].format(n=number, name=column.name)

    def _asked(self, question: str, table: str) -> Result[Any]:
        return self._connection.execute(text(question), {"table": table})
