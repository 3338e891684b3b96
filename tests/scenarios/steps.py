"""The sentences that stories are made of, and what each of them does or asks."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from etl.controls.manual import ManualRequest, open_by_hand
from etl.controls.widening import approve, widen
from etl.domain.calendar import NEW_YORK
from etl.domain.gaps import GapState
from etl.domain.window import Window
from etl.sandbox import lifecycle
from tests.databases import rows
from tests.scenarios.stage import Stage

Deed = Callable[..., None]
SENTENCES: list[tuple[re.Pattern[str], Deed]] = []
FORMS = {
    "n": r"(\d+)", "day": r"(\d{4}-\d\d-\d\d)", "time": r"(\d\d:\d\d)", "word": r"([\w:]+)", "text": r'"([^"]+)"',
    "s": "s?",
}  # fmt: skip
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


def sentence(form: str) -> Callable[[Deed], Deed]:
    """Give a sentence to a deed; `<n>`, `<day>`, `<word>` and so on are its arguments, `<s>` is a plural or none."""

    def named(deed: Deed) -> Deed:
        pattern = re.sub(r"<(\w+)>", lambda found: FORMS[found[1]], form)
        SENTENCES.append((re.compile(pattern), deed))
        return deed

    return named


def play(stage: Stage, line: str) -> None:
    """Do what one line of a story says; a line that nobody understands is a fault of the story."""
    text = re.sub(r"^(Given|When|Then|And|But) ", "", line)
    for pattern, deed in SENTENCES:
        if (found := pattern.fullmatch(text)) is not None:
            deed(stage, *found.groups())
            return
    raise AssertionError(f"nobody understands: {text}")


# What happens


@sentence("<n> trade<s> (?:is|are) booked")
def booked(stage: Stage, count: str) -> None:
    stage.done(int(count))
    stage.poll()
    stage.poll()


@sentence("<n> trade<s> of <day> (?:is|are) booked")
def booked_of(stage: Stage, count: str, day: str) -> None:
    stage.done(int(count), date.fromisoformat(day))
    stage.poll()
    stage.poll()


@sentence("<n> trade<s> (?:is|are) done")
def done(stage: Stage, count: str) -> None:
    stage.done(int(count))


@sentence("<n> trade<s> of <day> (?:is|are) done")
def done_of(stage: Stage, count: str, day: str) -> None:
    stage.done(int(count), date.fromisoformat(day))


@sentence("the answer with trades meets <word>")
def page_fault(stage: Stage, fault: str) -> None:
    stage.plan(fault, non_empty=True)


@sentence("the answer with trades meets <word> <n> times")
def page_faults(stage: Stage, fault: str, times: str) -> None:
    stage.plan(fault, non_empty=True, times=int(times))


@sentence("the next answer meets <word>")
def any_fault(stage: Stage, fault: str) -> None:
    stage.plan(fault)


@sentence("the next answer is 429 with Retry-After <n>")
def throttled(stage: Stage, seconds: str) -> None:
    stage.plan("429", retry_after_s=int(seconds))


@sentence("a ghost of the next request acts <n> seconds later")
def ghost(stage: Stage, seconds: str) -> None:
    stage.plan("ghost", delay_s=float(seconds))


@sentence("the next resend meets <word>")
def resend_fault(stage: Stage, fault: str) -> None:
    stage.plan(fault, endpoint="resend")


@sentence("the next <n> resends meet <word>")
def resend_faults(stage: Stage, times: str, fault: str) -> None:
    stage.plan(fault, endpoint="resend", times=int(times))


@sentence("somebody else takes <n> trade<s>")
def second_consumer(stage: Stage, count: str) -> None:
    world, user = stage.vendor.world, stage.options.users[0]
    world.hand_out(world.queue(user), int(count), "(somebody else)", None)


@sentence("the vendor's <word> is <word>")
def variant(stage: Stage, name: str, value: str) -> None:
    stage.vendor.world.vary({name: value})


@sentence("the first trade is cancelled")
def cancelled(stage: Stage) -> None:
    world = stage.vendor.world
    lifecycle.cancel(world, next(iter(world.trades.values())))


@sentence("the first trade is (never|again) handed out")
def hidden(stage: Stage, what: str) -> None:
    trade_id = next(iter(stage.vendor.world.trades))
    stage.control.hide({"trade_id": trade_id, "hidden": what == "never"})


@sentence("the queue is polled")
def polled(stage: Stage) -> None:
    stage.poll()


@sentence("<n> (second|minute|hour|day)s? passe?s?")
def passes(stage: Stage, count: str, unit: str) -> None:
    stage.turn(int(count) * UNITS[unit])


@sentence("<n> (second|minute|hour|day)s? pass without us")
def stands_still(stage: Stage, count: str, unit: str) -> None:
    stage.virtual.advance(int(count) * UNITS[unit])


@sentence("it is <day> <time> in New York")
def it_is(stage: Stage, day: str, time: str) -> None:
    stage.move_to(datetime.fromisoformat(f"{day} {time}").replace(tzinfo=NEW_YORK).astimezone(UTC))


@sentence("the process is killed (before|after) the vendor hands out")
def killed(stage: Stage, when: str) -> None:
    stage.killed(when)


@sentence("it starts again")
def restarted(stage: Stage) -> None:
    stage.restart()


@sentence("it stands still for <n> seconds between intent and request")
def slow(stage: Stage, seconds: str) -> None:
    stage.vendor.slow_s = float(seconds)


@sentence("a resend is under way")
def under_way(stage: Stage) -> None:
    question = "SELECT count(*) FROM stp.resend WHERE state = 'accepted'"
    stage.turn_until(lambda: stage.value(question), "a resend under way")


@sentence("the resend of <day> is under way")
def day_under_way(stage: Stage, day: str) -> None:
    question = f"SELECT count(*) FROM stp.resend WHERE state = 'accepted' AND from_date = '{day}'"
    stage.turn_until(lambda: stage.value(question), f"the resend of {day}")


@sentence("all has healed")
def healed(stage: Stage) -> None:
    stage.turn_until(lambda: not stage.unfinished(sweeps=False), "all to heal")


@sentence("all sweeps are over")
def swept(stage: Stage) -> None:
    stage.turn_until(lambda: not stage.unfinished(), "all sweeps to end")


@sentence("a person has to look")
def escalated(stage: Stage) -> None:
    stage.turn_until(lambda: ("escalated",) in stage.gaps("state"), "an escalated gap")


@sentence("the operator asks for <day> again")
def asks(stage: Stage, day: str) -> None:
    window = Window.of(date.fromisoformat(day), date.fromisoformat(day))
    request = ManualRequest("main", window, "olga", "the desk misses a trade")
    with stage.open_work() as work:
        open_by_hand(work, stage.feed.feed_id, request, stage.clock.now())
        work.commit()


@sentence("the operator closes gap <n>")
def closes(stage: Stage, number: str) -> None:
    at = stage.clock.now()
    with stage.open_work() as work:
        work.gaps.change(int(number), state=GapState.CLOSED, closed_at=at, closed_by="olga", reason="told")
        work.gaps.drop_resends(int(number), at, "gap closed by olga")
        work.commit()


@sentence("the operator (pauses|resumes) the feed")
def pauses(stage: Stage, what: str) -> None:
    stage.resumed = what == "resumes"


@sentence("a reconciliation still shows the difference of gap <n>")
def still_differs(stage: Stage, number: str) -> None:
    with stage.open_work() as work:
        widen(work, int(number), {"break": "position of EUR/USD"}, at=stage.clock.now())
        work.commit()


@sentence("the operator approves gap <n>")
def approves(stage: Stage, number: str) -> None:
    with stage.open_work() as work:
        approve(work, int(number), feed="main", operator="olga", reason="br 17", at=stage.clock.now())
        work.commit()


@sentence("at most <n> resends a day are allowed")
def budget(stage: Stage, count: str) -> None:
    stage.healed_feed["budget_per_day"] = int(count)
    stage.poller = stage.new_poller()


@sentence("sweeps are switched on")
def sweeping(stage: Stage) -> None:
    stage.healed_feed.pop("times", None)
    stage.poller = stage.new_poller()


# What must be so


def check(found: Any, wanted: Any, what: str) -> None:
    assert found == wanted, f"{what}: {found}, not {wanted}"


@sentence("nothing is lost")
def nothing_lost(stage: Stage) -> None:
    check(stage.findings().lost, [], "lost")


@sentence("<n> trade<s> stays? lost")
def stays_lost(stage: Stage, count: str) -> None:
    check(len(stage.findings().lost), int(count), "lost")


@sentence("the book is right in every digit")
def right(stage: Stage) -> None:
    check([each for each in stage.findings().wrong if not each.startswith("gap ")], [], "wrong")


@sentence("the book holds <n> trade<s>")
def holds(stage: Stage, count: str) -> None:
    check(stage.value("SELECT count(*) FROM reporting.trade"), int(count), "trades")


@sentence("<n> trade<s> (?:was|were) recovered")
def recovered(stage: Stage, count: str) -> None:
    check(sum(row[0] for row in stage.gaps("recovered")), int(count), "recovered")


@sentence("there (?:is|are) <n> gap<s>")
def count_gaps(stage: Stage, count: str) -> None:
    question = "SELECT count(*) FROM stp.gap WHERE cause NOT IN ('sweep', 'history_sweep')"
    check(stage.value(question), int(count), "gaps")


@sentence("gap <n> is <word>")
def gap_state(stage: Stage, number: str, state: str) -> None:
    check(dict(stage.gaps("gap_id, state")).get(int(number)), state, f"gap {number}")


@sentence("gap <n> reaches from <day> to <day>")
def gap_window(stage: Stage, number: str, first: str, last: str) -> None:
    found = {row[0]: row[1:] for row in stage.gaps("gap_id, from_date::text, to_date::text")}
    check(found.get(int(number)), (first, last), f"gap {number}")


@sentence("gap <n> says <text>")
def gap_says(stage: Stage, number: str, words: str) -> None:
    why = dict(stage.gaps("gap_id, why")).get(int(number)) or ""
    assert words in why, f"gap {number} says: {why}"


@sentence("gap <n> has <n> piece<s> of evidence")
def evidence(stage: Stage, number: str, count: str) -> None:
    check(stage.value(f"SELECT jsonb_array_length(evidence) FROM stp.gap WHERE id = {number}"), int(count), "evidence")


def close_of(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(17), NEW_YORK)


@sentence("the sweep of <day> is <word>")
def sweep_is(stage: Stage, day: str, state: str) -> None:
    with stage.open_work() as work:
        found = work.sweeps.sweep_of(stage.feed.feed_id, date.fromisoformat(day), close_of(day))
    check(found.state, state, f"the sweep of {day}")


@sentence("the sweep of <day> recovered <n> and excused <n>")
def sweep_counts(stage: Stage, day: str, lost: str, excused: str) -> None:
    with stage.open_work() as work:
        found = work.sweeps.sweep_of(stage.feed.feed_id, date.fromisoformat(day), close_of(day))
    check((found.recovered, found.excused), (int(lost), int(excused)), f"the sweep of {day}")


@sentence("the history was swept from <day> to <day>")
def history(stage: Stage, first: str, last: str) -> None:
    question = "SELECT from_date::text, to_date::text FROM stp.gap WHERE cause = 'history_sweep'"
    check(rows(stage.database, question), [(first, last)], "sweeps of the history")


@sentence("a second consumer is( not)? suspected")
def suspected(stage: Stage, no: str | None) -> None:
    found = stage.value("SELECT second_consumer_since IS NOT NULL FROM stp.feed")
    check(found, no is None, "a second consumer suspected")


@sentence("the feed is <word>")
def feed_state(stage: Stage, state: str) -> None:
    check(stage.value("SELECT state FROM reporting.feed_status"), state, "the feed")


@sentence("<n> <word> break<s> (?:is|are) open")
def breaks(stage: Stage, count: str, kind: str) -> None:
    question = f"SELECT count(*) FROM stp.recon_break WHERE kind = '{kind}' AND state = 'open'"
    check(stage.value(question), int(count), f"{kind} breaks")


@sentence("no resend was asked")
def none_asked(stage: Stage) -> None:
    check(stage.vendor.resends, [], "resends")


@sentence("<day> was asked for <n> time<s>")
def asked_for(stage: Stage, day: str, times: str) -> None:
    covering = [each for each in stage.vendor.resends if each[0] <= day <= each[1]]
    check(len(covering), int(times), f"resends of {day}")


@sentence("no request left in the last <n> seconds")
def rested(stage: Stage, seconds: str) -> None:
    since = (stage.clock.now() - timedelta(seconds=int(seconds))).isoformat()
    late = [each for each in stage.vendor.world.records.requests if each.endpoint == "messages" and each.at > since]
    check(late, [], "requests")


@sentence("an incident is kept")
def incident(stage: Stage) -> None:
    check(stage.value("SELECT count(*) > 0 FROM stp.incident"), True, "an incident kept")


@sentence("the last poll ended as <word>")
def last_poll(stage: Stage, outcome: str) -> None:
    check(stage.value("SELECT outcome FROM stp.current_poll"), outcome, "the last poll")


@sentence("<n> poll<s> (?:is|are) in doubt")
def doubts(stage: Stage, count: str) -> None:
    check(stage.value("SELECT count(*) FROM stp.poll WHERE outcome = 'in_doubt'"), int(count), "polls in doubt")


@sentence("<text> was asked about by id")
def asked_by_id(stage: Stage, which: str) -> None:
    assert which == "the first trade", which
    trade_id = next(iter(stage.vendor.world.trades))
    paths = [each.path for each in stage.vendor.world.records.requests if each.endpoint == "trade"]
    assert f"/v2/trades/{trade_id}" in paths, paths
