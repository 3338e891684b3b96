"""`stp-etl poll` as cron calls it: what it says, and its exit code."""

import json
import re

import pytest

from etl.sandbox.options import User
from tests.acceptance.program import (
    Program,
    booked,
    feed_text,
    handed_out,
    proof_of,
    sentences,
    settings_text,
    status_of,
    until,
)
from tests.databases import rows, value

NOWHERE = "http://127.0.0.1:9"


def polled(ended) -> dict[str, object]:
    """Return the only row of the result."""
    (row,) = json.loads(ended.stdout)
    return row


def test_a_drain_to_the_empty_page_exits_0_and_all_is_booked(play, program_for, database):
    sandbox = play(trades=130)

    ended = program_for(sandbox).call("poll", "--format", "json")

    assert (ended.returncode, sentences(ended)) == (0, [])
    row = polled(ended)
    assert (row["outcome"], row["pages"], row["messages"], row["booked"]) == ("empty", 3, 130, 130)
    assert proof_of(sandbox, database).holds


def test_law_7_a_page_that_comes_twice_changes_nothing(play, program_for, database):
    sandbox = play(trades=40)
    sandbox.control.plan({"fault": "duplicate_page", "nth": 2})

    ended = program_for(sandbox, page_size=20).call("poll", "--format", "json")

    row = polled(ended)
    assert (ended.returncode, row["messages"], row["booked"], row["duplicate"]) == (0, 60, 40, 20)
    assert booked(database) == handed_out(sandbox)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("close_after", "reset"),
        *(
            pytest.param(*each, marks=pytest.mark.nightly)
            for each in (
                ("cut_body", "cut"),
                ("html", "unreadable"),
                ("object", "unreadable"),
                ("503_after", "http_503"),
                ("429_after", "http_429"),
                ("foreign_request_id", "foreign_request_id"),
            )
        ),
    ],
)
def test_a_drain_that_ends_in_doubt_exits_3_and_is_never_forgotten(play, program_for, database, fault, cause):
    sandbox = play(trades=60)
    sandbox.control.plan({"fault": fault, "nth": 2, "non_empty": "true"})

    ended = program_for(sandbox).call("poll", "--format", "json")

    assert ended.returncode == 3
    row = polled(ended)
    assert (row["outcome"], row["pages"]) == ("in_doubt", 1)
    assert str(row["cause"]) == cause
    assert "trades may have been handed out and lost; see: stp-etl status" in ended.stderr
    assert len(booked(database)) >= 50
    assert (status_of(database)["state"], status_of(database)["open_gaps"]) == ("healing", 1)


def test_a_poll_in_doubt_is_shown_by_status_which_exits_3(play, program_for):
    sandbox = play(trades=60)
    sandbox.control.plan("close_after")
    program = program_for(sandbox)
    program.call("poll")

    status = program.call("status")

    assert status.returncode == 3
    assert "1 gap not healed; see: stp-etl gaps list --feed main" in status.stderr
    assert "the connection was lost before the answer was whole" in status.stdout


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("404_before", "the vendor refuses the queue (404) and hands nothing out"),
        pytest.param(
            "400_before", "the vendor refuses the queue (400) and hands nothing out", marks=pytest.mark.nightly
        ),
    ],
)
def test_a_refusal_is_a_sentence_and_exits_1(play, program_for, database, fault, said):
    sandbox = play(trades=10)
    sandbox.control.plan(fault)

    ended = program_for(sandbox).call("poll")

    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert handed_out(sandbox) == set()
    assert status_of(database)["in_doubt_polls"] == 0


def test_a_wrong_password_is_a_sentence_and_exits_1(play, tmp_path, database_url):
    sandbox = play(trades=10)
    wrong = User(password="not-the-one")

    ended = Program(tmp_path, settings_text(database_url, feed_text(sandbox.url, wrong))).call("poll")

    assert ended.returncode == 1
    (said,) = sentences(ended)
    assert said.startswith("stp-etl: feed main: the vendor refused the login of user apiUser of organisation pfOrg")
    assert "not-the-one" not in ended.stderr


def test_a_vendor_that_is_away_is_a_sentence_and_exits_1(tmp_path, database_url, database):
    ended = Program(tmp_path, settings_text(database_url, feed_text(NOWHERE))).call("poll")

    assert ended.returncode == 1
    assert sentences(ended) == ["stp-etl: feed main: POST /v2/sso/login: the vendor's server refused the connection"]
    assert status_of(database)["in_doubt_polls"] == 0


def test_a_database_that_is_away_is_a_sentence_and_nothing_is_pulled(play, tmp_path):
    sandbox = play(trades=10)
    url = f"postgresql://postgres@/postgres?host={tmp_path}"

    ended = Program(tmp_path, settings_text(url, feed_text(sandbox.url))).call("poll")

    assert ended.returncode == 1
    assert "the database cannot be reached" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert sandbox.control.requests() == []


def test_a_paused_feed_is_not_polled(play, program_for):
    sandbox = play(trades=10)
    program = program_for(sandbox)
    program.call("poll")
    asked = len(sandbox.control.requests())
    paused = program.call("feeds", "pause", "main", "--reason", "vendor maintenance")
    assert paused.returncode == 0, paused.stderr

    ended = program.call("poll")

    assert ended.returncode == 1
    assert "feed main is paused: vendor maintenance; resume it with: stp-etl feeds resume main" in ended.stderr
    assert len(sandbox.control.requests()) == asked
    assert program.call("feeds", "resume", "main", "--reason", "over").returncode == 0
    assert program.call("poll").returncode == 0


def test_while_a_daemon_leads_a_poll_is_done_by_it(play, program_for, database):
    sandbox = play(trades=10)
    program = program_for(sandbox, poll_interval_s=3600)
    with program.daemon() as daemon:
        daemon.started()
        until(lambda: len(booked(database)) == 10, what="the first drain")
        sandbox.control.execute(7)

        ended = program.call("poll", "--format", "json")

        assert daemon.stop() == 0
    (row,) = json.loads(ended.stdout)
    assert (ended.returncode, row["outcome"], row["messages"], row["booked"]) == (0, "empty", 7, 7), ended.stderr
    assert "leads it and is asked to poll (request 1)" in ended.stderr
    assert booked(database) == handed_out(sandbox)
    assert rows(database, "SELECT DISTINCT epoch FROM stp.poll") == [(1,)]
    assert [each["kind"] for each in daemon.events("request.ended")] == ["poll"]


def pulled(sandbox) -> int:
    """Return how often the queue was asked; other questions, such as those of reconciliation, take nothing."""
    return sum(each["endpoint"] == "messages" for each in sandbox.control.requests())


@pytest.mark.nightly
def test_a_poll_that_the_leader_cannot_do_says_why(play, program_for, database):
    sandbox = play(trades=5)
    program = program_for(sandbox, poll_interval_s=3600, error_pause_min_s=60, error_pause_max_s=60)
    sandbox.control.plan("503_after")
    with program.daemon() as daemon:
        daemon.started()
        until(lambda: daemon.events("poll.in_doubt"), what="the doubt")
        asked = pulled(sandbox)

        ended = program.call("poll")

        assert daemon.stop() == 0
    assert ended.returncode == 1
    assert re.search(r"feed main: it rests for \d+ s more, after trouble", ended.stderr), ended.stderr
    assert pulled(sandbox) == asked
    assert rows(database, "SELECT state FROM stp.request") == [("failed",)]


@pytest.mark.nightly
def test_a_poll_whose_leader_ends_is_done_by_the_command(play, program_for, database):
    sandbox = play(trades=5)
    program = program_for(sandbox)
    assert program.call("poll").returncode == 0
    sandbox.control.execute(3)
    lock_key = value(database, "SELECT lock_key FROM stp.feed")

    with database.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({lock_key})")
        connection.commit()
        asking = program.start("poll")
        until(lambda: rows(database, "SELECT FROM stp.request"), what="the request")
        connection.exec_driver_sql(f"SELECT pg_advisory_unlock({lock_key})")
        connection.commit()
        said, _ = asking.communicate(timeout=120)

    assert asking.returncode == 0, said
    assert rows(database, "SELECT state FROM stp.request") == [("withdrawn",)]
    assert booked(database) == handed_out(sandbox)


def test_without_a_feed_there_is_nothing_to_poll(tmp_path, database_url):
    ended = Program(tmp_path, settings_text(database_url)).call("poll")

    assert ended.returncode == 2
    assert "feeds: none is configured" in ended.stderr


def test_another_feed_of_the_settings_can_be_named(play, tmp_path, database_url, database):
    sandbox = play(trades=10)
    feeds = [feed_text(sandbox.url), feed_text(NOWHERE, name="other")]
    program = Program(tmp_path, settings_text(database_url, *feeds))

    assert program.call("poll", "--feed", "main").returncode == 0
    assert program.call("poll", "--feed", "mian").returncode == 2
    assert len(booked(database)) == 10


@pytest.mark.nightly
def test_a_vendor_that_is_away_does_not_keep_the_other_feeds_waiting(play, tmp_path, database_url):
    sandbox = play(trades=10)
    feeds = feed_text(NOWHERE).replace("[feeds.main]", "[feeds.aaa]") + feed_text(sandbox.url)

    ended = Program(tmp_path, settings_text(database_url, feeds)).call("poll", "--format", "json")

    assert ended.returncode == 1
    assert [(row["feed"], row["booked"]) for row in json.loads(ended.stdout)] == [("main", 10)]
    assert sentences(ended)[0].startswith("stp-etl: feed aaa: ")
