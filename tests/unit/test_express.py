"""The faster reader: the very rows of the full reader, or nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.domain.answer import Piece
from etl.domain.fields import FIELDS, Reading
from etl.pipeline.express import read_ordinary
from etl.pipeline.reading import read_fully
from etl.store.repositories.answers import LandedAnswer
from etl.store.repositories.book import TradeText
from tests.builders import a_message, a_swap_message, an_ndf_message, as_bytes

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
ANSWER = LandedAnswer(1, NOW, NOW, 1, 200, None, b"")
READINGS = [
    Reading(),
    Reading(own_orgs=frozenset({"CustomerOrg"})),
    Reading(own_orgs=frozenset({"BrokerOrg1"})),
    Reading(non_deliverable_assets=frozenset({"EUR"})),
    Reading(ignored_in_comparison=frozenset({"note", "status"})),
    Reading(aliases={"settled_amount": ("settledAmt",)}),
]
ORDINARY = [a_message(), a_swap_message(), an_ndf_message()]
NAMES = [name for field in FIELDS for name in field.vendor_names]
TOKENS = st.one_of(
    st.sampled_from(["null", "true", "0", "-0", "0.00", "-1", "1E6", "1.10", '""', '" "', '"x"', "[]", "{}", "9" * 39]),
    st.sampled_from(
        ['"Buy"', '"SELL"', '"Spot"', '"Swap"', '"NDF"', '"2023-02-30"', '"2023-06-16"', '"EUR/USD"', '"USD"']
    ),
    st.sampled_from(
        ['"a\\tb"', '"\\u0000"', '"\\ud800"', '"Zürich"', '"\u00a0"', '"a\\\\b"', '"Cancelled"', '"BrokerOrg1"']
    ),
    st.decimals(allow_nan=False, allow_infinity=False, places=6).map(str),
    st.text(max_size=40).map(json.dumps),
)


def agree(raw: bytes, reading: Reading) -> bool:
    """Hold the two readers together; return whether the faster one had something to say."""
    fast = read_ordinary(raw, reading)
    if fast is None:
        return False
    full = read_fully(ANSWER, 0, Piece(0, raw), reading)
    assert isinstance(full.says, TradeText), full.says
    assert fast.text == full.says
    assert (fast.event, fast.content_hash, fast.executed_at) == (full.event, full.content_hash, full.executed_at)
    assert full.unknown_fields == ()
    return True


@pytest.mark.parametrize("message", ORDINARY, ids=["spot", "swap", "ndf"])
def test_ordinary_messages_are_read_by_the_faster_reader(message: dict[str, Any]) -> None:
    assert agree(as_bytes(message), Reading())


@pytest.mark.parametrize("name", ["Nordbank Zürich AG", 'Hedge & Sons "Seven" Ltd', " blank first"])
def test_names_that_copy_takes_as_they_are_are_ordinary(name: str) -> None:
    assert agree(as_bytes(a_message(counterpartyLongName=name)), Reading())


@pytest.mark.parametrize("note", ["a\\b", "a\tb\r\n\u0001", '"', "\\N", "Überweisung\tavisiert"])
def test_a_note_may_hold_any_characters(note: str) -> None:
    assert agree(as_bytes(a_message(note=note)), Reading())


def test_how_a_message_is_set_does_not_matter() -> None:
    spaced = json.dumps(json.loads(as_bytes(a_message(note="a b", dealtAmount=5, settledAmount=7))))

    assert agree(spaced.encode(), Reading())


@pytest.mark.parametrize("number", ["1084250.00", "0.10", "1.5", "1084250", "0.0000001"])
def test_the_faster_reader_spells_numbers_as_the_full_one_does(number: str) -> None:
    raw = as_bytes(a_message()).replace(
        b'"rate":1.08425', b'"rate":-0,"forwardPoints":-0.0,"spotRate":' + number.encode()
    )
    assert agree(raw.replace(b"1084250.00", number.encode()), Reading())


@pytest.mark.parametrize(
    "change",
    [
        {"anything": "new"},
        {"note": "a\0b"},
        {"user": "a\tb"},
        {"user": "a\\b"},
        {"status": " "},
        {"note": None},
        {"customerOrg": ""},
        {"counterparty": "\u00a0"},
        {"dealtAmount": "1"},
        {"dealtAmount": True},
        {"tradeDate": "2023-02-30"},
        {"side": "Hold"},
    ],
    ids=str,
)
def test_anything_unusual_is_left_to_the_full_reader(change: dict[str, Any]) -> None:
    assert read_ordinary(as_bytes(a_message(**change)), Reading()) is None


def test_a_key_that_stands_twice_is_left_to_the_full_reader() -> None:
    raw = as_bytes(a_message())

    assert read_ordinary(raw[:-1] + b',"side":"Sell"}', Reading()) is None
    assert read_ordinary(raw[:-1] + b',"usi":null}', Reading()) is None
    assert read_ordinary(b"{ " + raw[1:-1] + b',"side" :"Sell"}', Reading()) is None
    assert read_ordinary(raw[:-1] + b', "note":"\\u0022:","side":"Sell"}', Reading()) is None


@settings(max_examples=1500)
@given(
    st.sampled_from(ORDINARY),
    st.lists(st.tuples(st.sampled_from([*NAMES, "anything"]), TOKENS), max_size=4),
    st.lists(st.sampled_from(NAMES), max_size=2),
    st.sampled_from(READINGS),
)
def test_law_7_the_faster_reader_gives_the_rows_of_the_full_one_or_nothing(
    message: dict[str, Any], changes: list[tuple[str, str]], absent: list[str], reading: Reading
) -> None:
    fields = dict(part for part in _parts(as_bytes(message)) if part[0] not in absent)
    for name, token in changes:
        fields[name] = token
    raw = ("{" + ",".join(f"{json.dumps(name)}:{token}" for name, token in fields.items()) + "}").encode()

    agree(raw, reading)  # asserts that they agree


def _parts(raw: bytes) -> list[tuple[str, str]]:
    """Return the fields of a flat message, each value as it is written."""
    kept: list[tuple[str, str]] = []
    json.loads(
        raw,
        parse_float=lambda text: ("number", text),
        parse_int=lambda text: ("number", text),
        object_pairs_hook=lambda pairs: kept.extend(pairs),
    )
    return [(name, value[1] if isinstance(value, tuple) else json.dumps(value)) for name, value in kept]
