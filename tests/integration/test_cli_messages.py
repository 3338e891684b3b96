"""`stp-etl messages`: the vendor's own bytes, checked; and reading them again."""

import hashlib

import pytest

from tests.builders import ABSENT, a_raw_message
from tests.databases import change, value
from tests.feeds import landed

ODD = b'{ "tradeId" : "A\\u0000",\n\t"note": "caf\xc3\xa9 \xff" }'
ALIAS = """
[feeds.main.field_aliases]
settled_amount = ["settledAmt"]
"""


def test_the_exact_bytes_are_written(desk, stp_etl):
    number = desk.land(a_raw_message(), ODD)[1]

    shown = stp_etl.process("messages", "show", str(number), "--raw")

    assert (shown.code, shown.out.encode("utf-8", "surrogateescape"), shown.err) == (0, ODD, "")


def test_a_terminal_gets_no_control_characters_of_the_vendor_from_the_exact_bytes_either(desk, stp_etl):
    (number,) = desk.land('{"tradeId": "A\x9b2J\u202eB"}'.encode())

    shown = stp_etl.on_terminal("messages", "show", str(number), "--raw")

    assert shown == '{"tradeId": "A\\u009b2J\\u202eB"}\r\n'


def test_a_message_is_shown_with_what_brought_it_and_checked(desk, stp_etl):
    (number,) = desk.land(ODD)

    shown = stp_etl("messages", "show", str(number))

    card, text = shown.out.split("\n\n")
    lines = dict(line.split(maxsplit=1) for line in card.splitlines() if len(line.split()) > 1)
    assert shown.code == 0
    assert lines["state"] == "excepted"
    assert lines["sha256"] == hashlib.sha256(ODD).hexdigest()
    assert lines["verified"] == "yes, bytes and hashes agree"
    assert lines["request_id"] == value(desk.database, "SELECT request_id FROM stp.answer")
    assert text == '{ "tradeId" : "A\\u0000",\n\\u0009"note": "café \\xff" }\n'


def test_bytes_that_were_changed_are_told_and_fail(desk, stp_etl):
    (number,) = desk.land(a_raw_message())
    change(desk.database, "ALTER TABLE stp.answer DISABLE TRIGGER USER")
    change(desk.database, "UPDATE stp.answer SET body = replace(encode(body, 'escape'), '\"Buy\"', '\"Bux\"')::bytea")

    shown = stp_etl("messages", "show", str(number))

    assert shown.code == 1
    assert "the message does not have the sha256 that it was booked with" in shown.err
    assert "verified    no: the answer of poll" in shown.out


def test_a_message_that_waits_for_booking_is_shown_too(desk, stp_etl):
    poll = landed(desk.open_work, desk.feed, a_raw_message())

    shown = stp_etl("messages", "show", str(poll.poll_id * 100_000_000), "--format", "json")

    assert shown.json["state"] == "landed, not booked yet"
    assert '"tradeId":"FXI9369258100"' in shown.json["original"]


@pytest.mark.parametrize("number", ["7", "100000009"])
def test_an_unknown_message_is_a_sentence(desk, stp_etl, number):
    desk.land(a_raw_message())

    shown = stp_etl("messages", "show", number)

    assert (shown.code, shown.out) == (1, "")
    assert f"message {number} is not known" in shown.err


def test_messages_are_listed_by_trade_and_by_poll(desk, stp_etl):
    first = desk.land(a_raw_message(), a_raw_message(tradeId="B"))
    second = desk.land(a_raw_message(event="RESEND"))

    def listed(*words):
        return [
            (row["message_id"], row["state"]) for row in stp_etl("messages", "list", *words, "--format", "json").json
        ]

    assert listed("--trade", "FXI9369258100") == [(second[0], "duplicate"), (first[0], "booked")]
    assert listed("--poll", str(first[0] // 100_000_000)) == [(first[1], "booked"), (first[0], "booked")]
    assert listed("--state", "duplicate") == [(second[0], "duplicate")]


def test_messages_are_read_again_after_a_look_at_what_would_change(desk, stp_etl):
    (number,) = desk.land(a_raw_message(settledAmount=ABSENT, settledAmt=1084250))
    stp_etl.configure(ALIAS)

    looked = stp_etl.process("messages", "rebook", "--exceptions", "--dry-run", "--format", "json")
    unchanged = value(desk.database, "SELECT count(*) FROM stp.trade")
    done = stp_etl.process("messages", "rebook", "--message", str(number), "--reason", "FX-9", "--format", "json")
    again = stp_etl("messages", "rebook", "--exceptions")

    assert (looked.code, done.code, again.code) == (0, 0, 0)
    assert (unchanged, looked.json) == (0, done.json)
    assert done.json[0] | {"before": None} == {
        "feed": "main", "message_id": number, "trade_id": "FXI9369258100", "outcome": "booked", "field": "(message)",
        "before": None, "after": "booked, version 1",
    }  # fmt: skip
    assert "nothing was written" in looked.err
    assert "no message was chosen" in again.err
    deeds = stp_etl("audit", "list", "--format", "json").json
    assert [(row["operator"], row["deed"], row["reason"]) for row in deeds] == [("olga", "messages rebook", "FX-9")]


def test_trade_dates_choose_the_messages(desk, stp_etl):
    desk.land(a_raw_message(remark="x"), a_raw_message(tradeId="B", tradeDate="2023-06-05", remark="x"))
    stp_etl.configure('[feeds.main.field_aliases]\nnote = ["remark"]\n')

    done = stp_etl("messages", "rebook", "--from", "2023-06-01", "--to", "2023-06-03", "--format", "json")

    assert [(row["trade_id"], row["field"], row["after"]) for row in done.json] == [
        ("FXI9369258100", "note", "x"), ("FXI9369258100", "attributes.remark", None),
    ]  # fmt: skip
    assert "1 booked trade reads differently: a newer version" in done.err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--exceptions", "--message", "1"],
        ["--from", "2023-06-01"],
        ["--from", "2023-06-02", "--to", "2023-06-01"],
    ],
)
def test_messages_are_chosen_in_exactly_one_way(desk, stp_etl, words):
    assert stp_etl("messages", "rebook", *words).code == 2


def test_a_message_that_was_never_booked_cannot_be_read_again(desk, stp_etl):
    shown = stp_etl("messages", "rebook", "--message", "55")

    assert (shown.code, shown.err) == (
        1, "stp-etl: message 55 is not known, or not booked yet; see: stp-etl messages list\n",
    )  # fmt: skip


def test_a_state_that_no_message_has_is_refused(stp_etl):
    listed = stp_etl.process("messages", "list", "--state", "nope")

    assert listed.code == 2
    assert "'nope' is not one of 'booked', 'enriched', 'duplicate', 'conflict', 'excepted'" in " ".join(
        listed.err.split()
    )
