"""publish and verify against a plain COPY: `python -m tests.benchmarks.publish [--trades N] [--rounds N]`.

Two databases of one server; the plain COPY goes from the same views into tables with the same keys and indexes.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Callable

import structlog

from etl.clock import SystemClock
from etl.controls.publish import Publisher
from etl.controls.verify import Verifier
from etl.store.copying import driver_of
from etl.store.database import Database
from etl.store.day_sums import LEGS, VERSIONS
from tests.benchmarks.filled import fill
from tests.benchmarks.report import RATES, Figure, table
from tests.databases import EMPTY, Server, change, embedded, migrated

SETTINGS = "-c shared_buffers=128MB -c max_wal_size=4GB -c max_connections=60 -c jit=off -c log_min_messages=fatal"
SCHEMA = "reporting"


def seconds(deed: Callable[[], object]) -> float:
    started = time.perf_counter()
    deed()
    return time.perf_counter() - started


def copy_plainly(source: Database, target: Database) -> None:
    """Copy the rows of both views into tables like those of publish, in one transaction, and nothing else."""
    with source.connect() as one, target.connect() as other:
        for table in (VERSIONS, LEGS):
            other.exec_driver_sql(f"CREATE TABLE public.{table} (LIKE {SCHEMA}.{table} INCLUDING ALL)")
            with (
                driver_of(one).cursor() as reading,
                driver_of(other).cursor() as writing,
                reading.copy(f"COPY (SELECT * FROM reporting.{table}) TO STDOUT".encode()) as rows,
                writing.copy(f"COPY public.{table} FROM STDIN".encode()) as copy,
            ):
                for row in rows:
                    copy.write(row)
        other.commit()


def round_of(server: Server, source: Database) -> dict[str, float]:
    """Return the seconds of each way into a new database."""
    with server.database(EMPTY) as url:
        target = Database(url, statement_timeout_s=3600)
        publisher = Publisher(source, target, SystemClock(), schema=SCHEMA, batch=50_000)
        publisher.prepare()
        took = {"publish": seconds(publisher.publish), "plain COPY": seconds(lambda: copy_plainly(source, target))}
        change(target, "ANALYZE")
        verifier = Verifier(source, target, schema=SCHEMA)
        took["verify"] = seconds(verifier.verify)
        took["verify --columns"] = seconds(lambda: verifier.verify(columns=True))
        target.close()
    return took


def medians(trades: int, rounds: int) -> dict[str, float]:
    """Return the median of the seconds of each way."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with embedded(settings=SETTINGS) as own, migrated(own.url) as server, server.database() as url:
        source = Database(url, statement_timeout_s=3600)
        fill(source, trades)
        runs = [round_of(server, source) for _ in range(rounds)]
        source.close()
    return {way: statistics.median(each[way] for each in runs) for way in runs[0]}


def figures(trades: int, rounds: int) -> list[Figure]:
    """Measure, and hold each way against the plain COPY."""
    took = medians(trades, rounds)
    copied = took.pop("plain COPY")
    return [
        Figure(f"{way} of {trades / 1e6:g} million trades", f"{seconds:.1f} s, {trades / seconds:,.0f} trades/s",
               f"plain COPY: {copied:.1f} s", "≥ 0.5 of COPY", copied / seconds >= 0.5,
               ((RATES, way, trades / seconds), (RATES, "plain COPY", trades / copied)))
        for way, seconds in took.items()
    ]  # fmt: skip


def main() -> None:
    """Measure, and print the median of each."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.publish", description=__doc__)
    parser.add_argument("--trades", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print("\n".join(table(figures(given.trades, given.rounds))))


if __name__ == "__main__":
    main()
