"""The notifier, with a real outbox and real receivers that are slow, refuse, fail, hang, dribble or redirect."""

import json
import socket
import subprocess
from datetime import timedelta
from threading import Event, Thread

import pytest

from etl.clock import SystemClock
from etl.config import KNOWN_SECRETS, AlertKind
from etl.ops.notify import Notifier, Policy, Target, message, post, signature
from etl.store.repositories.alerts import Alert, ClaimedAlert
from tests.certificates import an_expired_certificate
from tests.clocks import START
from tests.databases import rows
from tests.feeds import a_feed
from tests.receivers import (
    DRIBBLES,
    ENDLESS_HEADER,
    FAILS,
    FLOODS,
    HANGS,
    HANGS_UP,
    OK,
    REDIRECTS,
    Receiver,
)

BODY = b'{"text":"gap 17"}'
ALL = tuple(AlertKind)


class LateClock(SystemClock):
    """The machine's clock, so much later."""

    later = timedelta()

    def now(self):
        return super().now() + self.later


class Outbox:
    """A notifier at work on the outbox of a test."""

    def __init__(self, database, open_work, url, **more):
        self.database, self.open_work = database, open_work
        self.clock, self.stop = LateClock(), Event()
        self.feed = a_feed(open_work)
        target = Target(lambda: url, timeout_s=more.pop("timeout_s", 5.0)) if url else None
        self.policy = Policy(target, more.pop("wanted", ALL if url else ()), **{"retention_days": 30, **more})
        self.notifier = Notifier(open_work, self.clock, self.stop, lambda: self.policy)

    def tell(self, *keys, **more):
        with self.open_work() as work:
            for key in keys:
                given = {"kind": AlertKind.GAP_OPENED, "words": f"gap {key} <is> open & waits", **more}
                work.alerts.tell(Alert(key=key, at=self.clock.now(), feed_id=self.feed.feed_id, **given))
            work.commit()

    def states(self, columns="state"):
        return rows(self.database, f"SELECT {columns} FROM stp.alert ORDER BY id")


@pytest.fixture
def outbox(database, open_work):
    return lambda url, **more: Outbox(database, open_work, url, **more)


def test_the_signature_is_what_openssl_makes_of_it():
    # printf '1700000000.{"text":"gap 17"}' | openssl dgst -sha256 -hmac key
    assert [signature(key, 1_700_000_000, BODY) for key in ("key", "to-öpen")] == [
        "t=1700000000,v1=1f13c1cc859e58846eff6475e69ed750a27c5302933d500b4d6390e93d6486ff",
        "t=1700000000,v1=a299864c14fa60415bbfaf37033da273138227165ed29da7557bf8942c7acd4e",
    ]


def test_a_receiver_gets_what_slack_takes_with_id_time_and_signature():
    with Receiver() as receiver:
        target = Target(lambda: receiver.url, lambda: "key")
        assert post(target, "id-1", BODY, START) is None

    ((path, headers, body),) = receiver.got
    assert (path, body) == ("/services/T0/hook-key-1234", BODY)
    assert headers["X-Stp-Etl-Alert"] == "id-1"
    assert headers["X-Stp-Etl-Signature"] == signature("key", int(START.timestamp()), BODY)
    assert headers["Content-Type"] == "application/json; charset=utf-8"


def an_alert(**values):
    given = {
        "id": 1, "alert_id": "4be0643f-1d98-573b-97cd-ca98a65347dd", "kind": "gap.escalated", "feed": "main",
        "at": START, "words": "gap 17 is escalated", "fields": {"gap": 17}, "count": 1, "tries": 1, **values,
    }  # fmt: skip
    return ClaimedAlert(**given)


def test_the_form_of_an_alert_stays():
    assert message(an_alert()) == {
        "text": "URGENT: stp-etl, feed main: gap 17 is escalated",
        "attachments": [
            {
                "color": "danger",
                "fallback": "URGENT: stp-etl, feed main: gap 17 is escalated",
                "fields": [
                    {"title": "kind", "value": "gap.escalated", "short": True},
                    {"title": "feed", "value": "main", "short": True},
                    {"title": "at", "value": "2024-03-13T15:00:00+00:00", "short": True},
                    {"title": "gap", "value": "17", "short": True},
                ],
            }
        ],
        "metadata": {
            "event_type": "gap_escalated",
            "event_payload": {
                "id": "4be0643f-1d98-573b-97cd-ca98a65347dd",
                "urgent": True,
                "count": 1,
                "kind": "gap.escalated",
                "feed": "main",
                "at": "2024-03-13T15:00:00+00:00",
                "gap": 17,
            },
        },
    }


def test_what_an_alert_is_about_is_said_whatever_its_fields_are_called():
    fields = {"kind": "stale_feed", "feed": "x", "at": "x", "id": "x", "urgent": "x", "count": "x", "break": 17}
    alert = an_alert(kind="break.opened", fields=fields)

    payload = message(alert)["metadata"]["event_payload"]

    assert payload == message(an_alert(kind="break.opened", fields={"break": 17}))["metadata"]["event_payload"]
    assert message(alert)["attachments"][0]["fields"][0]["value"] == "break.opened"


def test_no_secret_and_no_mention_leaves_in_an_alert():
    KNOWN_SECRETS.keep("correct-horse-9")

    said = json.dumps(message(an_alert(words="<!channel> correct-horse-9", fields={"x": "<a|b> correct-horse-9"})))

    assert "correct-horse-9" not in said
    assert "<" not in json.loads(said)["text"]


def test_what_waits_is_sent_once(outbox):
    with Receiver() as receiver:
        box = outbox(receiver.url)
        box.tell("a", "b")
        box.notifier()
        box.notifier()

    assert box.states("key, state, tries") == [("a", "sent", 1), ("b", "sent", 1)]
    assert receiver.ids == [str(each) for (each,) in box.states("alert_id")]
    assert receiver.messages[0]["text"] == "stp-etl, feed main: gap a &lt;is&gt; open &amp; waits"


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        (FAILS, "the receiver answered 500"),
        (REDIRECTS, "the receiver answered 307, a redirect, which is not followed"),
        (HANGS_UP, "the receiver cannot be reached, or hung up"),
        (HANGS, "no answer of the receiver in time"),
        (DRIBBLES, "the receiver did not answer within 0.8 s"),
    ],
)
def test_a_receiver_that_does_not_take_it_is_asked_again_later_with_the_same_id(outbox, manner, said, capfd, caplog):
    with Receiver(manner) as receiver:
        box = outbox(receiver.url, timeout_s=0.4)
        box.tell("a", "b")
        box.notifier()
        assert box.states("key, state, tries, last_error") == [("a", "waiting", 1, said), ("b", "waiting", 0, None)]

        receiver.manner = OK
        box.notifier()
        assert box.states() == [("waiting",), ("sent",)]  # the pause of the first is not over
        box.clock.later = timedelta(seconds=6)
        box.notifier()

    assert box.states("state, last_error") == [("sent", None), ("sent", None)]
    assert receiver.ids[0] == receiver.ids[-1]
    assert all(path == "/services/T0/hook-key-1234" for path, _, _ in receiver.got)
    assert "hook-key" not in KNOWN_SECRETS.redacted(capfd.readouterr().out + caplog.text)  # as every log line is


def test_a_receiver_that_is_not_there_is_tried_with_growing_pauses_and_given_up_in_the_end(outbox, capfd, caplog):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/hook-key-1234"
    box = outbox(url, give_up_after_s=3600.0)
    box.tell("a")
    pauses = []
    for _ in range(10):
        box.notifier()
        ((at,),) = box.states("extract(epoch FROM not_before)::float8")
        pauses.append(round(at - box.clock.now().timestamp()))
        box.clock.later += timedelta(seconds=pauses[-1] + 1)

    assert pauses == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]
    assert box.states("last_error") == [("the receiver cannot be reached, or hung up",)]

    box.clock.later += timedelta(seconds=3600)
    box.notifier._tidied_at = None
    box.notifier()

    assert box.states() == [("dropped",)]
    assert "alert.given_up" in capfd.readouterr().out + caplog.text


def test_one_alert_that_a_receiver_dislikes_holds_up_no_other(outbox):
    with Receiver(FAILS) as receiver:
        box = outbox(receiver.url)
        box.tell("a")
        box.notifier()
        receiver.manner = OK
        box.tell("b")
        box.notifier()

    assert box.states() == [("waiting",), ("sent",)]


def test_without_a_receiver_and_for_muted_kinds_nothing_is_sent_or_waits(outbox):
    box = outbox(None)
    box.tell("a")
    box.notifier()
    assert box.states("state, last_error") == [("dropped", "not wanted")]

    with Receiver() as receiver:
        box = outbox(receiver.url, wanted=(AlertKind.DRIFT,))
        box.tell("b")
        box.tell("c", kind=AlertKind.DRIFT)
        box.notifier()
    assert receiver.kinds == ["drift.new_field"]


def test_another_receiver_and_other_kinds_hold_from_the_next_run_on(outbox):
    with Receiver() as before, Receiver() as since:
        box = outbox(before.url)
        box.tell("a")
        box.notifier()
        box.policy = Policy(Target(lambda: since.url), (AlertKind.DRIFT,))
        box.tell("b")
        box.tell("c", kind=AlertKind.DRIFT)
        box.notifier()

    assert (before.kinds, since.kinds) == (["gap.opened"], ["drift.new_field"])


def test_what_was_told_long_ago_is_forgotten(outbox):
    box = outbox(None, retention_days=30)
    box.tell("a")
    box.clock.later = timedelta(days=29)
    box.tell("b")
    box.clock.later = timedelta(days=31)
    box.notifier()

    assert box.states("key") == [("b",)]


def test_a_stop_does_not_wait_for_a_receiver_that_hangs(outbox):
    with Receiver(HANGS) as receiver:
        box = outbox(receiver.url, timeout_s=30.0)
        box.tell("a")
        running = Thread(target=box.notifier)
        running.start()
        while not receiver.got:
            running.join(0.05)
        box.stop.set()
        running.join(60)

        assert not running.is_alive()
    assert box.states("state, claimed_until IS NULL") == [("waiting", False)]


def test_receivers_that_dribble_for_ever_do_not_pile_up(outbox):
    with Receiver(DRIBBLES) as receiver:
        box = outbox(receiver.url, timeout_s=0.5)
        box.tell(*"abcdefgh")
        for _ in range(8):
            box.notifier()

        assert len(receiver.got) == 4


def test_a_certificate_is_verified_and_an_own_authority_may_be_named(tmp_path):
    certificate = tmp_path / "receiver.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=receiver", "-days", "2",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", certificate, "-out", tmp_path / "ca.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    certificate.write_text(certificate.read_text() + (tmp_path / "ca.pem").read_text())
    with Receiver(certificate=str(certificate)) as receiver:
        refused = post(Target(lambda: receiver.url), "i", BODY, START)
        taken = post(Target(lambda: receiver.url, ca_file=str(tmp_path / "ca.pem")), "i", BODY, START)

    assert refused == (
        "the receiver's certificate is not accepted (self-signed certificate); a private authority belongs into "
        "alerts.ca_file"
    )
    assert taken is None
    assert len(receiver.got) == 1


def test_a_certificate_that_is_over_is_not_accepted(tmp_path):
    certificate, key = an_expired_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_text(key.read_text() + certificate.read_text())
    with Receiver(certificate=str(both)) as receiver:
        refused = post(Target(lambda: receiver.url, ca_file=str(certificate)), "i", BODY, START)

    assert refused == (
        "the receiver's certificate is not accepted (certificate has expired); a private authority belongs into "
        "alerts.ca_file"
    )
    assert receiver.got == []


@pytest.mark.parametrize("manner", [FLOODS, ENDLESS_HEADER])
def test_a_receiver_that_answers_without_end_is_not_read_to_the_end(outbox, manner):
    with Receiver(manner) as receiver:
        box = outbox(receiver.url, timeout_s=2.0)
        box.tell("a")
        box.notifier()

    assert box.states() == [("sent" if manner == FLOODS else "waiting",)]  # of a body nothing is read


def test_a_proxy_of_the_environment_is_not_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with Receiver() as receiver:
        assert post(Target(lambda: receiver.url), "i", BODY, START) is None


def test_a_secret_that_cannot_be_read_is_an_error_of_this_try(outbox):
    def lost():
        raise OSError("secret file /run/x: is empty")

    with Receiver() as receiver:
        box = outbox(receiver.url)
        box.policy = Policy(Target(lambda: receiver.url, lost), ALL)
        box.tell("a")
        box.notifier()

    assert box.states("state, last_error") == [("waiting", "secret file /run/x: is empty")]
    assert receiver.got == []
