"""The database fails over, is restored or moves, with real servers: nothing is lost, or nothing is pulled."""

import json
from collections.abc import Iterator

import pytest

from etl.clock import SystemClock
from etl.store.database import Database
from tests.acceptance.program import booked, count_handed_out, handed_out, status_of, until
from tests.databases import Server, change, embedded, migrated, rows, value
from tests.proxies import SwitchingProxy
from tests.simulation.worlds import world
from tests.standbys import dumped_into, standby_of

LAST_SEQ = "SELECT max(change_seq) FROM reporting.trade"
PUT_BACK = """
WITH gone AS (DELETE FROM stp.poll)
UPDATE stp.current_poll SET poll_id = 1, request_id = 'of long ago', outcome = 'empty' FROM setval('stp.poll_id', 1)
"""
HEALED = "SELECT count(*) FROM reporting.gap WHERE cause = 'failover' AND state = 'healed'"


@pytest.fixture(scope="module")
def primary() -> Iterator[object]:
    with embedded() as server:
        yield server


@pytest.fixture(scope="module")
def server(primary) -> Iterator[Server]:
    with migrated(primary.url) as found:
        yield found


@pytest.fixture
def place(server) -> Iterator[str]:
    with server.database() as url:
        yield url


@pytest.fixture
def opened() -> Iterator[object]:
    databases = []

    def opened_at(url: str) -> Database:
        databases.append(Database(url))
        return databases[-1]

    yield opened_at
    for each in databases:
        each.close()


def test_law_1_a_promoted_standby_that_lost_commits_heals_by_itself(primary, place, tmp_path, opened):
    with standby_of(primary) as standby, SwitchingProxy(place) as address:
        before, after = opened(place), opened(standby.url_of(place))
        with world(tmp_path, address.url, resend_days_at_once=31, trades=30) as here, here.daemon() as daemon:
            daemon.started()
            until(lambda: len(booked(before)) == 30, what="the first trades")
            standby.catch_up()
            assert status_of(after)["leader"] == status_of(before)["leader"] is not None
            standby.disconnect()
            here.sandbox.control.execute(20)
            until(lambda: len(booked(before)) == 50, what="the trades that will be lost")
            last_seq = value(before, LAST_SEQ)

            standby.promote()
            address.lead_to(standby.url_of(place))
            until(lambda: value(after, HEALED), what="the gap of the failover to heal")
            here.sandbox.control.execute(5)
            until(lambda: len(booked(after)) == 55, what="the trades after the failover")
            here.heal(daemon)

            assert daemon.stop() == 0
            found = here.verdict()
        assert found.wrong == []
        assert len(booked(after)) == 55
        (said,) = daemon.events("database.failed_over")
        assert said["cause"] == "timeline 1, now 2"
        again = "SELECT min(change_seq) FROM reporting.trade WHERE change_seq > :last"
        assert value(after, "SELECT count(*) FROM reporting.trade WHERE change_seq > :last", last=last_seq) == 25
        assert value(after, again, last=last_seq) > 1_000_000_000
        assert value(after, "SELECT timeline FROM stp.feed") == 2


@pytest.mark.nightly
def test_a_dump_put_into_another_server_is_not_pulled_into_until_a_person_says_since_when(
    primary, place, tmp_path, opened
):
    with world(tmp_path, place, resend_days_at_once=31, trades=20) as here:
        program, control = here.program, here.sandbox.control
        assert program.call("poll").returncode == 0
        restored_from = SystemClock().now()
        with embedded() as target:
            new = dumped_into(primary, place, target)
            control.execute(10)
            assert program.call("poll").returncode == 0  # into the one that is about to be lost
            program.file.write_text(program.file.read_text().replace(f'url = "{place}"', f'url = "{new}"'))
            database, asked = opened(new), len(control.requests())

            with program.daemon() as daemon:
                daemon.started()
                until(lambda: daemon.events("database.other"), what="the other database to be noticed")
                status = program.call("status", "--format", "json")
                poll = program.call("poll")
                assert len(control.requests()) == asked
                assert (status.returncode, json.loads(status.stdout)["feeds"][0]["state"]) == (3, "other_database")
                assert "gaps open --feed main --restored-from" in status.stderr
                assert (poll.returncode, "Traceback" in poll.stderr) == (1, False)
                assert "nothing is asked of the vendor until you say what it is" in poll.stderr

                words = ["--restored-from", restored_from.isoformat(), "--reason", "dump put back"]
                opened_gap = program.call("gaps", "open", *words)
                assert opened_gap.returncode == 0, opened_gap.stderr
                until(lambda: len(booked(database)) == 30, what="what the dump lacks")
                until(lambda: status_of(database)["state"] == "polling", what="the gap to heal")
                assert daemon.stop() == 0
            assert len(daemon.events("database.other")) == 1
            assert daemon.events("job.refused") == []
            assert booked(database) == handed_out(here.sandbox)
            assert rows(database, "SELECT deed, reason FROM stp.audit") == [("gaps open", "dump put back")]
            assert value(database, LAST_SEQ) > 1_000_000_000


@pytest.mark.nightly
def test_a_database_that_moved_and_lacks_nothing_is_adopted(primary, place, tmp_path, opened):
    with world(tmp_path, place, resend_days_at_once=31, trades=5) as here, embedded() as target:
        program = here.program
        assert program.call("poll").returncode == 0
        new = dumped_into(primary, place, target)
        program.file.write_text(program.file.read_text().replace(f'url = "{place}"', f'url = "{new}"'))
        here.sandbox.control.execute(3)

        adopted = program.call("feeds", "adopt-database", "main", "--reason", "moved to another host")
        again = program.call("feeds", "adopt-database", "main", "--reason", "moved")

        assert (adopted.returncode, again.returncode) == (0, 1), adopted.stderr
        assert "nothing to adopt" in again.stderr
        assert program.call("poll").returncode == 0
        database = opened(new)
        assert booked(database) == handed_out(here.sandbox)
        assert rows(database, "SELECT deed, reason FROM stp.audit") == [
            ("feeds adopt-database", "moved to another host")
        ]
        assert value(database, "SELECT count(*) FROM stp.gap") == 0


@pytest.mark.nightly
def test_committed_polls_that_are_gone_count_as_a_failover(primary, place, tmp_path, opened):
    database = opened(place)
    with world(tmp_path, place, resend_days_at_once=31, trades=20) as here, here.daemon() as daemon:
        daemon.started()
        until(lambda: len(booked(database)) == 20, what="the first trades")
        until(lambda: count_handed_out(here.sandbox) == 20, what="the oracle")

        change(database, PUT_BACK)
        change(database, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")

        until(lambda: value(database, HEALED), what="the gap to heal")
        assert daemon.stop() == 0
    assert [each["cause"] for each in daemon.events("database.failed_over")] == ["a committed poll is gone"]
