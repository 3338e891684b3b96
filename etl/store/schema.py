"""Migrations: which are in the database, which should be, and applying them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from etl.errors import SchemaError
from etl.store.base import SCHEMA, Row

WORKS_FROM = "works with programs from {} on"
UPGRADE_LOCK = 7_225_091_301  # any number that nobody else takes in this database


def script_location() -> Path:
    """Return the folder of the migrations: inside the installed package, else beside it in a checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "_migrations"
    return packaged if packaged.is_dir() else package.parent / "migrations"


def expected_revision() -> str:
    """Return the revision that this program is written for."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "the package carries no migrations"
    return head


def current_revision(connection: Connection) -> str | None:
    """Return the revision that the database is at, or None when it was never migrated."""
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    return context.get_current_revision()


def check(connection: Connection) -> None:
    """Raise SchemaError with what to do unless this program can work with the database's schema.

    That is at the expected revision, or at a later one whose migrations say that they leave this program working:
    a release that runs while the next one's schema is being brought in must not be stopped by it.
    """
    current, expected = current_revision(connection), expected_revision()
    if current == expected:
        return
    if current is None:
        raise SchemaError("the database has no schema yet; run: stp-etl db upgrade")
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if current in known:
        raise SchemaError(f"the schema is at {current} and this program needs {expected}; run: stp-etl db upgrade")
    if expected < (oldest := _works_from(connection) or current):
        raise SchemaError(
            f"the schema is at {current} and works with programs from {oldest} on, this one is {expected}; install the "
            "newer version of stp-etl"
        )


def upgrade(connection: Connection, revision: str = "head") -> tuple[str | None, str | None]:
    """Apply the missing migrations, one upgrader at a time; return the revision before and after."""
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": UPGRADE_LOCK})
    try:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        before = current_revision(connection)
        connection.commit()
        command.upgrade(_config(connection), revision)
        _say_works_from(connection)
        connection.commit()
        return before, current_revision(connection)
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": UPGRADE_LOCK})
        connection.commit()


def downgrade(connection: Connection, revision: str) -> None:
    """Undo migrations down to `revision`; for tests and for a roll-back by hand."""
    command.downgrade(_config(connection), revision)
    _say_works_from(connection)
    connection.commit()


def works_from(revision: str | None = "head") -> str | None:
    """Return the oldest revision whose programs can work with a schema at `revision`: the latest that a step names.

    A migration names it as `works_from`; one that does not works with its own programs and later ones only.
    """
    if revision is None:
        return None
    steps = ScriptDirectory.from_config(_config()).iterate_revisions(revision, "base")
    return max(getattr(step.module, "works_from", step.revision) for step in steps)


def _say_works_from(connection: Connection) -> None:
    """Write beside the revision from which programs on it can be used, for programs that do not know it."""
    if (oldest := works_from(current_revision(connection))) is not None:
        connection.execute(text(f"COMMENT ON TABLE {SCHEMA}.alembic_version IS '{WORKS_FROM.format(oldest)}'"))


def _works_from(connection: Connection) -> str | None:
    said = connection.execute(
        text(f"SELECT obj_description('{SCHEMA}.alembic_version'::regclass, 'pg_class')")
    ).scalar()
    before, _, after = WORKS_FROM.partition("{}")
    return said.removeprefix(before).removesuffix(after) if said and said.startswith(before) else None


def is_ours(name: str | None, kind: str) -> bool:
    """Return whether the models speak of this object: a partition is its parent's affair, not theirs."""
    return not (kind == "table" and name is not None and name.startswith(("answer_", "message_", "alembic_")))


def _config(connection: Connection | None = None) -> Config:
    def include_object(_object: Any, name: str | None, kind: str, *_: Any) -> bool:
        return is_ours(name, kind)

    config = Config(attributes={"metadata": Row.metadata, "include_object": include_object, "connection": connection})
    config.set_main_option("script_location", str(script_location()))
    return config
