"""Adoption: the vendor's own answer about one trade becomes a version, and positions are right at once (law 9)."""

import json

import pytest
from typer.testing import CliRunner

from etl.cli.main import app as stp_etl
from etl.controls.manual import ManualRequest, open_by_hand
from etl.domain.window import Window
from etl.errors import BookingHeldError
from etl.pipeline.adopt import Adopter
from tests.booking import check_positions
from tests.builders import a_raw_message
from tests.clocks import START
from tests.databases import change, rows, value
from tests.reconciling import sandbox_at_noon

NEWEST = "SELECT trade_id, order_id FROM reporting.trade WHERE order_id IS NOT NULL ORDER BY change_seq DESC LIMIT 1"
VERSIONS = "SELECT version, source, status, live FROM reporting.trade_version WHERE trade_id = :id ORDER BY version"


@pytest.fixture(scope="module")
def pool():
    yield from sandbox_at_noon(30)


@pytest.fixture
def make(make_world):
    """Return a function that makes a drained feed after go-live."""

    def world(rules=""):
        made = make_world(rules=rules)
        made.open()
        return made

    return world


def newest(world, **content):
    """Return id and order of a trade that is done now, and booked."""
    world.execute(symbol="EUR/USD", tradeType="Outright", **content)
    world.drained()
    return rows(world.database, NEWEST)[0]


def versions(world, trade_id):
    return rows(world.database, VERSIONS, id=trade_id)


def command(world, *words):
    """Run a command in this process as an operator does; return its exit code, and what it said or why it failed."""
    result = CliRunner().invoke(stp_etl, ["--config", str(world.file), *words])
    return result.exit_code, f"{result.output}{result.exception or ''}"


@pytest.mark.parametrize("deed", ["cancel", "roll", "allocate", "amend"])
def test_law_9_a_status_alone_is_adopted_by_itself_and_waits_for_a_person(make, deed):
    world = make()
    trade_id, _ = newest(world)
    getattr(world.control, deed)(trade_id)
    world.drained()  # what replaces it comes through the queue

    world.fills()

    status = {"cancel": "Cancelled", "roll": "Rolled", "allocate": "Allocated", "amend": "Amended"}[deed]
    assert versions(world, trade_id) == [(1, "queue", "Verified", True), (2, "query", status, False)]
    assert world.breaks("kind, trade_id, state, comment, explained_by") == [
        ("status", trade_id, "open", f"the vendor says {status}", "booked as version 2; positions are corrected")
    ]
    assert world.results() == {"agreed"}
    check_positions(world.database, world.feed.feed_id)


def test_nothing_is_adopted_while_booking_is_held_and_the_reason_is_said(booking):
    booking.book(a_raw_message())
    change(booking.database, "UPDATE stp.booker SET held_at = now(), held_reason = '21 trades'")
    adopt = Adopter(booking.booked_feed, booking.clock)

    why = pytest.raises(BookingHeldError, match="waits for a person: 21 trades.*stp-etl feeds resume")
    with booking.open_work() as work, why:
        adopt(work, "FXI9369258100", a_raw_message(status="Cancelled"), answered_at=START, allowed=())


def test_law_9_the_same_word_twice_changes_nothing(make):
    world = make()
    trade_id, _ = newest(world)
    world.control.cancel(trade_id)
    world.fills()
    facts = "SELECT count(*) FROM stp.break_event", "SELECT count(*) FROM stp.trade_version"
    before = [value(world.database, each) for each in facts]

    change(world.database, "DELETE FROM stp.asked_order")
    world.fills()
    world.controls.adopt()

    assert [value(world.database, each) for each in facts] == before
    assert len(world.breaks()) == 1


def test_law_9_a_status_is_not_adopted_where_the_settings_say_so(make):
    world = make("adopt_status = false")
    trade_id, _ = newest(world)
    world.control.cancel(trade_id)

    world.fills()
    world.controls.adopt()

    assert versions(world, trade_id) == [(1, "queue", "Verified", True)]
    assert world.breaks("kind, state") == [("status", "open")]
    assert world.results() == {"breaks"}


def test_law_9_other_economics_wait_for_a_person(make):
    world = make()
    trade_id, _ = newest(world)
    world.control.mutate(trade_id, dealtAmount="1234567")
    world.control.cancel(trade_id)

    world.fills()
    world.controls.adopt()

    assert versions(world, trade_id) == [(1, "queue", "Verified", True)]
    notes = [note for (note,) in rows(world.database, "SELECT note FROM reporting.break_event ORDER BY event_id")]
    assert "the vendor says other economics: status, leg1.dealt_amount, leg1.settled_amount" in notes[-1]

    code, said = command(world, "breaks", "resolve", "1", "--adopt", "--reason", "the desk knows")

    assert code == 0, said
    assert versions(world, trade_id)[-1] == (2, "query", "Cancelled", False)
    assert world.breaks("state, reason") == [("resolved", "the desk knows")]
    check_positions(world.database, world.feed.feed_id)


def test_law_10_a_question_about_the_trade_that_fails_adopts_nothing_and_is_asked_again(make):
    world = make()
    trade_id, _ = newest(world)
    world.control.cancel(trade_id)
    world.control.plan({"fault": "500", "endpoint": "trade", "user": world.user.name, "times": 1})

    world.fills()
    assert len(versions(world, trade_id)) == 1
    world.controls.adopt()
    assert len(versions(world, trade_id)) == 1  # not hammered
    world.controls._adoption._not_before = 0.0
    world.controls.adopt()

    assert len(versions(world, trade_id)) == 2


def test_a_trade_never_handed_out_is_adopted_by_a_person_with_its_evidence(make):
    world = make()
    _, order = newest(world)
    lost = world.execute(symbol="EUR/USD", orderId=order)
    world.control.hide(lost)
    world.fills()
    change(world.database, "UPDATE stp.gap SET state = 'healed'")
    change(world.database, "DELETE FROM stp.asked_order")
    world.fills()
    assert world.breaks() == [("missing_in_book", lost, "open")]

    code, said = command(world, "breaks", "resolve", "1", "--adopt", "--reason", "vendor ticket 7")

    assert code == 0, said
    assert versions(world, lost) == [(1, "query", "Verified", True)]
    assert value(world.database, "SELECT deed FROM reporting.audit ORDER BY at DESC LIMIT 1") == "breaks adopted"
    _, history = command(world, "trades", "show", lost, "--history", "--format", "json")
    (version,) = json.loads(history[history.index("[") :])
    assert version["source"] == "query"
    body = value(
        world.database,
        "SELECT convert_from(body, 'UTF8') FROM stp.vendor_reply JOIN stp.vendor_body USING (sha256) WHERE id = :id",
        id=version["reply_id"],
    )
    assert json.loads(body)["tradeId"] == lost

    world.control.hide(lost, hidden=False)
    world.drained()
    assert len(versions(world, lost)) == 1  # what the queue says later is the same content
    check_positions(world.database, world.feed.feed_id)


def test_a_trade_that_was_adopted_and_never_handed_out_need_not_come_when_its_day_is_asked_for_again(make):
    world = make()
    _, order = newest(world)
    lost = world.execute(symbol="EUR/USD", orderId=order)
    world.control.hide(lost)
    world.fills()
    world.heal()  # what it lacks stays away
    change(world.database, "DELETE FROM stp.asked_order")
    world.fills()
    assert command(world, "breaks", "resolve", "1", "--adopt", "--reason", "vendor ticket 7")[0] == 0

    today = world.clock.now().date()
    request = ManualRequest("main", Window.of(today, today), "olga", "once more", None)
    with world.app.open_work() as work:
        gap_id, _ = open_by_hand(work, world.feed.feed_id, request, world.clock.now())
        work.commit()
    world.heal()

    assert rows(world.database, "SELECT state FROM stp.gap WHERE id = :id", id=gap_id) == [("healed",)]
    last = "SELECT state, detail, absent, excused FROM stp.resend ORDER BY id DESC LIMIT 1"
    words = "1 was never handed out, and adopted by a person"
    assert rows(world.database, last) == [("complete", words, 0, 1)]
    assert world.breaks("kind, state") == [("missing_in_book", "resolved")]


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda world, _: world.control.variant(trade_query="404"), "answered 404, which proves nothing"),
        (lambda world, _: world.control.plan({"fault": "500", "endpoint": "trade"}), "did not answer"),
        (lambda world, _: world.control.plan({"fault": "html", "endpoint": "trade"}), "no trade that can be booked"),
        (lambda world, trade_id: world.control.mutate(trade_id, wire={"customerOrg": "otherOrg"}), "another trade"),
    ],
    ids=["404", "500", "html", "other_trade"],
)
def test_law_10_a_person_cannot_adopt_what_the_vendor_did_not_say(make, prepare, why):
    world = make("adopt_status = false")
    trade_id, _ = newest(world)
    world.control.cancel(trade_id)
    world.fills()
    prepare(world, trade_id)

    code, said = command(world, "breaks", "resolve", "1", "--adopt", "--reason", "x")

    assert (code, why in said, "nothing was changed" in said) == (1, True, True), said
    assert world.breaks("state") == [("open",)]
    assert len(versions(world, trade_id)) == 1


def test_a_break_about_no_single_trade_has_nothing_to_adopt(make):
    world = make()
    symbol, day = world.a_key()
    world.control.position_error(symbol, day, base="5", level="ORG", value=world.user.org)
    world.results()

    code, said = command(world, "breaks", "resolve", "1", "--adopt", "--reason", "x")

    assert code == 1
    assert "break 1 names no single trade" in said
