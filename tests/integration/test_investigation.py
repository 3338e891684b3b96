"""Investigation of position breaks: what it asks and finds, when it asks days again, and when a person must look."""

from datetime import timedelta

import pytest

from etl.domain.gaps import GapCause
from etl.domain.window import Window
from tests.databases import rows, value
from tests.reconciling import sandbox_at_noon

LATER = {"symbol": "EUR/USD", "tradeType": "Outright", "valueDate": "2030-07-22"}
BOUGHT = {"currency": "EUR", "side": "Buy"}
STEPS = "SELECT note FROM reporting.break_event WHERE deed = 'step' ORDER BY event_id"


@pytest.fixture(scope="module")
def pool():
    yield from sandbox_at_noon(60)


@pytest.fixture
def make(make_world):
    """Return a function that makes a drained feed after go-live, with these trades on one far value date."""

    def world(*amounts, rules=""):
        found = make_world(rules=rules)
        found.trades = [
            found.execute(**LATER, **BOUGHT, dealtAmount=amount, customerAccount=f"{found.user.org}LE1")
            for amount in amounts
        ]
        found.drained()
        found.open()
        return found

    return world


def wrong_by(world, base):
    world.control.position_error("EUR/USD", "2030-07-22", base=base, level="ORG", value=world.user.org)


def gaps(world):
    return rows(world.database, "SELECT cause, state, to_date - from_date + 1 FROM stp.gap ORDER BY id")


def found(world, number=1):
    """Return what the investigation of a break found, and what it says is to do."""
    said = value(world.database, "SELECT investigation FROM stp.recon_break WHERE id = :id", id=number)
    return said["found"], said["do"]


def until_a_person_must_look(world):
    """Investigate until no days are left that may be asked for again without a person."""
    for _ in range(3):
        world.investigate()
        world.heal()


def facts(world):
    """Return everything that an investigation writes."""
    tables = ("recon_break", "break_event", "gap", "resend", "trade_version")
    counts = [value(world.database, f"SELECT count(*) FROM stp.{each}") for each in tables]
    return counts, rows(
        world.database, "SELECT id, state, explained_by, investigation FROM stp.recon_break ORDER BY id"
    )


def test_a_cancelled_trade_is_named_adopted_and_the_position_is_right_in_the_same_run(make):
    world = make("1000", "200", "30")
    world.control.cancel(world.trades[1])

    assert world.investigate() == ["breaks", "agreed"]

    assert world.breaks("kind, state, trade_id") == [
        ("position", "cleared", None), ("status", "open", world.trades[1]),
    ]  # fmt: skip
    assert world.breaks("explained_by, reason")[0] == (f"{world.trades[1]} is Cancelled", "both sides agree")
    assert gaps(world) == []
    notes = [note for (note,) in rows(world.database, STEPS)]
    assert any(note == f"{world.trades[1]}: the vendor says Cancelled" for note in notes), notes


def test_a_break_on_a_position_that_is_gone_on_both_sides_is_cleared(make):
    world = make("1000")
    world.control.cancel(world.trades[0])

    assert world.investigate() == ["breaks", "agreed"]

    assert world.breaks("kind, state, reason")[0] == ("position", "cleared", "both sides agree")


def test_the_replacement_that_the_vendor_names_is_named_too(make):
    world = make("1000", "200")
    (replacement,) = world.control.roll(world.trades[0], valueDate="2030-07-23")

    assert world.investigate()[-1] == "agreed"

    notes = [note for (note,) in rows(world.database, STEPS)]
    assert f"{world.trades[0]}: the vendor says Rolled, replaced by {replacement}" in notes
    assert value(world.database, "SELECT live FROM reporting.trade WHERE trade_id = :id", id=replacement)


def test_a_replacement_that_never_came_is_asked_for_again_and_healed(make):
    world = make("1000", "200")
    world.control.variant(fills="404")  # so that its order does not name it
    (replacement,) = world.control.roll(world.trades[0], valueDate="2030-07-23")
    world.control.hide(replacement)

    world.investigate()

    assert [(cause, state) for cause, state, _ in gaps(world)] == [("position", "open")]
    world.control.hide(replacement, hidden=False)
    world.heal()
    assert world.investigate() == ["agreed"]
    assert {state for kind, _, state in world.breaks() if kind == "position"} == {"cleared"}


def test_a_lost_trade_of_a_known_order_is_asked_for_and_healed_without_a_hand(make):
    world = make("1000", "200")
    order = value(world.database, "SELECT order_id FROM reporting.trade WHERE trade_id = :id", id=world.trades[0])
    lost = world.execute(**LATER, orderId=order)
    world.control.hide(lost)

    world.investigate()

    assert world.breaks("kind, state, explained_by") == [("position", "investigating", lost)]
    assert [(cause, state) for cause, state, _ in gaps(world)] == [("position", "open")]

    world.control.hide(lost, hidden=False)
    world.heal()

    assert world.investigate() == ["agreed"]
    assert world.breaks("kind, state") == [("position", "cleared")]


def test_on_a_weekend_a_lost_trade_without_a_trade_date_has_the_last_business_days_asked_again(make):
    world = make("1000")
    order = value(world.database, "SELECT order_id FROM reporting.trade WHERE trade_id = :id", id=world.trades[0])
    world.control.hide(world.execute(**LATER, orderId=order))
    world.control.variant(omit="tradeDate")
    world.clock.ahead += timedelta(days=4)  # a Saturday

    world.investigate()

    days = "SELECT from_date::text, to_date::text FROM stp.gap"
    assert rows(world.database, days) == [("2030-07-04", "2030-07-06")]


def test_a_lost_trade_that_nothing_names_is_found_by_asking_the_days_again(make):
    world = make("1000")
    lost = world.execute(**LATER)
    world.control.hide(lost)

    world.investigate()

    assert gaps(world) == [("position", "open", 1)]
    world.control.hide(lost, hidden=False)
    world.heal()
    assert world.investigate() == ["agreed"]
    assert world.breaks("kind, state") == [("position", "cleared")]


def test_a_wrong_figure_is_widened_to_seven_days_and_then_waits_for_a_person(make):
    world = make("1000")
    wrong_by(world, "5")

    world.investigate()
    assert (gaps(world), world.breaks("state")) == ([("position", "open", 1)], [("investigating",)])
    world.heal()
    world.investigate()
    assert (gaps(world), world.breaks("state")) == ([("position", "open", 7)], [("investigating",)])
    world.heal()
    world.investigate()

    assert (gaps(world), world.breaks("state")) == ([("position", "escalated", 7)], [("open",)])
    what, do = found(world)
    assert what == "no trade of ours that the vendor was asked about explains it"
    assert "stp-etl breaks accept or resolve 1" in do
    assert "stp-etl gaps approve 1" in do


def test_the_same_facts_twice_change_nothing(make):
    world = make("1000")
    wrong_by(world, "5")
    for _ in range(3):
        world.investigate()
        world.heal()
    before = facts(world)

    world.investigate()
    world.heal()
    world.investigate()

    assert facts(world) == before


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("-200", "both sides would agree without {1}, and no other"),
        ("30", "both sides would agree with {2} twice, and no other"),
        ("-1030", "both sides would agree without {0} and {2}, and no other"),
    ],
)
def test_the_only_trades_that_would_explain_it_are_suggested(make, base, words):
    world = make("1000", "200", "30")
    wrong_by(world, base)

    until_a_person_must_look(world)

    ((explained,),) = world.breaks("explained_by")
    expected = words.format(*world.trades)
    assert expected in explained or " and ".join(sorted(expected.split(" and "))) in explained


def test_a_suggestion_that_is_not_the_only_one_is_none(make):
    world = make("200", "200")
    wrong_by(world, "-200")

    until_a_person_must_look(world)

    assert world.breaks("explained_by") == [(None,)]


def test_a_cancelled_trade_beside_a_wrong_figure_leaves_the_rest_for_a_person(make):
    world = make("1000", "200")
    world.control.cancel(world.trades[0])
    wrong_by(world, "7")

    assert world.investigate() == ["breaks", "breaks"]

    assert world.breaks("kind, state, difference")[0] == ("position", "investigating", 7)
    assert world.breaks("kind, trade_id")[1] == ("status", world.trades[0])


def test_a_trade_that_the_vendor_changed_in_silence_is_a_conflict_for_a_person(make):
    world = make("1000", "200")
    world.control.mutate(world.trades[0], dealtAmount="900")

    world.investigate()

    assert ("conflict", world.trades[0], "open") in world.breaks()
    assert value(world.database, "SELECT max(version) FROM stp.trade_version") == 1
    assert "other economics" in found(world)[0]


def test_a_trade_on_another_value_date_is_suggested(make):
    world = make("1000")
    for day, base in (("2030-07-22", "-1000"), ("2030-07-23", "1000")):
        world.control.position_error("EUR/USD", day, base=base, level="ORG", value=world.user.org)

    until_a_person_must_look(world)

    assert world.breaks("kind") == [("value_date_shift",)]
    assert f"both sides would agree with {world.trades[0]} on the other value date" in found(world)[0]


@pytest.mark.parametrize("endpoint", ["fills", "trade"])
def test_law_10_a_question_that_fails_concludes_nothing_and_is_asked_again(make, endpoint):
    world = make("1000", "200")
    world.control.variant(fills="404")
    world.control.cancel(world.trades[0])
    world.control.plan({"fault": "500", "endpoint": endpoint, "user": world.user.name, "times": 1})

    first = world.investigate()
    second = world.investigate()

    assert (first, second) == (["breaks"], ["breaks", "agreed"])
    assert gaps(world) == []


def test_law_10_a_vendor_that_answers_404_to_everything_explains_nothing(make):
    world = make("1000", "200")
    world.control.cancel(world.trades[0])
    world.control.variant(fills="404", trade_query="404")

    world.investigate()

    assert world.breaks("kind, state") == [("position", "investigating")]
    assert "both sides would agree" not in found(world)[0], "its days are still asked for"
    until_a_person_must_look(world)
    assert value(world.database, "SELECT max(version) FROM stp.trade_version") == 1
    assert f"both sides would agree without {world.trades[0]}" in found(world)[0]


def test_the_budget_of_questions_is_kept_and_the_next_run_goes_on(make):
    world = make("1000", "200", "30", rules="calls_per_run = 2")
    wrong_by(world, "5")

    world.investigate()

    asked = "SELECT count(*) FROM stp.vendor_reply WHERE subject IN ('fills', 'trade')"
    assert value(world.database, asked) == 2
    assert "the budget of 2 questions a run is used up" in found(world)[0]
    assert gaps(world) == []


def test_a_position_of_more_trades_than_the_budget_is_asked_to_its_end_in_several_runs(make):
    world = make("1000", "200", "30", "4", rules="calls_per_run = 3")
    wrong_by(world, "7")

    for _ in range(3):
        world.investigate()

    asked = "SELECT subject, count(*), count(DISTINCT question) FROM stp.vendor_reply"
    asked += " WHERE subject IN ('fills', 'trade')"
    assert rows(world.database, f"{asked} GROUP BY 1 ORDER BY 1") == [("fills", 4, 4), ("trade", 4, 4)]
    assert [cause for cause, *_ in gaps(world)] == ["position"]


def test_where_the_settings_forbid_adoption_a_person_is_told_what_to_do(make):
    world = make("1000", "200", rules="adopt_status = false")
    world.control.cancel(world.trades[0])

    assert world.investigate() == ["breaks"]

    assert world.breaks("kind, state") == [("position", "open"), ("status", "open")]
    assert "stp-etl breaks resolve --adopt" in found(world)[1]
    assert gaps(world) == []


def a_gap_is_opened(world):
    at = world.clock.now()
    with world.app.open_work() as work:
        window = Window.of(at.date(), at.date())
        work.gaps.open(world.feed.feed_id, GapCause.IN_DOUBT, window, at=at, not_before=at, evidence={})
        work.commit()


def test_other_gaps_are_waited_for_before_days_are_asked_again(make):
    world = make("1000")
    wrong_by(world, "5")
    a_gap_is_opened(world)

    world.investigate()

    assert [cause for cause, *_ in gaps(world)] == ["in_doubt"]
    assert "gap 1 is being healed" in found(world)[1]


def test_no_trade_of_ours_is_suggested_while_a_gap_may_bring_a_lost_one(make):
    world = make("1000", "200")
    wrong_by(world, "-200")
    suggested = f"both sides would agree without {world.trades[1]}"
    until_a_person_must_look(world)
    assert suggested in found(world)[0]

    a_gap_is_opened(world)
    world.investigate()
    meanwhile = found(world)[0], world.breaks("explained_by")
    world.heal()
    world.investigate()

    assert meanwhile == ("no trade of ours that the vendor was asked about explains it", [(None,)])
    assert suggested in found(world)[0]


def test_a_break_that_is_cleared_no_longer_names_a_trade_that_was_only_suggested(make):
    world = make("1000", "200")
    wrong_by(world, "-200")
    until_a_person_must_look(world)
    assert world.trades[1] in world.breaks("explained_by")[0][0]

    wrong_by(world, "200")
    world.investigate()

    assert world.breaks("state, explained_by, reason") == [("cleared", None, "both sides agree")]


def test_an_accepted_break_is_not_investigated(make):
    world = make("1000")
    wrong_by(world, "5")
    world.results()
    with world.app.open_work() as work:
        work.breaks.change(1, state="accepted")
        work.commit()

    world.investigate()

    assert gaps(world) == []
    assert rows(world.database, STEPS) == []
