"""Beside what a user would pick instead: `python -m tests.benchmarks.peers VENV [--trades N] [--rounds N] [--kill N]`.

The same sandbox, pages and Postgres for all, each program a process of its own, timed from its start to its end. Then
each is killed with SIGKILL after it was handed N trades, and started again: what it then lacks of all that was handed
out is lost.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psycopg

from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from etl.store import schema
from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres
from tests.benchmarks.drain import variables

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
HEALS_WITHIN_S = 300.0
OURS, DLT_BULK, DLT_PAGE, SINGER, ORM = (
    "stp-etl",
    "dlt, bulk",
    "dlt, a run a page",
    "Singer, target-postgres",
    "ORM loop",
)
HELD = {
    OURS: "SELECT trade_id FROM reporting.trade",
    DLT_BULK: "SELECT trade_id FROM peer.trade",
    DLT_PAGE: "SELECT trade_id FROM peer.trade",
    SINGER: 'SELECT "tradeId" FROM peer.trade',
    ORM: "SELECT trade_id FROM orm_trade",
}


class Bench:
    """A Postgres on loopback, a folder, and the programs that are measured."""

    def __init__(self, server: EmbeddedPostgres, port: int, venv: Path, folder: Path) -> None:
        self._server, self._port, self._venv, self._folder = server, port, venv, folder
        self._runs = 0

    def database(self) -> str:
        """Return the address of a new, empty database."""
        self._runs += 1
        name = f"peer_{self._runs}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://postgres:none@127.0.0.1:{self._port}/{name}"  # trusted; some tools insist on a password

    def command(self, way: str, url: str, database: str, page: int) -> tuple[Sequence[str] | str, dict[str, str]]:
        """Return what to start (a text goes to the shell) and its environment."""
        python = str(self._venv / "bin" / "python")
        folder = str(self._folder / database.rpartition("/")[2])
        match way:
            case "dlt, bulk" | "dlt, a run a page":
                kind = "bulk" if way == DLT_BULK else "page"
                command = [python, str(HERE / "peer_dlt.py"), kind, url, database, str(page), folder]
                return command, os.environ | {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
            case "Singer, target-postgres":
                given = {"host": "127.0.0.1", "port": self._port, "user": "postgres", "password": "none",
                         "database": database.rpartition("/")[2], "default_target_schema": "peer",
                         "add_record_metadata": False, "activate_version": False}  # fmt: skip
                config = Path(f"{folder}.json")
                config.write_text(json.dumps(given))
                target = self._venv / "bin" / "target-postgres"
                return f"exec {python} {HERE / 'peer_tap.py'} {url} {page} | {target} --config {config}", dict(
                    os.environ
                )
            case "ORM loop":
                return [sys.executable, "-m", "tests.benchmarks.orm", url, database, str(page)], dict(os.environ)
            case _:
                return [sys.executable, "-m", "etl.cli.main", "poll"], environment(url, database, page)

    def start(self, way: str, url: str, database: str, page: int) -> subprocess.Popen[bytes]:
        """Start a program in a group of its own."""
        if way == OURS:
            with Database(database).connect() as connection:
                schema.upgrade(connection)
        command, given = self.command(way, url, database, page)
        with (self._folder / "said.txt").open("ab") as said:
            return subprocess.Popen(
                command, shell=isinstance(command, str), env=given, cwd=ROOT, stdout=said, stderr=said,
                start_new_session=True,
            )  # fmt: skip

    def speed(self, way: str, trades: int, page: int) -> dict[str, float]:
        """Return trades a second and CPU seconds for 100,000; raise RuntimeError when one is not there at the end."""
        database = self.database()
        with SandboxProcess(Options(trades=trades, seed=1, prerender=page, token_life_s=3600)) as sandbox:
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            process = self.start(way, sandbox.url, database, page)
            code = process.wait()
            seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        if code != 0 or len(held(way, database)) != trades:
            raise RuntimeError(
                f"{way} ended with {code} and holds {len(held(way, database))} of {trades}; see said.txt"
            )
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"rate": trades / seconds, "cpu": cpu_s / trades * 100_000}

    def kill(self, way: str, trades: int, page: int, after: int) -> dict[str, int]:
        """Kill the program once `after` trades were handed out, start it again, and count what it lacks."""
        database = self.database()
        with SandboxProcess(Options(trades=trades, seed=2, prerender=page, token_life_s=3600)) as sandbox:
            process = self.start(way, sandbox.url, database, page)
            until(lambda: handed_out(sandbox) >= after)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            at_kill, kept = handed_out(sandbox), len(held(way, database))
            if way == OURS:
                heal(sandbox, database, page)
            else:
                self.start(way, sandbox.url, database, page).wait()
            given = {str(line["trade_id"]) for line in sandbox.control.handed_out()}
            return {"at_kill": at_kill, "kept": kept, "given": len(given), "lost": len(given - held(way, database))}


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
        until(lambda: healed(database), HEALS_WITHIN_S)
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait()


def healed(database: str) -> bool:
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
        return {trade_id for (trade_id,) in connection.execute(HELD[way])}
    return set()


def until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for a state."""
    last = time.monotonic() + seconds
    while not true():
        if time.monotonic() > last:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.02)


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def main() -> None:
    """Print both tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("venv", type=Path)
    options.add_argument("--trades", type=int, default=20_000)
    options.add_argument("--page-trades", type=int, default=2_000, help="for the run a page, which is slow")
    options.add_argument("--page", type=int, default=50)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--kill", type=int, default=8_000, help="trades handed out before the kill")
    given = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="stp-peers-"))
    folder.chmod(0o755)
    port = free_port()
    listening = f"-c listen_addresses=127.0.0.1 -c port={port}"
    with EmbeddedPostgres(folder / "pg", settings=listening) as server:
        bench = Bench(server, port, given.venv, folder)
        rates: dict[str, list[dict[str, float]]] = {way: [] for way in HELD}
        for number in range(given.rounds):
            for way, runs in rates.items():
                runs.append(bench.speed(way, given.page_trades if way == DLT_PAGE else given.trades, given.page))
                sys.stderr.write(f"round {number + 1} of {given.rounds}: {way} {runs[-1]['rate']:,.0f} trades/s\n")
        ours = statistics.median(run["rate"] for run in rates[OURS])
        speeds = []
        for way, runs in rates.items():
            rate, cpu = (statistics.median(run[key] for run in runs) for key in ("rate", "cpu"))
            speeds.append((way, f"{rate:,.0f}", f"{ours / rate:.1f}", f"{cpu:.0f}"))
        kills = []
        for way in HELD:
            found = bench.kill(way, given.trades, given.page, min(given.kill, given.trades // 2))
            kills.append((way, *(f"{found[key]:,}" for key in ("at_kill", "kept", "given", "lost"))))
            sys.stderr.write(f"killed: {way} lost {found['lost']:,}\n")
    lines = [
        f"{given.trades:,} trades, pages of {given.page}, medians of {given.rounds}, whole processes",
        "",
        *table(("program", "trades/s", "ours / it", "CPU s/100,000"), speeds),
        "",
        *table(("program", "handed out at the kill", "held then", "handed out in all", "lost"), kills),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
