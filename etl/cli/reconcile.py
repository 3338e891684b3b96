"""`stp-etl reconcile`: compare the book with the vendor's own figures, now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from etl.app import App
from etl.cli.asking import done_by_leader
from etl.cli.context import invocation
from etl.cli.options import FOUND_SOMETHING, FeedOption, ready_app, reason_given
from etl.cli.output import Format, FormatOption, remark, show
from etl.cli.reconciling import RunsTold
from etl.controls.questions import Order
from etl.errors import EtlError
from etl.reconcile import REQUEST, DrainHere, Wanted, done, reconciler_of, told
from etl.runtime import FeedRuntime
from etl.store.repositories.attention import Deed

cli = typer.Typer(add_completion=False)
COLUMNS = ("run_id", "subject", "result", "compared", "agreed", "breaks", "detail")
SAID = ("agreed", "breaks", "opened")  # the rest proves nothing; whether breaks need a hand is told by their state


class What(StrEnum):
    """What is compared."""

    ALL = "all"
    FILLS = "fills"
    POSITIONS = "positions"
    BALANCES = "balances"


@cli.command("reconcile", epilog="Example: stp-etl reconcile positions --open --reason 'go-live'")
def reconcile(
    context: typer.Context,
    what: Annotated[What, typer.Argument(help="What to compare.", metavar="[fills|positions|balances|all]")] = What.ALL,
    opening: Annotated[
        bool, typer.Option("--open", help="Take the vendor's figures as where the book starts; needs --reason.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept with the run.")] = "",
    feed: FeedOption = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Compare the book with the vendor's fills, positions and balances.

    The queue is drained and booked before and after the vendor is asked; a difference counts when a second look shows
    it too. Exit 3 when breaks are open, or something that was asked could not be proven: detail says what. So it is
    until --open was given once, as positions and balances are told as no_opening; and where --open did not open all of
    it. Balances are those of balance_assets in the settings.
    """
    if opening and what not in (What.POSITIONS, What.BALANCES):
        raise typer.BadParameter("positions or balances are opened: stp-etl reconcile positions --open --reason TEXT")
    order = Order("operator", invocation(context).operator, reason_given(reason) if opening else reason or None)
    with ready_app(context) as app:
        runtime = app.feed(feed)
        if (paused := runtime.paused_reason()) is not None:
            raise EtlError(f"feed {runtime.name} is paused: {paused}; resume it: stp-etl feeds resume {runtime.name}")
        if what is What.BALANCES and not runtime.settings.balance_assets:
            raise EtlError(f"feed {runtime.name}: name the assets first, as balance_assets of [feeds.{runtime.name}]")
        outcomes = outcomes_of(app, runtime, Wanted(what, opening), order)
        unopened = noted_opening(app, runtime, what, order, outcomes) if opening else []
        with app.open_work() as work:
            left = work.breaks.listed(runtime.name, states=("open", "investigating"), limit=1)
    show(outcomes, COLUMNS, fmt)
    if left:
        remark(f"breaks are open; see: stp-etl breaks list --feed {runtime.name}")
    if unopened:
        remark(f"not opened: {', '.join(unopened)}; detail says of what, why, and what to do")
    if left or unopened or any(each["result"] not in SAID for each in outcomes):
        raise typer.Exit(FOUND_SOMETHING)


def noted_opening(
    app: App, feed: FeedRuntime, what: What, order: Order, outcomes: Sequence[Mapping[str, Any]]
) -> list[str]:  # fmt: skip
    """Keep in the audit what an opening came to; return what was not opened."""
    results = {str(each["subject"]): str(each["result"]) for each in outcomes}
    with app.open_work() as work:
        deed = f"reconcile {what} --open"
        work.attention.record(Deed(app.clock.now(), order.by, deed, order.reason or "", feed.name, None, results))
        work.commit()
    return [subject for subject, result in results.items() if result != "opened"]


def outcomes_of(app: App, feed: FeedRuntime, wanted: Wanted, order: Order) -> list[Mapping[str, Any]]:
    """Have the leader run the controls, or run them here where nobody leads."""
    if not feed.lead():
        arguments = msgspec.to_builtins(wanted)
        said = done_by_leader(
            app, feed, REQUEST, arguments, by=order.by, reason=order.reason or "", meanwhile=RunsTold(app, feed)
        )  # fmt: skip
        if said is not None:
            return list(said["outcomes"])
    controls = reconciler_of(app, feed, DrainHere(app, feed))
    return [told(each) for each in done(controls, wanted, order)]
