"""Two daemons, one feed: the standby takes over from a leader that died or hangs; what that one held is not lost."""

import signal

import pytest

from etl.store.database import Database
from tests.acceptance.program import booked, handed_out, until
from tests.databases import rows, value
from tests.simulation.holding import locked, waits_at
from tests.simulation.worlds import world

LEADER = "SELECT holder FROM stp.lease"


def led_by(database: Database, daemon) -> bool:
    leads = any(str(holder).endswith(f":{daemon.process.pid}") for (holder,) in rows(database, LEADER))
    return leads and bool(daemon.events("lease.taken"))


@pytest.fixture
def here(tmp_path, database_url):
    with world(tmp_path, database_url, trades=20, resend_days_at_once=31) as found:
        yield found


def test_law_11_a_stopped_leader_lands_the_page_it_held_and_changes_nothing_else(here):
    database = here.database
    with here.daemon() as old:
        until(lambda: led_by(database, old) and len(booked(database)) == 20, what="the first trades")
        with here.daemon() as standby:
            standby.started()
            with locked(here, "stp.answer"):
                here.sandbox.control.execute(7)
                until(lambda: waits_at(here, "%INSERT INTO stp.answer%"), what="the leader to hold a page")
                (held,) = rows(database, "SELECT poll_id FROM stp.current_poll")
                old.process.send_signal(signal.SIGSTOP)
            until(lambda: led_by(database, standby), what="the standby to lead")
            until(lambda: rows(database, "SELECT FROM stp.poll WHERE outcome = 'in_doubt'"), what="the doubt")
            assert not rows(database, "SELECT FROM stp.answer WHERE poll_id = :poll_id", poll_id=held[0])
            epoch = value(database, "SELECT epoch FROM stp.lease")
            last = value(database, "SELECT max(id) FROM stp.poll WHERE epoch < :epoch", epoch=epoch)

            old.process.send_signal(signal.SIGCONT)
            landed = "SELECT FROM stp.answer WHERE poll_id = :poll_id"
            until(lambda: rows(database, landed, poll_id=held[0]), what="the page to be landed")
            here.heal(standby, within_s=60)

            assert last == held[0]
            assert value(database, "SELECT max(id) FROM stp.poll WHERE epoch < :epoch", epoch=epoch) == last
            assert value(database, "SELECT epoch FROM stp.lease") == epoch
            assert rows(database, "SELECT outcome, cause FROM stp.poll WHERE id = :id", id=last) == [
                ("in_doubt", "killed")
            ]
            assert booked(database) == handed_out(here.sandbox)
            assert here.verdict().wrong == []
            assert (old.stop(), standby.stop()) == (0, 0)


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGKILL, id="killed", marks=pytest.mark.nightly), pytest.param(signal.SIGSTOP, id="stopped")],
)
def test_a_standby_takes_over_from_a_leader_that_is(here, number):
    database = here.database
    with here.daemon() as old:
        until(lambda: led_by(database, old), what="the first to lead")
        with here.daemon() as standby:
            standby.started()
            assert led_by(database, old)

            old.process.send_signal(number)
            took = until(lambda: led_by(database, standby), what="the standby to lead")

            print(f"taken over after {took:.1f} s")
            here.sandbox.control.execute(3)
            until(lambda: len(booked(database)) == 23, what="new trades")
            here.heal(standby, within_s=60)
            assert here.verdict().wrong == []
