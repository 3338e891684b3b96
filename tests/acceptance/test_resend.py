"""`stp-etl resend` against the sandbox: with a daemon, without one, and after one that was killed."""

import json
import signal
import time

import pytest

from etl.store.database import Database
from tests.acceptance.program import (
    PATIENCE_S,
    Program,
    booked,
    feed_text,
    handed_out,
    sentences,
    settings_text,
    status_of,
    until,
)
from tests.databases import rows, value
from tests.ports import free_port

QUICK = {"ghost_s": 0.2, "eligible_after_s": 0.1, "resend_days_at_once": 31, "poll_interval_s": 0.2}
TRADE_DAYS = "SELECT min(trade_date)::text, max(trade_date)::text FROM reporting.trade"


@pytest.fixture
def world(play, program_for):
    """A sandbox that lost the answer with its second page, and the program that drained it without healing."""
    sandbox = play(trades=120, eligible_after_s=0)
    sandbox.control.plan({"fault": "close_after", "nth": 2, "non_empty": "true"})
    program = program_for(sandbox, **QUICK)
    program.call("poll")
    assert program.call("poll").returncode == 0
    return sandbox, program


def days(database: Database) -> list[str]:
    first, last = rows(database, TRADE_DAYS)[0]
    return ["--from", first, "--to", last]


def test_without_a_daemon_the_command_heals_by_itself(world, database):
    sandbox, program = world
    lost = handed_out(sandbox) - booked(database)

    done = program.call("resend", *days(database), "--reason", "br 17", "--wait")

    assert (len(lost), done.returncode) == (50, 0), done.stderr
    assert booked(database) == handed_out(sandbox)
    assert "healed" in done.stdout
    recovered = value(database, "SELECT sum(recovered) FROM reporting.gap")  # the poll in doubt has a gap of its own
    assert recovered == 50
    assert value(database, "SELECT bool_and(requested_by <> 'stp-etl') FROM reporting.resend WHERE reason = 'br 17'")
    assert any(line.startswith("gap 2: ") for line in sentences(done))
    assert status_of(database)["leader"] is None


def test_with_a_daemon_the_command_asks_it_and_waits(world, database):
    sandbox, program = world

    with program.daemon() as daemon:
        daemon.started()
        until(lambda: status_of(database)["leader"], what="the daemon to lead")
        done = program.call("resend", *days(database), "--reason", "br 17", "--wait")
        until(lambda: not status_of(database)["open_gaps"], what="all gaps to heal")
        status = program.call("status")
        left = daemon.stop()

    assert (done.returncode, left) == (0, 0), done.stderr
    assert booked(database) == handed_out(sandbox)
    assert "feed main: another instance leads" not in done.stderr
    assert len(daemon.events("gap.healed")) == 2
    assert status.returncode == 0, status.stderr


def test_after_a_daemon_was_killed_the_command_stands_in_for_it(world, database):
    sandbox, program = world
    with program.daemon() as daemon:
        daemon.started()
        until(lambda: status_of(database)["leader"], what="the daemon to lead")
        daemon.kill()
    until(lambda: not rows(database, "SELECT FROM pg_locks WHERE locktype = 'advisory'"), what="its lock to go")

    done = program.call("resend", *days(database), "--reason", "br 17")

    assert done.returncode == 0, done.stderr
    assert booked(database) == handed_out(sandbox)
    shown = json.loads(program.call("gaps", "show", "2", "--format", "json").stdout)
    assert shown["state"] == "healed"
    assert {each["state"] for each in shown["resends"]} <= {"complete", "short"}


@pytest.fixture
def alone(tmp_path, database_url):
    """The program, nobody who leads, and a vendor that is away."""
    return Program(tmp_path, settings_text(database_url, feed_text(f"http://127.0.0.1:{free_port()}", **QUICK)))


ONE_DAY = ["--from", "2024-03-12", "--to", "2024-03-12", "--reason", "br 17"]


def test_with_the_vendor_away_it_ends_and_says_who_goes_on_and_the_next_call_follows_the_same_gap(alone, database):
    first, again = (alone.call("resend", *ONE_DAY) for _ in range(2))

    assert (first.returncode, again.returncode) == (1, 1)
    assert sentences(first)[-1] == (
        "stp-etl: gap 1 stays open: POST /v2/sso/login: the vendor's server refused the connection; `stp-etl run` goes "
        "on with it, or the same command again, which follows it"
    )
    assert "gap 1 asked before for 2024-03-12 to 2024-03-12" in again.stderr
    assert rows(database, "SELECT state FROM stp.gap") == [("open",)]


def test_waiting_it_says_each_reason_once_and_interrupted_who_goes_on(alone):
    process = alone.start("resend", *ONE_DAY, "--wait")
    said = [process.stdout.readline() for _ in range(2)]
    time.sleep(1.2)  # several tries
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=PATIENCE_S)
    lines = [line for line in "".join([*said, rest]).splitlines() if not line.startswith("{")]

    assert process.returncode == 130
    assert lines == [
        "gap 1 asks for 2024-03-12 to 2024-03-12, 0 trades held",
        "gap 1: POST /v2/sso/login: the vendor's server refused the connection",
        "stp-etl: gap 1 stays open: interrupted; `stp-etl run` goes on with it, or the same command again, which "
        "follows it",
    ]
