"""What only the clock can say is told once: silence in trading hours, overdue jobs and pauses, aged breaks."""

from datetime import UTC, datetime, timedelta

import pytest

from etl.domain.calendar import business_days_before
from etl.domain.trading_hours import TradingHours
from etl.jobs import Beats, Job
from etl.ops.watch import Watchman
from tests.clocks import START, FakeClock
from tests.databases import change, rows
from tests.feeds import a_feed, landed

LIMIT_S = 300.0


class Watching:
    """A watchman over one feed."""

    def __init__(self, database, open_work, at=START):
        change(database, "SELECT stp.make_partitions('2024-03-01', 1)")
        self.database, self.clock = database, FakeClock(at)
        self.beats = Beats(self.clock)
        self.feed = a_feed(open_work, at=at)
        self.open_work, self.no_trades_after_s = open_work, 0.0
        self.watchman = Watchman(
            open_work, self.clock, self.beats, stale_after_s=lambda: {"main": LIMIT_S},
            no_trades_after_s=lambda: self.no_trades_after_s,
            is_stale=TradingHours().is_stale,
            aged_before=lambda now: business_days_before(now, 2),
        )  # fmt: skip

    def answers(self):
        """Let the vendor prove the queue to be empty, now."""
        if not rows(self.database, "SELECT FROM stp.current_poll"):
            landed(self.open_work, self.feed, b"[]", at=self.clock.now())
            change(self.database, "UPDATE stp.current_poll SET last_page_at = NULL")
        change(self.database, "UPDATE stp.current_poll SET last_empty_at = :at", at=self.clock.now())

    def told(self, columns="kind, words"):
        """Let time stand, look twice, and return what was told."""
        self.watchman()
        self.watchman()
        return rows(self.database, f"SELECT {columns} FROM stp.alert ORDER BY id")


@pytest.fixture
def watching(database, open_work):
    return lambda at=START: Watching(database, open_work, at)


def test_a_feed_that_is_silent_in_trading_hours_is_told_once_and_again_after_it_spoke(watching):
    watch = watching()
    landed(watch.open_work, watch.feed, b"[]", at=START)
    watch.clock.advance(LIMIT_S)
    assert watch.told() == []

    watch.clock.advance(1)
    said = ("feed.stale", f"no good answer of the vendor since {START.isoformat()}; see: stp-etl status")
    assert watch.told() == [said]

    landed(watch.open_work, watch.feed, b"[]", at=watch.clock.now())
    watch.clock.advance(LIMIT_S + 1)
    assert [kind for kind, _ in watch.told()] == ["feed.stale", "feed.stale"]


def test_a_vendor_that_never_answered_is_told(watching):
    watch = watching()
    watch.clock.advance(LIMIT_S + 1)

    assert watch.told() == [("feed.stale", "no good answer of the vendor ever; see: stp-etl status")]


def test_a_start_after_a_long_rest_is_given_a_minute(watching):
    watch = watching()
    landed(watch.open_work, watch.feed, b"[]", at=START - timedelta(days=1))
    watch.clock.advance(59)
    assert watch.told() == []

    watch.clock.advance(2)
    assert [kind for kind, _ in watch.told()] == ["feed.stale"]


def test_silence_at_the_weekend_and_right_after_it_is_none(watching):
    watch = watching(datetime(2024, 3, 16, 12, tzinfo=UTC))  # a Saturday
    watch.clock.advance(3600)
    assert watch.told() == []

    opening = datetime(2024, 3, 17, 21, tzinfo=UTC)  # Sunday 17:00 in New York, on summer time
    watch.clock.advance((opening - watch.clock.now()).total_seconds() + LIMIT_S - 1)
    assert watch.told() == []

    watch.clock.advance(2)
    assert [kind for kind, _ in watch.told()] == ["feed.stale"]


def test_hours_of_trading_without_a_trade_are_told_once_and_again_after_one_came(watching):
    watch = watching(datetime(2024, 3, 15, 18, tzinfo=UTC))  # a Friday, three hours before the close
    watch.no_trades_after_s = 4 * 3600.0
    last_at = watch.clock.now()
    landed(watch.open_work, watch.feed, b"[{}]", at=last_at)
    watch.clock.advance((datetime(2024, 3, 17, 21, tzinfo=UTC) - last_at).total_seconds() + 3600)
    watch.answers()
    assert watch.told() == []  # three hours before the weekend and one after it, by the market's clock

    watch.clock.advance(1)
    watch.answers()
    ((kind, words),) = watch.told()
    assert kind == "trades.none"
    assert words.startswith(f"no trade since {last_at.isoformat()}, although the vendor answers")

    landed(watch.open_work, watch.feed, b"[{}]", at=watch.clock.now())
    watch.clock.advance(4 * 3600 + 1)
    watch.answers()
    assert [kind for kind, _ in watch.told()] == ["trades.none", "trades.none"]


@pytest.mark.parametrize("why", ["never", "stale", "paused"])
def test_no_trades_are_not_told_where_nobody_wants_it_or_where_more_is_wrong(watching, why):
    watch = watching()
    watch.no_trades_after_s = 0.0 if why == "never" else 3600.0
    landed(watch.open_work, watch.feed, b"[{}]", at=START)
    watch.clock.advance(86_400)
    if why == "paused":
        with watch.open_work() as work:
            work.feeds.pause(watch.feed.feed_id, at=START, by="olga", reason="maintenance", until=None)
            work.commit()
    elif why == "never":
        watch.answers()

    assert [kind for kind, _ in watch.told()] == (["feed.stale"] if why == "stale" else [])


def test_a_feed_that_never_had_a_trade_is_told_by_the_time_since_the_start(watching):
    watch = watching()
    watch.no_trades_after_s = 3600.0
    watch.clock.advance(3601)
    watch.answers()

    assert [words.split(",")[0] for _, words in watch.told()] == ["no trade since this start"]


def test_a_pause_is_no_silence_and_is_told_when_it_is_longer_than_planned(watching):
    watch = watching()
    with watch.open_work() as work:
        until = START + timedelta(hours=1)
        work.feeds.pause(watch.feed.feed_id, at=START, by="olga", reason="maintenance", until=until)
        work.commit()
    watch.clock.advance(3599)
    assert watch.told() == []

    watch.clock.advance(2)
    assert [kind for kind, _ in watch.told()] == ["pause.overdue"]


def test_a_job_that_hangs_or_is_not_begun_is_told_once_a_run(watching):
    watch = watching()
    landed(watch.open_work, watch.feed, b"[]", at=START)
    job = Job("heal-main", 1.0, dict, deadline_s=10.0)
    watch.beats.began(job)
    watch.clock.advance(11)
    assert [words.rpartition(" at ")[0] for _, words in watch.told()] == ["job heal-main shows no progress"]

    watch.beats.ended(job)
    watch.beats.began(job)
    watch.beats.ended(job)
    watch.clock.advance(12)
    assert watch.told()[-1][1].startswith("job heal-main was not begun for too long")
    assert len(watch.told()) == 2


def test_breaks_are_old_after_two_business_days_and_told_once_a_day(watching):
    watch = watching(datetime(2024, 3, 15, 12, tzinfo=UTC))  # a Friday
    with watch.open_work() as work:
        for trade_id in "AB":
            work.attention.found(watch.feed.feed_id, "status", trade_id, comment="c", evidence={}, at=watch.clock.now())
        work.commit()
    change(watch.database, "DELETE FROM stp.alert")
    watch.watchman._stale_after_s = dict
    watch.clock.advance(4 * 86_400 - 1)  # to Tuesday noon
    assert watch.told() == []

    watch.clock.advance(2)
    assert watch.told("kind, fields->>'breaks'") == [("break.aged", "2")]
    watch.clock.advance(86_400)
    assert len(watch.told()) == 2


def test_rows_in_a_default_partition_are_told_once_a_day(watching):
    watch = watching()
    landed(watch.open_work, watch.feed, b"[]", at=START - timedelta(days=90))  # no month is made for the past

    assert watch.told("kind, fields->>'table'") == [("partition.default", "answer")]
