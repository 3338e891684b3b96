"""The reporting contract: every column is explained, and none is ever dropped, renamed, retyped or moved."""

import pytest
from sqlalchemy import Connection, text

from tests.databases import rows, value

SILENT = """
SELECT c.relname || '.' || a.attname FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = 'reporting' AND coalesce(btrim(col_description(c.oid, a.attnum)), '') = ''
UNION ALL
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'reporting' AND coalesce(btrim(obj_description(c.oid, 'pg_class')), '') = ''
ORDER BY 1
"""


def silent(connection: Connection) -> list[str]:
    return list(connection.execute(text(SILENT)).scalars())


def test_every_view_and_every_column_is_explained_in_the_database(connection):
    assert silent(connection) == [], "whoever adds a column writes COMMENT ON COLUMN reporting.… IS '…' beside it"


def test_a_view_or_a_column_without_a_comment_would_be_noticed(connection):
    connection.execute(text("CREATE VIEW reporting.unheard_of AS SELECT 1 AS one, 2 AS two"))
    connection.execute(text("COMMENT ON COLUMN reporting.unheard_of.two IS 'Two'"))
    connection.execute(text("COMMENT ON COLUMN reporting.trade.side IS ' '"))

    assert silent(connection) == ["trade.side", "unheard_of", "unheard_of.one"]


def test_the_version_of_the_contract_is_the_number_of_its_columns(database):
    columns = value(
        database,
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'reporting'",
    )

    ((version, counted, fingerprint),) = rows(database, "SELECT version, columns, fingerprint FROM reporting.contract")
    assert (version, counted, len(fingerprint)) == (f"1.{columns}", columns, 32)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER VIEW reporting.audit RENAME COLUMN deed TO act",
        "CREATE VIEW reporting.unheard_of AS SELECT 1 AS one",
        "DROP VIEW reporting.fixing",
    ],
)
def test_the_fingerprint_of_the_contract_changes_with_any_of_it(connection, change):
    question = text("SELECT fingerprint FROM reporting.contract")
    before = connection.execute(question).scalar_one()
    connection.execute(text(change))

    assert connection.execute(question).scalar_one() != before
