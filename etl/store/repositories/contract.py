"""The reporting contract as the database itself tells it: views, columns, types, meanings."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, text

COLUMNS = text("""
SELECT c.relname AS view, a.attnum AS position, a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type,
    coalesce(col_description(c.oid, a.attnum), '') AS meaning
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = 'reporting' AND c.relkind = 'v' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname COLLATE "C", a.attnum
""")
VIEWS = text("""
SELECT c.relname AS view, coalesce(obj_description(c.oid, 'pg_class'), '') AS meaning
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'reporting' AND c.relkind = 'v' ORDER BY c.relname COLLATE "C"
""")


class ContractColumn(msgspec.Struct, frozen=True):
    """One column of a reporting view; `position` counts from 1, `type` is Postgres' name of it."""

    view: str
    position: int
    column: str
    type: str
    meaning: str


class ContractRepository:
    """Reads only, from the catalogue of the database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def views(self) -> dict[str, str]:
        """Return every reporting view with what a row of it is."""
        return {row.view: row.meaning for row in self._connection.execute(VIEWS)}

    def columns(self) -> list[ContractColumn]:
        """Return every column of every view, by view and place."""
        return [ContractColumn(*row) for row in self._connection.execute(COLUMNS)]

    def version(self) -> str:
        """Return the version of the contract; the same version is the same contract."""
        return str(self._connection.execute(text("SELECT version FROM reporting.contract")).scalar_one())
