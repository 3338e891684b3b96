"""`stp-etl breaks`: differences between the book and the vendor, and what people do about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from etl.cli.adopting import adopt as adopt_words
from etl.cli.context import invocation, noun
from etl.cli.options import FeedOption, LimitOption, ReasonOption, first_of, known_feed, ready_app, reason_given
from etl.cli.options import instant as instant_of
from etl.cli.output import Format, FormatOption, instant, json_text, plain, remark, show, show_card
from etl.domain.ageing import bucket
from etl.domain.reconciliation import BreakKind, BreakState
from etl.domain.words import numbered
from etl.errors import EtlError
from etl.store.repositories.attention import Deed
from etl.store.repositories.breaks import UNFINISHED
from etl.store.unit_of_work import UnitOfWork

cli = noun("Look at breaks, assign, accept and resolve them.")
TO_DO = (BreakState.OPEN, BreakState.INVESTIGATING)
LISTED = (
    "break_id", "feed", "kind", "key", "severity", "difference", "currency", "reporting_amount", "state", "age",
    "assigned_to", "comment",
)  # fmt: skip
EVENTS = ("at", "deed", "by", "note", "figures", "run_id", "reply_id")
OBSERVED = ("first_seen_at", "last_seen_at", "seen", "ours", "theirs", "difference", "difference_term")
TO_DO_ABOUT = {
    "status": "look at it (stp-etl trades show {trade_id} --history), then: stp-etl breaks resolve {break_id} --reason "
    "TEXT; with --adopt where the book does not say so yet",
    "conflict": "look at it (stp-etl trades show {trade_id} --history); if the vendor is right: stp-etl breaks resolve "
    "{break_id} --adopt --reason TEXT",
    "missing_in_book": "ask the vendor why it does not hand it out; to book what it says: stp-etl breaks resolve "
    "{break_id} --adopt --reason TEXT",
    "missing_at_vendor": "ask the vendor about {trade_id}; it stays in the book",
    "fixing_overdue": "agree the rate with the counterparty, then: stp-etl breaks resolve {break_id} --reason TEXT",
    "stale_feed": "stp-etl status",
    "query_failed": "nothing, it is asked again; where that goes on: stp-etl doctor, then the vendor",
}
Breaks = Annotated[list[int], typer.Argument(help="Numbers of the breaks.", metavar="BREAK...")]


@cli.command("list", epilog="Example: stp-etl breaks list --kind position --format csv")
def list_breaks(
    context: typer.Context,
    feed: FeedOption = None,
    kind: Annotated[BreakKind | None, typer.Option("--kind", help="Only breaks of this kind.")] = None,
    state: Annotated[BreakState | None, typer.Option("--state", help="Only in this state; else what is to do.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Finished and accepted ones too.")] = False,
    assigned: Annotated[str | None, typer.Option("--assigned", help="Only those of this person.")] = None,
    limit: LimitOption = 50,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """List breaks: what a person should look at first stands first."""
    states = () if every else (state,) if state is not None else TO_DO
    with ready_app(context) as app, app.open_work() as work:
        rows = work.breaks.listed(
            known_feed(work, feed), kind=kind, states=states, assigned_to=assigned, limit=limit + 1
        )
    show([with_age(row) for row in first_of(rows, limit)], LISTED, fmt)


@cli.command("show", epilog="Example: stp-etl breaks show 17")
def show_break(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="Number of the break.", metavar="BREAK")],
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show one break: what was found and what to do, its figures over time, and everything that happened to it.

    A step of its investigation is an event `step`; `reply_id` is the vendor's stored answer that says so.
    """
    with ready_app(context) as app, app.open_work() as work:
        row = work.breaks.shown(number)
        if row is None:
            raise EtlError(f"there is no break {number}; see: stp-etl breaks list --all")
        observed, events = work.breaks.observations(number), work.breaks.events(number)
        row |= what_to_do(row, work.breaks.investigation(number))
    if fmt is Format.JSON:
        typer.echo(json_text(plain({**row, "observations": observed, "events": events})))
        return
    show_card({name: value for name, value in with_age(row).items() if value is not None}, fmt)
    if fmt is Format.TABLE:
        typer.echo("\nFigures")
        show(observed, OBSERVED, fmt)
        typer.echo("\nEvents")
        show(events, EVENTS, fmt)


@cli.command("assign", epilog="Example: stp-etl breaks assign 17 18 --to anna")
def assign(
    context: typer.Context,
    numbers: Breaks,
    to: Annotated[str, typer.Option("--to", help="Who looks after them; empty: nobody.")],
) -> None:
    """Say who looks after breaks; their state stays as it is."""
    who = to.strip() or None
    words = f"assigned to {who or 'nobody'}"
    done(context, numbers, "assigned", words, {"assigned_to": who}, became=words)


@cli.command("comment", epilog="Example: stp-etl breaks comment 17 --text 'asked the vendor'")
def comment(
    context: typer.Context,
    numbers: Breaks,
    text: Annotated[str, typer.Option("--text", help="What to keep with the breaks.")],
) -> None:
    """Keep a remark with breaks; what was written before stays."""
    if not text.strip():
        raise typer.BadParameter("say something", param_hint="--text")
    done(context, numbers, "commented", text.strip(), {}, became="commented on")


@cli.command(
    "accept", epilog="Example: stp-etl breaks accept 17 --until 2026-03-09T22:00Z --ticket V-12 --reason known"
)
def accept(
    context: typer.Context,
    numbers: Breaks,
    until: Annotated[
        datetime, typer.Option("--until", parser=instant_of, metavar="INSTANT", help="Open it again then.")
    ],
    reason: ReasonOption,
    ticket: Annotated[str | None, typer.Option("--ticket", help="The vendor's ticket.")] = None,
) -> None:
    """Live with breaks until a date; they open again then, or earlier when the difference changes."""
    with ready_app(context) as app:
        if until <= app.clock.now():
            raise typer.BadParameter(f"{until} is over", param_hint="--until")
    values: dict[str, Any] = {"state": BreakState.ACCEPTED, "accepted_until": until, "reason": reason_given(reason)}
    if ticket is not None:
        values["vendor_ticket"] = ticket
    became = f"accepted until {instant(until)}{f' with ticket {ticket}' if ticket is not None else ''}"
    done(context, numbers, "accepted", reason_given(reason), values, became=became, states=UNFINISHED)


@cli.command("resolve", epilog="Example: stp-etl breaks resolve 17 --adopt --reason 'cancelled, the desk knows'")
def resolve(
    context: typer.Context,
    numbers: Breaks,
    reason: ReasonOption,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Ask the vendor about the trade of each break, and book its answer.")
    ] = False,
) -> None:
    """Close breaks by a person's word; one that a later run sees again opens again.

    With --adopt the vendor's own answer about the trade (cancelled, rolled, or never handed out) becomes a new version
    with source `query`, and positions are corrected in the same commit.
    """
    if adopt:
        with ready_app(context) as app:
            with app.open_work() as work:
                feeds = feeds_of(work, list(dict.fromkeys(numbers)), UNFINISHED)
            adopt_words(app, feeds, operator=invocation(context).operator, reason=reason_given(reason))
        return
    values = {"state": BreakState.RESOLVED, "accepted_until": None, "reason": reason_given(reason)}
    done(context, numbers, "resolved", reason_given(reason), values, became="resolved", states=UNFINISHED)


def done(
    context: typer.Context, numbers: Sequence[int], deed: str, words: str, values: dict[str, Any], *,
    became: str, states: Sequence[str] = (),
) -> None:  # fmt: skip
    """Do the same to all of these breaks, or to none; keep it with each of them and in the audit; say what became."""
    operator, wanted = invocation(context).operator, list(dict.fromkeys(numbers))
    with ready_app(context) as app, app.open_work() as work:
        at = app.clock.now()
        names = feeds_of(work, wanted, states)
        for number, feed in names.items():
            closing = {"closed_at": at, "closed_by": operator} if deed == "resolved" else {}
            if values:
                work.breaks.change(number, **values, **closing)
            figures = {name: plain(value) for name, value in values.items() if name != "reason"}
            work.breaks.event(number, deed, at=at, by=operator, note=words, figures=figures)
            work.attention.record(Deed(at, operator, f"breaks {deed}", words, feed, f"break {number}", figures))
        work.commit()
    remark(f"{numbered('break', wanted)} {'is' if len(wanted) == 1 else 'are'} {became}")


def feeds_of(work: UnitOfWork, numbers: Sequence[int], states: Sequence[str]) -> dict[int, str]:
    """Return the feed of each break; raise EtlError with every number that is none, or in no state for this."""
    rows = {number: work.breaks.shown(number) for number in numbers}
    faults = [f"there is no break {number}" for number, row in rows.items() if row is None]
    faults += [
        f"break {number} is {row['state']} already"
        for number, row in rows.items()
        if row is not None and states and row["state"] not in states
    ]
    if faults:
        raise EtlError(f"{'; '.join(faults)}; nothing was changed; see: stp-etl breaks list --all")
    return {number: str(row["feed"]) for number, row in rows.items() if row is not None}


def what_to_do(row: Mapping[str, Any], investigation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was found about a break and what a person is to do, while it is not over."""
    if row["state"] not in UNFINISHED:
        return {}
    told = {"found": investigation.get("found"), "to_do": investigation.get("do")}
    if told["to_do"] is None and row["kind"] in TO_DO_ABOUT:
        told["to_do"] = TO_DO_ABOUT[row["kind"]].format(**row)
    return told


def with_age(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with its age as a range of business days."""
    return {**row, "age": bucket(row["age_business_days"])}
