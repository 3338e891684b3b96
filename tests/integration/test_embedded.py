"""The embedded Postgres: where it may live, who may share it, and when it ends."""

import fcntl
import os
import pwd
import shutil
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from etl.errors import DatabaseAwayError, OperatorError
from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres, folder_for
from tests.databases import SETTINGS, change, embedded, folder, value

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")


@pytest.fixture
def place():
    with folder() as made:
        yield made


def answers(url: str) -> bool:
    database = Database(url)
    try:
        return value(database, "SELECT 1") == 1
    except DatabaseAwayError:
        return False
    finally:
        database.close()


@contextmanager
def a_process_that_uses(place):
    script = (
        "import sys; from pathlib import Path; from etl.store.embedded import EmbeddedPostgres\n"
        "with EmbeddedPostgres(Path(sys.argv[1])) as server: print(server.url, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(place / "pg")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process  # the end of its input is its end


def said_by(process):
    return process.stdout.readline().strip()


def waits_for_a_lock(process):
    """Whether the kernel has the process in a queue for a file's lock."""
    return any("->" in line and f" {process.pid} " in line for line in Path("/proc/locks").read_text().splitlines())


def test_a_path_too_long_for_its_socket_is_refused(place):
    with pytest.raises(OperatorError, match="too long for a unix socket .*choose a shorter one"):
        EmbeddedPostgres(place / ("d" * 90)).start()

    assert list(place.iterdir()) == []


def test_a_folder_of_somebody_else_is_refused(place):
    root = os.geteuid() == 0
    foreign = place / "pg" if root else Path("/usr/lib")
    foreign.mkdir(exist_ok=True)

    with pytest.raises(
        OperatorError, match=r"belongs to user \d+, not to \d+" if root else "lib.lock cannot be opened"
    ):
        EmbeddedPostgres(foreign).start()

    assert list(foreign.iterdir()) == [] or not root


@root_only
def test_root_is_told_which_folder_the_server_cannot_pass_through(place):
    closed = place / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(OperatorError, match=f"cannot pass through {closed}; choose a folder below an open one"):
        EmbeddedPostgres(closed / "pg").start()

    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@root_only
def test_root_gets_an_open_folder_in_place_of_a_closed_one(place):
    closed = place / "closed"
    closed.mkdir(mode=0o700)

    assert folder_for(closed / "pg") != closed / "pg"
    assert folder_for(closed / "pg") == folder_for(closed / "pg")
    assert folder_for(place / "pg") == place / "pg"


def test_nobody_but_its_owner_may_look_into_the_folder():
    with embedded() as server:
        assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700


def test_it_listens_on_no_network_address():
    with embedded() as server:
        database = Database(server.url)

        assert value(database, "SELECT current_setting('listen_addresses')") == ""

        database.close()


def test_two_users_share_one_server_and_the_last_one_stops_it(place):
    first = EmbeddedPostgres(place / "pg", settings=SETTINGS)
    second = EmbeddedPostgres(place / "pg", settings=SETTINGS)
    url = first.start()

    assert second.start() == url
    first.stop()
    assert answers(url)
    second.stop()
    assert not answers(url)


def test_two_processes_that_start_it_at_once_share_it(place):
    with a_process_that_uses(place) as one, a_process_that_uses(place) as other:
        url = said_by(one)

        assert said_by(other) == url != ""
        assert one.communicate(timeout=120)[0] == ""
        assert answers(url)
        other.communicate(timeout=120)
        assert not answers(url)


def test_the_folder_is_made_by_one_process_at_a_time(place):
    lock = os.open(place / "pg.lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with a_process_that_uses(place) as process:
        while not waits_for_a_lock(process) and process.poll() is None:
            pass
        made_too_early = (place / "pg").exists()
        os.close(lock)
        url = said_by(process)
        process.communicate(timeout=120)

    assert (made_too_early, url != "") == (False, True)


def test_stopping_twice_is_harmless(place):
    server = EmbeddedPostgres(place / "pg", settings=SETTINGS)
    server.stop()
    server.start()

    server.stop()
    server.stop()


def test_what_it_holds_is_there_after_a_stop_and_a_start(place):
    with EmbeddedPostgres(place / "pg", settings=SETTINGS) as server:
        database = Database(server.url)
        change(database, "CREATE TABLE kept AS SELECT 42 AS answer")
        database.close()

    with EmbeddedPostgres(place / "pg", settings=SETTINGS) as server:
        database = Database(server.url)

        assert value(database, "SELECT answer FROM kept") == 42

        database.close()


def test_a_server_that_died_is_started_again_by_the_next_user(place):
    with EmbeddedPostgres(place / "pg", settings=SETTINGS) as server:
        number = int((server.data_dir / "postmaster.pid").read_text().splitlines()[0])
        os.kill(number, 3)  # SIGQUIT: an immediate end, as after a crash
        while answers(server.url):
            pass

        with EmbeddedPostgres(place / "pg", settings=SETTINGS) as again:
            assert answers(again.url)


def test_its_programs_are_of_its_version(place):
    for version in (16, 18):
        psql = EmbeddedPostgres(place / "pg", version=version).binary("psql")

        assert f" {version}" in subprocess.run([psql, "--version"], capture_output=True, text=True, check=True).stdout


def test_what_a_failed_program_said_is_told(place):
    (place / "left_over").write_text("x")
    if os.geteuid() == 0:
        known = {entry.pw_name for entry in pwd.getpwall()}
        shutil.chown(place, "postgres" if "postgres" in known else "nobody")

    with pytest.raises(OperatorError, match=r"initdb failed with code 1: .*not empty.*; mend that"):
        EmbeddedPostgres(place).start()
