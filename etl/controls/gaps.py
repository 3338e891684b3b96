"""Heals gaps: asks for the days that may lack trades, one resend at a time, until all of them have come again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog

from etl.clock import Clock
from etl.controls.resend import Ended, HealedFeed, Resender
from etl.domain.gaps import GapCause, GapState, ResendState
from etl.domain.window import Window
from etl.store.repositories.gaps import Gap, Resend
from etl.store.unit_of_work import OpenWork, UnitOfWork

TRIES = 3
BUDGET_PAUSE = timedelta(hours=1)
AGAIN_AFTER_S = 5.0  # a request whose answer nobody saw

log = structlog.get_logger()


class Healer:
    """Takes the gaps of one feed one step further at each call; all state is in the database."""

    def __init__(self, feed: HealedFeed, resender: Resender, open_work: OpenWork, clock: Clock) -> None:
        self._feed, self._resender, self._open_work, self._clock = feed, resender, open_work, clock
        self._not_again_before = 0.0
        self.wants_proof = True
        """Whether the end of the next drain will be cited, so that even an idle empty answer is kept."""

    def step(self) -> Mapping[str, int]:
        """Follow the resend under way, or ask for the next days of the gap that may be asked for now.

        Returns the counts of what ended. Raises FenceLostError where another instance leads the feed.
        """
        with self._open_work() as work:
            resend = work.gaps.in_flight(self._feed.feed_id)
            gaps = work.gaps.unfinished(self._feed.feed_id)
            empty_at = work.polls.last_empty_at(self._feed.feed_id)
        self.wants_proof = resend is not None or bool(gaps)
        if resend is not None:
            return self._follow(resend)
        now = self._clock.now()
        for gap in gaps:
            if gap.left is None:
                self._heal(gap)
                return {"healed": 1}
            polled_well = empty_at is not None and empty_at > gap.doubted_at
            if now < gap.not_before or not (polled_well or gap.cause == GapCause.OPERATOR):
                self._say_waiting(gap)
            elif self._may_ask(gap):
                self._ask(gap, gap.left)
                return {"asked": 1}
        return {}

    def _follow(self, resend: Resend) -> Mapping[str, int]:
        match resend.state:
            case ResendState.SENDING | ResendState.AMBIGUOUS:  # sending: by a process that ended before the answer
                if self._clock.monotonic() >= self._not_again_before:
                    self._not_again_before = self._clock.monotonic() + AGAIN_AFTER_S
                    self._resender.send_again(resend)
                return {}
            case ResendState.ACCEPTED | ResendState.DRAINING:
                with self._open_work() as work:
                    ended = self._resender.follow(work, resend)
                return {} if ended is None else self._end(resend, ended)
            case _:
                return {}

    def _end(self, resend: Resend, ended: Ended) -> Mapping[str, int]:
        """Write how the resend ended, and what that means for its gap."""
        excused, unexplained = 0, list[str]()
        with self._open_work() as work:
            gap = self._gap_of(work, resend)
            asked = [] if gap is None else work.gaps.last_of(gap.id, resend.window)
        if ended.counts is not None and ended.counts.absent and len(asked) >= TRIES:
            excused, unexplained = self._resender.excused(resend)
            if not unexplained:
                ended = Ended(ResendState.COMPLETE, f"{excused} trades are Verified no more", ended.counts)
        with self._open_work() as work:
            work.feeds.hold_fence(self._feed.feed_id, self._resender.epoch())
            counts = ended.counts
            work.gaps.change_resend(
                resend.id, state=ended.state, detail=ended.detail, ended_at=self._clock.now(), excused=excused,
                received=counts.received if counts else 0, recovered=counts.recovered if counts else 0,
                duplicates=counts.duplicates if counts else 0, absent=counts.absent - excused if counts else 0,
            )  # fmt: skip
            if gap is not None:
                self._move_on(work, gap, resend, ended, earlier=asked[:-1], unexplained=unexplained)
            work.commit()
        log.info(
            "resend.ended", feed=self._feed.name, resend_id=resend.id, state=ended.state, detail=ended.detail,
            recovered=counts.recovered if counts else 0,
        )  # fmt: skip
        return {"resends_ended": 1, "recovered": counts.recovered if counts else 0}

    def _move_on(
        self, work: UnitOfWork, gap: Gap, resend: Resend, ended: Ended, *, earlier: list[Resend], unexplained: list[str]
    ) -> None:  # fmt: skip
        """Let the gap go on with its next days, ask the same ones again, or wait for a person."""
        now, counts = self._clock.now(), ended.counts
        if counts is not None:
            work.gaps.count(gap.id, recovered=counts.recovered, already_known=counts.duplicates)
        if unexplained:
            self._escalate(work, gap, f"{', '.join(unexplained[:10])} did not come again, and are said to be Verified")
        elif ended.state is not ResendState.COMPLETE:
            pause_s = self._feed.ghost_s if counts is None else self._feed.eligible_after_s
            work.gaps.change(
                gap.id, state=GapState.WAITING, not_before=now + timedelta(seconds=pause_s), why=ended.detail
            )
        elif counts is not None and counts.held == 0 and not _asked_before(earlier, now, self._feed.ghost_s):
            why = "we hold no trade of these days, so they are asked for twice"
            pause = timedelta(seconds=self._feed.ghost_s)
            work.gaps.change(gap.id, state=GapState.WAITING, not_before=now + pause, why=why)
        else:
            work.gaps.change(gap.id, healed_before=resend.window.end, state=GapState.OPEN, why=None)

    def _ask(self, gap: Gap, left: Window) -> None:
        """Write the request down, then send it."""
        with self._open_work() as work:
            work.feeds.hold_fence(self._feed.feed_id, self._resender.epoch())
            window = self._next_days(work, left)
            work.gaps.change(gap.id, state=GapState.RESENDING, why=None)
            reason = f"gap {gap.id}: {gap.cause}"
            resend = work.gaps.request(gap, window, at=self._clock.now(), by="stp-etl", reason=reason)
            work.commit()
        self._resender.send(resend)
        self._judge_refusal(gap, resend)

    def _judge_refusal(self, gap: Gap, resend: Resend) -> None:
        """Escalate a refusal; a 404 means that there is nothing only where we hold nothing, and it came twice (A12)."""
        with self._open_work() as work:
            asked = work.gaps.last_of(gap.id, resend.window)
            if not asked or asked[-1].state not in (ResendState.REFUSED, ResendState.SHORT):
                return
            work.feeds.hold_fence(self._feed.feed_id, self._resender.epoch())
            held, now = work.gaps.held_in(self._feed.feed_id, resend.window), self._clock.now()
            if asked[-1].state == ResendState.REFUSED or held:
                detail = asked[-1].detail or "no reason given"
                if held and asked[-1].state == ResendState.SHORT:
                    detail = f"404 although we hold {held} trades of these days"
                self._escalate(work, gap, f"the vendor refused resend {resend.id}: {detail}")
            elif _asked_before(asked[:-1], now, self._feed.ghost_s):
                work.gaps.change_resend(resend.id, state=ResendState.COMPLETE, detail="404 twice, and we hold none")
                work.gaps.change(gap.id, healed_before=resend.window.end, state=GapState.OPEN, why=None)
            else:
                pause = timedelta(seconds=self._feed.ghost_s)
                why = "404: nothing in these days, perhaps; they are asked for twice"
                work.gaps.change(gap.id, state=GapState.WAITING, not_before=now + pause, why=why)
            work.commit()

    def _next_days(self, work: UnitOfWork, left: Window) -> Window:
        """Return the days to ask for next: few at once, but all days in a row of which we hold nothing together."""
        pieces = list(left.pieces(self._feed.days_at_once))
        chosen = pieces[0]
        if work.gaps.held_in(self._feed.feed_id, chosen):
            return chosen
        for piece in pieces[1:]:
            if work.gaps.held_in(self._feed.feed_id, piece):
                break
            chosen = chosen.with_(piece)
        return chosen

    def _may_ask(self, gap: Gap) -> bool:
        """Return whether today's budget allows one more request; else say so and try again in an hour."""
        now = self._clock.now()
        with self._open_work() as work:
            spent = work.gaps.requests_since(self._feed.feed_id, now - timedelta(days=1))
            if spent < self._feed.budget_per_day:
                return True
            why = f"the budget of {self._feed.budget_per_day} resends a day is used up; tried again every hour"
            work.gaps.change(gap.id, not_before=now + BUDGET_PAUSE, state=GapState.WAITING, why=why)
            work.commit()
        log.error("gap.budget_used_up", feed=self._feed.name, gap_id=gap.id, spent=spent)
        return False

    def _heal(self, gap: Gap) -> None:
        with self._open_work() as work:
            work.feeds.hold_fence(self._feed.feed_id, self._resender.epoch())
            work.gaps.change(gap.id, state=GapState.HEALED, closed_at=self._clock.now(), why=None)
            work.commit()
        log.info("gap.healed", feed=self._feed.name, gap_id=gap.id)

    def _escalate(self, work: UnitOfWork, gap: Gap, why: str) -> None:
        work.gaps.change(gap.id, state=GapState.ESCALATED, why=why)
        log.error("gap.escalated", feed=self._feed.name, gap_id=gap.id, why=why)

    def _say_waiting(self, gap: Gap) -> None:
        if gap.state == GapState.OPEN:
            with self._open_work() as work:
                work.gaps.change(gap.id, state=GapState.WAITING)
                work.commit()

    def _gap_of(self, work: UnitOfWork, resend: Resend) -> Gap | None:
        """Return the gap of a resend; None when a person closed it meanwhile."""
        return next((gap for gap in work.gaps.unfinished(self._feed.feed_id) if gap.id == resend.gap_id), None)


def _asked_before(earlier: list[Resend], now: datetime, ghost_s: float) -> bool:
    """Return whether the same days were asked for before, so long ago that no ghost is left of that time (A22)."""
    return any((now - resend.requested_at).total_seconds() >= ghost_s for resend in earlier)
