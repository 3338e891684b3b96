"""A feed with poller, booker, healer and sweeper on a virtual clock, the vendor beside it, and a look at the book."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any
from uuid import uuid4

from etl.clock import SystemClock
from etl.controls.gaps import Healer
from etl.controls.resend import HealedFeed, Resender
from etl.controls.sweep import Sweeper
from etl.domain.fields import Reading
from etl.errors import EtlError
from etl.pipeline.batch import BookedFeed
from etl.pipeline.book import Booker
from etl.pipeline.doubt import Doubted, open_gap
from etl.pipeline.poll import Poller
from etl.sandbox import lifecycle
from etl.sandbox.control import Control
from etl.sandbox.faults import fault_of
from etl.sandbox.options import Options
from etl.sandbox.trade import Trade
from etl.store.database import Database
from etl.store.leases import Lease
from etl.store.repositories.feeds import Identity
from tests.clocks import FakeClock
from tests.databases import rows
from tests.inprocess import InProcessVendor
from tests.polling import KilledError, Polling
from tests.simulation.oracle import Findings, compare

GHOST_S, ELIGIBLE_S, TURN_S = 20.0, 4.0, 6.0
MOST_TURNS = 150
SETTINGS: Mapping[str, Any] = {"ghost_s": GHOST_S, "eligible_after_s": ELIGIBLE_S, "history_days": 3}


class Stage(Polling):
    """What a story is played on. Times are virtual; `turn` is what a few seconds of the daemon do."""

    vendor: InProcessVendor  # type: ignore[assignment]

    def __init__(self, database: Database, clock: FakeClock, *, page_size: int = 50, **heal: Any) -> None:
        self.healed_feed = {**SETTINGS, **heal}
        self.options = Options(trades=0, eligible_after_s=2)
        self._vendor: InProcessVendor | None = None
        self.resumed = True
        super().__init__(
            database, clock=clock, page_size=page_size, history_days=self.healed_feed["history_days"],
            ghost_s=self.healed_feed["ghost_s"],
        )  # fmt: skip
        self.booker = Booker(BookedFeed(self.feed.feed_id, "main", Reading()), self.open_work, clock)
        self.control = Control(self.vendor.world, lambda _seconds: None)  # type: ignore[arg-type]

    @property
    def virtual(self) -> FakeClock:
        """The clock that every part looks at."""
        assert isinstance(self.clock, FakeClock)
        return self.clock

    def new_poller(self) -> Poller:
        """Return a poller, and make a healer and a sweeper, that know nothing of what was before."""
        self._vendor = self._vendor or InProcessVendor(self.clock, self.options)
        self.vendor = self._vendor
        feed = HealedFeed(self.feed.feed_id, "main", **self.healed_feed)
        resender = Resender(feed, self.vendor, self.open_work, clock=self.clock, epoch=lambda: self.lease.epoch)
        self.healer = Healer(feed, resender, self.open_work, self.clock)
        self.sweeper = Sweeper(feed, self.open_work, self.clock, lambda: self.lease.epoch)
        return Poller(
            self._polled, self.vendor, self.open_work, clock=self.clock, new_id=lambda: uuid4().hex,
            lease=self.lease, stop=self.stop, prove=lambda: self.healer.wants_proof,
        )  # fmt: skip

    def done(self, count: int, day: date | None = None) -> list[Trade]:
        """Let trades be done, of today or of another trade date."""
        world, org = self.vendor.world, self.options.users[0].org
        if day is None:
            return world.execute(org, count)
        stamp = f"{day.isoformat()} 10:00:00,000 +0000"
        return lifecycle.executed(world, org, [{"tradeDate": day.isoformat(), "executionTime": stamp}] * count)

    def plan(self, fault: str, **settings: Any) -> None:
        """Let a coming request meet a fault."""
        self.vendor.world.plan.add([fault_of({"fault": fault, **settings})])

    def poll(self) -> None:
        """Drain and book once, as the daemon does as soon as it may."""
        self.virtual.advance(max(1.0, self.poller.resting_s))
        self._daemon()

    def turn(self, seconds: float = TURN_S) -> None:
        """Let seconds pass and the daemon do its work."""
        self.virtual.advance(max(seconds, self.poller.resting_s))
        self._daemon()

    def _daemon(self) -> None:
        self.vendor.let_ghosts_act()
        if not self.resumed:
            return
        try:
            self.poller.drain()
            self.booker.book()
            self.sweeper.step()
            self.healer.step()
        except EtlError:  # said in the log and tried again, as the scheduler does
            self.booker.book()

    def turn_until(self, holds: Callable[[], Any], what: str) -> None:
        """Let the daemon work until it holds."""
        for _ in range(MOST_TURNS):
            if holds():
                return
            self.turn()
        raise AssertionError(f"not within {MOST_TURNS} turns: {what}; {self.gaps()}")

    def move_to(self, instant: datetime) -> None:
        """Let the daemon idle until then."""
        self.virtual.advance((instant - self.clock.now()).total_seconds() - 1)
        self.turn(1)

    def killed(self, when: str) -> None:
        """Let our process die in the next request, before or after the vendor has executed it."""
        self.virtual.advance(self.poller.resting_s)
        self.vendor.killed = when
        try:
            self.poller.drain()
        except KilledError:
            return
        raise AssertionError("the vendor was not asked")

    def restart(self) -> None:
        """Let a new process lead: it covers what the one before left in doubt."""
        self.lease.leave()
        identity = Identity("https://vendor.test", "pfOrg", "apiUser")
        self.lease = Lease(self.database, SystemClock(), self.feed.feed_id, identity.lock_key)
        assert self.lease.take()
        at = self.clock.now()
        with self.open_work() as work:
            work.polls.close_stale(self.feed.feed_id, self.lease.epoch, at)
            for poll_id, request_id, cause, _ in work.gaps.uncovered(self.feed.feed_id):
                open_gap(
                    work, self.feed.feed_id, Doubted(poll_id, request_id, cause), at=at, ghost_s=self._polled.ghost_s
                )
            work.commit()
        self.poller = self.new_poller()

    def gaps(self, columns: str = "gap_id, cause, from_date::text, to_date::text, state, why") -> list[Any]:
        """Return all gaps in their order."""
        return rows(self.database, f"SELECT {columns} FROM reporting.gap ORDER BY gap_id")

    def unfinished(self, *, sweeps: bool = True) -> int:
        """Return how many gaps are not over."""
        causes = "" if sweeps else "AND cause NOT IN ('sweep', 'history_sweep')"
        found = rows(
            self.database, f"SELECT count(*) FROM stp.gap WHERE state IN ('open', 'waiting', 'resending') {causes}"
        )
        return int(found[0][0])

    def findings(self) -> Findings:
        """Compare the vendor's own log with the book."""
        records = self.vendor.world.records

        def ask(question: str) -> list[Any]:
            with self.database.connect() as connection:
                return [dict(row) for row in connection.exec_driver_sql(question).mappings()]

        handed_out = [json.loads(line) for line in records.hand_out_lines(0)]
        return compare(handed_out, [json.loads(line) for line in self.control.trade_lines()], ask)

    def value(self, question: str) -> Any:
        """Return the one value that the database answers."""
        return rows(self.database, question)[0][0]
