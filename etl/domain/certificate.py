"""What can be proven about one trade day: the facts against the conditions of design §6."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

import msgspec

from etl.domain.sweeps import SweepState
from etl.domain.words import counted

NO_OPENING = "no_opening"
"""How a comparison ends while nobody has said where the book starts."""


class CertificateState(StrEnum):
    """What the certificate says."""

    COMPLETE = "COMPLETE"
    INCOMPLETE = "INCOMPLETE"
    PRELIMINARY = "PRELIMINARY"  # the day is not closed, or the queue was not emptied since it closed


class Reason(msgspec.Struct, frozen=True):
    """Why a day is not complete: a word for programs, a sentence for people, and the command that leads on."""

    reason: str
    detail: str
    command: str


class OpenGap(msgspec.Struct, frozen=True):
    """A gap over the day that is not over."""

    gap_id: int
    state: str
    why: str | None


class OpenBreak(msgspec.Struct, frozen=True):
    """A break that is open or accepted."""

    break_id: int
    kind: str
    state: str
    trade_id: str | None


class Control(msgspec.Struct, frozen=True):
    """How a comparison with the vendor stands for the day: the last run since its close, and whether one agreed.

    `why`: what that run could not do or prove, in its own words.
    """

    name: str
    wanted: bool
    run_id: int | None = None
    as_of: datetime | None = None
    result: str | None = None
    agreed: bool = False
    open_breaks: tuple[OpenBreak, ...] = ()
    why: str = ""


class DayFacts(msgspec.Struct, frozen=True):
    """Everything that decides about the trade day of one feed. `closes_at`: its end; `proven_at`: since then."""

    feed: str
    trade_date: date
    now: datetime
    closes_at: datetime
    proven_at: datetime | None
    sweep_wanted: bool
    sweep: SweepState
    sweep_why: str | None = None
    doubts: tuple[int, ...] = ()
    under_way: int | None = None
    unbooked: int = 0
    gaps: tuple[OpenGap, ...] = ()
    breaks: tuple[OpenBreak, ...] = ()
    exceptions: tuple[int, ...] = ()
    controls: tuple[Control, ...] = ()


def judge(facts: DayFacts) -> tuple[CertificateState, tuple[Reason, ...]]:
    """Return what can be said of the day, and every reason why it is not complete; none where it is (design §6)."""
    reasons = tuple(
        each for found in (_early, _polls, _gaps, _sweep, _breaks, _exceptions, _controls) for each in found(facts)
    )
    if _early(facts):
        return CertificateState.PRELIMINARY, reasons
    return (CertificateState.INCOMPLETE if reasons else CertificateState.COMPLETE), reasons


def _early(facts: DayFacts) -> list[Reason]:
    if facts.now < facts.closes_at:
        said = f"the trade day ends at {facts.closes_at.isoformat()}"
        return [Reason("not_closed", said, f"stp-etl certify --trade-date {facts.trade_date}")]
    if facts.proven_at is None:
        said = "no drain that began after the day closed has ended with the queue proven empty"
        return [Reason("not_drained", said, "stp-etl poll")]
    return []


def _polls(facts: DayFacts) -> list[Reason]:
    found = [
        Reason(
            "poll_in_doubt", f"poll {poll_id} may have carried trades of the day, and no gap covers it", "stp-etl run"
        )
        for poll_id in facts.doubts
    ]
    if facts.under_way is not None:
        said = f"nobody leads the feed, and the outcome of poll {facts.under_way} is not known"
        found.append(Reason("poll_unknown", said, "stp-etl run"))
    if facts.unbooked:
        waiting = counted(facts.unbooked, "landed answer waits", "landed answers wait")
        found.append(Reason("not_booked", f"{waiting} for booking", "stp-etl status"))
    return found


def _gaps(facts: DayFacts) -> list[Reason]:
    return [
        Reason(
            "gap", f"gap {gap.gap_id} is {gap.state}: {gap.why or 'not healed yet'}", f"stp-etl gaps show {gap.gap_id}"
        )
        for gap in facts.gaps
    ]


def _sweep(facts: DayFacts) -> list[Reason]:
    if facts.sweep in (SweepState.EQUAL, SweepState.RECOVERED):
        return []
    words = {
        SweepState.NONE: "the day was not asked again in full",
        SweepState.RUNNING: "a full resend of the day is under way",
        SweepState.SHORT: f"the sweep did not settle it: {facts.sweep_why or 'some trades did not come again'}",
    }
    said = words[facts.sweep]
    if facts.sweep is SweepState.NONE and not facts.sweep_wanted:
        said = f"{said}: reconciliation.sweep is off"
    day = facts.trade_date
    if facts.now < facts.closes_at:  # a resend that is asked now would not hold the whole day
        return [Reason("sweep", said, f"stp-etl certify --trade-date {day}")]
    return [Reason("sweep", said, f"stp-etl resend --from {day} --to {day} --reason TEXT")]


def _breaks(facts: DayFacts) -> list[Reason]:
    return [
        Reason(
            "break",
            f"{each.kind} break {each.break_id} is {each.state} and names trade {each.trade_id}",
            f"stp-etl breaks show {each.break_id}",
        )
        for each in facts.breaks
    ]


def _exceptions(facts: DayFacts) -> list[Reason]:
    return [
        Reason(
            "exception",
            f"message {number} became no trade, and is of the day or of an unreadable one",
            f"stp-etl exceptions show {number}",
        )
        for number in facts.exceptions
    ]


def _controls(facts: DayFacts) -> list[Reason]:
    found = []
    for control in facts.controls:
        if not control.wanted or control.agreed:
            continue
        for each in control.open_breaks:
            said = (
                f"{each.kind} break {each.break_id} is {each.state}, and {control.name} have not agreed since the close"
            )
            found.append(Reason(control.name, said, f"stp-etl breaks show {each.break_id}"))
        if not control.open_breaks:
            more = " --open --reason TEXT" if control.result == NO_OPENING else ""
            found.append(Reason(control.name, _without_break(control), f"stp-etl reconcile {control.name}{more}"))
    return found


def _without_break(control: Control) -> str:
    said = (
        f"{control.name} were not compared since the day closed"
        if control.run_id is None
        else f"run {control.run_id} of {control.name} ended as {control.result}"
    )
    return f"{said}: {control.why}" if control.why else said
