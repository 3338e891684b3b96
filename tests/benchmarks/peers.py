"""Beside what a user would pick instead: `python -m tests.benchmarks.peers VENV [--trades N] [--rounds N] [--kill N]`.

The same sandbox, pages and Postgres for all, each program a process of its own. It is timed from its first request of
the queue until it has ended, and its processor seconds are counted, with those of Postgres and without those that it
needs for an empty queue. Then the numbers that it holds are compared with the vendor's own; and it is killed with
SIGKILL after it was handed N trades, and started again: what it then lacks of all that was handed out is lost.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from etl.store.embedded import EmbeddedPostgres
from tests.benchmarks import peers_page
from tests.benchmarks.digits import compared, decoded, long_messages, numbers_in, numbers_of
from tests.benchmarks.drain import cpu_of
from tests.benchmarks.programs import (
    DLT_BULK,
    DLT_PAGE,
    FLOOR,
    ORM,
    OURS,
    PROGRAMS,
    SINGER,
    Bench,
    handed_out,
    heal,
    held,
    until,
)  # fmt: skip
from tests.benchmarks.report import machine
from tests.ports import free_port

MOST_TRADES = {FLOOR: 50_000, OURS: 50_000, DLT_BULK: 20_000, DLT_PAGE: 20_000, SINGER: 10_000, ORM: 5_000}
MOST_PAGES = {DLT_PAGE: 30}
"""Enough to know the rate of each, and few enough that the whole takes a quarter of an hour."""
EXACT_TRADES, LONG_TRADES, EXACT_PAGE = 400, 100, 50


def trades_for(way: str, page: int, most: int) -> int:
    """Return how many trades a program is given."""
    return min(most, MOST_TRADES[way], MOST_PAGES.get(way, most) * page)


@contextmanager
def queue_of(bench: Bench, way: str, trades: int, page: int, seed: int = 1) -> Iterator[tuple[SandboxProcess, str]]:
    """Lend a sandbox with a backlog, and a database that is gone afterwards."""
    database = bench.database(way)
    with SandboxProcess(Options(trades=trades, seed=seed, prerender=page, token_life_s=3600)) as sandbox:
        yield sandbox, database
    bench.drop(database)


def drain(bench: Bench, way: str, trades: int, page: int) -> dict[str, float]:
    """Return the seconds from the first request of the queue to the end, and processor seconds from start to end."""
    with queue_of(bench, way, trades, page) as (sandbox, database):
        theirs, before = cpu_of(bench.postgres), resource.getrusage(resource.RUSAGE_CHILDREN)
        bench.drained(way, sandbox, database, page)
        ended, after = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
        theirs = cpu_of(bench.postgres) - theirs
        first = next(each for each in sandbox.control.requests() if each["endpoint"] == "messages")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": ended - datetime.fromisoformat(first["at"]).timestamp(), "cpu_s": used + theirs}


def speed(bench: Bench, way: str, trades: int, page: int, *, idle_cpu_s: float) -> dict[str, float]:
    """Return trades a second, and processor seconds for 100,000 beyond those of a run on an empty queue."""
    run = drain(bench, way, trades, page)
    cpu_s = max(0.0, run["cpu_s"] - idle_cpu_s)
    return {"trades": trades, "rate": trades / run["seconds"], "cpu": cpu_s / trades * 100_000}


def exact(bench: Bench, way: str, longer: list[str]) -> dict[str, dict[str, int]]:
    """Count the numbers that a program changed: of the sandbox's trades, and of trades with long amounts."""
    with queue_of(bench, way, EXACT_TRADES, EXACT_PAGE) as (sandbox, database):
        sandbox.control.raw(*longer)
        bench.drained(way, sandbox, database, EXACT_PAGE)
        theirs = numbers_in(decoded(str(line["body"])) for line in sandbox.control.handed_out())
        ours = numbers_of(way, database)
    usual = {key: text for key, text in theirs.items() if not key[0].startswith("LONG-")}
    return {
        "usual": compared(usual, ours),
        "long": compared({key: text for key, text in theirs.items() if key not in usual}, ours),
    }


def kill(bench: Bench, way: str, page: int, after: int) -> dict[str, int]:
    """Kill the program once `after` trades were handed out, start it again, and count what it lacks."""
    with queue_of(bench, way, 2 * after, page, seed=2) as (sandbox, database):
        process = bench.start(way, sandbox.url, database, page)
        until(lambda: handed_out(sandbox) >= after)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        at_kill, kept = handed_out(sandbox), len(held(way, database))
        if way == OURS:
            heal(sandbox, database, page)
        else:
            bench.start(way, sandbox.url, database, page).wait()
        given = {str(line["trade_id"]) for line in sandbox.control.handed_out()}
        lost = len(given - held(way, database))
    return {"at_kill": at_kill, "kept": kept, "given": len(given), "lost": lost}


def measured(bench: Bench, given: argparse.Namespace) -> dict[str, Any]:
    """Measure all programs, in turn, so that each round meets the same noise."""
    runs: dict[str, dict[str, list[dict[str, float]]]] = {way: {str(p): [] for p in given.pages} for way in PROGRAMS}
    for number in range(given.rounds):
        for way, by_page in runs.items():
            idle = drain(bench, way, 0, EXACT_PAGE)["cpu_s"]
            for page, found in by_page.items():
                trades = trades_for(way, int(page), given.trades)
                found.append(speed(bench, way, trades, int(page), idle_cpu_s=idle))
                say(f"round {number + 1} of {given.rounds}, pages of {page}: {way} {found[-1]['rate']:,.0f} trades/s")
    longer = long_messages(LONG_TRADES)
    numbers, kills = {}, {}
    for way in PROGRAMS:
        numbers[way] = exact(bench, way, longer)
        say(f"numbers: {way} {numbers[way]}")
    for way in PROGRAMS:
        kills[way] = kill(bench, way, 50, min(given.kill, trades_for(way, 50, given.trades) // 2))
        say(f"killed: {way} {kills[way]}")
    return {"runs": runs, "numbers": numbers, "kills": kills}


def say(text: str) -> None:
    """Tell who waits how far it is."""
    sys.stderr.write(text + "\n")


def main() -> None:
    """Print the table, and keep it where that is asked for."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("venv", type=Path)
    options.add_argument("--trades", type=int, default=50_000, help="at most; slow programs are given fewer")
    options.add_argument("--pages", type=int, nargs="*", default=[50, 1000])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--kill", type=int, default=8_000, help="trades handed out before the kill, at most")
    options.add_argument("--write", action="store_true", help="put the table into README.md, with what it is made of")
    given = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="stp-peers-"))
    folder.chmod(0o755)
    port, here = free_port(), machine()
    began = time.monotonic()
    with EmbeddedPostgres(folder / "pg", settings=f"-c listen_addresses=127.0.0.1 -c port={port}") as server:
        found = {"machine": here, **measured(Bench(server, port, given.venv, folder), given)}
    shutil.rmtree(folder)
    say(f"{time.monotonic() - began:.0f} s")
    sys.stdout.write("\n".join(peers_page.lines(found)) + "\n")
    if given.write:
        peers_page.write(found)


if __name__ == "__main__":
    main()
