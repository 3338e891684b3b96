"""What healing may ask for next: which days together, within which budget, and whether they were asked for before."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from etl.controls.resend import HealedFeed
from etl.domain.evidence import NOT_ASKED_YET, moment, why_ghost
from etl.domain.gaps import GapCause, GapState, ResendState
from etl.domain.window import Window
from etl.store.repositories.gap_words import Gap, Ghost, Resend
from etl.store.unit_of_work import OpenWork, UnitOfWork

BUDGET_PAUSE = timedelta(hours=1)

log = structlog.get_logger()


def next_days(work: UnitOfWork, feed: HealedFeed, left: Window) -> Window:
    """Return the days to ask for next: few at once, but all days in a row of which we hold nothing together."""
    pieces = list(left.pieces(feed.days_at_once))
    chosen = pieces[0]
    if work.gaps.held_in(feed.feed_id, chosen):
        return chosen
    for piece in pieces[1:]:
        if work.gaps.held_in(feed.feed_id, piece):
            break
        chosen = chosen.with_(piece)
    return chosen


def waits_for(
    gap: Gap, ghost: Ghost | None, *, now: datetime, ghost_s: float, empty_at: datetime | None
) -> str | None:  # fmt: skip
    """Return why nothing may be asked for a gap now, in words that stay the same until it changes; None: it may be.

    A reason that was written with an instant to wait for holds until then. `ghost`: a request given up on (A22);
    `empty_at`: when the queue was last proven empty, after which a resend can be told from what was lost.
    """
    if now < gap.not_before and gap.why not in (None, NOT_ASKED_YET):
        return gap.why
    if ghost is not None:
        return why_ghost(ghost.request_id, ghost.given_up_at + timedelta(seconds=ghost_s))
    if now < gap.not_before:
        return f"nothing is asked for before {moment(gap.not_before)}"
    if gap.cause != GapCause.OPERATOR and (empty_at is None or empty_at <= gap.doubted_at):
        return f"a poll has to end well first: none has since {moment(gap.doubted_at)}"
    return None


def sweep_waits_for(feed: HealedFeed, gap: Gap, *, lossy: Gap | None, now: datetime) -> str | None:
    """Return why a sweep may not ask now: what is known to be in doubt comes first; None where it may."""
    if lossy is not None:
        return f"gap {lossy.id} comes first"
    times = feed.times
    if times.may_run(gap.cause, gap.to_date, now):
        return None
    return f"the quiet hours, {times.quiet_from:%H:%M} to {times.quiet_until:%H:%M} {times.zone.key}"


def budget_allows(
    open_work: OpenWork, feed: HealedFeed, gap: Gap, now: datetime, *, meanwhile: GapState = GapState.WAITING
) -> bool:
    """Return whether today's budget allows one more request; else say so and try again in an hour.

    A sweep of the history leaves half of it to what is known to be in doubt.
    """
    budget = feed.budget_per_day
    if gap.cause == GapCause.HISTORY_SWEEP:
        budget = max(1, budget // 2)
    with open_work() as work:
        spent = work.gaps.requests_since(feed.feed_id, now - timedelta(days=1))
        if spent < budget:
            return True
        if not work.gaps.hold(gap):
            return False
        why = f"the budget of {budget} resends a day is used up; tried again every hour"
        work.gaps.change(gap.id, not_before=now + BUDGET_PAUSE, state=meanwhile, why=why)
        work.commit()
    say = log.info if gap.cause == GapCause.HISTORY_SWEEP else log.error
    say("gap.budget_used_up", feed=feed.name, gap_id=gap.id, spent=spent)
    return False


def asked_before(earlier: list[Resend], now: datetime, ghost_s: float) -> bool:
    """Return whether the same days were asked for before, so long ago that no ghost is left of that time (A22).

    Only what ended well counts, and a 404 (never accepted); a resend whose answers were lost says nothing.
    """
    well = [each for each in earlier if each.state == ResendState.COMPLETE or each.accepted_at is None]
    return any((now - each.requested_at).total_seconds() >= ghost_s for each in well)
