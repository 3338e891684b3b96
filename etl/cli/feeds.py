"""`stp-etl feeds`: which feeds there are; stopping and resuming one, and where its identity or database changed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
import typer

from etl.cli.context import invocation, noun
from etl.cli.options import ReasonOption, feed_number, instant, ready_app, reason_given
from etl.cli.output import Format, FormatOption, remark, show
from etl.cli.output import instant as written
from etl.errors import EtlError
from etl.pipeline.failover import adopted
from etl.store.repositories.attention import Deed
from etl.store.repositories.feeds import Identity

cli = noun("Look at the feeds, pause and resume them, say that one moved.")
LISTED = (
    "feed", "state", "organisation", "user_name", "base_url", "first_seen_at", "paused_at", "paused_by", "paused_until",
    "paused_reason", "held_at", "held_reason", "unconfirmed_assumptions",
)  # fmt: skip
SPARE = (
    "first_seen_at", "unconfirmed_assumptions", "held_at", "held_reason", "paused_at", "paused_by", "paused_until",
    "base_url", "user_name",
)  # fmt: skip
FeedName = Annotated[str, typer.Argument(help="Name of the feed.", metavar="FEED")]


@cli.command("list", epilog="Example: stp-etl feeds list")
def list_feeds(context: typer.Context, fmt: FormatOption = Format.TABLE) -> None:
    """List the feeds that the database knows; one is made known by its first poll."""
    with ready_app(context) as app, app.open_work() as work:
        rows = work.lists.feeds()
    show(rows, LISTED, fmt, SPARE)


@cli.command(
    "pause", epilog="Example: stp-etl feeds pause main --reason 'vendor maintenance' --until 2026-03-07T22:00Z"
)
def pause(
    context: typer.Context,
    feed: FeedName,
    reason: ReasonOption,
    until: Annotated[
        datetime | None,
        typer.Option(
            "--until", parser=instant, metavar="INSTANT", help="When it should be over; UTC without an offset."
        ),
    ] = None,
) -> None:
    """Stop asking the vendor for this feed until somebody resumes it; what landed is booked all the same.

    It does not end by itself: after --until the status says that it is overdue.
    """
    operator, reason = invocation(context).operator, reason_given(reason)
    with ready_app(context) as app, app.open_work() as work:
        number, at = feed_number(work, feed), app.clock.now()
        if until is not None and until <= at:
            raise typer.BadParameter(f"{written(until)} is over already", param_hint="--until")
        before = work.feeds.paused_reason(number)
        work.feeds.pause(number, at=at, by=operator, reason=reason, until=until)
        details = {"until": written(until) if until else None, "paused_before": before}
        work.attention.record(Deed(at, operator, "feeds pause", reason, feed, feed, details))
        work.commit()
    remark(f"feed {feed} is paused; resume it with: stp-etl feeds resume {feed} --reason TEXT")


@cli.command(
    "adopt-database", epilog="Example: stp-etl feeds adopt-database main --reason 'pg_upgrade to 18, nothing lost'"
)
def adopt_database(context: typer.Context, feed: FeedName, reason: ReasonOption) -> None:
    """Let the feed be pulled into this database, although it knows another one; nothing is asked for again.

    For a database that was moved or upgraded and lacks nothing. One that was restored from a backup lacks what was
    pulled since: stp-etl gaps open --restored-from.
    """
    operator, reason = invocation(context).operator, reason_given(reason)
    with ready_app(context) as app, app.open_work() as work:
        number, at = feed_number(work, feed), app.clock.now()
        if work.incarnations.known(number) in (None, work.incarnations.here()):
            raise EtlError(f"feed {feed} was pulled into no other database than this one; nothing to adopt")
        before, here = adopted(work, number)
        details = {"before": str(before), "now": str(here)}
        work.attention.record(Deed(at, operator, "feeds adopt-database", reason, feed, feed, details))
        work.commit()
    remark(f"feed {feed} goes on in this database ({here})")


@cli.command("rebind", epilog="Example: stp-etl feeds rebind main --reason 'the vendor moved us to another host'")
def rebind(context: typer.Context, feed: FeedName, reason: ReasonOption) -> None:
    """Let the feed be the download user, organisation and address that the settings now say; stop the daemon first.

    Its trades, gaps and history stay; what is asked again from now on is asked of the new one.
    """
    operator, reason = invocation(context).operator, reason_given(reason)
    with ready_app(context) as app, app.open_work() as work:
        wanted = Identity(*app.settings.feed(feed).identity)
        number, at = feed_number(work, feed), app.clock.now()
        before = work.feeds.identity(number)
        if before == wanted:
            raise EtlError(f"feed {feed} is what the settings say; nothing to change")
        work.feeds.rebind(number, wanted)
        details = {"before": msgspec.to_builtins(before), "now": msgspec.to_builtins(wanted)}
        work.attention.record(Deed(at, operator, "feeds rebind", reason, feed, feed, details))
        work.commit()
    remark(f"feed {feed} is now user {wanted.user_name} of {wanted.organisation} at {wanted.base_url}")


@cli.command("resume", epilog="Example: stp-etl feeds resume main --reason 'corrections of the vendor'")
def resume(context: typer.Context, feed: FeedName, reason: ReasonOption) -> None:
    """Ask the vendor again, and let booking go on where it waits for a person."""
    operator, reason = invocation(context).operator, reason_given(reason)
    with ready_app(context) as app, app.open_work() as work:
        number, at = feed_number(work, feed), app.clock.now()
        (row,) = work.lists.feeds(feed)
        if not work.feeds.resume(number):
            raise EtlError(f"feed {feed} is not paused and its booking does not wait; see: stp-etl status")
        details = {"paused": row["paused_reason"], "held": row["held_reason"]}
        work.attention.record(Deed(at, operator, "feeds resume", reason, feed, feed, details))
        work.commit()
    remark(f"feed {feed} goes on")
