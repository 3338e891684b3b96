"""Whether a connection is a session of its own: a pooler that lends server connections by transaction is refused."""

from __future__ import annotations

from sqlalchemy import Connection, text

from etl.errors import OperatorError
from etl.store.database import Database

ROUNDS = 2
PID = text("SELECT pg_backend_pid()")
TIMEOUT_MS = text("SELECT setting::integer FROM pg_settings WHERE name = 'statement_timeout'")
WHAT_TO_DO = (
    "leadership, time-outs and notices live in a session: let {named} name Postgres itself, or a pool with "
    "pool_mode = session that passes the connection's options on"
)


def check_sessions(database: Database) -> None:
    """Raise OperatorError where something between us and Postgres shares server connections or drops our settings.

    Two connections of ours, open at the same time, must be served by two processes, each by the same one throughout
    (design.md §5). That finds a pooler with one server connection as well as one that takes them in turn.
    """
    with database.connect() as one, database.connect() as other:
        set_to = int(one.execute(TIMEOUT_MS).scalar_one())
        one.commit()
        seen = [(_process_of(one), _process_of(one), _process_of(other)) for _ in range(ROUNDS)]
    processes = {pid for first, again, _ in seen for pid in (first, again)}, {pid for _, _, pid in seen}
    if any(len(each) > 1 for each in processes) or processes[0] & processes[1]:
        raise OperatorError(
            "a pooler stands between us and Postgres that lends its server connections for one transaction at a time "
            f"(such as pgbouncer with pool_mode = transaction); {WHAT_TO_DO.format(named=database.named)}"
        )
    if set_to != database.statement_timeout_s * 1000:
        raise OperatorError(
            f"the server's statement_timeout is {set_to} ms and we asked for {database.statement_timeout_s} s: "
            "something between us and Postgres drops the connection's options (pgbouncer with "
            f"ignore_startup_parameters); {WHAT_TO_DO.format(named=database.named)}"
        )


def _process_of(connection: Connection) -> int:
    """Return which server process serves one transaction of this connection."""
    pid = int(connection.execute(PID).scalar_one())
    connection.commit()
    return pid
