"""What a machine does to a daemon: half-written secrets, rotated passwords, wrong clocks, folders that are shut."""

import socket
from datetime import UTC, datetime, timedelta

import pytest

from etl.store.database import Database
from tests.acceptance.program import Program, booked, feed_text, handed_out, proof_of, settings_text, until
from tests.acceptance.test_start_and_rotation import NEW, secret_file  # noqa: F401  a fixture
from tests.databases import change, embedded, folder, migrated, rows

BREAK_OFF = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'etl'"


def test_a_password_file_that_is_half_written_is_waited_for(play, program_for, database, secret_file):  # noqa: F811
    sandbox = play(trades=20)
    program = program_for(sandbox, password="", password_file=str(secret_file))
    with program.daemon() as daemon:
        until(lambda: len(booked(database)) == 20, what="the backlog")
        secret_file.write_text("")
        sandbox.control.rotate(NEW)
        until(lambda: rows(database, "SELECT FROM stp.lease WHERE refused IS NOT NULL"), what="the complaint")
        trades = set(sandbox.control.execute(5))
        secret_file.write_text(f"{NEW}\n")
        until(lambda: trades <= booked(database), what="trades after the rotation")
        until(lambda: rows(database, "SELECT FROM stp.lease WHERE refused IS NULL"), what="the end of the complaint")
        assert program.call("status").returncode == 0

        assert daemon.stop() == 0
    assert f"secret file {secret_file}: is empty" in daemon.events("job.refused")[0]["error"]
    assert daemon.events("job.failed") == []
    assert daemon.events("poll.in_doubt") == []
    assert proof_of(sandbox, database).holds


@pytest.mark.nightly
def test_the_databases_password_is_rotated_without_a_restart(play, tmp_path):
    file = tmp_path / "database-url"
    with embedded() as own, migrated(own.url) as server, server.database() as url:
        administrator = Database(url)
        rules = own.data_dir / "pg_hba.conf"
        change(administrator, "CREATE ROLE etl LOGIN SUPERUSER PASSWORD 'first-password'")
        rules.write_text("local all etl scram-sha-256\n" + rules.read_text())
        change(administrator, "SELECT pg_reload_conf()")
        file.write_text(url.replace("postgres@", "etl:first-password@"))
        file.chmod(0o600)
        sandbox = play(trades=20)
        text = settings_text("", feed_text(sandbox.url, sandbox.user))
        program = Program(tmp_path, text.replace('url = ""', f'url_file = "{file}"'))
        with program.daemon() as daemon:
            until(lambda: len(booked(administrator)) == 20, what="the backlog")
            change(administrator, "ALTER ROLE etl PASSWORD 'second-password'")
            change(administrator, BREAK_OFF)
            until(lambda: daemon.events("job.refused") or daemon.events("job.deferred"), what="the complaint")
            trades = set(sandbox.control.execute(5))
            file.write_text("postgresql:")  # half written
            file.write_text(url.replace("postgres@", "etl:second-password@"))
            until(lambda: trades <= booked(administrator), what="trades after the rotation")

            assert daemon.stop() == 0
        assert proof_of(sandbox, administrator).holds
        administrator.close()
    assert "first-password" not in daemon.said
    assert "second-password" not in daemon.said


def test_a_wrong_clock_is_said_once_and_costs_no_trade(play, program_for, database):
    sandbox = play(trades=20, start_time=datetime.now(UTC) - timedelta(hours=3))
    with program_for(sandbox).daemon() as daemon:
        until(lambda: booked(database) == handed_out(sandbox) != set(), what="the backlog")
        trades = set(sandbox.control.execute(3))
        until(lambda: trades <= booked(database), what="trades after it was said")
        assert daemon.stop() == 0

    (said,) = daemon.events("clock.off")
    assert (said["level"], said["feed"]) == ("error", "main")
    assert rows(database, "SELECT state FROM reporting.feed_status") == [("stopped",)]


def test_a_port_of_the_sandbox_that_is_in_use_is_a_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = Program(tmp_path).call("sandbox", "--port", str(port))

    assert ended.returncode == 1
    assert ended.stderr == (
        f"stp-etl: port {port} cannot be used: address already in use; name another with --port (0 takes a free one)\n"
    )


def test_a_folder_for_the_embedded_database_that_cannot_be_made_is_a_sentence(tmp_path):
    with folder() as place:
        (place / "file").touch(0o755)
        text = f'[database]\ndata_dir = "{place}/file/postgres"\n{feed_text("http://127.0.0.1:9")}'
        program = Program(tmp_path, text)
        ended = program.call("db", "upgrade")

    assert ended.returncode == 1
    assert f"{place}/file" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
