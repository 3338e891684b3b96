"""What commands ask of the leader: done once, whoever asks twice; the leader wakes at once."""

import time
from threading import Barrier, Thread

import pytest

from etl.clock import SystemClock
from etl.controls.manual import ManualRequest, open_by_hand
from etl.controls.requests import Requests
from etl.domain.window import Window
from etl.errors import OperatorError, VendorAwayError
from etl.store.notices import Listener
from tests.clocks import START
from tests.databases import change, rows, value
from tests.feeds import a_feed


def until(holds, seconds=60.0):
    ends_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends_at, f"not within {seconds} s"
        time.sleep(0.02)


@pytest.fixture
def feed(open_work):
    return a_feed(open_work)


@pytest.fixture
def heard(database):
    """Listen as the daemon does; holds the feeds that were named."""
    heard = []
    listener = Listener(database, SystemClock(), heard.append)
    listener.start()
    until(lambda: rows(database, "SELECT FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"))
    yield heard
    listener.stop()


def ask(open_work, feed, kind="poll", **arguments):
    with open_work() as work:
        number = work.requests.make(feed.feed_id, kind, arguments, by="olga", reason=None, at=START)
        work.commit()
    return number


def served(open_work, feed, clock, **deeds):
    return Requests(feed.feed_id, open_work, clock=clock, epoch=lambda: feed.epoch, deeds=deeds)


def state_of(open_work, number):
    with open_work() as work:
        found = work.requests.get(number)
    return found.state, found.result, found.error


def test_a_request_wakes_the_daemon_when_it_is_committed(open_work, feed, heard):
    with open_work() as work:
        work.requests.make(feed.feed_id, "poll", {}, by="olga", reason=None, at=START)

    ask(open_work, feed)

    until(lambda: heard)
    assert heard == [feed.feed_id]


def test_a_listener_whose_connection_was_cut_listens_again(open_work, feed, heard, database):
    change(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")

    def asked_again():
        ask(open_work, feed)
        return heard

    until(asked_again)
    assert set(heard) == {feed.feed_id}


def test_a_request_is_done_once_and_the_result_is_kept(open_work, feed, clock):
    number = ask(open_work, feed, days=3)
    done = []
    requests = served(open_work, feed, clock, poll=lambda request: done.append(request) or {"pages": 2})

    first, second = requests.step(), requests.step()

    assert [each.arguments for each in done] == [{"days": 3}]
    assert (first["requests_done"], second["requests_done"]) == (1, 0)
    assert state_of(open_work, number) == ("done", {"pages": 2}, None)


def test_a_request_that_fails_says_why_and_the_next_one_is_done(open_work, feed, clock):
    def away(_request):
        raise VendorAwayError("the vendor did not answer")

    def broken(_request):
        raise ZeroDivisionError

    numbers = [ask(open_work, feed, "away"), ask(open_work, feed, "broken"), ask(open_work, feed, "good")]
    counts = served(open_work, feed, clock, away=away, broken=broken, good=lambda _request: {}).step()

    assert counts == {"requests_done": 1, "requests_failed": 2}
    assert [state_of(open_work, number)[::2] for number in numbers] == [
        ("failed", "the vendor did not answer"),
        ("failed", "ZeroDivisionError; the log of the daemon has the traceback"),
        ("done", None),
    ]


def test_what_a_lost_leader_had_begun_is_begun_again_by_the_next_one(open_work, feed, clock):
    number = ask(open_work, feed)
    with open_work() as work:
        assert work.requests.take(feed.feed_id, ["poll"], epoch=feed.epoch, at=START)
        assert work.requests.take(feed.feed_id, ["poll"], epoch=feed.epoch, at=START) is None
        work.commit()

    counts = served(open_work, a_feed(open_work), clock, poll=lambda _request: {}).step()

    assert counts["requests_done"] == 1
    assert state_of(open_work, number)[0] == "done"


def test_what_nobody_can_do_stays_asked_and_what_was_taken_back_is_not_done(open_work, feed, clock):
    unknown, taken_back = ask(open_work, feed, "juggle"), ask(open_work, feed)
    with open_work() as work:
        assert work.requests.withdraw(taken_back, START)
        work.commit()

    counts = served(open_work, feed, clock, poll=lambda _request: {}).step()

    assert counts == {"requests_done": 0, "requests_failed": 0}
    assert [state_of(open_work, each)[0] for each in (unknown, taken_back)] == ["requested", "withdrawn"]


@pytest.mark.parametrize("last_days", [(13, 13), (13, 14)])
def test_two_processes_with_the_same_new_request_id_are_one_request(open_work, feed, database, last_days):
    start, ended = Barrier(2), []

    def open_gap(last_day):
        window = Window.of(START.date().replace(day=12), START.date().replace(day=last_day))
        start.wait()
        try:
            with open_work() as work:
                request = ManualRequest("main", window, "olga", "br 17", key="job-7")
                ended.append(open_by_hand(work, feed.feed_id, request, START))
                time.sleep(0.2)
                work.commit()
        except OperatorError as error:
            ended.append(str(error))

    threads = [Thread(target=open_gap, args=(day,)) for day in last_days]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert value(database, "SELECT count(*) FROM stp.gap") == 1
    number = value(database, "SELECT id FROM stp.gap")
    if last_days[0] == last_days[1]:
        assert sorted(ended) == [(number, False), (number, True)]
    else:
        assert sum((number, True) == each for each in ended) == 1
        assert any("request id job-7 was used before" in str(each) for each in ended)
