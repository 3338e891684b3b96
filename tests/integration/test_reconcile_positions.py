"""Positions against the sandbox's own: what becomes a break, what does not, and every form that A14 leaves open."""

from datetime import timedelta
from decimal import Decimal

import pytest

from etl.controls.questions import Order
from etl.reconcile import Wanted, done
from tests.databases import rows, value
from tests.reconciling import NOON, World, sandbox_at_noon


@pytest.fixture(scope="module")
def pool():
    yield from sandbox_at_noon(90)


@pytest.fixture
def fresh(make_world):
    """A drained feed before go-live."""
    return make_world()


@pytest.fixture
def world(fresh):
    """A feed after go-live."""
    fresh.open()
    return fresh


def wrong_by(world, base, **more):
    symbol, day = world.a_key()
    world.control.position_error(symbol, day, base=base, **{"level": "ORG", "value": world.user.org} | more)
    return f"ORG {world.user.org} {symbol} {day}"


def test_before_go_live_nothing_is_a_break(fresh):
    wrong_by(fresh, "5")

    assert fresh.results() == {"no_opening"}
    assert fresh.breaks() == []


def test_after_go_live_books_that_agree_have_no_break(world):
    assert world.results(entities=True) == {"agreed"}
    assert world.breaks() == []
    run = rows(
        world.database,
        "SELECT compared = agreed, breaks, cited <> '[]', basis ? 'drained' FROM reporting.reconciliation_run",
    )
    assert set(run) == {(True, 0, True, True)}


def test_an_opening_is_carried_on_and_no_trade_comes_of_it(fresh):
    wrong_by(fresh, "1000")

    fresh.open()
    fresh.execute(symbol="EUR/USD")

    assert fresh.results() == {"agreed"}
    assert value(fresh.database, "SELECT count(*) FROM stp.trade_version WHERE source <> 'queue'") == 0


def test_a_wrong_figure_is_a_break_with_its_amount_until_it_is_right_again(world):
    key = wrong_by(world, "250000")

    assert world.results() == {"breaks"}
    assert world.breaks("kind, key, difference, state, severity, reporting_currency") == [
        ("position", key, 250000, "open", "medium", "USD")
    ]

    wrong_by(world, "-250000")
    assert world.results() == {"agreed"}
    assert world.breaks("state, closed_by, reason") == [("cleared", "stp-etl", "both sides agree")]


def test_a_break_that_comes_back_is_the_same_row(world):
    wrong_by(world, "5")
    world.results()
    wrong_by(world, "-5")
    world.results()
    wrong_by(world, "7")
    world.results()

    assert world.breaks("difference, state, reopened") == [(7, "open", 1)]
    deeds = rows(world.database, "SELECT deed FROM reporting.break_event ORDER BY event_id")
    assert [each for (each,) in deeds] == ["opened", "cleared", "reopened"]


def test_a_known_break_needs_no_second_look_and_no_second_row(world):
    wrong_by(world, "5")
    world.results()
    world.results()

    assert world.breaks("state, seen") == [("open", 2)]
    looks = rows(
        world.database, "SELECT (basis ->> 'looks')::int FROM reporting.reconciliation_run ORDER BY run_id DESC LIMIT 2"
    )
    assert looks == [(1,), (2,)]


def test_equal_and_opposite_on_two_value_dates_is_one_break(world):
    symbol, day = world.a_key()
    days = rows(
        world.database,
        "SELECT DISTINCT value_date::text FROM reporting.position WHERE symbol = :symbol AND value_date > :day",
        symbol=symbol, day=day,
    )  # fmt: skip
    other = min(days)[0] if days else "2030-12-30"
    world.control.position_error(symbol, day, base="-700")
    world.control.position_error(symbol, other, base="700")

    world.results()

    assert world.breaks() == [("value_date_shift", f"ORG {world.user.org} {symbol} {day} {other}", "open")]


def test_a_tolerance_lets_a_difference_pass(pool, database, tmp_path):
    sandbox, users = pool
    rules = '[reconciliation.tolerance_units]\n"POSITION:EUR/USD" = 100\n'
    world = World(sandbox, next(users), database, tmp_path, rules=rules)
    try:
        world.open()
        wrong_by(world, "1.00")
        inside = world.results()
        wrong_by(world, "0.01")

        assert (inside, world.results()) == ({"agreed"}, {"breaks"})
    finally:
        sandbox.control.post("position-error", {"clear": True})
        world.close()


@pytest.mark.parametrize("fault", ["500", "404", "429", "object", "html", "null", "cut_body", "close_before"])
def test_law_10_a_question_that_fails_is_never_flat(world, fault):
    world.control.plan({"fault": fault, "endpoint": "positions", "user": world.user.name})

    assert world.results() == {"query_failed"}
    assert world.breaks() == [("query_failed", f"positions ORG {world.user.org}", "open")]

    assert world.results() == {"agreed"}
    assert world.breaks("state, reason") == [("cleared", "the same question was answered")]


def test_a_question_that_fails_again_says_why_it_failed_last(world):
    for fault in ("500", "object"):
        world.control.plan({"fault": fault, "endpoint": "positions", "user": world.user.name})
        world.results()

    words = "the answer cannot be read: it is an object with 0 arrays inside; exactly one is expected"
    assert world.breaks("comment, reopened, seen") == [(words, 0, 2)]


def with_far_trades(world, count):
    """Return value dates, each of one trade of its own."""
    found = [f"2032-08-{number:02d}" for number in range(2, 2 + count)]
    for each in found:
        world.execute(symbol="EUR/USD", tradeType="Outright", valueDate=each, currency="EUR", side="Buy")
    world.drained()
    return found


def told(world, day, **row):
    world.control.position_error("EUR/USD", day, level="ORG", value=world.user.org, **row)


def last_run(world, columns):
    run = f"SELECT {columns} FROM reporting.reconciliation_run ORDER BY run_id DESC LIMIT 1"
    return rows(world.database, run)[0]


FAULTS_OF_A_KEY = (
    ({"wire": {"netOpenBase": "NaN"}}, "netOpenBase is NaN, which is no number"),
    ({"wire": {"netOpenBase": None}}, "netOpenBase is None, which is no number"),
    ({"wire": {"netOpenBase": '"1,000"'}}, "netOpenBase is 1,000, which is no number"),
    ({"twice": True}, "stands 2 times in one answer"),
    ({"wire": {"levelValue": '"another"'}}, "is about levelValue another"),
)
FAULTS_WITHOUT_A_KEY = (
    ({"wire": {"symbol": '"EURUSD"'}}, "row symbol is EURUSD, which is no BASE/TERM"),
    ({"wire": {"symbol": None}}, "row symbol is None, which is no BASE/TERM"),
    ({"wire": {"valueDate": '"2032-02-30"'}}, "row valueDate of EUR/USD is 2032-02-30, which is no day"),
    ({"wire": {"valueDate": None}}, "row valueDate of EUR/USD is None, which is no day"),
)


@pytest.mark.parametrize("faults", [FAULTS_OF_A_KEY, FAULTS_WITHOUT_A_KEY], ids=["of_a_key", "without_a_key"])
def test_law_10_a_faulty_row_decides_nothing_about_its_key_and_the_others_are_compared(fresh, faults):
    fresh.execute(symbol="GBP/USD", tradeType="Outright", valueDate="2032-08-20")
    days = with_far_trades(fresh, len(faults))
    fresh.open()
    for day in days:
        told(fresh, day, base="5")
    assert fresh.results() == {"breaks"}
    breaks = [("position", f"ORG {fresh.user.org} EUR/USD {day}", "open") for day in days]

    for day, (fault, _) in zip(days, faults, strict=True):
        told(fresh, day, base="-5", **fault)  # the figures would agree again
    fresh.control.position_error("GBP/USD", "2032-08-20", base="7", level="ORG", value=fresh.user.org)
    assert fresh.results() == {"breaks"}

    failed = ("query_failed", f"positions ORG {fresh.user.org}", "open")
    other = ("position", f"ORG {fresh.user.org} GBP/USD 2032-08-20", "open")
    assert fresh.breaks() == [*breaks, failed, other]
    said = value(fresh.database, "SELECT comment FROM reporting.break WHERE kind = 'query_failed'")
    assert said.startswith(f"{len(faults)} rows cannot be relied on: ")
    assert [words for _, words in faults if words not in said] == []
    decided = "(counts ->> 'faulty_rows')::int, (counts ->> 'left')::int, compared - agreed - breaks"
    assert last_run(fresh, decided) == (len(faults),) * 3

    fresh.control.post("position-error", {"clear": True})
    assert fresh.results() == {"agreed"}
    assert {(state, reason) for state, reason in fresh.breaks("state, reason")} == {
        ("cleared", "both sides agree"), ("cleared", "the same question was answered"),
    }  # fmt: skip


@pytest.mark.parametrize("fault", [{"wire": {"netOpenBase": "NaN"}}, {"wire": {"symbol": None}}], ids=str)
def test_law_10_no_opening_is_taken_from_an_answer_with_a_faulty_row(fresh, fault):
    (day,) = with_far_trades(fresh, 1)
    told(fresh, day, **fault)

    (outcome,) = (each for each in fresh.positions(opening=True) if each.subject == f"positions ORG {fresh.user.org}")

    assert (outcome.result, outcome.compared > outcome.agreed) == ("unconfirmed", True)
    assert value(fresh.database, "SELECT count(*) FROM stp.opening WHERE level = 'ORG'") == 0
    assert fresh.results() == {"no_opening"}

    fresh.control.post("position-error", {"clear": True})
    fresh.open()
    assert fresh.breaks("kind, state") == [("query_failed", "cleared")]


def test_law_10_a_term_amount_that_is_to_be_compared_and_is_not_said_is_no_agreement(make_world):
    world = make_world(rules='compare_term = "flows"')
    (day,) = with_far_trades(world, 1)
    world.open()
    told(world, day, wire={"netOpenterm": "NaN"})

    assert world.results() == {"unconfirmed"}
    assert world.breaks("kind, comment") == [
        (
            "query_failed",
            f"1 rows cannot be relied on: EUR/USD {day} netOpenterm is no number, and compare_term = flows needs it",
        )
    ]
    (detail,) = last_run(world, "detail")
    assert detail.startswith(f"rows that cannot be relied on: 1, the first: EUR/USD {day} netOpenterm is no number")


def test_value_dates_that_have_come_are_left_out_of_a_run_and_counted(world):
    told(world, "2030-07-02", base="5")
    told(world, "2029-12-31", base="5")

    assert world.results() == {"agreed"}
    assert (world.breaks(), last_run(world, "(counts ->> 'past_value_dates')::int")) == ([], (2,))


def test_a_symbol_that_nobody_knows_is_compared_to_its_last_digit(fresh):
    unknown = {"symbol": "QQA/QQB", "tradeType": "Outright", "valueDate": "2032-08-20", "rate": "1.5"}
    fresh.execute(**unknown, currency="QQA", side="Buy", dealtAmount="1000.000000001")
    fresh.drained()
    fresh.open()
    agreed = fresh.results()
    fresh.control.position_error("QQA/QQB", "2032-08-20", base="0.000000001", level="ORG", value=fresh.user.org)

    assert (agreed, fresh.results()) == ({"agreed"}, {"breaks"})
    assert fresh.breaks("key, difference, currency, severity") == [
        (f"ORG {fresh.user.org} QQA/QQB 2032-08-20", Decimal("0.000000001"), "QQA", "unknown")
    ]


@pytest.mark.parametrize(
    "variant",
    [
        {"positions_sign": "side"}, {"positions_sign": "side", "positions_side": "long_short"},
        {"positions_shape": "object"}, {"positions_shape": "paged", "positions_page": 7},
        {"positions_shape": "children"}, {"positions_flat": "left_out"}, {"positions_ndf": "until_fixing"},
        {"positions_term": "average"},
    ],
    ids=lambda variant: "-".join(map(str, variant.values())),
)  # fmt: skip
def test_each_form_of_the_vendors_positions_is_read_alike(world, variant):
    world.control.variant(**variant)

    assert world.results() == {"agreed"}, world.breaks("key, ours, theirs")


@pytest.mark.parametrize("reading", ["flows", "average"])
def test_the_term_amount_is_compared_by_the_reading_of_the_settings(pool, database, tmp_path, reading):
    sandbox, users = pool
    sandbox.control.variant(positions_term=reading)
    world = World(sandbox, next(users), database, tmp_path, rules=f'compare_term = "{reading}"')
    last = "SELECT counts -> 'term' FROM reporting.reconciliation_run ORDER BY run_id DESC LIMIT 1"
    try:
        world.open()
        agreed = world.results()
        counts = value(database, last)
        sandbox.control.variant(positions_term="average" if reading == "flows" else "flows")

        assert (agreed, world.results()) == ({"agreed"}, {"breaks"})
        assert counts[reading] + counts["both"] > 0 == counts["neither"]
        assert all(base == 0 and term for base, term in world.breaks("difference, difference_term"))
    finally:
        sandbox.control.variant(positions_term="flows")
        world.close()


def test_no_reading_of_the_messages_explains_positions_that_differ_in_their_term_amount_alone(pool, database, tmp_path):
    sandbox, users = pool
    world = World(sandbox, next(users), database, tmp_path, rules='compare_term = "flows"')
    try:
        keys = [(symbol, f"2032-08-{day:02d}") for symbol in ("EUR/USD", "GBP/USD") for day in range(2, 14)]
        for symbol, day in keys:
            world.execute(symbol=symbol, tradeType="Outright", valueDate=day)
        world.open()
        for symbol, day in keys:
            world.control.position_error(symbol, day, term="7", level="ORG", value=world.user.org)

        assert world.results() == {"breaks"}
        assert world.breaks("difference, difference_term, comment") == [
            (0, 7, "the vendor's position differs by 7.00 USD, in its term amount alone")
        ] * len(keys)
    finally:
        sandbox.control.post("position-error", {"clear": True})
        world.close()


def test_an_empty_answer_while_we_hold_positions_is_asked_twice_and_told_as_such(world):
    world.control.variant(positions_shape="empty_array")

    assert world.results() == {"breaks"}
    words = {each for (each,) in world.breaks("comment")}
    assert all("named no position at all, 2 times, while the book holds" in each for each in words)


def test_a_trade_done_between_drain_and_question_is_no_break(world):
    world.control.plan({"fault": "execute", "endpoint": "positions", "user": world.user.name, "times": 3})

    assert world.results() == {"agreed"}
    assert world.breaks() == []


def test_a_key_on_which_trades_keep_landing_is_not_confirmed(world):
    wrong_by(world, "5")
    symbol, day = world.a_key()
    trade = {"symbol": symbol, "valueDate": day, "tradeType": "Outright"}
    world.before_drain[:] = [lambda: world.execute(**trade)] * 20

    assert world.results() == {"unconfirmed"}
    assert world.breaks() == []
    assert last_run(world, "detail")[0].startswith("trades landed on 1 key at each look")


def test_near_the_end_of_the_business_day_only_the_timing_is_told(world):
    wrong_by(world, "5")
    world.clock.ahead += timedelta(hours=8, minutes=55)  # 16:55 in New York

    assert world.results() == {"timing"}
    assert world.breaks() == []


@pytest.mark.parametrize("hours", [77.5, 100, 124.5])  # from Tuesday noon UTC: Friday 17:30, Saturday, Sunday 16:30
def test_over_a_weekend_the_positions_of_monday_are_no_breaks(world, hours):
    monday = {"symbol": "EUR/USD", "tradeType": "Outright", "valueDate": "2030-07-08"}
    world.execute(**monday)
    world.clock.ahead += timedelta(hours=hours)
    world.control.today(now=world.clock.now().isoformat())
    try:
        assert world.results() == {"agreed"}
        assert world.breaks() == []
    finally:
        world.control.today(now=NOON.isoformat())


def test_where_another_reading_clears_most_it_is_said_once_and_goes_when_it_is_right(world):
    for number in range(24):
        number_of_day = 2 + number % 5 if number < 20 else 9 + number % 4
        day = f"2032-08-{number_of_day:02d}"  # so late that the opened book holds nothing there
        symbol = ("EUR/USD", "GBP/USD", "AUD/USD", "USD/CHF", "USD/JPY")[number % 5 if number >= 20 else number // 5]
        world.execute(symbol=symbol, tradeType="Outright", valueDate=day, dealtAmount=1000 + number)
    world.drained()
    agreed = world.results()
    ours = rows(
        world.database,
        "SELECT symbol, value_date::text, -2 * sum(base_amount) FROM reporting.position"
        " WHERE value_date BETWEEN '2032-08-02' AND '2032-08-13' GROUP BY 1, 2",
    )
    for sign in (1, -1):
        for symbol, day, base in ours:
            wrong = {"base": sign * base, "level": "ORG", "value": world.user.org}
            world.control.position_error(symbol, day, **wrong)
        if sign == 1:
            found = world.results(), world.breaks("kind, key, state")

    assert agreed == {"agreed"}
    assert found == ({"breaks"}, [("position", f"ORG {world.user.org} reading A3", "open")])
    assert "`side` is the counterparty's" in world.breaks("comment")[0][0]
    assert (world.results(), world.breaks("state")) == ({"agreed"}, [("cleared",)])


def test_near_the_end_of_the_business_day_nothing_is_opened(fresh):
    fresh.clock.ahead += timedelta(hours=8, minutes=55)  # 16:55 in New York

    assert fresh.results(opening=True) == {"timing"}
    assert value(fresh.database, "SELECT count(*) FROM stp.opening") == 0


def test_a_row_that_names_no_position_opens_nothing(fresh):
    fresh.control.position_error("NONSENSE", fresh.a_key()[1], base="5")

    outcomes = fresh.positions(opening=True)

    assert {each.result for each in outcomes} == {"unconfirmed"}
    assert "nothing was opened: rows that cannot be relied on: 1, the first: row" in outcomes[0].detail
    assert value(fresh.database, "SELECT count(*) FROM stp.opening") == 0


def test_a_run_at_the_level_of_legal_entities_names_the_entity(world):
    symbol, day = world.a_key()
    entity = value(
        world.database, "SELECT min(legal_entity) FROM reporting.position WHERE symbol = :s AND value_date = :d",
        s=symbol, d=day,
    )  # fmt: skip
    world.control.position_error(symbol, day, base="5", level="LE", value=entity)

    assert world.results(entities=True) == {"agreed", "breaks"}
    assert world.breaks() == [("position", f"LE {entity} {symbol} {day}", "open")]


def test_an_ordinary_run_compares_the_legal_entity_whose_break_is_not_over(world):
    symbol, day = world.a_key()
    entity, *others = rows(world.database, "SELECT DISTINCT legal_entity FROM reporting.position ORDER BY 1")
    assert others
    world.control.position_error(symbol, day, base="5", level="LE", value=entity[0])
    assert world.results(entities=True) == {"agreed", "breaks"}

    seen_again = [each.subject for each in world.positions()]
    world.control.position_error(symbol, day, base="-5", level="LE", value=entity[0])
    cleared = [(each.subject, each.result) for each in world.positions()]

    of_entity, of_org = f"positions LE {entity[0]}", f"positions ORG {world.user.org}"
    assert seen_again == [of_org, of_entity]
    assert cleared == [(of_org, "agreed"), (of_entity, "agreed")]
    assert world.breaks("state, reason") == [("cleared", "both sides agree")]
    assert [each.subject for each in world.positions()] == [of_org], "nothing of it is asked once it is over"


def test_positions_on_demand_are_those_of_all_levels_as_in_a_run_of_everything(world):
    order = Order("operator", "olga", "a test")

    positions, everything = (
        {each.subject for each in done(world.controls, Wanted(what), order) if each.control == "positions"}
        for what in ("positions", "all")
    )

    assert positions == everything
    assert {subject.split()[1] for subject in positions} == {"ORG", "LE"}


def test_a_rate_that_is_too_old_weighs_nothing_and_says_so(world):
    wrong_by(world, "5")
    world.clock.ahead += timedelta(hours=3)

    world.results()

    ((severity, amount, note),) = world.breaks("severity, reporting_amount, rate_note")
    assert (severity, amount) == ("unknown", None)
    assert "too old" in note


@pytest.fixture
def lost(fresh):
    """A trade that was done before the opening and has not been handed out yet."""
    before = fresh.clock.now() - timedelta(seconds=2)  # the vendor's Date, which decides, has no fractions
    stamp = f"{before:%Y-%m-%d %H:%M:%S},000 +0000"
    lost = fresh.execute(symbol="EUR/USD", tradeType="Outright", valueDate="2031-03-03", executionTime=stamp)
    fresh.control.hide(lost)
    fresh.open()
    return lost


def test_a_trade_that_was_lost_before_the_opening_and_comes_later_counts_once(fresh, lost):
    assert fresh.results() == {"agreed"}

    fresh.control.hide(lost, hidden=False)
    fresh.drained()

    assert value(fresh.database, "SELECT count(*) FROM reporting.trade WHERE trade_id = :lost", lost=lost) == 1
    assert fresh.results(entities=True) == {"agreed"}


def test_a_trade_that_was_lost_before_the_opening_comes_and_is_cancelled_counts_no_more(fresh, lost):
    fresh.before_drain[:] = [lambda: None, lambda: fresh.control.hide(lost, hidden=False)]
    assert fresh.results() == {"agreed"}

    fresh.control.cancel(lost)
    assert fresh.investigate() == ["breaks", "agreed"]


@pytest.mark.parametrize("deed", ["amend", "roll", "allocate"])
def test_what_replaces_a_trade_of_before_the_opening_counts_though_it_was_executed_then(fresh, deed):
    before = fresh.clock.now() - timedelta(seconds=2)
    stamp = f"{before:%Y-%m-%d %H:%M:%S},000 +0000"
    old = fresh.execute(symbol="EUR/USD", tradeType="Outright", valueDate="2031-03-03", executionTime=stamp)
    fresh.drained()
    fresh.open()

    (new, *_) = getattr(fresh.control, deed)(old)
    fresh.drained()
    getattr(fresh.control, deed)(new)

    assert fresh.investigate()[-1] == "agreed", fresh.breaks("key, ours, theirs")
    assert {(kind, state) for kind, _, state in fresh.breaks()} <= {("status", "open"), ("position", "cleared")}


def test_a_trade_that_lands_after_the_question_of_an_opening_is_no_break_later(fresh):
    done = []
    fresh.before_drain[:] = [lambda: None, lambda: done.append(fresh.execute(symbol="EUR/USD"))]

    fresh.open()

    assert done
    assert fresh.results() == {"agreed"}


def test_a_rate_is_asked_once_for_all_that_is_compared_together(world):
    symbol, day = world.a_key()
    entities = value(world.database, "SELECT array_agg(DISTINCT legal_entity) FROM reporting.position")
    for entity in entities:
        world.control.position_error(symbol, day, base="5", level="LE", value=entity)

    world.results(entities=True)

    assert len(world.breaks()) == len(entities) > 1
    asked = "SELECT count(*) FROM stp.vendor_reply WHERE subject = 'rate'"
    assert value(world.database, asked) == 1
