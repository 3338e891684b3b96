"""The client against the sandbox vendor: two programs that share no code and have to agree on the documents."""

from datetime import UTC, datetime

import pytest

from etl.clock import SystemClock
from etl.errors import VendorRefusedError
from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from etl.vendor.feed import PollOutcome, ResendOutcome
from tests.contract.scripted_vendor import a_client, a_ticket

EVER = datetime(2000, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def sandbox():
    with SandboxProcess(Options(seed=3, trades=60)) as running:
        yield running


def client_of(sandbox, **settings):
    user = sandbox.user
    known = {"org": user.org, "user": user.name, "password": lambda: user.password, "secret": lambda: user.hmac_secret}
    return a_client(sandbox.url, **{**known, "read_timeout_s": 5.0, **settings})


def drained(client):
    pages = []
    while (page := client.next_page(a_ticket(), 25)).outcome is PollOutcome.PAGE:
        pages.append(page)
    assert page.outcome is PollOutcome.EMPTY
    return pages


@pytest.mark.parametrize("auth", ["token", "hmac"])
def test_all_trades_come_once_and_again_after_a_resend(sandbox, auth):
    with client_of(sandbox, auth=auth) as client:
        client.ensure_session()
        drained(client)
        handed_out = len(sandbox.control.handed_out())
        accepted = client.request_resend(*EVER)
        pages = drained(client)

    assert accepted.outcome is ResendOutcome.ACCEPTED
    assert len(pages) == 3
    assert len(sandbox.control.handed_out()) - handed_out == 60
    assert all(page.request_id_echo.startswith("poll-") and page.vendor_date for page in pages)


def test_a_wrong_signature_is_refused(sandbox):
    with client_of(sandbox, auth="hmac", secret=lambda: "wrong") as client:
        client.ensure_session()

        page = client.next_page(a_ticket(), 25)

    assert (page.outcome, page.status, page.reason_code) == (
        PollOutcome.REFUSED,
        401,
        "AuthenticationError.Signature",
    )


def test_a_wrong_password_is_refused(sandbox):
    with client_of(sandbox, password=lambda: "wrong") as client, pytest.raises(VendorRefusedError, match="check user"):
        client.ensure_session()


def test_expired_tokens_are_refused_and_a_new_login_helps(sandbox):
    with client_of(sandbox) as client:
        client.ensure_session()
        sandbox.control.expire_tokens()
        refused = client.next_page(a_ticket(), 25)
        client.forget_session()
        client.ensure_session()
        page = client.next_page(a_ticket(), 25)
        sandbox.control.expire_tokens()
        reply = client.positions("ORG", sandbox.user.org)

    assert (refused.outcome, refused.status) == (PollOutcome.REFUSED, 401)
    assert page.outcome in (PollOutcome.PAGE, PollOutcome.EMPTY)
    assert reply.status == 200


@pytest.mark.parametrize("auth", ["token", "hmac"])
def test_every_question_is_understood(sandbox, auth):
    with client_of(sandbox, auth=auth) as client:
        trade = sandbox.control.trades()[0]
        replies = [
            client.trade(trade["tradeId"]) if "tradeId" in trade else client.assets(),
            client.positions("ORG", sandbox.user.org),
            client.balances(),
            client.balances("USD"),
            client.broker_balances(),
            client.deposits(*EVER),
            client.withdrawals(*EVER),
            client.assets(),
            client.spot_rate("EUR/USD"),
            client.benchmark("EUR/USD"),
        ]

    assert [reply.status for reply in replies] == [200] * len(replies)
    assert all(reply.body[:1] in b"[{" for reply in replies)


@pytest.mark.parametrize(
    ("fault", "causes"),
    [
        ("close_before", {"reset"}),
        ("reset_before", {"reset"}),
        ("close_after", {"reset"}),
        ("reset_after", {"reset"}),
        ("headers_then_silence", {"timeout", "cut"}),
        ("cut_body", {"cut", "reset"}),
        ("wrong_length", {"unreadable", "cut"}),
        ("html", {"unreadable"}),
        ("object", {"unreadable"}),
        ("null", {"unreadable"}),
        ("wrapped", {"unreadable"}),
        ("gzip_cut", {"unreadable"}),
        ("429", {"http_429"}),
        ("500", {"http_500"}),
        ("502_after", {"http_502"}),
        ("503_before", {"http_503"}),
        ("redirect", {"redirect"}),
        ("foreign_request_id", {"foreign_request_id"}),
    ],
)
def test_law_3_each_fault_of_the_sandbox_leaves_us_in_doubt_and_is_asked_once(sandbox, fault, causes):
    with client_of(sandbox, read_timeout_s=1.0) as client:
        client.ensure_session()
        client.request_resend(*EVER)
        before = len(sandbox.control.requests())
        sandbox.control.plan({"fault": fault, "delay_s": 0.1})

        page = client.next_page(a_ticket(), 5)

    assert page.outcome is PollOutcome.IN_DOUBT
    assert page.cause in causes
    asked = [each for each in sandbox.control.requests()[before:] if "messages" in str(each)]
    assert len(asked) <= 1


def test_the_vendors_clock_is_near_ours(sandbox):
    with client_of(sandbox) as client:
        client.ensure_session()
        client.next_page(a_ticket(SystemClock()), 5)

        assert abs(client.clock_skew_s()) < 5
