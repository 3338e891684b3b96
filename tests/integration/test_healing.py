"""From gap to healed: what is asked, when, how often, and what counts as proof (design.md §4)."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import event

from etl.controls.manual import ManualRequest, open_by_hand
from etl.domain.gaps import GapState, ResendState
from etl.domain.window import Window
from etl.errors import FenceLostError, VendorAwayError
from etl.vendor.feed import ResendOutcome
from tests.databases import change, rows, value
from tests.healing import TODAY, Healing, said
from tests.vendors import empty, in_doubt

NOTHING_HELD = ("2024-03-12", "2024-03-12")
AHEAD = ("2024-03-14", "2024-03-17")
DAY = (TODAY, TODAY)


@pytest.fixture
def healing(database, clock):
    """A feed that holds a trade of today and has just lost another one."""
    healing = Healing(database, clock=clock)
    healing.vendor.deal("KNOWN")
    healing.turn()
    healing.lose("LOST")
    yield healing
    healing.close()


def opened(healing, first, last, key=None, reason="br 17"):
    window = Window.of(date.fromisoformat(first), date.fromisoformat(last))
    request = ManualRequest("main", window, "olga", reason, key)
    return healing.open_by_hand(lambda work: open_by_hand(work, healing.feed.feed_id, request, healing.clock.now()))


def test_what_was_lost_is_booked_and_counted(healing):
    assert healing.booked() == {"KNOWN"}

    healing.heal()

    assert healing.booked() == {"KNOWN", "LOST"}
    assert healing.gaps("state, recovered, already_known, why") == [(
        "healed", 1, 1,
        "every day from 2024-03-12 to 2024-03-17 came again in full: 5 resends complete, 1 trade recovered, "
        "1 known already",
    )]  # fmt: skip


def test_days_are_asked_for_in_their_order_and_those_without_a_held_trade_together_and_twice(healing):
    healing.heal()

    assert healing.vendor.resends == [NOTHING_HELD, NOTHING_HELD, DAY, AHEAD, AHEAD]
    assert {state for (state,) in healing.resends("state")} == {"complete"}
    first, second = (row[0] for row in healing.resends("requested_at")[:2])
    assert second - first >= timedelta(seconds=120)


def test_no_resend_is_asked_for_before_the_ghost_is_gone(healing):
    doubted_at = healing.gaps("doubted_at")[0][0]

    healing.turn_until(lambda: healing.vendor.resends)

    assert healing.resends("requested_at")[0][0] - doubted_at >= timedelta(seconds=120)
    assert healing.state() == "resending"


def test_no_resend_is_asked_for_before_a_poll_has_ended_well(healing):
    while (healing.clock.now() - healing.gaps("opened_at")[0][0]) < timedelta(seconds=130):
        healing.clock.advance(10)
        healing.healer.step()
    before = healing.vendor.resends.copy()

    healing.turn()

    assert (before, healing.vendor.resends) == ([], [NOTHING_HELD])


def test_a_ghost_holds_back_the_resends_of_every_gap(healing):
    """A request given up on takes whatever comes again, also days that its own gap does not hold."""
    opened(healing, "2024-01-10", "2024-01-10")

    healing.turn(30)
    waits = healing.vendor.resends.copy()
    healing.turn(120)

    assert (waits, healing.vendor.resends) == ([], [("2024-01-10", "2024-01-10")])


def test_one_resend_is_in_flight_at_a_time(healing):
    opened(healing, "2024-01-10", "2024-01-10")
    opened(healing, "2024-01-20", "2024-01-20")
    in_flight = "SELECT count(*) FROM stp.resend WHERE state NOT IN ('complete', 'short', 'refused')"
    most = []

    def all_healed():
        most.append(value(healing.database, in_flight))
        return {state for (state,) in healing.gaps("state")} == {"healed"}

    healing.turn_until(all_healed)

    assert max(most) == 1
    assert healing.vendor.resends[0] == ("2024-01-10", "2024-01-10")  # what operators want comes first


def test_an_empty_answer_too_early_after_acceptance_proves_nothing(healing):
    healing.turn_until(lambda: healing.vendor.resends)
    for _ in range(4):
        healing.turn(2)
    early = healing.resends("state")

    healing.turn(10)

    assert (early, healing.resends("state")) == ([("accepted",)], [("complete",)])


def test_nothing_is_proven_while_something_landed_waits_for_booking(healing):
    healing.turn_until(lambda: healing.vendor.resends == [NOTHING_HELD, NOTHING_HELD, DAY])
    change(healing.database, "UPDATE stp.booker SET drain_id = 1, held_at = now(), held_reason = 'look'")
    for _ in range(5):
        healing.clock.advance(15)
        healing.drain()
        healing.healer.step()

    assert healing.resends("state")[-1] == ("accepted",)


def test_the_proof_is_cited(healing):
    healing.heal()

    cited = healing.resends("proof_poll_id, accepted_at, detail")
    for poll_id, accepted_at, detail in cited:
        ((outcome, opened_at),) = rows(
            healing.database, "SELECT outcome, opened_at FROM stp.poll WHERE id = :id", id=poll_id
        )
        assert (outcome, detail) == ("empty", f"proven by poll {poll_id}")
        assert opened_at - accepted_at >= timedelta(seconds=10)


def test_a_trade_that_is_late_in_coming_is_asked_for_again(healing):
    healing.vendor.trades["KNOWN"].hidden = True
    healing.turn_until(lambda: ("short",) in healing.resends("state"))
    assert "1 of 1 trades that we held did not come again" in healing.why()
    healing.vendor.trades["KNOWN"].hidden = False

    healing.heal()

    assert healing.vendor.resends == [NOTHING_HELD, NOTHING_HELD, DAY, DAY, AHEAD, AHEAD]
    assert healing.vendor.asked_by_id == []
    assert healing.resends("absent")[2:4] == [(1,), (0,)]


def test_a_trade_that_is_verified_no_more_is_excused_by_a_break(healing):
    healing.vendor.trades["KNOWN"].status = "Cancelled"

    healing.heal()

    assert healing.vendor.resends.count(DAY) == 3
    assert healing.vendor.asked_by_id == ["KNOWN"]
    assert healing.resends("state, absent, excused")[4] == ("complete", 0, 1)
    assert rows(healing.database, 'SELECT kind, key, state, comment FROM reporting."break"') == [
        ("status", "KNOWN", "open", "the vendor says Cancelled; found because it did not come again")
    ]


def test_a_trade_that_is_verified_and_never_comes_needs_a_person(healing):
    healing.vendor.trades["KNOWN"].hidden = True

    healing.turn_until(lambda: healing.state() == "escalated")

    assert "KNOWN" in healing.why()
    assert healing.resends("state, absent, excused")[-1] == ("short", 1, 0)
    asked = healing.vendor.resends.copy()
    for _ in range(20):
        healing.turn()
    assert healing.vendor.resends == asked
    assert "LOST" in healing.booked()


def test_a_question_without_an_answer_is_asked_again(healing):
    healing.vendor.trades["KNOWN"].status = "Cancelled"
    healing.vendor.silent = True
    with pytest.raises(VendorAwayError):
        healing.heal()
    healing.turn(1)  # not at once
    asked = len(healing.vendor.asked_by_id)
    healing.vendor.silent = False

    healing.heal()

    assert asked == 1
    assert value(healing.database, "SELECT reopened FROM stp.recon_break") == 0


def test_more_absent_trades_than_may_be_asked_for_need_a_person(healing):
    names = [f"B{number:03}" for number in range(201)]
    healing.vendor.deal(*names)
    healing.turn()
    for name in names:
        healing.vendor.trades[name].status = "Cancelled"

    healing.turn_until(lambda: healing.state() == "escalated")

    assert healing.vendor.asked_by_id == []
    assert "B009 and 191 more" in healing.why()


def test_a_trade_delivered_while_the_resend_was_being_asked_for_is_not_missed(healing):
    """It was executed just before, so it is no trade that we held, and comes once."""
    healing.turn_until(lambda: healing.vendor.resends == [NOTHING_HELD, NOTHING_HELD])
    ask = healing.vendor.request_resend

    def slow(*days):
        answer = ask(*days)
        healing.vendor.deal("LIVE")
        healing.vendor.queue.insert(0, healing.vendor.queue.pop())
        healing.clock.advance(0.1)
        healing.drain()
        healing.booker.book()
        healing.clock.advance(0.1)
        return answer

    healing.vendor.request_resend = slow
    healing.heal()

    assert healing.vendor.resends.count(DAY) == 1
    assert healing.booked() == {"KNOWN", "LOST", "LIVE"}


def test_a_404_where_we_hold_trades_needs_a_person(healing):
    healing.turn_until(lambda: healing.vendor.resends == [NOTHING_HELD, NOTHING_HELD])
    healing.vendor.resend_answers.append(said(ResendOutcome.NOT_FOUND, "nothing found"))

    healing.turn_until(lambda: healing.state() == "escalated", most=30)

    assert "404 although we hold 1 trade of these days" in healing.why()


def test_a_404_twice_where_we_hold_none_means_that_there_is_nothing(healing):
    healing.vendor.resend_answers += [said(ResendOutcome.NOT_FOUND)] * 2

    healing.turn_until(lambda: healing.vendor.resends == [NOTHING_HELD])
    assert healing.state() == "waiting"
    healing.heal()

    assert healing.vendor.resends == [NOTHING_HELD, NOTHING_HELD, DAY, AHEAD, AHEAD]
    (first, _), (second, state) = healing.resends("requested_at, state")[:2]
    assert (second - first >= timedelta(seconds=120), state) == (True, "complete")


def test_a_refusal_needs_a_person(healing):
    healing.vendor.resend_answers.append(said(ResendOutcome.REFUSED, "400: range too long"))

    healing.turn_until(lambda: healing.state() == "escalated", most=30)

    assert healing.why() == "the vendor refused resend 1: 400: range too long"
    assert healing.resends("state, detail") == [("refused", "400: range too long")]


def test_a_request_without_an_answer_is_asked_again_with_growing_pauses(healing):
    healing.vendor.resend_answers += [said(ResendOutcome.IN_DOUBT, "503")] * 4
    healing.turn_until(lambda: healing.vendor.resends)
    state, seen = healing.resends("state"), []
    while len(healing.vendor.resends) < 5:
        healing.turn(1)
        seen.append(len(healing.vendor.resends))

    healing.heal()

    assert state == [("ambiguous",)]
    assert [seen.count(number) for number in (1, 2, 3, 4)] == [4, 10, 20, 40]
    assert healing.resends("tries")[0] == (5,)
    assert healing.booked() == {"KNOWN", "LOST"}


def test_a_refusal_of_what_was_ambiguous_needs_a_person(healing):
    healing.vendor.resend_answers += [said(ResendOutcome.IN_DOUBT), said(ResendOutcome.REFUSED, "400")]

    healing.turn_until(lambda: healing.state() == "escalated", most=30)

    assert len(healing.vendor.resends) == 2


def test_a_request_that_never_left_is_told_as_not_asked_yet(healing):
    """Until one leaves; an earlier one whose answer nobody saw stays in doubt."""
    seen = []

    def shown():
        return (healing.state(), healing.why(), *rows(healing.database, f"SELECT {columns} FROM reporting.resend")[0])

    columns = "state, tries, request_id"
    healing.vendor.resend_answers += [
        said(ResendOutcome.NOT_SENT, "no session"), said(ResendOutcome.IN_DOUBT, "503"),
        said(ResendOutcome.NOT_SENT, "no session"),
    ]  # fmt: skip
    for sent in (1, 2, 3):
        healing.turn_until(lambda sent=sent: len(healing.vendor.resends) == sent)
        seen.append(shown())

    assert seen[0][:4] == (
        "resending", "not asked yet, because nothing could be sent: no session; tried again", "requested", 0,
    )  # fmt: skip
    assert [each[:4] for each in seen[1:]] == [("resending", None, "ambiguous", 1)] * 2
    assert [each[4] for each in seen] == [None, "r", "r"]


def test_what_never_left_is_no_part_of_the_budget(healing):
    healing.vendor.resend_answers += [said(ResendOutcome.NOT_SENT, "connection refused")] * 3

    healing.turn_until(lambda: len(healing.vendor.resends) == 4)

    assert healing.resends("state, tries") == [("accepted", 1)]


def test_a_request_that_a_dead_process_left_is_asked_again_at_once(healing):
    healing.turn_until(lambda: healing.vendor.resends)
    change(healing.database, "UPDATE stp.resend SET state = 'sending', accepted_at = NULL")
    healing.poller = healing.new_poller()  # as after a restart

    healing.turn(1)

    assert healing.vendor.resends == [NOTHING_HELD, NOTHING_HELD]
    assert healing.resends("state, tries") == [("accepted", 2)]
    healing.heal()
    assert healing.booked() == {"KNOWN", "LOST"}


def test_an_answer_lost_while_a_resend_drains_is_asked_for_again(healing):
    healing.turn_until(lambda: healing.vendor.resends == [NOTHING_HELD, NOTHING_HELD, DAY])

    healing.turn(15, healing.vendor.loses)
    short = healing.resends("state, detail")[-1]
    for gap_id in (1, 2):
        healing.heal(gap_id)

    assert short[0] == "short"
    assert "was lost meanwhile" in short[1]
    assert healing.booked() == {"KNOWN", "LOST"}
    assert healing.gaps("state") == [("healed",), ("healed",)]


def test_a_lost_answer_does_not_count_as_having_asked_before(healing):
    """We hold nothing of these days; the one answer with their trades was lost, and then the vendor has nothing."""
    healing.turn_until(lambda: healing.vendor.resends == [NOTHING_HELD])
    healing.turn(15, in_doubt())
    change(healing.database, "UPDATE stp.gap SET state = 'closed' WHERE id = 2")

    healing.heal()

    assert healing.vendor.resends.count(NOTHING_HELD) == 3


def test_a_doubt_before_the_resend_widens_the_gap_and_starts_the_ghost_anew(healing):
    healing.turn(90)
    healing.turn(1, in_doubt())
    healing.turn(60)
    waits = healing.vendor.resends.copy()

    healing.heal()

    assert waits == []
    assert len(healing.gaps()) == 1


def test_where_nothing_is_to_heal_a_look_takes_one_statement_and_wants_no_proof(healing):
    healing.turn_until(lambda: healing.gaps("state") == [("healed",)])
    wanted = healing.healer.wants_proof
    statements: list[str] = []
    event.listen(healing.database.engine, "before_cursor_execute", lambda *said: statements.append(said[2]))

    assert not healing.healer.step()
    assert len(statements) == 1
    assert (wanted, healing.healer.wants_proof) == (False, False)


def test_a_doubt_between_reading_the_gap_and_asking_is_not_overlooked(healing):
    """The poller and the healer are threads of one process: the gap is looked at again under a lock."""
    healing.healer.step = healing.healer._one_step
    healing.turn_until(lambda: healing.gaps("healed_before") != [(None,)])
    left = healing.vendor.resends.copy()
    look = healing.healer._reaches_back

    def doubted_meanwhile(gap):
        healing.clock.advance(1)
        healing.drain(in_doubt())
        return look(gap)

    healing.healer._reaches_back = doubted_meanwhile
    while healing.gaps("healed_before") != [(None,)]:
        healing.clock.advance(5)
        healing.healer.step()
    del healing.healer._reaches_back

    assert healing.vendor.resends == left
    healing.heal()


def test_a_doubt_between_the_last_day_and_healed_is_not_overlooked(healing):
    healing.healer.step = healing.healer._one_step
    healing.turn_until(lambda: healing.gaps("healed_before::text") == [("2024-03-18",)])
    heal = healing.healer._heal

    def doubted_meanwhile(gap):
        healing.clock.advance(1)
        healing.drain(in_doubt())
        return heal(gap)

    healing.healer._heal = doubted_meanwhile
    healing.healer.step()
    del healing.healer._heal

    assert healing.state() != "healed"
    healing.heal()


def test_a_used_up_budget_is_said_and_tried_every_hour(database, clock):
    healing = Healing(database, clock=clock, heal={"budget_per_day": 2})
    healing.lose("LOST")
    healing.turn_until(lambda: "budget" in (healing.why() or ""))
    waits = []
    for _ in range(3):
        waits.append(healing.gaps("not_before")[0][0] - clock.now())
        healing.turn(3601)
    why, state = healing.why(), healing.state()
    healing.turn(24 * 3600)

    assert waits == [timedelta(hours=1)] * 3
    assert (why, state) == ("the budget of 2 resends a day is used up; tried again every hour", "waiting")
    assert len(healing.vendor.resends) == 3
    healing.close()


def test_another_leader_is_not_interfered_with(healing):
    healing.turn_until(lambda: healing.vendor.resends)
    healing.take_over()
    before = healing.gaps("*"), healing.resends("*")
    healing.clock.advance(30)
    with healing.open_work() as work:
        resend = work.gaps.in_flight(healing.feed.feed_id)
        (gap,) = work.gaps.unfinished(healing.feed.feed_id)

    with pytest.raises(FenceLostError):
        healing.healer._resender.send_again(resend)
    with pytest.raises(FenceLostError):
        healing.healer._resender.send(resend)
    with pytest.raises(FenceLostError):
        healing.healer._heal(gap)
    with pytest.raises(FenceLostError):
        healing.healer._ask(gap, gap.left)

    assert (healing.gaps("*"), healing.resends("*")) == before


def test_a_gap_closed_by_a_person_stays_closed_and_its_resend_ends(healing):
    healing.turn_until(lambda: healing.vendor.resends)
    at = datetime(2024, 3, 14, tzinfo=UTC)

    def close(work):
        work.gaps.change(1, state=GapState.CLOSED, closed_at=at, closed_by="olga", reason="told")
        work.gaps.drop_resends(1, at, "gap closed by olga")

    healing.open_by_hand(close)
    for _ in range(10):
        healing.turn()

    assert healing.gaps("state, closed_by") == [("closed", "olga")]
    assert healing.resends("state, detail") == [(ResendState.SHORT, "gap closed by olga")]
    assert healing.vendor.resends == [NOTHING_HELD]


def test_a_gap_closed_while_the_vendor_was_asked_stays_closed(healing):
    ask = healing.vendor.request_resend

    def closed_meanwhile(*days):
        healing.open_by_hand(lambda work: work.gaps.change(1, state=GapState.CLOSED))
        return ask(*days)

    healing.vendor.request_resend = closed_meanwhile
    for _ in range(20):
        healing.turn()

    assert healing.gaps("state") == [("closed",)]
    assert healing.resends("state") == [("complete",)]


def test_an_operators_gap_needs_no_poll_before_and_keeps_who_wanted_it(database, clock):
    healing = Healing(database, clock=clock, emptied=False)
    number, new = opened(healing, "2024-01-10", "2024-01-10")
    healing.healer.step()

    assert (number, new, healing.vendor.resends) == (1, True, [("2024-01-10", "2024-01-10")])
    assert healing.resends("requested_by, reason") == [("olga", "br 17")]
    assert rows(database, "SELECT operator, deed, subject FROM reporting.audit") == [("olga", "resend", "gap 1")]
    healing.heal()
    healing.close()


def test_live_trades_that_come_meanwhile_disturb_nothing(healing):
    for number in range(60):
        if healing.state() == "healed":
            break
        healing.vendor.deal(f"LIVE{number}")
        healing.turn()

    assert healing.state() == "healed"
    assert healing.booked() == set(healing.vendor.trades)


def test_a_gap_over_a_month_that_holds_nothing_is_asked_for_as_one(database, clock):
    healing = Healing(database, clock=clock)
    opened(healing, "2024-01-01", "2024-01-31")

    healing.heal()

    assert healing.vendor.resends == [("2024-01-01", "2024-01-31")] * 2
    assert healing.drain(empty()).proven_empty
    healing.close()


def test_a_gap_says_at_all_times_what_it_waits_for(healing):
    first = healing.why()
    told = [first]

    def healed():
        told.append(healing.why() if healing.state() in ("open", "waiting") else "-")
        return healing.state() == "healed"

    healing.turn_until(healed)

    request_id = healing.gaps("evidence")[0][0][0]["request_id"]
    assert first.startswith(f"the request {request_id} was given up on and may still be executed until 2024-03-13T15:")
    assert all(told)
    assert any("asked for twice, the second time at 2024-03-13T15:" in each for each in told)


def test_a_gap_that_waits_is_written_once_for_each_reason(healing):
    """A row is rewritten by each update: its place tells."""
    healing.turn(1)
    before = healing.gaps("state, why, ctid::text")
    for _ in range(5):
        healing.turn(1)

    assert before[0][0] == "waiting"
    assert healing.gaps("state, why, ctid::text") == before


def test_a_gap_without_a_poll_that_ended_well_says_so(healing):
    healing.clock.advance(130)
    healing.healer.step()

    assert healing.why().startswith("a poll has to end well first: none has since 2024-03-13T15:")


def test_a_gap_behind_another_says_which_comes_first(healing):
    opened(healing, "2024-01-10", "2024-01-10")

    healing.turn_until(lambda: healing.vendor.resends)

    assert (healing.state(2), healing.state(1), healing.why(1)) == ("resending", "waiting", "gap 2 is asked for first")
