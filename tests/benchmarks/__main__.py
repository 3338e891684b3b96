"""Drain and book against the floor, in one run on one machine: `python -m tests.benchmarks [--trades N] [--rounds N]`.

`--memory N` drains one large backlog and compares its peak memory; `--start` measures the start to the first request.
The flags of `tests/benchmarks/asked.py` (`--idle`, `--latency`, `--full` …) each measure something else instead.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg
import requests

from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from etl.store import schema
from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres
from tests.benchmarks import asked
from tests.benchmarks.drain import logged_in, variables

ROOT = Path(__file__).resolve().parents[2]
ORM_TRADES = 5_000  # enough to know the rate of the ORM loop
COLUMNS = (
    "page", "floor trades/s", "ours trades/s", "ours / floor", "again, trades/s", "ORM trades/s", "ours / ORM",
    "CPU s/100,000: floor", "ours", "ours: Postgres", "RSS MiB",
)  # fmt: skip


def fresh_database(server: EmbeddedPostgres, name: str) -> str:
    """Return the url of an empty database of that name."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}"')
    return server.url.replace("@/postgres?", f"@/{name}?")


def drain(server: EmbeddedPostgres, way: str, url: str, database: str, page: int) -> dict[str, float]:
    """Return what one drain in a process of its own measured."""
    command = [sys.executable, "-m", "tests.benchmarks.drain", way, url, database, str(page)]
    command.append((server.data_dir / "postmaster.pid").read_text().splitlines()[0])
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, cwd=ROOT)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def backlog(server: EmbeddedPostgres, way: str, trades: int, page: int) -> list[dict[str, float]]:
    """Measure a backlog of `trades` into an empty book; for `ours` also the same trades again as duplicates."""
    database = fresh_database(server, f"bench_{way}")
    options = Options(trades=trades, seed=1, prerender=page, token_life_s=3600, start_time=datetime.now(UTC))
    with SandboxProcess(options) as sandbox:
        first = drain(server, way, sandbox.url, database, page)
    if way != "ours":
        return [first]
    options = dataclasses.replace(options, port=int(sandbox.url.rpartition(":")[2]))
    with SandboxProcess(options) as same:  # the same seed, so the same trades; the same port, so the same feed
        return [first, drain(server, way, same.url, database, page)]


def resend_everything(url: str) -> None:
    """Ask the vendor to hand everything out again."""
    body = {"startDate": "2000-01-01 00:00:00,000 +0000", "endDate": "2100-01-01 00:00:00,000 +0000"}
    requests.post(f"{url}/v2/trades/stp/resend", json=body, headers=logged_in(url), timeout=60).raise_for_status()
    time.sleep(2)


def median_rate(runs: list[dict[str, float]]) -> float:
    """Return the median of trades a second."""
    return statistics.median(run["trades"] / run["seconds"] for run in runs)


def measure(server: EmbeddedPostgres, page: int, trades: int, rounds: int) -> str:
    """Return the table's row for one page size: floor and ours in turn, so that both meet the same noise."""
    floors, firsts, agains, loops = [], [], [], []
    for number in range(rounds):
        floors += backlog(server, "floor", trades, page)
        first, again = backlog(server, "ours", trades, page)
        loops += backlog(server, "orm", min(trades, ORM_TRADES), page)
        firsts.append(first)
        agains.append(again)
        sys.stderr.write(f"page {page}, round {number + 1} of {rounds}: {median_rate([first]):,.0f} trades/s\n")
    floor, ours, twice, orm = map(median_rate, (floors, firsts, agains, loops))
    rss = max(run["rss_mib"] for run in firsts + agains)
    ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in zip(floors, firsts, strict=True))
    cpu = (median_cpu(floors), median_cpu(firsts), median_cpu(firsts, "postgres_s"))
    return (
        f"| {page} | {floor:,.0f} | {ours:,.0f} | {ratio:.2f} | {twice:,.0f} | {orm:,.0f} | {ours / orm:.0f} | "
        f"{' | '.join(f'{each:.1f}' for each in cpu)} | {rss:.0f} |"
    )


def median_cpu(runs: list[dict[str, float]], *names: str) -> float:
    """Return the median of the CPU seconds for 100,000 trades: of Postgres, or of it and the program together."""
    of = names or ("cpu_s", "postgres_s")
    return statistics.median(sum(run[name] for name in of) / run["trades"] * 100_000 for run in runs)


def memory(server: EmbeddedPostgres, trades: int, page: int = 1000) -> str:
    """Return a sentence on the peak memory of a large backlog."""
    database = fresh_database(server, "bench_memory")
    with SandboxProcess(Options(trades=trades, seed=1, prerender=page, token_life_s=3600)) as sandbox:
        run = drain(server, "ours", sandbox.url, database, page)
    return (
        f"{trades:,} trades in pages of {page}: peak RSS {run['rss_mib']:.0f} MiB, {median_rate([run]):,.0f} trades/s"
    )


def start(server: EmbeddedPostgres, rounds: int) -> str:
    """Return a sentence on the time from starting `stp-etl poll` to its first request of the queue."""
    times = []
    for _ in range(rounds):
        database = fresh_database(server, "bench_start")
        with Database(database).connect() as connection:
            schema.upgrade(connection)
        with SandboxProcess(Options(trades=1)) as sandbox:
            environment = os.environ | variables(sandbox.url, database, 50)
            began = time.time()
            subprocess.run([sys.executable, "-m", "etl.cli.main", "poll"], env=environment, check=True, cwd=ROOT,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            first = next(each for each in sandbox.control.requests() if each["endpoint"] == "messages")
            times.append(_seconds(str(first["at"])) - began)
    return f"start to first GET: {statistics.median(times):.2f} s (median of {rounds})"


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at.replace(",", ".").replace(" +", "+")).timestamp()


def main() -> None:
    """Print a table of medians."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--trades", type=int, default=50_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--pages", type=int, nargs="*", default=[50, 1000])
    options.add_argument("--memory", type=int, default=0, metavar="TRADES")
    options.add_argument("--start", action="store_true")
    asked.add_to(options)
    given = options.parse_args()
    if given.simulate_scale:
        sys.stdout.write("\n".join(asked.simulate_scale(write=given.write)) + "\n")
        return
    folder = Path(tempfile.mkdtemp(prefix="stp-bench-"))
    folder.chmod(0o755)
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, embedded Postgres 18",
        f"{given.trades:,} trades, medians of {given.rounds}; floor: GET, INSERT of the bytes, COMMIT, page by page",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
    ]
    if asked.any_of(given):
        with EmbeddedPostgres(folder / "pg", settings=asked.SERVER) as server:
            lines = asked.measured(
                given, server, new=partial(fresh_database, server), drain=partial(drain, server),
                resend=resend_everything,
            )  # fmt: skip
        sys.stdout.write("\n".join(lines) + "\n")
        return
    with EmbeddedPostgres(folder / "pg") as server:
        lines += [measure(server, page, given.trades, given.rounds) for page in given.pages]
        if given.start:
            lines += ["", start(server, given.rounds)]
        if given.memory:
            lines += ["", memory(server, given.memory)]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
