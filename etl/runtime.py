"""One feed with all that works on it: lease, vendor, poller, healer, sweeper, booker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock
from typing import TYPE_CHECKING

import structlog

from etl.clock import disagreement
from etl.config import FeedSettings
from etl.controls.gaps import Healer
from etl.controls.resend import HealedFeed, Resender
from etl.controls.sweep import Sweeper
from etl.errors import FenceLostError
from etl.pipeline.batch import BookedFeed
from etl.pipeline.book import Booker
from etl.pipeline.doubt import Doubted, open_gap, say_in_doubt
from etl.pipeline.drain import Drained
from etl.pipeline.failover import cover_failover, refuse_other_database
from etl.pipeline.poll import Poller
from etl.store.repositories.feeds import Identity
from etl.vendor.client import VendorClient
from etl.wiring import booked, endpoint_of, failed_over, healed, polled, unconfirmed

if TYPE_CHECKING:
    from etl.app import App

log = structlog.get_logger()


class FeedRuntime:
    """One feed with what works on it: lease, vendor, poller, booker."""

    def __init__(self, app: App, settings: FeedSettings) -> None:
        self._app, self.settings, self.name = app, settings, settings.name
        identity = Identity(*settings.identity)
        with app.open_work() as work:
            self.feed_id = work.feeds.register(self.name, identity, app.clock.now())
            work.feeds.say_unconfirmed(self.feed_id, unconfirmed(settings))
            work.commit()
        self.lease = app.lease_of(self.feed_id, identity.lock_key)
        self.vendor = VendorClient(endpoint_of(settings), app.clock, app.new_id)
        self.landed = Event()
        self._leading, self._draining = Lock(), Lock()
        self._healing_failed = False
        self._led_epoch = 0  # of which the doubts of earlier leaders have their gaps
        self.poller = Poller(
            polled(self.feed_id, settings, app.settings.ops.shutdown_grace_s), self.vendor, app.open_work,
            clock=app.clock, new_id=app.new_id, lease=self.lease, stop=app.stop, on_landed=self._note_landed,
            prove=lambda: self.healer.wants_proof,
        )  # fmt: skip
        self.healer = self._healer()
        self.sweeper = Sweeper(self.healed_feed, app.open_work, app.clock, lambda: self.lease.epoch)
        self.wake: Callable[[str], None] = lambda _job: None
        """Called with the job (poll, heal, book, …) that has something to do at once."""
        self.booker = Booker(self.booked_feed, app.open_work, app.clock, app.booking_process)

    @property
    def booked_feed(self) -> BookedFeed:
        """What booking must know of the feed."""
        return booked(self.feed_id, self.settings, self._app.settings.booking)

    @property
    def healed_feed(self) -> HealedFeed:
        """What healing and sweeping must know of the feed."""
        return healed(self.feed_id, self.settings, self._app.settings.reconciliation)

    def take(self, settings: FeedSettings) -> None:
        """Go on with these settings of the same feed; each part takes them as one value, in the middle of its work."""
        self.settings = settings
        self.vendor.take(endpoint_of(settings))
        self.poller.take(polled(self.feed_id, settings, self._app.settings.ops.shutdown_grace_s))
        self.booker.take(self.booked_feed)
        self.healer.take(self.healed_feed)
        self.sweeper.take(self.healed_feed)

    def _healer(self) -> Healer:
        feed, clock, open_work = self.healed_feed, self._app.clock, self._app.open_work
        resender = Resender(feed, self.vendor, open_work, clock=clock, epoch=lambda: self.lease.epoch)
        return Healer(feed, resender, open_work, clock)

    def heal(self) -> Mapping[str, int]:
        """Open the sweeps that are due, and take gaps and sweeps as far as it goes without waiting."""
        with self.fenced():
            return Counter(self.sweeper.step()) + Counter(self.healer.step())

    def heal_as_leader(self) -> Mapping[str, int]:
        """Heal where we lead and nobody has paused the feed; return the counts of what ended.

        After a failure the lead may be lost with the database: that nothing is done then does not mean that it is over,
        so the database is asked.
        """
        failed, self._healing_failed = self._healing_failed, True
        rests = not self.leads
        if failed or not rests:
            rests = self.paused_reason() is not None or rests
        counts = {} if rests else self.heal()
        self._healing_failed = False
        return counts

    def lead(self) -> bool:
        """Try to lead the feed; return whether we do. Raises OtherDatabaseError where this is not its database."""
        with self._leading:
            return self.leads or self._take_lead()

    def _take_lead(self) -> bool:
        refuse_other_database(self._app.open_work, self.feed_id, self.name, self._app.clock.now())
        if not self.lease.take():
            return False
        try:
            self._cover_doubts()
        except FenceLostError:  # the lock stands on a server that is not the database any more
            self.lease.leave()
            raise
        self._led_epoch = self.lease.epoch
        log.info("lease.taken", feed=self.name, epoch=self.lease.epoch)
        return True

    @property
    def leads(self) -> bool:
        """Whether we lead the feed and know what the leader before left in doubt."""
        return self.lease.held and self._led_epoch == self.lease.epoch

    def _cover_doubts(self) -> None:
        """Mark what an earlier leader left open as in doubt, and open a gap for each doubt without one; one commit.

        So too for what a failover of the database may have lost.
        """
        at = self._app.clock.now()
        with self._app.open_work() as work:
            work.feeds.hold_fence(self.feed_id, self.lease.epoch)
            cover_failover(work, failed_over(self.feed_id, self.settings), self.poller.drained.last, at)
            work.polls.close_stale(self.feed_id, self.lease.epoch, at)
            for poll_id, request_id, cause, doubt_from in work.gaps.uncovered(self.feed_id):
                doubted = Doubted(poll_id, request_id, cause)
                say_in_doubt(self.name, doubted, doubt_from=doubt_from)
                open_gap(work, self.feed_id, doubted, at=at, ghost_s=self.settings.ghost_s)
            work.commit()
        self.poller.drained.last = None

    def drain(self) -> Drained:
        """Empty the queue once, as the leader. Raises what the poller raises."""
        with self._draining, self.fenced():
            return self.poller.drain()

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """Do what needs the fence, and lead anew where it is lost although the lease looks held.

        So it is when the database failed over under us; without this a paused feed, which drains nothing, would fail
        for ever. A lease that was taken anew meanwhile, while an answer was out, is kept.
        """
        epoch = self.lease.epoch
        try:
            yield
        except FenceLostError:
            if self.lease.epoch == epoch:
                self.lease.leave()
            raise

    def drain_and_book(self) -> tuple[Drained, Counter[str]]:
        """Empty the queue once and book all that landed, booking beside the drain.

        `poller.drained` and `booker.counts` tell meanwhile how far it is. Raises what the poller and the booker
        raise, and FenceLostError where another instance leads.
        """
        if not self.lead():
            raise FenceLostError(f"feed {self.name}: another instance leads it; it polls, this command need not")
        over = Event()
        booked_before = self.booker.counts.copy()
        with ThreadPoolExecutor(1, thread_name_prefix=f"book-{self.name}") as threads:
            booking = threads.submit(self._book_until, over)
            try:
                drained = self.drain()
            finally:
                over.set()
                self.landed.set()
            booking.result()  # raises what went wrong in there
        return drained, self.booker.counts - booked_before

    def _book_until(self, over: Event) -> None:
        while True:
            last = over.is_set()
            self.landed.clear()
            self.booker.book()
            if last:
                return
            self._app.clock.wait(self.landed, 0.2)

    def clock_fault(self) -> str | None:
        """Return a sentence when our clock and the vendor's, as of its last answer, differ by more than a minute."""
        fault = disagreement(self.vendor.clock_skew_s())
        return fault and f"feed {self.name}: {fault}"

    def _note_landed(self) -> None:
        if not self.landed.is_set():
            self.landed.set()
            if not self.booker.busy:
                self.wake("book")

    def paused_reason(self) -> str | None:
        """Return why the feed is paused, or None."""
        with self._app.open_work() as work:
            return work.feeds.paused_reason(self.feed_id)

    def close(self) -> None:
        """Give up the lease, close the connections to the vendor."""
        self.lease.leave()
        self.vendor.close()
