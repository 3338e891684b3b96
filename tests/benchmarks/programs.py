"""The programs that are measured beside each other, each a process of its own on the same Postgres."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psycopg

from etl.sandbox.process import SandboxProcess
from etl.store import schema
from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres
from tests.benchmarks.drain import variables

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
HEALS_WITHIN_S = 300.0
FLOOR, OURS, DLT_BULK, DLT_PAGE, SINGER, ORM = (
    "floor: GET, INSERT of the bytes, COMMIT",
    "stp-etl",
    "dlt, merge in bulk",
    "dlt, a run a page",
    "Singer tap, target-postgres",
    "ORM loop",
)
PROGRAMS = (FLOOR, OURS, DLT_BULK, DLT_PAGE, SINGER, ORM)
HELD = {
    FLOOR: "SELECT convert_from(body, 'UTF8') FROM raw_page",
    OURS: "SELECT trade_id FROM reporting.trade",
    DLT_BULK: "SELECT trade_id FROM peer.trade",
    DLT_PAGE: "SELECT trade_id FROM peer.trade",
    SINGER: 'SELECT "tradeId" FROM peer.trade',
    ORM: "SELECT trade_id FROM orm_trade",
}
IN_A_BODY = re.compile(r'"tradeId":"([^"]+)"')


class Bench:
    """A Postgres on loopback, a folder, and the programs that are measured."""

    def __init__(self, server: EmbeddedPostgres, port: int, venv: Path, folder: Path) -> None:
        self._server, self._port, self._venv, self._folder = server, port, venv, folder
        self._runs = 0
        self.postgres = int((server.data_dir / "postmaster.pid").read_text().splitlines()[0])

    def database(self, way: str) -> str:
        """Return the address of a new database, empty but for the schema of a program that brings one."""
        self._runs += 1
        name = f"peer_{self._runs}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        if way == OURS:
            with Database(self._url(name)).connect() as connection:
                schema.upgrade(connection)
        return self._url(name)

    def drop(self, database: str) -> None:
        """Drop a database that has been measured, so that the next one meets the same disk."""
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{database.rpartition("/")[2]}" WITH (FORCE)')

    def _url(self, name: str) -> str:
        return f"postgresql://postgres:none@127.0.0.1:{self._port}/{name}"  # trusted; some tools insist on a password

    def _command(self, way: str, url: str, database: str, page: int) -> tuple[Sequence[str] | str, dict[str, str]]:
        """Return what to start (a text goes to the shell) and its environment."""
        python = str(self._venv / "bin" / "python")
        folder = str(self._folder / database.rpartition("/")[2])
        if way in (DLT_BULK, DLT_PAGE):
            kind = "bulk" if way == DLT_BULK else "page"
            command = [python, str(HERE / "peer_dlt.py"), kind, url, database, str(page), folder]
            return command, os.environ | {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
        if way == SINGER:
            config = self._target_settings(folder, database)
            target = f"{self._venv / 'bin' / 'target-postgres'} --config {config}"
            return f"{python} {HERE / 'peer_tap.py'} {url} {page} | {target}", dict(os.environ)
        if way == OURS:
            return [sys.executable, "-m", "etl.cli.main", "poll"], environment(url, database, page)
        module = "floor" if way == FLOOR else "orm"
        return [sys.executable, "-m", f"tests.benchmarks.{module}", url, database, str(page)], dict(os.environ)

    def _target_settings(self, folder: str, database: str) -> Path:
        given = {
            "host": "127.0.0.1", "port": self._port, "user": "postgres", "password": "none",
            "database": database.rpartition("/")[2], "default_target_schema": "peer", "add_record_metadata": False,
            "activate_version": False,
        }  # fmt: skip
        config = Path(f"{folder}.json")
        config.write_text(json.dumps(given))
        return config

    def start(self, way: str, url: str, database: str, page: int) -> subprocess.Popen[bytes]:
        """Start a program in a group of its own."""
        command, given = self._command(way, url, database, page)
        with (self._folder / "said.txt").open("ab") as said:
            return subprocess.Popen(
                command, shell=isinstance(command, str), env=given, cwd=ROOT, stdout=said, stderr=said,
                start_new_session=True,
            )  # fmt: skip

    def drained(self, way: str, sandbox: SandboxProcess, database: str, page: int) -> None:
        """Run a program to its end; raise RuntimeError when it failed, or lacks a trade that was handed out."""
        code = self.start(way, sandbox.url, database, page).wait()
        lacks = handed_out(sandbox) - len(held(way, database))
        if code != 0 or lacks:
            raise RuntimeError(f"{way} ended with {code} and lacks {lacks} trades; see {self._folder / 'said.txt'}")


def environment(url: str, database: str, page: int) -> dict[str, str]:
    """Return the settings of the program, as environment; the waits of the ghost are short, as in the tests."""
    return os.environ | variables(
        url, database, page, FEEDS__MAIN__GHOST_S="2", FEEDS__MAIN__ELIGIBLE_AFTER_S="0.3",
        FEEDS__MAIN__POLL_INTERVAL_S="0.2", OPS__LISTEN="127.0.0.1:0",
    )  # fmt: skip


def heal(sandbox: SandboxProcess, database: str, page: int) -> None:
    """Run the daemon until it says that no gap is open and the queue is empty, then stop it in order."""
    command = [sys.executable, "-m", "etl.cli.main", "run"]
    daemon = subprocess.Popen(
        command, env=environment(sandbox.url, database, page), cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: _healed(database), HEALS_WITHIN_S)
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait()


def _healed(database: str) -> bool:
    """Return whether the queue was proven empty, gaps were opened, and all of them are over."""
    query = "SELECT last_empty_at IS NOT NULL AND open_gaps = 0 AND landed_unbooked = 0 FROM reporting.feed_status"
    gaps = "SELECT count(*) > 0 FROM reporting.gap"
    with psycopg.connect(database) as connection:
        return all((connection.execute(each).fetchone() or (False,))[0] for each in (query, gaps))


def handed_out(sandbox: SandboxProcess) -> int:
    """Return how many trades the sandbox has handed out."""
    return int(sandbox.control.state()["handed_out"])


def held(way: str, database: str) -> set[str]:
    """Return the trades that the program holds; none where it has made no table yet."""
    with psycopg.connect(database) as connection, suppress(psycopg.errors.UndefinedTable):
        found = [text for (text,) in connection.execute(HELD[way])]
        return set(found) if way != FLOOR else {each for text in found for each in IN_A_BODY.findall(text)}
    return set()


def until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for a state."""
    last = time.monotonic() + seconds
    while not true():
        if time.monotonic() > last:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.02)
