"""What size costs: a full book, a large backlog, duplicates, several feeds, a certificate, publish and verify."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from etl.clock import SystemClock
from etl.controls.certificate import CertifiedFeed, Certifier
from etl.controls.questions import Order
from etl.domain.reconciliation import Rules
from etl.sandbox.options import Options, User
from etl.sandbox.process import SandboxProcess
from etl.store import schema
from etl.store.database import Database
from etl.store.unit_of_work import work_on
from tests.acceptance.program import Program, feed_text, settings_text, until
from tests.benchmarks.filled import fill
from tests.benchmarks.positions import ORG, prepared
from tests.benchmarks.report import RATES, Figure
from tests.databases import rows, value

Run = dict[str, float]
Drain = Callable[[str, str, str, int], Run]
"""Drains one backlog in a process of its own: way, url, database, page."""
NewDatabase = Callable[[str], str]
BOOKED = """
SELECT count(*), extract(epoch FROM max(booked_at) - (SELECT min(opened_at) FROM stp.poll))::float8
FROM stp.trade_version
"""
PATIENCE_S = 1800.0


def migrated(url: str) -> str:
    """Bring the schema in; return the address."""
    with Database(url).connect() as connection:
        schema.upgrade(connection)
    return url


def full_book(drain: Drain, new: NewDatabase, held: int, *, trades: int, page: int, rounds: int) -> Figure:
    """Drain and book into an empty book and into one of `held` trades, in turn; the ratio of each pair counts."""
    full = migrated(new("bench_full"))
    database = Database(full, statement_timeout_s=7200)
    fill(database, held, name="filled")
    ratios, rates = [], []
    for number in range(rounds):
        pair = []
        for url in (new("bench_empty"), full):
            with SandboxProcess(Options(trades=trades, seed=100 + number, prerender=page)) as sandbox:
                pair.append(drain("ours", sandbox.url, url, page))
        with database.connect() as connection:  # the next sandbox is another vendor
            connection.exec_driver_sql("UPDATE stp.feed SET name = name || id WHERE name = 'main'")
            connection.commit()
        ratios.append(pair[0]["seconds"] / pair[1]["seconds"])
        rates.append([trades / each["seconds"] for each in pair])
    database.close()
    empty, filled = (statistics.median(each) for each in zip(*rates, strict=True))
    ratio = statistics.median(ratios)
    name = f"drained and booked, {held / 1e6:g} million trades in the book, pages of {page}"
    measured = f"{filled:,.0f} trades/s, {ratio:.2f} of empty"
    drawn = (
        (RATES, f"empty book, pages of {page}", empty),
        (RATES, f"{held / 1e6:g} million in it, pages of {page}", filled),
    )
    return Figure(name, measured, f"empty: {empty:,.0f} trades/s", "≥ 0.85", ratio >= 0.85, drawn)


def backlog(
    drain: Drain, new: NewDatabase, trades: int, *, page: int, resend: Callable[[str], None]
) -> list[Figure]:  # fmt: skip
    """Drain one large backlog, then the same trades again as duplicates."""
    url = new("bench_backlog")
    with SandboxProcess(Options(trades=trades, seed=1, prerender=page, token_life_s=36000)) as sandbox:
        first = drain("ours", sandbox.url, url, page)
        resend(sandbox.url)
        again = drain("ours", sandbox.url, url, page)
    if (first["trades"], again["trades"]) != (trades, trades):
        raise RuntimeError(f"{first['trades']} and {again['trades']} of {trades} came")
    size, rss = f"{trades / 1e6:g} million", max(first["rss_mib"], again["rss_mib"])
    limit = 60 * trades / 1e6
    return [
        Figure(
            f"peak RSS of both processes, backlog of {size}, pages of {page}", f"{rss:.0f} MiB", "", "< 200 MB",
            rss < 190,
        ),
        Figure(
            f"{size} trades in one drain", f"{first['seconds']:.0f} s, {trades / first['seconds']:,.0f} trades/s"
        ),
        Figure(
            f"{size} duplicates, pages of {page}", f"{again['seconds']:.0f} s", f"{again['cpu_s']:.0f} s of CPU",
            f"≤ {limit:g} s", again["seconds"] <= limit,
            ((RATES, f"{size} duplicates, pages of {page}", trades / again["seconds"]),),
        ),
    ]  # fmt: skip


def feeds(new: NewDatabase, count: int, processes: int, trades: int) -> tuple[str, float]:
    """Let one or several daemons empty so many queues of one vendor; return what it was, and trades a second."""
    users = tuple(User(f"user{n}", "sandbox", f"org{n}") for n in range(count))
    url = migrated(new("bench_feeds"))
    each = trades // count
    with SandboxProcess(Options(trades=each, users=users, prerender=1000)) as sandbox, ExitStack() as running:
        for number in range(processes):
            folder = Path(running.enter_context(TemporaryDirectory(prefix="stp-bench-")))
            mine = [feed_text(sandbox.url, user, name=user.name, page_size=1000) for user in users[number::processes]]
            running.enter_context(Program(folder, settings_text(url, *mine)).daemon())
        database = Database(url)
        until(lambda: rows(database, BOOKED)[0][0] == each * count, what="all to be booked", within_s=PATIENCE_S)
        _, seconds = rows(database, BOOKED)[0]
        database.close()
    return f"{count} feeds, {processes} processes", each * count / seconds


def parallel(new: NewDatabase, trades: int, rounds: int) -> list[Figure]:
    """Measure 1, 2 and 4 feeds in one process, and 2 and 4 in as many processes."""
    ways = ((1, 1), (2, 1), (4, 1), (2, 2), (4, 4))
    runs: dict[str, list[float]] = {}
    for _ in range(rounds):
        for count, processes in ways:
            name, rate = feeds(new, count, processes, trades)
            runs.setdefault(name, []).append(rate)
    medians = {name: statistics.median(rates) for name, rates in runs.items()}
    one = next(iter(medians.values()))
    return [
        Figure(f"booked, {name}", f"{rate:,.0f} trades/s", f"{rate / one:.2f} of one feed",
               drawn=((RATES, name, rate),))
        for name, rate in medians.items()
    ]  # fmt: skip


def controls(new: NewDatabase, sizes: tuple[int, int], keys: int, days: int) -> list[Figure]:
    """Measure a positions run in a small and a large book, and the certificate of a day in the large one."""
    times = []
    for trades in sizes:
        database = Database(migrated(new("bench_controls")), statement_timeout_s=7200)
        control = prepared(database, keys, trades, days=days)
        took = []
        for _ in range(5):
            began = time.perf_counter()
            outcome = control.run("ORG", ORG, rules=Rules(), order=Order())
            took.append(time.perf_counter() - began)
            assert (outcome.result, outcome.compared) == ("agreed", keys), outcome
        times.append(statistics.median(took))
        day, count = rows(database, "SELECT trade_date, count(*) FROM stp.trade_version GROUP BY 1 ORDER BY 2 DESC")[0]
        certified_s = certificate(database, day)
        database.close()
    small, large = times
    met = large < 2 and large <= small * 1.2
    of = f"{small:.2f} s with {sizes[0]:,}"
    return [
        Figure(f"positions run, {sizes[1] / 1e6:g} million trades, {keys:,} keys", f"{large:.2f} s", of,
               "< 2 s, ≤ 1.2 of small", met),
        Figure(f"certificate of a day of {count:,} among {sizes[1] / 1e6:g} million", f"{certified_s:.2f} s", "",
               "< 5 s", certified_s < 5),
    ]  # fmt: skip


def certificate(database: Database, day: date) -> float:
    """Return the seconds of a certificate of the day, median of five."""
    feed = CertifiedFeed(value(database, "SELECT min(id) FROM stp.feed"), "main", "settings", "version", 60.0)
    certifier, took = Certifier(feed, work_on(database), SystemClock()), []
    for _ in range(5):
        began = time.perf_counter()
        certifier.issue(day, "bench")
        took.append(time.perf_counter() - began)
    return statistics.median(took)
