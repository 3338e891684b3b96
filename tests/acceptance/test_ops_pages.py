"""The pages of the daemon, through every outage, with real processes."""

import os
import signal
import socket
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from etl.store import schema
from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres
from tests.acceptance.program import Program, booked, feed_text, settings_text, until
from tests.databases import SETTINGS, folder

STALE_AT_ANY_HOUR = '[trading]\nweekend = "open"\n[ops]\nstale_after_s = 1'
NEEDED = ("database", "schema", "settings")


def ready(daemon):
    """Return the status of the readiness page."""
    return daemon.page("/readyz").status_code


def unsound(daemon):
    """Return the parts that are not sound."""
    return {name: part["reason"] for name, part in daemon.parts().items() if not part["ok"]}


@contextmanager
def own_server():
    """Lend a database server of our own, that may be stopped, with our schema in it."""
    with folder() as place:
        server = EmbeddedPostgres(place / "pg", settings=SETTINGS)
        database = Database(server.start())
        with database.connect() as connection:
            schema.upgrade(connection)
        database.close()
        try:
            yield server
        finally:
            server.stop("immediate")


@contextmanager
def frozen(server):
    """Let every process of the server stand still: its sockets stay open, and nothing answers."""
    first = int((server.data_dir / "postmaster.pid").read_text().splitlines()[0])
    os.kill(first, signal.SIGSTOP)  # before its children are counted, so that no more come
    pids = [first, *(int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if parent(path) == first)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def parent(stat):
    """Return the parent of a process, by its line in /proc; 0 where it is gone."""
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_the_pages_tell_of_a_daemon_that_works(play, program_for, database):
    sandbox = play(trades=60)
    with program_for(sandbox).daemon() as daemon:
        until(lambda: len(booked(database)) == 60, what="the trades")
        until(lambda: daemon.page("/readyz").ok and not unsound(daemon), what="all parts")

        parts = daemon.parts()
        assert [name for name, part in parts.items() if part["needed"]] == list(NEEDED)
        assert "leads; polling; the vendor's last good answer came " in parts["feed main"]["reason"]
        assert daemon.page("/livez").json() == {"status": "alive", "reasons": []}
        version = daemon.page("/version").json()
        assert version["schema"] == schema.expected_revision()
        assert set(version) == {"version", "python", "schema", "settings", "started_at"}
        assert daemon.page("/nothing").status_code == 404
        assert sandbox.user.password not in "".join(daemon.page(path).text for path in ("/readyz", "/metrics"))
        assert daemon.stop() == 0


def test_the_pages_stand_while_the_database_is_not_there_yet_goes_away_or_hangs(play, tmp_path):
    sandbox = play(trades=20)
    with own_server() as server:
        server.stop()
        with Program(tmp_path, settings_text(server.url, feed_text(sandbox.url))).daemon() as daemon:
            until(lambda: daemon.events("database.away"), what="the complaint")
            assert (ready(daemon), daemon.page("/livez").status_code) == (503, 200)
            assert "the database cannot be reached" in unsound(daemon)["database"]
            assert "starting: the database cannot be reached" in unsound(daemon)["daemon"]

            server.start()
            daemon.started()
            until(lambda: ready(daemon) == 200, what="readiness")

            server.stop("immediate")
            until(lambda: ready(daemon) == 503, what="the loss to be noticed")
            assert (daemon.page("/livez").status_code, daemon.page("/metrics").status_code) == (200, 200)
            assert set(unsound(daemon)) >= {"database", "schema"}

            server.start()
            until(lambda: ready(daemon) == 200, what="readiness again")
            with frozen(server):
                until(lambda: ready(daemon) == 503, what="the silence to be noticed")
                assert unsound(daemon)["database"] == "no answer within 2 s"
                assert "settings" not in unsound(daemon)
                assert (daemon.page("/livez").status_code, daemon.page("/metrics").status_code) == (200, 200)
            until(lambda: ready(daemon) == 200, what="readiness after the silence")
            assert daemon.stop() == 0


@pytest.mark.nightly
def test_a_vendor_that_is_down_is_told_with_its_age_and_leaves_the_daemon_ready(play, program_for, database):
    sandbox = play(trades=5)
    program = program_for(sandbox)
    program.file.write_text(program.file.read_text().replace("[ops]", STALE_AT_ANY_HOUR))
    with program.daemon() as daemon:
        until(lambda: len(booked(database)) == 5, what="the trades")
        until(lambda: "last good answer" in daemon.parts()["feed main"]["reason"], what="the first look")
        sandbox.__exit__(None, None, None)

        until(lambda: "feed main" in unsound(daemon), what="the silence of the vendor")
        assert ready(daemon) == 200
        assert list(unsound(daemon)) == ["feed main"]


@pytest.mark.nightly
def test_a_standby_is_ready_and_says_what_it_is(play, program_for, database, tmp_path):
    sandbox = play(trades=5)
    program = program_for(sandbox)
    with program.daemon() as leader:
        until(lambda: len(booked(database)) == 5, what="the trades")
        with program.daemon() as standby:
            standby.started()
            until(lambda: "last good answer" in standby.parts()["feed main"]["reason"], what="its first look")

            assert ready(standby) == 200
            assert standby.parts()["feed main"]["reason"].startswith("standby; polling")
            assert 'stp_etl_leader{feed="main"} 0.0' in standby.page("/metrics").text
            assert 'stp_etl_leader{feed="main"} 1.0' in leader.page("/metrics").text


def test_a_database_that_takes_no_writes_makes_it_unready_and_it_goes_on_when_that_is_over(
    play, program_for, database, database_url, postgres
):
    name = make_url(database_url).database
    with program_for(play(trades=5)).daemon() as daemon:
        until(lambda: ready(daemon) == 200, what="readiness")

        postgres.run(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        end_sessions(postgres, name)
        until(lambda: ready(daemon) == 503, what="the loss to be noticed")
        assert unsound(daemon)["database"].startswith("the database takes no writes")

        postgres.run(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        end_sessions(postgres, name)
        until(lambda: ready(daemon) == 200, what="readiness again")
        assert daemon.stop() == 0


def end_sessions(postgres, name):
    """End every session of the database: what is set for it counts for new ones."""
    postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def test_another_schema_or_a_secret_that_cannot_be_read_makes_it_unready_by_name(
    play, tmp_path, database_url, database
):
    sandbox = play(trades=5)
    secret = tmp_path / "password"
    secret.write_text(sandbox.user.password)
    feed = feed_text(sandbox.url, password_file=str(secret)).replace(f'password = "{sandbox.user.password}"\n', "")
    with Program(tmp_path, settings_text(database_url, feed)).daemon() as daemon:
        until(lambda: ready(daemon) == 200, what="readiness")
        secret.write_text("")
        until(lambda: ready(daemon) == 503, what="the empty secret")
        assert unsound(daemon)["settings"] == f"secret file {secret}: is empty"
        secret.write_text(sandbox.user.password)
        until(lambda: ready(daemon) == 200, what="readiness again")

        with database.connect() as connection:
            connection.exec_driver_sql("UPDATE stp.alembic_version SET version_num = '0001'")
            connection.commit()

        until(lambda: ready(daemon) == 503, what="the other schema")
        assert "the schema is at 0001 and this program needs" in unsound(daemon)["schema"]
        assert daemon.page("/livez").status_code == 200


def test_a_port_in_use_is_a_sentence(tmp_path, database_url):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = settings_text(database_url, feed_text("http://127.0.0.1:9")).replace("127.0.0.1:0", address)

        ended = Program(tmp_path, text).call("run")

    assert ended.returncode == 1
    assert ended.stderr == (
        f"stp-etl: ops.listen = {address} cannot be used: address already in use; stop what listens there, or set "
        "another address (port 0 takes a free one)\n"
    )


@pytest.mark.parametrize("host", ["no-such-host.invalid:80", "192.0.2.1:80"])
def test_an_address_that_is_not_ours_is_a_sentence(tmp_path, database_url, host):
    text = settings_text(database_url, feed_text("http://127.0.0.1:9")).replace("127.0.0.1:0", host)

    ended = Program(tmp_path, text).call("run")

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"stp-etl: ops.listen = {host} cannot be used: ")
    assert "Traceback" not in ended.stderr


def test_readers_that_send_nothing_or_half_a_request_hold_up_nobody(play, program_for):
    sandbox = play()
    with program_for(sandbox).daemon() as daemon:
        host, port = daemon.url.removeprefix("http://").split(":")
        silent = [socket.create_connection((host, int(port))) for _ in range(30)]
        for each in silent[::2]:
            each.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-Slow: ")

        started = time.monotonic()
        assert daemon.page("/livez").ok
        assert daemon.page("/metrics").ok
        assert time.monotonic() - started < 10

        assert daemon.stop() == 0
        for each in silent:
            each.close()
