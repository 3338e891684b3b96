"""The resend request and the questions that change nothing: what is sent, and which answers are none."""

import ast
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest

import etl.vendor
from etl.errors import VendorAwayError, VendorFailedError, VendorRefusedError, VendorThrottledError
from etl.vendor.feed import ResendOutcome
from tests.contract.scripted_vendor import QUEUE, ScriptedVendor, a_client, answer, logged_in, raw

RESEND, LOGIN = "/v2/trades/stp/resend", "/v2/sso/login"
START = datetime(2026, 3, 2, tzinfo=UTC)
END = datetime(2026, 3, 3, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.fixture
def vendor():
    with ScriptedVendor() as running:
        yield running


@pytest.fixture
def client(vendor):
    with a_client(vendor) as ready:
        yield ready


def lines(vendor):
    return [each.line.removesuffix(" HTTP/1.1") for each in vendor.asked if "sso" not in each.line]


@pytest.mark.parametrize(
    ("question", "line"),
    [
        (lambda c: c.trade("FXI1"), "GET /v2/trades/FXI1"),
        (lambda c: c.trade("A/B ü?x=1"), "GET /v2/trades/A%2FB%20%C3%BC%3Fx%3D1"),
        (lambda c: c.fills("214748366"), "GET /v2/trades?orderId=214748366"),
        (lambda c: c.positions("ORG", "pfOrg"), "GET /v2/positions?level=ORG&value=pfOrg"),
        (
            lambda c: c.positions("LE", "a & b", "EUR/USD", date(2026, 3, 5)),
            "GET /v2/positions/2026-03-05?level=LE&value=a+%26+b&symbol=EUR%2FUSD",
        ),
        (lambda c: c.balances(), "GET /custody/v2/account/balances"),
        (lambda c: c.balances("BTC"), "GET /custody/v2/account/balances?asset=BTC"),
        (lambda c: c.broker_balances("BTC"), "GET /custody/v2/broker/account/balances?asset=BTC"),
        (
            lambda c: c.deposits(START, END),
            "GET /custody/v2/deposit/history?startTime=1772409600000&endTime=1772582399999",
        ),
        (
            lambda c: c.withdrawals(START, END),
            "GET /custody/v2/withdraw/history?startTime=1772409600000&endTime=1772582399999",
        ),
        (lambda c: c.assets(), "GET /custody/v2/asset/assetDetail"),
        (lambda c: c.spot_rate("EUR/USD"), "GET /v2/rates/spot?symbol=EUR%2FUSD"),
        (lambda c: c.benchmark("EUR/USD"), "GET /v2/benchmark?symbol=EUR%2FUSD"),
    ],
)
def test_each_question_has_its_address(vendor, client, question, line):
    question(client)

    assert lines(vendor) == [line]


def test_a_base_url_with_a_path_goes_before_every_path(vendor):
    with a_client(f"{vendor.url}/fx/inside/") as client:
        vendor.will(logged_in(), path="/fx/inside/v2/sso/login")
        client.fills("1")

    assert vendor.asked[-1].line == "GET /fx/inside/v2/trades?orderId=1 HTTP/1.1"


def test_a_reply_holds_the_answer_as_it_came(vendor, client):
    told = ("Content-Type: application/json", "Date: Tue, 03 Mar 2026 07:05:09 GMT", "Set-Cookie: SSO_TOKEN=x")
    vendor.will(answer(200, b'[{"a": 1.10}]', *told), path="/v2/positions")

    reply = client.positions("ORG", "pfOrg")

    assert (reply.status, reply.body, reply.request_id) == (200, b'[{"a": 1.10}]', "request-2")
    assert reply.vendor_date == datetime(2026, 3, 3, 7, 5, 9, tzinfo=UTC)
    assert reply.headers == {
        "content-type": "application/json",
        "date": "Tue, 03 Mar 2026 07:05:09 GMT",
        "x-request-id": "request-2",
    }


def test_law_10_a_404_is_given_to_the_caller_who_knows_what_it_proves(vendor, client):
    vendor.will(answer(404, b'{"message": "No such trade"}'), path="/v2/trades/FXI1")

    reply = client.trade("FXI1")

    assert (reply.status, reply.body) == (404, b'{"message": "No such trade"}')


@pytest.mark.parametrize(
    ("said", "error", "text"),
    [
        (answer(400, b'{"message": "bad level"}'), VendorRefusedError, "answered with 400: bad level"),
        (answer(403, b""), VendorRefusedError, "answered with 403"),
        (answer(302, b"", "Location: /x"), VendorRefusedError, "answered with 302"),
        (answer(429, b"", "Retry-After: 12"), VendorThrottledError, "wait 12 s"),
        (answer(429, b""), VendorThrottledError, "wait 30 s"),
        (answer(500, b'{"message": "oops"}'), VendorFailedError, "answered with 500: oops"),
        (answer(502, b"<html>"), VendorAwayError, "answered with 502"),
        (answer(200, b"[]", echo="another"), VendorAwayError, "X-Request-ID of another request"),
        (answer(200, b"[]", "Content-Encoding: gzip"), VendorAwayError, "compressed"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]"), VendorAwayError, "ended before it was whole"),
        (raw(then="reset"), VendorAwayError, "connection was lost"),
        (raw(then="hold"), VendorAwayError, "in time"),
    ],
)
def test_law_10_a_failed_question_raises_and_is_not_an_answer(vendor, client, said, error, text):
    vendor.will(said, path="/v2/positions")

    with pytest.raises(error, match=text):
        client.positions("ORG", "pfOrg")

    assert len(vendor.asked_for("/v2/positions")) == 1


def test_after_a_500_the_whole_exchange_is_kept_for_the_vendors_support(vendor, client):
    vendor.will(answer(500, b'{"message": "oops"}', "X-Trace: 17"), path="/v2/positions")

    with pytest.raises(VendorFailedError) as failed:
        client.positions("ORG", "pfOrg")

    exchange = failed.value.exchange
    assert exchange.startswith(f"GET {vendor.url}/v2/positions?level=ORG&value=pfOrg HTTP/1.1\n")
    assert "HTTP/1.1 500 Told\nX-Trace: 17\n" in exchange
    assert exchange.endswith('\n\n{"message": "oops"}')
    assert "SSO_TOKEN: [hidden]" in exchange


def test_after_a_401_it_logs_in_once_and_asks_again(vendor, client):
    vendor.will(answer(401, b""), answer(200, b"[1]"), path="/v2/positions")
    client.ensure_session()
    vendor.will(logged_in("second-token"), path=LOGIN)

    reply = client.positions("ORG", "pfOrg")

    first, second = vendor.asked_for("/v2/positions")
    assert reply.body == b"[1]"
    assert (first.headers["sso_token"], second.headers["sso_token"]) == ("first-token_0123456789", "second-token")
    assert first.request_id != second.request_id
    assert len(vendor.asked_for(LOGIN)) == 2


def test_a_401_for_a_token_that_another_thread_has_replaced_costs_no_further_login(vendor, client):
    def refused_meanwhile(to, asked):
        client.forget_session()
        client.ensure_session()
        answer(401, b"")(to, asked)

    client.ensure_session()
    vendor.will(refused_meanwhile, path="/v2/positions")
    vendor.will(logged_in("second-token"), path=LOGIN)

    assert client.positions("ORG", "pfOrg").status == 200
    assert len(vendor.asked_for(LOGIN)) == 2


def test_a_401_that_stays_is_a_refusal(vendor, client):
    vendor.will(*[answer(401, b'{"message": "no right"}')] * 3, path="/v2/positions")

    with pytest.raises(
        VendorRefusedError, match="answered with 401: no right; check base_url, the user and its rights"
    ):
        client.positions("ORG", "pfOrg")

    assert len(vendor.asked_for("/v2/positions")) == 2


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.ask("/v2/trades/stp/messages"),
        lambda c: c.ask("/v2/trades/stp/messages", {"maxCount": 1}),
        lambda c: c.ask("/v2//trades//STP//Messages"),
        lambda c: c.trade("stp/messages"),
        lambda c: c.trade("stp%2fmessages"),
        lambda c: c.trade("../trades/stp/messages"),
        lambda c: c.trade(".."),
        lambda c: c.trade("."),
        lambda c: c.trade(""),
    ],
)
def test_law_12_no_question_reaches_the_queue(vendor, client, ask):
    with pytest.raises(ValueError, match=r"ticket only|cannot be a trade id"):
        ask(client)

    assert vendor.asked_for(QUEUE) == []
    assert vendor.asked == []


def test_the_resend_request_is_the_documented_one(vendor, client):
    answered = client.request_resend(START, END.astimezone(timezone(timedelta(hours=-5))))

    (asked,) = vendor.asked_for(RESEND)
    assert asked.line == "POST /v2/trades/stp/resend HTTP/1.1"
    assert asked.body == b'{"startDate":"2026-03-02 00:00:00,000 +0000","endDate":"2026-03-03 23:59:59,999 +0000"}'
    assert asked.headers["content-type"] == "application/json"
    assert (answered.outcome, answered.status) == (ResendOutcome.ACCEPTED, 200)
    assert answered.request_id == asked.request_id


@pytest.mark.parametrize(
    ("said", "outcome", "detail"),
    [
        (answer(200, b""), ResendOutcome.ACCEPTED, ""),
        (answer(202, b"<html>"), ResendOutcome.ACCEPTED, ""),
        (answer(200, b'{"message": "queued"}'), ResendOutcome.ACCEPTED, "queued"),
        (answer(404, b""), ResendOutcome.NOT_FOUND, "the vendor answered with 404"),
        (answer(400, b'{"message": "bad date"}'), ResendOutcome.REFUSED, "the vendor answered with 400: bad date"),
        (answer(302, b"", "Location: /x"), ResendOutcome.IN_DOUBT, "the vendor answered with 302"),
        (answer(307, b"", "Location: /x"), ResendOutcome.IN_DOUBT, "the vendor answered with 307"),
        (answer(408), ResendOutcome.IN_DOUBT, "the vendor answered with 408"),
        (answer(429, b""), ResendOutcome.IN_DOUBT, "the vendor answered with 429"),
        (answer(503, b""), ResendOutcome.IN_DOUBT, "the vendor answered with 503"),
        (answer(500, b""), ResendOutcome.IN_DOUBT, "the vendor answered with 500"),
        (raw(then="hold"), ResendOutcome.IN_DOUBT, "no whole answer arrived in time"),
        (answer(200, b"", echo="x"), ResendOutcome.IN_DOUBT, "the answer carries the X-Request-ID of another request"),
    ],
)
def test_what_comes_of_a_resend_request(vendor, client, said, outcome, detail):
    vendor.will(said, path=RESEND)

    answered = client.request_resend(START, END)

    assert (answered.outcome, answered.detail) == (outcome, detail)
    assert (answered.exchange is not None) == (answered.status == 500)
    assert len(vendor.asked_for(RESEND)) == 1


def test_a_resend_request_that_cannot_connect_is_not_sent(vendor, client):
    client.ensure_session()
    vendor.__exit__()

    assert client.request_resend(START, END).outcome is ResendOutcome.NOT_SENT


def test_a_resend_request_is_repeated_after_a_401_which_says_that_nothing_was_done(vendor, client):
    vendor.will(answer(401, b""), path=RESEND)

    assert client.request_resend(START, END).outcome is ResendOutcome.ACCEPTED
    assert len(vendor.asked_for(RESEND)) == 2


def test_a_resend_request_that_meets_401_with_a_new_session_too_is_asked_again_later(vendor, client):
    vendor.will(answer(401, b""), answer(401, b""), path=RESEND)

    assert client.request_resend(START, END).outcome is ResendOutcome.IN_DOUBT
    assert len(vendor.asked_for(RESEND)) == 2


@pytest.mark.parametrize(
    ("start", "end"),
    [(END, START), (datetime(2026, 3, 2), END), (START, datetime(2026, 3, 3))],  # noqa: DTZ001
)
def test_a_resend_range_has_an_order_and_a_time_zone(vendor, client, start, end):
    with pytest.raises((ValueError, TypeError)):
        client.request_resend(start, end)

    assert vendor.asked == []


def test_law_12_a_slow_question_does_not_hold_up_the_queue(vendor, client):
    client.ensure_session()
    client.balances()
    client.request_resend(START, END)

    connections = {each.path: each.connection for each in vendor.asked}
    assert connections[LOGIN] != connections["/custody/v2/account/balances"]


def test_no_code_of_the_client_can_place_amend_or_cancel_anything():
    sources = [path.read_text() for path in Path(etl.vendor.__path__[0]).glob("*.py")]
    words = {node.value for s in sources for node in ast.walk(ast.parse(s)) if isinstance(node, ast.Constant)}
    texts = {word for word in words if isinstance(word, str)}

    assert texts & {"PUT", "DELETE", "PATCH"} == set()
    assert sum(source.count('"POST", ') for source in sources) == 2  # the login, and the resend request
    assert not [text for text in texts if text.startswith("/") and ("/orders" in text or "/rfs" in text)]
