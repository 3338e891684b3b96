"""Every end of the one destructive GET, over real sockets: what is proof, what is doubt, and that it is sent once."""

import gzip
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etl.vendor.feed import Cause, PollOutcome
from tests.contract.scripted_vendor import PAGE, QUEUE, HandClock, ScriptedVendor, a_client, a_ticket, answer, raw

NOTHING_LEFT, IN_DOUBT = PollOutcome.NOT_SENT, PollOutcome.IN_DOUBT
SAMPLES = Path(__file__).parent / "samples"
HEAD = b"HTTP/1.1 200 OK\r\nX-Request-ID: {id}\r\n"


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + end


@pytest.fixture
def vendor():
    with ScriptedVendor() as running:
        yield running


@pytest.fixture
def client(vendor):
    with a_client(vendor) as ready:
        ready.ensure_session()
        yield ready


def test_a_page_comes_back_byte_for_byte_with_what_describes_it(vendor, client):
    body = (SAMPLES / "page.json").read_bytes()
    vendor.will(answer(200, body, "Content-Type: application/json", "Date: Tue, 03 Mar 2026 07:05:09 GMT"))
    ticket = a_ticket()

    page = client.next_page(ticket, 20)

    assert (page.outcome, page.cause, page.detail) == (PollOutcome.PAGE, Cause.PAGE, "")
    assert (page.body, page.complete, page.status) == (body, True, 200)
    assert (page.content_type, page.content_encoding) == ("application/json", None)
    assert page.request_id_echo == ticket.request_id
    assert page.vendor_date == datetime(2026, 3, 3, 7, 5, 9, tzinfo=UTC)
    assert page.exchange is None


def test_the_request_is_the_documented_one(vendor, client):
    ticket = a_ticket()

    client.next_page(ticket, 20)

    (asked,) = vendor.asked_for()
    assert asked.line == "GET /v2/trades/stp/messages?maxCount=20 HTTP/1.1"
    assert asked.headers["x-request-id"] == ticket.request_id
    assert (asked.headers["accept"], asked.headers["accept-encoding"]) == ("application/json", "identity")
    assert asked.headers["sso_token"] == "first-token_0123456789"
    assert "cookie" not in asked.headers


def test_an_encoded_page_is_kept_encoded(vendor, client):
    body = gzip.compress(PAGE)
    vendor.will(answer(200, body, "Content-Encoding: gzip"))

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.body, page.content_encoding) == (PollOutcome.PAGE, body, "gzip")


@pytest.mark.parametrize(
    "empty",
    [
        answer(204, b""),
        answer(200, b""),
        answer(200, b"[]"),
        answer(200, b" [ \r\n ] "),
        raw(chunked()),
        raw(chunked(b"[", b"]")),
        raw(HEAD + b"\r\n[]"),
        raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    ],
    ids=["204", "length 0", "array", "blanks", "chunked", "chunked array", "array to the end", "204 and close"],
)
def test_law_10_empty_is_204_or_no_body_or_an_array_of_length_0(vendor, client, empty):
    vendor.will(empty)

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause, page.complete) == (PollOutcome.EMPTY, Cause.EMPTY, True)


@pytest.mark.parametrize("body", [b"{}", b"null", b'{"trades": []}', b"<html></html>", b"0", b'""', b" ", b"[", b"]"])
def test_law_10_garbage_is_not_an_empty_page(vendor, client, body):
    vendor.will(answer(200, body))

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause, page.body, page.complete) == (IN_DOUBT, Cause.UNREADABLE, body, True)
    assert page.detail


@pytest.mark.parametrize(
    "lost",
    [raw(HEAD + b"\r\n"), raw(chunked(end=b"")), raw(chunked(end=b"\r\n")), raw(HEAD + b"Content-Length: 5\r\n\r\n")],
    ids=["no length", "chunked without end", "chunked with a broken end", "shorter than announced"],
)
def test_law_10_no_bytes_are_no_proof_when_the_answer_did_not_end_as_announced(vendor, client, lost):
    vendor.will(lost)

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause, page.body) == (IN_DOUBT, Cause.CUT, b"")


@pytest.mark.parametrize(
    ("cut", "arrived"),
    [
        (answer(200, PAGE[:30], length=len(PAGE)), PAGE[:30]),
        (raw(chunked(PAGE[:30], end=b"")), PAGE[:30]),
        (raw(chunked(PAGE[:30], end=b"20\r\n" + PAGE[30:40])), PAGE[:40]),
        (raw(chunked(PAGE, end=b"xyz\r\n")), PAGE),
    ],
    ids=["length", "chunks", "within a chunk", "broken chunk size"],
)
def test_a_cut_answer_is_in_doubt_and_its_part_is_kept(vendor, client, cut, arrived):
    vendor.will(cut)
    vendor.asked.clear()
    close_after = vendor.script[QUEUE][0]
    vendor.script[QUEUE][0] = lambda to, asked: (close_after(to, asked), to.close())

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause, page.status) == (IN_DOUBT, Cause.CUT, 200)
    assert (page.body, page.complete) == (arrived, False)


def test_a_reset_in_the_body_keeps_the_part_that_came(vendor, client):
    vendor.will(raw(HEAD + b"Content-Length: 500\r\n\r\n" + PAGE, pause_s=0.1, then="reset"))

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause, page.body, page.complete) == (IN_DOUBT, Cause.RESET, PAGE, False)


def test_an_array_without_announced_length_that_does_not_end_is_in_doubt(vendor, client):
    vendor.will(raw(HEAD + b"\r\n" + PAGE[:-1]))

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause, page.body) == (IN_DOUBT, Cause.UNREADABLE, PAGE[:-1])


@pytest.mark.parametrize(
    ("ending", "cause"),
    [
        (raw(), Cause.RESET),
        (raw(then="reset"), Cause.RESET),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Le", then="close"), Cause.CUT),
        (raw(then="hold"), Cause.TIMEOUT),
        (raw(HEAD + b"Content-Length: 9\r\n\r\n[", then="hold"), Cause.TIMEOUT),
        (raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), Cause.NOT_HTTP),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n[]"), Cause.NOT_HTTP),
    ],
    ids=["close", "reset", "cut headers", "silence", "silence in the body", "not http", "two lengths"],
)
def test_law_3_no_second_request_after_bytes_may_have_left(vendor, client, ending, cause):
    vendor.will(ending)

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause) == (IN_DOUBT, cause)
    assert page.detail
    assert len(vendor.asked_for()) == 1


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (429, Cause.HTTP_429),
        (500, Cause.HTTP_500),
        (502, Cause.HTTP_502),
        (503, Cause.HTTP_503),
        (504, Cause.HTTP_504),
        (507, Cause.HTTP_5XX),
        (301, Cause.REDIRECT),
        (304, Cause.REDIRECT),
        (403, Cause.HTTP_OTHER),
        (408, Cause.HTTP_OTHER),
        (202, Cause.HTTP_OTHER),
        (206, Cause.HTTP_OTHER),
    ],
)
def test_law_3_every_other_status_is_in_doubt_and_asked_once(vendor, client, status, cause):
    vendor.will(answer(status, b"[]" if status != 304 else b"", "Retry-After: 0"))

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause, page.status) == (IN_DOUBT, cause, status)
    assert len(vendor.asked_for()) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_law_3_a_redirect_is_not_followed(vendor, client, status):
    vendor.will(answer(status, b"", f"Location: {vendor.url}/elsewhere"))

    client.next_page(a_ticket(), 20)

    assert vendor.asked_for("/elsewhere") == []
    assert len(vendor.asked_for()) == 1


@pytest.mark.parametrize(("status", "cause"), [(400, Cause.HTTP_400), (401, Cause.HTTP_401), (404, Cause.HTTP_404)])
def test_a_refusal_hands_nothing_out_and_says_why(vendor, client, status, cause):
    vendor.will(answer(status, b'{"message": "no\\u0000 such\\nuser", "reasonCode": "Request.Bad"}'))

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause, page.reason_code) == (PollOutcome.REFUSED, cause, "Request.Bad")
    assert page.detail == f"the vendor refused with {status}: no? such?user"
    assert len(vendor.asked_for()) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"message": 7}',
        b'{"message": "\xff"}',
        b"[" * 20_000,
        b'{"message": "x"' + b" " * 70_000 + b"}",
    ],
)
def test_a_refusal_may_say_nothing(vendor, client, body):
    vendor.will(answer(404, body))

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.detail, page.reason_code) == (PollOutcome.REFUSED, "the vendor refused with 404", None)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("Tue, 03 Mar 2026 07:06:09 GMT", 60.0),
        ("Tue, 03 Mar 2026 07:00:00 GMT", 0.0),
        ("9" * 400, 86_400.0),
        ("soon", None),
        ("Fri, 31 Dec 9999 23:59:59 -2300", None),
        ("-1", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(vendor, client, header, seconds):
    vendor.will(answer(503, b"", f"Retry-After: {header}", "Date: Tue, 03 Mar 2026 07:05:09 GMT"))

    assert client.next_page(a_ticket(), 20).retry_after_s == seconds


@pytest.mark.parametrize("status", [200, 204, 401, 500])
def test_an_answer_to_another_request_is_in_doubt_and_its_body_is_kept(vendor, client, status):
    vendor.will(answer(status, PAGE if status == 200 else b"", echo="somebody-else"))

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause) == (IN_DOUBT, Cause.FOREIGN_REQUEST_ID)
    assert (page.request_id_echo, page.body) == ("somebody-else", PAGE if status == 200 else b"")


def test_an_answer_without_a_request_id_is_no_contradiction(vendor, client):
    vendor.will(answer(echo=None))

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.request_id_echo) == (PollOutcome.PAGE, None)


def test_slow_bytes_have_one_deadline_together(vendor):
    with a_client(vendor, read_timeout_s=0.5) as client:
        client.ensure_session()
        head = HEAD + b"Content-Length: 64\r\n\r\n"
        vendor.will(raw(head, *(PAGE[i : i + 1] for i in range(64)), pause_s=0.1))

        page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause, page.complete) == (IN_DOUBT, Cause.TIMEOUT, False)
    assert page.body
    assert PAGE.startswith(page.body)
    assert 2 <= len(page.body) <= 5


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
def test_slow_headers_have_the_same_deadline(vendor, client, more):
    text = HEAD + more + b"X-Slow: " + b"y" * 40
    vendor.will(raw(*(text[i : i + 2] for i in range(0, len(text), 2)), pause_s=0.05))

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause, page.status) == (IN_DOUBT, Cause.TIMEOUT, None)


def test_a_slow_body_that_ends_the_connection_has_the_same_deadline(vendor, client):
    vendor.will(raw(HEAD + b"Connection: close\r\n\r\n[", *([b" "] * 60), pause_s=0.05))

    page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause, page.complete) == (IN_DOUBT, Cause.TIMEOUT, False)


@pytest.mark.parametrize("big", [answer(200, b"[" + b"1," * 5000 + b"1]"), raw(chunked(*[b"[1" + b",1" * 500] * 10))])
def test_an_answer_above_the_limit_is_in_doubt(vendor, big):
    with a_client(vendor, max_answer_bytes=5000) as client:
        client.ensure_session()
        vendor.will(big)

        page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause, page.complete) == (IN_DOUBT, Cause.TOO_LARGE, False)
    assert page.detail == "the answer is larger than 5000 bytes"


def test_an_answer_at_the_limit_is_a_page(vendor):
    body = b"[" + b" " * 300 + b"1]"
    with a_client(vendor, max_answer_bytes=len(body)) as client:
        client.ensure_session()
        vendor.will(answer(200, body))

        assert client.next_page(a_ticket(), 20).outcome is PollOutcome.PAGE


def test_law_12_a_ticket_serves_once_whatever_came_of_it(vendor, client):
    ticket = a_ticket()
    vendor.will(raw(then="reset"))
    client.next_page(ticket, 20)

    page = client.next_page(ticket, 20)

    assert (page.outcome, page.cause) == (NOTHING_LEFT, Cause.TICKET_USED)
    assert len(vendor.asked_for()) == 1


def test_law_12_an_expired_ticket_is_not_sent(vendor, client):
    page = client.next_page(a_ticket(life_s=-0.01), 20)

    assert (page.outcome, page.cause) == (NOTHING_LEFT, Cause.TICKET_EXPIRED)
    assert vendor.asked_for() == []


def test_law_12_a_ticket_cannot_come_back_after_its_use_is_forgotten(vendor):
    clock = HandClock()
    with a_client(vendor, clock) as client:
        client.ensure_session()
        ticket = a_ticket(clock)
        client.next_page(ticket, 20)
        clock.seconds += 2.5
        client.next_page(a_ticket(clock), 20)

        page = client.next_page(ticket, 20)

    assert (page.outcome, page.cause) == (NOTHING_LEFT, Cause.TICKET_EXPIRED)
    assert len(vendor.asked_for()) == 2


def test_without_a_session_nothing_is_sent(vendor):
    with a_client(vendor) as client:
        page = client.next_page(a_ticket(), 20)

    assert (page.outcome, page.cause) == (NOTHING_LEFT, Cause.NO_SESSION)
    assert vendor.connections == 0


def test_a_page_holds_at_least_one_trade(client):
    with pytest.raises(ValueError, match="at least one trade"):
        client.next_page(a_ticket(), 0)


def test_after_closing_nothing_is_sent(vendor, client):
    client.close()

    page = client.next_page(a_ticket(), 20)

    assert page.outcome is NOTHING_LEFT
    assert vendor.asked_for() == []


def test_no_answer_makes_it_raise_and_none_that_is_broken_counts_as_a_page_or_as_empty(vendor, client):
    sound = b"HTTP/1.1 200 OK\r\nX-Request-ID: {id}\r\nDate: Tue, 03 Mar 2026 07:05:09 GMT\r\nRetry-After: 3\r\n"
    sound += (
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n2\r\n,2\r\n1\r\n]\r\n0\r\n\r\n"
    )
    draw = random.Random(7)

    for _ in range(300):
        broken = bytearray(sound)
        for _ in range(draw.randint(1, 6)):
            broken[draw.randrange(len(broken))] = draw.choice(b"\x00\r\n :;,0159Zz\xff[]{}")
        vendor.will(raw(bytes(broken[: draw.choice((None, draw.randrange(len(broken))))])))
        page = client.next_page(a_ticket(), 20)
        assert page.outcome in PollOutcome
        assert page.outcome is not PollOutcome.NOT_SENT
        if page.outcome is PollOutcome.EMPTY:
            assert page.status == 204 or (page.complete and not page.body.strip(b"[] \r\n\t"))
        for text in (page.detail, page.content_type, page.request_id_echo, page.reason_code, page.exchange):
            assert "\0" not in (text or "")
    assert len({each.request_id for each in vendor.asked_for()}) == len(vendor.asked_for())
