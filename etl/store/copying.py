"""Many rows into one table at once, by Postgres' COPY."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection

from etl.store.base import SCHEMA, Row


def copy_rows(connection: Connection, table: type[Row], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Add `rows`, each a value per column, to the table; psycopg writes every value, numbers digit for digit."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(SCHEMA, table.__tablename__), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection), "the driver is psycopg 3"
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
