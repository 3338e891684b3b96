"""One resend from the request to the proof that all of it came again (design.md §4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any, Protocol

import msgspec
import structlog

from etl import metrics
from etl.clock import Clock
from etl.domain.evidence import why_unsent
from etl.domain.gaps import GapState, ResendState
from etl.domain.payload import decode
from etl.domain.sweeps import SweepTimes
from etl.domain.trade import Rejected
from etl.domain.words import counted
from etl.errors import TransientError, VendorRefusedError
from etl.store.repositories.gap_words import Counts, Proof, Resend
from etl.store.unit_of_work import OpenWork, UnitOfWork
from etl.vendor.feed import ResendAnswer, ResendOutcome, VendorReply

MOST_ASKED_BY_ID = 200
LAST_MILLISECOND = time(23, 59, 59, 999_000)
STATE_AFTER = {
    ResendOutcome.ACCEPTED: ResendState.ACCEPTED,
    ResendOutcome.REFUSED: ResendState.REFUSED,
    ResendOutcome.NOT_FOUND: ResendState.SHORT,
    ResendOutcome.NOT_SENT: ResendState.AMBIGUOUS,
    ResendOutcome.IN_DOUBT: ResendState.AMBIGUOUS,
}

log = structlog.get_logger()


class ResendSource(Protocol):
    """What a resend needs of the vendor."""

    def request_resend(self, start_at: datetime, end_at: datetime) -> ResendAnswer:
        """Ask that the trades of a range of trade dates be handed out again (A12)."""
        ...

    def trade(self, trade_id: str) -> VendorReply:
        """Return what the vendor says of one trade (A20)."""
        ...


class HealedFeed(msgspec.Struct, frozen=True):
    """What healing must know of a feed."""

    feed_id: int
    name: str
    ghost_s: float = 120.0
    eligible_after_s: float = 10.0
    days_at_once: int = 1
    budget_per_day: int = 300
    history_days: int = 31
    times: SweepTimes = SweepTimes()
    suspect_after: int = 2
    """Sweeps with losses that nothing explains, until a second consumer is suspected."""


class Ended(msgspec.Struct, frozen=True):
    """How a resend ended. `broken_off`: an answer was lost meanwhile, so that nobody can say what is absent."""

    state: ResendState
    detail: str
    counts: Counts
    proof_poll_id: int | None = None
    broken_off: bool = False


def is_verified(status: str) -> bool:
    """Return whether the vendor says that a trade stands."""
    return status.lower() == "verified"


def excused_words(excused: Mapping[str, str]) -> str:
    """Return in words why trades need not come again, by their status."""
    adopted = sum(map(is_verified, excused.values()))
    words = [f"{counted(len(excused) - adopted, 'trade is', 'trades are')} Verified no more"]
    if adopted:
        words.append(f"{counted(adopted, 'was', 'were')} never handed out, and adopted by a person")
    return "; ".join(words if len(excused) > adopted else words[1:])


class Resender:
    """Sends resends of one feed, and finds out what came of them."""

    def __init__(
        self, feed: HealedFeed, vendor: ResendSource, open_work: OpenWork, *, clock: Clock, epoch: Callable[[], int]
    ) -> None:
        self.feed, self._vendor, self._open_work = feed, vendor, open_work
        self._clock, self.epoch = clock, epoch

    def send(self, resend: Resend) -> ResendState:
        """Send the request that is written down, and write what the vendor said. It may be sent twice: same effect.

        Returns the state that the resend is in now.
        """
        window = resend.window
        start = datetime.combine(window.start, time(), UTC)
        end = datetime.combine(window.last, LAST_MILLISECOND, UTC)
        try:
            answer = self._vendor.request_resend(start, end)
        except (TransientError, VendorRefusedError) as error:
            answer = ResendAnswer(ResendOutcome.NOT_SENT, "", str(error))
        state = STATE_AFTER[answer.outcome]
        values: dict[str, Any] = {"state": state, "detail": answer.detail or None}
        with self._open_work() as work:
            work.feeds.hold_fence(self.feed.feed_id, self.epoch())
            if state is ResendState.ACCEPTED:
                values["accepted_at"] = self._clock.now()
            unsent = None
            if answer.outcome is ResendOutcome.NOT_SENT:
                values["tries"] = resend.tries - 1  # no part of the budget
                unsent = why_unsent(answer.detail) if resend.tries == 1 else None
            else:
                values["request_id"] = answer.request_id
            if state in (ResendState.REFUSED, ResendState.SHORT):
                values["ended_at"] = self._clock.now()
            work.gaps.change_resend(resend.id, **values)
            self._say_unsent(work, resend, unsent)
            work.commit()
        metrics.RESENDS.labels(self.feed.name, state).inc()
        say = log.info if state is ResendState.ACCEPTED else log.warning
        say(
            "resend.sent", feed=self.feed.name, resend_id=resend.id, gap_id=resend.gap_id, state=state,
            from_date=window.start.isoformat(), to_date=window.last.isoformat(), status=answer.status,
            detail=answer.detail,
        )  # fmt: skip
        return state

    def _say_unsent(self, work: UnitOfWork, resend: Resend, why: str | None) -> None:
        """Write with the gap why nothing has left for it yet; None: something has."""
        gap = next((each for each in work.gaps.unfinished(self.feed.feed_id) if each.id == resend.gap_id), None)
        if gap is None or gap.state != GapState.RESENDING or gap.why == why:
            return
        if work.gaps.hold(gap):  # else a person closed it just now
            work.gaps.change(gap.id, why=why)

    def send_again(self, resend: Resend) -> ResendState:
        """Send a request again whose answer nobody has seen."""
        with self._open_work() as work:
            work.feeds.hold_fence(self.feed.feed_id, self.epoch())
            work.gaps.change_resend(resend.id, state=ResendState.SENDING, tries=resend.tries + 1)
            work.commit()
        return self.send(msgspec.structs.replace(resend, tries=resend.tries + 1))

    def follow(self, work: UnitOfWork, resend: Resend) -> Ended | None:
        """Return how an accepted resend ended, or None while it is under way."""
        assert resend.accepted_at is not None
        eligible_at = resend.accepted_at + timedelta(seconds=self.feed.eligible_after_s)
        lost = work.gaps.doubt_since(self.feed.feed_id, resend.accepted_at)
        if lost is not None:
            if work.measures.waits_for_booking(self.feed.feed_id, lost):
                return None  # what came before counts too
            counts = msgspec.structs.replace(work.gaps.counts(resend, lost), absent=0)
            detail = f"the answer of poll {lost} was lost meanwhile; asked again later"
            return Ended(ResendState.SHORT, detail, counts, broken_off=True)
        proof = work.gaps.proof_since(self.feed.feed_id, eligible_at)
        if proof is None:
            return None
        counts = work.gaps.counts(resend, proof.poll_id)
        if counts.absent == 0:
            return Ended(ResendState.COMPLETE, f"proven by poll {proof.poll_id}", counts, proof.poll_id)
        detail = f"{counts.absent} of {counts.held} trades that we held did not come again"
        return Ended(ResendState.SHORT, detail, counts, proof.poll_id)

    def ask_absent(self, resend: Resend) -> tuple[dict[str, str], list[str]]:
        """Ask for the absent trades by id: return the status of those that need not come again, and all the others.

        These are the trades that are Verified no more, and those that are in the book by the vendor's word alone: what
        the queue never handed out cannot be asked of it again. Raises TransientError when the vendor does not answer: a
        failed question is not an answer (law 10).
        """
        with self._open_work() as work:
            proof = self._proof(work, resend)
            absent = work.gaps.absent(resend, proof.poll_id, MOST_ASKED_BY_ID + 1) if proof else []
            adopted = work.measures.never_handed_out(self.feed.feed_id, absent)
        if len(absent) > MOST_ASKED_BY_ID:
            return {}, absent
        excused, unexplained = dict[str, str](), list[str]()
        for trade_id in absent:
            status = self._status_of(trade_id)
            if status is None or (is_verified(status) and trade_id not in adopted):
                unexplained.append(trade_id)
            else:
                excused[trade_id] = status
        return excused, unexplained

    def say_excused(self, work: UnitOfWork, resend: Resend, excused: Mapping[str, str]) -> None:
        """Open a `status` break for each trade that the vendor says is Verified no more: a person should know.

        The same word about the same trade is said once, however often its days are asked for.
        """
        at, known = self._clock.now(), work.measures.known_status(self.feed.feed_id, list(excused))
        for trade_id, status in excused.items():
            if known.get(trade_id) == status or is_verified(status):
                continue
            evidence = {"at": at.isoformat(), "resend_id": resend.id, "status": status}
            comment = f"the vendor says {status}; found because it did not come again"
            work.attention.found(self.feed.feed_id, "status", trade_id, comment=comment, evidence=evidence, at=at)

    def _proof(self, work: UnitOfWork, resend: Resend) -> Proof | None:
        assert resend.accepted_at is not None
        eligible_at = resend.accepted_at + timedelta(seconds=self.feed.eligible_after_s)
        return work.gaps.proof_since(self.feed.feed_id, eligible_at)

    def _status_of(self, trade_id: str) -> str | None:
        """Return the vendor's word about one trade; None where it gives none (a 404 proves nothing, law 10)."""
        try:
            reply = self._vendor.trade(trade_id)
        except VendorRefusedError as error:
            log.warning("resend.question_failed", feed=self.feed.name, trade_id=trade_id, error=str(error))
            return None
        payload = decode(reply.body) if reply.status == 200 else None
        if payload is None or isinstance(payload, Rejected) or payload.get("tradeId") != trade_id:
            return None
        status = payload.get("status")
        return status if isinstance(status, str) else None
