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
from tests.builders import a_raw_message
from tests.databases import rows
from tests.filling import Filler


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

    outputs = [process.communicate(timeout=120) for process in started]

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


def newer(connection: Connection, works_from: str) -> None:
    """Let the schema be one that this program does not know, which says from which programs on it works."""
    connection.execute(text("UPDATE stp.alembic_version SET version_num = '9999'"))
    connection.execute(text(f"COMMENT ON TABLE stp.alembic_version IS 'works with programs from {works_from} on'"))


def test_a_newer_schema_that_leaves_this_program_working_does_not_stop_it(connection):
    newer(connection, schema.expected_revision())

    schema.check(connection)


@pytest.mark.parametrize("says", ["9998", None])
def test_a_newer_schema_that_this_program_cannot_use_asks_for_a_newer_program(connection, says):
    newer(connection, says or "")
    if says is None:
        connection.execute(text("COMMENT ON TABLE stp.alembic_version IS NULL"))

    with pytest.raises(
        SchemaError, match=f"is at 9999 and works with programs from {says or 9999} on.* install the newer"
    ):
        schema.check(connection)


def test_an_upgrade_says_from_which_programs_on_the_schema_works(connection):
    comment = text("SELECT obj_description('stp.alembic_version'::regclass, 'pg_class')")
    assert connection.execute(comment).scalar() == f"works with programs from {schema.works_from('head')} on"

    schema.downgrade(connection, "0002")

    assert connection.execute(comment).scalar() == "works with programs from 0002 on"


def columns(connection: Connection) -> dict[tuple[str, str], tuple[str, bool]]:
    """Return type, and whether it may be left out by an insert, of every column of our tables."""
    found = connection.execute(text(
        "SELECT table_name, column_name, data_type, is_nullable = 'YES' OR column_default IS NOT NULL OR "
        "is_identity = 'YES' FROM information_schema.columns WHERE table_schema = 'stp'"
    ))  # fmt: skip
    return {(table, column): (kind, optional) for table, column, kind, optional in found}


def test_a_schema_says_truly_which_programs_it_leaves_working(connection):
    now = columns(connection)
    schema.downgrade(connection, schema.works_from("head"))
    then = columns(connection)

    assert then.items() <= now.items()
    tables = {table for table, _ in then}
    assert [name for name in now if name[0] in tables and name not in then and not now[name][1]] == []


def test_an_upgrade_keeps_the_book_and_its_views_as_they_were(desk, database):
    desk.land(a_raw_message(), a_raw_message(tradeId="FXI2"), b'{"tradeId": "FXI3"}')
    desk.land(a_raw_message(counterparty="Another"))
    views = ("blotter", "trade_version", "trade_leg", "position", "cash_ladder", "message", "exception_item", "audit")

    def book() -> dict[str, list[tuple[object, ...]]]:
        return {view: sorted(rows(database, f"SELECT to_jsonb(v)::text FROM reporting.{view} v")) for view in views}

    before = book()
    assert all(before[view] for view in views if view != "audit")
    for revision in earlier_revisions():
        with database.connect() as connection:
            schema.downgrade(connection, revision)
            assert schema.current_revision(connection) == revision
            schema.upgrade(connection)

        assert book() == before, f"after an upgrade from {revision}"


BY_HAND = {
    ("stp.change_counter", "id"): "1",
    ("stp.trade_leg", "leg_no"): "1",
    ("stp.trade_leg", "settled_amount"): "-1.10",
}
"""What a filler cannot guess: the only row of its table, a first leg, and an amount of the other sign."""


def test_an_upgrade_from_each_earlier_migration_keeps_every_row_of_every_table(empty_database):
    filled: dict[str, dict[str, list[dict[str, object]]]] = {}
    with empty_database.connect() as connection:
        filler = Filler(connection, BY_HAND)
        for number in range(1, int(schema.expected_revision()) + 1):
            schema.upgrade(connection, f"{number:04}")
            before = filler.rows()
            filler.fill()
            filled[f"{number:04}"] = after = filler.rows()
            added = {table: len(found) - len(before[table]) for table, found in after.items()}
            assert set(added.values()) <= {0, 2}
            assert [table for table, more in added.items() if not more] == ["stp.change_counter"]
        views = (
            connection.exec_driver_sql("SELECT viewname FROM pg_views WHERE schemaname = 'reporting'").scalars().all()
        )
        shown = {view: len(connection.exec_driver_sql(f"SELECT * FROM reporting.{view}").all()) for view in views}
        kept = filler.rows()

    assert {view: count for view, count in shown.items() if not count} == {"fixing": 0}  # all are deliverable
    for revision, tables in filled.items():
        for table, then in tables.items():
            now = [{name: row[name] for name in then[0]} for row in kept[table]]
            assert [row for row in then if row not in now] == [], f"{table} of {revision}"


def earlier_revisions() -> list[str]:
    """Return every revision with the views of the book, the latest first, without the present one."""
    return [f"{number:04}" for number in range(int(schema.expected_revision()) - 1, 2, -1)]


def test_an_upgrade_that_meets_a_long_report_gives_up_with_a_sentence_and_may_be_run_again(stp_etl, database):
    with database.connect() as connection:
        schema.downgrade(connection, "0004")
    with database.connect() as report:
        for (table,) in report.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'stp'")).all():
            report.execute(text(f'LOCK TABLE stp."{table}" IN ACCESS SHARE MODE'))
        ended = stp_etl("db", "upgrade")
        report.rollback()
    again = stp_etl("db", "upgrade")

    assert ended.code == 1
    assert "lock timeout" in ended.err
    assert "Traceback" not in ended.err
    assert again.code == 0
    assert rows(database, "SELECT version_num FROM stp.alembic_version") == [(schema.expected_revision(),)]
