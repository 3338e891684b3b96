"""Play seeds of the simulation, several at a time, and say what they found.

python -m tests.simulation.simulate --runs 300 --seed 1     (or: make simulate RUNS=300 SEED=1)
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import hashlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import structlog
import urllib3.util.connection
from sqlalchemy import text
from structlog.contextvars import clear_contextvars, merge_contextvars

from etl.store.database import Database
from tests.databases import SETTINGS, Server, embedded, migrated
from tests.leftovers import end_with_our_parent
from tests.simulation.sabotage import SABOTAGE
from tests.simulation.simulation import Played, Simulation, watched

# Servers are not killed here, so what they promise to keep need not reach the disk.
HASTY = f"{SETTINGS} -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
SEED_WITHIN_S = 120.0
SAID_IN_TRACE = (
    "feed", "poll_id", "gap_id", "resend_id", "cause", "state", "from_date", "to_date", "recovered", "epoch",
    "request_id", "why", "reason", "pages", "messages", "booked", "duplicate", "asked", "healed",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What is kept of a seed."""

    seed: int
    failure: str
    """Empty where nothing is lost and nothing wrong."""
    counts: Mapping[str, int]
    handed_out: int
    booked: int
    exceptions: int
    lost: int
    virtual_s: float
    took_s: float
    sha256: str
    """Of the trace."""
    trace: str


class Emptied:
    """One migrated database that is emptied between seeds."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        with self.database.connect() as connection:
            names = "SELECT c.oid::regclass::text FROM pg_class c WHERE relnamespace = 'stp'::regnamespace"
            tables = (
                connection.execute(text(f"{names} AND relkind IN ('r', 'p') AND NOT relispartition")).scalars().all()
            )
            self._sequences = connection.execute(text(f"{names} AND relkind = 'S'")).scalars().all()
            full = {
                each: connection.execute(text(f"SELECT to_jsonb(t) FROM {each} t")).scalars().all() for each in tables
            }
        self._given = {name: found for name, found in full.items() if found}
        self._tables = [each for each in tables if "alembic" not in each]

    def empty(self) -> None:
        """Leave what the migrations leave."""
        with self.database.connect() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))  # no trigger forbids it
            connection.execute(text(f"TRUNCATE {', '.join(self._tables)} RESTART IDENTITY CASCADE"))
            for name in self._sequences:
                connection.execute(text(f"ALTER SEQUENCE {name} RESTART"))
            for name, found in self._given.items():
                if name in self._tables:
                    statement = text(
                        f"INSERT INTO {name} SELECT * FROM jsonb_populate_record(NULL::{name}, CAST(:row AS jsonb))"
                    )
                    for each in found:
                        connection.execute(statement.bindparams(row=json.dumps(each)))
            connection.commit()


@contextmanager
def overheard(simulation: Simulation) -> Iterator[None]:
    """Let the log lines of the product be lines of the trace."""

    def listen(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> Any:
        who = simulation.stack[-1].name if simulation.stack else ""
        said = " ".join(f"{name}={line[name]}" for name in SAID_IN_TRACE if name in line)
        simulation.note(f"{who} {line['event']} {said}")
        if line.get("exc_info"):
            simulation.unexpected.append(f"{line['event']}: {line['exc_info']!r}")
        raise structlog.DropEvent

    structlog.configure(processors=[merge_contextvars, listen])
    try:
        yield
    finally:
        clear_contextvars()
        structlog.reset_defaults()


@contextmanager
def over_memory(simulation: Simulation) -> Iterator[None]:
    """Let the client's connections be made by the simulation."""
    real: Callable[..., Any] = urllib3.util.connection.create_connection
    urllib3.util.connection.create_connection = simulation.network.connect  # type: ignore[assignment]
    try:
        yield
    finally:
        urllib3.util.connection.create_connection = real


def play(seed: int, emptied: Emptied, folder: Path) -> Result:
    """Play one seed in a database that is emptied for it."""
    emptied.empty()
    began = time.monotonic()
    simulation = Simulation(seed, emptied.database, folder)
    played: Played | None = None
    failure = ""
    try:
        with watched(emptied.database, simulation), overheard(simulation), over_memory(simulation):
            played = simulation.play()
        failure = "" if played.findings.holds or not simulation.world.records.handed_out else str(played.findings)
    except Exception as error:  # noqa: BLE001  # whatever a seed finds is its result, and the next seed is played
        failure = f"{type(error).__name__}: {error}\n{''.join(traceback.format_exception(error)[-12:])}"
    finally:
        simulation.close()
    trace = "\n".join(simulation.trace)
    found = played.findings if played else None
    return Result(
        seed, failure, simulation.counts, found.handed_out if found else 0, found.booked if found else 0,
        found.exceptions if found else 0, len(found.lost) if found else 0, simulation.clock.passed_s,
        time.monotonic() - began, hashlib.sha256(trace.encode()).hexdigest(), trace,
    )  # fmt: skip


_worker: Emptied | None = None


def _begin(urls: Any, sabotage: str | None) -> None:
    global _worker
    end_with_our_parent()
    _worker = Emptied(urls.get())
    if sabotage:
        SABOTAGE[sabotage]()
    gc.freeze()


def _play_here(seed: int, folder: str, keep_trace: bool) -> Result:
    assert _worker is not None
    faulthandler.dump_traceback_later(SEED_WITHIN_S, exit=True)  # a world that stands still shows where
    result = play(seed, _worker, Path(folder))
    faulthandler.cancel_dump_traceback_later()
    if keep_trace or result.failure:
        return result
    return Result(**{**result.__dict__, "trace": ""})


def run(runs: int, seed: int, *, workers: int, trace: bool, sabotage: str | None, until_caught: bool = False) -> int:
    """Play the seeds and print what came of them; return 0 only when all of them hold."""
    total, failed, began, virtual_s = Counter[str](), list[int](), time.monotonic(), 0.0
    context = get_context("spawn")
    urls = context.SimpleQueue()
    with embedded(settings=HASTY) as own, migrated(own.url) as server, tempfile.TemporaryDirectory() as folder:
        for number in range(workers):
            urls.put(_database(server, f"simulation_{number}"))
        with ProcessPoolExecutor(workers, context, _begin, (urls, sabotage)) as pool:
            jobs = [pool.submit(_play_here, each, folder, trace) for each in range(seed, seed + runs)]
            for job in jobs:
                result = job.result()
                total += _counted(result)
                virtual_s += result.virtual_s
                failed += [result.seed] if result.failure else []
                _say(result, sabotage, trace=trace)
                if failed and until_caught:
                    pool.shutdown(cancel_futures=True)
                    break
    took = time.monotonic() - began
    for name in sorted(total):
        print(f"{name:<28} {total[name]}")
    print(f"{'seeds':<28} {runs}, failed: {failed or 'none'}")
    print(f"{'simulated hours':<28} {virtual_s / 3600:.0f}, {virtual_s / 60 / took:.0f} a minute")
    print(f"{'took':<28} {took:.0f} s with {workers} workers")
    return int(bool(failed))


def _counted(result: Result) -> Counter[str]:
    verdict = {"trades": result.handed_out, "in the book": result.booked, "lost": result.lost}
    return Counter(result.counts) + Counter(verdict | {"exception items": result.exceptions})


def _say(result: Result, sabotage: str | None, *, trace: bool) -> None:
    if trace:
        print(result.trace)
    if result.failure:
        broken = f" BREAK={sabotage}" if sabotage else ""
        again = f"make simulate RUNS=1 SEED={result.seed}{broken} TRACE=1"
        print(f"FAILED: seed {result.seed}: {result.failure}\nagain: {again}", flush=True)


def _database(server: Server, name: str) -> str:
    server.run(f'CREATE DATABASE "{name}" TEMPLATE {server._template}')
    return server.url_of(name)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="simulate", description="Play seeded worlds; nothing is lost in any.")
    parser.add_argument("--runs", type=int, default=300, help="seeds (default 300)")
    parser.add_argument("--seed", type=int, default=1, help="the first one (default 1)")
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1), help="seeds played at a time")
    parser.add_argument("--trace", action="store_true", help="print all that happened")
    parser.add_argument("--break", dest="sabotage", choices=sorted(SABOTAGE), help="break the product on purpose")
    parser.add_argument("--until-caught", action="store_true", help="end with the first seed that fails")
    given = parser.parse_args()
    if given.runs < 1:
        parser.error("--runs must be at least 1")
    sys.exit(
        run(
            given.runs, given.seed, workers=given.workers, trace=given.trace, sabotage=given.sabotage,
            until_caught=given.until_caught,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
