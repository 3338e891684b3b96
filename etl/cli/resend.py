"""`stp-etl resend`: have the vendor hand out the trades of some trade dates again."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

import typer

from etl.app import App
from etl.cli.context import invocation
from etl.cli.following import Follower
from etl.cli.options import (
    FOUND_SOMETHING,
    FeedOption,
    FromOption,
    ReasonOption,
    ToOption,
    in_order,
    ready_app,
    reason_given,
)
from etl.cli.output import remark, show_card
from etl.controls.manual import LONGEST_DAYS, ManualRequest, open_by_hand
from etl.domain.calendar import DATED_AHEAD
from etl.domain.gaps import GapState
from etl.domain.window import Window
from etl.domain.words import counted
from etl.errors import EtlError
from etl.runtime import FeedRuntime

cli = typer.Typer(add_completion=False)
INTERRUPTED = 130


@cli.command("resend", epilog="Example: stp-etl resend --from 2026-03-02 --to 2026-03-04 --reason 'break 17' --wait")
def resend(
    context: typer.Context,
    start: FromOption,
    end: ToOption,
    reason: ReasonOption,
    feed: FeedOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many booked trades would come again.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask also for more days than are asked for without a word.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show how it goes, and end with the counts.")] = False,
    request_id: Annotated[
        str | None, typer.Option("--request-id", help="The same id twice is one request; for scripts.", metavar="TEXT")
    ] = None,
) -> None:
    """Ask the vendor to hand out every trade of a range of trade dates again.

    What is booked already changes nothing; what was lost is booked. A running daemon does it; without one this command
    leads the feed itself, with --wait until all has come, else for as long as it moves: then it says who goes on, and
    ends with 1. Exit 3 when a person has to look at what came. Given again, it follows the gap that is open already.
    """
    operator, reason = invocation(context).operator, reason_given(reason)
    with ready_app(context) as app:
        runtime, at = app.feed(feed), app.clock.now()
        window = asked_window(start, end, at)
        held = check_resend(app, runtime, window, asked=yes or dry_run)
        if dry_run:
            again = counted(held, "booked trade")
            remark(f"{again} of {window.start} to {window.last} would come again; nothing was asked")
            return
        request = ManualRequest(runtime.name, window, operator, reason, request_id)
        with app.open_work() as work:
            number, new = open_by_hand(work, runtime.feed_id, request, at)
            work.commit()
        asks = "asks" if new else "asked before"
        known = "" if new else "; this call follows it and opens no other"
        remark(f"gap {number} {asks} for {window.start} to {window.last}, {counted(held, 'trade')} held{known}")
        follow(app, runtime, number, wait=wait)


def follow(app: App, runtime: FeedRuntime, number: int, *, wait: bool) -> None:
    """Leave the gap to whoever leads the feed; heal it here where nobody does, or look on where that is wanted."""
    if not wait and not runtime.lead():
        with app.open_work() as work:
            leader = work.feeds.leader(runtime.feed_id)
        remark(f"{leader} leads the feed and does it; follow it with: stp-etl gaps show {number}")
        return
    follower = Follower(app, runtime, number)
    try:
        result = follower.to_the_end(wait=wait)
    except KeyboardInterrupt:
        remark(f"stp-etl: {follower.left_open('interrupted')}")
        raise typer.Exit(INTERRUPTED) from None
    show_card({name: result[name] for name in ("gap_id", "state", "recovered", "already_known", "why")})
    if result["state"] == GapState.ESCALATED:
        raise typer.Exit(FOUND_SOMETHING)


def asked_window(start: date | None, end: date | None, now: datetime) -> Window:
    """Return the window that was asked for; a sentence for each way in which it makes no sense."""
    if start is None or end is None:
        raise typer.BadParameter("give the first and the last trade date: --from DAY --to DAY")
    in_order(start, end)
    latest = now.astimezone(UTC).date() + DATED_AHEAD
    if end > latest:
        raise typer.BadParameter(f"--to {end} is in the future; the latest trade date there can be is {latest}")
    window = Window.of(start, end)
    if window.days > LONGEST_DAYS:
        raise typer.BadParameter(f"{window.days} days are too many at once; at most {LONGEST_DAYS}")
    return window


def check_resend(app: App, feed: FeedRuntime, window: Window, *, asked: bool) -> int:
    """Return how many trades of the window we hold; an error for a paused feed, and for many days nobody confirmed."""
    if (reason := feed.paused_reason()) is not None:
        resume = f"stp-etl feeds resume {feed.name} --reason TEXT"
        raise EtlError(f"feed {feed.name} is paused: {reason}; resume it first: {resume}")
    with app.open_work() as work:
        held = work.gaps.held_in(feed.feed_id, window)
    if window.days > feed.settings.resend_days_unasked and not asked:
        raise typer.BadParameter(
            f"{window.days} days make {counted(held, 'booked trade')} come again; add --yes to ask for them"
        )
    return held
