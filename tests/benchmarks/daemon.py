"""The daemon as a process against the sandbox: what it costs when nothing happens, and how soon trades can be seen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from etl.store import schema
from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres
from tests.acceptance.program import Daemon, Program, feed_text, settings_text, until
from tests.benchmarks.drain import cpu_of
from tests.benchmarks.report import WAITS, Figure, percentile

SETTLES_S, SLACK_S = 20.0, 1.0
HOUR_S = 3600.0
WRITES = """
SELECT w.wal_records, (w.wal_bytes / 1024)::bigint AS wal_kib,
    (SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
     WHERE c.relnamespace = 'stp'::regnamespace AND c.relkind = 'r') AS size,
    (SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables) AS rows,
    (SELECT sum(n_tup_ins - n_tup_del)::bigint FROM pg_stat_user_tables) AS live
FROM pg_stat_wal w
"""
NEWER = "SELECT extract(epoch FROM executed_at)::float8, change_seq FROM reporting.trade WHERE change_seq > %s"


@contextmanager
def running(url: str, sandbox: SandboxProcess, **keys: object) -> Iterator[Daemon]:
    """Run the daemon on a new database, with these keys of its feed and all else as by default."""
    with Database(url).connect() as connection:
        schema.upgrade(connection)
    with TemporaryDirectory(prefix="stp-bench-") as folder:
        program = Program(Path(folder), settings_text(url, feed_text(sandbox.url, **keys)))
        with program.daemon() as daemon:
            until(lambda: daemon.events("daemon.started"), what="the daemon", within_s=120)
            yield daemon
            daemon.stop()


def postmaster(server: EmbeddedPostgres) -> int:
    """Return the main process of the server."""
    return int((server.data_dir / "postmaster.pid").read_text().splitlines()[0])


def counted(url: str) -> dict[str, int]:
    """Return what Postgres has counted so far."""
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
        return dict(connection.execute(WRITES).fetchone() or {})


def idle(server: EmbeddedPostgres, url: str, seconds: float, poll_interval_s: float = 5.0) -> list[Figure]:
    """Measure a daemon whose queue is empty, after a while to settle."""
    with SandboxProcess(Options(trades=0)) as sandbox, running(url, sandbox, poll_interval_s=poll_interval_s) as daemon:
        time.sleep(SETTLES_S)
        before, cpu, theirs, began = counted(url), cpu_of(daemon.process.pid), cpu_of(postmaster(server)), time.time()
        time.sleep(seconds)
        took = time.time() - began
        share = (cpu_of(daemon.process.pid) - cpu) / took * 100
        postgres = (cpu_of(postmaster(server)) - theirs) / took * 100
        after = counted(url)
    more = {name: after[name] - before[name] for name in before}
    hourly = {name: f"{each * HOUR_S / took:,.0f}" for name, each in more.items()}
    over = f"over {took:.0f} s, a poll each {poll_interval_s:g} s"
    writes = f"{hourly['rows']} rows, {hourly['wal_records']} WAL records, {hourly['wal_kib']} KiB of WAL"
    grown = f"{more['size']:,} bytes, {more['live']:+} rows"
    return [
        Figure("idle: CPU of the daemon", f"{share:.2f} % of a core", over, "< 1 % of a core", share < 1),
        Figure("idle: CPU of Postgres for it", f"{postgres:.2f} % of a core", over),
        Figure("idle: writes an hour, extrapolated", writes, f"{HOUR_S / poll_interval_s:,.0f} polls"),
        Figure("idle: growth of the tables", grown, over, "none", more["size"] == more["live"] == 0),
    ]


def latency(url: str, rate: float, seconds: float, poll_interval_s: float) -> Figure:
    """Measure from each trade's execution, by the vendor's clock, to the instant at which a reader sees it."""
    options = Options(trades=0, rate=rate)
    with SandboxProcess(options) as sandbox, running(url, sandbox, poll_interval_s=poll_interval_s):
        waited = seen_after(url, seconds)
    name = f"execution to visible, {rate:g} trades/s"
    half, most = percentile(waited, 0.5), percentile(waited, 0.99)
    measured = f"p50 {half:.2f} s, p99 {most:.2f} s, max {max(waited):.2f} s ({len(waited):,} trades)"
    aim = poll_interval_s + SLACK_S
    label = f"{rate:g} trades/s, a poll each {poll_interval_s:g} s"
    drawn = ((WAITS, f"{label}: p50", half), (WAITS, f"{label}: p99", most))
    return Figure(name, measured, f"a poll each {poll_interval_s:g} s", f"p99 ≤ {aim:g} s", most <= aim, drawn)


def seen_after(url: str, seconds: float) -> list[float]:
    """Return the age at which each new trade was seen by a reader who is woken by the notices of the book."""
    ages: list[float] = []
    last, began, until_s = 0, time.time(), time.monotonic() + seconds  # the backlog of the start does not count
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("LISTEN stp_trade_change")
        while time.monotonic() < until_s:
            for _ in connection.notifies(timeout=1, stop_after=1):
                pass
            found = connection.execute(NEWER, (last,)).fetchall()
            now = time.time()
            ages += [now - executed_at for executed_at, _ in found if executed_at > began]
            last = max([last, *(change_seq for _, change_seq in found)])
    return ages
