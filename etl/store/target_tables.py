"""What `publish` makes in the other database: two tables, views on them, and the row that says how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from psycopg import sql

from etl.store.day_sums import LEGS, VERSIONS
from etl.store.grants import REPORTING_ROLE
from etl.store.repositories.contract import ContractColumn

POSITION = "published"
MARK = "Written by stp-etl publish"
TABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {VERSIONS: ("feed", "trade_id", "version"), LEGS: ("feed", "trade_id", "version", "leg_no")}
)
"""The tables that are filled, with their keys."""
INDEXED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {VERSIONS: ("change_seq", "trade_date"), LEGS: ("change_seq", "value_date")}
)

# What is current has no end yet; a test holds their columns to those of the source.
VIEWS: Mapping[str, str] = MappingProxyType(
    {
        "trade": "SELECT {trade} FROM {schema}.trade_version v WHERE v.valid_to IS NULL",
        "trade_leg": "SELECT {trade_leg} FROM {schema}.trade_leg_version v WHERE v.valid_to IS NULL",
        "blotter": """
SELECT {trade},
    near.value_date AS near_value_date, near.fixing_date AS near_fixing_date,
    near.base_amount AS near_base_amount, near.term_amount AS near_term_amount, near.rate AS near_rate,
    near.forward_points AS near_forward_points,
    far.value_date AS far_value_date, far.fixing_date AS far_fixing_date,
    far.base_amount AS far_base_amount, far.term_amount AS far_term_amount, far.rate AS far_rate,
    far.forward_points AS far_forward_points,
    near.dealt_amount, near.settled_amount, near.deliverable,
    (v.first_landed_at AT TIME ZONE 'America/New_York' + interval '7 hours')::date > v.trade_date AS is_late
FROM {schema}.trade_version v
JOIN {schema}.trade_leg_version near USING (feed, trade_id, version)
LEFT JOIN {schema}.trade_leg_version far
    ON (far.feed, far.trade_id, far.version, far.leg_no) = (v.feed, v.trade_id, v.version, 2)
WHERE v.valid_to IS NULL AND near.leg_no = 1""",
    }
)
OURS = (*TABLES, POSITION, *VIEWS)

MAKE_POSITION = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.published (id integer PRIMARY KEY CHECK (id = 1), change_seq bigint NOT NULL,
    feed text, trade_id text, version integer, content_hash bytea, published_at timestamptz);
INSERT INTO {schema}.published (id, change_seq) VALUES (1, 0) ON CONFLICT DO NOTHING
"""
GRANT = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = {role_name}) THEN
        GRANT USAGE ON SCHEMA {schema} TO {role};
        GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};
    END IF;
END $$
"""


def making(contract: Mapping[str, Sequence[ContractColumn]]) -> Iterator[tuple[str, dict[str, sql.Composable]]]:
    """Yield the statements, each with what its names stand for, that make all of it, or add what is new."""
    yield MAKE_POSITION, {}
    yield _explained("TABLE", POSITION, "how far the copy is: one row, kept with the rows that were copied")
    for table, key in TABLES.items():
        yield from _making_table(table, contract[table], key)
    listed = {view: _names(contract[view], of="v") for view in ("trade", "trade_leg")}
    for view, query in VIEWS.items():
        yield "CREATE OR REPLACE VIEW {schema}.{view} AS " + query, {"view": sql.Identifier(view), **listed}
        yield _explained("VIEW", view, f"the same as reporting.{view} at the source")
    yield GRANT, {"role": sql.Identifier(REPORTING_ROLE), "role_name": sql.Literal(REPORTING_ROLE)}


def _making_table(
    table: str, columns: Sequence[ContractColumn], key: Sequence[str]
) -> Iterator[tuple[str, dict[str, sql.Composable]]]:
    named: dict[str, sql.Composable] = {"table": sql.Identifier(table)}
    made = sql.SQL(", ").join(map(_declared, columns))
    keys = sql.SQL(", ").join(map(sql.Identifier, key))
    yield "CREATE TABLE IF NOT EXISTS {schema}.{table} ({made}, PRIMARY KEY ({keys}))", {
        **named, "made": made, "keys": keys}  # fmt: skip
    yield _explained("TABLE", table, f"the same as reporting.{table} at the source")
    for each in columns:
        yield "ALTER TABLE {schema}.{table} ADD COLUMN IF NOT EXISTS {made}", {**named, "made": _declared(each)}
        told: dict[str, sql.Composable] = {"column": sql.Identifier(each.column), "said": sql.Literal(each.meaning)}
        yield "COMMENT ON COLUMN {schema}.{table}.{column} IS {said}", {**named, **told}
    for column in INDEXED[table]:
        index = {"index": sql.Identifier(f"ix_{table}_{column}"), "column": sql.Identifier(column)}
        yield "CREATE INDEX IF NOT EXISTS {index} ON {schema}.{table} ({column})", {**named, **index}


def _declared(column: ContractColumn) -> sql.Composable:
    return sql.SQL("{} {}").format(sql.Identifier(column.column), sql.SQL(column.type))


def _names(columns: Sequence[ContractColumn], of: str) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(of, each.column) for each in columns)


def _explained(kind: str, name: str, meaning: str) -> tuple[str, dict[str, sql.Composable]]:
    said = sql.Literal(f"{MARK}: {meaning}")
    return f"COMMENT ON {kind} {{schema}}.{{name}} IS {{said}}", {"name": sql.Identifier(name), "said": said}
