"""`stp-etl exceptions`: messages that became no trade, and what to do with them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from etl.cli.context import invocation, noun
from etl.cli.options import FeedOption, LimitOption, ReasonOption, first_of, known_feed, ready_app, reason_given
from etl.cli.originals import original_of, say_faults, visible
from etl.cli.output import Format, FormatOption, json_text, plain, remark, show, show_card
from etl.cli.rebooking import Asked, DryRunOption, WhyOption, read_again
from etl.domain.words import counted, numbered
from etl.errors import EtlError
from etl.store.repositories.attention import Deed
from etl.store.repositories.lists import Listed
from etl.store.unit_of_work import UnitOfWork

cli = noun("Work on exception items: messages that became no trade.")
FAILED = 1
LISTED = (
    "message_id", "feed", "state", "opened_at", "seen", "trade_id", "symbol", "side", "dealt_amount", "trade_date",
    "value_date", "legal_entity", "counterparty", "faults",
)  # fmt: skip
FAULT = ("field", "value", "rule")
CLOSING = ("closed_at", "closed_by", "reason")
ItemIds = Annotated[list[int], typer.Argument(help="Numbers of messages, as `exceptions list` shows.", metavar="ID...")]


@cli.command("list", epilog="Example: stp-etl exceptions list --feed main")
def list_items(
    context: typer.Context,
    feed: FeedOption = None,
    state: Annotated[str, typer.Option("--state", help="open, booked, resolved or all.")] = "open",
    limit: LimitOption = 50,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """List exception items, the newest first, with every fault."""
    if state not in ("open", "booked", "resolved", "all"):
        raise typer.BadParameter(f"{state} is none of open, booked, resolved, all", param_hint="--state")
    with ready_app(context) as app, app.open_work() as work:
        known_feed(work, feed)
        rows = work.lists.exceptions(feed, None if state == "all" else state, limit + 1)
    rows = first_of(rows, limit)
    if fmt is Format.TABLE:
        rows = [row | {"faults": in_words(row["faults"])} for row in rows]
    show(rows, LISTED, fmt)


@cli.command("show", epilog="Example: stp-etl exceptions show 1700000000")
def show_item(
    context: typer.Context,
    message_id: Annotated[int, typer.Argument(help="Number of the message.", metavar="ID")],
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show one exception item: every fault, the vendor's own text, and whether that trade was booked since."""
    with ready_app(context) as app, app.open_work() as work:
        item = items_of(work, [message_id])[message_id]
        original = original_of(work, message_id)
        versions = work.lists.versions(item["trade_id"], item["feed"]) if item["trade_id"] else []
    booked = f"yes, version {versions[-1]['version']}" if versions else "no"
    known = {name: value for name, value in item.items() if name != "faults" and value is not None}
    whole = known | {"trade booked": booked if item["trade_id"] else "no; the message names no trade"}
    if fmt is Format.JSON:
        text = {"faults": item["faults"], "original": visible(original.raw)}
        sys.stdout.write(json_text(plain(whole | text)) + "\n")
    elif fmt is Format.CSV:
        show_card(whole | {"faults": item["faults"], "original": visible(original.raw)}, fmt)
    else:
        show_card(whole, fmt)
        sys.stdout.write("\n")
        show(item["faults"], FAULT, fmt)
        sys.stdout.write(f"\n{visible(original.raw)}\n")
    say_faults(original)
    if original.faults:
        raise typer.Exit(FAILED)


@cli.command("retry", epilog="Example: stp-etl exceptions retry --feed main --dry-run")
def retry(
    context: typer.Context,
    message_ids: Annotated[
        list[int] | None, typer.Argument(help="Numbers of messages; without any, all open items.", metavar="[ID...]")
    ] = None,
    feed: FeedOption = None,
    dry_run: DryRunOption = False,
    reason: WhyOption = "the reading has changed",
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Read open exception items again with today's settings and rules, and book those that are sound now.

    Those that are not keep today's faults. Useful after a setting such as field_aliases or own_orgs was corrected.
    """
    operator, reason = invocation(context).operator, reason_given(reason)
    with ready_app(context) as app:
        if message_ids:
            with app.open_work() as work:
                open_items_of(work, message_ids)
        deed = Deed(app.clock.now(), operator, "exceptions retry", reason)
        asked = Asked(feed, lambda work, number: work.rebooking.excepted(number, message_ids or None), deed, dry_run)
        read_again(app, asked, fmt)


@cli.command("resolve", epilog="Example: stp-etl exceptions resolve 1700000000 1700000001 --reason 'not ours, FX-77'")
def resolve(context: typer.Context, message_ids: ItemIds, reason: ReasonOption) -> None:
    """Close exception items that need no trade, with a reason; all of those named, or none."""
    operator, reason = invocation(context).operator, reason_given(reason)
    with ready_app(context) as app, app.open_work() as work:
        items = open_items_of(work, message_ids)
        at = app.clock.now()
        work.attention.close_exceptions(list(items), "resolved", at=at, by=operator, reason=reason)
        for feed in sorted({item["feed"] for item in items.values()}):
            its = [number for number, item in items.items() if item["feed"] == feed]
            work.attention.record(
                Deed(at, operator, "exceptions resolve", reason, feed, numbered("message", its), {"message_ids": its})
            )
        work.commit()
    remark(f"{counted(len(items), 'exception item is', 'exception items are')} resolved")


def items_of(work: UnitOfWork, message_ids: Sequence[int]) -> dict[int, Listed]:
    """Return these items in the order asked; raise EtlError with those that are none."""
    found = work.lists.exceptions_by_id(message_ids)
    if unknown := [number for number in message_ids if number not in found]:
        raise EtlError(
            f"{numbered('message', unknown)}: no exception item of that number; "
            "see: stp-etl exceptions list --state all"
        )
    return {number: found[number] for number in message_ids}


def open_items_of(work: UnitOfWork, message_ids: Sequence[int]) -> dict[int, Listed]:
    """Return these items, all of them open; raise EtlError with those that are not."""
    items = items_of(work, message_ids)
    if closed := [number for number, item in items.items() if item["state"] != "open"]:
        raise EtlError(
            f"{numbered('message', closed)}: closed already, nothing was changed; see: stp-etl exceptions show ID"
        )
    return items


def in_words(faults: Sequence[dict[str, Any]]) -> str:
    """Return the faults as one line."""
    return "; ".join(f"{fault['field']} {fault['rule']}" for fault in faults)
