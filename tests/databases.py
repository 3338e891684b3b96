"""Postgres servers for tests, and databases copied from a migrated template within milliseconds."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, make_url, text

from etl.store import schema
from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres
from tests.leftovers import server_ends_with_us

DEBIAN = Path("/usr/lib/postgresql/15/bin")
MIGRATED, EMPTY = "migrated", "template0"
# Small and quick, but as durable as in production: law 4 refuses anything less.
SETTINGS = (
    "-c shared_buffers=32MB -c max_wal_size=512MB -c checkpoint_timeout=1h -c autovacuum=off"
    " -c max_connections=60 -c jit=off -c log_min_messages=fatal"
)


class DebianPostgres:
    """Debian's own PostgreSQL 15, run like the embedded one: on a unix socket in its data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._account = "postgres" if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.data_dir}"

    def start(self) -> str:
        if not (self.data_dir / "PG_VERSION").exists():
            self.data_dir.mkdir(mode=0o700)
            if self._account is not None:
                shutil.chown(self.data_dir, self._account)
            self._run("initdb", "-D", self.data_dir, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.data_dir}' {SETTINGS}"
        log = self.data_dir / "server.log"
        self._run("pg_ctl", "-D", self.data_dir, "-l", log, "-w", "-s", "-o", options, "start")
        return self.url

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", self.data_dir, "-w", "-s", "-m", mode, "stop")

    def _run(self, program: str, *arguments: object) -> None:
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(
                [str(DEBIAN / program), *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, user=self._account,
                extra_groups=[] if self._account is not None else None, cwd="/", check=False,
            )  # fmt: skip
            said.seek(0)
            assert done.returncode == 0, said.read().decode()


class Server:
    """A running Postgres in which tests get databases of their own."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url).set(drivername="postgresql")
        self._numbers = count(1)
        self._mark = f"{os.getpid()}"
        self._engine = create_engine(
            self.url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT", poolclass=NullPool
        )

    def run(self, statement: str) -> None:
        """Execute a statement on the server's own database."""
        with self._engine.connect() as connection:
            connection.execute(text(statement))

    def url_of(self, name: str) -> str:
        """Return the address of one of its databases."""
        return self.url.set(database=name).render_as_string(hide_password=False)

    def migrate_template(self) -> None:
        """Make the database that the others are copies of."""
        self.run(f'CREATE DATABASE "{self._template}" TEMPLATE {EMPTY}')
        database = Database(self.url_of(self._template))
        with database.connect() as connection:
            schema.upgrade(connection)
        database.close()

    def drop_template(self) -> None:
        """Leave a server that is not ours as it was."""
        self.run(f'DROP DATABASE IF EXISTS "{self._template}" WITH (FORCE)')

    @contextmanager
    def database(self, template: str = MIGRATED) -> Iterator[str]:
        """Lend the address of a new database: migrated, or EMPTY."""
        name = f"stp_test_{self._mark}_{next(self._numbers)}"
        self.run(f'CREATE DATABASE "{name}" TEMPLATE {self._template if template == MIGRATED else template}')
        yield self.url_of(name)
        self.run(f'DROP DATABASE "{name}" WITH (FORCE)')

    @property
    def _template(self) -> str:
        return f"stp_template_{self._mark}"


@contextmanager
def folder() -> Iterator[Path]:
    """Lend a folder with a short path that the account of an embedded server may pass through."""
    made = Path(tempfile.mkdtemp(prefix="stp-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def embedded(version: int = 18, settings: str = SETTINGS) -> Iterator[EmbeddedPostgres]:
    """Lend a running embedded server of its own."""
    with folder() as place:
        server = EmbeddedPostgres(place / "pg", version=version, settings=settings)
        server.start()
        try:
            with server_ends_with_us(server.data_dir):
                yield server
        finally:
            server.stop("immediate")


@contextmanager
def debian() -> Iterator[DebianPostgres]:
    """Lend a running server of Debian's version."""
    with folder() as place:
        server = DebianPostgres(place / "pg")
        server.start()
        try:
            with server_ends_with_us(server.data_dir):
                yield server
        finally:
            server.stop("immediate")


@contextmanager
def migrated(url: str) -> Iterator[Server]:
    """Lend the server at this address with the migrated template in it."""
    server = Server(url)
    server.migrate_template()
    try:
        yield server
    finally:
        server.drop_template()


def rows(database: Database, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """Return what a query finds, outside of any repository."""
    with database.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement), values)]


def value(database: Database, statement: str, **values: Any) -> Any:
    """Return the one value that a query finds."""
    ((found,),) = rows(database, statement, **values)
    return found


def change(database: Database, statement: str, **values: Any) -> None:
    """Execute a statement and commit it."""
    with database.connect() as connection:
        connection.execute(text(statement), values)
        connection.commit()
