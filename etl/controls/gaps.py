"""Heals gaps: asks for the days that may lack trades, one resend at a time, until all of them have come again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

import structlog

from etl import metrics
from etl.clock import Clock
from etl.controls.asking import BUDGET_PAUSE, asked_before, budget_allows, next_days, sweep_waits_for, waits_for
from etl.controls.resend import Ended, HealedFeed, Resender, excused_words
from etl.controls.sweep import judged
from etl.domain.evidence import NOT_ASKED_YET, why_healed, why_twice
from etl.domain.gaps import MARGIN, GapCause, GapState, ResendState
from etl.domain.sweeps import SWEEPS
from etl.domain.window import Window
from etl.domain.words import counted
from etl.errors import TransientError
from etl.store.repositories.gap_words import Gap, Ghost, Resend
from etl.store.unit_of_work import OpenWork, UnitOfWork

TRIES = 3
MOST_AT_ONCE = 100  # steps in a row, so that a stop is heard
AGAIN_AFTER_S = 5.0  # a request whose answer nobody saw; doubled each time
AGAIN_AT_LATEST_S = 600.0

log = structlog.get_logger()


class Healer:
    """Takes the gaps of one feed one step further at each call; all state is in the database."""

    def __init__(self, feed: HealedFeed, resender: Resender, open_work: OpenWork, clock: Clock) -> None:
        self._feed, self._resender, self._open_work, self._clock = feed, resender, open_work, clock
        self._pause_s = self._not_again_before = 0.0
        self.wants_proof = True
        """Whether the end of the next drain will be cited, so that even an idle empty answer is kept."""

    def take(self, feed: HealedFeed) -> None:
        """Go on with these settings of the same feed."""
        self._feed = self._resender.feed = feed

    def step(self) -> Mapping[str, int]:
        """Go on until the rest has to wait: for the vendor, for a poll, for a ghost.

        Returns the counts of what ended. Raises FenceLostError where another instance leads the feed.
        """
        done = Counter[str]()
        for _ in range(MOST_AT_ONCE):
            counts = self._one_step()
            done.update(counts)
            if not any(counts.values()):
                break
        return done

    def _one_step(self) -> Mapping[str, int]:
        """Follow the resend under way, or ask for the next days of the gap that may be asked for now."""
        now = self._clock.now()
        with self._open_work() as work:
            self.wants_proof = work.measures.anything_to_heal(self._feed.feed_id)
            if not self.wants_proof:  # mostly, and this is asked every second
                return {}
            resend = work.gaps.in_flight(self._feed.feed_id)
            gaps = work.gaps.unfinished(self._feed.feed_id)
            empty_at = work.polls.last_empty_at(self._feed.feed_id)
            ghost = self._ghost_about(work)
        if resend is not None:
            return self._follow(resend) if self._clock.monotonic() >= self._not_again_before else {}
        lossy = next((gap for gap in gaps if gap.cause not in SWEEPS), None)
        for gap in gaps:
            if gap.left is None:
                return {"healed": self._heal(gap)}
            why = sweep_waits_for(self._feed, gap, lossy=lossy, now=now) if gap.cause in SWEEPS else None
            why = why or waits_for(gap, ghost, now=now, ghost_s=self._feed.ghost_s, empty_at=empty_at)
            if why is not None:
                self._say_waiting(gap, why)
            elif self._reaches_back(gap) and budget_allows(self._open_work, self._feed, gap, now):
                return {"asked": self._ask(gap, gap.left)}
        return {}

    def _follow(self, resend: Resend) -> Mapping[str, int]:
        if resend.state in (ResendState.SENDING, ResendState.AMBIGUOUS):  # sending: by a process that ended before
            with self._open_work() as work:
                gap = self._gap_of(work, resend)
            if gap is not None and not budget_allows(
                self._open_work, self._feed, gap, self._clock.now(), meanwhile=GapState.RESENDING
            ):
                self._not_again_before = self._clock.monotonic() + BUDGET_PAUSE.total_seconds()
                return {}
            self._judge(resend, self._resender.send_again(resend))
            return {}
        with self._open_work() as work:
            ended = self._resender.follow(work, resend)
        return {} if ended is None else self._end(resend, ended)

    def _end(self, resend: Resend, ended: Ended) -> Mapping[str, int]:
        """Write how the resend ended, and what that means for its gap."""
        excused, unexplained = dict[str, str](), list[str]()
        with self._open_work() as work:
            gap = self._gap_of(work, resend)
            earlier = [] if gap is None else work.gaps.last_of(gap.id, resend.window)[:-1]
        counts = ended.counts
        last_try = sum(each.absent > 0 for each in earlier) + 1 >= TRIES
        if counts.absent and (last_try or (gap is not None and gap.cause in SWEEPS)):
            excused, unexplained = self._ask_absent(resend)
            if not unexplained:
                ended = Ended(ResendState.COMPLETE, excused_words(excused), counts, ended.proof_poll_id)
            elif not last_try:
                excused, unexplained = {}, []  # it is asked for again first
        with self._open_work() as work:
            work.feeds.hold_fence(self._feed.feed_id, self._resender.epoch())
            if gap is not None and not work.gaps.hold(gap):
                return {}  # a person closed it just now
            work.gaps.change_resend(
                resend.id, state=ended.state, detail=ended.detail, ended_at=self._clock.now(), excused=len(excused),
                proof_poll_id=ended.proof_poll_id, received=counts.received, recovered=counts.recovered,
                duplicates=counts.duplicates, absent=counts.absent - len(excused),
            )  # fmt: skip
            self._resender.say_excused(work, resend, excused)
            if gap is not None:
                self._move_on(work, gap, resend, ended, earlier=earlier, unexplained=unexplained)
            work.commit()
        metrics.RESENDS.labels(self._feed.name, ended.state).inc()
        log.info(
            "resend.ended", feed=self._feed.name, resend_id=resend.id, state=ended.state, detail=ended.detail,
            recovered=counts.recovered,
        )  # fmt: skip
        return {"resends_ended": 1, "recovered": counts.recovered}

    def _ask_absent(self, resend: Resend) -> tuple[dict[str, str], list[str]]:
        try:
            return self._resender.ask_absent(resend)
        except TransientError:
            self._pause()
            raise

    def _move_on(
        self, work: UnitOfWork, gap: Gap, resend: Resend, ended: Ended, *, earlier: list[Resend], unexplained: list[str]
    ) -> None:  # fmt: skip
        """Let the gap go on with its next days, ask the same ones again, or wait for a person."""
        now, counts = self._clock.now(), ended.counts
        work.gaps.count(gap.id, recovered=counts.recovered, already_known=counts.duplicates)
        if unexplained:
            names = ", ".join(unexplained[:10]) + (f" and {len(unexplained) - 10} more" if unexplained[10:] else "")
            self._escalate(
                work, gap, f"did not come again, and the vendor does not say that they stopped being Verified: {names}"
            )
        elif ended.state is not ResendState.COMPLETE:
            pause_s = self._feed.ghost_s if ended.broken_off else self._feed.eligible_after_s
            work.gaps.change(
                gap.id, state=GapState.WAITING, not_before=now + timedelta(seconds=pause_s), why=ended.detail
            )
        elif counts.held == 0 and not asked_before(earlier, now, self._feed.ghost_s):
            second_at = now + timedelta(seconds=self._feed.ghost_s)
            why = f"we hold no trade of these days, so {why_twice(second_at)}"
            work.gaps.change(gap.id, state=GapState.WAITING, not_before=second_at, why=why)
        else:
            work.gaps.change(gap.id, healed_before=resend.window.end, state=GapState.OPEN, why=NOT_ASKED_YET)

    def _ask(self, gap: Gap, left: Window) -> int:
        """Write the request down, then send it; return how many were sent."""
        with self._open_work() as work:
            work.feeds.hold_fence(self._feed.feed_id, self._resender.epoch())
            work.gaps.lock(self._feed.feed_id)
            if self._ghost_about(work) or not work.gaps.hold(gap):
                return 0
            window = next_days(work, self._feed, left)
            work.gaps.change(gap.id, state=GapState.RESENDING, why=None)
            work.gaps.queue_behind(gap, self._clock.now())
            by, reason = work.gaps.asked_by(gap)
            resend = work.gaps.request(gap, window, at=self._clock.now(), by=by, reason=reason)
            work.commit()
        self._judge(resend, self._resender.send(resend))
        return 1

    def _judge(self, resend: Resend, state: ResendState) -> None:
        """Escalate a refusal; a 404 means that there is nothing only where we hold nothing, and it came twice (A12)."""
        if state is ResendState.AMBIGUOUS:
            self._pause()
            return
        self._pause_s = 0.0
        if state is ResendState.ACCEPTED:
            return
        with self._open_work() as work:
            work.feeds.hold_fence(self._feed.feed_id, self._resender.epoch())
            gap = self._gap_of(work, resend)
            if gap is None or not work.gaps.hold(gap):
                return
            asked = work.gaps.last_of(gap.id, resend.window)
            held, now = work.gaps.held_in(self._feed.feed_id, resend.window), self._clock.now()
            if state is ResendState.REFUSED:
                self._escalate(
                    work, gap, f"the vendor refused resend {resend.id}: {asked[-1].detail or 'no reason given'}"
                )
            elif held:
                we_hold = counted(held, "trade")
                self._escalate(work, gap, f"resend {resend.id}: 404 although we hold {we_hold} of these days")
            elif asked_before(asked[:-1], now, self._feed.ghost_s):
                work.gaps.change_resend(resend.id, state=ResendState.COMPLETE, detail="404 twice, and we hold none")
                work.gaps.change(gap.id, healed_before=resend.window.end, state=GapState.OPEN, why=NOT_ASKED_YET)
            else:
                second_at = now + timedelta(seconds=self._feed.ghost_s)
                why = f"404: nothing in these days, perhaps; {why_twice(second_at)}"
                work.gaps.change(gap.id, state=GapState.WAITING, not_before=second_at, why=why)
            work.commit()

    def _pause(self) -> None:
        """Let the vendor rest before the same is asked again, longer each time."""
        self._pause_s = min(max(AGAIN_AFTER_S, self._pause_s * 2), AGAIN_AT_LATEST_S)
        self._not_again_before = self._clock.monotonic() + self._pause_s

    def _reaches_back(self, gap: Gap) -> bool:
        """Return whether the gap holds the oldest trade date of the drains that broke off; widen it where it does not.

        Their pages may have been booked only after the doubt, and the lost one may have been as old.
        """
        if gap.cause not in (GapCause.IN_DOUBT, GapCause.FAILOVER):
            return True
        with self._open_work() as work:
            oldest, booked = work.gaps.oldest_of(gap)
            if not booked or oldest is None or oldest - MARGIN >= gap.from_date:
                return booked
            work.feeds.hold_fence(self._feed.feed_id, self._resender.epoch())
            if work.gaps.hold(gap):
                first = oldest - MARGIN
                work.gaps.change(gap.id, from_date=first, healed_before=None)
                told = {"at": self._clock.now().isoformat(), "oldest_booked": oldest.isoformat()}
                work.gaps.note(gap.id, told | {"from": first.isoformat()})
                work.commit()
        return False

    def _heal(self, gap: Gap) -> int:
        """Say that all days have come again; return 0 where the gap was widened or closed meanwhile."""
        with self._open_work() as work:
            work.feeds.hold_fence(self._feed.feed_id, self._resender.epoch())
            if not work.gaps.hold(gap):
                return 0
            recovered, at = work.measures.recovered_by(gap), self._clock.now()
            complete = work.measures.resends_complete(gap.id)
            why = why_healed(gap.window, resends=complete, recovered=recovered, known=gap.already_known)
            if gap.cause in SWEEPS and (found := judged(work, self._feed, gap, recovered, at)) is not None:
                why = f"{why}; {found}"
            work.gaps.change(gap.id, state=GapState.HEALED, closed_at=at, why=why, recovered=recovered)
            work.commit()
        log.info("gap.healed", feed=self._feed.name, gap_id=gap.id, recovered=recovered)
        return 1

    def _escalate(self, work: UnitOfWork, gap: Gap, why: str) -> None:
        work.gaps.change(gap.id, state=GapState.ESCALATED, why=why)
        log.error("gap.escalated", feed=self._feed.name, gap_id=gap.id, why=why)

    def _ghost_about(self, work: UnitOfWork) -> Ghost | None:
        """Return a request that we gave up on, may still be executed, and would swallow what comes again (A22)."""
        since = self._clock.now() - timedelta(seconds=self._feed.ghost_s)
        return work.measures.ghost(self._feed.feed_id, since)

    def _say_waiting(self, gap: Gap, why: str) -> None:
        """Write what a gap waits for, once for each reason."""
        if gap.state == GapState.RESENDING or (gap.state, gap.why) == (GapState.WAITING, why):
            return
        with self._open_work() as work:
            if work.gaps.hold(gap):
                work.gaps.change(gap.id, state=GapState.WAITING, why=why)
                work.commit()

    def _gap_of(self, work: UnitOfWork, resend: Resend) -> Gap | None:
        """Return the gap of a resend; None when a person closed it meanwhile."""
        return next((gap for gap in work.gaps.unfinished(self._feed.feed_id) if gap.id == resend.gap_id), None)
