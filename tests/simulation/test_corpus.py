"""The corpus of known errors: each is found, nothing is invented, nothing cleared that differs; and it can fail."""

import pytest

from etl.controls.positions import PositionControl
from etl.store.repositories.breaks import BreakRepository
from tests.simulation.corpus import INJECTIONS, played, shares

KINDS = sorted(INJECTIONS)


@pytest.mark.parametrize("kinds", [KINDS[:4], KINDS[4:8], KINDS[8:]], ids=" ".join)
def test_each_error_is_found_and_nothing_else(postgres, kinds):
    (outcome,) = played(postgres, [1], kinds)

    assert outcome.faults == []
    assert sorted(outcome.found) == sorted(kinds)


@pytest.mark.nightly
def test_seeded_worlds_have_no_false_break_and_no_false_clear(postgres):
    outcomes = list(played(postgres, range(2_000, 2_020)))

    print(shares(outcomes))
    assert [(each.seed, each.kinds, each.faults) for each in outcomes if each.faults] == []
    assert sum(len(each.kinds) for each in outcomes) > 10


@pytest.mark.nightly
def test_a_difference_without_a_break_would_be_noticed(postgres, monkeypatch):
    monkeypatch.setattr(PositionControl, "_write", lambda *_: [])

    (outcome,) = played(postgres, [1], ["wrong_figure"])

    assert any(each.startswith("false clear") for each in outcome.faults), outcome.faults
    assert any(each.startswith("not found") for each in outcome.faults), outcome.faults


@pytest.mark.nightly
def test_a_break_without_a_difference_would_be_noticed(postgres, monkeypatch):
    monkeypatch.setattr(BreakRepository, "clear", lambda *_, **__: None)

    (outcome,) = played(postgres, [1], ["cancel"])

    assert any(each.startswith("false break") for each in outcome.faults), outcome.faults
