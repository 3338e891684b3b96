"""Many rows into one table at once, by Postgres' COPY: each row is a line of text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection

from etl.store.base import SCHEMA, Row

NOTHING = "\\N"
_SPECIAL = re.compile(r"[\\\t\n\r]")
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_BLOCK = 256 * 1024  # characters sent at once


def cell(value: object) -> str:
    """Return how COPY writes the value; numbers digit for digit, texts whatever they hold."""
    if isinstance(value, str):
        return value if _SPECIAL.search(value) is None else _SPECIAL.sub(lambda found: _ESCAPES[found[0]], value)
    match value:
        case None:
            return NOTHING
        case bool():
            return "t" if value else "f"
        case int():
            return str(value)
        case Decimal():
            return format(value, "f")
        case datetime() | date():
            return value.isoformat()
        case bytes():
            return digest(value)
        case Mapping():
            return cell(json.dumps(value, separators=(",", ":")))
        case tuple():
            return cell("{" + ",".join(map(_element, value)) + "}")
        case _:
            raise TypeError(f"COPY of a {type(value).__name__} is not provided for")


@lru_cache(maxsize=1024)
def instant(at: datetime) -> str:
    """Return how COPY writes an instant that many rows of a batch have."""
    return at.isoformat()


def digest(value: bytes) -> str:
    """Return how COPY writes bytes."""
    return "\\\\x" + value.hex()


def line(values: Iterable[object]) -> str:
    """Return how COPY writes a row, without its end."""
    return "\t".join(map(cell, values))


def driver_of(connection: Connection) -> psycopg.Connection[Any]:
    """Return the driver's own connection, in the same transaction."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection), "the driver is psycopg 3"
    return driver


def copy_lines(connection: Connection, table: type[Row], columns: Sequence[str], lines: Sequence[str]) -> None:
    """Add these rows, each as `line` writes it, to the table."""
    if not lines:
        return
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(SCHEMA, table.__tablename__), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    driver = driver_of(connection)
    text = "\n".join(lines) + "\n"
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for start in range(0, len(text), _BLOCK):
            copy.write(text[start : start + _BLOCK])


def _element(text: object) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return escaped if escaped.isidentifier() and escaped.lower() != "null" else f'"{escaped}"'
