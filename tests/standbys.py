"""Second servers: a standby made with pg_basebackup, its promotion, and a dump restored into a new cluster."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres
from tests.acceptance.program import until
from tests.databases import SETTINGS, change, folder, value


def needs(server: EmbeddedPostgres, *programs: str) -> None:
    """Skip the test where the server came without these programs."""
    missing = [name for name in programs if not server.binary(name).exists()]
    if missing:
        pytest.skip(f"the embedded Postgres carries no {', '.join(missing)}")


def run(server: EmbeddedPostgres, program: str, *arguments: object) -> None:
    """Run one of the server's programs as the server's account."""
    account = "postgres" if os.geteuid() == 0 else None
    command = [str(server.binary(program)), *map(str, arguments)]
    subprocess.run(
        command, user=account, extra_groups=[] if account else None, cwd="/", check=True, stdout=subprocess.DEVNULL
    )


class Standby:
    """An asynchronous standby of a running server. Addresses are those of the same database on it."""

    def __init__(self, server: EmbeddedPostgres, primary: EmbeddedPostgres) -> None:
        self.server, self._primary = server, primary

    def url_of(self, url: str) -> str:
        """Return the address of the primary's database on this server."""
        name = make_url(url).database
        return make_url(self.server.url).set(database=name).render_as_string(hide_password=False)

    def catch_up(self) -> None:
        """Wait until everything that the primary has committed is here too."""
        with _opened(self._primary.url) as primary, _opened(self.server.url) as here:
            written = value(primary, "SELECT pg_current_wal_lsn()::text")
            arrived = "SELECT pg_last_wal_replay_lsn() >= CAST(:lsn AS pg_lsn)"
            until(lambda: value(here, arrived, lsn=written), what="the standby to catch up")

    def disconnect(self) -> None:
        """Get no more commits from the primary."""
        with _opened(self.server.url) as here:
            autocommit = here.engine.execution_options(isolation_level="AUTOCOMMIT")
            with autocommit.connect() as connection:
                connection.exec_driver_sql("ALTER SYSTEM SET primary_conninfo = ''")
            change(here, "SELECT pg_reload_conf()")
            until(lambda: not value(here, "SELECT count(*) FROM pg_stat_wal_receiver"), what="the stream to end")

    def promote(self) -> None:
        """Make it a primary; its timeline is a new one."""
        with _opened(self.server.url) as here:
            assert value(here, "SELECT pg_promote(true, 30)")


@contextmanager
def standby_of(primary: EmbeddedPostgres) -> Iterator[Standby]:
    """Lend a running standby, made with pg_basebackup."""
    needs(primary, "pg_basebackup")
    with folder() as place:
        place.chmod(0o777)
        data_dir = place / "pg"
        run(primary, "pg_basebackup", "-h", primary.data_dir, "-U", "postgres", "-D", data_dir, "-R", "-c", "fast")
        place.chmod(0o755)
        (data_dir / ".s.PGSQL.5432.lock").unlink(missing_ok=True)  # the primary's socket lies in its data folder
        with running(data_dir) as server:
            yield Standby(server, primary)


@contextmanager
def running(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    """Lend the server of this folder."""
    server = EmbeddedPostgres(data_dir, settings=SETTINGS)
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")


def dumped_into(source: EmbeddedPostgres, url: str, target: EmbeddedPostgres) -> str:
    """Copy a database into another server with pg_dump; return its address there."""
    needs(source, "pg_dump", "psql")
    name = make_url(url).database or ""
    run(target, "psql", "-h", target.data_dir, "-U", "postgres", "-q", "-c", "CREATE ROLE stp_reporting NOLOGIN")
    dump = Path(f"{source.data_dir}.sql")
    with dump.open("wb") as out:
        command = [source.binary("pg_dump"), "-h", source.data_dir, "-U", "postgres", "--create", name]
        subprocess.run(command, stdout=out, check=True)
    with dump.open("rb") as text:
        command = [source.binary("psql"), "-h", target.data_dir, "-U", "postgres", "-q", "-v", "ON_ERROR_STOP=1"]
        subprocess.run(command, stdin=text, stdout=subprocess.DEVNULL, check=True)
    return make_url(target.url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        database.close()
