"""The list of jobs: name, interval, function."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from etl import metrics
from etl.app import App
from etl.controls.requests import Deed, Requests
from etl.domain.calendar import business_days_before
from etl.errors import BookingHeldError, EtlError, OperatorError, OtherDatabaseError, VendorAwayError
from etl.jobs import Job
from etl.ops.notify import Notifier, policy_of
from etl.ops.watch import Watchman
from etl.pipeline.backoff import Pauses
from etl.pipeline.book import Booker
from etl.reconcile import RECONCILE_EVERY_S, ReconcileJob
from etl.runtime import FeedRuntime
from etl.store.repositories.requests import Request

LOOK_EVERY_S = 30.0  # for answers that another instance landed; our own are known at once
PARTITIONS_EVERY_S = 6 * 3600.0
MONTHS_AHEAD = 3
HEAL_EVERY_S = 1.0
GAUGES_EVERY_S = 5.0
LEAD_EVERY_S = 0.5
SERVE_EVERY_S = 5.0  # a notice comes sooner
WATCH_EVERY_S = 15.0
ALERTS_EVERY_S = 5.0
SILENT_POLLS = 3  # missed ones in a row, where polls are rarer than ops.stale_after_s
RECONCILE_DEADLINE_S = 3600.0  # a run waits for drains and looks again, for each level and value

log = structlog.get_logger()


def jobs_of(app: App) -> list[Job]:
    """Return everything that the daemon does by itself."""
    deadline_s = app.settings.ops.job_deadline_s
    jobs = [
        Job("partitions", PARTITIONS_EVERY_S, lambda: _make_partitions(app), deadline_s=deadline_s),
        Job("gauges", GAUGES_EVERY_S, app.gauges, deadline_s=deadline_s),
        Job("watch", WATCH_EVERY_S, _watchman(app), deadline_s=deadline_s),
        Job(
            "alerts",
            ALERTS_EVERY_S,
            deadline_s=deadline_s,
            run=Notifier(app.open_work, app.clock, app.stop, lambda: policy_of(app.settings.alerts)),
        ),
    ]
    for feed in app.feeds():
        jobs += _jobs_of(app, feed)
    metrics.start_at_zero(app.settings.feeds, [job.name for job in jobs])
    return jobs


def _jobs_of(app: App, feed: FeedRuntime) -> list[Job]:
    """Return what one feed needs; the watchdog looks at all of it."""
    of_feed = partial(Job, feed=feed.name, vital=True, deadline_s=app.settings.ops.job_deadline_s)
    return [
        of_feed(
            f"poll-{feed.name}", feed.settings.poll_interval_s, PollJob(app, feed),
            progress=lambda: (feed.poller.drained.polls, feed.poller.drained.tries),
        ),
        of_feed(f"lead-{feed.name}", LEAD_EVERY_S, LeadJob(feed)),
        of_feed(f"heal-{feed.name}", HEAL_EVERY_S, HealJob(feed)),
        of_feed(
            f"serve-{feed.name}", SERVE_EVERY_S, RequestJob(app, feed, {"poll": PollOnRequest(app, feed)}),
            progress=lambda: (feed.poller.drained.polls, feed.poller.drained.tries),
        ),
        of_feed(
            f"book-{feed.name}", app.settings.booking.book_every_s, BookJob(app, feed),
            progress=lambda: feed.booker.counts.total(),
        ),
        Job(
            f"reconcile-{feed.name}", RECONCILE_EVERY_S, ReconcileJob(app, feed), feed=feed.name,
            deadline_s=RECONCILE_DEADLINE_S,
        ),
    ]  # fmt: skip


class LeadJob:
    """Leads the feed as soon as nobody else does, so that a standby takes over within seconds."""

    def __init__(self, feed: FeedRuntime) -> None:
        self._feed = feed
        self._refused = ""

    def __call__(self) -> Mapping[str, int]:
        """Try to lead; say once where this is not the feed's database."""
        feed, led = self._feed, self._feed.leads
        try:
            leads = feed.lead()
        except OtherDatabaseError as error:
            if str(error) != self._refused:
                log.error("database.other", feed=feed.name, error=str(error))
            self._refused = str(error)
            return {}
        except EtlError:  # said by the job that polls, which tries it less often
            return {}
        self._refused = ""
        metrics.LEADER.labels(feed.name).set(leads)
        if leads and not led:
            feed.wake("poll")
        return {}


class PollJob:
    """Empties the queue of one feed, where this instance leads it and nobody has paused it."""

    def __init__(self, app: App, feed: FeedRuntime) -> None:
        self._app, self._feed, self._stands = app, feed, app.beats.stands
        self._drained_at: float | None = None
        self._said = ""
        self._clock_is_off = False
        self._kept: tuple[int, str | None] | None = None  # under which epoch, and why we are refused

    def __call__(self) -> Mapping[str, int] | None:
        """Drain once; return pages and messages, or None while a pause after trouble, or of the market, lasts.

        What keeps us from it until a person acts is kept for `stp-etl status`, until a drain shows that it is over.
        """
        try:
            counts = self._poll()
        except OperatorError as error:
            self._keep_refused(str(error))
            raise
        if counts:
            self._keep_refused(None)
        return counts

    def _keep_refused(self, why: str | None) -> None:
        feed, app = self._feed, self._app
        told = (feed.lease.epoch, why)
        if not feed.leads or told == self._kept:
            return
        with suppress(EtlError), app.open_work() as work:  # the database's own troubles are said elsewhere
            work.feeds.say_refused(feed.feed_id, feed.lease.epoch, why, app.clock.now())
            work.commit()
            self._kept = told

    def _poll(self) -> Mapping[str, int] | None:
        feed = self._feed
        if feed.poller.resting_s > 0:
            return None
        reason = self._reason_to_rest()
        self._say_once(reason or "")
        if reason is not None:
            return {}
        if self._may_wait():
            return None
        self._drained_at = self._app.clock.monotonic()
        drained = feed.drain()
        self._say_clock_fault(feed.clock_fault())
        if drained.outcome == "not_sent" and drained.cause != "stopped":
            raise VendorAwayError(f"feed {feed.name}: {drained.detail}; nothing was sent, tried again soon")
        return {"pages": drained.pages, "messages": drained.messages, "in_doubt": int(drained.outcome == "in_doubt")}

    def _may_wait(self) -> bool:
        """Return whether the market is so quiet that the next poll may wait; nothing waits that heals a gap."""
        every_s, clock = self._feed.settings.quiet_poll_interval_s, self._app.clock
        if self._drained_at is None or clock.monotonic() - self._drained_at >= every_s or self._feed.healer.wants_proof:
            return False
        return self._app.trading_hours.is_quiet(clock.now())

    def _reason_to_rest(self) -> str | None:
        """Return why nothing is asked now, and note how this instance stands to the feed."""
        feed = self._feed
        try:
            leads = feed.lead()
        except OtherDatabaseError as error:  # logged by the job that leads
            self._stands[feed.name] = str(error)
            return str(error)
        except OperatorError as error:
            self._stands[feed.name] = str(error)
            raise
        metrics.LEADER.labels(feed.name).set(leads)
        reason = feed.paused_reason() if leads else None
        self._stands[feed.name] = "standby" if not leads else "leads" if reason is None else f"paused: {reason}"
        return reason if leads else "another instance leads"

    def _say_clock_fault(self, fault: str | None) -> None:
        if fault is not None and not self._clock_is_off:
            log.error("clock.off", feed=self._feed.name, error=fault)
        self._clock_is_off = fault is not None

    def _say_once(self, reason: str) -> None:
        if reason != self._said:
            log.info("poll.rests" if reason else "poll.goes_on", feed=self._feed.name, reason=reason)
        self._said = reason


class HealJob:
    """Heals the gaps of one feed, where this instance leads it and nobody has paused it."""

    def __init__(self, feed: FeedRuntime) -> None:
        self._feed = feed

    def __call__(self) -> Mapping[str, int]:
        """Take the gaps one step further; return the counts of what ended."""
        return self._feed.heal_as_leader()


class RequestJob:
    """Does what commands want of one feed, where this instance leads it; `deeds` by the kind of request."""

    def __init__(self, app: App, feed: FeedRuntime, deeds: Mapping[str, Deed]) -> None:
        self._feed = feed
        self._requests = Requests(
            feed.feed_id, app.open_work, clock=app.clock, epoch=lambda: feed.lease.epoch, deeds=deeds
        )

    def __call__(self) -> Mapping[str, int]:
        """Do all that is wanted."""
        if not self._feed.leads:
            return {}
        with self._feed.fenced():
            return self._requests.step()


class PollOnRequest:
    """`stp-etl poll` while this instance leads: one drain, everything booked, and the counts."""

    def __init__(self, app: App, feed: FeedRuntime) -> None:
        self._app, self._feed = app, feed

    def __call__(self, _request: Request) -> Mapping[str, Any]:
        """Drain and book; return what the command shows. Raises EtlError where it could not be tried."""
        feed = self._feed
        if (reason := feed.paused_reason()) is not None:
            raise EtlError(f"it is paused: {reason}")
        if feed.poller.resting_s > 0:
            raise VendorAwayError(f"it rests for {feed.poller.resting_s:.0f} s more, after trouble")
        drained = feed.drain()
        Booker(feed.booked_feed, self._app.open_work, self._app.clock).book(self._app.stop)
        with self._app.open_work() as work:
            counts = {} if drained.last is None or not drained.polls else work.answers.outcomes_of_drain(drained.last)
        return {
            "outcome": drained.outcome, "cause": drained.cause, "detail": drained.detail, "pages": drained.pages,
            "messages": drained.messages, **counts,
        }  # fmt: skip


class BookJob:
    """Books what has landed for one feed; asks the database only when something may wait."""

    def __init__(self, app: App, feed: FeedRuntime) -> None:
        self._clock, self._feed, self._stop = app.clock, feed, app.stop
        self._looked_at: float | None = None
        self._pauses = Pauses(app.clock, 1.0, 30.0)

    def __call__(self) -> Mapping[str, int] | None:
        """Book until nothing waits; return the counts by outcome, or None while a pause after trouble lasts."""
        now = self._clock.monotonic()
        due = self._looked_at is None or now - self._looked_at >= LOOK_EVERY_S
        if self._pauses.left_s > 0:
            return None
        if not (due or self._feed.landed.is_set()):
            return {}
        self._feed.landed.clear()
        self._looked_at = now
        try:
            counts = self._feed.booker.book(self._stop)
        except BookingHeldError:  # said when it began, and by `status`; looked at again soon after somebody resumes it
            self._feed.landed.set()
            return {}
        except EtlError:
            self._feed.landed.set()
            self._pauses.longer()
            raise
        self._pauses.none()
        return counts


def _watchman(app: App) -> Watchman:
    def stale_after_s() -> Mapping[str, float]:
        least = app.settings.ops.stale_after_s
        return {name: max(least, SILENT_POLLS * feed.poll_interval_s) for name, feed in app.settings.feeds.items()}

    return Watchman(
        app.open_work, app.clock, app.beats, stale_after_s=stale_after_s,
        no_trades_after_s=lambda: app.settings.alerts.no_trades_after_s,
        is_stale=lambda last, now, after_s: app.trading_hours.is_stale(last, now, after_s),
        aged_before=lambda now: business_days_before(now, app.settings.alerts.break_age_days),
    )  # fmt: skip


def _make_partitions(app: App) -> Mapping[str, int]:
    with app.open_work() as work:
        made = work.feeds.make_partitions(MONTHS_AHEAD)
        work.commit()
    return {"made": made}
