"""`stp-etl gaps`: trade dates that may lack trades, why, and what became of them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any

import typer

from etl.cli.context import invocation, noun
from etl.cli.options import (
    FeedOption,
    FromOption,
    LimitOption,
    ReasonOption,
    ToOption,
    first_of,
    known_feed,
    ready_app,
    reason_given,
)
from etl.cli.options import instant as instant_of
from etl.cli.output import Format, FormatOption, instant, remark, show, show_card, showable
from etl.cli.resend import asked_window
from etl.controls.manual import ManualRequest, open_by_hand
from etl.controls.widening import approve
from etl.domain.evidence import moment, why_asked, why_doubted
from etl.domain.gaps import GapCause, GapState
from etl.domain.window import Window
from etl.errors import EtlError
from etl.pipeline.failover import adopted, doubted_window
from etl.runtime import FeedRuntime
from etl.store.repositories.attention import Deed
from etl.store.unit_of_work import UnitOfWork
from etl.wiring import failed_over

cli = noun("Look at gaps, open, approve and close them.")
LISTED = (
    "gap_id", "feed", "cause", "from_date", "to_date", "state", "recovered", "already_known", "opened_at", "closed_at",
    "why",
)  # fmt: skip
RESENDS = (
    "resend_id", "from_date", "to_date", "requested_at", "state", "tries", "received", "recovered", "duplicates",
    "absent", "excused", "request_id", "detail", "asked_again_because",
)  # fmt: skip
UNTOLD = ("evidence", "healed_before", "not_before", "unexplained")
OVER = (GapState.HEALED, GapState.CLOSED)
GapNumber = Annotated[int, typer.Argument(help="Number of the gap.", metavar="GAP")]


@cli.command("list", epilog="Example: stp-etl gaps list --state escalated")
def list_gaps(
    context: typer.Context,
    feed: FeedOption = None,
    state: Annotated[GapState | None, typer.Option("--state", help="Only gaps in this state.")] = None,
    cause: Annotated[GapCause | None, typer.Option("--cause", help="Only gaps of this cause.")] = None,
    limit: LimitOption = 50,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """List gaps and sweeps, the newest first."""
    with ready_app(context) as app, app.open_work() as work:
        rows = work.lists.gaps(known_feed(work, feed), state, limit + 1, cause=cause)
    show(first_of(rows, limit), LISTED, fmt)


@cli.command("show", epilog="Example: stp-etl gaps show 3")
def show_gap(context: typer.Context, gap: GapNumber, fmt: FormatOption = Format.TABLE) -> None:
    """Show what was in doubt, what was asked, what came back, and why the gap is over, or not."""
    with ready_app(context) as app, app.open_work() as work:
        row = known_gap(work, gap)
        resends = work.lists.resends(None, 1000, gap_id=gap)
    if fmt is not Format.TABLE:
        show_card(row | {"resends": resends}, fmt)
        return
    show_card(card_of(row, app.clock.now()))
    typer.echo("\nWhat made us doubt")
    for each in row["evidence"]:
        show_sentences(each)
    typer.echo("\nWhat was asked, and what came back")
    again = why_asked(resends, row["evidence"])
    show([each | {"asked_again_because": why} for each, why in zip(resends, again, strict=True)], RESENDS)


@cli.command("open", epilog="Example: stp-etl gaps open --feed main --from 2026-03-02 --to 2026-03-03 --reason 'br 17'")
def open_gap(
    context: typer.Context,
    reason: ReasonOption,
    start: FromOption = None,
    end: ToOption = None,
    feed: FeedOption = None,
    restored_from: Annotated[
        datetime | None,
        typer.Option(
            "--restored-from",
            parser=instant_of,
            metavar="INSTANT",
            help="The database was restored to its state of this instant; instead of --from and --to.",
        ),
    ] = None,
) -> None:
    """Say that trades of some trade dates may be missing; the daemon asks for them and reports when they came.

    With --restored-from it is everything since then, and the feed goes on in the restored database.
    """
    operator, reason = invocation(context).operator, reason_given(reason)
    with ready_app(context) as app:
        runtime, at = app.feed(feed), app.clock.now()
        if restored_from is not None:
            check_restored(restored_from, at, days=(start, end))
        with app.open_work() as work:
            if restored_from is None:
                window, not_before = asked_window(start, end, at), at
            else:
                window, not_before = lost_since(work, runtime, restored_from, at)
            request = ManualRequest(runtime.name, window, operator, reason, deed="gaps open", anew=True)
            number, _ = open_by_hand(work, runtime.feed_id, request, at)
            work.gaps.change(number, not_before=not_before)
            work.commit()
    remark(f"gap {number} is open; follow it with: stp-etl gaps show {number}")


@cli.command("approve", epilog="Example: stp-etl gaps approve 3 --reason 'positions of EUR/USD still differ, br 17'")
def approve_gap(context: typer.Context, gap: GapNumber, reason: ReasonOption) -> None:
    """Let a gap ask for the wider window that waits for a person: many booked trades will come again."""
    operator, reason = invocation(context).operator, reason_given(reason)
    with ready_app(context) as app, app.open_work() as work:
        feed = known_gap(work, gap)["feed"]
        window = approve(work, gap, feed=feed, operator=operator, reason=reason, at=app.clock.now())
        work.commit()
    remark(f"gap {gap} asks for {window.start} to {window.last}; follow it with: stp-etl gaps show {gap}")


@cli.command("close", epilog="Example: stp-etl gaps close 3 --reason 'vendor confirmed: no trades that day'")
def close_gap(context: typer.Context, gap: GapNumber, reason: ReasonOption) -> None:
    """Close a gap by hand: it is not asked for any more, and what it may have lost may stay lost."""
    operator, reason = invocation(context).operator, reason_given(reason)
    with ready_app(context) as app, app.open_work() as work:
        row, at = known_gap(work, gap), app.clock.now()
        if row["state"] in OVER:
            raise EtlError(f"gap {gap} is {row['state']} since {instant(row['closed_at'])}; nothing to close")
        work.gaps.change(
            gap,
            state=GapState.CLOSED,
            closed_at=at,
            closed_by=operator,
            reason=reason,
            wanted_from=None,
            why=f"{operator} closed it: {reason}",
        )
        work.gaps.drop_resends(gap, at, f"gap closed by {operator}")
        details = {"from": str(row["from_date"]), "to": str(row["to_date"]), "state": row["state"]}
        work.attention.record(Deed(at, operator, "gaps close", reason, row["feed"], f"gap {gap}", details))
        work.commit()
    remark(f"gap {gap} is closed")


def check_restored(restored_from: datetime, at: datetime, *, days: tuple[date | None, date | None]) -> None:
    """Raise a wrong usage unless the instant is past and stands alone."""
    if days != (None, None):
        raise typer.BadParameter("it says the days by itself; leave --from and --to away", param_hint="--restored-from")
    if restored_from > at:
        raise typer.BadParameter(f"{instant(restored_from)} is in the future", param_hint="--restored-from")


def lost_since(
    work: UnitOfWork, runtime: FeedRuntime, restored_from: datetime, at: datetime
) -> tuple[Window, datetime]:  # fmt: skip
    """Let the feed go on in a database that was restored; return the days to ask again, and from when on.

    Whoever pulled into the database before may have sent a request that is still executed (A22).
    """
    feed, survived = failed_over(runtime.feed_id, runtime.settings), work.incarnations.survived(runtime.feed_id)
    window = doubted_window(work, feed, survived, at=at, restored_from=restored_from)
    not_before = at + timedelta(seconds=feed.ghost_s)
    work.gaps.break_off(feed.feed_id, at=at, not_before=not_before, why="the database was restored meanwhile")
    adopted(work, feed.feed_id)
    return window, not_before


def known_gap(work: UnitOfWork, number: int) -> dict[str, Any]:
    """Return the gap by column, its evidence included; raise EtlError where there is none."""
    row = work.lists.gap(number)
    if row is None:
        raise EtlError(f"there is no gap {number}; see: stp-etl gaps list")
    return row


def card_of(row: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return what a person needs of a gap, first of all why it is as it is; nothing that is over, or empty."""
    over = row["state"] in OVER
    told = {name: value for name, value in row.items() if name not in UNTOLD and value is not None}
    if not over and row["healed_before"] is not None:
        told["done"] = f"all days before {row['healed_before']} have come again"
    if not over and row["not_before"] > now:
        told["not_before"] = row["not_before"]
    return told


def show_sentences(evidence: dict[str, Any]) -> None:
    """Write one piece of evidence: when, and what it says."""
    at = moment(datetime.fromisoformat(evidence["at"])) if "at" in evidence else ""
    for place, sentence in enumerate(why_doubted(evidence)):
        typer.echo(showable(f"{at if place == 0 else '':{len(at)}}  {sentence}"))
