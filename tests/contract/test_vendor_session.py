"""Login, token forms, renewal by a clock that the test moves, and signing."""

from pathlib import Path

import pytest

from etl.errors import VendorAwayError, VendorFailedError, VendorRefusedError, VendorThrottledError
from etl.vendor.feed import PollOutcome
from etl.vendor.session import Grant
from tests.contract.scripted_vendor import (
    PASSWORD,
    QUEUE,
    HandClock,
    ScriptedVendor,
    a_client,
    a_ticket,
    answer,
    logged_in,
    raw,
)

SAMPLES = Path(__file__).parent / "samples"
LOGIN, RENEW = "/v2/sso/login", "/v2/sso/token/renew"
SAMPLE_TOKEN = "Zk3mQ_71xBv-09LtYw5eHgPaNs2RcUd8JiOo4Xf6TbVyKzWq1EnMl7ChGjDsA"


@pytest.fixture
def vendor():
    with ScriptedVendor() as running:
        yield running


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def client(vendor, clock):
    with a_client(vendor, clock) as ready:
        yield ready


def token_used(vendor, client, clock):
    client.next_page(a_ticket(clock), 20)
    return vendor.asked_for(QUEUE)[-1].headers["sso_token"]


def test_the_login_is_the_documented_one(vendor, client):
    client.ensure_session()

    (asked,) = vendor.asked
    assert asked.line == "POST /v2/sso/login HTTP/1.1"
    assert asked.headers["content-type"] == "application/json"
    assert asked.request_id == "request-1"
    assert "sso_token" not in asked.headers
    written = '{"user":"apiUser","pass":"pass-word \\"7\\" / ü","org":"pfOrg"}'
    assert asked.body.decode() == written


def test_the_vendors_own_sample_is_understood(vendor, client, clock):
    cookies = (SAMPLES / "login_cookies.txt").read_text().splitlines()
    body = (SAMPLES / "login_answer.json").read_bytes()
    vendor.will(answer(200, body, *(f"Set-Cookie: {each}" for each in cookies)), path=LOGIN)

    client.ensure_session()

    assert token_used(vendor, client, clock) == SAMPLE_TOKEN
    clock.seconds += 59.999 * 0.8 - 0.01
    client.ensure_session()
    assert vendor.asked_for(RENEW) == []
    clock.seconds += 0.02
    client.ensure_session()
    assert len(vendor.asked_for(RENEW)) == 1


@pytest.mark.parametrize(
    ("login", "token"),
    [
        (logged_in("from-header"), "from-header"),
        (logged_in(None, "Set-Cookie: SSO_TOKEN=from-cookie; Path=/; HttpOnly"), "from-cookie"),
        (logged_in(None, "Set-Cookie: JSESSIONID=1", 'Set-Cookie: SSO_TOKEN="quoted=="; Secure'), "quoted=="),
        (logged_in("from-header", "Set-Cookie: SSO_TOKEN=from-cookie"), "from-header"),
        (logged_in(None, "sso_token: any-case"), "any-case"),
        (logged_in(None, "Set-Cookie: SSO_TOKEN=; Path=/", "Set-Cookie: SSO_TOKEN=second"), "second"),
    ],
    ids=["header", "cookie", "quoted cookie", "both", "any case", "an empty cookie first"],
)
def test_the_token_is_taken_from_the_header_else_from_a_cookie(vendor, client, clock, login, token):
    vendor.will(login, path=LOGIN)

    client.ensure_session()

    assert token_used(vendor, client, clock) == token
    assert "cookie" not in vendor.asked_for(QUEUE)[-1].headers


def test_a_session_that_is_young_is_left_alone(vendor, client, clock):
    client.ensure_session()
    clock.seconds += 47.9
    client.ensure_session()

    assert len(vendor.asked) == 1


def test_the_margin_of_renewal_is_a_fifth_of_the_life_and_30_seconds_at_most(vendor, client, clock):
    vendor.will(logged_in(life_s=3600), path=LOGIN)
    client.ensure_session()
    clock.seconds += 3569.9
    client.ensure_session()
    before = len(vendor.asked_for(RENEW))
    clock.seconds += 0.2
    client.ensure_session()

    assert (before, len(vendor.asked_for(RENEW))) == (0, 1)


def test_a_renewal_with_a_new_token_replaces_the_old_one(vendor, client, clock):
    client.ensure_session()
    clock.seconds += 50
    vendor.will(logged_in("second-token", life_s=110, serverUTCTime=...), path=RENEW)

    client.ensure_session()

    assert vendor.asked_for(RENEW)[0].headers["sso_token"] == "first-token_0123456789"
    assert token_used(vendor, client, clock) == "second-token"
    clock.seconds += 47.9  # renewed at 50 to serve until 110: 60 s, a fifth of them before the end is 98
    client.ensure_session()
    assert len(vendor.asked_for(RENEW)) == 1
    clock.seconds += 0.2
    client.ensure_session()
    assert len(vendor.asked_for(RENEW)) == 2


@pytest.mark.parametrize("said", [{"expiryTime": ...}, {"expiryTime": 5}])
def test_a_new_token_whose_end_is_not_told_lives_as_long_as_the_one_before(vendor, client, clock, said):
    client.ensure_session()
    clock.seconds += 50
    vendor.will(logged_in("second-token", serverUTCTime=..., **said), path=RENEW)
    client.ensure_session()

    clock.seconds += 47.9
    client.ensure_session()
    before = len(vendor.asked_for(RENEW))
    clock.seconds += 0.2
    client.ensure_session()

    assert (before, len(vendor.asked_for(RENEW)), len(vendor.asked_for(LOGIN))) == (1, 2, 1)


def test_a_renewal_without_a_new_token_makes_the_old_one_live_longer(vendor, client, clock):
    client.ensure_session()
    clock.seconds += 50
    vendor.will(logged_in(None, life_s=110, serverUTCTime=..., valid=True, expired=False), path=RENEW)

    client.ensure_session()

    assert token_used(vendor, client, clock) == "first-token_0123456789"
    clock.seconds += 47.9
    client.ensure_session()
    assert (len(vendor.asked_for(RENEW)), len(vendor.asked_for(LOGIN))) == (1, 1)


def test_a_renewal_that_tells_both_instants_is_measured_by_them(vendor, client, clock):
    client.ensure_session()
    clock.seconds += 50
    vendor.will(logged_in(None, life_s=100), path=RENEW)

    client.ensure_session()

    clock.seconds += 79.9
    client.ensure_session()
    assert len(vendor.asked_for(RENEW)) == 1
    clock.seconds += 0.2
    client.ensure_session()
    assert len(vendor.asked_for(RENEW)) == 2


@pytest.mark.parametrize(
    "renewal",
    [
        answer(401, b""),
        answer(404, b""),
        answer(500, b""),
        raw(then="reset"),
        logged_in(None, life_s=60, serverUTCTime=...),
        logged_in(None, expiryTime=..., serverUTCTime=...),
        logged_in(None, life_s=110, serverUTCTime=..., valid=False),
        logged_in(None, life_s=110, serverUTCTime=..., expired=True),
        answer(200, b"<html>"),
    ],
    ids=["401", "404", "500", "reset", "no longer", "no expiry", "not valid", "expired", "html"],
)
def test_a_renewal_that_fails_is_followed_by_a_login(vendor, client, clock, renewal):
    client.ensure_session()
    clock.seconds += 50
    vendor.will(renewal, path=RENEW)
    vendor.will(logged_in("after-login"), path=LOGIN)

    client.ensure_session()

    assert (len(vendor.asked_for(RENEW)), len(vendor.asked_for(LOGIN))) == (1, 2)
    assert token_used(vendor, client, clock) == "after-login"


def test_a_renewal_under_another_path_is_a_setting(vendor, clock):
    with a_client(vendor, clock, renew_path="/sso/tokens/renew") as client:
        client.ensure_session()
        clock.seconds += 50
        client.ensure_session()

    assert len(vendor.asked_for("/sso/tokens/renew")) == 1


@pytest.mark.parametrize(
    "said", [{"expiryTime": ..., "serverUTCTime": ...}, {"expiryTime": 5, "serverUTCTime": 5}, {"expiryTime": "soon"}]
)
def test_a_life_that_is_not_told_counts_as_a_minute(vendor, client, clock, said):
    vendor.will(logged_in(**said), path=LOGIN)
    client.ensure_session()
    clock.seconds += 47.9
    client.ensure_session()
    before = len(vendor.asked_for(RENEW))
    clock.seconds += 0.2
    client.ensure_session()

    assert (before, len(vendor.asked_for(RENEW))) == (0, 1)


def test_after_a_401_of_the_queue_the_next_session_is_a_new_login_with_the_password_of_then(vendor, clock):
    passwords = ["old-password", "new-password"]
    with a_client(vendor, clock, password=lambda: passwords.pop(0)) as client:
        client.ensure_session()
        vendor.will(answer(401, b""))
        vendor.will(logged_in("second-token"), path=LOGIN)

        page = client.next_page(a_ticket(clock), 20)
        client.forget_session()
        client.ensure_session()

        assert page.outcome is PollOutcome.REFUSED
        assert len(vendor.asked_for(QUEUE)) == 1
        assert b"new-password" in vendor.asked_for(LOGIN)[1].body
        assert token_used(vendor, client, clock) == "second-token"


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refused_login_says_what_to_do(vendor, client, status):
    vendor.will(answer(status, b'{"message": "Bad credentials", "reasonCode": "Auth.1"}'), path=LOGIN)

    with pytest.raises(VendorRefusedError) as refused:
        client.ensure_session()

    assert str(refused.value) == (
        "the vendor refused the login of user apiUser of organisation pfOrg "
        f"(status {status}: Bad credentials: Auth.1); check user, org and the password (or its file)"
    )
    assert len(vendor.asked) == 1


def test_a_refused_password_is_tried_again_after_growing_pauses_and_another_one_at_once(vendor, clock):
    password = ["wrong"]
    vendor.will(*[answer(401)] * 20, path=LOGIN)
    with a_client(vendor, clock, password=lambda: password[0], pause_min_s=10, pause_max_s=30) as client:

        def tries(seconds: float) -> int:
            """Let so many seconds pass, with a try each second; return how many reached the vendor."""
            before = len(vendor.asked_for(LOGIN))
            for _ in range(int(seconds)):
                with pytest.raises(VendorRefusedError, match="refused the login"):
                    client.ensure_session()
                clock.seconds += 1
            return len(vendor.asked_for(LOGIN)) - before

        assert [tries(10), tries(20), tries(30), tries(30), tries(30)] == [1, 1, 1, 1, 1]
        password[0] = "still wrong"
        assert [tries(10), tries(20)] == [1, 1]


@pytest.mark.parametrize(
    ("login", "error", "text"),
    [
        (answer(404, b""), VendorRefusedError, "check base_url"),
        (answer(302, b"", "Location: /x"), VendorRefusedError, "answered with 302"),
        (answer(200, b'{"status": "ERROR", "errorCode": "E17"}'), VendorRefusedError, "errorCode E17"),
        (answer(200, b"<html>"), VendorRefusedError, "holds no SSO_TOKEN"),
        (answer(500, b""), VendorFailedError, "answered with 500"),
        (answer(503, b""), VendorAwayError, "answered with 503"),
        (answer(429, b"", "Retry-After: 9"), VendorThrottledError, "wait 9 s"),
        (raw(then="reset"), VendorAwayError, "connection was lost"),
        (raw(then="hold"), VendorAwayError, "in time"),
        (answer(200, b"{}", "SSO_TOKEN: t", length=9), VendorAwayError, "in time"),
        (answer(200, b"{}", "SSO_TOKEN: t", echo="other"), VendorAwayError, "another request"),
    ],
)
def test_a_login_that_fails_raises_what_fits_the_reaction(vendor, client, login, error, text):
    vendor.will(login, path=LOGIN)

    with pytest.raises(error, match=text):
        client.ensure_session()

    assert len(vendor.asked) == 1


def test_a_password_file_that_cannot_be_read_is_named(vendor, tmp_path):
    told = pytest.raises(VendorRefusedError, match="password of user apiUser cannot be read: No such file")
    with a_client(vendor, password=(tmp_path / "gone").read_text) as client, told:
        client.ensure_session()

    assert vendor.asked == []


def test_with_hmac_there_is_no_login_and_each_request_is_signed(vendor, clock):
    with a_client(vendor, clock, auth="hmac", secret=lambda: 's3cret with ü "quotes"', user="user2@XCN1139") as client:
        client.ensure_session()
        client.next_page(a_ticket(clock), 50)

    (asked,) = vendor.asked
    assert asked.line == "GET /v2/trades/stp/messages?maxCount=50 HTTP/1.1"
    assert asked.headers["authorization"] == (
        'hmac username="user2@XCN1139",algorithm="hmac-sha256", headers="request-line date digest", '
        'signature="i0VDDZVVFsv27/OVM5KIab2D9TZCKFzSWeifB5sHtHg="'
    )
    assert asked.headers["date"] == "Tue, 03 Mar 2026 07:05:09 GMT"
    assert asked.headers["digest"] == "SHA-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    assert asked.headers["type"] == "hmac"


def test_with_hmac_the_secret_is_read_again_after_it_was_forgotten(vendor, clock):
    secrets = ["first-secret", "second-secret"]
    with a_client(vendor, clock, auth="hmac", secret=lambda: secrets.pop(0)) as client:
        client.ensure_session()
        client.ensure_session()
        client.next_page(a_ticket(clock), 50)
        client.forget_session()
        assert client.next_page(a_ticket(clock), 50).outcome is PollOutcome.NOT_SENT
        client.ensure_session()
        client.next_page(a_ticket(clock), 50)

    first, second = (each.headers["authorization"] for each in vendor.asked_for(QUEUE))
    assert first != second


def test_the_vendors_clock_is_compared_with_ours(vendor, client, clock):
    before = client.clock_skew_s()
    client.ensure_session()
    vendor.will(answer(200, b"[]", "Date: Tue, 03 Mar 2026 07:05:19 GMT"), answer(200, b"[]", "Date: never"))

    client.next_page(a_ticket(clock), 20)
    seen_at = clock.now()
    clock.seconds += 1
    client.next_page(a_ticket(clock), 20)

    assert before is None
    assert (client.clock_skew_s(), client.last_seen_at) == (10.0, seen_at)


def test_a_grant_does_not_show_its_token():
    assert PASSWORD not in repr(Grant(PASSWORD, 0.0, 1.0, 0.0, None))
