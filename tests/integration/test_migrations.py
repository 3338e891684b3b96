"""Migrations: they make what the models say, go down and up again, and say what to do when they do not fit."""

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from etl.errors import SchemaError
from etl.store import rows as _rows  # noqa: F401  makes Row.metadata complete
from etl.store import schema
from etl.store.base import SCHEMA, Row


def differences(connection: Connection) -> list[object]:
    def ours(item: object, name: str | None, kind: str, *_: object) -> bool:
        return schema.is_ours(name, kind) and getattr(item, "schema", SCHEMA) in (SCHEMA, None)

    options = {"version_table_schema": SCHEMA, "include_schemas": True, "include_object": ours, "compare_type": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), Row.metadata))


def test_the_migrations_make_what_the_models_say(connection):
    assert differences(connection) == []


def test_a_column_that_no_model_has_is_noticed(connection):
    connection.execute(text("ALTER TABLE stp.trade ADD COLUMN unheard_of integer"))

    assert differences(connection) != []


def test_every_step_goes_down_and_up_again(connection):
    while schema.current_revision(connection) is not None:
        here = schema.current_revision(connection)
        schema.downgrade(connection, "-1")
        assert schema.current_revision(connection) != here
        schema.upgrade(connection, here)
        schema.downgrade(connection, "-1")

    assert schema.upgrade(connection) == (None, schema.expected_revision())
    assert differences(connection) == []


def test_an_upgrade_from_nothing_arrives_at_the_expected_revision(empty_database):
    with empty_database.connect() as connection:
        before, after = schema.upgrade(connection)
        schema.check(connection)

    assert (before, after) == (None, schema.expected_revision())


def test_a_second_upgrade_changes_nothing(connection):
    head = schema.expected_revision()

    assert schema.upgrade(connection) == (head, head)


def test_two_processes_may_upgrade_at_once(empty_database):
    url = empty_database.url.render_as_string(hide_password=False)
    script = (
        "import sys; from etl.store import schema; from etl.store.database import Database\n"
        "with Database(sys.argv[1].replace('+psycopg', '')).connect() as c: print(schema.upgrade(c))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]

    outputs = [process.communicate(timeout=60) for process in started]

    head = schema.expected_revision()
    assert [process.returncode for process in started] == [0, 0], outputs
    assert sorted(out.strip() for out, _ in outputs) == sorted([str((None, head)), str((head, head))])


def test_an_empty_database_is_told_to_upgrade(empty_database):
    with (
        empty_database.connect() as connection,
        pytest.raises(SchemaError, match="no schema yet; run: stp-etl db upgrade"),
    ):
        schema.check(connection)


def test_an_old_schema_is_told_to_upgrade(connection):
    schema.downgrade(connection, "-1")

    with pytest.raises(SchemaError, match=r"is at \w+ and this program needs \w+; run: stp-etl db upgrade"):
        schema.check(connection)


def test_a_schema_newer_than_the_program_asks_for_a_newer_program(connection):
    connection.execute(text("UPDATE stp.alembic_version SET version_num = '9999'"))

    with pytest.raises(SchemaError, match="is at 9999, newer than this program .* install the newer version"):
        schema.check(connection)
