"""Each error of the vendor with real processes: from injection to the right break or the right healing, without a hand.

One daemon and one sandbox play all of them at once, as life does; a feed carries errors that do not meddle.
"""

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest

from etl.domain.calendar import NEW_YORK
from tests.acceptance.playing import BACKLOG, End, Error, one_daemon, play_all
from tests.acceptance.program import until
from tests.acceptance.reconciling import QUICK, not_near_cut, reconcile, with_rules
from tests.databases import rows, value

pytestmark = not_near_cut

FLAT_DAY = "2031-07-22"
BALANCE = "EXISTS (SELECT FROM reporting.balance b WHERE b.feed = r.feed AND asset = '{}' AND {})"
FAILED = "EXISTS (SELECT FROM reporting.reconciliation_run b WHERE b.feed = r.feed AND detail ~ '{}')"
IN_STRINGS = """EXISTS (
    SELECT FROM stp.vendor_reply v JOIN stp.vendor_body USING (sha256)
    WHERE v.run_id = r.run_id AND convert_from(body, 'UTF8') ~ '"total": ?"'
)"""
CUSTODY = {"balance_assets": ["BTC", "ETH"]}


def lost_of_known_order(case):
    case.plan("second_consumer", non_empty=True)
    return case.execute(orderId=case.order())


def lost_of_own_order(case):
    case.plan("second_consumer", non_empty=True)
    return case.execute()


def never_handed_out(case):
    return case.execute(orderId=case.order(), hidden=True)


def other_content(case):
    case.control.mutate(case.trade, dealtAmount=1500, again=True)
    return case.trade


def ended(deed):
    def tell(case):
        getattr(case.control, deed)(case.trade)
        return case.trade

    return tell


def wrong_position(case):
    case.control.position_error("EUR/USD", case.day, base="250000", level="ORG", value=case.user.org)


def failing(fault, **more):
    return lambda case: case.plan(fault, endpoint="positions", **more)


def varied(**values):
    return lambda case: case.vary(**values)


def flat(case):
    case.execute(side="Buy", dealtAmount=500, valueDate=FLAT_DAY)
    case.execute(side="Sell", dealtAmount=500, valueDate=FLAT_DAY)
    case.vary(positions_flat="left_out")


def fixed_ndf(case):
    today = case.control.state()["trade_day"]
    case.execute(tradeType="NDF", symbol="USD/BRL", currency="USD", fixingDate=today)
    case.vary(positions_ndf="until_fixing")


def all_404(case):
    for endpoint in ("positions", "fills", "trade"):
        case.plan("404", endpoint=endpoint, times=0)


def moved(kind, asset, **more):
    return lambda case: getattr(case.control, kind)(asset, Decimal(3), org=case.user.org, **more)


def completed(case):
    case.control.transfer("D-1", "COMPLETED", org=case.user.org)


STATUS = End(open=("status",), perhaps=("position",))
ERRORS = (
    Error("a trade never handed out, of an order that we know", lost_of_known_order,
          End(healed=True, perhaps=("position",)), on="lost"),
    Error("a trade handed out twice with other content", other_content, End(open=("conflict",)), on="ended"),
    Error("a trade never handed out, which nothing names", lost_of_own_order,
          End(healed=True, cleared=("position",)), on="unnamed"),
    Error("a trade never handed out, also when its day is asked for again", never_handed_out,
          End("breaks", open=("missing_in_book", "position")), on="wrong"),
    Error("a position is wrong at the vendor", wrong_position, End("breaks", open=("position",)), on="wrong"),
    Error("a trade is cancelled", ended("cancel"), STATUS, on="ended"),
    Error("a trade is amended", ended("amend"), STATUS, on="ended"),
    Error("a trade is rolled", ended("roll"), STATUS, on="ended"),
    Error("a trade is allocated", ended("allocate"), STATUS, on="ended"),
    Error("the position call fails", failing("500", times=2),
          End(cleared=("query_failed",), met=FAILED.format("500")), on="late"),
    Error("the position call is slow", failing("delay", delay_s=3, times=2),
          End(cleared=("query_failed",), met=FAILED.format("time")), on="late", settings={"read_timeout_s": 2}),
    Error("the position call answers {}", varied(positions_shape="empty_object"),
          End("query_failed", open=("query_failed",)), on="void"),
    Error("a 404 for everything", all_404, End("query_failed", open=("query_failed",)), on="unknown"),
    Error("positions are paged inside an object", varied(positions_shape="paged", positions_page=4),
          End(met="counts ->> 'shape' = 'paged' AND jsonb_array_length(cited) > 2"), on="forms"),
    Error("positions have unsigned numbers", varied(positions_sign="side"),
          End(met="counts ->> 'sign' = 'side'"), on="forms"),
    Error("positions that are flat are left out", flat, End(met="(counts ->> 'flat_left_out')::int > 0"), on="forms"),
    Error("NDFs are left out after fixing", fixed_ndf, End(met="(counts ->> 'ndf_left_out')::int > 0"), on="forms"),
    Error("the term amount is base times the average rate", varied(positions_term="average"),
          End(met="(counts #>> '{term,average}')::int > 0 AND (counts #>> '{term,flows}')::int = 0"), on="forms"),
    Error("the term amount is the sum of the flows", varied(positions_term="flows"),
          End(met="(counts #>> '{term,flows}')::int > 0 AND (counts #>> '{term,average}')::int = 0"), on="custody"),
    Error("a trade is executed between the two calls", failing("execute"),
          End(met=f"(SELECT count(*) FROM reporting.trade t WHERE t.feed = r.feed) > {BACKLOG + 10}"), on="custody"),
    Error("a deposit is pending, then completed", moved("deposit", "BTC", id="D-1", status="PENDING"),
          End(control="balances", met=BALANCE.format("BTC", "deposits = 0")), on="custody",
          then=(completed, End(control="balances", met=BALANCE.format("BTC", "deposits = 3"))), settings=CUSTODY),
    Error("a withdrawal with a fee", moved("withdrawal", "ETH", fee=Decimal("0.5")),
          End(control="balances", met=BALANCE.format("ETH", "(withdrawals, fees) = (3, 0.5)")), on="custody"),
    Error("a balance is told in strings", varied(balances_numbers="string"),
          End(control="balances", met=IN_STRINGS), on="custody"),
)  # fmt: skip


@pytest.mark.timeout(300)
def test_each_error_of_the_vendor_ends_in_the_right_break_or_the_right_healing(tmp_path, database, database_url):
    with one_daemon(ERRORS, tmp_path, database, database_url) as feeds:
        play_all(feeds)


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_while_the_day_rolls_over_the_cut_nothing_is_concluded_and_an_hour_later_the_break_is_told(
    play, program_for, database
):
    now = datetime.now(UTC)
    cut = (now + timedelta(seconds=80)).replace(second=0, microsecond=0)  # ours, on the machine's clock
    before = datetime.combine(cut.date(), time(17), NEW_YORK) - (cut - now)
    sandbox = play(trades=BACKLOG, eligible_after_s=0, start_time=before)
    tomorrow, later = (cut + timedelta(days=1)).date().isoformat(), (cut + timedelta(days=20)).date().isoformat()
    sandbox.control.execute_trades([{"symbol": "EUR/USD", "tradeType": "Outright", "valueDate": tomorrow}])
    program = program_for(sandbox, **QUICK)
    ends = 'positions_every_s = 1\ntimezone = "UTC"\nbusiness_day_ends = "{:%H:%M}"\n'
    with_rules(program, ends.format(cut + timedelta(hours=1)))  # nothing is opened near the cut
    assert program.call("poll").returncode == 0
    assert reconcile(program, "positions", "--open", "--reason", "go-live")[0] == 0
    with_rules(program, ends.format(cut))
    sandbox.control.position_error("EUR/USD", later, base="5")
    results = (
        "SELECT DISTINCT result FROM reporting.reconciliation_run"
        " WHERE control = 'positions' AND cause = 'interval' AND state = 'done' AND started_at > :at"
    )

    with program.daemon() as daemon:
        until(lambda: rows(database, results, at=now), what="a run before the cut")
        until(lambda: sandbox.control.state()["trade_day"] > cut.date().isoformat(), what="the cut")
        turned = datetime.now(UTC)
        until(lambda: rows(database, results, at=turned), what="a run after the cut")
        assert daemon.stop() == 0, daemon.said

    assert rows(database, results, at=now) == [("timing",)]
    assert value(database, "SELECT count(*) FROM reporting.break") == 0

    with_rules(program, ends.format(cut - timedelta(hours=1)))  # as if the cut were an hour ago
    reconcile(program, "positions")
    keys = rows(database, "SELECT key, difference FROM reporting.break")
    assert keys == [(f"ORG {sandbox.user.org} EUR/USD {later}", 5)]
