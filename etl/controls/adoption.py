"""Adopts the vendor's word that a trade stands no more: positions are right at once, a person is told (law 9)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Protocol

import structlog

from etl.clock import Clock
from etl.controls.questions import FOUND, Asked, Asker, ReconciledFeed, Unanswered
from etl.domain.adoption import BY_ITSELF, Adoption, Effect
from etl.domain.fills_answer import trade_in
from etl.domain.position_answer import Unreadable
from etl.errors import BookingHeldError
from etl.store.repositories.investigating import SaidOtherwise
from etl.store.unit_of_work import OpenWork, UnitOfWork
from etl.vendor.feed import VendorQuestions

AGAIN_AFTER_S = 60.0  # a question without an answer

log = structlog.get_logger()


class Adopt(Protocol):
    """Books the vendor's answer about one trade, where its effect is allowed. Raises BookingHeldError."""

    def __call__(
        self, work: UnitOfWork, trade_id: str, body: bytes, *, answered_at: datetime, allowed: Collection[Effect]
    ) -> Adoption: ...


class AdoptionControl:
    """Asks about each trade of a `status` break that still counts, and books the answer where law 9 lets it."""

    def __init__(
        self, feed: ReconciledFeed, vendor: VendorQuestions, open_work: OpenWork, *, clock: Clock,
        epoch: Callable[[], int], adopt: Adopt, by_itself: bool,
    ) -> None:  # fmt: skip
        self._feed, self._vendor, self._open_work, self._clock = feed, vendor, open_work, clock
        self._epoch, self._adopt, self._by_itself = epoch, adopt, by_itself
        self._not_before = float("-inf")

    def run(self, run_id: int | None = None) -> list[str]:
        """Return the trades that were adopted. Raises FenceLostError where another instance leads the feed."""
        if not self._by_itself or self._clock.monotonic() < self._not_before:
            return []
        with self._open_work() as work:
            waiting = work.investigating.statuses(self._feed.feed_id, self._feed.calls)
        asker = Asker(self._feed, self._open_work, self._clock, run_id)
        adopted = []
        for each in waiting:
            try:
                done = self._ask(asker, each, run_id)
            except BookingHeldError:  # said when it began, and by `status`
                done = None
            if done is None:
                self._not_before = self._clock.monotonic() + AGAIN_AFTER_S
                break
            adopted += [each.trade_id] if done.version is not None else []
        return adopted

    def _ask(self, asker: Asker, each: SaidOtherwise, run_id: int | None) -> Adoption | None:
        """Return what came of one trade; None where the vendor did not answer."""
        asked = asker.ask("trade", each.trade_id, lambda: self._vendor.trade(each.trade_id))
        if isinstance(asked, Unanswered):
            return None
        at, citation = self._clock.now(), asked.citation
        with self._open_work() as work:
            work.feeds.hold_fence(self._feed.feed_id, self._epoch())
            adoption, words = self._adopted(work, each, asked, at)
            values: dict[str, object] = {"investigated_at": at, "investigation": {"sha256": citation.sha256}}
            if adoption.version is not None:
                values["explained_by"] = f"booked as version {adoption.version}; positions are corrected"
            work.breaks.change(each.break_id, **values)
            if adoption.version is not None or (each.investigation or {}).get("sha256") != citation.sha256:
                work.breaks.event(
                    each.break_id, "adopted" if adoption.version is not None else "step", at=at, note=words,
                    figures={"trade_id": each.trade_id, "version": adoption.version, "changed": adoption.changed},
                    run_id=run_id, reply_id=citation.reply_id,
                )  # fmt: skip
            work.commit()
        if adoption.version is not None:
            log.warning(
                "break.adopted", feed=self._feed.name, break_id=each.break_id, trade_id=each.trade_id,
                version=adoption.version,
            )  # fmt: skip
        return adoption

    def _adopted(self, work: UnitOfWork, each: SaidOtherwise, asked: Asked, at: datetime) -> tuple[Adoption, str]:
        """Adopt the answer where it may be; return what came of it, and a sentence for a person."""
        if asked.reply.status != FOUND:
            words = f"asked about {each.trade_id}, the vendor answered {asked.reply.status}, which proves nothing"
            return Adoption(Effect.UNREADABLE), words
        adoption = self._adopt(work, each.trade_id, asked.reply.body, answered_at=at, allowed=BY_ITSELF)
        said = trade_in(asked.reply.body, each.trade_id)
        status = None if isinstance(said, Unreadable) else said.status
        return adoption, words_of(adoption, each.break_id, status)


def words_of(adoption: Adoption, break_id: int, status: str | None) -> str:
    """Return what was done with the vendor's answer, and what a person is to do."""
    adopt = f"stp-etl breaks resolve {break_id} --adopt --reason TEXT"
    match adoption.effect:
        case Effect.STATUS:
            return (
                f"the vendor says {status}; booked as version {adoption.version}, positions are corrected; acknowledge "
                f"it: stp-etl breaks resolve {break_id} --reason TEXT"
            )
        case Effect.SAME:
            return f"asked about this trade, the vendor says {status or 'no status'}, as the book does"
        case Effect.NEW | Effect.ECONOMICS:
            return f"the vendor says other economics: {', '.join(adoption.changed)}; if they are right: {adopt}"
        case Effect.OTHER_TRADE:
            return f"the vendor names another trade by this id: it differs in {', '.join(adoption.changed)}"
        case Effect.UNREADABLE:
            return f"the vendor's answer is no trade that can be booked: {adoption.why}"
