"""A backlog is booked in a process of its own: the same book, whatever happens to that process."""

import math
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from etl.app import App
from etl.booking import process
from etl.booking.process import IDLE_S, START_AGAIN_S, Answer, BookingProcess
from etl.clock import SystemClock
from etl.config import load
from etl.domain.fields import CANONICAL_NAMES
from etl.errors import BookingHeldError, DatabaseAwayError, NotBookedError
from etl.pipeline import book
from etl.pipeline.batch import Booked, BookedFeed
from etl.pipeline.book import BACKLOG, Booker
from etl.store.database import Database
from tests.acceptance.program import until
from tests.booking import KEPT, SUMS, Booking
from tests.builders import a_raw_message
from tests.clocks import FakeClock
from tests.databases import embedded, migrated, rows

PAGE = 40


class Watched(BookingProcess):
    """The process, and what a test wants to know of it or do to it."""

    batches = 0
    booked = 0

    def __init__(self, database: Database, idle_s: float = IDLE_S) -> None:
        super().__init__(database, SystemClock(), idle_s)

    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def is_ready(self) -> bool:
        """Wait for it, where the program books on by itself meanwhile."""
        until(super().is_ready, what="the process")
        return True

    def _asked(self, feed: BookedFeed) -> Answer:
        self.batches += 1
        answer = super()._asked(feed)
        self.booked += isinstance(answer.result, Booked)
        return answer


@contextmanager
def a_booker(booking: Booking, apart: BookingProcess) -> Iterator[Booker]:
    feed = msgspec.structs.replace(booking.booked_feed, batch_bytes=150_000)
    booker = Booker(feed, booking.open_work, SystemClock(), apart)
    try:
        yield booker
    finally:
        apart.close()


@pytest.fixture
def small_backlog(monkeypatch):
    """A few answers within a second are a backlog; a busy machine may not come to thirty."""
    monkeypatch.setattr(book, "BACKLOG", 4)


def land_a_backlog(booking: Booking, pages: int = 60) -> int:
    for page in range(pages):
        booking.land(*(a_raw_message(tradeId=f"T{page:02}-{number}") for number in range(PAGE)))
    return pages * PAGE


def the_book_is_whole(booking: Booking, trades: int) -> bool:
    feed = {"feed_id": booking.feed.feed_id}
    per_trade = rows(
        booking.database, "SELECT trade_id, version FROM stp.trade_version WHERE feed_id = :feed_id", **feed
    )
    assert len(per_trade) == len(set(per_trade)) == trades
    assert rows(booking.database, KEPT, **feed) == rows(booking.database, SUMS, **feed)
    return not rows(booking.database, "SELECT poll_id FROM stp.unbooked WHERE feed_id = :feed_id", **feed)


@pytest.mark.usefixtures("small_backlog")
def test_a_backlog_is_booked_by_the_process_and_counted_here(database):
    booking = Booking(database)
    trades = land_a_backlog(booking)
    apart = Watched(database)

    with a_booker(booking, apart) as booker:
        counts = booker.book()
        assert booker.counts == counts == {"booked": trades}

    assert 2 < apart.batches < 60, "the first answers are booked here"
    assert the_book_is_whole(booking, trades)


def test_the_backlogs_of_all_feeds_are_booked_in_turn_by_one_process(database, monkeypatch):
    monkeypatch.setattr(process, "TURN_S", 60.0)
    monkeypatch.setattr(book, "BACKLOG", 0)
    apart, pids = Watched(database), set[int]()
    bookings = [Booking(database) for _ in range(3)]
    for booking in bookings:
        land_a_backlog(booking, 12)

    def book_all(booking: Booking) -> Counter[str]:
        feed = msgspec.structs.replace(booking.booked_feed, batch_bytes=150_000)
        counts = Booker(feed, booking.open_work, SystemClock(), apart).book()
        pids.add(apart.pid())
        return counts

    with ThreadPoolExecutor() as threads:
        counts = list(threads.map(book_all, bookings))
    apart.close()

    assert counts == [{"booked": 12 * PAGE}] * 3
    assert len(pids) == 1
    assert apart.batches >= 9
    assert all(the_book_is_whole(booking, 12 * PAGE) for booking in bookings)


def test_all_feeds_of_a_program_share_the_process_that_books_backlogs(database_url, tmp_path):
    file = tmp_path / "stp-etl.toml"
    feed = 'base_url = "https://vendor.test"\norg = "pfOrg"\nuser = "mainUser"\npassword = "x"\n'
    feeds = f"[feeds.one]\n{feed}[feeds.two]\n{feed}".replace("mainUser", "other", 1)
    file.write_text(f'[database]\nurl = "{database_url}"\n{feeds}')
    with App(load(file, {}, field_names=CANONICAL_NAMES)) as app:
        one, two = app.feeds()

        assert one.booker._apart is two.booker._apart is app.booking_process is not None


def test_while_another_feeds_batch_takes_long_a_feed_books_in_its_own_thread(database, monkeypatch):
    monkeypatch.setattr(process, "TURN_S", 0.1)
    slow, booking = Booking(database), Booking(database)
    for each in (slow, booking):
        each.land(a_raw_message())
    apart = Watched(database)
    apart.is_ready()
    with database.connect() as other, ThreadPoolExecutor() as threads, a_booker(booking, apart) as booker:
        other.execute(text("SELECT FROM stp.booker WHERE feed_id = :id FOR UPDATE"), {"id": slow.feed.feed_id})
        waits = threads.submit(apart.book, slow.booked_feed)
        until(lambda: apart.batches, what="the batch")
        booker._backlog_until = math.inf

        assert booker.book() == {"booked": 1}
        assert not waits.done()
        other.rollback()
        assert waits.result(60) is not None
    assert apart.batches == 1


def test_a_batch_that_does_not_end_holds_up_no_stop_and_is_left_to_the_daemon(database, monkeypatch):
    booking = Booking(database)
    booking.land(a_raw_message())
    apart = Watched(database)
    apart.is_ready()
    monkeypatch.setattr(process, "ENDING_S", 0.3)
    with database.connect() as other, ThreadPoolExecutor() as threads:
        other.execute(text("SELECT FROM stp.booker WHERE feed_id = :id FOR UPDATE"), {"id": booking.feed.feed_id})
        waits = threads.submit(apart.book, booking.booked_feed)
        until(lambda: apart.batches, what="the batch")

        apart.close()

        with pytest.raises(NotBookedError, match="ended"):
            waits.result(60)


def test_a_few_answers_start_no_process(database):
    booking = Booking(database)
    apart = Watched(database)
    with a_booker(booking, apart) as booker:
        for page in range(BACKLOG - 1):
            booking.land(a_raw_message(tradeId=f"T{page}"))
        booker.book()

    assert apart.batches == 0


@pytest.mark.usefixtures("small_backlog")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_where_the_process_ends_or_hangs_the_rest_is_booked_here(database, monkeypatch, number):
    booking = Booking(database)
    trades = land_a_backlog(booking)

    class Struck(Watched):
        def _asked(self, feed: BookedFeed) -> Answer:
            if self.batches == 2:
                monkeypatch.setattr(process, "LONGEST_S", 0.5)
                monkeypatch.setattr(process, "ENDING_S", 0.5)
                os.kill(self.pid(), number)
            return super()._asked(feed)

        def is_ready(self) -> bool:
            return self.batches <= 2 and super().is_ready()

    with capture_logs() as said, a_booker(booking, apart := Struck(database)) as booker:
        booker.book()

    assert apart.batches == 3
    assert [each["event"] for each in said].count("book.process_ended") == 1
    assert the_book_is_whole(booking, trades)


@pytest.mark.parametrize("ended_by", ["itself", pytest.param(signal.SIGKILL, marks=pytest.mark.nightly)])
def test_a_process_that_ended_between_backlogs_is_started_again_and_said_only_where_it_was_killed(database, ended_by):
    booking = Booking(database)
    booking.land(a_raw_message())
    apart = Watched(database, idle_s=0.05 if ended_by == "itself" else 60.0)
    with capture_logs() as said, a_booker(booking, apart) as booker:
        apart.is_ready()
        first = apart.pid()
        if ended_by == signal.SIGKILL:
            os.kill(first, ended_by)
        until(lambda: "Z" in Path(f"/proc/{first}/stat").read_text().split(), what="its end")
        apart._idle_s = 60.0
        booker._backlog_until = math.inf
        booker.book()

        assert apart.booked == 1
        assert not Path(f"/proc/{first}").exists()
    assert [each["event"] for each in said] == ([] if ended_by == "itself" else ["book.process_ended"])


@pytest.mark.parametrize(
    "program",
    ["/nowhere/python", pytest.param(shutil.which("false"), marks=pytest.mark.nightly)],
    ids=["is not there", "ends at once"],
)
def test_a_process_that_cannot_be_started_is_said_and_tried_again_after_a_minute(database, monkeypatch, program):
    booking, clock = Booking(database), FakeClock()
    apart = BookingProcess(database, clock)
    with capture_logs() as said, a_booker(booking, apart) as booker, monkeypatch.context() as for_now:
        for_now.setattr(sys, "executable", program)
        until(lambda: apart.is_ready() or said, what="the failure")
        booker._backlog_until = math.inf
        booking.land(a_raw_message())
        booker.book()
        for_now.undo()
        assert not apart.is_ready()
        clock.advance(START_AGAIN_S)
        until(apart.is_ready, what="the process")

    assert [(each["event"], each["log_level"]) for each in said] == [("book.process_not_started", "warning")]
    assert the_book_is_whole(booking, 1)


@pytest.mark.usefixtures("small_backlog")
def test_what_the_process_meets_is_raised_and_said_here(database):
    booking = Booking(database, conflicts_before_hold=0)
    land_a_backlog(booking, 50)
    booking.land(a_raw_message(tradeId="T00-1", dealtAmount=17.5, field_of_tomorrow="x"))

    apart, waits = Watched(database), pytest.raises(BookingHeldError, match="booking waits for a person")
    with capture_logs() as said, a_booker(booking, apart) as booker, waits:
        booker.book()

    assert apart.batches > 0
    assert "book.held" in [each["event"] for each in said if each["log_level"] == "error"]


@contextmanager
def a_guarded_database() -> Iterator[tuple[Database, Callable[[str], None]]]:
    """Lend a database that asks for a password, and what rotates that: the role's, the file's, and all connections."""
    with embedded() as own, migrated(own.url) as server, server.database() as url:
        rules = own.data_dir / "pg_hba.conf"
        rules.write_text("local all etl scram-sha-256\n" + rules.read_text())
        server.run("CREATE ROLE etl LOGIN SUPERUSER PASSWORD 'first'")
        server.run("SELECT pg_reload_conf()")
        told = [url.replace("postgres@", "etl:first@")]

        def rotate(password: str) -> None:
            told[0] = url.replace("postgres@", f"etl:{password}@")
            server.run(f"ALTER ROLE etl PASSWORD '{password}'")
            server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'etl'")

        database = Database(told[0], url_now=lambda: told[0])
        yield database, rotate
        database.close()


@pytest.mark.nightly
def test_the_process_logs_in_with_the_databases_password_of_now_and_a_refused_batch_is_booked_here():
    with a_guarded_database() as (database, rotate):
        apart = Watched(database)
        rotate("second")
        database.engine.dispose()
        booking = Booking(database)
        with capture_logs() as said, a_booker(booking, apart) as booker:
            booker._backlog_until = math.inf
            booking.land(a_raw_message(tradeId="T1"))
            booker.book()
            with_the_second = apart.booked
            rotate("third")
            database.engine.dispose()
            booking.land(a_raw_message(tradeId="T2"))
            with suppress(DatabaseAwayError):  # that its connection was cut
                booker.book()
            booker.book()
            by_hand = apart.booked
            booking.land(a_raw_message(tradeId="T3"))
            booker.book()

        assert (with_the_second, by_hand, apart.booked) == (1, 1, 2)
        assert the_book_is_whole(booking, 3)
    assert [each["event"] for each in said if each["log_level"] != "info"] == []


def test_the_process_leaves_signals_to_the_daemon_and_ends_with_it(database):
    apart = Watched(database)
    assert apart.is_ready()
    pid = apart.pid()

    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    booking = Booking(database)
    booking.land(a_raw_message())
    assert apart.book(booking.booked_feed) is not None
    assert apart.book(booking.booked_feed) is None
    apart.close()

    assert not Path(f"/proc/{pid}").exists()


def test_the_process_loads_nothing_that_booking_does_not_need():
    """Settings, vendor and metrics cost a fifth of its memory, beside a daemon that has them."""
    asked = "import sys, etl.booking.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()

    assert {"sqlalchemy", "etl.store.database"} <= set(loaded)
    assert not {"pydantic", "requests", "prometheus_client", "typer", "starlette", "etl.config"} & set(loaded)


def test_the_password_of_the_database_is_in_no_list_of_processes(database):
    apart = Watched(database)
    apart.is_ready()
    words = Path(f"/proc/{apart.pid()}/cmdline").read_bytes()
    shown = subprocess.run(["ps", "-ww", "-o", "args", "-p", str(apart.pid())], capture_output=True, check=False).stdout
    apart.close()

    assert words.count(b"\0") == 3
    assert b"postgresql" not in words + shown
