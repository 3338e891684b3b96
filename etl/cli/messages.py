"""`stp-etl messages`: what the vendor sent, byte for byte, and what became of it."""

from __future__ import annotations

import sys
from datetime import date
from enum import StrEnum
from typing import Annotated

import typer

from etl.cli.context import invocation, noun
from etl.cli.options import (
    FeedOption,
    FromOption,
    LimitOption,
    ToOption,
    first_of,
    in_order,
    known_feed,
    ready_app,
    reason_given,
)
from etl.cli.originals import Original, original_of, say_faults, visible
from etl.cli.output import Format, FormatOption, show, show_card
from etl.cli.rebooking import Asked, Choice, DryRunOption, WhyOption, of_these, read_again
from etl.store.repositories.attention import Deed
from etl.store.repositories.lists import MessageFilter

cli = noun("Look at the vendor's messages, and read them again.")
FAILED = 1
LISTED = ("feed", "message_id", "poll_id", "trade_id", "event", "landed_at", "state")


class MessageState(StrEnum):
    """What became of a message (law 7)."""

    BOOKED = "booked"
    ENRICHED = "enriched"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    EXCEPTED = "excepted"


@cli.command("list", epilog="Example: stp-etl messages list --trade FXI9369258100")
def list_messages(
    context: typer.Context,
    feed: FeedOption = None,
    poll: Annotated[int | None, typer.Option("--poll", help="Only of this poll.")] = None,
    trade: Annotated[str | None, typer.Option("--trade", help="Only about this trade.")] = None,
    state: Annotated[MessageState | None, typer.Option("--state", help="Only those that became so.")] = None,
    limit: LimitOption = 50,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """List messages with what became of each, the newest first."""
    with ready_app(context) as app, app.open_work() as work:
        known_feed(work, feed)
        rows = work.lists.messages(MessageFilter(feed, poll, trade, state), limit + 1)
    show(first_of(rows, limit), LISTED, fmt)


@cli.command("rebook", epilog="Example: stp-etl messages rebook --from 2026-03-02 --to 2026-03-20 --dry-run")
def rebook(
    context: typer.Context,
    feed: FeedOption = None,
    message: Annotated[list[int] | None, typer.Option("--message", help="This message; may be repeated.")] = None,
    first: FromOption = None,
    last: ToOption = None,
    exceptions: Annotated[bool, typer.Option("--exceptions", help="All open exception items.")] = False,
    dry_run: DryRunOption = False,
    reason: WhyOption = "the reading has changed",
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Read landed messages again with today's settings and rules, and keep what reads differently.

    Exception items that are sound now are booked. A booked trade that reads differently gets a newer version; none is
    ever taken out. Choose messages by number, by trade date, or all exception items. Doing it twice changes nothing.
    """
    choose = chosen_by(message, first, last, exceptions=exceptions)
    operator, reason = invocation(context).operator, reason_given(reason)
    with ready_app(context) as app:
        deed = Deed(app.clock.now(), operator, "messages rebook", reason)
        read_again(app, Asked(feed, choose, deed, dry_run), fmt)


def chosen_by(messages: list[int] | None, first: date | None, last: date | None, *, exceptions: bool) -> Choice:
    """Return the choice that the options make; exactly one is needed."""
    ways = [bool(messages), first is not None or last is not None, exceptions]
    if sum(ways) != 1:
        raise typer.BadParameter("choose one: --message, --from with --to, or --exceptions")
    if messages:
        return of_these(messages)
    if exceptions:
        return lambda work, number: work.rebooking.excepted(number)
    if first is None or last is None:
        raise typer.BadParameter("give --from and --to", param_hint="--from")
    in_order(first, last)
    begin, end = first, last
    return lambda work, number: work.rebooking.of_trade_days(number, begin, end)


@cli.command("show", epilog="Example: stp-etl messages show 1700000000 --raw")
def show_message(
    context: typer.Context,
    message_id: Annotated[int, typer.Argument(help="Our number of the message.", metavar="MESSAGE_ID")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the exact bytes and nothing else; a terminal gets escapes.")
    ] = False,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show one message as the vendor sent it, with the request that brought it; exit 1 when the bytes were changed.

    The text is the vendor's, with control characters as escapes.
    """
    with ready_app(context) as app, app.open_work() as work:
        original = original_of(work, message_id)
    if raw and sys.stdout.isatty():
        sys.stdout.write(f"{visible(original.raw)}\n")
    elif raw:
        sys.stdout.flush()
        sys.stdout.buffer.write(original.raw)
        sys.stdout.buffer.flush()
    elif fmt is Format.TABLE:
        show_card(card(original), fmt)
        sys.stdout.write(f"\n{visible(original.raw)}\n")
    else:
        show_card(card(original) | {"original": visible(original.raw)}, fmt)
    say_faults(original)
    if original.faults:
        raise typer.Exit(FAILED)


def card(original: Original) -> dict[str, object]:
    """Return what is known of a message besides its text."""
    answer, message = original.answer, original.message
    waiting = "landed, not booked yet"
    return {
        "feed": answer.feed,
        "message_id": original.message_id,
        "state": message.state if message is not None else waiting,
        "trade_id": message.trade_id if message is not None else None,
        "version": message.version if message is not None else None,
        "event": message.event if message is not None else None,
        "poll_id": answer.poll_id,
        "request_id": answer.request_id,
        "landed_at": answer.landed_at,
        "sha256": original.sha256,
        "verified": "no: " + "; ".join(original.faults) if original.faults else "yes, bytes and hashes agree",
    }
