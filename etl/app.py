"""The one place that builds concrete things and joins them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from threading import Event, Lock
from types import TracebackType

import structlog

from etl.chance import new_id
from etl.clock import Clock, SystemClock, disagreement
from etl.config import FeedSettings, Settings
from etl.controls.gaps import Healer
from etl.controls.resend import HealedFeed, Resender
from etl.controls.sweep import Sweeper
from etl.domain.trading_hours import TradingHours
from etl.errors import FenceLostError, OperatorError
from etl.jobs import Beats
from etl.ops.gauges import GaugeJob
from etl.pipeline.book import BookedFeed, Booker
from etl.pipeline.doubt import Doubted, open_gap
from etl.pipeline.drain import Drained
from etl.pipeline.failover import cover_failover, refuse_other_database
from etl.pipeline.poll import Poller
from etl.store import schema
from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres, folder_for, is_made
from etl.store.leases import Lease
from etl.store.repositories.feeds import Identity
from etl.store.sessions import check_sessions
from etl.store.unit_of_work import OpenWork, work_on
from etl.vendor.client import VendorClient
from etl.wiring import booked, endpoint_of, failed_over, healed, hours_of, polled, take_short_turns, unconfirmed

log = structlog.get_logger()


class App:
    """The program with its settings: the database, and the feeds as they are needed. Close it, or use `with`."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        take_short_turns()
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.new_id: Callable[[], str] = new_id
        self.stop = Event()
        self.beats = Beats(self.clock)
        """How the daemon's main loop and jobs stand."""
        self._embedded: EmbeddedPostgres | None = None
        self._feeds: dict[str, FeedRuntime] = {}

    @cached_property
    def database(self) -> Database:
        """The configured database; the embedded one is started when no url is set."""
        given = self.settings.database
        if given.url is not None:
            url = given.url.reveal()
        else:
            self._embedded = EmbeddedPostgres(folder_for(Path(given.data_dir)))
            url = self._embedded.start()
        return Database(
            url, connect_timeout_s=int(given.connect_timeout_s), statement_timeout_s=int(given.statement_timeout_s),
            pool_size=given.pool_size,
        )  # fmt: skip

    @property
    def embedded(self) -> EmbeddedPostgres | None:
        """The embedded Postgres where it serves as the database."""
        return self._embedded

    @cached_property
    def open_work(self) -> OpenWork:
        """Open a unit of work on the database."""
        return work_on(self.database)

    def check_database(self) -> None:
        """Raise OperatorError, SchemaError or DatabaseAwayError unless the database can be trusted with trades."""
        given = self.settings.database
        if given.url is None and not is_made(folder := folder_for(Path(given.data_dir))):
            raise OperatorError(
                f"no database.url is set and there is no embedded database in {folder}; name the settings file with "
                "--config, or make the embedded one: stp-etl db upgrade"
            )
        self.database.check_durable()
        with self.database.connect() as connection:
            schema.check(connection)

    def lease_of(self, feed_id: int, lock_key: int) -> Lease:
        """Return the leadership of a feed, not taken yet."""
        return Lease(self.database, self.clock, feed_id, lock_key)

    def feed(self, name: str | None = None) -> FeedRuntime:
        """Return the feed of this name, or the only one, ready to lead, poll and book."""
        settings = self.settings.feed(name)
        if settings.name not in self._feeds:
            if not self._feeds:
                check_sessions(self.database)
            self._feeds[settings.name] = FeedRuntime(self, settings)
        return self._feeds[settings.name]

    def feeds(self) -> list[FeedRuntime]:
        """Return every feed of the settings."""
        return [self.feed(name) for name in self.settings.required_feeds()]

    def leads(self) -> dict[str, bool]:
        """Return every feed of the settings, and whether we lead it."""
        return {name: name in self._feeds and self._feeds[name].leads for name in self.settings.feeds}

    @cached_property
    def gauges(self) -> GaugeJob:
        """What monitoring is told of the feeds."""
        return GaugeJob(self.open_work, self.leads, lambda: self.trading_hours.is_open(self.clock.now()))

    @property
    def trading_hours(self) -> TradingHours:
        """When the market trades."""
        return hours_of(self.settings.trading)

    def take(self, settings: Settings) -> None:
        """Go on with these settings; identities of feeds, the database and certificates stay as they were."""
        self.settings = settings
        for name, feed in self._feeds.items():
            feed.take(settings.feeds[name])

    def close(self) -> None:
        """Give up leases, close connections, stop the embedded database."""
        for feed in self._feeds.values():
            feed.close()
        if "database" in self.__dict__:
            self.database.close()
        if self._embedded is not None:
            self._embedded.stop()

    def __enter__(self) -> App:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


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
        self.booker = Booker(self.booked_feed, app.open_work, app.clock)

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
        return Counter(self.sweeper.step()) + Counter(self.healer.step())

    def lead(self) -> bool:
        """Try to lead the feed; return whether we do. Raises OtherDatabaseError where this is not its database."""
        with self._leading:
            return self.leads or self._take_lead()

    def _take_lead(self) -> bool:
        refuse_other_database(self._app.open_work, self.feed_id, self.name)
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
            for poll_id, request_id, cause in work.gaps.uncovered(self.feed_id):
                log.error("poll.in_doubt", feed=self.name, poll_id=poll_id, cause=cause)
                doubted = Doubted(poll_id, request_id, cause)
                open_gap(work, self.feed_id, doubted, at=at, ghost_s=self.settings.ghost_s)
            work.commit()
        self.poller.drained.last = None

    def drain(self) -> Drained:
        """Empty the queue once, as the leader. Raises what the poller raises.

        Where the fence is lost although the lease looks held, the database failed over under us: lead anew.
        """
        try:
            with self._draining:
                return self.poller.drain()
        except FenceLostError:
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
        """Give up the lease and close the connections to the vendor."""
        self.lease.leave()
        self.vendor.close()
