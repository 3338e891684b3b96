"""The one place that builds concrete things and joins them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from threading import Event
from types import TracebackType

from etl.booking.process import BookingProcess
from etl.chance import new_id
from etl.clock import Clock, SystemClock, take_short_turns
from etl.config import Settings
from etl.domain.trading_hours import TradingHours
from etl.errors import OperatorError
from etl.jobs import Beats
from etl.ops.gauges import GaugeJob
from etl.runtime import FeedRuntime
from etl.store import schema
from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres, folder_for, is_made, not_made
from etl.store.leases import Lease
from etl.store.sessions import check_sessions
from etl.store.unit_of_work import OpenWork, work_on
from etl.wiring import hours_of


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
            pool_size=given.pool_size, url_now=given.url.reveal if given.url is not None else None,
            named=self.database_named,
        )  # fmt: skip

    @property
    def database_named(self) -> str:
        """The setting that names the database."""
        return "database.url" if self.settings.database.url_file is None else "database.url_file"

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
        if given.url is None and not is_made(folder_for(Path(given.data_dir))):
            raise OperatorError(
                f"no database.url is set and {not_made(Path(given.data_dir))}; name the settings file with "
                "--config, or make the embedded one: stp-etl db upgrade"
            )
        self.database.check_server()
        with self.database.connect() as connection:
            schema.check(connection)

    @cached_property
    def booking_process(self) -> BookingProcess | None:
        """What books the backlogs of all feeds, not started yet; None where the settings want no process of its own."""
        return BookingProcess(self.database, self.clock) if self.settings.booking.own_process else None

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
        return GaugeJob(
            self.open_work, self.leads, lambda: self.trading_hours.is_open(self.clock.now()),
            lambda since: self.trading_hours.trading_s(since, self.clock.now()),
        )  # fmt: skip

    @property
    def trading_hours(self) -> TradingHours:
        """When the market trades."""
        return hours_of(self.settings.trading)

    def take(self, settings: Settings) -> None:
        """Go on with these settings; identities of feeds, the database and certificates stay as they were."""
        self.settings = settings
        for name, feed in self._feeds.items():
            feed.take(settings.feeds[name])

    def end_booking_process(self) -> None:
        """End the process that books backlogs, if there is one."""
        if (process := self.__dict__.get("booking_process")) is not None:
            process.close()

    def close(self) -> None:
        """Give up leases, close connections, end the process that books, stop the embedded database."""
        for feed in self._feeds.values():
            feed.close()
        self.end_booking_process()
        if "database" in self.__dict__:
            self.database.close()
        if self._embedded is not None:
            self._embedded.stop()

    def __enter__(self) -> App:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
