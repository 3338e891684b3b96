"""What a failover of the database means for one feed: the window of its gap, its numbers, and the fence."""

import json
from datetime import timedelta

import pytest

from etl.clock import SystemClock
from etl.errors import FenceLostError
from etl.pipeline.failover import FailedOver, cover_failover
from etl.store.repositories.feeds import Identity
from tests.clocks import START
from tests.databases import change, rows, value
from tests.feeds import a_feed
from tests.healing import TODAY, WINDOW, Healing

NEW_TIMELINE = "UPDATE stp.feed SET timeline = timeline - 1"
LEASE_OF_BEFORE = "UPDATE stp.lease SET timeline = timeline - 1"


@pytest.fixture
def healing(database, clock):
    found = Healing(database, clock=clock)
    covered(found)
    yield found
    found.close()


def covered(healing):
    feed = FailedOver(healing.feed.feed_id, "main", ghost_s=120.0, history_days=31)
    with healing.open_work() as work:
        number = cover_failover(work, feed, healing.poller.drained.last, healing.clock.now())
        work.commit()
    return number


def test_the_first_time_a_database_is_only_remembered(healing, database):
    assert value(database, "SELECT timeline = stp.timeline() FROM stp.feed")
    assert covered(healing) is None
    assert healing.gaps() == []


def test_a_new_timeline_doubts_all_since_the_queue_was_proven_empty(healing, database):
    change(database, NEW_TIMELINE)

    number = covered(healing)

    assert healing.gaps("id, cause") == [(number, "failover")]
    assert healing.gaps() == [WINDOW]
    assert covered(healing) is None


def test_a_failover_in_mid_drain_reaches_back_to_the_oldest_trade_of_that_drain(healing, database):
    healing.vendor.deal("OLD", day="2024-02-20")
    healing.turn(1, *[])
    change(database, "UPDATE stp.current_poll SET last_empty_at = :at", at=START)
    change(database, NEW_TIMELINE)

    covered(healing)

    assert healing.gaps("from_date::text") == [("2024-02-19",)]


def test_the_resend_under_way_is_asked_again_and_the_gap_of_a_failover_heals(healing, database):
    healing.lose("A")
    healing.turn_until(lambda: healing.resends("state") == [("accepted",)])
    change(database, NEW_TIMELINE)

    covered(healing)

    assert healing.resends("state, detail")[0] == ("short", "the database failed over meanwhile")
    healing.turn_until(lambda: {row[0] for row in healing.gaps("state")} == {"healed"})
    assert healing.booked() == {"A"}


def test_a_committed_poll_that_is_gone_counts_like_a_new_timeline(healing, database):
    healing.drain()
    change(database, "UPDATE stp.current_poll SET poll_id = poll_id - 1, request_id = 'of before'")

    with pytest.raises(FenceLostError):
        healing.drain()

    assert covered(healing) is not None


def test_numbers_jump_above_any_that_a_lost_commit_may_have_had(healing, database):
    healing.vendor.deal("A")
    healing.turn()
    before = value(database, "SELECT max(change_seq) FROM stp.trade_version")
    polls = value(database, "SELECT last_value FROM stp.poll_id")
    change(database, NEW_TIMELINE)
    covered(healing)

    healing.vendor.deal("B")
    healing.turn()

    assert value(database, "SELECT max(change_seq) FROM stp.trade_version") > before + 999_999_999
    assert value(database, "SELECT last_value FROM stp.poll_id") >= polls + 10_000_000


def test_a_lease_of_another_timeline_opens_nothing(healing, database):
    change(database, LEASE_OF_BEFORE)

    with pytest.raises(FenceLostError), healing.open_work() as work:
        work.feeds.hold_fence(healing.feed.feed_id, healing.feed.epoch)
    with pytest.raises(FenceLostError):
        healing.drain()

    assert healing.current()["outcome"] == "empty"


def test_a_page_in_hand_is_landed_on_the_new_timeline_too(healing, database):
    healing.vendor.deal("A")

    def fails_over(_ticket, count):
        change(database, LEASE_OF_BEFORE)
        return healing.vendor.next_page(_ticket, count)

    with pytest.raises(FenceLostError):
        healing.drain(fails_over)
    healing.booker.book()

    assert healing.booked() == {"A"}


def test_a_feed_is_rebound_with_a_reason_and_not_while_it_is_led(desk, stp_etl, database):
    stp_etl.configure('\n[feeds.other]\nbase_url = "https://vendor.test"\norg = "pfOrg"\nuser = "x"\npassword = "y"\n')
    change(database, "UPDATE stp.feed SET base_url = 'https://old.test'")
    refused = stp_etl("poll", "--feed", "main")
    lock_key = value(database, "SELECT lock_key FROM stp.feed")
    with database.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({lock_key})")
        led = stp_etl("feeds", "rebind", "main", "--reason", "moved")
        connection.exec_driver_sql(f"SELECT pg_advisory_unlock({lock_key})")

    done = stp_etl("feeds", "rebind", "main", "--reason", "the vendor moved us")
    again = stp_etl("feeds", "rebind", "main", "--reason", "again")

    assert refused.code == 1
    assert "stp-etl feeds rebind main --reason TEXT" in refused.err
    assert (led.code, done.code, again.code) == (1, 0, 1), done.err
    assert "leads the feed; stop it first" in led.err
    assert rows(database, "SELECT base_url, lock_key FROM stp.feed") == [
        ("https://vendor.test", Identity("https://vendor.test", "pfOrg", "mainUser").lock_key)
    ]
    (audit,) = json.loads(stp_etl("audit", "list", "--format", "json").out)
    assert (audit["deed"], audit["operator"], audit["reason"]) == ("feeds rebind", "olga", "the vendor moved us")
    assert audit["details"]["before"]["base_url"] == "https://old.test"


def test_a_feed_is_not_rebound_to_what_another_feed_is(desk, open_work, stp_etl, database):
    a_feed(open_work, "other")
    change(database, "UPDATE stp.feed SET user_name = 'gone' WHERE name = 'main'")
    change(database, "UPDATE stp.feed SET user_name = 'mainUser' WHERE name = 'other'")

    refused = stp_etl("feeds", "rebind", "main", "--reason", "moved")

    assert refused.code == 1
    assert "the database knows user mainUser of pfOrg at https://vendor.test as feed other" in refused.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--restored-from", "2024-03-02T22:00Z", "--from", "2024-03-02"], "it says the days by itself"),
        (["--restored-from", "2199-03-02T22:00Z"], "is in the future"),
        (["--restored-from", "2024-03-02"], "is a whole day; add the time"),
        ([], "give the first and the last trade date"),
    ],
)
def test_a_restore_that_makes_no_sense_changes_nothing(desk, stp_etl, database, words, sentence):
    ended = stp_etl("gaps", "open", "--reason", "x", *words)

    assert ended.code == 2
    assert sentence in ended.err
    assert value(database, "SELECT count(*) FROM stp.gap") == 0


def test_a_restored_database_is_asked_for_everything_since(desk, stp_etl, database):
    before = (SystemClock().now() - timedelta(days=1)).replace(hour=12, microsecond=0)

    ended = stp_etl("gaps", "open", "--reason", "dump put back", "--restored-from", before.isoformat())

    assert ended.code == 0, ended.err
    ((first, later),) = rows(database, "SELECT from_date::text, not_before > opened_at FROM stp.gap")
    assert first < before.date().isoformat()
    assert later
    assert value(database, "SELECT system_identifier IS NOT NULL FROM stp.feed")
    assert first > TODAY
