"""Alerts of the real daemon: none is lost by a kill, none holds up a trade, and a receiver can tell what it has."""

import socket
from collections import Counter

from tests.acceptance.program import booked, count_handed_out, until
from tests.databases import rows
from tests.receivers import HANGS, OK, Receiver


def alerting(program, url):
    """Set the receiver of a program that had none, or another."""
    text = program.file.read_text().partition("[alerts]")[0]
    program.file.write_text(f'{text}[alerts]\nurl = "{url}"\nsecret = "a-shared-secret"\ntimeout_s = 1\n')


def gaps_told(database):
    """Return id and state of each alert about a gap."""
    return rows(database, "SELECT alert_id::text, state FROM stp.alert WHERE kind = 'gap.opened'")


def test_a_kill_between_fact_and_sending_loses_no_alert_and_sends_it_twice_at_most(play, program_for, database):
    sandbox = play(trades=40)
    sandbox.control.plan({"fault": "close_after", "nth": 2, "non_empty": "true"})
    program = program_for(sandbox, page_size=10, ghost_s=3600)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        nowhere = f"http://127.0.0.1:{listening.getsockname()[1]}/hook"
    alerting(program, nowhere)
    with program.daemon() as daemon:
        until(lambda: gaps_told(database), what="the gap")
        daemon.kill()  # before anybody was told
    ((told, state),) = gaps_told(database)
    assert state == "waiting"

    with Receiver(HANGS) as receiver:
        alerting(program, receiver.url)
        with program.daemon() as daemon:
            until(lambda: told in receiver.ids, what="the request")
            until(lambda: count_handed_out(sandbox) == 40, what="the rest of the queue")
            until(lambda: len(booked(database)) == 30, what="the trades, whatever the receiver does")
            daemon.kill()  # the receiver has it, and we do not know

        receiver.manner = OK
        with program.daemon() as daemon:
            until(lambda: all(state == "sent" for _, state in gaps_told(database)), what="the second try")
            until(lambda: "lease.changed" in receiver.kinds, what="the news of the new leader")
            assert daemon.stop() == 0
            assert "a-shared-secret" not in daemon.said

    counted = Counter(receiver.ids)
    assert counted[told] == 2
    assert max(counted.values()) <= 2
    assert all("X-Stp-Etl-Signature" in headers for _, headers, _ in receiver.got)
