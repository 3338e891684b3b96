"""SIGHUP: what can be taken is taken, what cannot is named, and wrong settings change nothing."""

import json
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.acceptance.program import SWEEPS_OFF, Daemon, Program, booked, feed_text, settings_text, until
from tests.databases import rows
from tests.receivers import Receiver


def rewrite(program: Program, **changes: str) -> None:
    """Change lines of the settings file: `key` to what stands right of the equals sign."""
    lines = program.file.read_text().splitlines()
    for key, value in changes.items():
        lines = [line for line in lines if not line.startswith(f"{key} = ")]
        table = {"log_level": "[ops]", "url": "[database]", "batch_kib": "[booking]"}.get(key, "[feeds.main]")
        if table not in lines:
            lines.append(table)
        lines.insert(lines.index(table) + 1, f"{key} = {value}")
    program.file.write_text("\n".join(lines) + "\n")


def hang_up(daemon: Daemon, event: str) -> dict:
    """Send SIGHUP and wait for the line that says what came of it."""
    before = len(daemon.events(event))
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: len(daemon.events(event)) > before, what=event)
    return dict(daemon.events(event)[-1])


def page_sizes(sandbox, after: int) -> set[str]:
    found = [each for each in sandbox.control.requests()[after:] if "/stp/messages" in each["path"]]
    return {str(each.get("query") or each["path"]).partition("maxCount=")[2].partition("&")[0] for each in found}


def test_intervals_page_size_time_outs_and_the_log_level_are_taken_without_a_restart(play, program_for, database):
    sandbox = play(trades=10)
    program = program_for(sandbox, page_size=20, poll_interval_s=3600)
    with program.daemon() as daemon:
        daemon.started()
        until(lambda: len(booked(database)) == 10, what="the trades")
        rewrite(program, page_size="7", poll_interval_s="0.3", read_timeout_s="3", log_level='"debug"', batch_kib="500")
        before = len(sandbox.control.requests())
        said = hang_up(daemon, "settings.reloaded")
        sandbox.control.execute(3)
        until(lambda: len(booked(database)) == 13, what="trades at the new interval")

        assert said["changed"] == [
            "booking.batch_kib", "feeds.main.page_size", "feeds.main.poll_interval_s", "feeds.main.read_timeout_s",
            "ops.log_level",
        ]  # fmt: skip
        assert page_sizes(sandbox, before) == {"7"}
        assert any(json.loads(line)["level"] == "debug" for line in daemon.said.splitlines())
        assert daemon.events("settings.need_restart") == []
        assert daemon.stop() == 0


def test_settings_are_read_again_while_the_database_is_waited_for(tmp_path):
    program = Program(
        tmp_path, settings_text("postgresql://nobody@127.0.0.1:1/nothing", feed_text("http://127.0.0.1:1"))
    )
    with program.daemon() as daemon:
        until(lambda: daemon.events("database.away"), what="the complaint")
        rewrite(program, page_size="7")

        assert hang_up(daemon, "settings.reloaded")["changed"] == ["feeds.main.page_size"]
        assert daemon.stop() == 0


def test_what_needs_a_restart_is_named_and_left_as_it_was(play, program_for, database):
    sandbox = play(trades=10)
    program = program_for(sandbox)
    with program.daemon() as daemon:
        daemon.started()
        rewrite(program, base_url='"http://127.0.0.1:9"', user='"somebody"', url='"postgresql://nowhere/x"')
        program.file.write_text(program.file.read_text() + '[feeds.new]\nbase_url = "http://127.0.0.1:9"\n')
        program.file.write_text(program.file.read_text() + 'org = "o"\nuser = "u"\npassword = "long enough"\n')
        said = hang_up(daemon, "settings.need_restart")
        trades = set(sandbox.control.execute(4))
        until(lambda: trades <= booked(database), what="trades from the vendor as it was")

        assert said["keys"] == ["database.url", "feeds.main.base_url", "feeds.main.user", "feeds.new"]
        assert "nowhere" not in daemon.said
        assert daemon.stop() == 0


@pytest.mark.nightly  # two jobs at their own pace; what is taken is also in tests/unit/test_reload.py
def test_whom_to_tell_and_when_to_compare_are_taken_without_a_restart(play, program_for, database):
    sandbox = play(trades=10)
    program = program_for(sandbox, page_size=10, ghost_s=3600)
    text = program.file.read_text().replace(SWEEPS_OFF, "")
    never = "[reconciliation]\nsweep = 'off'\npositions_every_s = 0\nfills_every_s = 0\ndaily = 'off'\n"
    program.file.write_text(text + never)
    with Receiver() as receiver, program.daemon() as daemon:
        until(lambda: len(booked(database)) == 10, what="the trades")
        program.file.write_text(
            f"{text}{never.replace('fills_every_s = 0', 'fills_every_s = 1')}fills_history_days = 5\n"
            f'[alerts]\nurl = "{receiver.url}"\nmuted = ["lease.changed", "incident.kept"]\n'
        )
        said = hang_up(daemon, "settings.reloaded")
        sandbox.control.plan({"fault": "500", "nth": 1})
        until(lambda: receiver.got, what="the alert")
        until(lambda: rows(database, "SELECT FROM stp.reconciliation_run"), what="a run")
        assert daemon.stop() == 0

    assert said["changed"] == [
        "alerts.muted", "alerts.url", "reconciliation.fills_every_s", "reconciliation.fills_history_days",
    ]  # fmt: skip
    assert daemon.events("settings.need_restart") == []
    assert receiver.kinds[0] == "gap.opened"
    (control, rules), *_ = rows(database, "SELECT control, rules FROM stp.reconciliation_run ORDER BY id")
    assert (control, rules["fills_history_days"]) == ("fills", 5)


@pytest.mark.parametrize(
    "how", ["wrong values", *(pytest.param(each, marks=pytest.mark.nightly) for each in ("not TOML", "gone"))]
)
def test_every_fault_is_said_and_the_old_settings_stay(play, program_for, database, how):
    sandbox = play(trades=10)
    program = program_for(sandbox)
    with program.daemon() as daemon:
        daemon.started()
        match how:
            case "wrong values":
                rewrite(program, page_size="0", poll_interval_s='"often"', log_level='"loud"')
            case "not TOML":
                program.file.write_text("[feeds.main")
            case _:
                program.file.unlink()
        said = hang_up(daemon, "settings.refused")
        trades = set(sandbox.control.execute(4))
        until(lambda: trades <= booked(database), what="trades with the settings as they were")

        faults = " ".join(said["faults"])
        if how == "wrong values":
            assert len(said["faults"]) == 3
            assert all(key in faults for key in ("feeds.main.page_size", "feeds.main.poll_interval_s", "ops.log_level"))
        else:
            assert str(program.file) in faults
        assert daemon.events("settings.reloaded") == []
        assert daemon.stop() == 0


@pytest.mark.nightly
def test_in_quiet_hours_polls_are_as_far_apart_as_set_and_no_farther_once_the_setting_is_gone(
    play, program_for, database
):
    sandbox = play(trades=10)
    program = program_for(sandbox, quiet_poll_interval_s=3600)
    now = datetime.now(UTC)
    start, end = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (-2, 2))
    quiet = f'[trading]\nquiet_from = "{start}"\nquiet_until = "{end}"\ntimezone = "UTC"\n'
    program.file.write_text(program.file.read_text() + quiet)
    with program.daemon() as daemon:
        until(lambda: len(booked(database)) == 10, what="the first drain, which waits for nothing")
        until(lambda: is_silent(sandbox), what="polls that pause")
        trades = set(sandbox.control.execute(3))
        time.sleep(1)  # two intervals of a poll that is not slowed
        assert len(booked(database)) == 10

        rewrite(program, quiet_poll_interval_s="0")
        hang_up(daemon, "settings.reloaded")
        until(lambda: trades <= booked(database), what="the trades")
        assert daemon.stop() == 0


def is_silent(sandbox) -> bool:
    """Whether nothing is asked for four intervals."""
    asked = len(sandbox.control.requests())
    time.sleep(2)
    return len(sandbox.control.requests()) == asked
