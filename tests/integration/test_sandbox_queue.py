"""The sandbox's STP queue: reading takes away, and only a resend brings back."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from etl.sandbox.exact import value_of
from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from tests.integration.sandbox_client import START, Client, client_of, shared, users


@pytest.fixture(scope="module")
def pool() -> Iterator[Any]:
    yield from shared()


@pytest.fixture
def client(pool: Any) -> Iterator[Client]:
    yield from client_of(pool)


def ids(messages: list[dict[str, Any]]) -> list[str]:
    return [each["tradeId"] for each in messages]


def test_reading_takes_away_until_the_queue_is_empty(client):
    first, second = client.read(15), client.read(15)
    rest = client.drain()

    assert len(first) == len(second) == 15
    assert len(rest) == 10
    assert set(ids(first + second + rest)) == set(client.trades())
    assert client.messages().content == b"[]"


def test_a_page_has_fifty_trades_unless_asked_otherwise(client):
    client.control.execute(30, org=client.user.org)

    assert len(client.messages().json()) == 50


def test_the_log_holds_every_element_exactly_as_it_was_sent(client):
    bodies = [client.messages(16, X_Request_ID=f"request {number}") for number in range(3)]

    log = client.handed_out()
    for number, answer in enumerate(bodies):
        sent = [each["body"] for each in log if each["request_id"] == f"request {number}"]
        assert answer.text == "[" + ",".join(sent) + "]"
    assert [each["seq"] for each in log] == sorted(each["seq"] for each in log)
    assert len(log) == 40


def test_the_log_can_be_read_from_a_number_on(client):
    client.read(10)
    last = client.control.handed_out()[-1]["seq"]
    later = ids(client.read(7))

    assert [each["trade_id"] for each in client.control.handed_out(after=last)] == later
    assert [each["trade_id"] for each in client.control.handed_out(after=last + 3)] == later[3:]


def test_the_requests_log_tells_what_was_asked(client):
    client.messages(5, X_Request_ID="this one")

    record = client.control.requests()[-1]
    assert record["path"] == "/v2/trades/stp/messages?maxCount=5"
    assert (record["request_id"], record["user"], record["status"]) == ("this one", client.user.name, 200)
    assert (record["trades"], record["fault"], record["method"]) == (5, None, "GET")


@pytest.mark.parametrize("count", ["0", "-1", "many", "1.5", ""])
def test_a_senseless_count_is_400_and_takes_nothing(client, count):
    answer = client.get("/v2/trades/stp/messages", {"maxCount": count})

    assert answer.status_code == 400
    assert answer.json()["reasonCode"]
    assert len(client.drain()) == 40


def test_a_request_id_is_echoed_and_none_is_invented(client):
    assert client.messages(1, X_Request_ID="an id").headers["X-Request-ID"] == "an id"
    assert "X-Request-ID" not in client.messages(1).headers


def test_what_was_never_downloaded_stays_new_inside_a_resend(client):
    taken = ids(client.read(25))

    answer = client.resend()

    assert (answer.status_code, answer.content) == (200, b"")
    events = {each["tradeId"]: each["event"] for each in client.drain()}
    assert len(events) == 40
    assert {trade_id for trade_id, event in events.items() if event == "RESEND"} == set(taken)


def test_a_trade_whose_answer_was_lost_comes_back_as_resend(client):
    with pytest.raises(OSError, match="Connection"):
        client.messages(50, X_Sandbox_Fault="close_after")
    assert client.read() == []

    client.resend()

    assert {each["event"] for each in client.drain()} == {"RESEND"}
    assert len(client.handed_out()) == 80


def test_asking_twice_for_a_resend_brings_each_trade_once(client):
    client.drain()
    client.resend()
    client.resend()

    assert len(ids(client.drain())) == 40


def test_a_resend_brings_the_trade_dates_asked_and_no_others(client):
    messages = client.drain()
    day = messages[20]["tradeDate"]

    client.resend(day, day)

    assert sorted(ids(client.drain())) == sorted(each["tradeId"] for each in messages if each["tradeDate"] == day)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"startDate": "2024-03-01 00:00:00,000 +0000"}',
        b'{"startDate": "2024-03-01", "endDate": "2024-03-02"}',
        b'{"startDate": "2024-03-02 00:00:00,000 +0000", "endDate": "2024-03-01 00:00:00,000 +0000"}',
    ],
)
def test_a_senseless_resend_is_400_and_brings_nothing(client, body):
    client.drain()
    answer = client.session.post(
        f"{client.url}/v2/trades/stp/resend", data=body, headers={"SSO_TOKEN": client.token}, timeout=5
    )

    assert answer.status_code == 400
    assert client.read() == []


def test_resent_trades_may_take_a_while_to_be_eligible(client):
    client.control.variant(eligible_after_s=0.8)
    client.drain()
    client.resend()

    assert client.read() == []
    time.sleep(0.9)
    assert len(client.drain()) == 40


def test_only_verified_trades_come_again(client):
    cancelled, *others = ids(client.drain())
    client.control.cancel(cancelled)
    client.resend()

    assert sorted(ids(client.drain())) == sorted(others)


def test_a_trade_cancelled_before_its_first_download_never_comes(client):
    (trade_id,) = client.control.execute(1, org=client.user.org)
    client.control.cancel(trade_id)

    assert trade_id not in ids(client.drain())


def test_a_hidden_trade_is_known_but_never_handed_out(client):
    trade_id = client.execute(symbol="EUR/USD", tradeType="Spot")
    client.control.hide(trade_id)

    assert trade_id not in ids(client.drain())
    client.resend()
    assert trade_id not in ids(client.drain())
    assert client.json(f"/v2/trades/{trade_id}")["tradeId"] == trade_id


def test_a_trade_may_come_out_of_hiding(client):
    trade_id = client.execute()
    client.control.hide(trade_id)
    client.drain()
    client.control.hide(trade_id, hidden=False)

    assert ids(client.read()) == [trade_id]


def test_new_trades_are_new(client):
    client.drain()
    made = client.control.execute(3, org=client.user.org)

    assert [(each["tradeId"], each["event"]) for each in client.read()] == [(each, "NEW") for each in made]


def test_raw_elements_are_handed_out_word_for_word(client):
    client.drain()
    client.control.raw('{"tradeId": "X1", "dealtAmount": 1e999}', '"\\ud800"', "{broken", org=client.user.org)

    assert client.messages().content == b'[{"tradeId": "X1", "dealtAmount": 1e999},"\\ud800",{broken]'
    assert [each["trade_id"] for each in client.handed_out()[-3:]] == ["X1", None, None]


def test_a_whole_body_is_answered_once_and_takes_nothing(client):
    client.control.whole_body("anything at all")

    assert client.messages().text == "anything at all"
    assert len(client.drain()) == 40


def test_two_users_of_one_organisation_have_a_queue_each_or_share_it(client):
    pair = users(2, per_org=2)
    options = Options(trades=30, start_time=START, users=pair)
    counts = []
    for variants in (options.variants, options.variants.changed({"shared_queue": True})):
        with SandboxProcess(replace(options, variants=variants)) as sandbox:
            both = [Client(sandbox.url, sandbox.control, user) for user in pair]
            for each in both:
                each.login()
            counts.append([len(each.drain()) for each in both])
            for each in both:
                each.session.close()

    assert counts == [[30, 30], [30, 0]]


def test_trades_are_done_by_themselves_at_a_rate():
    with SandboxProcess(Options(trades=0, rate=100, users=users(1))) as sandbox:
        time.sleep(0.7)
        done = sandbox.control.state()["trades"]

    assert 30 <= done <= 200


def test_a_second_consumer_takes_trades_now_and_then():
    with SandboxProcess(Options(trades=200, second_consumer=0.5, users=users(1))) as sandbox:
        client = Client(sandbox.url, sandbox.control, sandbox.user)
        client.login()
        got = 0
        while page := client.read(10):
            got += len(page)
        client.session.close()
        lost = [each for each in sandbox.control.handed_out() if each["user"] != client.user.name]

    assert 0 < len(lost) < 200
    assert got + len(lost) == 200


class TestPrerendered:
    """Pages that were written beforehand say the same as others."""

    @pytest.fixture
    def prerendered(self) -> Iterator[Client]:
        with SandboxProcess(Options(trades=120, start_time=START, prerender=50, users=users(1))) as sandbox:
            client = Client(sandbox.url, sandbox.control, sandbox.user)
            client.login()
            with client.session:
                yield client

    def test_they_hold_what_is_written_on_demand(self, prerendered):
        pages = [prerendered.messages(50).content for _ in range(4)]

        with SandboxProcess(Options(trades=120, start_time=START, users=users(1))) as sandbox:
            client = Client(sandbox.url, sandbox.control, sandbox.user)
            client.login()
            assert [client.messages(50).content for _ in range(4)] == pages
            client.session.close()
        assert [len(value_of(page)) for page in pages] == [50, 50, 20, 0]
        assert [each["body"] for each in prerendered.handed_out()[:50]] == _elements(pages[0])

    def test_they_can_be_sent_again(self, prerendered):
        prerendered.messages(50)
        prerendered.resend()

        events = [each["event"] for each in prerendered.drain()]
        assert (events.count("NEW"), events.count("RESEND")) == (70, 50)

    def test_they_are_dropped_when_they_no_longer_hold(self, prerendered):
        cancelled = list(prerendered.trades())[3]
        prerendered.control.cancel(cancelled)

        assert len(prerendered.read(50)) == 50
        assert len(prerendered.drain()) == 69

    def test_another_count_is_honoured(self, prerendered):
        assert [len(prerendered.read(count)) for count in (7, 50, 50, 50)] == [7, 50, 50, 13]

    def test_they_need_a_session(self, prerendered):
        prerendered.token = "wrong"

        assert prerendered.messages(50).status_code == 401
        assert prerendered.control.handed_out() == []

    def test_faults_happen_to_them_too(self, prerendered):
        prerendered.control.plan("500_after")

        assert prerendered.messages(50).status_code == 500
        assert len(prerendered.drain()) == 70


def _elements(page: bytes) -> list[str]:
    return [text if text.startswith("{") else "{" + text for text in page.decode()[1:-1].split(",{")]


def test_many_readers_at_once_get_each_trade_once(client):
    client.control.execute(200, org=client.user.org)
    found: list[str] = []

    def read() -> None:
        other = Client(client.url, client.control, client.user)
        other.token = client.token
        with other.session:
            found.extend(ids(other.drain()))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for each in readers:
        each.start()
    for each in readers:
        each.join()

    assert len(found) == len(set(found)) == 240
