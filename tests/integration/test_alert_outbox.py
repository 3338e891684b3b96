"""The outbox: an alert is kept with its fact or not at all, told once, and sent by one sender at a time."""

from datetime import timedelta
from threading import Thread

import pytest

from etl.alert_kinds import AlertKind
from etl.errors import OtherDatabaseError
from etl.pipeline.doubt import Doubted, open_gap
from etl.pipeline.failover import refuse_other_database
from etl.store.repositories.alerts import Alert
from etl.store.unit_of_work import work_on
from etl.vendor.feed import Cause
from tests.booking import Booking
from tests.builders import a_raw_message
from tests.clocks import START
from tests.databases import change, rows
from tests.feeds import a_feed
from tests.healing import POISON, Healing
from tests.polling import KilledError, Polling, interrupted
from tests.vendors import a_body, in_doubt

ALL = tuple(AlertKind)
LATER = START + timedelta(minutes=1)


def kept(database, columns="kind"):
    """Return these columns of every alert, in their order."""
    return rows(database, f"SELECT {columns} FROM stp.alert ORDER BY id")


def an_alert(key="k", **values):
    return Alert(AlertKind.FEED_STALE, key, START, "the feed is silent", **values)


def tell(open_work, *alerts):
    with open_work() as work:
        for each in alerts:
            work.alerts.tell(each)
        work.commit()


def claim(open_work, at=LATER, until=LATER + timedelta(minutes=1), kinds=ALL):
    with open_work() as work:
        found = work.alerts.claim(kinds, at, until)
        work.commit()
    return found


def test_a_fact_that_is_undone_is_not_told(database, open_work):
    with open_work() as work:
        work.alerts.tell(an_alert())

    assert kept(database) == []


def test_the_same_fact_is_told_once(database, open_work):
    tell(open_work, an_alert("a"), an_alert("a"), an_alert("b"))
    tell(open_work, an_alert("a"))

    assert kept(database, "key") == [("a",), ("b",)]


def test_facts_of_one_topic_are_one_alert_with_a_count_until_it_is_on_its_way(database, open_work):
    tell(open_work, an_alert("a", topic="t", count=2), an_alert("b", topic="t", count=3))
    assert claim(open_work, at=START) is None  # a burst is gathered first
    assert claim(open_work).count == 5

    tell(open_work, an_alert("c", topic="t"))

    assert kept(database, "key, count") == [("a", 5), ("c", 1)]


def test_an_outbox_that_may_not_be_written_undoes_nothing_else(database, open_work):
    change(database, "ALTER TABLE stp.alert ADD CONSTRAINT broken CHECK (count > 5)")
    with open_work() as work:
        work.feeds.register("main", a_feed(open_work).identity, START)
        work.gaps.change_seq()
        work.alerts.tell(an_alert())
        work.attention.add_incident(1, an_incident("r1"))
        work.commit()

    assert kept(database) == []
    assert rows(database, "SELECT request_id FROM stp.incident") == [("r1",)]


def test_what_one_sender_has_no_other_gets_until_its_time_is_over(open_work):
    tell(open_work, an_alert())
    first = claim(open_work, until=LATER + timedelta(seconds=30))

    assert first is not None
    assert claim(open_work, at=LATER + timedelta(seconds=29)) is None
    again = claim(open_work, at=LATER + timedelta(seconds=31))
    assert (again.alert_id, again.tries) == (first.alert_id, 2)


def test_two_senders_at_once_never_have_the_same_alert(open_work):
    tell(open_work, *(an_alert(str(number)) for number in range(40)))
    had = []

    def send():
        while (found := claim(open_work)) is not None:
            had.append(found.id)

    threads = [Thread(target=send) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(had) == len(set(had)) == 40


def test_what_was_sent_is_not_due_again_and_what_failed_is_later(database, open_work):
    tell(open_work, an_alert("a"), an_alert("b"))
    first, second = claim(open_work), claim(open_work)
    with open_work() as work:
        work.alerts.sent(first, LATER)
        work.alerts.not_sent(second, "500", LATER + timedelta(minutes=5))
        work.commit()

    assert claim(open_work, at=LATER + timedelta(minutes=4)) is None
    assert claim(open_work, at=LATER + timedelta(minutes=5)).id == second.id
    assert kept(database, "state, last_error") == [("sent", None), ("waiting", "500")]


def test_what_nobody_wants_or_what_is_too_old_is_dropped_and_forgotten_in_the_end(database, open_work):
    tell(open_work, an_alert("a"), Alert(AlertKind.DRIFT, "b", START, "new fields"))
    wanted = [AlertKind.FEED_STALE]
    with open_work() as work:
        assert work.alerts.drop(wanted, older_than=START, at=LATER) == (1, 0)
        assert work.alerts.drop(wanted, older_than=LATER, at=LATER) == (0, 1)
        assert work.alerts.waiting() == (0, None)
        work.commit()

    assert kept(database, "kind, state, last_error") == [
        ("feed.stale", "dropped", None),
        ("drift.new_field", "dropped", "not wanted"),
    ]
    with open_work() as work:
        assert work.alerts.forget(START) == 0
        assert work.alerts.forget(LATER) == 2


def an_incident(request_id):
    return {
        "poll_id": None, "request_id": request_id, "occurred_at": START, "status": 500, "reason_code": None,
        "exchange": "GET …",
    }  # fmt: skip


@pytest.fixture
def healing(database, clock):
    healing = Healing(database, clock=clock)
    yield healing
    healing.close()


def test_a_gap_is_told_when_it_opens_not_when_it_widens_and_again_when_it_is_escalated(healing, database):
    healing.lose("A")
    healing.lose("B")
    assert kept(database, "kind, key") == [("gap.opened", "gap.opened/1")]

    healing.turn_until(lambda: healing.resends())
    poison = a_body(POISON)
    for _ in range(3):
        healing.turn(200, poison)
    assert healing.state() == "escalated"

    told = kept(database, "kind, words, fields->>'gap'")
    assert ("gap.escalated", f"gap 1, trade dates {days(healing)}, is escalated: a person has to look; "
            "see: stp-etl gaps show 1", "1") in told  # fmt: skip
    assert all("html" not in words for _, words, _ in told)


def days(healing):
    first, last = healing.gaps()[0]
    return f"{first} to {last}"


def test_a_kill_before_the_commit_leaves_neither_gap_nor_alert_and_the_next_start_makes_both(database):
    def die():
        raise KilledError

    polling = Polling(database, open_work=interrupted(work_on(database), die, skip=1))
    with pytest.raises(KilledError):
        polling.drain(in_doubt(Cause.RESET))
    assert (rows(database, "SELECT FROM stp.gap"), kept(database)) == ([], [])

    epoch = polling.take_over()
    assert polling.close_stale(epoch)
    with work_on(database)() as work:
        for poll_id, request_id, cause, _ in work.gaps.uncovered(polling.feed.feed_id):
            open_gap(work, polling.feed.feed_id, Doubted(poll_id, request_id, cause), at=START, ghost_s=1)
        work.commit()
    polling.close()

    assert rows(database, "SELECT cause FROM stp.gap") == [("in_doubt",)]
    assert ("gap.opened",) in kept(database)


def test_the_same_answer_500_is_one_incident_and_one_alert(open_work, database):
    a_feed(open_work)
    for request_id in ("r1", "r1", "r2"):
        with open_work() as work:
            work.attention.add_incident(1, an_incident(request_id))
            work.commit()

    assert kept(database, "kind, count") == [("incident.kept", 2)]
    assert "GET" not in kept(database, "words")[0][0]


def test_exception_items_of_a_drain_are_one_alert_and_the_same_bytes_again_are_none(booking: Booking, database):
    first = booking.land(b"[]", b'{"tradeId": 1}', a_raw_message())
    booking.land(b"[]", b"17", drain_id=first.poll_id)
    booking.book()
    booking.land(b"[]")
    booking.book()

    assert kept(database, "kind, count, fields->>'drain'") == [("exceptions.opened", 3, str(first.poll_id))]


def test_a_break_is_told_when_it_opens_and_when_it_opens_again(open_work, database):
    a_feed(open_work)

    def found(trade_id):
        with open_work() as work:
            work.attention.found(1, "status", trade_id, comment="c", evidence={}, at=START)
            work.commit()

    found("A")
    found("A")
    found("B")
    assert kept(database, "kind, count, fields->>'break kind'") == [("break.opened", 2, "status")]

    change(database, "UPDATE stp.alert SET state = 'sent'")
    change(database, "UPDATE stp.recon_break SET state = 'resolved' WHERE key = 'A'")
    found("A")
    found("B")
    assert kept(database, "kind, count") == [("break.opened", 2), ("break.opened", 1)]


def test_a_lease_that_nobody_gave_up_is_told_and_an_orderly_change_is_not(open_work, database):
    feed = a_feed(open_work)
    assert kept(database) == []
    with open_work() as work:
        epoch = work.feeds.take_over(feed.feed_id, "host-b:2", START)
        work.feeds.leave(feed.feed_id, epoch)
        work.feeds.take_over(feed.feed_id, "host-c:3", START)
        work.commit()

    assert kept(database, "kind, words") == [("lease.changed", "host-b:2 leads the feed now; test had not given it up")]


def test_a_leader_that_comes_back_under_the_same_name_is_told_as_that(open_work, database):
    feed = a_feed(open_work)
    with open_work() as work:
        work.feeds.take_over(feed.feed_id, "test", START)
        work.commit()

    words = "test leads the feed again: it was cut off from the database, or killed"
    assert kept(database, "kind, words") == [("lease.changed", words)]


def test_another_database_is_told_once_and_again_after_a_person_said_what_it_is(open_work, database):
    feed = a_feed(open_work)
    pulled_elsewhere = "UPDATE stp.feed SET system_identifier = '7', timeline = 1"
    for at in (START, LATER):
        change(database, pulled_elsewhere)
        for _ in range(2):
            with pytest.raises(OtherDatabaseError):
                refuse_other_database(open_work, feed.feed_id, "main", at)
        with open_work() as work:
            work.incarnations.adopt(feed.feed_id, work.incarnations.here())
            work.commit()
        refuse_other_database(open_work, feed.feed_id, "main", at)

    told = [row for row in kept(database, "kind, fields ->> 'pulled into'") if row[0] == "database.other"]
    assert told == [("database.other", "system 7, timeline 1")] * 2


def test_new_fields_of_a_burst_are_one_alert_that_does_not_name_them(open_work, database):
    feed = a_feed(open_work)
    with open_work() as work:
        work.feeds.new_fields(feed.feed_id, {"secretSauce": 1, "other": 1}, START)
        work.feeds.new_fields(feed.feed_id, {"secretSauce": 2, "third": 2}, START)
        work.commit()

    assert kept(database, "kind, count") == [("drift.new_field", 3)]
    assert "Sauce" not in str(kept(database, "alert::text"))


def test_booking_that_is_held_is_told_once(database):
    booking = Booking(database, conflicts_before_hold=0)
    booking.book(a_raw_message())
    for _ in range(2):
        with pytest.raises(Exception, match="booking waits"):
            booking.book(a_raw_message(dealtAmount=77))

    assert [kind for (kind,) in kept(database)].count("booking.held") == 1
