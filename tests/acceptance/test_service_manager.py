"""What a service manager hears of the daemon: ready, status, watchdog, reloading, stopping."""

import os
import signal

import pytest
from sqlalchemy import text

from etl.store import schema
from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres
from tests.acceptance.program import Program, booked, feed_text, settings_text, until
from tests.databases import SETTINGS, folder
from tests.supervisor import Supervisor

HANGING = {"read_timeout_s": 0.5}
SHORT_DEADLINE = "job_deadline_s = 2"


def test_ready_comes_when_the_feed_is_led_and_stopping_when_the_daemon_ends(play, program_for, tmp_path):
    with Supervisor(tmp_path) as manager, program_for(play(trades=5)).daemon(**manager.environment) as daemon:
        until(lambda: "READY=1" in manager.said, what="READY")
        assert daemon.events("lease.taken")
        until(lambda: manager.status == "main leads", what="the status line")

        assert daemon.stop() == 0

        assert manager.states() == ["READY=1", "STOPPING=1"]
        assert manager.fed() == 0  # nobody asked for it


@pytest.mark.nightly
def test_an_abstract_address_is_as_good(play, program_for):
    with Supervisor() as manager, program_for(play(trades=5)).daemon(**manager.environment) as daemon:
        until(lambda: "READY=1" in manager.said, what="READY")
        assert daemon.stop() == 0


def test_a_manager_that_is_not_there_is_said_once_and_changes_nothing(play, program_for, database):
    with program_for(play(trades=5)).daemon(NOTIFY_SOCKET="/nowhere/notify") as daemon:
        until(lambda: len(booked(database)) == 5, what="the trades")
        assert daemon.stop() == 0

        assert len(daemon.events("service_manager.away")) == 1


@pytest.mark.nightly
def test_a_standby_is_ready(play, program_for):
    program = program_for(play(trades=5))
    with program.daemon() as leader, Supervisor() as manager, program.daemon(**manager.environment) as standby:
        leader.started()
        until(lambda: "READY=1" in manager.said, what="READY of the second instance")
        until(lambda: manager.status in ("main standby", "main leads"), what="a status")
        assert standby.stop() == 0
        assert leader.stop() == 0


@pytest.mark.nightly
def test_while_the_database_is_away_the_daemon_asks_for_time_and_is_not_ready(play, tmp_path):
    sandbox = play(trades=5)
    with folder() as place, Supervisor(watchdog_s=2) as manager:
        server = EmbeddedPostgres(place / "pg", settings=SETTINGS)
        database = Database(server.start())
        with database.connect() as connection:
            schema.upgrade(connection)
        database.close()
        server.stop()
        with Program(tmp_path, settings_text(server.url, feed_text(sandbox.url))).daemon(**manager.environment) as it:
            until(lambda: manager.status.startswith("waits for the database"), what="the status")
            until(lambda: "EXTEND_TIMEOUT_USEC=30000000" in manager.said, what="asking for time")
            until(lambda: manager.fed() > 2, what="a main loop that waits, and lives")
            assert manager.states() == []
            with server:
                until(lambda: "READY=1" in manager.said, what="READY")
                assert it.stop() == 0


def test_the_watchdog_is_fed_while_all_is_well_and_starves_when_the_main_loop_hangs(play, program_for):
    program = program_for(play(trades=5))
    with Supervisor(watchdog_s=1.5) as manager, program.daemon(**manager.environment) as daemon:
        until(lambda: manager.fed() > 5, what="a watchdog that is fed")
        program.file.unlink()
        os.mkfifo(program.file)  # reading the settings will never end
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: any(line.startswith("RELOADING=1") for line in manager.said), what="the reload")

        until(lambda: manager.starved_s() > 3, what="a watchdog that starves")
        assert daemon.process.poll() is None


@pytest.mark.nightly
def test_the_watchdog_starves_when_a_poll_hangs_and_the_job_is_named(play, program_for, database):
    sandbox = play(trades=5)
    program = program_for(sandbox, **HANGING)
    program.file.write_text(program.file.read_text().replace("[ops]", f"[ops]\n{SHORT_DEADLINE}"))
    with Supervisor(watchdog_s=1.5) as manager, program.daemon(**manager.environment) as daemon:
        until(lambda: len(booked(database)) == 5 and manager.fed() > 2, what="a daemon at work")
        with database.connect() as connection:
            connection.execute(text("LOCK TABLE stp.current_poll IN ACCESS EXCLUSIVE MODE"))
            until(lambda: daemon.events("job.hangs"), what="the line about the job that hangs")
            until(lambda: manager.starved_s() > 3, what="a watchdog that starves")
            (said, *_) = [line for line in daemon.events("job.hangs") if line["job"] == "poll-main"]
            assert (said["feed"], said["deadline_s"]) == ("main", 2)
            assert "poll-main: no progress for" in manager.status
            fed = manager.fed()

        until(lambda: manager.fed() > fed, what="food, as soon as the poll goes on")
        until(lambda: daemon.events("job.goes_on"), what="the line that it goes on")
        assert daemon.stop() == 0


@pytest.mark.nightly
def test_a_watchdog_for_another_process_is_not_fed(play, program_for):
    with Supervisor(watchdog_s=1) as manager:
        variables = {**manager.environment, "WATCHDOG_PID": "1"}
        with program_for(play(trades=5)).daemon(**variables) as daemon:
            until(lambda: "READY=1" in manager.said, what="READY")
            assert daemon.stop() == 0
        assert manager.fed() == 0
