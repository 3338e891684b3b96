"""The laws of polling (design.md §2): 2, 3, 4, 10, 11 and 12."""

import ast
from contextlib import suppress
from pathlib import Path

import pytest

import etl
from etl.errors import DatabaseAwayError, FenceLostError, VendorAwayError, VendorRefusedError
from etl.vendor.feed import Cause, PollOutcome
from tests.builders import a_page, a_raw_message
from tests.clocks import START
from tests.databases import change, rows, value
from tests.polling import interrupted
from tests.vendors import empty, in_doubt, not_sent, page_of, refused

PAGE = page_of(a_raw_message(), a_raw_message(tradeId="T2"))


def test_law_2_the_intent_of_every_request_is_committed_before_it_is_sent(polling):
    seen = []

    def look(ticket, count):
        query = "SELECT poll_id, request_id, outcome, max_count FROM stp.current_poll"
        seen.append((rows(polling.database, query), (ticket.poll_id, ticket.request_id, None, count)))
        return PAGE if len(seen) < 3 else empty()

    polling.drain(look, look, look)

    assert len(seen) == 3
    assert [found for found, _ in seen] == [[asked] for _, asked in seen]


def test_law_2_the_poll_of_a_killed_sender_is_in_doubt_for_the_next_leader(polling):
    left_open = polling.drain_until_killed()

    stale = polling.close_stale(polling.take_over())

    assert stale == left_open
    assert polling.ledger() == [("in_doubt", "killed")]
    assert polling.current()["outcome"] == "in_doubt"


def test_law_2_a_new_leader_leaves_alone_what_it_opened_itself(polling):
    polling.drain_until_killed()

    assert polling.close_stale(polling.lease.epoch) is None
    assert polling.current()["outcome"] is None


def test_law_2_an_open_poll_is_never_overwritten_by_another(polling):
    left_open = polling.drain_until_killed()
    polling.poller = polling.new_poller()

    with pytest.raises(FenceLostError):
        polling.drain()

    assert polling.current()["poll_id"] == left_open
    assert len(polling.vendor.asked) == 1


def test_law_2_a_drain_that_broke_off_leaves_its_poll_in_doubt_and_polling_goes_on(polling):
    polling.drain_until_killed()
    polling.rest()

    drained = polling.drain(PAGE)

    assert drained.proven_empty
    assert polling.ledger() == [("in_doubt", "killed"), ("page", "page"), ("empty", "empty")]


@pytest.mark.parametrize("cause", [Cause.TIMEOUT, Cause.RESET, Cause.HTTP_429, Cause.HTTP_503, Cause.UNREADABLE])
def test_law_3_nothing_is_asked_after_a_doubt_in_the_same_drain(polling, cause):
    drained = polling.drain(in_doubt(cause), PAGE)

    assert len(polling.vendor.asked) == 1
    assert (drained.outcome, drained.cause) == (PollOutcome.IN_DOUBT, cause)
    assert not drained.proven_empty


def test_law_3_a_poll_asks_at_most_once(polling):
    polling.drain(PAGE, refused(), PAGE, not_sent(Cause.NO_SESSION), PAGE, in_doubt())

    asked = [ticket.request_id for ticket in polling.vendor.asked]
    assert len(asked) == 6
    assert len(set(asked)) == 6
    assert len({ticket.poll_id for ticket in polling.vendor.asked}) == 6


def test_law_3_after_a_401_the_poll_is_refused_and_a_new_session_asks_under_a_new_poll(polling):
    drained = polling.drain(refused(Cause.HTTP_401), PAGE)

    assert polling.ledger() == [("refused", "http_401"), ("page", "page"), ("empty", "empty")]
    assert polling.vendor.logins == 2
    assert drained.proven_empty


def test_law_3_a_second_401_is_for_a_person(polling):
    with pytest.raises(VendorRefusedError, match="feed main: the vendor refuses the queue .401.*check user, password"):
        polling.drain(refused(Cause.HTTP_401), refused(Cause.HTTP_401), PAGE)

    assert len(polling.vendor.asked) == 2
    assert polling.current()["outcome"] == "refused"


@pytest.mark.parametrize(("cause", "hint"), [(Cause.HTTP_400, "page_size"), (Cause.HTTP_404, "base_url")])
def test_a_refusal_says_what_to_check(polling, cause, hint):
    with pytest.raises(VendorRefusedError, match=hint):
        polling.drain(refused(cause))

    assert polling.ledger() == [("refused", cause)]


def test_law_4_a_read_only_database_means_no_request(polling):
    name = value(polling.database, "SELECT current_database()")
    change(polling.database, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    polling.database.engine.dispose()

    with pytest.raises(DatabaseAwayError, match="25006"):
        polling.drain(PAGE)

    assert polling.vendor.asked == []


def test_law_4_an_intent_whose_connection_is_ended_means_no_request(polling):
    with polling.database.connect() as lent:  # so that the pool holds one that is dead
        assert lent is not None
    polling.end_connections()

    with pytest.raises(DatabaseAwayError):
        polling.drain(PAGE)

    assert polling.vendor.asked == []
    polling.rest()
    assert polling.drain(PAGE).proven_empty


def test_law_4_an_intent_that_cannot_be_written_means_no_request(polling):
    change(polling.database, "ALTER TABLE stp.current_poll ADD CONSTRAINT full_disk CHECK (max_count < 0)")

    with pytest.raises(Exception, match="full_disk"):
        polling.drain(PAGE)

    assert polling.vendor.asked == []


def test_law_4_without_a_session_no_poll_is_opened(polling):
    polling.vendor.no_session = VendorAwayError("the vendor cannot be reached")

    with pytest.raises(VendorAwayError):
        polling.drain(PAGE)

    assert polling.vendor.asked == []
    assert value(polling.database, "SELECT count(*) FROM stp.current_poll") == 0


ANSWERS = [
    (empty(), "empty", "empty"),
    *((refused(cause), "refused", cause) for cause in (Cause.HTTP_400, Cause.HTTP_404)),
    *((not_sent(cause), "not_sent", cause) for cause in (Cause.CONNECT_REFUSED, Cause.DNS, Cause.TLS)),
    (in_doubt(Cause.TIMEOUT), "in_doubt", "timeout"),
    (in_doubt(Cause.CUT, status=200, body=b"[{", complete=False), "in_doubt", "cut"),
    (in_doubt(Cause.UNREADABLE, status=200, body=b"<html>", complete=True), "in_doubt", "unreadable"),
    (in_doubt(Cause.FOREIGN_REQUEST_ID, status=200, body=PAGE.body, complete=True), "in_doubt", "foreign_request_id"),
    (in_doubt(Cause.HTTP_429, status=429, body=b""), "in_doubt", "http_429"),
    (in_doubt(Cause.HTTP_500, status=500, body=b"{}", complete=True), "in_doubt", "http_500"),
]


@pytest.mark.parametrize(("answer", "outcome", "cause"), ANSWERS, ids=lambda each: str(getattr(each, "cause", each)))
def test_law_10_every_answer_is_recorded_as_what_it_is(polling, answer, outcome, cause):
    try:
        drained = polling.drain(answer)
    except VendorRefusedError:
        drained = polling.poller.drained

    assert (drained.outcome, drained.cause) == (outcome, cause)
    assert drained.proven_empty == (outcome == "empty")
    assert (polling.current()["outcome"], polling.current()["cause"]) == (outcome, cause)
    assert polling.ledger() == ([] if outcome == "empty" else [(outcome, cause)])


def test_law_10_only_an_empty_answer_moves_the_last_proven_empty(polling):
    polling.drain(in_doubt())
    polling.rest()
    before = value(polling.database, "SELECT last_empty_at FROM stp.current_poll")
    polling.drain(empty())

    assert before is None
    assert value(polling.database, "SELECT last_empty_at FROM stp.current_poll") == polling.clock.now()


def test_law_10_an_empty_that_ends_a_drain_is_kept_in_the_ledger(polling):
    drained = polling.drain(PAGE, PAGE)

    assert (drained.pages, drained.messages, drained.polls) == (2, 4, 3)
    assert polling.ledger() == [("page", "page"), ("page", "page"), ("empty", "empty")]
    assert value(polling.database, "SELECT count(DISTINCT drain_id) FROM stp.poll") == 1


def test_law_11_an_answer_is_landed_though_another_instance_leads_by_now(polling):
    def answer(ticket, count):
        polling.take_over()
        return PAGE

    with pytest.raises(FenceLostError, match="another instance leads it; the answer in hand is landed"):
        polling.drain(answer)

    assert polling.bodies() == [PAGE.body]
    assert value(polling.database, "SELECT count(*) FROM stp.unbooked") == 1
    assert polling.ledger() == []
    assert (polling.current()["outcome"], polling.current()["epoch"]) == (None, polling.lease.epoch)


@pytest.mark.parametrize("answer", [PAGE, empty(), in_doubt(), refused(Cause.HTTP_404)], ids=lambda a: a.cause)
def test_law_11_the_old_leader_changes_nothing_of_the_new_one(polling, answer):
    def overtaken(ticket, count):
        epoch = polling.take_over()
        polling.close_stale(epoch)
        change(
            polling.database,
            "UPDATE stp.current_poll SET poll_id = nextval('stp.poll_id'), epoch = :epoch, outcome = NULL,"
            " request_id = 'of the new one'",
            epoch=epoch,
        )
        before.append(polling.current())
        return answer

    before: list[dict[str, object]] = []
    with suppress(FenceLostError, VendorRefusedError):
        polling.drain(overtaken)

    assert polling.current() == before[0]
    assert polling.ledger() == [("in_doubt", "killed")]
    assert polling.bodies() == ([PAGE.body] if answer is PAGE else [])


def test_law_11_nobody_who_does_not_lead_opens_a_poll(polling):
    polling.take_over()

    with pytest.raises(FenceLostError, match="another instance leads it; no poll is opened"):
        polling.drain(PAGE)

    assert polling.vendor.asked == []


def test_law_11_a_lease_that_is_gone_opens_no_poll(polling):
    polling.lease.leave()

    with pytest.raises(FenceLostError, match="the lease is not ours"):
        polling.drain(PAGE)

    assert polling.vendor.asked == []


def test_law_12_only_the_poller_makes_tickets():
    package = Path(etl.__file__).parent
    makers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "PollTicket"
    }

    assert makers == {"pipeline/poll.py"}


def test_law_12_only_the_poller_asks_the_queue():
    package = Path(etl.__file__).parent
    callers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "next_page"
    }

    assert callers == {"pipeline/poll.py"}


def test_law_12_a_ticket_is_good_for_two_seconds_from_before_its_commit(polling):
    expiries = []

    def look(ticket, count):
        expiries.append(ticket.expires_at - polling.clock.boottime())
        return PAGE if len(expiries) < 3 else empty()

    polling.drain(look, look, look)

    assert expiries == [2.0, 2.0, 2.0]


def test_law_12_the_time_that_the_commit_takes_counts(polling):
    polling.poller._open_work = interrupted(polling.open_work, lambda: polling.clock.advance(2.5))

    drained = polling.drain(PAGE)

    assert polling.ledger() == [("not_sent", "ticket_expired"), ("page", "page"), ("empty", "empty")]
    assert drained.proven_empty
    assert len(polling.vendor.asked) == 2


def test_law_12_a_machine_that_is_always_too_late_sends_nothing_and_gives_up(polling):
    polling.poller._open_work = interrupted(polling.open_work, lambda: polling.clock.advance(2.5), times=99)

    drained = polling.drain(PAGE)

    assert polling.vendor.asked == []
    assert (drained.outcome, drained.cause) == ("not_sent", "ticket_expired")
    assert {cause for _, cause in polling.ledger()} == {"ticket_expired"}
    assert polling.poller.resting_s > 0


def test_the_days_in_doubt_begin_where_the_queue_was_last_proven_empty(polling):
    doubts = []

    def look(ticket, count):
        doubts.append(value(polling.database, "SELECT doubt_from FROM stp.current_poll"))
        return empty()

    polling.drain(look)
    polling.drain(look)

    assert [str(day) for day in doubts] == ["2024-02-11", str(START.date())]


def test_a_page_is_counted_by_its_messages(polling):
    polling.drain(page_of(*(a_raw_message(tradeId=f"T{n}") for n in range(7))))

    assert rows(polling.database, "SELECT outcome, messages FROM stp.poll ORDER BY id") == [("page", 7), ("empty", 0)]
    assert polling.bodies() == [a_page(*(a_raw_message(tradeId=f"T{n}") for n in range(7)))]
