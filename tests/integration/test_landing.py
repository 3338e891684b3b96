"""Landing: bytes in are bytes out, exactly once, whatever happens to the database meanwhile."""

import hashlib
import random
import time
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.clock import SystemClock
from etl.domain.answer import Page, content_of
from etl.errors import CommitUnknownError, DatabaseAwayError
from etl.store import schema
from etl.store.database import Database
from etl.store.unit_of_work import work_on
from etl.vendor.feed import Cause, PollOutcome, QueueAnswer
from tests.builders import a_page, a_raw_message
from tests.databases import embedded, rows, value
from tests.feeds import a_feed, a_landing, an_open_poll
from tests.polling import KilledError, Polling, interrupted
from tests.proxies import KEPT, LOST, CuttingProxy
from tests.vendors import empty, in_doubt, page_of

FIRST, SECOND = page_of(a_raw_message()), page_of(a_raw_message(tradeId="T2"))
HORRORS = {
    "nothing": b"",
    "NUL characters": b'[{"tradeId":"a\\u0000b"},"\x00"]',
    "invalid UTF-8": b'[{"tradeId":"\xff\xfe\x80"}]',
    "lone surrogates": b'[{"tradeId":"\\ud800"}]',
    "HTML": b"<html>\r\n<body>502</body></html>",
    "every byte": bytes(range(256)) * 3,
    "5 MB": random.Random(7).randbytes(5_000_000),
    "gzip cut short": b"\x1f\x8b\x08\x00\x00",
    "backslashes": rb'\x00\\\'"',
}


@pytest.mark.parametrize("body", HORRORS.values(), ids=HORRORS.keys())
def test_law_5_bytes_in_are_bytes_out_whatever_they_are(polling, body):
    polling.drain(in_doubt(Cause.UNREADABLE, status=200, body=body, complete=True))

    (found,) = rows(polling.database, "SELECT body, sha256, complete, status FROM stp.answer")
    assert (bytes(found[0]), bytes(found[1])) == (body, hashlib.sha256(body).digest())
    assert found[2:] == (True, 200)


@pytest.mark.parametrize("body", HORRORS.values(), ids=HORRORS.keys())
def test_law_5_a_page_is_landed_though_we_misjudged_it(polling, body):
    drained = polling.drain(QueueAnswer(PollOutcome.PAGE, Cause.PAGE, status=200, body=body, complete=True))

    assert polling.bodies() == [body]
    assert drained.outcome is (PollOutcome.EMPTY if isinstance(content_of(200, body), Page) else PollOutcome.IN_DOUBT)


nasty = st.text(st.sampled_from(["\0", "\ud800", "\udfff", "'", "\\", "ÿ", "x", "\n", "\U0001f600"]), max_size=4)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nasty, st.sampled_from(["page", "doubt"]), st.binary(max_size=20))
def test_law_5_landing_cannot_fail_on_the_words_around_the_bytes(polling, word, kind, body):
    outcome = PollOutcome.PAGE if kind == "page" else PollOutcome.IN_DOUBT
    polling.rest()

    polling.drain(
        QueueAnswer(
            outcome,
            Cause.PAGE if kind == "page" else Cause.HTTP_500,
            f"detail {word}",
            status=500,
            body=body,
            content_type=word,
            content_encoding=word,
            request_id_echo=word,
            reason_code=word,
            exchange=f"GET {word}",
        )  # fmt: skip
    )

    assert polling.bodies()[-1] == body
    assert polling.current()["outcome"] is not None


def test_law_5_what_came_with_the_bytes_is_kept_too(polling):
    polling.drain(
        QueueAnswer(
            PollOutcome.IN_DOUBT,
            Cause.CUT,
            "cut after 3 bytes",
            status=200,
            body=b"\x1f\x8b\x08",
            complete=False,
            content_type="application/json",
            content_encoding="gzip",
            request_id_echo="echo-1",
            vendor_date=polling.clock.now(),
        )  # fmt: skip
    )

    columns = "complete, content_type, content_encoding, request_id_echo, vendor_date, landed_at"
    assert rows(polling.database, f"SELECT {columns} FROM stp.answer") == [
        (False, "application/json", "gzip", "echo-1", polling.clock.now(), polling.clock.now())
    ]
    assert value(polling.database, "SELECT detail FROM stp.poll") == "cut after 3 bytes"


def test_only_readable_pages_wait_for_booking(polling):
    polling.drain(in_doubt(Cause.CUT, status=200, body=FIRST.body, complete=False))
    polling.rest()
    polling.drain(in_doubt(Cause.FOREIGN_REQUEST_ID, status=200, body=SECOND.body, complete=True))

    waiting = "SELECT body FROM stp.unbooked JOIN stp.answer USING (feed_id, poll_id)"
    assert [bytes(row[0]) for row in rows(polling.database, waiting)] == [SECOND.body]
    assert polling.landed == 1


@pytest.mark.parametrize("commits", range(5))
def test_law_5_a_kill_before_any_commit_leaves_no_closed_page_without_its_answer(polling, commits):
    def die():
        raise KilledError

    polling.poller._open_work = interrupted(polling.open_work, die, skip=commits)
    try:
        polling.drain(FIRST, SECOND, in_doubt(Cause.HTTP_500, status=500, body=b"{}", exchange="GET"))
    except KilledError:
        killed = True
    else:
        killed = False
    stale = polling.close_stale(polling.take_over())

    handed_out = [FIRST.body, SECOND.body][: len(polling.vendor.asked)]
    landed = [body for body in polling.bodies() if body != b"{}"]
    assert killed == (commits < 4)
    assert polling.pages_without_answer() == 0
    assert landed == handed_out or (stale is not None and landed == handed_out[:-1])
    assert (stale is not None) == (0 < commits < 4)


@pytest.fixture
def proxied(postgres, database, database_url):
    """A poller whose way to the database can lose a COMMIT; its lease has a way of its own."""
    with CuttingProxy(database_url) as proxy:
        through = Database(proxy.url)
        polling = Polling(database, open_work=work_on(through))
        yield polling, proxy
        polling.close()
        through.close()


@pytest.mark.parametrize("fate", [KEPT, LOST])
@pytest.mark.parametrize("number", [2, 3])
def test_a_page_whose_commit_has_no_known_outcome_is_landed_exactly_once(proxied, number, fate):
    polling, proxy = proxied
    proxy.cuts[number] = fate

    drained = polling.drain(FIRST, SECOND)

    assert proxy.commits > number
    assert drained.proven_empty
    assert (drained.pages, drained.messages) == (2, 2)
    assert polling.bodies() == [FIRST.body, SECOND.body]
    assert value(polling.database, "SELECT count(*) FROM stp.unbooked") == 2
    assert [entry for entry in polling.ledger() if entry[0] == "page"] == [("page", "page")] * 2
    assert len(polling.vendor.asked) == 3


@pytest.mark.parametrize("fate", [KEPT, LOST])
def test_the_poll_that_a_lost_reply_opened_is_closed_as_not_sent(proxied, fate):
    polling, proxy = proxied
    proxy.cuts[2] = fate

    polling.drain(FIRST)

    unsent = [("not_sent", "commit_unknown")] if fate == KEPT else []
    assert polling.ledger() == [("page", "page"), *unsent, ("empty", "empty")]


@pytest.mark.parametrize("fate", [KEPT, LOST])
@pytest.mark.parametrize(
    "answer", [empty(), in_doubt(), in_doubt(Cause.HTTP_500, status=500, body=b"{}", exchange="G")]
)
def test_an_outcome_whose_commit_is_unknown_is_written_exactly_once(proxied, answer, fate):
    polling, proxy = proxied
    proxy.cuts[2] = fate

    drained = polling.drain(answer)

    assert drained.outcome is answer.outcome
    assert polling.current()["outcome"] == answer.outcome
    assert len(polling.ledger()) == (answer.outcome is PollOutcome.IN_DOUBT)
    assert len(polling.bodies()) == (answer.status == 500)
    assert value(polling.database, "SELECT count(*) FROM stp.incident") == (answer.status == 500)


@pytest.mark.parametrize("fate", [KEPT, LOST])
def test_an_intent_whose_commit_is_unknown_sends_nothing_and_the_next_drain_goes_on(proxied, fate):
    polling, proxy = proxied
    proxy.cuts[1] = fate

    with pytest.raises(CommitUnknownError):
        polling.drain(FIRST)

    assert polling.vendor.asked == []
    polling.rest()
    assert polling.drain(FIRST).proven_empty
    assert polling.bodies() == [FIRST.body]
    assert ("in_doubt", "killed") not in polling.ledger()


@pytest.fixture
def own_server():
    """A server that the test may stop, and its address."""
    with embedded() as server:
        database = Database(server.url)
        with database.connect() as connection:
            schema.upgrade(connection)
        yield server, database
        database.close()


def test_an_answer_in_hand_outlives_a_database_that_is_away_for_seconds(own_server):
    server, database = own_server
    polling = Polling(database, clock=SystemClock())

    def away(ticket, count):
        server.stop("immediate")
        Thread(target=lambda: (time.sleep(3), server.start()), daemon=True).start()
        return FIRST

    drained = polling.drain(away)

    assert polling.bodies() == [FIRST.body]
    assert polling.ledger()[0] == ("page", "page")
    assert drained.pages == 1
    assert len(polling.vendor.asked) == 1
    polling.close()


def test_a_stop_while_the_database_is_away_gives_up_after_the_grace_and_leaves_the_poll_open(own_server):
    server, database = own_server
    polling = Polling(database, clock=SystemClock(), grace_s=1.0)

    def away(ticket, count):
        server.stop("immediate")
        polling.stop.set()
        return FIRST

    began = time.monotonic()
    with pytest.raises(DatabaseAwayError, match=r"the answer of poll 1 .* could not be stored within 1 s of the stop"):
        polling.drain(away)

    assert time.monotonic() - began >= 1.0
    server.start()
    assert (polling.current()["poll_id"], polling.current()["outcome"]) == (1, None)
    assert polling.bodies() == []
    assert polling.close_stale(polling.take_over()) == 1
    polling.close()


def test_a_stop_while_the_database_is_away_still_lands_within_the_grace(own_server):
    server, database = own_server
    polling = Polling(database, clock=SystemClock(), grace_s=20.0)

    def away(ticket, count):
        server.stop("immediate")
        polling.stop.set()
        Thread(target=lambda: (time.sleep(1), server.start()), daemon=True).start()
        return FIRST

    polling.drain(away)

    assert polling.bodies() == [FIRST.body]
    assert polling.ledger() == [("page", "page")]
    polling.close()


def test_law_4_a_server_that_is_stopped_means_no_request(own_server):
    server, database = own_server
    polling = Polling(database, clock=SystemClock())
    server.stop("immediate")

    with pytest.raises(DatabaseAwayError):
        polling.drain(FIRST)

    assert polling.vendor.asked == []
    polling.close()


def test_landing_the_same_answer_again_stores_it_once(open_work, database):
    poll = an_open_poll(open_work, a_feed(open_work))
    for _ in range(3):
        with open_work() as work:
            work.polls.land(poll, a_landing(a_page(a_raw_message())), poll.opened_at)
            work.commit()

    assert value(database, "SELECT count(*) FROM stp.answer") == 1
    assert value(database, "SELECT count(*) FROM stp.unbooked") == 1
