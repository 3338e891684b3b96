"""`stp-etl balances`: how the balances of accounts stand, what moved them, and adjustments by hand."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from etl.cli.context import invocation, noun
from etl.cli.options import (
    FeedOption,
    LimitOption,
    ReasonOption,
    first_of,
    known_feed,
    ready_app,
    reason_given,
)
from etl.cli.options import instant as instant_of
from etl.cli.output import Format, FormatOption, digits, instant, remark, show
from etl.errors import EtlError
from etl.runtime import FeedRuntime
from etl.store.repositories.attention import Deed
from etl.store.repositories.balances import Adjustment

cli = noun("Look at the balances of accounts, and record what no history of the vendor shows.")
LISTED = ("feed", "level", "account", "asset", "ours", "theirs", "difference", "result", "as_of")
PARTS = (
    "feed", "level", "account", "asset", "opened_at", "opening", "legs", "deposits", "withdrawals", "fees",
    "adjustments", "ours", "theirs", "difference", "result",
)  # fmt: skip
ADJUSTED = ("adjustment_id", "account", "asset", "amount", "effective_at", "recorded_by", "reason")
MOVED = ("direction", "transfer_id", "account", "asset", "amount", "fee", "status", "at")
LONGEST_AMOUNT = 60


def amount_of(text: str) -> Decimal:
    """Return the amount as it is written, digit for digit; it must be a plain number and not zero."""
    try:
        found = Decimal(text)
    except InvalidOperation as error:
        raise typer.BadParameter(f"{text[:LONGEST_AMOUNT]} is no amount; write it as -12.50") from error
    if not found.is_finite() or not found or len(digits(found)) > LONGEST_AMOUNT:
        raise typer.BadParameter(f"{text[:LONGEST_AMOUNT]} is no amount other than zero; write it as -12.50")
    return found


@cli.command("list", epilog="Example: stp-etl balances list --format csv")
def list_balances(context: typer.Context, feed: FeedOption = None, fmt: FormatOption = Format.TABLE) -> None:
    """List how each balance stood in its last comparison; the difference is theirs minus ours."""
    with ready_app(context) as app, app.open_work() as work:
        rows = work.balances.listed(known_feed(work, feed))
    show(rows, LISTED, fmt)


@cli.command("show", epilog="Example: stp-etl balances show BTC")
def show_balance(
    context: typer.Context,
    asset: Annotated[str, typer.Argument(help="Currency or asset, such as BTC.", metavar="ASSET")],
    feed: FeedOption = None,
    limit: LimitOption = 20,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show what makes up our figure of an asset; as a table with its last transfers and adjustments."""
    with ready_app(context) as app, app.open_work() as work:
        name = known_feed(work, feed)
        rows = work.balances.listed(name, asset)
        moved = work.transfers.told(name, asset, limit + 1)
        adjusted = work.balances.adjustments(name, asset, limit + 1)
    if not rows and not moved and not adjusted:
        raise EtlError(
            f"nothing is known of {asset}; is it in balance_assets, and was it compared? stp-etl balances list"
        )
    show(rows, PARTS, fmt)
    if fmt is Format.TABLE:
        for title, each, columns in (("Transfers", moved, MOVED), ("Adjustments", adjusted, ADJUSTED)):
            if each:
                typer.echo(f"\n{title}, the last one first")
                show(first_of(each, limit), columns)


@cli.command("adjust", epilog="Example: stp-etl balances adjust --asset USD --amount -12.50 --reason 'bank fee, March'")
def adjust(
    context: typer.Context,
    asset: Annotated[str, typer.Option("--asset", help="Currency or asset, such as BTC.")],
    amount: Annotated[
        Decimal,
        typer.Option("--amount", parser=amount_of, metavar="AMOUNT", help="Positive is received, negative is paid."),
    ],
    reason: ReasonOption,
    feed: FeedOption = None,
    account: Annotated[
        str, typer.Option("--account", help="ORGANISATION/ACCOUNT of a broker's account; else the login's account.")
    ] = "",
    effective: Annotated[
        datetime | None,
        typer.Option(
            "--effective", parser=instant_of, metavar="INSTANT",
            help="When it moved the balance; now, if left out. Counts where that is after the opening.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Record an amount that moved a balance and that no history shows. Never changed: take it back by its opposite."""
    operator, reason = invocation(context).operator, reason_given(reason)
    with ready_app(context) as app:
        runtime, at = app.feed(feed), app.clock.now()
        check_comparable(runtime, asset, account)
        if effective is not None and effective > at:
            raise typer.BadParameter(f"{instant(effective)} is in the future", param_hint="--effective")
        adjustment = Adjustment(account, asset, amount, effective or at, at, operator, reason)
        with app.open_work() as work:
            number = work.balances.adjust(runtime.feed_id, adjustment)
            details = {"asset": asset, "amount": digits(amount), "account": account}
            work.attention.record(
                Deed(at, operator, "balances adjust", reason, runtime.name, f"adjustment {number}", details)
            )
            work.commit()
    remark(f"adjustment {number} is recorded; compare again with: stp-etl reconcile balances --feed {runtime.name}")


def check_comparable(runtime: FeedRuntime, asset: str, account: str) -> None:
    """Raise EtlError for an asset or account that the settings do not let be compared."""
    assets = runtime.settings.balance_assets
    if asset not in assets:
        named = ", ".join(assets) or "none"
        raise EtlError(f"feed {runtime.name}: {asset} is not in balance_assets, which names {named}")
    if account and not runtime.settings.broker_balances:
        raise EtlError(f"feed {runtime.name}: broker_balances is off, so no account but the login's is compared")
