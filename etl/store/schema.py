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
    """Raise SchemaError with what to do unless the database is exactly at the expected revision."""
    current, expected = current_revision(connection), expected_revision()
    if current == expected:
        return
    if current is None:
        raise SchemaError("the database has no schema yet; run: stp-etl db upgrade")
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if current in known:
        raise SchemaError(f"the schema is at {current} and this program needs {expected}; run: stp-etl db upgrade")
    raise SchemaError(
        f"the schema is at {current}, newer than this program ({expected}); install the newer version of stp-etl"
    )


def upgrade(connection: Connection, revision: str = "head") -> tuple[str | None, str | None]:
    """Apply the missing migrations, one upgrader at a time; return the revision before and after."""
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": UPGRADE_LOCK})
    try:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        before = current_revision(connection)
        connection.commit()
        command.upgrade(_config(connection), revision)
        connection.commit()
        return before, current_revision(connection)
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": UPGRADE_LOCK})
        connection.commit()


def downgrade(connection: Connection, revision: str) -> None:
    """Undo migrations down to `revision`; for tests and for a roll-back by hand."""
    command.downgrade(_config(connection), revision)
    connection.commit()


def is_ours(name: str | None, kind: str) -> bool:
    """Return whether the models speak of this object: a partition is its parent's affair, not theirs."""
    return not (kind == "table" and name is not None and name.startswith(("answer_", "message_", "alembic_")))


def _config(connection: Connection | None = None) -> Config:
    def include_object(_object: Any, name: str | None, kind: str, *_: Any) -> bool:
        return is_ours(name, kind)

    config = Config(attributes={"metadata": Row.metadata, "include_object": include_object, "connection": connection})
    config.set_main_option("script_location", str(script_location()))
    return config
