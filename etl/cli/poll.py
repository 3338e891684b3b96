"""One drain: empty the queue of a feed, book, and stop; for cron, for tests, and by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from etl.app import App
from etl.cli.asking import done_by_leader
from etl.cli.context import invocation
from etl.cli.output import Format, FormatOption, remark, show
from etl.cli.progress import while_draining
from etl.errors import EtlError, TransientError
from etl.runtime import FeedRuntime
from etl.vendor.feed import PollOutcome

cli = typer.Typer(add_completion=False)
FOUND_SOMETHING = 3
COLUMNS = (
    "feed", "outcome", "cause", "pages", "messages", "booked", "enriched", "duplicate", "conflict", "excepted",
)  # fmt: skip


@cli.command("poll", epilog="Example: stp-etl poll --feed main")
def poll(
    context: typer.Context,
    feed: Annotated[str | None, typer.Option("--feed", help="Only this feed; else every feed of the settings.")] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Empty the queue once, book what came, and exit: 0 when it is proven empty, 3 when it ended in doubt.

    This reads the vendor's queue, and reading takes: what comes is stored before anything else is done with it. What
    was lost before is asked for again, a step each call and without waiting: call it often, from cron. While a daemon
    leads the feed, it is asked to do so, and this command waits.
    """
    given = invocation(context)
    with App(given.settings) as app:
        app.check_database()
        chosen = [app.feed(feed)] if feed else app.feeds()
        results = [row for each in chosen if (row := drained_or_said(app, each, given.operator)) is not None]
    if results or fmt is not Format.TABLE:
        show(results, COLUMNS, fmt)
    for row in results:
        if row["outcome"] != PollOutcome.EMPTY:
            remark(f"feed {row['feed']}: the drain ended as {row['outcome']} ({row['cause']}): {row['detail']}")
    if any(row["outcome"] == PollOutcome.IN_DOUBT for row in results):
        remark("trades may have been handed out and lost; see: stp-etl status")
        raise typer.Exit(FOUND_SOMETHING)
    if len(results) < len(chosen) or any(row["outcome"] != PollOutcome.EMPTY for row in results):
        raise typer.Exit(1)


def drained_or_said(app: App, feed: FeedRuntime, operator: str) -> dict[str, object] | None:
    """Return what came of one feed; None, and a sentence, where it failed: the other feeds are polled all the same."""
    try:
        return drained_row(app, feed, operator)
    except EtlError as error:
        named = str(error).startswith(f"feed {feed.name}")
        remark(f"stp-etl: {error}" if named else f"stp-etl: feed {feed.name}: {error}")
        return None


def drained_row(app: App, feed: FeedRuntime, operator: str) -> dict[str, object]:
    """Drain and book one feed, or have its leader do it, and return what came of it; raise when it is paused."""
    if (reason := feed.paused_reason()) is not None:
        raise EtlError(
            f"feed {feed.name} is paused: {reason}; resume it with: stp-etl feeds resume {feed.name} --reason TEXT"
        )
    asked = None if feed.lead() else done_by_leader(app, feed, "poll", by=operator)
    if asked is not None:
        return {"feed": feed.name, **dict.fromkeys(COLUMNS[5:], 0), **asked}
    with while_draining(feed):
        drained, counts = feed.drain_and_book()
    heal(app, feed)
    if fault := feed.clock_fault():
        remark(fault)
    ended = {"outcome": drained.outcome, "cause": drained.cause, "detail": drained.detail}
    ways = {name: counts[name] for name in COLUMNS[5:]}
    return {"feed": feed.name, **ended, "pages": drained.pages, "messages": drained.messages, **ways}


def heal(app: App, feed: FeedRuntime) -> None:
    """Take the gaps as far as it goes without waiting, and say how far that is; the next call goes on."""
    try:
        feed.heal()
    except TransientError as error:
        remark(f"stp-etl: feed {feed.name}: {error}")
    with app.open_work() as work:
        unfinished = work.gaps.unfinished(feed.feed_id)
    for gap in unfinished:
        left = "all its days have come again" if gap.left is None else f"{gap.left.start} to {gap.left.last} are left"
        remark(f"feed {feed.name}: gap {gap.id} ({gap.cause}) is {gap.state}, {left}; the next call goes on with it")
