"""`stp-etl status`: how every feed stands, and what needs a hand."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from etl.app import App
from etl.cli.needs import needs_of
from etl.cli.options import FOUND_SOMETHING, FeedOption, known_feed, ready_app
from etl.cli.output import Format, FormatOption, json_text, plain, remark, show
from etl.store.repositories.lists import Listed

cli = typer.Typer(add_completion=False)

FEED_COLUMNS = (
    "feed", "state", "leader", "last_poll_at", "last_empty_at", "last_trade_at", "landed_unbooked", "open_exceptions",
    "open_breaks", "open_gaps", "in_doubt_polls",
)  # fmt: skip
SPARE = ("last_trade_at", "last_poll_at", "in_doubt_polls", "landed_unbooked", "leader", "open_breaks")
DOUBT_COLUMNS = ("feed", "gap_id", "poll_id", "closed_at", "cause", "request_id", "doubt_from", "status", "detail")
JSON_COLUMNS = (
    *FEED_COLUMNS, "second_consumer_since", "epoch", "paused_reason", "paused_until", "held_reason",
    "open_poll_since", "unconfirmed_assumptions",
)  # fmt: skip
POLLS_SHOWN = 50
GAPS_NAMED = 10  # escalated ones of a feed


@cli.command("status", epilog="Example: stp-etl status --feed main --format json")
def status(context: typer.Context, feed: FeedOption = None, fmt: FormatOption = Format.TABLE) -> None:
    """Show how each feed stands and which polls are in doubt; exit 3 when something needs a hand.

    It looks at the database only and never asks the vendor.
    """
    with ready_app(context) as app, app.open_work() as work:
        feeds = work.lists.feeds(known_feed(work, feed) if feed not in app.settings.feeds else feed)
        doubts = work.lists.polls_in_doubt(feed, POLLS_SHOWN)
        needs = never_polled(app, feeds, feed)
        for row in feeds:
            escalated = work.lists.escalated(row["feed"], GAPS_NAMED) if row["open_gaps"] else ()
            needs += [f"feed {row['feed']}: {need}" for need in needs_of(app, row, escalated)]
    show_status(feeds, doubts, needs, fmt)
    for need in needs:
        remark(need)
    if needs:
        raise typer.Exit(FOUND_SOMETHING)


def show_status(feeds: Sequence[Listed], doubts: Sequence[Listed], needs: Sequence[str], fmt: Format) -> None:
    """Write the feeds, then the polls in doubt; in JSON one object, in CSV the feeds alone."""
    if fmt is Format.JSON:
        whole = {
            "feeds": [{name: row[name] for name in JSON_COLUMNS} for row in feeds],
            "polls_in_doubt": doubts,
            "needs": list(needs),
        }
        sys.stdout.write(json_text(plain(whole)) + "\n")
        return
    show(feeds, FEED_COLUMNS, fmt, SPARE)
    if doubts and fmt is Format.TABLE:
        sys.stdout.write("\nPolls in doubt: trades may have been handed out and lost\n")
        show(doubts, DOUBT_COLUMNS, fmt)


def never_polled(app: App, feeds: Sequence[Listed], feed: str | None) -> list[str]:
    """Return a sentence for every feed of the settings that the database does not know."""
    known = {row["feed"] for row in feeds}
    wanted = [name for name in app.settings.feeds if feed in (None, name)]
    return [f"feed {name}: never polled; start it: stp-etl run" for name in wanted if name not in known]
