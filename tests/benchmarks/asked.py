"""Which of the benchmarks are asked for by a flag of `make bench ARGS=…`, and what they found, as one table."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import structlog

from etl.store.embedded import EmbeddedPostgres
from tests.benchmarks import daemon, plot, publish, scale, simulated_day
from tests.benchmarks.report import Figure, keep, kept, machine, replaced, table, write_into

SERVER = "-c shared_buffers=1GB -c max_wal_size=4GB -c max_connections=100"
MEASURES = ("idle", "latency", "full", "backlog", "feeds", "controls", "publish")
PAGE = 1000
ROOT = Path(__file__).resolve().parents[2]
SCALING, RESULTS = ROOT / "deploy" / "SCALING.md", ROOT / "deploy" / "scaling.json"
PAGES = (ROOT / "README.md", SCALING)


def add_to(options: argparse.ArgumentParser) -> None:
    """Add the flags; each has a size that can be given."""
    group = options.add_argument_group("instead of the drain, one or several of")
    add = partial(group.add_argument, nargs="?", type=int, default=0)
    add("--idle", const=300, metavar="SECONDS", help="a daemon with an empty queue: CPU, writes, growth")
    add("--latency", const=60, metavar="SECONDS", help="execution to visible, 5 and 200 trades/s, polls each 1 and 5 s")
    add("--full", const=10_000_000, metavar="TRADES", help="drain and book with so many trades in the book")
    add("--backlog", const=1_000_000, metavar="TRADES", help="one drain: memory; and the same trades as duplicates")
    add("--feeds", const=100_000, metavar="TRADES", help="1, 2 and 4 feeds, in one process and in several")
    add("--controls", const=5_000_000, metavar="TRADES", help="positions run and certificate in a large book")
    add("--publish", const=1_000_000, metavar="TRADES", help="publish and verify against a plain COPY")
    group.add_argument("--simulate-scale", action="store_true", help="days that no machine here can run, simulated")
    group.add_argument("--keep", type=Path, metavar="FILE.json", help="keep the figures there, for the plot")
    group.add_argument("--plot", type=Path, metavar="FILE.png", help="draw what is kept")
    group.add_argument("--write", action="store_true", help="put what is kept into README.md and deploy/SCALING.md")


def any_of(given: argparse.Namespace) -> bool:
    """Return whether any of the flags is there."""
    return given.plot is not None or given.write or any(getattr(given, name) for name in MEASURES)


def simulate_scale(*, write: bool) -> list[str]:
    """Simulate days with the measured costs; return the table, written into its page where that is asked for."""
    lines = simulated_day.lines(simulated_day.measured_costs(RESULTS))
    if write:
        SCALING.write_text(replaced(SCALING.read_text(), simulated_day.MARK, lines))
    return lines


def measured(
    given: argparse.Namespace, server: EmbeddedPostgres, *, new: scale.NewDatabase, drain: scale.Drain,
    resend: Callable[[str], None],
) -> list[str]:  # fmt: skip
    """Measure what is asked for; return a table, kept and drawn where that is asked for too."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    here = machine()
    figures = []
    for figure in _figures(given, server, new=new, drain=drain, resend=resend):
        figures.append(figure)
        if given.keep is not None:  # at once: what comes after it may fail
            keep(given.keep, here, [figure])
    if given.plot is not None:
        plot.draw(given.keep, given.plot)
    for page in PAGES if given.write else ():
        write_into(page, kept(given.keep))
    return [here, "", *table(figures)]


def _figures(
    given: argparse.Namespace, server: EmbeddedPostgres, *, new: scale.NewDatabase, drain: scale.Drain,
    resend: Callable[[str], None],
) -> Iterator[Figure]:  # fmt: skip
    if given.latency:
        for interval_s in (1.0, 5.0):
            for rate in (5, 200):
                yield daemon.latency(new("bench_latency"), rate, given.latency, interval_s)
    if given.idle:
        yield from daemon.idle(server, new("bench_idle"), given.idle)
    if given.full:
        for page in given.pages:
            yield scale.full_book(drain, new, given.full, trades=given.trades, page=page, rounds=given.rounds)
    if given.backlog:
        yield from scale.backlog(drain, new, given.backlog, page=PAGE, resend=resend)
    if given.feeds:
        yield from scale.parallel(new, given.feeds, given.rounds)
    if given.controls:
        yield from scale.controls(new, (given.controls // 100, given.controls), keys=20_000, days=25)
    if given.publish:
        yield from publish.figures(given.publish, given.rounds)
