"""The sandbox writes and reads JSON without changing a digit, and signs for itself."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.sandbox import faults
from etl.sandbox.days import instant_of, stamp
from etl.sandbox.exact import Verbatim, text_of, value_of
from etl.sandbox.variants import Variants

numbers = st.decimals(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | st.integers() | st.text()
documents = st.recursive(leaves, lambda below: st.lists(below) | st.dictionaries(st.text(), below))


@given(documents)
def test_json_is_read_as_it_was_written(document):
    assert value_of(text_of(document)) == document


@given(numbers)
def test_a_decimal_keeps_its_digits_and_has_no_exponent(number):
    written = text_of({"amount": number})

    assert "E" not in written
    assert json.loads(written, parse_float=Decimal, parse_int=Decimal)["amount"] == number


def test_verbatim_text_stands_as_it_is():
    assert text_of([Verbatim("1E+6"), "1E+6"]) == '[1E+6,"1E+6"]'


@pytest.mark.parametrize("text", ["", "2022-04-21", "2022-04-21 13:00:00 +0000", "2022-04-21T13:00:00,000 +0000"])
def test_instants_have_one_notation(text):
    with pytest.raises(ValueError, match=r"form|match"):
        instant_of(text)


def test_an_instant_is_read_as_it_was_written():
    assert stamp(instant_of("2023-06-02 18:31:01,301 +0000")) == "2023-06-02 18:31:01,301 +0000"
    assert stamp(instant_of("2023-06-02 18:31:01,301 -0400")) == "2023-06-02 22:31:01,301 +0000"


def test_variants_are_read_from_text():
    changed = Variants().changed({"contra": "both", "shared_queue": "true", "token_life_s": "0.25", "oversize": "3"})

    assert (changed.contra, changed.shared_queue, changed.token_life_s, changed.oversize) == ("both", True, 0.25, 3)


def test_every_fault_can_be_read_and_no_other():
    for kind in faults.KINDS:
        name = f"{kind}:note" if kind in faults.FIELD else kind
        assert faults.fault_of_header(f"{name};delay_s=0.5;count=2").name == name
    with pytest.raises(ValueError, match="no such fault"):
        faults.fault_of({"fault": "flood"})


@pytest.mark.parametrize("kind", faults.BY_CHANCE)
def test_faults_of_chance_exist(kind):
    assert kind in faults.KINDS
