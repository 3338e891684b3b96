"""`stp-etl trades`: the book, one trade with all that we ever knew of it, and what we knew at an instant."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any

import typer

from etl.cli.context import noun
from etl.cli.options import (
    FOUND_SOMETHING,
    FeedOption,
    FromOption,
    LimitOption,
    ToOption,
    day,
    feed_number,
    first_of,
    in_order,
    instant,
    known_feed,
    ready_app,
)
from etl.cli.output import Format, FormatOption, json_text, plain, remark, show, show_card
from etl.domain.changes import value_of
from etl.errors import EtlError
from etl.store.repositories.lists import Listed, TradeFilter
from etl.store.unit_of_work import UnitOfWork

cli = noun("Look at booked trades.")

LISTED = (
    "feed", "trade_id", "version", "trade_type", "status", "trade_date", "symbol", "side", "dealt_currency",
    "dealt_amount", "settled_amount", "near_value_date", "near_rate", "far_value_date", "legal_entity", "counterparty",
    "executed_at", "is_late",
)  # fmt: skip
SPARE = (
    "far_value_date", "feed", "version", "is_late", "counterparty", "status", "settled_amount", "trade_date",
    "legal_entity", "executed_at",
)  # fmt: skip
LEG = (
    "leg_no", "value_date", "fixing_date", "deliverable", "dealt_currency", "dealt_amount", "settled_currency",
    "settled_amount", "base_amount", "term_amount", "rate", "spot_rate", "forward_points",
)  # fmt: skip
HISTORY = (
    "version",
    "known_from",
    "known_to",
    "source",
    "message_id",
    "poll_id",
    "reply_id",
    "landed_at",
    "status",
    "changes",
)
TradeId = Annotated[str, typer.Argument(help="The vendor's id of the trade.", metavar="TRADE_ID")]


@cli.command("list", epilog="Example: stp-etl trades list --trade-date 2026-03-02 --symbol EUR/USD")
def list_trades(
    context: typer.Context,
    feed: FeedOption = None,
    trade_date: Annotated[
        date | None, typer.Option("--trade-date", parser=day, metavar="DAY", help="Only of this trade date.")
    ] = None,
    first: FromOption = None,
    last: ToOption = None,
    symbol: Annotated[str | None, typer.Option("--symbol", help="Such as EUR/USD.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="The vendor's word, such as Verified.")] = None,
    limit: LimitOption = 50,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """List trades as they stand now, the last changed first; amounts are signed for our side, + is received."""
    if trade_date is not None and (first is not None or last is not None):
        raise typer.BadParameter("give --trade-date, or --from and --to", param_hint="--trade-date")
    in_order(first, last)
    wanted = TradeFilter(feed, trade_date or first, trade_date or last, symbol, status)
    with ready_app(context) as app, app.open_work() as work:
        known_feed(work, feed)
        rows = work.lists.trades(wanted, limit + 1)
    show(first_of(rows, limit), LISTED, fmt, SPARE)


@cli.command("show", epilog="Example: stp-etl trades show FXI9369258100 --as-of 2026-03-02T17:00Z")
def show_trade(
    context: typer.Context,
    trade_id: TradeId,
    feed: FeedOption = None,
    history: Annotated[bool, typer.Option("--history", help="Every version: since when, from which message.")] = False,
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", parser=instant, metavar="INSTANT", help="What we knew then; UTC without an offset."),
    ] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show one trade with its legs: as it stands, as we knew it at an instant, or every version of it.

    Exit 3 when it was not known at that instant.
    """
    if history and as_of is not None:
        raise typer.BadParameter("give --history or --as-of", param_hint="--history")
    with ready_app(context) as app, app.open_work() as work:
        versions = versions_of(work, trade_id, feed)
        if history:
            show_history(changed_rows(work, versions), fmt)
            return
        version = versions[-1] if as_of is None else known_at(versions, as_of)
        if version is None:
            remark(f"trade {trade_id}: not known then; it was booked at {plain(versions[0]['valid_from'])}")
            raise typer.Exit(FOUND_SOMETHING)
        legs = work.lists.legs(version["feed"], trade_id, version["version"])
    show_version(version, legs, fmt)


def versions_of(work: UnitOfWork, trade_id: str, feed: str | None) -> list[Listed]:
    """Return every version of the one trade of this id; raise EtlError where there is none, or one in each of two."""
    versions = work.lists.versions(trade_id, known_feed(work, feed))
    feeds = sorted({row["feed"] for row in versions})
    if not feeds:
        raise EtlError(
            f"trade {trade_id} is not in the book; look among the exception items: stp-etl exceptions list, "
            f"or for its messages: stp-etl messages list --trade {trade_id}"
        )
    if len(feeds) > 1:
        raise EtlError(f"trade {trade_id} is in the feeds {' and '.join(feeds)}; say which with --feed")
    return versions


def known_at(versions: Sequence[Listed], at: datetime) -> Listed | None:
    """Return the version that was the current one at the instant, or None before the first."""
    return next((row for row in reversed(versions) if row["valid_from"] <= at), None)


def changed_rows(work: UnitOfWork, versions: Sequence[Listed]) -> list[dict[str, Any]]:
    """Return a row a version: since when we knew it, the message that said so, each changed field before and after."""
    feed, trade_id = versions[0]["feed"], versions[0]["trade_id"]
    keys = [(trade_id, row["version"]) for row in versions]
    trades = work.book.versions(feed_number(work, feed), keys)
    messages = work.lists.messages_behind(feed, trade_id)
    rows: list[dict[str, Any]] = []
    for row in versions:
        number = row["version"]
        before, after = trades.get((trade_id, number - 1)), trades[trade_id, number]
        changes = [
            {"field": name, "before": before and value_of(before, name), "after": value_of(after, name)}
            for name in row["changed_fields"]
        ]
        known = {"known_from": row["valid_from"], "known_to": row["valid_to"], "changes": changes}
        rows.append({**{name: row.get(name) for name in HISTORY}, **messages[number], **known})
    return rows


def show_history(rows: Sequence[dict[str, Any]], fmt: Format) -> None:
    """Write the versions, the oldest first; changes are text in a table and objects in JSON."""
    if fmt is Format.JSON:
        show(rows, HISTORY, fmt)
        return
    lines = [
        "; ".join(f"{c['field']}: {word(c['before'])} → {word(c['after'])}" for c in row["changes"]) for row in rows
    ]
    show([{**row, "changes": line} for row, line in zip(rows, lines, strict=True)], HISTORY, fmt)


def show_version(version: Listed, legs: Sequence[Listed], fmt: Format) -> None:
    """Write one version and its legs; in a table without what it has not."""
    rows = [{name: leg[name] for name in LEG} for leg in legs]
    if fmt is not Format.TABLE:
        if fmt is Format.JSON:
            sys.stdout.write(json_text(plain({**version, "legs": rows})) + "\n")
        else:
            show_card({**version, "legs": rows}, fmt)
        return
    show_card({name: value for name, value in version.items() if value not in (None, [], {})}, fmt)
    sys.stdout.write("\n")
    show(rows, LEG, fmt)


def word(value: object) -> str:
    """Return a value of a trade as it stands in a sentence."""
    return "nothing" if value is None else str(plain(value))
