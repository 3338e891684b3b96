"""Drain and book against the floor, in one run on one machine: `python -m tests.benchmarks [--trades N] [--rounds N]`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from etl.store.embedded import EmbeddedPostgres

ROOT = Path(__file__).resolve().parents[2]


def fresh_database(server: EmbeddedPostgres, name: str) -> str:
    """Return the url of an empty database of that name."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}"')
    return server.url.replace("@/postgres?", f"@/{name}?")


def drain(way: str, url: str, database: str, page: int) -> dict[str, float]:
    """Return what one drain in a process of its own measured."""
    command = [sys.executable, "-m", "tests.benchmarks.drain", way, url, database, str(page)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def backlog(server: EmbeddedPostgres, way: str, trades: int, page: int) -> list[dict[str, float]]:
    """Measure a backlog of `trades` into an empty book; for `ours` also the same trades again as duplicates."""
    database = fresh_database(server, f"bench_{way}")
    with SandboxProcess(Options(trades=trades, seed=1, prerender=page, token_life_s=3600)) as sandbox:
        first = drain(way, sandbox.url, database, page)
        if way == "floor":
            return [first]
        resend_everything(sandbox.url)
        return [first, drain(way, sandbox.url, database, page)]


def resend_everything(url: str) -> None:
    """Ask the vendor to hand everything out again."""
    import requests

    login = requests.post(
        f"{url}/v2/sso/login", json={"user": "apiUser", "pass": "sandbox", "org": "pfOrg"}, timeout=30
    )
    body = {"startDate": "2000-01-01 00:00:00,000 +0000", "endDate": "2100-01-01 00:00:00,000 +0000"}
    answer = requests.post(
        f"{url}/v2/trades/stp/resend", json=body, headers={"SSO_TOKEN": login.headers["SSO_TOKEN"]}, timeout=30
    )
    answer.raise_for_status()
    time.sleep(2)


def median_rate(runs: list[dict[str, float]]) -> float:
    """Return the median of trades a second."""
    return statistics.median(run["trades"] / run["seconds"] for run in runs)


def measure(server: EmbeddedPostgres, page: int, trades: int, rounds: int) -> list[str]:
    """Return the table's rows for one page size: floor and ours in turn, so that both meet the same noise."""
    floors, firsts, agains = [], [], []
    for number in range(rounds):
        floors += backlog(server, "floor", trades, page)
        first, again = backlog(server, "ours", trades, page)
        firsts.append(first)
        agains.append(again)
        sys.stderr.write(f"page {page}, round {number + 1} of {rounds}: {median_rate([first]):,.0f} trades/s\n")
    floor, ours, twice = map(median_rate, (floors, firsts, agains))
    cpu = statistics.median(run["cpu_s"] / run["trades"] * 100_000 for run in firsts)
    rss = max(run["rss_mib"] for run in firsts + agains)
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(floors, firsts, strict=True)]
    return [
        f"| {page} | {floor:,.0f} | {ours:,.0f} | {statistics.median(ratios):.2f} | {twice:,.0f} | {cpu:.1f} | {rss:.0f} |"
    ]


def main() -> None:
    """Print a table of medians."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--trades", type=int, default=50_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--pages", type=int, nargs="*", default=[50, 1000])
    given = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="stp-bench-"))
    folder.chmod(0o755)
    rows: list[str] = []
    with EmbeddedPostgres(folder / "pg") as server:
        for page in given.pages:
            rows += measure(server, page, given.trades, given.rounds)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, embedded Postgres 18,")
    print(f"{given.trades:,} trades, medians of {given.rounds}; floor = GET + INSERT of the bytes + COMMIT a page\n")
    print("| page | floor trades/s | ours trades/s | ours / floor | again as duplicates | CPU s per 100,000 | RSS MiB |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
