"""One measured drain in a process of its own: `python -m tests.benchmarks.drain WAY URL DATABASE PAGE PID`.

WAY is floor, ours or orm; PID the main process of Postgres. Prints one line of JSON: trades, seconds, CPU seconds of
this process and of Postgres, each with all that it started, and the peak RSS of the former in MiB.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import requests

from etl.app import App
from etl.clock import SystemClock
from etl.config import load
from etl.store import schema
from etl.store.database import Database
from tests.benchmarks.floor import Floor
from tests.benchmarks.orm import OrmLoop
from tests.benchmarks.peer_queue import pages

PASSWORD = "sandbox"


def variables(url: str, database: str, page: int, **more: str) -> dict[str, str]:
    """Return settings as a user would have them, all but the page size at their defaults, as environment."""
    given = {
        "DATABASE__URL": database,
        "FEEDS__MAIN__BASE_URL": url,
        "FEEDS__MAIN__ORG": "pfOrg",
        "FEEDS__MAIN__USER": "apiUser",
        "FEEDS__MAIN__PASSWORD": PASSWORD,
        "FEEDS__MAIN__PAGE_SIZE": str(page),
    } | more
    return {"STP_ETL_CONFIG": os.devnull} | {f"STP_ETL__{name}": value for name, value in given.items()}


def logged_in(url: str) -> dict[str, str]:
    """Return the header that opens the sandbox."""
    body = {"user": "apiUser", "pass": PASSWORD, "org": "pfOrg"}
    return {"SSO_TOKEN": requests.post(f"{url}/v2/sso/login", json=body, timeout=30).headers["SSO_TOKEN"]}


def ours(url: str, database: str, page: int) -> tuple[Callable[[], int], Callable[[], None]]:
    """Drain and book with the program itself."""
    app = App(load(None, variables(url, database, page)), SystemClock())
    feed = app.feed()
    feed.lead()
    feed.vendor.ensure_session()

    def work() -> int:
        drained, counts = feed.drain_and_book()
        assert drained.proven_empty, drained
        assert counts.total() == drained.messages, "not all that landed is booked"
        return drained.messages

    return work, app.close


def floor(url: str, database: str, page: int) -> tuple[Callable[[], int], Callable[[], None]]:
    """GET a page, INSERT the bytes, COMMIT; nothing else: the least that any program has to do."""
    least = Floor(url, database, page)
    return least.drain, least.close


def orm(url: str, database: str, page: int) -> tuple[Callable[[], int], Callable[[], None]]:
    """GET a page, add its trades and legs one object after the other, COMMIT: the loop that is written first."""
    loop = OrmLoop(database)

    def work() -> int:
        trades = 0
        for elements in pages(url, page, parse_float=Decimal):
            loop.book(elements)
            trades += len(elements)
        return trades

    return work, loop.close


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process and of all that it started and that runs or was waited for."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended just now
            values = (process / "stat").read_text().rpartition(")")[2].split()
            if int(process.name) == pid:
                ticks += sum(map(int, values[11:15]))
            elif int(values[1]) == pid:
                ticks += sum(map(int, values[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_rss_mib() -> float:
    """Return the peak of this program's memory; what `getrusage` says may be that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Measure one drain."""
    way, url, database, page, postgres = sys.argv[1:]
    if way == "ours":
        with Database(database).connect() as connection:
            schema.upgrade(connection)
    work, close = {"ours": ours, "floor": floor, "orm": orm}[way](url, database, int(page))
    theirs, cpu, started = cpu_of(int(postgres)), cpu_of(os.getpid()), time.perf_counter()
    trades = work()
    seconds, cpu_s, theirs = time.perf_counter() - started, cpu_of(os.getpid()) - cpu, cpu_of(int(postgres)) - theirs
    close()
    rss = peak_rss_mib() + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    found = {"trades": trades, "seconds": seconds, "cpu_s": cpu_s, "postgres_s": theirs, "rss_mib": rss}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
