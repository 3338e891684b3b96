"""One measured drain in a process of its own: `python -m tests.benchmarks.drain floor|ours URL DATABASE PAGE`.

Prints one line of JSON: trades, seconds, CPU seconds, peak RSS in MiB.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable

import psycopg
import requests

from etl.app import App
from etl.clock import SystemClock
from etl.config import Settings, load
from etl.store import schema
from etl.store.database import Database

PASSWORD = "sandbox"


def settings_for(url: str, database: str, page: int) -> Settings:
    """Return settings as a user would have them, all but the page size at their defaults."""
    given = {
        "DATABASE__URL": database,
        "FEEDS__MAIN__BASE_URL": url,
        "FEEDS__MAIN__ORG": "pfOrg",
        "FEEDS__MAIN__USER": "apiUser",
        "FEEDS__MAIN__PASSWORD": PASSWORD,
        "FEEDS__MAIN__PAGE_SIZE": str(page),
    }
    return load(None, {"STP_ETL_CONFIG": os.devnull} | {f"STP_ETL__{name}": value for name, value in given.items()})


def logged_in(url: str) -> dict[str, str]:
    """Return the header that opens the sandbox."""
    body = {"user": "apiUser", "pass": PASSWORD, "org": "pfOrg"}
    return {"SSO_TOKEN": requests.post(f"{url}/v2/sso/login", json=body, timeout=30).headers["SSO_TOKEN"]}


def ours(url: str, database: str, page: int) -> tuple[Callable[[], int], Callable[[], None]]:
    """Drain and book with the program itself."""
    app = App(settings_for(url, database, page), SystemClock())
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
    headers = logged_in(url)
    connection = psycopg.connect(database)
    connection.execute("CREATE TABLE IF NOT EXISTS raw_page (id bigint GENERATED ALWAYS AS IDENTITY, body bytea)")
    connection.commit()

    def work() -> int:
        trades = 0
        while True:
            answer = requests.get(f"{url}/v2/trades/stp/messages?maxCount={page}", headers=headers, timeout=30)
            if len(answer.content) <= 2:
                return trades
            connection.execute("INSERT INTO raw_page (body) VALUES (%s)", (answer.content,))
            connection.commit()
            trades += answer.content.count(b'"tradeId"')

    return work, connection.close


def main() -> None:
    """Measure one drain."""
    way, url, database, page = sys.argv[1:]
    if way == "ours":
        with Database(database).connect() as connection:
            schema.upgrade(connection)
    work, close = {"ours": ours, "floor": floor}[way](url, database, int(page))
    cpu, started = time.process_time(), time.perf_counter()
    trades = work()
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    close()
    sys.stdout.write(json.dumps({"trades": trades, "seconds": seconds, "cpu_s": cpu_s, "rss_mib": rss}) + "\n")


if __name__ == "__main__":
    main()
