"""Every metric, in one list; labels come from closed sets, never an id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

REGISTRY = CollectorRegistry()

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds: requests, commits
SLOW = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600)  # seconds: jobs
LATE = (0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400, 604_800)  # seconds: a resend may come a week later

disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double every counter's series
ProcessCollector(registry=REGISTRY)

POLLS = Counter(
    "stp_etl_polls_total",
    "Polls of the queue by how they ended: page, empty, refused, not_sent, in_doubt.",
    ["feed", "outcome"],
    registry=REGISTRY,
)
MESSAGES_LANDED = Counter("stp_etl_messages_landed_total", "Messages stored as they came.", ["feed"], registry=REGISTRY)
TRADES_BOOKED = Counter(
    "stp_etl_trades_booked_total",
    "Messages that booking is done with: booked, enriched, duplicate, conflict, excepted.",
    ["feed", "outcome"],
    registry=REGISTRY,
)
PAGE_SECONDS = Histogram(
    "stp_etl_page_seconds",
    "Time one page takes in each phase: intent, ask, land, book.",
    ["phase"],
    buckets=FAST,
    registry=REGISTRY,
)
EXECUTION_TO_BOOK_SECONDS = Histogram(
    "stp_etl_execution_to_book_seconds",
    "Time from the execution of a new trade, by the vendor's clock, to its booking, by ours.",
    buckets=LATE,
    registry=REGISTRY,
)
LAST_EMPTY_TIMESTAMP_SECONDS = Gauge(
    "stp_etl_last_empty_timestamp_seconds",
    "Unix time of the last answer that proved the queue to be empty.",
    ["feed"],
    registry=REGISTRY,
)
GAPS = Gauge(
    "stp_etl_gaps", "Ranges of trade dates that may lack trades, by state.", ["feed", "state"], registry=REGISTRY
)
BREAKS = Gauge(
    "stp_etl_breaks",
    "Differences that reconciliation found, by kind and state.",
    ["feed", "kind", "state"],
    registry=REGISTRY,
)
EXCEPTIONS = Gauge("stp_etl_exceptions", "Messages that a person must look at.", ["feed"], registry=REGISTRY)
RESENDS = Counter("stp_etl_resends_total", "Resends by the state they reached.", ["feed", "state"], registry=REGISTRY)
LEADER = Gauge("stp_etl_leader", "1 where this instance leads the feed, else 0.", ["feed"], registry=REGISTRY)
JOB_SECONDS = Histogram("stp_etl_job_seconds", "Time one run of a job takes.", ["job"], buckets=SLOW, registry=REGISTRY)
JOB_FAILURES = Counter("stp_etl_job_failures_total", "Runs of a job that failed.", ["job"], registry=REGISTRY)
LANDED_UNBOOKED = Gauge("stp_etl_landed_unbooked", "Landed answers that wait for booking.", ["feed"], registry=REGISTRY)
FEED_STATE = Gauge(
    "stp_etl_feed_state", "1 for the state that the feed is in, else 0.", ["feed", "state"], registry=REGISTRY
)
MARKET_OPEN = Gauge("stp_etl_market_open", "0 from Friday 17:00 to Sunday 17:00 New York, else 1.", registry=REGISTRY)
TRADING_SECONDS_SINCE_TRADE = Gauge(
    "stp_etl_trading_seconds_since_trade",
    "Seconds since the last page with trades came; those in which the market is closed or quiet do not count.",
    ["feed"],
    registry=REGISTRY,
)
DEFAULT_PARTITION_ROWS = Gauge(
    "stp_etl_default_partition_rows",
    "Rows that lie in the default partition because their month has none; counted up to 1000.",
    ["table"],
    registry=REGISTRY,
)
ALERTS_WAITING = Gauge(
    "stp_etl_alerts_waiting", "Alerts that the webhook's receiver does not have yet.", registry=REGISTRY
)
ALERTS = Counter(
    "stp_etl_alerts_total", "Tries to send an alert to the webhook: sent, failed.", ["outcome"], registry=REGISTRY
)
JOB_IRREGULAR = Counter(
    "stp_etl_job_irregular_total",
    "What was wrong with a job's time: hung (no progress), overrun (a run skipped), overdue, missed (at a restart).",
    ["job", "kind"],
    registry=REGISTRY,
)
CLOCK_JUMPS = Counter("stp_etl_clock_jumps_total", "Jumps of the wall clock against the steady one.", registry=REGISTRY)
BUILD_INFO = Gauge("stp_etl_build_info", "1, labelled with the version that runs.", ["version"], registry=REGISTRY)

OUTCOMES: Mapping[Counter | Gauge, tuple[str, ...]] = MappingProxyType(
    {
        POLLS: ("page", "empty", "refused", "not_sent", "in_doubt"),
        TRADES_BOOKED: ("booked", "enriched", "duplicate", "conflict", "excepted"),
        RESENDS: ("accepted", "ambiguous", "refused", "complete", "short"),
        GAPS: ("open", "waiting", "resending", "escalated"),
    }
)


def start_at_zero(feeds: Iterable[str], jobs: Iterable[str]) -> None:
    """Show every series that may come: one that begins at 1 has no increase that a rule could see."""
    for feed in feeds:
        MESSAGES_LANDED.labels(feed)
        for metric, values in OUTCOMES.items():
            for value in values:
                metric.labels(feed, value)
    for job in jobs:
        JOB_FAILURES.labels(job)
        for kind in ("hung", "overrun", "overdue", "missed"):
            JOB_IRREGULAR.labels(job, kind)
    for outcome in ("sent", "failed"):
        ALERTS.labels(outcome)
