"""What many commands share: options, the open and checked database, and the limit of a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Annotated, TypeVar

import typer

from etl.app import App
from etl.cli.context import invocation
from etl.cli.output import instant as said_instant
from etl.cli.output import remark
from etl.domain.calendar import begins_at
from etl.errors import EtlError
from etl.store.unit_of_work import UnitOfWork

FOUND_SOMETHING = 3
EARLIEST_YEAR = 1970
T = TypeVar("T")


def day(text: str) -> date:
    """Return the day written YYYY-MM-DD; one of long before there were such trades is a slip of the pen."""
    try:
        found = date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} is no day; write it as 2026-03-02") from error
    if found.year < EARLIEST_YEAR:
        raise typer.BadParameter(f"{text} is before {EARLIEST_YEAR}; write it as 2026-03-02")
    return found


def not_begun(app: App, asked: date) -> str | None:
    """Return the sentence about a trade day that is still to come by the settings' `business_day_ends`, else None."""
    times = app.settings.reconciliation
    begins = begins_at(asked, times.business_day_ends, times.zone)
    return f"{asked} has not begun: it begins at {said_instant(begins)}" if begins > app.clock.now() else None


def check_begun(app: App, asked: date) -> None:
    """Raise a wrong usage for a trade day that is still to come: of it nothing can be proven or handed on."""
    if why := not_begun(app, asked):
        raise typer.BadParameter(why, param_hint="--trade-date")


def instant(text: str) -> datetime:
    """Return the instant of an ISO 8601 text; without an offset it is UTC. A day alone is not enough."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} is no instant; write it as 2026-03-02T17:00Z") from error
    if len(text) <= len("2026-03-02"):
        raise typer.BadParameter(f"{text} is a whole day; add the time, such as {text}T17:00Z")
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


FeedOption = Annotated[str | None, typer.Option("--feed", help="Only this feed.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="At most this many rows.")]
FromOption = Annotated[
    date | None, typer.Option("--from", parser=day, metavar="DAY", help="First trade date, such as 2026-03-02.")
]
ToOption = Annotated[date | None, typer.Option("--to", parser=day, metavar="DAY", help="Last trade date, included.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit log.")]


def in_order(first: date | None, last: date | None) -> None:
    """Raise a wrong usage where a range of days ends before it begins: it would hold nothing, and prove nothing."""
    if first is not None and last is not None and last < first:
        raise typer.BadParameter(f"--to {last} is before --from {first}")


@contextmanager
def ready_app(context: typer.Context) -> Iterator[App]:
    """Lend the program with its database open and fit for use; no feed need be configured."""
    with App(invocation(context).settings) as app:
        app.check_database()
        yield app


def known_feed(work: UnitOfWork, name: str | None) -> str | None:
    """Return the name, once the database knows such a feed; raise EtlError with those that it knows."""
    names = sorted(work.feeds.names().values())
    if name is None or name in names:
        return name
    raise EtlError(f"the database knows no feed {name}; it knows: {', '.join(names) or 'none, nothing was polled yet'}")


def feed_number(work: UnitOfWork, name: str) -> int:
    """Return the feed's own number; raise EtlError where the database does not know it."""
    known_feed(work, name)
    return next(number for number, known in work.feeds.names().items() if known == name)


def reason_given(reason: str) -> str:
    """Return the reason, which the audit needs; an empty one is a wrong usage."""
    if not reason.strip():
        raise typer.BadParameter("say why; it is kept in the audit log", param_hint="--reason")
    return reason.strip()


def first_of(rows: Sequence[T], limit: int) -> list[T]:
    """Return the first rows, and say on stderr where there are more than the limit."""
    if len(rows) > limit:
        remark(f"the first {limit} are shown; see more with --limit")
    return list(rows[:limit])
