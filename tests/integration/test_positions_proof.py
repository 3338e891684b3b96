"""A row that does not say of which position it is may be one that the book lacks: nothing is proven then (law 10)."""

from decimal import Decimal
from threading import Event

import pytest

from etl.controls.positions import PositionControl
from etl.controls.questions import Order, Proof, ReconciledFeed
from etl.domain.reconciliation import BreakKind, Finding, Rules
from etl.vendor.feed import VendorReply
from tests.builders import a_raw_message, as_bytes
from tests.databases import rows, value

ROW = {
    "side": "Buy", "symbol": "EUR/USD", "valueDate": "2024-03-20", "level": "ORG", "levelValue": "CustomerOrg",
    "netOpenBase": 1000000, "netOpenterm": -1084250, "rate": Decimal("1.08425"),
}  # fmt: skip
NAMELESS = {**ROW, "symbol": "?", "netOpenBase": 5}


class Vendor:
    """Answers with these rows."""

    def __init__(self, clock) -> None:
        self.clock, self.rows = clock, [ROW]

    def positions(self, *_, **__):
        return VendorReply(200, as_bytes(self.rows), {"content-type": "application/json"}, "q1", self.clock.now())


@pytest.fixture
def vendor(clock):
    return Vendor(clock)


@pytest.fixture
def compare(desk, vendor, clock):
    """Compare, with one trade booked that the vendor has in its positions."""
    desk.land(a_raw_message(tradeDate="2024-03-13", valueDate="2024-03-20"))
    feed = ReconciledFeed(desk.feed.feed_id, desk.feed.name, ("CustomerOrg",))
    control = PositionControl(
        feed, vendor, desk.open_work, clock=clock, drain=lambda: Proof(1, clock.now().isoformat()),
        epoch=lambda: desk.feed.epoch, stop=Event(),
    )  # fmt: skip
    return lambda **more: control.run("ORG", "CustomerOrg", rules=Rules(), order=Order(reason="a test"), **more)


def test_a_row_of_no_position_that_can_be_told_is_no_agreement(compare, vendor, desk):
    opened = compare(opening=True).result
    agreed = compare().result
    vendor.rows = [ROW, NAMELESS]

    outcome = compare()

    assert (opened, agreed, outcome.result) == ("opened", "agreed", "unconfirmed")
    assert outcome.detail.startswith("1 row does not say of which position it is")
    assert rows(desk.database, "SELECT kind, state FROM stp.recon_break") == [("query_failed", "open")]


def test_an_answer_with_such_a_row_opens_nothing(compare, vendor, desk):
    vendor.rows = [ROW, NAMELESS]

    assert compare(opening=True).result == "unconfirmed"
    assert value(desk.database, "SELECT count(*) FROM stp.opening") == 0


def test_a_break_that_tells_of_another_reading_is_not_cleared_by_a_run_that_proved_nothing(
    compare, vendor, desk, clock
):
    key, level = "ORG CustomerOrg reading A3", {"level": "ORG", "level_value": "CustomerOrg"}
    compare(opening=True)
    with desk.open_work() as work:
        finding = Finding(BreakKind.POSITION, key, "it would agree under another reading", **level)
        work.breaks.found(desk.feed.feed_id, finding, at=clock.now(), run_id=None)
        work.commit()
    state = f"SELECT state FROM stp.recon_break WHERE key = '{key}'"

    vendor.rows = [ROW, NAMELESS]
    compare()
    unproven = value(desk.database, state)
    vendor.rows = [ROW]
    compare()

    assert (unproven, value(desk.database, state)) == ("open", "cleared")
