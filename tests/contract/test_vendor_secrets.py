"""No secret is shown, whatever the vendor repeats."""

import json
import logging
from urllib.parse import quote, quote_plus

import pytest

from etl.errors import EtlError, VendorRefusedError
from etl.vendor.client import Endpoint
from etl.vendor.redaction import without_secrets
from tests.contract.scripted_vendor import PASSWORD, TOKEN, ScriptedVendor, a_client, a_ticket, answer, logged_in, raw

SECRET = "hmac-secret-of-ours"
WRITTEN = (PASSWORD, quote(PASSWORD), quote(PASSWORD, safe=""), quote_plus(PASSWORD))
FORMS = (*WRITTEN, json.dumps(PASSWORD)[1:-1], TOKEN, "cookie-token", SECRET)
ECHOED = json.dumps(
    {"message": f"{PASSWORD} {TOKEN} {quote(PASSWORD)} {SECRET}", "SSO_TOKEN": "unknown-token"}
).encode()


@pytest.fixture
def vendor():
    with ScriptedVendor() as running:
        yield running


@pytest.fixture(params=["token", "hmac"])
def client(request, vendor):
    with a_client(vendor, auth=request.param, secret=lambda: SECRET) as ready:
        ready.ensure_session()
        yield ready


def shown(text):
    return [form for form in FORMS if form in text] + (["signature"] if 'signature="' in text else [])


def test_the_kept_exchange_of_a_500_has_everything_but_the_secrets(vendor, client):
    told = ("Set-Cookie: SSO_TOKEN=cookie-token; Path=/", f"SSO_TOKEN: {TOKEN}", "X-Trace: trace-17")
    known = (TOKEN, *WRITTEN) if vendor.asked else (SECRET,)
    vendor.will(answer(500, json.dumps({"message": " ".join(known), "a": 1}).encode(), *told))

    page = client.next_page(a_ticket(), 20)

    assert shown(page.exchange) == []
    assert shown(page.detail) == []
    assert page.exchange.startswith(f"GET {vendor.url}/v2/trades/stp/messages?maxCount=20 HTTP/1.1\n")
    for kept in ("X-Request-ID: poll-", "HTTP/1.1 500 Told", "X-Trace: trace-17", "Set-Cookie: [hidden]", '"a": 1'):
        assert kept in page.exchange


def test_the_kept_exchange_fits_a_text_column(vendor, client):
    vendor.will(answer(500, b"a\0b\xff"))

    assert client.next_page(a_ticket(), 20).exchange.endswith("\na\\x00b\\xff")


def test_a_large_answer_is_kept_in_part(vendor, client):
    vendor.will(answer(500, b"x" * 2_000_000), answer(500, b"y" * 1_000_000))

    large, smaller = client.next_page(a_ticket(), 20), client.next_page(a_ticket(), 20)

    assert large.exchange.endswith("x" * 65536 + "\n... and 1934464 more bytes")
    assert smaller.exchange.endswith("y" * 1_000_000)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502])
def test_no_error_of_a_login_shows_the_password(vendor, status):
    vendor.will(
        answer(status, json.dumps({"message": f"not {PASSWORD}", "reasonCode": PASSWORD}).encode()),
        path="/v2/sso/login",
    )

    with a_client(vendor) as client, pytest.raises(EtlError) as refused:
        client.ensure_session()

    assert shown(str(refused.value) + repr(refused.value) + getattr(refused.value, "exchange", "")) == []
    assert refused.value.__cause__ is refused.value.__context__ is None


def test_no_error_of_a_renewal_or_question_shows_the_token(vendor):
    with a_client(vendor) as client:
        client.ensure_session()
        vendor.will(answer(400, json.dumps({"message": f"bad {TOKEN}"}).encode()), path="/v2/positions")
        with pytest.raises(VendorRefusedError) as refused:
            client.positions("ORG", "pfOrg")

    assert "bad [hidden]" in str(refused.value)


def test_nothing_that_is_printed_shows_a_secret(vendor, client):
    endpoint = Endpoint(
        base_url=vendor.url.replace("http:", "https:"),
        org="o",
        user="u",
        password=PASSWORD.strip,
        secret=SECRET.strip,
        proxy=f"http://u:{TOKEN}@proxy:3128",
    )
    known = " ".join((*WRITTEN, TOKEN)) if vendor.asked else SECRET
    vendor.will(answer(401, json.dumps({"message": f"not {known}", "reasonCode": known}).encode()))
    page = client.next_page(a_ticket(), 20)

    assert shown(repr(endpoint) + repr(client) + repr(vars(client)) + page.detail + page.reason_code) == []
    assert page.detail.startswith("the vendor refused with 401: not [hidden]")


def test_no_log_line_shows_a_secret(vendor, client, caplog):
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")  # the program quietens it
    broken = (
        b"HTTP/1.1 200 OK\r\nno colon here\r\nSSO_TOKEN: cookie-token\r\nSet-Cookie: SSO_TOKEN=cookie-token\r\n\r\n{}"
    )
    vendor.will(logged_in(), path="/v2/sso/login")
    vendor.will(raw(broken), answer(200, ECHOED), answer(500, ECHOED), raw(then="reset"))
    client.forget_session()
    client.ensure_session()

    for _ in range(4):
        client.next_page(a_ticket(), 20)

    assert "messages" in caplog.text
    assert shown(caplog.text) == []


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ('{"pass": "a \\" b", "user": "u"}', '{"pass": [hidden], "user": "u"}'),
        ("SSO_TOKEN=abc; Path=/", "SSO_TOKEN=[hidden]; Path=/"),
        ("sso_token: abc", "sso_token: [hidden]"),
        ('Authorization: hmac username="u",signature="s"\nDate: x', "Authorization: [hidden]\nDate: x"),
        ("the password: hunter2 is wrong", "the password: [hidden] is wrong"),
        ("we pass through", "we pass through"),
        ("tok\\en and tok%5Cen", "[hidden] and [hidden]"),
    ],
)
def test_what_stands_behind_the_name_of_a_secret_is_hidden(text, hidden):
    assert without_secrets(text, ["tok\\en", ""]) == hidden
