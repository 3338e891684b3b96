"""`stp-etl balances`: what it shows, what it records, and what it refuses."""

from decimal import Decimal

import pytest

from etl.domain.balance import BalanceKey, Expectation, Flows
from etl.domain.balance_answer import Transfer
from etl.store.repositories.balances import Shown
from tests.clocks import START
from tests.databases import rows

ASSETS = 'balance_assets = ["BTC", "USD"]\n'
RECORDED = "SELECT account, asset, amount, recorded_by, reason FROM reporting.balance_adjustment"


@pytest.fixture
def cli(stp_etl):
    stp_etl.configure(ASSETS)
    return stp_etl


def test_an_adjustment_is_recorded_digit_for_digit_with_who_and_why(cli, database):
    amount = "-12345678901234567890.000000000000000010"
    done = cli("balances", "adjust", "--asset", "USD", "--amount", amount, "--reason", "bank fee")

    assert (done.code, done.out) == (0, ""), done.err
    assert rows(database, RECORDED) == [("", "USD", Decimal(amount), "olga", "bank fee")]
    audit = rows(database, "SELECT deed, operator, reason, details ->> 'amount' FROM reporting.audit")
    assert audit == [("balances adjust", "olga", "bank fee", amount)]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["adjust", "--asset", "USD", "--amount", "5", "--reason", " "], 2, "say why"),
        (["adjust", "--asset", "USD", "--amount", "5"], 2, "--reason"),
        (["adjust", "--asset", "USD", "--amount", "NaN", "--reason", "x"], 2, "NaN is no amount"),
        (["adjust", "--asset", "USD", "--amount", "1e99", "--reason", "x"], 2, "1e99 is no amount"),
        (["adjust", "--asset", "USD", "--amount", "12,50", "--reason", "x"], 2, "12,50 is no amount"),
        (["adjust", "--asset", "USD", "--amount", "0.00", "--reason", "x"], 2, "no amount other than zero"),
        (["adjust", "--asset", "ETH", "--amount", "5", "--reason", "x"], 1, "ETH is not in balance_assets"),
        (["adjust", "--asset", "BTC", "--amount", "5", "--account", "a/b", "--reason", "x"], 1, "broker_balances is"),
        (["adjust", "--asset", "USD", "--amount", "5", "--effective", "2999-01-01T00:00Z", "--reason", "x"], 2, "fut"),
        (["show", "ETH"], 1, "nothing is known of ETH"),
    ],
)  # fmt: skip
def test_a_wrong_use_is_refused_with_a_sentence_and_records_nothing(cli, database, words, code, sentence):
    done = cli("balances", *words)

    assert (done.code, sentence in done.err) == (code, True), done.err
    assert rows(database, RECORDED) == rows(database, "SELECT FROM reporting.audit") == []


def test_balances_without_assets_in_the_settings_are_a_wrong_use(stp_etl):
    done = stp_etl("reconcile", "balances")

    assert done.code == 1
    assert "as balance_assets of [feeds.main]" in done.err


def test_lists_show_every_digit_and_what_a_figure_is_made_of(cli, desk):
    expected = Expectation(Decimal("10.50"), Flows(Decimal(-1), Decimal(3), Decimal(2), Decimal("0.25")), Decimal("7"))
    key = BalanceKey("", "BTC")
    with desk.open_work() as work:
        shown = Shown(key, "break", expected, START, Decimal("17.25000000"), Decimal("17.25000001"))
        work.balances.show(desk.feed.feed_id, "ACCOUNT", 1, START, [shown])
        transfer = Transfer("W1", "BTC", Decimal(2), Decimal("0.25"), "COMPLETED", START)
        work.transfers.note(desk.feed.feed_id, "withdrawal", [transfer], at=START, reply_id=1)
        work.commit()

    (listed,) = cli("balances", "list", "--format", "json").json
    (made_of,) = cli("balances", "show", "BTC", "--format", "json").json
    table = cli("balances", "show", "BTC").out

    assert (listed["difference"], listed["result"]) == ("0.00000001", "break")
    names = ("opening", "legs", "deposits", "withdrawals", "fees", "adjustments", "ours")
    assert [made_of[name] for name in names] == ["10.50", "-1", "3", "2", "0.25", "7", "17.25000000"]
    assert "W1" in table
