"""A poll that a killed leader left open: what the reports show at every point from the kill to its gap."""

from dataclasses import replace

import pytest
from sqlalchemy import event

from etl.app import App
from etl.clock import SystemClock
from etl.config import load
from etl.domain.fields import CANONICAL_NAMES
from etl.store.leases import Lease
from tests.builders import a_raw_message
from tests.databases import change, rows, value
from tests.feeds import an_open_poll

STATUS = "SELECT state, leader IS NOT NULL, in_doubt_polls, open_gaps FROM reporting.feed_status"
COMPLETE = "SELECT bool_and(complete) FROM reporting.cash_ladder"
KILL = "SELECT pg_terminate_backend(pid, 9000) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"


@pytest.fixture
def killed(booking, open_work, database):
    """A feed in whose book is a trade, whose leader had its connection cut with a poll under way."""
    feed = booking.feed
    with open_work() as work:
        work.incarnations.adopt(feed.feed_id, work.incarnations.here())
        work.commit()
    booking.book(a_raw_message())
    lease = Lease(database, SystemClock(), feed.feed_id, feed.identity.lock_key)
    assert lease.take()
    with open_work() as work:
        assert work.certificates.under_way(feed.feed_id) is None
    an_open_poll(open_work, replace(feed, epoch=lease.epoch))
    yield feed
    lease.leave()


@pytest.fixture
def app(database_url, tmp_path, killed):
    file = tmp_path / "stp-etl.toml"
    file.write_text(
        f'[database]\nurl = "{database_url}"\n[feeds.{killed.name}]\nbase_url = "{killed.identity.base_url}"\n'
        f'org = "{killed.identity.organisation}"\nuser = "{killed.identity.user_name}"\npassword = "x"\n'
    )
    with App(load(file, {}, field_names=CANONICAL_NAMES)) as app:
        yield app


def test_from_the_kill_to_its_gap_no_report_is_green(app, killed, database, open_work):
    """Looked at from outside after every statement and every commit of the real take-over."""
    feed = app.feed()
    seen = []

    def look(*_event):
        with open_work() as work:
            uncovered = work.certificates.under_way(killed.feed_id)
        seen.append((*rows(database, STATUS)[0], value(database, COMPLETE), uncovered is not None))

    under_way = (*rows(database, STATUS)[0], value(database, COMPLETE))
    change(database, KILL)
    look()
    for point in ("after_cursor_execute", "commit", "rollback"):
        event.listen(app.database.engine, point, look)
    assert feed.lead()
    for point in ("after_cursor_execute", "commit", "rollback"):
        event.remove(app.database.engine, point, look)
    look()

    assert under_way == ("polling", True, 0, 0, True)
    told = list(dict.fromkeys(seen))
    assert told == [
        ("in_doubt", False, 1, 0, False, True),  # nobody leads: killed, then locked and not taken over yet
        ("in_doubt", True, 1, 0, False, True),  # taken over, and not covered yet
        ("healing", True, 0, 1, False, False),  # poll marked and gap opened: one commit
    ]


def test_a_leader_of_an_older_release_that_does_not_say_its_session_leads(killed, database):
    """As while a new release is rolled out: the lock alone tells."""
    change(database, "UPDATE stp.lease SET session_epoch = NULL, session_pid = NULL")
    never_said = rows(database, STATUS)
    change(database, "UPDATE stp.lease SET session_epoch = epoch - 1, session_pid = 1")

    assert never_said == rows(database, STATUS) == [("polling", True, 0, 0)]
