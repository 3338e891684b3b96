"""Joins the parts of reconciliation for a feed: its settings, its drains, and the job that runs it by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from etl.app import App
from etl.config import Settings
from etl.controls.questions import Drain, Order, Outcome, Proof, ReconciledFeed
from etl.controls.reconciliation import Reconciler
from etl.controls.requests import Requests
from etl.controls.severity import Worth
from etl.domain.ageing import business_day
from etl.domain.reconciliation import Rules
from etl.errors import OperatorError
from etl.pipeline.adopt import Adopter
from etl.runtime import FeedRuntime
from etl.store.repositories.requests import Request
from etl.store.unit_of_work import OpenWork

RECONCILE_EVERY_S = 5.0  # what a command wants is served sooner: a notice wakes the job
OVERDUE_EVERY_S = 60.0
PATIENCE_S = 120.0  # for the next proven-empty drain
POSITIONS, FILLS, BALANCES = "positions", "fills", "balances"
CONTROLS = (POSITIONS, FILLS, BALANCES)
REQUEST = "reconcile"


def reconciled(settings: Settings, feed: FeedRuntime) -> ReconciledFeed:
    """Return what reconciliation must know of the feed, and which settings its runs are told with."""
    given, own, org = settings.reconciliation, feed.settings.own_orgs, feed.settings.org
    shown = given.model_dump(mode="json")
    return ReconciledFeed(
        feed.feed_id, feed.name, orgs=tuple(own) or (org,), level=given.level,
        rules=Rules(given.minor_unit_digits, {}, given.tolerance_units, given.compare_term),
        settings={**shown, "settings_hash": settings.settings_hash()}, confirm_after_s=given.confirm_after_s,
        ends=given.business_day_ends, zone=given.zone, calls=given.calls_per_run, spacing_s=given.call_spacing_s,
        history_days=given.fills_history_days, login_org=org, account_orgs=(org,) if org in own else None,
        balance_assets=tuple(dict.fromkeys(feed.settings.balance_assets)),
        settled_at_execution=feed.settings.settled_at_execution, broker_balances=feed.settings.broker_balances,
    )  # fmt: skip


def reconciler_of(app: App, feed: FeedRuntime, drain: Drain) -> Reconciler:
    """Return the controls of the feed, ready to run."""
    given = app.settings.reconciliation
    terms = Worth(
        given.reporting_currency, Decimal(given.severity_low_below), Decimal(given.severity_high_from),
        timedelta(seconds=given.rate_stale_s),
    )  # fmt: skip
    return Reconciler(
        reconciled(app.settings, feed), feed.vendor, app.open_work, clock=app.clock, drain=drain,
        epoch=lambda: feed.lease.epoch, stop=app.stop, adopt=Adopter(feed.booked_feed, app.clock),
        adopt_status=given.adopt_status, terms=terms, stale_after_s=app.settings.ops.stale_after_s,
    )  # fmt: skip


@dataclass(frozen=True)
class WaitForDrain:
    """Waits until the poller of this process has proven the queue empty by a request of its own time, and booked it."""

    app: App
    feed: FeedRuntime

    def __call__(self) -> Proof | None:
        """Return the proof, or None when it did not come in time."""
        clock = self.app.clock
        since, started = clock.now(), clock.monotonic()
        while clock.monotonic() - started < PATIENCE_S:
            proof = proven_since(self.app.open_work, self.feed.feed_id, since)
            if proof is not None:
                return proof
            if clock.wait(self.app.stop, 0.2):
                return None
        return None


@dataclass(frozen=True)
class DrainHere:
    """Drains and books in this process, where no daemon does."""

    app: App
    feed: FeedRuntime

    def __call__(self) -> Proof | None:
        """Return the proof; None where the queue could not be proven empty."""
        since = self.app.clock.now()
        self.feed.drain_and_book()
        return proven_since(self.app.open_work, self.feed.feed_id, since)


def proven_since(open_work: OpenWork, feed_id: int, since: datetime) -> Proof | None:
    """Return the last poll, where it left after that instant, was proven empty, and all before it is booked."""
    with open_work() as work:
        found = work.polls.proven_empty_since(feed_id, since)
    return None if found is None else Proof(found[0], found[1].isoformat())


class Wanted(msgspec.Struct, frozen=True):
    """What an operator wants of the controls; travels as the arguments of a request."""

    what: str = "all"
    opening: bool = False


def done(controls: Reconciler, wanted: Wanted, order: Order) -> list[Outcome]:
    """Run what is wanted, and look at what is overdue; return the last outcome of each subject."""
    outcomes: list[Outcome] = []
    if wanted.what in ("all", POSITIONS):
        outcomes += controls.positions(order, entities=True, opening=wanted.opening)
        outcomes += controls.investigate(outcomes)
    if wanted.what in ("all", FILLS):
        outcomes += controls.fills(order)
    if wanted.what in ("all", BALANCES):
        outcomes += controls.balances(order, opening=wanted.opening)
    controls.overdue()
    controls.adopt()
    return list({each.subject: each for each in outcomes}.values())


class ReconcileJob:
    """Runs what is due or asked for, where this instance leads the feed and nobody has paused it."""

    def __init__(self, app: App, feed: FeedRuntime) -> None:
        self.app, self.feed = app, feed
        self._made_of, self.controls = app.settings, reconciler_of(app, feed, WaitForDrain(app, feed))
        self._requests = Requests(
            feed.feed_id, app.open_work, clock=app.clock, epoch=lambda: feed.lease.epoch, deeds={REQUEST: self._serve}
        )
        self._done: dict[str, datetime] = {}
        self._healed: int | None = None
        self._epoch, self._overdue_at = 0, -OVERDUE_EVERY_S

    def __call__(self) -> Mapping[str, int]:
        """Do what is asked for, then each control that is due; return what was compared and found."""
        feed = self.feed
        if not feed.leads:
            return {}
        self._take_settings()
        self._take_over()
        served = dict(self._requests.step())
        overdue, adopted, outcomes = self._overdue(), 0, list[Outcome]()
        if feed.paused_reason() is None:
            adopted = self.controls.adopt()
            order = self._cause()
            if order is not None or self._is_due(POSITIONS):
                self._note(POSITIONS)
                asked = order or Order()
                outcomes += self.controls.positions(asked, entities=asked.cause == "daily")
                outcomes += self.controls.investigate(outcomes)
            if order is not None or self._is_due(FILLS):
                self._note(FILLS)
                outcomes += self.controls.fills(order or Order())
            if order is not None or self._is_due(BALANCES):
                self._note(BALANCES)
                outcomes += self.controls.balances(order or Order())
        return served | {
            "runs": len(outcomes), "breaks": sum(each.breaks for each in outcomes), "overdue": overdue,
            "adopted": adopted,
            "failed": sum(each.result == "query_failed" for each in outcomes),
        }  # fmt: skip

    def _overdue(self) -> int:
        now = self.app.clock.monotonic()
        if now - self._overdue_at < OVERDUE_EVERY_S:
            return 0
        self._overdue_at = now
        return self.controls.overdue()

    def _serve(self, request: Request) -> Mapping[str, Any]:
        if (reason := self.feed.paused_reason()) is not None:
            raise OperatorError(f"it is paused: {reason}")
        order = Order("operator", request.requested_by, request.reason)
        outcomes = done(self.controls, msgspec.convert(dict(request.arguments), Wanted), order)
        return {"outcomes": [told(each) for each in outcomes]}

    def _take_settings(self) -> None:
        """Go on with the settings of now, which SIGHUP may have changed; a run keeps those it began with."""
        if self._made_of is not self.app.settings:
            self._made_of = self.app.settings
            self.controls = reconciler_of(self.app, self.feed, WaitForDrain(self.app, self.feed))

    def _take_over(self) -> None:
        """Close what an earlier process left, and learn when the controls ran last."""
        if self._epoch == self.feed.lease.epoch:
            return
        self._epoch = self.feed.lease.epoch
        with self.app.open_work() as work:
            work.reconciling.end_broken_off(self.feed.feed_id, self.app.clock.now())
            for control in CONTROLS:
                last = work.reconciling.last_begin(self.feed.feed_id, control)
                if last is not None:
                    self._done[control] = last
            daily = work.reconciling.last_begin(self.feed.feed_id, POSITIONS, "daily")
            if daily is not None:
                self._done["daily"] = daily
            work.commit()

    def _cause(self) -> Order | None:
        """Return why everything is to run now: the daily run, or a gap that healed; None where nothing says so."""
        now, given = self.app.clock.now(), self.app.settings.reconciliation
        with self.app.open_work() as work:
            healed = work.reconciling.healed_gaps(self.feed.feed_id)
        before, self._healed = self._healed, healed
        today = business_day(now, given.daily_at, given.zone)
        last = self._done.get("daily")
        if given.daily == "on" and (last is None or business_day(last, given.daily_at, given.zone) < today):
            self._note("daily")
            return Order("daily")
        return Order("healed") if before is not None and healed > before else None

    def _is_due(self, control: str) -> bool:
        given = self.app.settings.reconciliation
        every_s = {
            POSITIONS: given.positions_every_s, FILLS: given.fills_every_s, BALANCES: given.balances_every_s,
        }[control]  # fmt: skip
        last = self._done.get(control)
        return every_s > 0 and (last is None or self.app.clock.now() - last >= timedelta(seconds=every_s))

    def _note(self, control: str) -> None:
        self._done[control] = self.app.clock.now()


def told(outcome: Outcome) -> dict[str, object]:
    """Return an outcome as a command shows it."""
    return {name: value for name, value in msgspec.structs.asdict(outcome).items() if name != "changed"}
