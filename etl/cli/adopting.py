"""`stp-etl breaks resolve --adopt`: book the vendor's own answer about the trades that breaks name, and close them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from etl.app import App
from etl.cli.output import remark
from etl.controls.adoption import words_of
from etl.controls.questions import FOUND, Asked, Asker, Unanswered
from etl.domain.adoption import BY_A_PERSON, Adoption, Effect
from etl.domain.reconciliation import BreakState
from etl.errors import EtlError
from etl.pipeline.adopt import Adopter
from etl.reconcile import reconciled
from etl.store.repositories.attention import Deed
from etl.store.unit_of_work import UnitOfWork


def adopt(app: App, feeds: Mapping[int, str], *, operator: str, reason: str) -> None:
    """Ask about the trade of each break, then book all answers and resolve all breaks in one commit, or none.

    `feeds`: the feed of each break. Raises EtlError with every break of which that cannot be done.
    """
    with app.open_work() as work:
        trades = trades_of(work, list(feeds))
    answers = {number: asked_about(app, feeds[number], trade_id) for number, trade_id in trades.items()}
    at = app.clock.now()
    with app.open_work() as work:
        done = {
            number: Adopter(app.feed(feeds[number]).booked_feed, app.clock)(
                work, trades[number], asked.reply.body, answered_at=at, allowed=BY_A_PERSON
            )
            for number, asked in answers.items()
        }
        refuse_any(done)
        for number, adoption in done.items():
            deed = Deed(at, operator, "breaks adopted", reason, feeds[number], f"break {number}")
            resolve(work, number, adoption, answers[number], deed, trade_id=trades[number])
        work.commit()
    for number, adoption in done.items():
        what = "as the book says already" if adoption.version is None else f"booked as version {adoption.version}"
        changed = f": {', '.join(adoption.changed)}" if adoption.changed and adoption.version is not None else ""
        remark(f"break {number} is resolved: the vendor's word about {trades[number]} is {what}{changed}")


def trades_of(work: UnitOfWork, numbers: Sequence[int]) -> dict[int, str]:
    """Return the trade that each break names; raise EtlError with those that name none."""
    known = {each.id: each.trade_id for each in work.breaks.known(None, ids=numbers)}
    without = [number for number in numbers if known[number] is None]
    if without:
        raise EtlError(
            "; ".join(f"break {number} names no single trade, so there is no answer to adopt" for number in without)
            + "; nothing was changed; look which breaks name one: stp-etl breaks list --kind status"
        )
    return {number: trade_id for number, trade_id in known.items() if trade_id is not None}


def asked_about(app: App, feed: str, trade_id: str) -> Asked:
    """Return the vendor's answer about a trade, kept as it came; raise EtlError where there is none (law 10)."""
    runtime = app.feed(feed)
    asker = Asker(reconciled(app.settings, runtime), app.open_work, app.clock, None)
    asked = asker.ask("trade", trade_id, lambda: runtime.vendor.trade(trade_id))
    if isinstance(asked, Unanswered):
        raise EtlError(f"asked about {trade_id}, the vendor did not answer: {asked.why}; nothing was changed")
    if asked.reply.status != FOUND:
        said = asked.reply.status
        raise EtlError(f"asked about {trade_id}, the vendor answered {said}, which proves nothing; nothing was changed")
    return asked


def refuse_any(done: Mapping[int, Adoption]) -> None:
    """Raise EtlError with every answer that cannot be booked."""
    refused = [
        f"break {number}: {words_of(adoption, number, None)}"
        for number, adoption in done.items()
        if adoption.effect in (Effect.OTHER_TRADE, Effect.UNREADABLE)
    ]
    if refused:
        raise EtlError(f"{'; '.join(refused)}; nothing was changed")


def resolve(
    work: UnitOfWork, number: int, adoption: Adoption, asked: Asked, deed: Deed, *, trade_id: str
) -> None:  # fmt: skip
    """Keep what was adopted with the break and in the audit, and close the break."""
    figures = {
        "trade_id": trade_id, "version": adoption.version, "changed": list(adoption.changed), "effect": adoption.effect,
        "sha256": asked.citation.sha256,
    }  # fmt: skip
    closing = {"closed_at": deed.at, "closed_by": deed.operator, "reason": deed.reason, "accepted_until": None}
    work.breaks.change(number, state=BreakState.RESOLVED, **closing)
    reply_id = asked.citation.reply_id
    for what in ("adopted", "resolved") if adoption.version is not None else ("resolved",):
        work.breaks.event(
            number, what, at=deed.at, by=deed.operator, note=deed.reason, figures=figures, reply_id=reply_id
        )  # fmt: skip
    work.attention.record(msgspec.structs.replace(deed, details={**figures, "reply_id": reply_id}))
