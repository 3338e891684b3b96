"""`stp-etl trades`: lists, one trade, its history, and what was known at an instant."""

import csv
import io
from datetime import timedelta

import pytest

from tests.builders import a_raw_message, a_swap_message, as_bytes
from tests.clocks import START


@pytest.fixture
def two_versions(desk):
    """A trade whose rate the vendor changed an hour after it was booked; returns its two messages."""
    (first,) = desk.land(a_raw_message())
    desk.clock.advance(3600)
    (second,) = desk.land(a_raw_message(dealtAmount=2000000, note="corrected"), at=START + timedelta(hours=1))
    return first, second


def test_the_list_is_filtered(desk, stp_etl):
    desk.land(
        a_raw_message(tradeId="A", tradeDate="2023-06-01"),
        a_raw_message(tradeId="B", symbol="USD/JPY", currency="USD", settledAmount=140000000, rate=140),
        a_raw_message(tradeId="C", status="Cancelled"),
    )

    def ids(*words):
        return [row["trade_id"] for row in stp_etl("trades", "list", "--format", "json", *words).json]

    assert ids() == ["C", "B", "A"]
    assert ids("--trade-date", "2023-06-01") == ["A"]
    assert ids("--from", "2023-06-02", "--to", "2023-06-30") == ["C", "B"]
    assert ids("--symbol", "USD/JPY", "--feed", "main") == ["B"]
    assert ids("--status", "cancelled") == ["C"]


def test_the_list_says_when_there_is_more(desk, stp_etl):
    desk.land(*(a_raw_message(tradeId=str(number)) for number in range(3)))

    shown = stp_etl("trades", "list", "--limit", "2", "--format", "csv")

    assert [row["trade_id"] for row in csv.DictReader(io.StringIO(shown.out))] == ["2", "1"]
    assert shown.err == "the first 2 are shown; see more with --limit\n"
    assert "see more" not in stp_etl("trades", "list", "--limit", "3").err


def test_a_trade_is_shown_with_its_legs_and_every_digit(desk, stp_etl):
    desk.land(as_bytes(a_swap_message(dealtAmount=1000000)))

    shown = stp_etl("trades", "show", "FXI9369258100", "--format", "json")

    assert shown.code == 0
    assert shown.json["trade_type"] == "Swap"
    assert len(bytes.fromhex(shown.json["content_hash"])) == 32
    assert [(leg["leg_no"], leg["settled_amount"]) for leg in shown.json["legs"]] == [
        (1, "-1084250.00"),
        (2, "1085900.50"),
    ]


def test_the_history_says_what_changed_from_what_to_what(stp_etl, two_versions):
    shown = stp_etl("trades", "show", "FXI9369258100", "--history", "--format", "json")

    first, second = shown.json
    assert [first["message_id"], second["message_id"]] == list(two_versions)
    assert (first["known_from"], first["known_to"]) == ("2024-03-13T15:00:00Z", second["known_from"])
    assert (first["changes"], second["known_to"]) == ([], None)
    assert second["changes"] == [
        {"field": "leg1.dealt_amount", "before": "1000000", "after": "2000000"},
        {"field": "note", "before": None, "after": "corrected"},
    ]
    table = stp_etl("trades", "show", "FXI9369258100", "--history")
    assert "leg1.dealt_amount: 1000000 → 2000000; note: nothing → corrected" in table.out


@pytest.mark.parametrize(("instant", "version"), [("2024-03-13T15:30Z", 1), ("2024-03-13T12:00:01-04:00", 2)])
def test_what_was_known_at_an_instant(stp_etl, two_versions, instant, version):
    shown = stp_etl("trades", "show", "FXI9369258100", "--as-of", instant, "--format", "json")

    assert shown.json["version"] == version
    assert shown.json["legs"][0]["dealt_amount"] == f"{version}000000"


def test_before_the_first_version_it_was_not_known(stp_etl, two_versions):
    shown = stp_etl("trades", "show", "FXI9369258100", "--as-of", "2024-03-13T14:59")

    assert shown.code == 3
    assert "not known then; it was booked at 2024-03-13T15:00:00Z" in shown.err


@pytest.mark.parametrize("instant", ["2024-03-13", "yesterday"])
def test_a_day_alone_is_no_instant(stp_etl, two_versions, instant):
    assert stp_etl("trades", "show", "X", "--as-of", instant).code == 2


def test_an_unknown_trade_is_a_sentence_that_says_where_to_look(stp_etl, desk):
    shown = stp_etl.process("trades", "show", "NOPE")

    assert (shown.code, shown.out) == (1, "")
    assert shown.err.startswith("stp-etl: trade NOPE is not in the book; look among the exception items")


def test_an_unknown_feed_is_a_sentence_that_names_the_known(stp_etl, desk):
    shown = stp_etl("trades", "list", "--feed", "mian")

    assert (shown.code, shown.err) == (1, "stp-etl: the database knows no feed mian; it knows: main\n")
