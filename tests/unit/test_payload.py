"""Bytes to fields: numbers digit for digit, no key twice, nothing raises (law 8, design.md §3)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain.payload import ELEMENT, MAX_DEPTH, Number, decode
from etl.domain.trade import Rejected
from tests.builders import a_message, a_raw_message

number_tokens = st.from_regex(r"-?(0|[1-9][0-9]{0,37})(\.[0-9]{1,38})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


def rule_of(raw):
    found = decode(raw)
    assert isinstance(found, Rejected), found
    return {fault.field: fault.rule for fault in found.faults}


@pytest.mark.parametrize(
    "token",
    ["0", "-0", "-0.0", "1E6", "1e+06", "1.10", "1.0000000000000000000000000000000000000001e-5", "1e999", "-12"]
    + ["1E999999999999999999999", "9" * 19, "9" * 400, "9" * 5000, f"0.{'0' * 5000}1", "NaN", "Infinity", "-Infinity"],
    ids=lambda token: token[:20],
)
@pytest.mark.parametrize("form", ['{"x":%s}', '{"x" : %s }', '{"x":%s,"y":[1]}', '{"y":"\\ud800","x":%s}'])
def test_law_8_a_number_keeps_its_digits(token, form):
    value = decode((form % token).encode())["x"]

    assert str(value) == token if len(token) < 4000 else value == token
    assert type(value) in (int, Number)


@given(number_tokens)
def test_law_8_any_number_keeps_its_digits(token):
    assert str(decode(b'{"x":%s}' % token.encode())["x"]) == token


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b'{"a":1,"a":2}', "a"),
        (b'{"a":1,"a":1}', "a"),
        (b'{"a":1,"a" :1}', "a"),
        (b'{"a":1,"a"\n:1}', "a"),
        (b'{"a":1,"\\u0061":2}', "a"),
        (b'{"a":"x","a":null}', "a"),
        (b'{"a":null,"a":"x"}', "a"),
        (b'{"x":{"b":1,"b":2}}', "b"),
        (b'{"x":[[{"b":1,"b":2}]]}', "b"),
        (b'{"a":1,"x":"\\":","a":2}', "a"),
        (b'{"a":"\\ud800","b":1,"b":2}', "b"),
        (b'{"":1,"":2}', ""),
        (b'{"\\u0000":1,"\\u0000":2}', "\\u0000"),
    ],
)
def test_law_8_a_key_that_stands_twice_is_a_fault(raw, name):
    assert rule_of(raw) == {name: "stands twice in one object"}


@given(
    st.lists(st.tuples(st.text('ab":\\ ', max_size=2), st.text('":, ', max_size=3) | st.integers()), max_size=4),
    st.sampled_from([(",", ":"), (", ", ": "), (",", " :"), (" ,\n", "\t: ")]),
)
def test_law_8_keys_that_stand_twice_are_always_found(pairs, separators):
    comma, colon = separators
    raw = "{" + comma.join(f"{json.dumps(name)}{colon}{json.dumps(value)}" for name, value in pairs) + "}"
    names = [name for name, _ in pairs]

    found = decode(raw.encode())

    assert isinstance(found, Rejected) == (len(set(names)) < len(names))
    if not isinstance(found, Rejected):
        assert list(found) == names


def test_every_key_that_stands_twice_is_named():
    assert list(rule_of(b'{"a":1,"b":1,"b":2,"a":2}')) == ["a", "b"]


@pytest.mark.parametrize("raw", [b"1", b"null", b"[]", b'"text"', b"NaN", b"true", b'[{"tradeId":"a"}]'])
def test_an_element_that_is_no_object_is_a_fault(raw):
    assert rule_of(raw) == {ELEMENT: "is not a JSON object"}


@pytest.mark.parametrize("raw", [b"", b" ", b"nonsense", b'{"a":1', b"{'a':1}", b'{"a":+1}', b'{"a":01}', b"\xff"])
def test_what_is_no_json_is_a_fault(raw):
    assert rule_of(raw)[ELEMENT].startswith("is not JSON")


@pytest.mark.parametrize("depth", [MAX_DEPTH, 500, 5000, 100_000])
@pytest.mark.parametrize("pair", ["[]", "{}"])
def test_what_is_nested_too_deep_is_a_fault(depth, pair):
    opening = '{"a":' if pair == "{}" else "["
    raw = b'{"x":' + (opening * depth + "1" + pair[1] * depth).encode() + b"}"

    assert "nested deeper" in rule_of(raw)[ELEMENT]


def test_what_is_nested_as_deep_as_allowed_is_no_fault():
    assert "x" in decode(b'{"x":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}")


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (rb'{"x":"\ud800"}', "\ud800"),
        (rb'{"x":"\ud83d\ude00"}', "\U0001f600"),
        (b'{"x":"a\xffb"}', "a\udcffb"),
        (b'{"x":"\\u0000"}', "\0"),
        (b'{"x":"\0"}', "\0"),
        (b'{"x":"a\nb"}', "a\nb"),
    ],
)
def test_text_that_is_not_quite_sound_is_left_to_the_rule_of_its_field(raw, value):
    assert decode(raw) == {"x": value}


def test_the_value_of_a_fault_is_short_and_storable():
    value = decode(b"\0\xff" + b"x" * 5_000_000).faults[0].value

    assert value.startswith("\\u0000\\xffxxx")
    assert len(value) == 200


def test_a_usual_message_comes_out_as_it_is():
    assert decode(a_raw_message()) == a_message()
    assert decode(json.dumps({"note": 'said "done": [yes]', "n": 1}, indent=1).encode()) == {
        "note": 'said "done": [yes]',
        "n": "1",
    }


@given(st.binary(max_size=40) | st.text('{}[]":,\\u0a1e.-', max_size=40).map(str.encode))
def test_no_bytes_raise(raw):
    assert isinstance(decode(raw), dict | Rejected)
