"""How Postgres carries out what our code asks: each statement is explained as it is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import event

from etl.store.database import Database

MANY = 1000
"""Rows from which a table is one that grows."""
READS_ONLY = re.compile(
    r"(?!.*(INSERT INTO|UPDATE |DELETE |nextval|pg_notify|set_config))\s*(SELECT|WITH)\b", re.DOTALL
)
PLANNED = re.compile(r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE)\b")
COPIED = re.compile(r"COPY \((.*)\) TO STDOUT", re.DOTALL)
UNBOUND = ("Seq Scan", "Parallel Seq Scan")
Node = dict[str, Any]


class Plans:
    """The plans of all statements that a block sent."""

    def __init__(self, sizes: dict[str, float], partial: set[str]) -> None:
        self.sizes, self.partial = sizes, partial
        self.seen: list[tuple[str, Node]] = []

    def whole(self) -> list[str]:
        """Return the statements that read a growing table, or an index of one, from end to end."""
        return [
            f"{node['Node Type']} of {node['Relation Name']}, {self.sizes[node['Relation Name']]:.0f} rows: {statement}"
            for statement, plan in self.seen
            for node in nodes_of(plan)
            if self.sizes.get(node.get("Relation Name", ""), 0) >= MANY
            and node.get("Index Name") not in self.partial
            and reads_all(node)
        ]

    def faults(self, *, at_most: int, pages: int | None = None) -> list[str]:
        """Return what reads a growing table whole, or more rows than that, filtered ones included; or more pages."""
        found = self.whole()
        for statement, plan in self.seen:
            rows, read = sum(map(rows_of, nodes_of(plan))), pages_of(plan)
            if rows > at_most or (pages is not None and read > pages):
                found.append(f"{rows:.0f} rows, {read} pages read by: {statement}")
        return found

    def tables(self) -> set[str]:
        """Return the tables that were read."""
        return {node["Relation Name"] for _, plan in self.seen for node in nodes_of(plan) if "Relation Name" in node}


def nodes_of(plan: Node) -> Iterator[Node]:
    """Yield a node and all below it; each knows whether a LIMIT ends it early."""
    yield plan
    for each in plan.get("Plans", ()):
        each["ends early"] = plan["Node Type"] == "Limit" or (plan.get("ends early") and plan["Node Type"] != "Sort")
        yield from nodes_of(each)


def reads_all(node: Node) -> bool:
    """Return whether a scan reads its table, or its index, whole."""
    if node["Node Type"] in ("Index Scan", "Index Only Scan"):
        return "Index Cond" not in node and not node["ends early"]
    return node["Node Type"] == "Seq Scan" and node.get("Actual Loops", 1) > 0


def rows_of(node: Node) -> float:
    """Return how many rows a scan has read; 0 for another node, and where the statement was not carried out."""
    if "Relation Name" not in node or "Actual Rows" not in node:
        return 0
    read = sum(
        float(node.get(name, 0)) for name in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter")
    )
    return read * float(node["Actual Loops"])


def pages_of(node: Node) -> int:
    """Return how many pages a node and all below it have looked at; 0 where the statement was not carried out."""
    return int(node.get("Shared Hit Blocks", 0)) + int(node.get("Shared Read Blocks", 0))


class Explaining(psycopg.Cursor[Any]):
    """A cursor that explains each statement before it sends it; what only reads is carried out for that too."""

    plans: Plans

    def execute(self, query: Any, params: Any = None, **more: Any) -> Explaining:
        statement = query.as_string(self.connection) if isinstance(query, sql.Composable) else query
        self._explain(statement.decode() if isinstance(statement, bytes) else statement, params)
        return super().execute(query, params, **more)

    def copy(self, statement: Any, params: Any = None, **more: Any) -> Any:
        written = statement.as_string(self.connection) if isinstance(statement, sql.Composable) else statement
        copied = COPIED.match(written.decode() if isinstance(written, bytes) else written)
        if copied is not None:
            self._explain(copied[1], params)
        return super().copy(statement, params, **more)

    def _explain(self, statement: str, params: Any) -> None:
        if PLANNED.match(statement):
            how = "ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON" if READS_ONLY.match(statement) else "FORMAT JSON"
            with psycopg.Cursor(self.connection) as plain:
                plain.execute(f"EXPLAIN ({how}) {statement}".encode(), params, prepare=False)
                ((found,),) = plain.fetchall()
            self.plans.seen.append((" ".join(statement.split())[:300], found[0]["Plan"]))


@contextmanager
def explained(database: Database) -> Iterator[Plans]:
    """Explain all that is sent to the database within the block, by connections that are opened in it."""
    with database.connect() as connection:
        found = connection.exec_driver_sql("SELECT relname, reltuples FROM pg_class WHERE relkind IN ('r', 'p')")
        partial = connection.exec_driver_sql(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indpred IS NOT NULL"
        )
        plans = Plans({row[0]: row[1] for row in found}, {row[0].rpartition(".")[2] for row in partial})
    cursor = type("ExplainingThis", (Explaining,), {"plans": plans})

    def use_it(connection: psycopg.Connection[Any], _record: object) -> None:
        connection.cursor_factory = cursor

    database.engine.dispose()
    event.listen(database.engine, "connect", use_it)
    try:
        yield plans
    finally:
        event.remove(database.engine, "connect", use_it)
        database.engine.dispose()
