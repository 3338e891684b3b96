"""The second part of the demo: a trade day without trouble, and one with it, each closed and certified."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from etl.app import App
from etl.cli.certify import certified
from etl.cli.day import show_sheet
from etl.cli.output import Format, remark, show, show_card
from etl.cli.proof import Ask
from etl.clock import SystemClock
from etl.controls.certificate import Certificate, Certifier
from etl.controls.questions import Order
from etl.domain.calendar import NEW_YORK
from etl.domain.certificate import CertificateState
from etl.domain.sweeps import SWEEPS
from etl.domain.words import counted
from etl.errors import OperatorError
from etl.reconcile import POSITIONS, DrainHere, Wanted, done, reconciler_of
from etl.sandbox.process import Control
from etl.store.repositories.attention import Deed

MORNING, CLOSED = time(15, tzinfo=UTC), time(17, 40, tzinfo=NEW_YORK)
BEGINS_ON = range(4)  # Monday to Thursday: the next day is a weekday too
MOST_STEPS = 200
LOST_PAGES = 2
WRONG_BY = "750001.23"
EXPECTED = (("break", "status"), ("positions", "position"))


class MovedClock(SystemClock):
    """The machine's clock, shifted so that it tells the sandbox's time."""

    def __init__(self, start: datetime) -> None:
        self._ahead = start - super().now()

    def now(self) -> datetime:
        """Return the present instant of the demo."""
        return super().now() + self._ahead

    def move_to(self, instant: datetime) -> None:
        """Let it be this instant now."""
        self._ahead = instant - super().now()


def first_day(clock: SystemClock) -> date:
    """Return a day from which on two weekdays have passed, so that nothing of the demo lies ahead of the machine."""
    day = clock.now().date() - timedelta(days=2)
    while day.weekday() not in BEGINS_ON:
        day -= timedelta(days=1)
    return day


@dataclass
class Told:
    """How the two days ended; `missing` names what did not come out as it should."""

    quiet: Certificate
    troubled: Certificate
    missing: list[str] = field(default_factory=list)


class Days:
    """Plays two trade days with the sandbox, and does what the daemon would do by itself."""

    def __init__(self, app: App, feed: str, vendor: Control, clock: MovedClock, ask: Ask) -> None:
        self._app, self._vendor, self._clock, self._ask = app, vendor, clock, ask
        self._feed = app.feed(feed)
        self._drain = DrainHere(app, self._feed)
        self._controls = reconciler_of(app, self._feed, self._drain)

    def play(self, day: date) -> Told:
        """Close the day and certify it, then the next one with lost pages, a cancelled trade and a wrong figure."""
        remark(f"trade day {day}: positions are opened, the day is closed, swept, compared and certified")
        self._compare(POSITIONS, opening=True)
        quiet = self._closed(day)
        day += timedelta(days=1)
        self._move(datetime.combine(day, MORNING))
        remark(f"trade day {day}: {LOST_PAGES} pages are lost, a trade is cancelled, a figure is wrong at the vendor")
        cancelled = self._trouble(day)
        self._compare("all")
        self._heal()
        troubled = self._closed(day)
        told = Told(quiet, troubled)
        self._show(told, day, cancelled)
        return told

    def _trouble(self, day: date) -> str:
        """Lose pages and have their trades come again; cancel a trade and falsify a position; return the trade."""
        size = self._feed.settings.page_size
        self._vendor.plan({"fault": "close_after", "times": LOST_PAGES, "non_empty": "true"})
        self._vendor.execute(count=min(LOST_PAGES * size, 400) + 10)
        self._heal()
        self._vendor.clear_faults()
        later = (day + timedelta(days=14 - day.weekday())).isoformat()  # a Monday
        outright = {"tradeType": "Outright", "valueDate": later, "customerAccount": f"{self._feed.settings.org}LE1"}
        cancelled, _ = self._vendor.execute_trades(
            [{**outright, "symbol": "EUR/USD"}, {**outright, "symbol": "GBP/USD"}]
        )  # fmt: skip
        self._drained()
        self._vendor.cancel(cancelled)
        self._vendor.position_error("GBP/USD", later, base=WRONG_BY, level="ORG")
        return cancelled

    def _closed(self, day: date) -> Certificate:
        """Let the day end, prove the queue empty, sweep the day, compare, and certify it."""
        self._move(datetime.combine(day, CLOSED))
        self._heal()
        self._compare("all")
        self._heal()
        certifier = Certifier(certified(self._app, self._feed.name), self._app.open_work, self._clock)
        return certifier.issue(day, "demo")

    def _move(self, instant: datetime) -> None:
        self._clock.move_to(instant)
        self._feed.sweeper.look_again()
        self._vendor.today(now=instant.isoformat())

    def _compare(self, what: str, *, opening: bool = False) -> None:
        reason = "go-live of the demo"
        done(self._controls, Wanted(what, opening), Order("operator", "demo", reason))
        if opening:
            with self._app.open_work() as work:
                deed = Deed(self._clock.now(), "demo", "reconcile positions --open", reason, self._feed.name)
                work.attention.record(deed)
                work.commit()

    def _drained(self) -> None:
        for _ in range(MOST_STEPS):
            if self._drain() is not None:
                return
            self._clock.wait(self._app.stop, max(self._feed.poller.resting_s, 0.02))
        raise OperatorError("the demo's queue was not proven empty in time")

    def _heal(self) -> None:
        """Drain, and ask for days again until every gap is over."""
        for _ in range(MOST_STEPS):
            self._drained()
            self._feed.heal()
            with self._app.open_work() as work:
                if not work.gaps.unfinished(self._feed.feed_id):
                    return
            self._clock.wait(self._app.stop, 0.02)
        raise OperatorError("the demo's gaps did not heal in time")

    def _show(self, told: Told, day: date, cancelled: str) -> None:
        gaps = list(self._ask("SELECT gap_id, cause, state, recovered FROM reporting.gap ORDER BY gap_id"))
        breaks = list(self._ask(
            "SELECT break_id, kind, key, state, difference, currency, comment, explained_by FROM reporting.break "
            "WHERE kind <> 'fixing_overdue' ORDER BY break_id"
        ))  # fmt: skip
        recovered = sum(row["recovered"] for row in gaps if row["cause"] not in SWEEPS)
        self._note(told, recovered > 0, "no trade was recovered by a resend")
        self._note(told, any(row["key"] == cancelled for row in breaks), f"no status break names {cancelled}")
        reasons = tuple((each.reason, each.detail.split(" ")[0]) for each in told.troubled.reasons)
        self._note(told, told.quiet.state is CertificateState.COMPLETE, "the first day is not COMPLETE")
        self._note(told, reasons == EXPECTED, f"the second day is not INCOMPLETE for exactly two reasons: {reasons}")
        with self._app.open_work() as work:
            sections = work.day.sheet(day, self._feed.name)
        sys.stdout.write("\n")
        show_sheet(day, sections, Format.TABLE)
        sys.stdout.write("\nWhat happened\n")
        show_card({
            f"lost pages: {LOST_PAGES}":
                f"{counted(recovered, 'trade')} recovered by resends; gaps healed: {len(gaps)}",
            **{f"{row['kind']} break {row['break_id']}": said_of(row) for row in breaks},
        })  # fmt: skip
        for certificate in (told.quiet, told.troubled):
            sys.stdout.write(f"\ncertificate of {certificate.trade_date}: {certificate.state}\n")
            if certificate.reasons:
                show([{"reason": each.reason, "detail": each.detail, "command": each.command}
                      for each in certificate.reasons], ("reason", "detail", "command"))  # fmt: skip

    def _note(self, told: Told, holds: bool, otherwise: str) -> None:
        if not holds:
            told.missing.append(otherwise)


def said_of(row: Mapping[str, Any]) -> str:
    """Return a break as one line."""
    size = "" if row["difference"] is None else f" by {row['difference']:,} {row['currency']}"
    why = row["explained_by"] or row["comment"]
    return f"{row['key']}{size}, {row['state']}: {why}"
