"""Every fault of the sandbox does what its name says, and hands out exactly what it should."""

import contextlib
import gzip
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest
import requests

from etl.sandbox import faults
from etl.sandbox.exact import value_of
from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from tests.acceptance.program import until
from tests.integration.sandbox_client import MESSAGES, START, Client, client_of, shared, users

CONNECTION = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


@pytest.fixture(scope="module")
def pool() -> Iterator[Any]:
    yield from shared(120)


@pytest.fixture
def client(pool: Any) -> Iterator[Client]:
    yield from client_of(pool)


def taken(client: Client) -> int:
    """How many trades have left the queue so far."""
    return len(client.handed_out())


def raw_answer(client: Client, fault: str, timeout_s: float = 60) -> bytes:
    """Ask on a bare socket, and return all bytes that come until the other end closes or the time is over."""
    host, port = client.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=timeout_s) as connection:
        lines = [
            f"GET {MESSAGES}?maxCount=10 HTTP/1.1",
            "Host: vendor",
            "Connection: close",
            f"SSO_TOKEN: {client.token}",
        ]
        connection.sendall("\r\n".join([*lines, f"X-Sandbox-Fault: {fault}", "", ""]).encode())
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
        except TimeoutError:
            received += b"(silence)"
        return received


@pytest.mark.parametrize("status", sorted(faults.STATUSES))
@pytest.mark.parametrize(("when", "gone"), [("", 0), ("_before", 0), ("_after", 10)])
def test_an_error_comes_before_or_after_the_hand_out(client, status, when, gone):
    answer = client.messages(10, X_Sandbox_Fault=f"{status}{when};retry_after_s=7")

    assert answer.status_code == int(status)
    assert answer.json()["message"]
    assert answer.headers.get("Retry-After") == ("7" if status == "429" else None)
    assert taken(client) == gone


@pytest.mark.parametrize(("kind", "gone"), [("close_before", 0), ("close_after", 10)])
def test_a_closed_connection_says_nothing(client, kind, gone):
    assert raw_answer(client, kind) == b""
    assert taken(client) == gone


@pytest.mark.parametrize(("kind", "gone"), [("reset_before", 0), ("reset_after", 10)])
def test_a_reset_connection_is_reset(client, kind, gone):
    with pytest.raises(ConnectionResetError):
        raw_answer(client, kind)
    assert taken(client) == gone


def test_headers_may_be_followed_by_silence(client):
    received = raw_answer(client, "headers_then_silence", timeout_s=1)

    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(b"\r\n\r\n(silence)")
    assert taken(client) == 10


def test_silence_may_end(client):
    received = raw_answer(client, "headers_then_silence;delay_s=0.1")

    assert received.endswith(b"\r\n\r\n")
    assert taken(client) == 10


def test_a_ghost_acts_after_its_sender_has_left(client):
    with pytest.raises(requests.Timeout):
        client.session.get(
            client.url + MESSAGES,
            headers={"SSO_TOKEN": client.token, "X-Sandbox-Fault": "ghost;delay_s=3"},
            timeout=0.2,
        )

    assert taken(client) == 0
    until(lambda: taken(client) == 40, what="the ghost")
    assert client.read() == []


def test_a_ghost_may_close_its_connection_at_once(client):
    assert raw_answer(client, "ghost;delay_s=3;close=true") == b""

    assert taken(client) == 0
    until(lambda: taken(client) == 10, what="the ghost")


def test_a_ghost_resend_refills_the_queue_later(client):
    client.drain()
    with pytest.raises(requests.Timeout):
        client.session.post(
            client.url + "/v2/trades/stp/resend",
            json={"startDate": "2020-01-01 00:00:00,000 +0000", "endDate": "2030-01-01 00:00:00,000 +0000"},
            headers={"SSO_TOKEN": client.token, "X-Sandbox-Fault": "ghost;delay_s=3"},
            timeout=0.2,
        )

    assert client.read() == []
    until(lambda: len(client.drain()) == 40, what="the ghost")


def test_a_body_may_be_cut(client):
    received = raw_answer(client, "cut_body")

    head, _, body = received.partition(b"\r\n\r\n")
    assert len(body) < _length(head)
    assert taken(client) == 10
    with pytest.raises(CONNECTION):
        client.messages(10, X_Sandbox_Fault="cut_body")


def test_a_length_may_be_wrong(client):
    answer = client.messages(10, X_Sandbox_Fault="wrong_length")

    assert answer.status_code == 200
    with pytest.raises(ValueError, match="JSON|delimiter|Unterminated|Expecting|Extra"):
        answer.json()
    assert taken(client) == 10


@pytest.mark.parametrize("kind", sorted(faults.OTHER_BODY))
@pytest.mark.parametrize(("when", "gone"), [("", 10), ("_before", 0)])
def test_something_else_may_be_answered(client, kind, when, gone):
    answer = client.messages(10, X_Sandbox_Fault=kind + when)

    assert answer.status_code == 200
    if kind == "html":
        assert answer.headers["Content-Type"] == "text/html"
        assert b"<html>" in answer.content
    else:
        assert answer.json() == {"object": {}, "null": None, "wrapped": {"trades": []}}[kind]
    assert taken(client) == gone


def test_gzip_is_whole_or_cut(client):
    whole = raw_answer(client, "gzip")
    cut = raw_answer(client, "gzip_cut")

    head, _, body = whole.partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head.lower()
    assert len(value_of(gzip.decompress(body))) == 10
    head, _, body = cut.partition(b"\r\n\r\n")
    assert len(body) == _length(head)
    with pytest.raises(EOFError):
        gzip.decompress(body)
    assert taken(client) == 20


@pytest.mark.parametrize("kind", ["slow_bytes", "delay"])
def test_an_answer_may_be_slow_and_whole(client, kind):
    began = time.monotonic()
    answer = client.messages(10, X_Sandbox_Fault=f"{kind};delay_s=0.5")

    assert time.monotonic() - began >= 0.5
    assert len(answer.json()) == 10


def test_a_redirect_points_back_to_the_queue_and_takes_nothing(client):
    answer = client.messages(10, X_Sandbox_Fault="redirect")

    assert answer.status_code == 307
    assert answer.headers["Location"] == f"{MESSAGES}?maxCount=10"
    assert taken(client) == 0


def test_an_answer_may_carry_a_foreign_request_id_or_none(client):
    foreign = client.messages(10, X_Request_ID="mine", X_Sandbox_Fault="foreign_request_id")
    absent = client.messages(10, X_Request_ID="mine", X_Sandbox_Fault="no_request_id")

    assert foreign.headers["X-Request-ID"] != "mine"
    assert "X-Request-ID" not in absent.headers
    assert taken(client) == 20


def test_the_previous_page_may_come_again(client):
    first = client.messages(10).content
    again = client.messages(10, X_Sandbox_Fault="duplicate_page").content

    assert again == first
    assert len(client.drain()) == 30
    assert taken(client) == 50


def test_a_page_may_be_out_of_order(client):
    expected = list(client.trades())
    page = [each["tradeId"] for each in client.messages(40, X_Sandbox_Fault="reordered_page").json()]

    assert page != expected
    assert sorted(page) == sorted(expected)


def test_a_page_may_have_more_than_asked(client):
    assert len(client.messages(10, X_Sandbox_Fault="oversize_page;count=5").json()) == 15


def test_a_second_consumer_may_come_first(client):
    expected = list(client.trades())
    page = client.messages(10, X_Sandbox_Fault="second_consumer;count=7").json()

    assert [each["tradeId"] for each in page] == expected[7:17]
    stolen = [each["trade_id"] for each in client.control.handed_out() if each["trade_id"] in expected[:7]]
    assert stolen == expected[:7]
    assert taken(client) == 10


def test_a_token_may_expire_in_mid_drain(client):
    answer = client.messages(10, X_Sandbox_Fault="token_expired")

    assert answer.status_code == 401
    assert client.messages(10).status_code == 401
    assert taken(client) == 0
    client.login()
    assert len(client.drain()) == 40


def test_messages_may_have_an_unknown_event(client):
    assert {each["event"] for each in client.messages(10, X_Sandbox_Fault="unknown_event").json()} == {"CORRECT"}
    assert client.messages(1, X_Sandbox_Fault="unknown_event:AMEND").json()[0]["event"] == "AMEND"
    assert client.handed_out()[-1]["event"] == "AMEND"


def test_fields_may_be_missing_renamed_or_of_another_type(client):
    missing = client.messages(10, X_Sandbox_Fault="missing_field:dealtAmount;count=3").json()
    renamed = client.messages(10, X_Sandbox_Fault="renamed_field:settledAmount=settledAmt").json()
    retyped = client.messages(10, X_Sandbox_Fault="retyped_field:dealtAmount").json()

    assert ["dealtAmount" in each for each in missing] == [False] * 3 + [True] * 7
    assert all("settledAmt" in each and "settledAmount" not in each for each in renamed)
    assert all(isinstance(each["dealtAmount"], str) for each in retyped)
    sent = [value_of(each["body"]) for each in client.handed_out()]
    assert sent[0].get("dealtAmount") is None
    assert "settledAmt" in sent[10]


@pytest.mark.parametrize(("name", "kind"), [("maker", str), ("symbol", dict), ("settledAmount", str)])
def test_every_type_turns_into_another(client, name, kind):
    (message,) = client.messages(1, X_Sandbox_Fault=f"retyped_field:{name}").json()

    assert isinstance(message[name], kind)


def test_a_body_may_be_huge(client):
    assert len(client.messages(1, X_Sandbox_Fault="huge_body").content) > 5_000_000


def test_a_resend_may_be_short(client):
    client.drain()
    client.resend(X_Sandbox_Fault="short_resend;count=4")

    assert len(client.drain()) == 36


def test_a_resend_may_bring_amended_content(client):
    before = {each["tradeId"]: each for each in client.drain()}
    client.resend(X_Sandbox_Fault="amended_on_resend;count=3")

    changed = [each for each in client.drain() if each["dealtAmount"] != before[each["tradeId"]]["dealtAmount"]]
    assert len(changed) == 3
    assert all(each["dealtAmount"] == 2 * before[each["tradeId"]]["dealtAmount"] for each in changed)


def test_the_port_may_be_closed_for_a_while():
    with SandboxProcess(Options(trades=20, start_time=START, users=users(1))) as sandbox:
        client = Client(sandbox.url, sandbox.control, sandbox.user)
        client.login()
        with pytest.raises(requests.ConnectionError):
            client.messages(10, X_Sandbox_Fault="refuse;delay_s=0.6")
        with pytest.raises(requests.ConnectionError, match="refused"):
            client.messages(10)
        time.sleep(0.9)
        assert len(client.drain()) == 20
        client.control.refuse(0.5)
        time.sleep(0.2)
        with pytest.raises(requests.ConnectionError):
            client.messages(10)
        time.sleep(0.6)
        assert client.read() == []
        client.session.close()


class TestPlan:
    """Which request meets a planned fault."""

    def test_the_nth_request_of_the_endpoint_meets_it_as_often_as_planned(self, client):
        client.control.plan({"fault": "503_before", "nth": 2, "times": 2, "user": client.user.name})

        assert [client.messages(10).status_code for _ in range(5)] == [200, 503, 503, 200, 200]

    def test_times_zero_lasts_until_it_is_cleared(self, client):
        client.control.plan({"fault": "500", "times": 0})
        before = [client.messages(1).status_code for _ in range(3)]
        client.control.clear_faults()

        assert before == [500] * 3
        assert client.messages(1).status_code == 200

    def test_faults_of_one_plan_come_one_after_the_other(self, client):
        client.control.plan("500", "502", "503")

        assert [client.messages(1).status_code for _ in range(4)] == [500, 502, 503, 200]

    def test_other_endpoints_and_other_users_do_not_meet_it(self, client):
        client.control.plan({"fault": "500", "endpoint": "positions"}, {"fault": "502", "user": "nobody"})

        assert client.messages(1).status_code == 200
        assert client.get("/v2/positions").status_code == 500
        assert client.control.state()["planned"] == ["502"]

    def test_it_can_wait_until_there_is_something_to_lose(self, client):
        client.drain()
        client.control.plan({"fault": "500_after", "non_empty": True})
        empty = [client.messages().status_code for _ in range(3)]
        client.control.execute(2, org=client.user.org)

        assert empty == [200] * 3
        assert client.messages().status_code == 500

    def test_a_refused_request_does_not_use_it_up(self, client):
        client.control.plan("500")
        token, client.token = client.token, "wrong"
        assert client.messages().status_code == 401
        client.token = token

        assert client.messages().status_code == 500

    def test_any_endpoint_can_fail_the_login_too(self, client):
        client.control.plan({"fault": "503", "endpoint": "any", "times": 2}, {"fault": "html", "endpoint": "login"})

        assert [client.login().status_code for _ in range(2)] == [503, 503]
        assert client.login().headers["Content-Type"] == "text/html"
        assert client.login().status_code == 200

    @pytest.mark.parametrize(
        "fault",
        [
            {"fault": "no such"},
            {"fault": "missing_field"},
            {"fault": "500", "when": 1},
            {"fault": "500", "nth": "x"},
            {},
        ],
    )
    def test_a_senseless_plan_is_refused(self, client, fault):
        with pytest.raises(HTTPError, match="400"):
            client.control.plan(fault)
        assert client.control.state()["planned"] == []

    def test_a_senseless_header_is_refused_and_takes_nothing(self, client):
        assert client.messages(10, X_Sandbox_Fault="no such").status_code == 400
        assert client.messages(10, X_Sandbox_Fault="500;nth").status_code == 400
        assert taken(client) == 0

    def test_the_log_names_the_fault(self, client):
        client.messages(10, X_Sandbox_Fault="missing_field:note")

        assert client.control.requests()[-1]["fault"] == "missing_field:note"


def outcomes_by_chance(seed: int) -> list[str | None]:
    kinds = ("500_before", "502_after", "close_after", "reset_before", "cut_body", "html", "token_expired")
    options = Options(trades=300, start_time=START, users=users(1), fault_rate=0.5, fault_seed=seed, fault_kinds=kinds)
    with SandboxProcess(options) as sandbox:
        client = Client(sandbox.url, sandbox.control, sandbox.user)
        for _ in range(20):
            with contextlib.suppress(*CONNECTION):
                client.login()
                client.messages(5)
        client.session.close()
        return [each["fault"] for each in sandbox.control.requests()]


def test_chance_follows_its_seed():
    first, again, other = (outcomes_by_chance(seed) for seed in (5, 5, 6))

    assert first == again
    assert first != other
    assert any(first)
    assert not all(first)


def test_no_fault_of_chance_lasts_long():
    options = Options(trades=500, start_time=START, users=users(1), fault_rate=1)
    with SandboxProcess(options) as sandbox:
        client = Client(sandbox.url, sandbox.control, sandbox.user)
        for _ in range(10):
            began = time.monotonic()
            with contextlib.suppress(requests.RequestException):
                client.login()
                client.messages(1)
            assert time.monotonic() - began < 30
        client.session.close()
        assert len({each["fault"] for each in sandbox.control.requests()}) > 3


def _length(head: bytes) -> int:
    (line,) = (line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return int(line.split(b":")[1])
