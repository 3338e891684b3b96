"""`stp-etl run` as a process, against the sandbox as a process: signals, kills, a database that is away."""

import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from etl.cli.proof import prove
from etl.sandbox.options import User
from etl.store import schema
from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres
from tests.acceptance.program import (
    Daemon,
    Program,
    booked,
    count_handed_out,
    feed_text,
    handed_out,
    open_polls,
    proof_of,
    sentences,
    settings_text,
    status_of,
    until,
)
from tests.databases import SETTINGS, folder, rows

INTERVAL_S = 0.5


def test_trades_are_in_the_reports_within_a_poll_interval_and_a_second(play, program_for, database):
    sandbox = play(trades=60)
    with program_for(sandbox, poll_interval_s=INTERVAL_S).daemon() as daemon:
        until(lambda: len(booked(database)) == 60, what="the backlog")
        for count in (1, 5, 60):
            new = set(sandbox.control.execute(count))
            waited = until(lambda new=new: new <= booked(database), what="new trades")
            assert waited < INTERVAL_S + 1
            time.sleep(0.2)

        assert daemon.stop() == 0

    proof = proof_of(sandbox, database)
    assert proof.holds, proof.differences[:5]
    assert proof.booked == 126


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGTERM, id="SIGTERM"), pytest.param(signal.SIGINT, id="SIGINT", marks=pytest.mark.nightly)],
)
def test_a_stop_in_mid_drain_lands_and_books_what_is_in_hand_and_asks_no_more(play, program_for, database, number):
    sandbox = play(trades=4000)
    with program_for(sandbox, page_size=10).daemon() as daemon:
        until(lambda: count_handed_out(sandbox) > 100, what="the drain")
        code = daemon.stop(number)
        asked = len(sandbox.control.requests())

        assert code == 0
        assert daemon.events("daemon.stopped")
    time.sleep(0.2)

    assert len(sandbox.control.requests()) == asked
    assert 100 < len(handed_out(sandbox)) < 4000
    assert proof_of(sandbox, database).differences == []
    assert open_polls(database) == 0
    assert (status_of(database)["state"], status_of(database)["leader"]) == ("stopped", None)
    assert rows(database, "SELECT FROM stp.poll WHERE outcome = 'in_doubt'") == []


def test_a_slow_answer_is_waited_for_landed_and_booked_after_sigterm(play, program_for, database):
    sandbox = play(trades=30)
    sandbox.control.plan({"fault": "delay", "delay_s": 1.5, "non_empty": "true"})
    with program_for(sandbox).daemon() as daemon:
        until(lambda: count_handed_out(sandbox), what="the page")
        assert daemon.stop() == 0

    assert booked(database) == handed_out(sandbox) != set()


def test_law_2_a_poll_that_sigkill_interrupts_is_in_doubt_and_all_that_landed_is_booked(play, program_for, database):
    sandbox = play(trades=200)
    program = program_for(sandbox, page_size=20)
    sandbox.control.plan({"fault": "delay", "delay_s": 30, "nth": 4, "non_empty": "true"})
    with program.daemon() as daemon:
        until(lambda: count_handed_out(sandbox) == 80, what="the fourth page")
        daemon.kill()
    (lost,) = rows(database, "SELECT request_id FROM stp.current_poll WHERE outcome IS NULL")
    in_flight = {line["trade_id"] for line in sandbox.control.handed_out() if line["request_id"] == lost[0]}
    until(lambda: status_of(database)["leader"] is None, what="the server to see that the leader is gone")
    gone = program.call("status")

    with program.daemon() as again:
        until(lambda: len(booked(database)) == 180, what="the rest of the queue")
        assert [line["cause"] for line in again.events("poll.in_doubt")] == ["killed"]
        assert again.stop() == 0

    assert gone.returncode == 3
    assert " and is gone without a word; start the daemon: stp-etl run" in gone.stderr
    assert "feed main: a poll was left open at " in gone.stderr
    assert len(in_flight) == 20
    assert booked(database) == handed_out(sandbox) - in_flight
    assert rows(database, "SELECT request_id, cause FROM stp.poll WHERE outcome = 'in_doubt'") == [(lost[0], "killed")]
    assert (status_of(database)["state"], status_of(database)["open_gaps"]) == ("healing", 1)
    assert rows(database, "SELECT DISTINCT complete FROM reporting.cash_ladder") == [(False,)]


def test_law_1_whatever_sigkill_interrupts_is_booked_or_in_a_poll_in_doubt(play, program_for, database):
    sandbox = play(trades=1500)
    program = program_for(sandbox, page_size=5)
    for kill in range(3):
        already = count_handed_out(sandbox)
        with program.daemon() as daemon:
            until(lambda seen=already + 50 * kill: count_handed_out(sandbox) > seen, what="the drain")
            daemon.kill()
    with program.daemon() as daemon:
        until(lambda: count_handed_out(sandbox) == 1500 and not status_of(database)["landed_unbooked"], what="the end")
        assert daemon.stop() == 0

    doubtful = {each for (each,) in rows(database, "SELECT request_id FROM stp.poll WHERE outcome = 'in_doubt'")}
    in_the_book = booked(database)
    lost = [line for line in sandbox.control.handed_out() if line["trade_id"] not in in_the_book]
    assert {line["request_id"] for line in lost} <= doubtful
    assert len(doubtful) <= 3


@pytest.mark.parametrize(
    "ended_by", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)], ids=["SIGKILL", "SIGTERM"]
)
def test_the_process_that_books_a_backlog_ends_with_the_daemon_and_takes_nothing_with_it(
    play, program_for, database, ended_by
):
    sandbox = play(trades=4000)
    program = program_for(sandbox, page_size=20)
    with program.daemon() as daemon:
        until(lambda: booked(database), what="the first trades")
        with database.connect() as other:  # nothing is booked until the drain is well ahead
            other.execute(text("SELECT FROM stp.booker FOR UPDATE"))
            until(lambda: rows(database, "SELECT FROM stp.unbooked OFFSET 100"), what="a backlog")
        until(lambda: booking_processes_of(daemon), what="the process")
        (pid,) = booking_processes_of(daemon)
        if ended_by is signal.SIGTERM:
            assert daemon.stop() == 0
        else:
            daemon.kill()
        until(lambda: not Path(f"/proc/{pid}").exists(), what="the process to end")
    with program.daemon() as again:
        until(lambda: count_handed_out(sandbox) == 4000, what="the queue to be empty")
        until(lambda: not status_of(database)["landed_unbooked"], what="the rest")
        assert again.stop() == 0

    doubtful = {each for (each,) in rows(database, "SELECT request_id FROM stp.poll WHERE outcome = 'in_doubt'")}
    in_the_book = booked(database)
    lost = [line for line in sandbox.control.handed_out() if line["trade_id"] not in in_the_book]
    assert {line["request_id"] for line in lost} <= doubtful
    assert ended_by is signal.SIGKILL or not doubtful


def booking_processes_of(daemon: Daemon) -> list[int]:
    """Return the processes that the daemon started to book with."""
    children = Path(f"/proc/{daemon.process.pid}/task").glob("*/children")
    pids = [int(pid) for each in children for pid in each.read_text().split()]
    return [pid for pid in pids if b"etl.booking" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_two_feeds_of_one_settings_file_are_booked_apart(play, tmp_path, database_url, database):
    users = (User("one", "first", "orgA"), User("two", "second", "orgB"))
    sandbox = play(trades=70, users=users)
    feeds = [feed_text(sandbox.url, user, name=user.name) for user in users]
    with Program(tmp_path, settings_text(database_url, *feeds)).daemon() as daemon:
        for user in users:
            until(lambda user=user: len(booked(database, user.name)) == 70, what=f"feed {user.name}")
        assert daemon.stop() == 0

    assert booked(database, "one") == handed_out(sandbox, "one")
    assert booked(database, "two") == handed_out(sandbox, "two")
    assert rows(database, "SELECT DISTINCT feed, organisation FROM reporting.trade ORDER BY 1") == [
        ("one", "orgA"),
        ("two", "orgB"),
    ]


def test_two_processes_that_lead_a_feed_each_share_one_book(play, tmp_path, database_url, database):
    users = (User("one", "first", "orgA"), User("two", "second", "orgB"))
    sandbox = play(trades=300, users=users)
    with ExitStack() as running:
        daemons = []
        for user in users:
            (folder := tmp_path / user.name).mkdir()
            settings = settings_text(database_url, feed_text(sandbox.url, user, name=user.name, page_size=10))
            daemons.append(running.enter_context(Program(folder, settings).daemon()))
        for user in users:
            until(lambda user=user: len(booked(database, user.name)) == 300, what=f"feed {user.name}")
        leaders = rows(database, "SELECT DISTINCT leader FROM reporting.feed_status WHERE state = 'polling'")
        assert [daemon.stop() for daemon in daemons] == [0, 0]

    assert len(leaders) == 2
    assert booked(database, "one") | booked(database, "two") == handed_out(sandbox, "one") | handed_out(sandbox, "two")
    numbers = "SELECT count(DISTINCT change_seq), min(change_seq), max(change_seq) FROM reporting.trade_version"
    assert rows(database, numbers) == [(600, 1, 600)]
    assert rows(database, "SELECT FROM stp.poll WHERE outcome = 'in_doubt'") == []


def test_one_feed_that_is_refused_does_not_hold_up_the_other(play, tmp_path, database_url, database):
    users = (User("one", "first", "orgA"), User("two", "second", "orgB"))
    sandbox = play(trades=20, users=users)
    wrong = User("two", "wrong", "orgB")
    feeds = [feed_text(sandbox.url, user, name=user.name) for user in (users[0], wrong)]
    program = Program(tmp_path, settings_text(database_url, *feeds))
    with program.daemon() as daemon:
        until(lambda: len(booked(database, "one")) == 20, what="the feed that is accepted")
        until(lambda: rows(database, "SELECT FROM stp.lease WHERE refused IS NOT NULL"), what="the refusal")
        status = program.call("status")
        assert daemon.stop() == 0

    said = daemon.events("job.refused")[0]
    assert "the vendor refused the login of user two of organisation orgB" in said["error"]
    assert "check user, org and the password" in said["error"]
    assert (status.returncode, len(sentences(status))) == (3, 1)
    assert sentences(status)[0].startswith("feed two: ")
    assert " leads it and cannot poll since " in sentences(status)[0]
    assert sentences(status)[0].endswith(said["error"])
    assert "Traceback" not in daemon.said


def test_a_database_that_is_away_at_the_start_is_waited_for(play, tmp_path):
    sandbox = play(trades=20)
    with folder() as place:
        server = EmbeddedPostgres(place / "pg", settings=SETTINGS)
        database = Database(server.start())
        with database.connect() as connection:
            schema.upgrade(connection)
        database.close()
        server.stop()
        with Program(tmp_path, settings_text(server.url, feed_text(sandbox.url))).daemon() as daemon:
            until(lambda: daemon.events("database.away"), what="the complaint")
            assert sandbox.control.requests() == []  # law 4: nothing is pulled that cannot be landed
            with server:
                daemon.started()
                until(lambda: booked(database) == handed_out(sandbox) != set(), what="the trades")
                assert daemon.stop() == 0
                database.close()


def test_law_4_an_answer_in_hand_outlives_a_database_that_goes_away(play, tmp_path):
    sandbox = play(trades=60)
    sandbox.control.plan({"fault": "delay", "delay_s": 1.5, "non_empty": "true"})
    with folder() as place:
        server = EmbeddedPostgres(place / "pg", settings=SETTINGS)
        database = Database(server.start())
        with database.connect() as connection:
            schema.upgrade(connection)
        with Program(tmp_path, settings_text(server.url, feed_text(sandbox.url))).daemon() as daemon:
            until(lambda: count_handed_out(sandbox), what="the page")
            database.close()
            server.stop("immediate")
            until(lambda: daemon.events("poll.landing_waits"), what="the answer to wait")
            with server:
                until(lambda: len(booked(database)) == 60, what="the trades")
                assert daemon.stop() == 0
                with database.connect() as connection:
                    proof = prove(
                        sandbox.control.handed_out(),
                        lambda ask: [dict(row) for row in connection.exec_driver_sql(ask).mappings()],
                    )
                assert proof.holds, proof.differences[:5]
                database.close()
        assert daemon.events("Exception during reset or similar") == []  # the daemon says it in words of its own


def test_a_missing_schema_is_a_sentence(play, tmp_path, empty_database):
    url = empty_database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    program = Program(tmp_path, settings_text(url, feed_text("http://127.0.0.1:9")))

    for command in ("run", "poll"):
        ended = program.call(command)

        assert ended.returncode == 1
        assert ended.stderr == "stp-etl: the database has no schema yet; run: stp-etl db upgrade\n"


def test_a_wrong_database_password_is_a_sentence(tmp_path):
    with folder() as place, EmbeddedPostgres(place / "pg", settings=SETTINGS) as server:
        database = Database(server.url)
        with database.connect() as connection:
            connection.exec_driver_sql("CREATE ROLE etl LOGIN PASSWORD 'right'")
            connection.commit()
            rules = server.data_dir / "pg_hba.conf"
            rules.write_text("local all etl scram-sha-256\n" + rules.read_text())
            connection.exec_driver_sql("SELECT pg_reload_conf()")
        database.close()
        url = server.url.replace("postgres@", "etl:wrong@")

        ended = Program(tmp_path, settings_text(url, feed_text("http://127.0.0.1:9"))).call("run")

    assert ended.returncode == 1
    assert "stp-etl: the database refuses the log-in:" in ended.stderr
    assert "check database.url" in ended.stderr
    assert "wrong" not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
