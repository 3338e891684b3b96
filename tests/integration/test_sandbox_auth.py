"""Sessions of the sandbox: tokens that expire, renewal, signatures."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import pytest

from tests.integration.sandbox_client import MESSAGES, START, Client, client_of, shared, signature

TARGET = f"{MESSAGES}?maxCount=5"


@pytest.fixture(scope="module")
def pool() -> Iterator[Any]:
    yield from shared(90)


@pytest.fixture
def client(pool: Any) -> Iterator[Client]:
    yield from client_of(pool)


def test_a_login_answers_as_the_documents_show(client):
    answer = client.login()
    body = answer.json()

    assert answer.status_code == 200
    assert list(body) == ["status", "errorCode", "responseTuples", "expiryTime", "serverUTCTime"]
    assert body["expiryTime"] - body["serverUTCTime"] == 60_000
    assert len(answer.headers["SSO_TOKEN"]) == 62
    assert answer.headers["Set-Cookie"].count(f"SSO_TOKEN={answer.headers['SSO_TOKEN']};") == 2


@pytest.mark.parametrize("change", [{"pass": "wrong"}, {"org": "wrong"}, {"user": "wrong"}])
def test_wrong_credentials_are_401(client, change):
    right = {"user": client.user.name, "pass": client.user.password, "org": client.user.org}
    answer = client.session.post(f"{client.url}/v2/sso/login", json=right | change, timeout=60)

    assert answer.status_code == 401
    assert answer.json()["reasonCode"]
    assert "SSO_TOKEN" not in answer.headers


@pytest.mark.parametrize("body", [b"", b"[]", b'{"user": "apiUser"}', b'{"user": 1, "pass": 2, "org": 3}'])
def test_a_senseless_login_is_400(client, body):
    assert client.session.post(f"{client.url}/v2/sso/login", data=body, timeout=60).status_code == 400


@pytest.mark.parametrize(("where", "header", "cookie"), [("header", True, False), ("cookie", False, True)])
def test_the_token_may_come_in_one_place_only(client, where, header, cookie):
    client.control.variant(token_in=where)
    answer = client.login()

    assert ("SSO_TOKEN" in answer.headers, "Set-Cookie" in answer.headers) == (header, cookie)
    assert client.messages(1).status_code == 200


@pytest.mark.parametrize("token", ["", "wrong"])
@pytest.mark.parametrize(
    "path",
    [MESSAGES, "/v2/trades?orderId=1", "/v2/trades/1", "/v2/positions", "/v2/positions/2024-03-15",
     "/custody/v2/account/balances", "/custody/v2/broker/account/balances", "/custody/v2/deposit/history",
     "/custody/v2/withdraw/history", "/custody/v2/asset/assetDetail", "/v2/rates/spot", "/v2/benchmark"],
)  # fmt: skip
def test_nothing_is_answered_without_a_valid_token(client, path, token):
    client.token = token
    answer = client.get(path)

    assert answer.status_code == 401
    assert answer.json()["reasonCode"].startswith("AuthenticationError.")
    assert client.handed_out() == []


def test_a_token_lives_as_long_as_it_was_told(client):
    client.control.variant(token_life_s=0.6)
    body = client.login().json()

    assert body["expiryTime"] - body["serverUTCTime"] == 600
    assert client.messages(1).status_code == 200
    time.sleep(0.65)
    answer = client.messages(1)
    assert answer.status_code == 401
    assert answer.json()["reasonCode"] == "AuthenticationError.TokenExpired"
    assert len(client.handed_out()) == 1


def test_all_sessions_can_be_ended(client):
    client.control.expire_tokens()

    assert client.messages(1).status_code == 401


@pytest.mark.parametrize("path", ["/v2/sso/token/renew", "/sso/tokens/renew"])
def test_renewal_gives_a_new_token(client, path):
    answer = client.get(path)
    body = answer.json()

    assert list(body) == ["status", "errorCode", "responseTuples", "valid", "expiryTime", "apiVersion", "expired"]
    assert (body["valid"], body["expired"]) == (True, False)
    assert answer.headers["SSO_TOKEN"] != client.token
    client.token = answer.headers["SSO_TOKEN"]
    assert client.messages(1).status_code == 200


def test_an_expired_token_is_renewed(client):
    client.control.expire_tokens()
    answer = client.get("/v2/sso/token/renew")

    client.token = answer.headers["SSO_TOKEN"]
    assert client.messages(1).status_code == 200


def test_renewal_may_prolong_the_same_token(client):
    client.control.variant(renew="same", token_life_s=0.8)
    client.login()
    time.sleep(0.5)
    answer = client.get("/v2/sso/token/renew")
    time.sleep(0.5)

    assert "SSO_TOKEN" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert client.messages(1).status_code == 200


def test_renewal_of_an_expired_token_may_be_refused(client):
    client.control.variant(renew="refuse_expired")
    client.control.expire_tokens()
    answer = client.get("/v2/sso/token/renew")

    assert (answer.json()["valid"], answer.json()["expired"]) == (False, True)
    assert client.messages(1).status_code == 401


@pytest.mark.parametrize("token", ["", "wrong"])
def test_renewal_of_an_unknown_token_is_401(client, token):
    client.token = token

    assert client.get("/v2/sso/token/renew").status_code == 401


def signed(client: Client, **changes: str) -> int:
    return client.session.get(client.url + TARGET, headers=signature(client, TARGET, **changes), timeout=60).status_code


@pytest.mark.parametrize("changes", [{}, {"name": "userId"}, {"headers": "date request-line"}, {"headers": "date"}])
def test_a_right_signature_needs_no_token(client, changes):
    assert signed(client, **changes) == 200
    assert len(client.handed_out()) == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "wrong"},
        {"digest": "SHA-256=wrong"},
        {"headers": "request-line digest"},
        {"date": format_datetime(datetime.now(UTC) - timedelta(minutes=6), usegmt=True)},
        {"date": "yesterday"},
        {"scheme": "hmacs"},
        {"name": "user"},
    ],
)
def test_a_wrong_signature_is_401_and_takes_nothing(client, changes):
    assert signed(client, **changes) == 401
    assert client.handed_out() == []


def test_a_signature_covers_the_request_line(client):
    headers = signature(client, TARGET)

    assert client.session.get(f"{client.url}{MESSAGES}?maxCount=6", headers=headers, timeout=60).status_code == 401


def test_a_signature_of_an_unknown_credential_is_401(client):
    headers = signature(client, TARGET)
    headers["Authorization"] = headers["Authorization"].replace(client.user.name, "nobody")

    assert client.session.get(client.url + TARGET, headers=headers, timeout=60).status_code == 401


def test_the_vendors_clock_is_told_and_may_be_wrong(client):
    right = parsedate_to_datetime(client.messages(1).headers["Date"])
    client.control.variant(date_offset_s=3600)
    wrong = parsedate_to_datetime(client.messages(1).headers["Date"])

    assert abs(right - START) < timedelta(seconds=60)
    assert abs(wrong - START - timedelta(hours=1)) < timedelta(seconds=60)
    assert abs(client.login().json()["serverUTCTime"] / 1000 - (START.timestamp() + 3600)) < 60


def test_a_vendor_with_a_wrong_clock_refuses_signatures(client):
    client.control.variant(date_offset_s=3600)

    assert signed(client) == 401


def test_an_unknown_path_is_404_and_a_wrong_method_is_405(client):
    assert client.get("/v2/orders").status_code == 404
    assert client.session.post(client.url + MESSAGES, timeout=60).status_code == 405
