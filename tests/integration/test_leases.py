"""One active instance a feed: who leads, who takes over, and when a leader knows that it leads no more."""

import time
from threading import Event

import pytest

from etl.clock import SystemClock
from etl.errors import DatabaseAwayError, OperatorError
from etl.store.database import Database
from etl.store.leases import Lease
from etl.store.repositories.feeds import Identity
from etl.store.unit_of_work import work_on
from tests.clocks import START, FakeClock
from tests.databases import change, rows, value
from tests.feeds import a_feed, an_open_poll

LEADER = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"


class SilentClock(FakeClock):
    """Time passes only by `advance`; whoever waits, hangs until told to end."""

    def wait(self, event: Event, seconds: float) -> bool:  # noqa: ARG002
        return event.wait()


@pytest.fixture
def lease_of(database):
    """Make leases of one feed, each as another instance would have it; all are left at the end."""
    made = []

    def make(clock=None, feed=None):
        led = feed or a_feed_of(database)
        made.append(Lease(database, clock or SystemClock(), led.feed_id, led.identity.lock_key))
        return made[-1]

    yield make
    for lease in made:
        lease.leave()


def a_feed_of(database, name="main"):
    return a_feed(work_on(database), name)


def until(condition, seconds=60.0):
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at, f"not within {seconds} s"
        time.sleep(0.02)


def test_one_instance_leads_and_the_other_stands_by(lease_of):
    first, second = lease_of(), lease_of()

    assert first.take()
    assert not second.take()
    assert (first.held, second.held) == (True, False)


def test_taking_what_one_has_changes_nothing(lease_of):
    lease = lease_of()
    lease.take()
    epoch = lease.epoch

    assert lease.take()
    assert lease.epoch == epoch


def test_every_takeover_raises_the_epoch(lease_of):
    first, second = lease_of(), lease_of()
    first.take()
    first.leave()

    assert second.take()
    assert second.epoch == first.epoch + 1
    assert not first.held


def test_two_feeds_have_two_leaders(lease_of, database):
    first, second = lease_of(), lease_of(feed=a_feed_of(database, "other"))

    assert first.take()
    assert second.take()


def test_the_feed_shows_who_leads_it(lease_of, database):
    lease = lease_of()
    before = value(database, "SELECT leader FROM reporting.feed_status")
    lease.take()
    during = value(database, "SELECT leader FROM reporting.feed_status")
    lease.leave()

    assert before == "test"
    assert ":" in during
    assert value(database, "SELECT leader FROM reporting.feed_status") is None


def test_a_leader_whose_connection_is_cut_knows_it_and_may_lead_again(lease_of, database):
    lease = lease_of()
    lease.take()
    epoch = lease.epoch
    change(database, LEADER)

    until(lambda: not lease.held)

    assert lease.take()
    assert lease.epoch == epoch + 1


def test_a_leader_that_could_not_ping_for_three_seconds_does_not_lead(lease_of):
    clock = SilentClock()
    lease = lease_of(clock)
    lease.take()
    clock.advance(2.9)
    in_time = lease.held
    clock.advance(0.2)

    assert in_time
    assert not lease.held


def test_a_hung_leader_loses_the_lease_once_the_server_has_waited_long_enough(lease_of):
    hung, other = lease_of(SilentClock()), lease_of()
    hung.take()
    began = time.monotonic()

    until(other.take)

    assert time.monotonic() - began > 3.0
    assert other.epoch == hung.epoch + 1


def test_a_lease_that_is_pinged_is_kept_for_longer_than_the_server_waits(lease_of, database):
    lease = lease_of()
    lease.take()

    time.sleep(5.5)

    assert lease.held
    assert value(database, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted") == 1


def test_without_a_database_nobody_leads():
    lease = Lease(Database("postgresql://postgres@127.0.0.1:1/none"), SystemClock(), 1, 1)

    with pytest.raises(DatabaseAwayError):
        lease.take()

    assert not lease.held
    lease.leave()


def test_leaving_says_nothing_about_a_newer_leader(database, open_work):
    feed = a_feed(open_work)
    newer = a_feed(open_work)

    with open_work() as work:
        work.feeds.leave(feed.feed_id, feed.epoch)
        work.commit()

    assert rows(database, "SELECT epoch, holder FROM stp.lease") == [(newer.epoch, "test")]


def test_a_feed_is_registered_once(open_work, database):
    assert a_feed(open_work).feed_id == a_feed(open_work).feed_id
    assert value(database, "SELECT count(*) FROM stp.feed") == 1


@pytest.mark.parametrize(
    ("name", "identity", "sentence"),
    [
        ("main", Identity("https://vendor.test", "pfOrg", "someoneElse"), "the database knows it as user mainUser"),
        ("again", Identity("https://vendor.test", "pfOrg", "mainUser"), "knows this user at this address as feed main"),
    ],
)
def test_a_feed_that_is_known_otherwise_is_refused(open_work, name, identity, sentence):
    a_feed(open_work)

    with pytest.raises(OperatorError, match=sentence), open_work() as work:
        work.feeds.register(name, identity, START)


def test_two_polls_of_a_feed_are_never_open_at_once(open_work):
    feed = a_feed(open_work)
    an_open_poll(open_work, feed)

    with pytest.raises(AssertionError, match="another poll is open"):
        an_open_poll(open_work, feed)


def test_what_a_leader_is_refused_is_forgotten_by_the_next_and_not_said_by_an_old_one(database):
    feed, told = a_feed_of(database), []

    def say(epoch):
        with work_on(database)() as work:
            work.feeds.say_refused(feed.feed_id, epoch, "no such user", START)
            work.commit()
        told.append(rows(database, "SELECT refused, refused_at FROM stp.lease"))

    say(feed.epoch)
    a_feed_of(database)  # is taken over
    told.append(rows(database, "SELECT refused, refused_at FROM stp.lease"))
    say(feed.epoch)

    assert told == [[("no such user", START)], [(None, None)], [(None, None)]]
