"""The daemon's start without a vendor, and its life through a rotation of the password."""

import re
import time

import pytest

from tests.acceptance.program import Program, booked, feed_text, handed_out, settings_text, until
from tests.databases import rows
from tests.ports import free_port

NEW = "new-pass-word 8"


@pytest.fixture
def secret_file(tmp_path):
    file = tmp_path / "password"
    file.write_text("sandbox\n")
    file.chmod(0o600)
    return file


def logins(sandbox) -> list[int]:
    """Return the status of each login so far."""
    return [each["status"] for each in sandbox.control.requests() if each["path"].startswith("/v2/sso/login")]


def test_a_rotated_password_is_read_from_its_file_after_a_401_without_a_restart(
    play, program_for, database, secret_file
):
    sandbox = play(trades=20)
    program = program_for(sandbox, password="", password_file=str(secret_file))
    with program.daemon() as daemon:
        until(lambda: len(booked(database)) == 20, what="the backlog")
        secret_file.write_text(f"{NEW}\n")
        sandbox.control.rotate(NEW)  # all sessions end: the next poll meets a 401
        trades = set(sandbox.control.execute(5))
        until(lambda: trades <= booked(database), what="trades after the rotation")

        assert logins(sandbox) == [200, 200]
        assert daemon.events("job.refused") == []
        assert daemon.events("poll.in_doubt") == []
        assert daemon.stop() == 0
    assert NEW not in daemon.said


@pytest.mark.nightly
def test_a_password_that_is_refused_is_said_once_tried_seldom_and_its_successor_at_once(
    play, program_for, database, secret_file
):
    sandbox = play(trades=20)
    keys = {"error_pause_min_s": 2, "error_pause_max_s": 300, "poll_interval_s": 0.2}
    program = program_for(sandbox, password="", password_file=str(secret_file), **keys)
    with program.daemon() as daemon:
        until(lambda: len(booked(database)) == 20, what="the backlog")
        sandbox.control.rotate(NEW)  # before the file is: the operator is late
        until(lambda: logins(sandbox).count(401) == 3, what="tries with the old password")
        trades = set(sandbox.control.execute(5))
        refused = [each for each in daemon.events("job.refused") if each["level"] == "error"]
        secret_file.write_text(f"{NEW}\n")
        until(lambda: trades <= booked(database), what="trades after the rotation")

        assert len(refused) == 1
        assert "check user, org and the password (or its file)" in refused[0]["error"]
        assert daemon.events("job.recovered")
        assert logins(sandbox).count(401) <= 4
        assert daemon.stop() == 0


def test_a_vendor_that_is_not_there_yet_is_waited_for_and_said_once(play, tmp_path, database_url, database):
    port = free_port()
    feed = feed_text(f"http://127.0.0.1:{port}", error_pause_min_s=0.2, error_pause_max_s=0.5)
    with Program(tmp_path, settings_text(database_url, feed)).daemon() as daemon:
        until(lambda: daemon.events("job.deferred"), what="the complaint")
        sandbox = play(trades=20, port=port)
        until(lambda: booked(database) == handed_out(sandbox) != set(), what="the trades")

        assert [line["level"] for line in daemon.events("job.deferred")] == ["warning"]
        assert daemon.events("job.recovered")
        assert daemon.events("poll.in_doubt") == []
        assert daemon.stop() == 0


def missed_runs(daemon) -> str:
    """Return the figure of the metric on the daemon's page."""
    (line,) = re.findall(
        r'stp_etl_job_irregular_total{job="poll-main",kind="missed"} (.*)', daemon.page("/metrics").text
    )
    return line


def test_runs_that_nobody_made_before_a_restart_are_said_and_made_up(play, program_for, database):
    sandbox = play(trades=20)
    program = program_for(sandbox)
    program.file.write_text(f'[trading]\nweekend = "open"\n{program.file.read_text()}')
    with program.daemon() as daemon:
        until(lambda: len(booked(database)) == 20, what="the backlog")
        assert missed_runs(daemon) == "0.0"
        assert daemon.stop() == 0
        assert daemon.events("job.missed") == []
    program.file.write_text(program.file.read_text().replace("[ops]", "[ops]\nstale_after_s = 1"))
    trades = set(sandbox.control.execute(3))
    time.sleep(1.5)
    with program.daemon() as daemon:
        until(lambda: trades <= booked(database), what="the trades of the meantime")
        (said,) = daemon.events("job.missed")
        assert missed_runs(daemon) == "1.0"
        assert daemon.stop() == 0

    assert (said["job"], said["feed"], said["level"]) == ("poll-main", "main", "warning")
    assert said["trading_s"] >= 1


def test_a_log_line_of_a_poll_leads_to_its_row_and_to_the_vendors_own_log(play, program_for, database):
    sandbox = play(trades=20)
    with program_for(sandbox).daemon() as daemon:
        until(lambda: [each for each in daemon.events("job.finished") if each["job"] == "poll-main"], what="a drain")
        line = next(each for each in daemon.events("job.finished") if each["job"] == "poll-main")
        assert daemon.stop() == 0

    assert len(line["run_id"]) == 32
    found = rows(
        database, "SELECT id FROM stp.poll WHERE request_id = :id UNION SELECT poll_id FROM stp.current_poll"
        " WHERE request_id = :id", id=line["request_id"],
    )  # fmt: skip
    assert line["request_id"] in {each["request_id"] for each in sandbox.control.requests()}
    assert found == [(line["poll_id"],)]
