"""How a feed is polled over time: idle, in trouble, stopped, and against the sandbox."""

from threading import Event, Timer
from uuid import uuid4

import pytest
from sqlalchemy import text

from etl.clock import SystemClock
from etl.errors import VendorRefusedError
from etl.pipeline.poll import Poller
from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from etl.store.database import Database
from etl.vendor.client import VendorClient
from etl.vendor.endpoint import Endpoint
from etl.vendor.feed import Cause, PollOutcome
from tests.builders import a_raw_message
from tests.databases import rows, value
from tests.vendors import empty, in_doubt, not_sent, page_of, refused

PAGE = page_of(a_raw_message())
SIZES = """
SELECT relname, pg_relation_size(oid) FROM pg_class
WHERE relnamespace = 'stp'::regnamespace AND relkind IN ('r', 'i') ORDER BY relname
"""


def test_an_idle_feed_grows_no_table(polling):
    polling.drain(PAGE)
    before, ledger = dict(rows(polling.database, SIZES)), polling.ledger()

    for _ in range(50):
        assert polling.drain().proven_empty
        polling.clock.advance(5)

    after = dict(rows(polling.database, SIZES))
    assert {name for name in after if after[name] != before[name]} <= {"current_poll"}
    assert after["current_poll"] <= 2 * 8192
    assert polling.ledger() == ledger
    assert len(polling.vendor.asked) == 52


def test_pauses_grow_with_each_trouble_and_end_with_an_empty_queue(polling):
    pauses = []
    for _ in range(5):
        polling.drain(in_doubt())
        pauses.append(polling.poller.resting_s)
        polling.rest()
    polling.drain(PAGE)

    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert polling.poller.resting_s == 0
    polling.drain(in_doubt())
    assert polling.poller.resting_s == 1.0


def test_pauses_have_a_longest(polling):
    for _ in range(12):
        polling.drain(not_sent())
        longest = polling.poller.resting_s
        polling.rest()

    assert longest == 300.0


def test_nothing_is_asked_while_a_feed_rests(polling):
    polling.drain(in_doubt())
    polling.clock.advance(0.9)

    assert polling.drain(PAGE).outcome is None
    assert len(polling.vendor.asked) == 1
    polling.clock.advance(0.2)
    assert polling.drain(PAGE).proven_empty


def test_the_vendors_retry_after_is_honoured(polling):
    polling.drain(in_doubt(Cause.HTTP_429, status=429, retry_after_s=90.0))

    assert polling.poller.resting_s == 90.0


def test_a_refusal_makes_the_feed_rest_too(polling):
    with pytest.raises(VendorRefusedError):
        polling.drain(refused(Cause.HTTP_404))

    assert polling.poller.resting_s == 1.0


@pytest.mark.parametrize("cause", [Cause.TIMEOUT, Cause.TOO_LARGE])
def test_the_page_halves_after_an_answer_too_slow_or_too_large_and_recovers(polling, cause):
    for answer in (in_doubt(cause), in_doubt(cause), empty(), empty(), empty()):
        polling.drain(answer)
        polling.rest()

    assert polling.vendor.counts == [50, 25, 12, 24, 48]
    polling.drain()
    assert polling.vendor.counts[-1] == 50
    assert polling.current()["max_count"] == 50


def test_the_page_never_shrinks_below_one(polling):
    for _ in range(8):
        polling.drain(in_doubt(Cause.TIMEOUT))
        polling.rest()

    assert polling.vendor.counts == [50, 25, 12, 6, 3, 1, 1, 1]


def test_another_doubt_leaves_the_page_as_it_is(polling):
    polling.drain(in_doubt(Cause.RESET))
    polling.rest()
    polling.drain()

    assert polling.vendor.counts == [50, 50]


def test_a_stop_in_mid_answer_lands_it_and_opens_no_next_poll(polling):
    def stopped(ticket, count):
        polling.stop.set()
        return PAGE

    drained = polling.drain(stopped, PAGE)

    assert len(polling.vendor.asked) == 1
    assert drained.pages == 1
    assert polling.bodies() == [PAGE.body]
    assert polling.current()["outcome"] == "page"
    assert polling.landed >= 1


def test_a_stop_between_two_requests_closes_the_open_poll_as_not_sent(polling):
    polling.poller._on_landed = polling.stop.set

    drained = polling.drain(PAGE, PAGE)

    assert len(polling.vendor.asked) == 1
    assert (drained.outcome, drained.cause) == ("not_sent", "stopped")
    assert polling.ledger() == [("page", "page"), ("not_sent", "stopped")]
    assert polling.poller.resting_s == 0


def test_a_drain_after_a_stop_asks_nothing(polling):
    polling.stop.set()

    assert polling.drain(PAGE).polls == 0
    assert polling.vendor.asked == []


def test_a_lease_lost_in_mid_answer_lands_it_and_asks_no_more(polling):
    def lost(ticket, count):
        polling.lease.leave()
        return PAGE

    drained = polling.drain(lost, PAGE)

    assert len(polling.vendor.asked) == 1
    assert drained.outcome is PollOutcome.PAGE
    assert polling.bodies() == [PAGE.body]
    assert polling.ledger() == [("page", "page")]


def test_an_answer_500_is_kept_as_an_incident_with_its_request(polling):
    answer = in_doubt(
        Cause.HTTP_500, status=500, body=b'{"errorCode":"E7"}', complete=True, reason_code="E7", exchange="GET …\n500 …"
    )

    polling.drain(answer)

    (ticket,) = polling.vendor.asked
    assert rows(polling.database, "SELECT poll_id, request_id, status, reason_code, exchange FROM stp.incident") == [
        (ticket.poll_id, ticket.request_id, 500, "E7", "GET …\n500 …")
    ]
    assert polling.bodies() == [b'{"errorCode":"E7"}']


def test_landing_waits_for_a_lock_rather_than_lose_the_answer(polling):
    blocker = Database(polling.database.url.render_as_string(hide_password=False))
    lent = blocker.engine.connect()

    def locked(ticket, count):
        lent.execute(text("LOCK TABLE stp.answer IN ACCESS EXCLUSIVE MODE"))
        Timer(0.5, lent.close).start()
        return PAGE

    drained = polling.drain(locked)

    assert drained.pages == 1
    assert polling.bodies() == [PAGE.body]
    blocker.close()


@pytest.fixture
def sandboxed(polling):
    """The poller with the real client, asking the sandbox."""
    with SandboxProcess(Options(trades=120, seed=5)) as sandbox:
        clock = SystemClock()
        endpoint = Endpoint(base_url=sandbox.url, org="pfOrg", user="apiUser", password=lambda: "sandbox")
        vendor = VendorClient(endpoint, clock, lambda: uuid4().hex)
        polling.poller = Poller(
            polling._polled, vendor, polling.open_work,
            clock=clock, new_id=lambda: uuid4().hex, lease=polling.lease, stop=Event(),
        )  # fmt: skip
        yield polling, sandbox
        vendor.close()


def test_everything_the_sandbox_hands_out_is_landed_as_it_was_sent(sandboxed):
    polling, sandbox = sandboxed

    drained = polling.poller.drain()

    handed_out = [each["trade_id"] for each in sandbox.control.handed_out()]
    landed = rows(
        polling.database,
        "SELECT m ->> 'tradeId' FROM stp.answer, jsonb_array_elements(convert_from(body, 'UTF8')::jsonb)"
        " WITH ORDINALITY AS e (m, place) ORDER BY poll_id, place",
    )
    assert [trade_id for (trade_id,) in landed] == handed_out
    assert (len(handed_out), drained.messages, drained.pages) == (120, 120, 3)
    assert drained.proven_empty


def test_the_incident_of_a_500_holds_no_secret(sandboxed):
    polling, sandbox = sandboxed
    sandbox.control.plan("500_after")

    polling.poller.drain()

    exchange = value(polling.database, "SELECT exchange FROM stp.incident")
    assert f"GET {sandbox.url}/v2/trades/stp/messages" in exchange
    assert "500" in exchange
    assert polling.poller._vendor._session._grant.token not in exchange
    assert "sandbox" not in exchange.replace(sandbox.url, "")
