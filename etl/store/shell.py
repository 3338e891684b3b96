"""A psql on the database, told of the password without anybody else seeing it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import URL

from etl.errors import OperatorError
from etl.store.database import Database, password_of
from etl.store.embedded import EmbeddedPostgres


def run_psql(database: Database, arguments: Sequence[str], embedded: EmbeddedPostgres | None, spare: Path) -> int:
    """Run psql on the database to its end and return its code; raise OperatorError where there is no psql.

    The password goes by the environment, never by the command line, which every user of the machine can read.
    `spare` is a folder that the packaged psql may be asked for where the path has none.
    """
    address = database.url
    password = password_of(address)
    bare = URL.create(  # `set(password=None)` would leave it in
        "postgresql", address.username, host=address.host, port=address.port, database=address.database,
        query=address.difference_update_query(["password"]).query,
    )  # fmt: skip
    environment = dict(os.environ) | ({"PGPASSWORD": str(password)} if password else {})
    command = [_psql(embedded, spare), "--dbname", bare.render_as_string(hide_password=False), *arguments]
    before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C ends a query in psql, not us
    try:
        return subprocess.run(command, env=environment, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _psql(embedded: EmbeddedPostgres | None, spare: Path) -> str:
    """Return the psql of the embedded server, else the one on the path, else the packaged one."""
    if embedded is not None:
        return str(embedded.binary("psql"))
    found = shutil.which("psql")
    if found is not None:
        return found
    packaged = EmbeddedPostgres(spare).binary("psql")
    if not packaged.exists():
        raise OperatorError("psql is not installed; install the package postgresql-client")
    return str(packaged)
