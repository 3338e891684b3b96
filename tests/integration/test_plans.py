"""What is asked often finds its rows by an index, however large the book is: so say the plans of Postgres itself."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from etl.controls.certificate import CertifiedFeed, Certifier
from etl.domain.fields import Reading
from etl.domain.gaps import GapCause
from etl.domain.window import Window
from etl.pipeline.batch import BookedFeed
from etl.pipeline.book import Booker
from etl.pipeline.doubt import Doubted, open_gap
from etl.store.book_feed import book_feed
from etl.store.database import Database
from etl.store.examples import EXAMPLES
from etl.store.repositories.lists import TradeFilter
from etl.store.repositories.polls import Ending
from etl.store.repositories.reconciling import OpenedAt
from etl.store.unit_of_work import OpenWork, work_on
from tests.benchmarks.filled import fill
from tests.builders import a_page, a_raw_message
from tests.clocks import FakeClock
from tests.databases import Server, change, rows
from tests.feeds import Feed, a_landing, an_open_poll, landed
from tests.plans import Plans, explained

TRADES, A_DAY = 60_000, 240
DAY = date(2026, 9, 1)  # one of the last days of the filled book
NOW = datetime(2026, 9, 8, 12, tzinfo=UTC)
SSD = "ALTER DATABASE {} SET random_page_cost = 1.1"
OLD_POSITIONS = """
INSERT INTO stp.position (feed_id, organisation, legal_entity, trader, symbol, value_date, deliverable, base_amount,
    term_amount, trade_count)
SELECT :feed_id, 'CustomerOrg', 'LE' || n % 10, 'user', 'EUR/USD', DATE '2026-09-20' - n / 10, true, 1, -1, 1
FROM generate_series(1, 20000) AS n
"""


class FilledBook:
    """A book of many trades, with the polls and messages that brought them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.feed: Feed = fill(database, TRADES, page=5)
        self.open_work: OpenWork = work_on(database)
        self.clock = FakeClock(NOW)
        self.feed_id = self.feed.feed_id
        change(database, OLD_POSITIONS, feed_id=self.feed_id)
        change(database, "ANALYZE stp.position")

    def ask(self, query: str) -> None:
        """Run a query of a reader."""
        rows(self.database, query)

    def land(self, *messages: bytes) -> None:
        """Land a page."""
        landed(self.open_work, self.feed, *messages, at=NOW)


@pytest.fixture(scope="module")
def book(postgres: Server) -> Iterator[FilledBook]:
    with postgres.database() as url:
        database = Database(url)
        change(database, SSD.format(f'"{database.url.database}"'))
        database.close()
        yield FilledBook(database)
        database.close()


@pytest.fixture
def plans(book: FilledBook) -> Iterator[Plans]:
    """Explain what the test asks."""
    with explained(book.database) as plans:
        yield plans


def test_booking_looks_up_the_trades_of_its_batch_and_no_others(book, plans):
    known = [a_raw_message(tradeId=f"FXI{9_000_000_000 + n}") for n in range(1, 11)]
    book.land(*known, *(a_raw_message(tradeId=f"FXI{n}") for n in range(90)))
    booker = Booker(BookedFeed(book.feed_id, book.feed.name, Reading()), book.open_work, book.clock)

    counts = booker.book()

    assert (counts["booked"], counts["conflict"]) == (90, 10)
    assert {"trade_version", "unbooked", "answer_default"} & plans.tables()
    assert plans.faults(at_most=400) == []


def test_landing_costs_the_same_however_long_the_ledger_is(book, plans):
    poll = an_open_poll(book.open_work, book.feed, at=NOW)
    with book.open_work() as work:
        following = work.polls.land_and_open_next(
            poll, a_landing(a_page(a_raw_message())), at=NOW, next_request_id="next"
        )
        work.polls.close(following, Ending("empty", "empty", status=200), NOW)
        work.commit()
    with book.open_work() as work:
        work.polls.proven_empty_since(book.feed_id, NOW)
        work.answers.waiting(book.feed_id)
        work.answers.outcomes_of_drain(following)

    assert plans.faults(at_most=20) == []


def test_a_reader_of_the_incremental_feed_reads_what_is_new(book, plans):
    book.ask(f"SELECT * FROM reporting.trade WHERE change_seq > {TRADES - 500} ORDER BY change_seq LIMIT 1000")
    with book_feed(book.database) as feed:
        last = feed.end_of_batch(TRADES - 500, 400)
        for view in ("trade_version", "trade_leg_version"):
            columns = [each.column for each in feed.columns()[view]]
            list(feed.rows(view, columns, TRADES - 500, last.change_seq))

    assert plans.faults(at_most=4 * 600) == []


def test_the_blotter_and_the_sheet_of_a_day_read_that_day(book, plans):
    book.ask(EXAMPLES[0].query.replace("2026-03-02", DAY.isoformat()))
    with book.open_work() as work:
        work.day.sheet(DAY, None)
        list(work.exports.rows("trades", DAY, None))
        list(work.exports.rows("legs", DAY, None))
        work.lists.trades(TradeFilter(), 50)
        work.lists.trades(TradeFilter(first_day=DAY, last_day=DAY), 50)

    assert plans.faults(at_most=6 * A_DAY) == []


def test_the_settlement_ladder_and_the_positions_read_their_value_dates(book, plans):
    book.ask(EXAMPLES[1].query.replace("2026-03-02", DAY.isoformat()))
    book.ask(EXAMPLES[2].query.replace("2026-03-02", "2026-09-18"))
    book.ask(f"SELECT * FROM reporting.fixing WHERE fixing_date BETWEEN DATE '{DAY}' AND DATE '{DAY}' + 7")

    assert plans.faults(at_most=6 * 6 * A_DAY) == []


def test_the_checks_of_a_resend_read_what_came_since_and_the_days_asked(book, plans):
    window = Window.of(DAY, DAY)
    since = datetime(2026, 9, 6, tzinfo=UTC)
    with book.open_work() as work:
        number = work.gaps.open(
            book.feed_id, GapCause.SWEEP, window, at=since, not_before=since, evidence={"at": "now"}
        )
        gap = work.gaps.find(number)
        resend = work.gaps.request(gap, window, at=since, by="test", reason="test")
        proof = work.gaps.proof_since(book.feed_id, since)
        counts = work.gaps.counts(resend, proof.poll_id)
        work.gaps.absent(resend, proof.poll_id, 100)
        work.gaps.held_in(book.feed_id, window)
        work.gaps.doubt_since(book.feed_id, since)
        work.measures.recovered_by(gap)
        work.measures.waits_for_booking(book.feed_id, proof.poll_id)
        work.sweeps.sweep_of(book.feed_id, DAY, since)
        work.sweeps.uncovered_doubt(book.feed_id)

    assert (counts.held, counts.received) == (A_DAY, 0)
    assert plans.faults(at_most=10 * A_DAY) == []


def test_a_doubt_becomes_a_gap_without_a_look_at_the_whole_book(book, plans):
    poll = an_open_poll(book.open_work, book.feed, at=NOW)
    with book.open_work() as work:
        work.polls.close(poll, Ending("in_doubt", "timeout"), NOW)
        open_gap(work, book.feed_id, Doubted(poll.poll_id, poll.request_id, "timeout"), at=NOW, ghost_s=1)
        ((gap),) = work.gaps.unfinished(book.feed_id)[-1:]
        work.gaps.oldest_of(gap)
        work.commit()

    assert plans.faults(at_most=10 * A_DAY) == []


def test_a_certificate_reads_its_day(book, plans):
    feed = CertifiedFeed(book.feed_id, book.feed.name, "settings", "1", 60.0)

    certificate = Certifier(feed, book.open_work, book.clock).issue(DAY, "ann")

    assert certificate.counts["trades"] == A_DAY
    assert plans.faults(at_most=3 * A_DAY) == []


def test_a_comparison_of_positions_reads_what_is_open_and_not_what_is_settled(book, plans):
    today = date(2026, 9, 18)
    with book.open_work() as work:
        for level, value in (("ORG", "CustomerOrg"), ("LE", "LE1"), ("USER", "user")):
            assert len(work.reconciling.positions(book.feed_id, level, value, today)) == 2
        work.reconciling.level_values(book.feed_id, "LE", today, ())
        work.reconciling.past_fixing(book.feed_id, today)
        work.reconciling.counted_before(book.feed_id, "ORG", "CustomerOrg", today, OpenedAt(NOW, NOW))

    assert plans.faults(at_most=A_DAY, pages=20) == []


def test_the_orders_that_are_asked_about_are_those_of_the_look_back(book, plans):
    with book.open_work() as work:
        orders, known = work.fills.orders(book.feed_id, DAY + timedelta(days=5), 100)

    assert (len(orders), known > 100) == (100, True)
    assert plans.faults(at_most=4 * A_DAY) == []


def test_what_monitoring_asks_every_few_seconds_reads_next_to_nothing(book, plans):
    with book.open_work() as work:
        work.figures.look()
        work.figures.breaks_open_since(NOW)
        work.feeds.paused_reason(book.feed_id)

    assert plans.faults(at_most=50) == []


def test_a_query_that_no_index_serves_is_noticed(book):
    with explained(book.database) as plans:
        book.ask("SELECT count(*) FROM reporting.trade WHERE note = 'unheard of'")

    whole, read = plans.faults(at_most=100)
    assert whole.startswith("Seq Scan of trade_version, 60")
    assert read.startswith("60")
