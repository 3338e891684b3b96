"""What `messages rebook` and `exceptions retry` share: choosing messages, reading them again, telling the outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from etl.app import App
from etl.cli.options import feed_number, known_feed
from etl.cli.output import Format, remark, show
from etl.domain.words import counted
from etl.errors import EtlError
from etl.pipeline.batch import BookedFeed
from etl.pipeline.rebook import Change, Rebooked, Rebooker
from etl.store.repositories.attention import Deed
from etl.store.unit_of_work import UnitOfWork
from etl.wiring import reading_of

CHANGES = Change.__struct_fields__
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would change and write nothing.")]
WhyOption = Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit log.")]

Choice = Callable[[UnitOfWork, int], Sequence[int]]
"""Returns the messages to read again of the feed of this number."""

IN_WORDS = {
    "booked": ("exception item is a new trade", "exception items are new trades"),
    "enriched": ("exception item enriches a trade", "exception items enrich a trade"),
    "conflict": (
        "exception item differs in economics from the booked trade: a break was opened",
        "exception items differ in economics from the booked trade: breaks were opened",
    ),
    "duplicate": ("exception item says what is booked already", "exception items say what is booked already"),
    "excepted": (
        "exception item stays open, with the faults of today",
        "exception items stay open, with the faults of today",
    ),
    "corrected": ("booked trade reads differently: a newer version", "booked trades read differently: newer versions"),
    "unchanged": ("booked trade reads the same", "booked trades read the same"),
    "refused": (
        "booked message would be refused today; its trade stays as it is",
        "booked messages would be refused today; their trades stay as they are",
    ),
    "untouched": ("message is a duplicate or superseded", "messages are duplicates or superseded"),
}


class Asked(msgspec.Struct, frozen=True):
    """What the operator asked for: which feed (None: all), which messages, in whose name, and only to look."""

    feed: str | None
    choose: Choice
    deed: Deed
    dry_run: bool


def read_again(app: App, asked: Asked, fmt: Format) -> None:
    """Read the chosen messages again, feed by feed, and tell on stdout what changed, or would."""
    total = Rebooked()
    for name, ids in chosen(app, asked).items():
        with app.open_work() as work:
            number = feed_number(work, name)
        feed = BookedFeed(number, name, reading_of(app.settings.feed(name)))
        with progress_of(f"{name}: reading messages again", len(ids)) as advance:
            rebooker = Rebooker(feed, app.open_work, app.clock, advance)
            total.add(rebooker.preview(ids) if asked.dry_run else rebooker.rebook(ids, asked.deed))
    if total.changes or fmt is not Format.TABLE:  # the sentences say it where nothing changed
        show([msgspec.structs.asdict(change) for change in total.changes], CHANGES, fmt)
    for outcome, (one, many) in IN_WORDS.items():
        if total.counts[outcome]:
            remark(counted(total.counts[outcome], one, many))
    if not total.counts:
        remark("no message was chosen")
    elif asked.dry_run:
        remark("nothing was written; leave --dry-run out to do it")


def chosen(app: App, asked: Asked) -> dict[str, Sequence[int]]:
    """Return the messages to read again by feed; raise EtlError where the settings do not say how to read a feed."""
    with app.open_work() as work:
        known_feed(work, asked.feed)
        feeds = {name: number for number, name in work.feeds.names().items() if asked.feed in (None, name)}
        found = {name: ids for name, number in sorted(feeds.items()) if (ids := asked.choose(work, number))}
    if unknown := [name for name in found if name not in app.settings.feeds]:
        raise EtlError(
            f"the settings know no feed {unknown[0]}, so its messages cannot be read; add [feeds.{unknown[0]}], or "
            "name another with --feed"
        )
    return found


def of_these(message_ids: Sequence[int]) -> Choice:
    """Choose just these messages; raise EtlError with those that were never booked."""

    def choose(work: UnitOfWork, feed_id: int) -> list[int]:
        feeds = work.rebooking.feeds_of(message_ids)
        if unknown := [number for number in message_ids if number not in feeds]:
            raise EtlError(f"message {unknown[0]} is not known, or not booked yet; see: stp-etl messages list")
        return [number for number in message_ids if feeds[number] == feed_id]

    return choose


@contextmanager
def progress_of(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Lend a function that counts progress, shown on stderr where a person looks."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
