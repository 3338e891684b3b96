"""What a positions run costs by the size of the book: `python -m tests.benchmarks.positions [--keys N] [--trades N …]`.

The vendor's answer is prepared beforehand and the queue counts as drained, so that the time is ours alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from datetime import UTC, date, datetime, timedelta
from threading import Event
from typing import Any

from etl.clock import SystemClock
from etl.controls.positions import PositionControl
from etl.controls.questions import Order, Proof, ReconciledFeed
from etl.domain.calendar import trade_day
from etl.domain.reconciliation import Rules
from etl.store.database import Database
from etl.store.unit_of_work import work_on
from etl.vendor.feed import VendorReply
from tests.benchmarks.filled import fill
from tests.databases import MIGRATED, change, embedded, migrated, rows

ORG = "CustomerOrg"
# Net amounts by key; how they came about is the booking's matter, the run reads no trade.
KEYS = """
INSERT INTO stp.position (feed_id, organisation, legal_entity, trader, symbol, value_date, deliverable, base_amount,
    term_amount, trade_count)
SELECT :feed_id, 'CustomerOrg', 'LE' || n % 7, 'user', 'A' || (n % 50) || 'X/USD',
    CAST(:first AS date) + (n / 50)::integer, true, n * 1000.25, -n * 1084.27, 1 + :count / :keys
FROM generate_series(0, CAST(:keys AS bigint) - 1) AS n
"""
OPENING = """
INSERT INTO stp.opening (feed_id, control, level, level_value, as_of, opened_by, reason, run_id)
VALUES (:feed_id, 'positions', 'ORG', 'CustomerOrg', now(), 'bench', 'bench', 0)
"""


class PreparedVendor:
    """Answers about positions with bytes that are there already."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def positions(self, level: str, value: str, **_: Any) -> VendorReply:
        """Return the prepared answer."""
        return VendorReply(200, self.body, {"content-type": "application/json"}, f"{level} {value}", None)


def prepared(database: Database, keys: int, trades: int, *, days: int = 250) -> PositionControl:
    """Fill the book and return the control of its feed, with a vendor that agrees."""
    fill(database, trades, days=days)
    ((feed_id, name),) = rows(database, "SELECT id, name FROM stp.feed")
    first = trade_day(datetime.now(UTC)) + timedelta(days=1)
    change(database, KEYS, feed_id=feed_id, keys=keys, count=trades, first=first.isoformat())
    change(database, OPENING, feed_id=feed_id)
    held = rows(database, "SELECT symbol, value_date, sum(base_amount)::text FROM stp.position GROUP BY 1, 2")
    assert len(held) == keys, f"{len(held)} keys"
    vendor = PreparedVendor(json.dumps([row_of(*each) for each in held]).encode())
    feed = ReconciledFeed(feed_id, name, (ORG,), near_cut=timedelta(0))
    (epoch,) = rows(database, "SELECT epoch FROM stp.lease")[0]
    return PositionControl(
        feed, vendor, work_on(database), clock=SystemClock(), drain=lambda: Proof(0, "now"), epoch=lambda: epoch,  # type: ignore[arg-type]
        stop=Event(),
    )  # fmt: skip


def row_of(symbol: str, day: date, base: str) -> dict[str, Any]:
    """Return a row as the vendor writes it, its amount as text so that no digit is lost."""
    return {
        "side": "Buy", "symbol": symbol, "valueDate": day.isoformat(), "level": "ORG", "levelValue": ORG,
        "netOpenBase": base, "netOpenterm": "-1", "rate": 1.08, "realizedPnL": 0, "pnlCurrency": "USD",
    }  # fmt: skip


def main() -> None:
    """Measure each size of the book and print seconds a run, median of five."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--keys", type=int, default=20_000)
    given.add_argument("--trades", type=int, nargs="+", default=[50_000, 5_000_000])
    asked = given.parse_args()
    for trades in asked.trades:
        with embedded() as own, migrated(own.url) as server, server.database(MIGRATED) as url:
            database = Database(url, statement_timeout_s=3600)
            control = prepared(database, asked.keys, trades)
            took = []
            for _ in range(5):
                started = time.monotonic()
                outcome = control.run("ORG", ORG, rules=Rules(), order=Order())
                took.append(time.monotonic() - started)
                assert (outcome.result, outcome.compared) == ("agreed", asked.keys), outcome
            database.close()
        print(f"{trades:>9} trades, {asked.keys} keys: {statistics.median(took):.2f} s a run")


if __name__ == "__main__":
    main()
