"""Rights in the database: what readers of the reports and what the daemon may do, as SQL and as a deed."""

from __future__ import annotations

import psycopg
from psycopg import sql
from sqlalchemy import Connection, text

from etl.errors import OperatorError
from etl.store.base import SCHEMA

REPORTING_ROLE = "stp_reporting"
INSERT_ONLY = (
    "answer", "audit", "balance_adjustment", "break_event", "certificate", "certificate_sign_off", "opening",
    "opening_balance", "opening_position", "trade_leg", "trade_version", "vendor_body", "vendor_reply",
)  # fmt: skip
"""Tables whose rows the daemon's role can only add and read (law 5)."""
KEPT = ("change_counter", "exception_item", "position", "recon_break", "trade")
"""Tables whose rows the daemon's role can change and never delete (design §6, §7)."""
# Not the partitions: a right on the parent is enough, and one on a partition would outlast the parent's revocation.
CHANGEABLE = text("""
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> ALL (:others)
ORDER BY c.relname
""")

OTHER_OWNER = text("""
SELECT current_user AS ours, pg_get_userbyid(nspowner) AS owner FROM pg_namespace
WHERE nspname = :schema AND NOT pg_has_role(current_user, nspowner, 'MEMBER')
""")


def role_exists(connection: Connection, role: str = REPORTING_ROLE) -> bool:
    """Return whether the cluster has a role of this name."""
    found = connection.execute(text("SELECT FROM pg_roles WHERE rolname = :role"), {"role": role})
    return found.first() is not None


def check_role(connection: Connection, role: str) -> None:
    """Raise OperatorError where the cluster has no such role."""
    if not role_exists(connection, role):
        raise OperatorError(f"there is no role {role}; make it first: CREATE ROLE {role} LOGIN")


def check_owner(connection: Connection) -> None:
    """Raise OperatorError where the schema is there and this user is not its owner, nor may act as it.

    Postgres itself takes a GRANT of somebody else for done, with a mere warning.
    """
    found = connection.execute(OTHER_OWNER, {"schema": SCHEMA}).first()
    if found is not None:
        raise OperatorError(
            f"this is for the owner of the schema: {found.ours} is not {found.owner}; set database.url, or "
            f"database.url_file, to an address with {found.owner} for this command"
        )


def server_settings(connection: Connection) -> dict[str, str]:
    """Return the server's version and what decides whether it may forget a commit (law 4)."""
    names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "transaction_read_only")
    found = connection.execute(
        text("SELECT name, setting FROM pg_settings WHERE name = ANY (:names)"), {"names": list(names)}
    )
    settings = {row.name: row.setting for row in found}
    return {name: settings[name] for name in names if name in settings}


def reporting_grants(connection: Connection, *, create: bool) -> list[str]:
    """Return the statements that let `stp_reporting` read every view of the reports; `create` makes the role first."""
    statements = (
        "CREATE ROLE {role} NOLOGIN",
        "GRANT USAGE ON SCHEMA reporting TO {role}",
        "GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO {role}",
    )
    return _written(connection, statements[0 if create else 1 :], REPORTING_ROLE)


def daemon_grants(connection: Connection, role: str) -> list[str]:
    """Return the statements that let `role` poll and book, and keep it from changing what was landed (law 5)."""
    found = connection.execute(
        CHANGEABLE, {"schema": SCHEMA, "others": [*INSERT_ONLY, *KEPT, "alembic_version"]}
    ).scalars()
    changeable = ", ".join(f"{SCHEMA}.{table}" for table in found)
    insert_only = ", ".join(f"{SCHEMA}.{table}" for table in INSERT_ONLY)
    kept = ", ".join(f"{SCHEMA}.{table}" for table in KEPT)
    statements = (
        f"GRANT USAGE ON SCHEMA {SCHEMA}, reporting TO {{role}}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA}, reporting TO {{role}}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {{role}}",
        f"GRANT INSERT ON {insert_only} TO {{role}}",
        f"REVOKE DELETE ON {kept} FROM {{role}}",
        f"GRANT INSERT, UPDATE ON {kept} TO {{role}}",
        f"GRANT INSERT, UPDATE, DELETE ON {changeable} TO {{role}}",
    )
    return _written(connection, statements, role)


def grant(connection: Connection, statements: list[str]) -> None:
    """Run the statements in one transaction; doing it again changes nothing. Database errors come out as ours."""
    for statement in statements:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    connection.commit()


def _written(connection: Connection, statements: tuple[str, ...], role: str) -> list[str]:
    """Return the statements with the role's name quoted as the server wants it."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection), "the driver is psycopg 3"
    name = sql.Identifier(role)
    return [sql.SQL(each).format(role=name).as_string(driver) for each in statements]
