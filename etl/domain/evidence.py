"""Why a gap is there, what was asked for it and what came of it, as sentences for a person (design.md §4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any

from etl.domain.calendar import DATED_AHEAD
from etl.domain.gaps import MARGIN, ResendState
from etl.domain.window import Window
from etl.domain.words import counted

Evidence = Mapping[str, Any]
"""One piece of `stp.gap.evidence`, as JSON holds it."""

NOT_ASKED_YET = "not asked for yet: as soon as no other gap comes first and no request given up on can still act"
CAUSES: Mapping[str, str] = MappingProxyType(
    {
        "killed": "its sender ended before the answer was known",
        "timeout": "no answer came in time",
        "reset": "the connection broke before the answer had come",
        "cut": "the answer broke off",
        "not_http": "what came back was no HTTP answer",
        "too_large": "the answer was larger than may be taken",
        "unreadable": "the answer could not be read",
        "foreign_request_id": "the answer named another request than ours",
        "redirect": "the answer pointed to another address",
    }
)


def moment(at: datetime) -> str:
    """Return an instant in UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def why_doubted(evidence: Evidence) -> tuple[str, ...]:
    """Return one piece of evidence as sentences; what no sentence is known for is told by name and value."""
    for key, tell in TELLERS:
        if key in evidence:
            return tell(evidence)
    return ("; ".join(f"{name} {value}" for name, value in evidence.items() if name != "at"),)


def why_asked(resends: Sequence[Mapping[str, Any]], doubts: Sequence[Evidence]) -> list[str | None]:
    """Return for each resend of a gap, in their order, why its days were asked for again; None for the first time.

    `resends`: rows of `reporting.resend`; `doubts`: the evidence of the gap.
    """
    doubted = [datetime.fromisoformat(each["at"]) for each in doubts if "at" in each]
    return [_why_again(resends[:place], each, doubted) for place, each in enumerate(resends)]


def why_ghost(request_id: str, until: datetime) -> str:
    """Return the words for a gap that waits for a ghost: the vendor may still execute a request, and swallow trades."""
    return f"the request {request_id} was given up on and may still be executed until {moment(until)} (ghost_s)"


def why_unsent(detail: str) -> str:
    """Return the words for a gap whose request could not leave: the vendor was not asked anything."""
    return f"not asked yet, because nothing could be sent: {detail}; tried again"


def why_healed(window: Window, *, resends: int, recovered: int, known: int) -> str:
    """Return why a gap is healed: what came again, and how many trades of it had been lost."""
    days = f"{window.start}" if window.days == 1 else f"every day from {window.start} to {window.last}"
    came = f"{counted(resends, 'resend')} complete, {counted(recovered, 'trade')} recovered, {known} known already"
    return f"{days} came again in full: {came}"


def why_twice(second_at: datetime) -> str:
    """Return the words for days of which we hold no trade: one answer that brings nothing proves nothing."""
    return f"they are asked for twice, the second time at {moment(second_at)}"


def _doubt(evidence: Evidence) -> tuple[str, ...]:
    cause = str(evidence.get("cause"))
    status = f"the vendor answered {cause.removeprefix('http_')}" if cause.startswith("http_") else cause
    page = f"one page of at most {evidence['max_count']} trades" if "max_count" in evidence else "one page of trades"
    told = [
        f"Poll {evidence['poll_id']} (X-Request-ID {evidence.get('request_id')}) is in doubt: "
        f"{CAUSES.get(cause, status)}. The vendor may have handed out {page} that we never got."
    ]
    if "unreadable" in evidence:
        told.append(f"The bytes that nobody could read have the SHA-256 {evidence['unreadable']}.")
    return (*told, *_days(evidence))


def _days(evidence: Evidence) -> tuple[str, ...]:
    """Return how the days of the gap follow from what was known then; see `window_of`."""
    if "doubt_from" not in evidence:
        return ()
    known = [
        f"{evidence['doubt_from']} (the queue was last proven empty then; or days from then on were being asked again, "
        "or it never was empty before and history_days reach back to it)"
    ]
    if evidence.get("oldest_landed") is not None:
        known.append(f"{evidence['oldest_landed']} (the oldest trade date that landed since)")
    if "lateness_days" in evidence:
        late = evidence["lateness_days"]
        known.append(f"{evidence['today']} less {late} days (the greatest lateness of a trade seen in 90 days)")
    begin = f"the oldest of {', '.join(known)}" if known[1:] else known[0]
    words = f"Its trades may be of any day from {begin}, less {MARGIN.days} day"
    if "today" in evidence:
        words += f", to {DATED_AHEAD.days} days after {evidence['today']}"
    return (f"{words}.", *_window(evidence))


def _window(evidence: Evidence) -> tuple[str, ...]:
    if "from" not in evidence:
        return ()
    window = Window.of(date.fromisoformat(evidence["from"]), date.fromisoformat(evidence["to"]))
    return (f"That makes {window.days} days: {window.start} to {window.last}.",)


def _older(evidence: Evidence) -> tuple[str, ...]:
    return (
        f"What landed before in the same drain holds a trade of {evidence['oldest_booked']}; the lost page may be as "
        f"old, so the gap begins on {evidence['from']}.",
    )


def _sweep(evidence: Evidence) -> tuple[str, ...]:
    if evidence["sweep"] == "closed trade date":
        return ("Nothing is known to be missing: the closed trade date is asked for again in full, once.",)
    return (
        f"Nothing is known to be missing: {evidence['sweep']} may have carried older trades than their gaps reach, so "
        "the history is asked for again once.",
    )


def _fills(evidence: Evidence) -> tuple[str, ...]:
    trades = ", ".join(evidence.get("trade_ids", ()))
    answer = f" (answer {evidence['reply_id']})" if evidence.get("reply_id") is not None else ""
    return (f"The vendor lists trade {trades} under order {evidence['order_id']}{answer}, and the book lacks it.",)


def _position(evidence: Evidence) -> tuple[str, ...]:
    return (
        f"Break {evidence['break_id']} ({evidence['key']}): the vendor's position differs by {evidence['difference']}, "
        "and nothing else explained it; see: stp-etl breaks show "
        f"{evidence['break_id']}",
    )


def _operator(evidence: Evidence) -> tuple[str, ...]:
    return (f"{evidence['by']} asks for these days: {evidence.get('reason')}",)


def _approved(evidence: Evidence) -> tuple[str, ...]:
    return (f"{evidence['approved by']} approved that more days are asked for: {evidence.get('reason')}",)


def _failover(evidence: Evidence) -> tuple[str, ...]:
    return (f"The database lost commits, or may have ({evidence['cause']}), and with them trades that had landed.",)


TELLERS: tuple[tuple[str, Callable[[Evidence], tuple[str, ...]]], ...] = (
    ("poll_id", _doubt), ("oldest_booked", _older), ("sweep", _sweep), ("order_id", _fills), ("break_id", _position),
    ("approved by", _approved), ("by", _operator), ("cause", _failover),
)  # fmt: skip
"""By the key that only this kind of evidence has, in the order in which they are looked for."""


def _why_again(earlier: Sequence[Mapping[str, Any]], resend: Mapping[str, Any], doubted: list[datetime]) -> str | None:
    same = [each for each in earlier if _overlap(each, resend)]
    if not same:
        return None
    last = same[-1]
    between = [at for at in doubted if last["requested_at"] < at <= resend["requested_at"]]
    if between:
        return f"new evidence of {moment(between[-1])} reopened these days"
    if last["state"] == ResendState.COMPLETE or "404" in (last["detail"] or ""):
        return f"we held no trade of these days, so two resends must agree: {last['resend_id']} was the first"
    return f"resend {last['resend_id']} ended as {last['state']}: {last['detail'] or 'not all came again'}"


def _overlap(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one["from_date"] <= other["to_date"] and other["from_date"] <= one["to_date"])
