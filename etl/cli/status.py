"""`stp-etl status`: how every feed stands, and what needs a hand."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import typer

from etl.app import App
from etl.cli.options import FOUND_SOMETHING, FeedOption, known_feed, ready_app
from etl.cli.output import Format, FormatOption, instant, json_text, plain, remark, show
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
    "unconfirmed_assumptions",
)  # fmt: skip
POLLS_SHOWN = 50
LONG_POLLS = 10  # missed polls
LONG_AT_LEAST_S = 120.0
USUAL_INTERVAL_S = 5.0


@cli.command("status", epilog="Example: stp-etl status --feed main --format json")
def status(context: typer.Context, feed: FeedOption = None, fmt: FormatOption = Format.TABLE) -> None:
    """Show how each feed stands and which polls are in doubt; exit 3 when something needs a hand.

    It looks at the database only and never asks the vendor.
    """
    with ready_app(context) as app:
        with app.open_work() as work:
            feeds = work.lists.feeds(known_feed(work, feed) if feed not in app.settings.feeds else feed)
            doubts = work.lists.polls_in_doubt(feed, POLLS_SHOWN)
        needs = [*never_polled(app, feeds, feed), *(need for row in feeds for need in needs_of(app, row))]
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


def needs_of(app: App, row: Listed) -> Iterator[str]:
    """Yield what a person has to do about the feed, each with the next step."""
    name, now = row["feed"], app.clock.now()
    if row["other_database"] is not None:
        yield (
            f"feed {name}: this database is not the one that it was pulled into; nothing is asked of the vendor. "
            f"Restored from a backup: stp-etl gaps open --feed {name} --restored-from INSTANT --reason TEXT; nothing "
            f"missing in it: stp-etl feeds adopt-database {name} --reason TEXT"
        )
    if row["in_doubt_polls"]:
        yield f"feed {name}: {row['in_doubt_polls']} polls in doubt without a gap; the next start opens it: stp-etl run"
    if row["open_gaps"]:
        yield f"feed {name}: {row['open_gaps']} gaps not healed; see: stp-etl gaps list --feed {name}"
    if row["second_consumer_since"] is not None:
        yield (
            f"feed {name}: sweeps find lost trades that no poll in doubt explains, since "
            f"{instant(row['second_consumer_since'])}: does somebody else use the download user? See: "
            f"stp-etl gaps list --cause sweep --feed {name}"
        )
    if row["held_at"] is not None:
        yield (
            f"feed {name}: booking waits since {instant(row['held_at'])}: {row['held_reason']}; look, then: "
            f"stp-etl feeds resume {name} --reason TEXT"
        )
    if row["open_exceptions"]:
        yield f"feed {name}: {row['open_exceptions']} open exception items; see: stp-etl exceptions list --feed {name}"
    if row["paused_at"] is not None:
        if row["paused_until"] is not None and row["paused_until"] < now:
            yield f"feed {name}: paused longer than planned; resume it: stp-etl feeds resume {name} --reason TEXT"
    elif (late := silence(app, row, now)) is not None:
        yield f"feed {name}: {late}" if row["leader"] else f"feed {name}: {late}; start the daemon: stp-etl run"


def silence(app: App, row: dict[str, Any], now: datetime) -> str | None:
    """Return how long the feed was not polled, where that is long for its interval."""
    good = [at for at in (row["last_empty_at"], row["last_trade_at"]) if at is not None]
    last = max(good, default=row["last_poll_at"])  # a feed whose first good poll is yet to come: its last try
    if last is None:
        return "never polled"
    given = app.settings.feeds.get(row["feed"])
    interval_s = given.poll_interval_s if given is not None else USUAL_INTERVAL_S
    if now - last <= timedelta(seconds=max(LONG_AT_LEAST_S, LONG_POLLS * interval_s)):
        return None
    if row["leader"]:
        return f"no good poll since {instant(last)} although {row['leader']} leads it; its log says why"
    return f"no good poll since {instant(last)}"
