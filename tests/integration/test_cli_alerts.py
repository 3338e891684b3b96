"""`stp-etl alerts`: the way to the receiver tried, and what was told listed."""

import socket

from etl.config import AlertKind
from etl.store.repositories.alerts import Alert
from tests.clocks import START
from tests.feeds import a_feed
from tests.receivers import DRIBBLES, FAILS, Receiver


def settings(url, more=""):
    return f'[alerts]\nurl = "{url}"\n{more}\n'


def test_a_test_alert_arrives_and_says_whether_it_is_signed(stp_etl):
    with Receiver() as receiver:
        stp_etl.configure(settings(receiver.url))
        plain = stp_etl("alerts", "test")
        stp_etl.configure(settings(receiver.url, 'secret = "a-shared-secret"'))
        signed = stp_etl("alerts", "test")

    assert (plain.code, signed.code) == (0, 0)
    assert plain.err == ("the receiver took the test alert (not signed: set alerts.secret or secret_file to sign)\n")
    assert signed.err == "the receiver took the test alert (signed)\n"
    assert receiver.kinds == ["test", "test"]
    kept = stp_etl("audit", "list", "--format", "json").json
    assert [(row["deed"], row["operator"], row["details"]["taken"]) for row in kept] == [
        ("alerts test", "olga", True)
    ] * 2
    assert [row["details"]["alert_id"] for row in reversed(kept)] == receiver.ids
    assert ["X-Stp-Etl-Signature" in headers for _, headers, _ in receiver.got] == [False, True]


def test_a_receiver_that_does_not_take_it_is_a_sentence_without_its_address(stp_etl):
    with Receiver(FAILS) as receiver:
        stp_etl.configure(settings(receiver.url))
        failed = stp_etl("alerts", "test")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/hook-key-77"
    stp_etl.configure(settings(url))
    away = stp_etl("--debug", "alerts", "test")

    assert [row["details"]["said"] for row in stp_etl("audit", "list", "--format", "json").json] == [
        "the receiver cannot be reached, or hung up", "the receiver answered 500",
    ]  # fmt: skip
    assert (failed.code, failed.err) == (1, "stp-etl: the test alert was not taken: the receiver answered 500\n")
    assert away.code == 1
    assert "stp-etl: the test alert was not taken: the receiver cannot be reached, or hung up" in away.err
    assert "hook-key-77" not in away.err


def test_a_receiver_that_dribbles_does_not_hold_the_command(stp_etl):
    with Receiver(DRIBBLES) as receiver:
        stp_etl.configure(settings(receiver.url, "timeout_s = 0.3"))
        ended = stp_etl("alerts", "test")

    assert (ended.code, ended.err) == (
        1, "stp-etl: the test alert was not taken: the receiver did not answer within 0.6 s\n",
    )  # fmt: skip


def test_a_test_alert_arrives_without_a_database_and_that_is_said(stp_etl, monkeypatch):
    monkeypatch.setenv("STP_ETL__DATABASE__URL", "postgresql://nobody@127.0.0.1:1/nothing")
    with Receiver() as receiver:
        stp_etl.configure(settings(receiver.url))
        sent = stp_etl("alerts", "test")

    assert (sent.code, receiver.kinds) == (0, ["test"])
    assert "not kept in the audit log: " in sent.err


def test_without_a_receiver_the_settings_are_to_blame(stp_etl):
    ended = stp_etl("alerts", "test")

    assert ended.code == 2
    assert ended.err.startswith("stp-etl: alerts.url: is not set, so nobody is told; set url or url_file")


def test_wrong_settings_are_named_without_the_address(stp_etl):
    stp_etl.configure(settings("http://hooks.example/key-7", 'muted = ["gap.openend"]\nca_file = "/nowhere"'))

    ended = stp_etl("config", "check")

    assert ended.code == 2
    assert "alerts.url: must be https" in ended.err
    assert "alerts.muted" in ended.err
    assert "gap.openend is no kind of alert; there are: gap.opened, " in ended.err
    assert 'alerts.ca_file = "/nowhere": cannot be read: no such file or directory' in ended.err
    assert "key-7" not in ended.err


def test_the_address_is_a_secret(stp_etl):
    stp_etl.configure(settings("https://hooks.example/key-7"))

    shown = stp_etl("config", "show", "--format", "json")

    assert shown.code == 0
    assert "key-7" not in shown.out
    assert "hooks.example" not in shown.out


def test_alerts_are_listed_in_every_format_by_kind_and_state(stp_etl, open_work):
    feed = a_feed(open_work)
    with open_work() as work:
        work.alerts.tell(Alert(AlertKind.GAP_OPENED, "a", START, "gap 1 is open", feed.feed_id))
        work.alerts.tell(Alert(AlertKind.JOB_OVERDUE, "b", START, "job x hangs"))
        work.alerts.drop([AlertKind.GAP_OPENED], older_than=START, at=START)
        work.commit()

    everything = stp_etl("alerts", "list", "--format", "json").json
    assert [(row["kind"], row["state"], row["feed"]) for row in everything] == [
        ("job.overdue", "dropped", None),
        ("gap.opened", "waiting", "main"),
    ]
    assert [row["words"] for row in stp_etl("alerts", "list", "--state", "waiting", "--format", "json").json] == [
        "gap 1 is open"
    ]
    assert "job x hangs" in stp_etl("alerts", "list", "--kind", "job.overdue", "--format", "csv").out
    assert "the first 1 are shown" in stp_etl("alerts", "list", "--limit", "1").err
